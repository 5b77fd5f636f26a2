#!/bin/sh
# Bootstraps a Debian root tree and writes it into the root partition of disk.raw.
#
# Runs as root, or as root of a user namespace, in mount and PID namespaces of its own that die with it. The current folder is
# the working folder: it holds this script, customize.sh, settings, packages, sources.list, apt.conf, mke2fs.conf and disk.raw.
# Made here: the file system in disk.raw, and out/ (see customize.sh). Arguments: the suite, then those of mke2fs.
set -eu
umask 022
suite=$1
shift
INGOT_WORK=$PWD
TMPDIR=$PWD/tmp
LC_ALL=C
DEBIAN_FRONTEND=noninteractive
export INGOT_WORK TMPDIR LC_ALL DEBIAN_FRONTEND
mkdir -p tmp out

mmdebstrap --mode=root --format=directory --variant=minbase \
	--include="$(cat packages)" \
	--dpkgopt=force-unsafe-io --aptopt="$PWD/apt.conf" \
	--essential-hook="$PWD/prepare.sh" --customize-hook="$PWD/customize.sh" \
	"$suite" root sources.list >&2

echo "I: writing the root file system" >&2
# Device nodes cannot be made in a user namespace and are not needed: the kernel brings its own /dev.
find root/dev -mindepth 1 -delete
MKE2FS_CONFIG=$PWD/mke2fs.conf mke2fs "$@" >&2
# Only this mapping of users may delete the tree.
rm -rf --one-file-system root tmp
