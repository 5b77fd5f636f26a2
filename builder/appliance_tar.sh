# Writes a tar archive of what is mounted at $1 to the standard output: of all, or else of the names on the standard input, separated by NULs.
# What cannot be read is told on the standard error, and is zeros in the archive or not in it. tar goes on with the rest, and fails in the end.
set -u
at=$1 all=${2-}
export LC_ALL=C
archive() {
	exec tar --create --file=- --format=pax --pax-option=delete=atime,delete=ctime --numeric-owner --sparse --quoting-style=literal \
		--no-xattrs --no-acls --no-selinux --directory="$at" "$@"
}
[ -n "$all" ] && archive .
# Names are followed in the file system as if it were the root, so that no link leads out of it. The links on the way are in the archive, too.
perl -e '
	use strict;
	my ($root, $folders, $trees) = @ARGV;
	open(my $f, ">", $folders) or die "$folders: $!\n";
	open(my $t, ">", $trees) or die "$trees: $!\n";
	chroot $root or die "chroot: $!\n";
	chdir "/" or die "chdir: $!\n";
	$/ = "\0";
	my %given;
	my $give = sub { my ($to, $name) = @_; print $to "$name\0" unless $given{"$to $name"}++ };
	NAME: while (my $name = <STDIN>) {
		chomp $name;
		my @left = split m{/}, $name;
		my ($here, $links) = (".", 0);
		while (@left) {
			my $next = shift @left;
			next if $next eq "" || $next eq ".";
			if ($next eq "..") { $here =~ s{/[^/]*$}{}; next }
			$next = "$here/$next";
			if (-l $next) {
				$give->($t, $next);
				next NAME if ++$links > 40;
				my $target = readlink $next;
				$here = "." if $target =~ m{^/};
				unshift @left, split m{/}, $target;
				next;
			}
			next NAME unless -e _;
			$here = $next;
			$give->($f, $here) if @left;
		}
		$give->($t, $here) unless $here eq ".";
	}
	close $f or die "$folders: $!\n";
	close $t or die "$trees: $!\n";
' "$at" /run/ingot-folders /run/ingot-trees || exit 1
archive --null --no-recursion --files-from=/run/ingot-folders --recursion --files-from=/run/ingot-trees
