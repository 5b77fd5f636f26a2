# make build   bin/ingot, with the guest agents embedded
# make demo    install what is needed, build, cast testdata/recipes/web-server.yaml into ./out
# make test    install what is needed, run all tests, those that boot VMs included
# make bench   measure the way between guest and host: MB/s of output, ms a step
# make bench-build   measure what warm builds save, beside Packer: a table; ROUNDS=3
# make check   formatting and vet
# make bench-disk    write disks beside qemu-img, pigz and zstd: a table; ROUNDS=5, INGOT_BENCH_DISK=a raw disk
# make bench-aws     upload to servers on loopback beside coldsnap and aws s3 cp: tables; ROUNDS=5
#
# Every target may be run again: what is there is not installed or built anew.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DEFAULT_GOAL := build
AGENTS := linux-amd64 linux-arm64 windows-amd64
.PHONY: bench bench-aws bench-build bench-disk build agents $(AGENTS:%=agent-%) setup setup-test packages-test demo test check clean

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
EMBEDDED := cmd/ingot-agent/embedded/bin

# Debian packages: what Ingot runs, and what the tests compare with besides.
PACKAGES := qemu-system-x86 qemu-system-common qemu-utils ovmf mmdebstrap gpg uidmap util-linux e2fsprogs dosfstools mtools
TEST_PACKAGES := pigz zstd lz4 xz-utils bzip2 gdisk fdisk xorriso cpio p7zip-full xfsprogs btrfs-progs ntfs-3g libxml2-utils libarchive-tools
# And what runs the agents of other platforms: Windows' under wine, arm64's under qemu-user.
TEST_PACKAGES += wine64 wixl qemu-user
# AWS: its command line, and Python's environments for moto, which stands in for its services.
TEST_PACKAGES += awscli python3-venv

build: agents
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/ingot ./cmd/ingot

# The agents carry no version and no build information, so that they change only when their code does.
agents: $(AGENTS:%=agent-%)

$(AGENTS:%=agent-%): agent-%:
	CGO_ENABLED=0 GOOS=$(word 1,$(subst -, ,$*)) GOARCH=$(word 2,$(subst -, ,$*)) go build -trimpath -buildvcs=false -ldflags "-s -w" \
		-o $(EMBEDDED)/ingot-agent-$* ./cmd/ingot-agent

# install(packages): those of them that are missing.
define install
	@missing=""; for p in $(1); do \
		dpkg-query -W -f '$${db:Status-Status}' "$$p" 2>/dev/null | grep -qx installed || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
		echo "installing$$missing"; \
		$(SUDO) apt-get update -qq; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef

setup:
	$(call install,$(PACKAGES))

setup-test: packages-test bin/moto/installed

packages-test:
	$(call install,$(PACKAGES) $(TEST_PACKAGES))

# moto in an environment of its own, made anew when the list of its versions changes.
bin/moto/installed: testdata/moto-requirements.txt | packages-test
	rm -rf bin/moto
	/usr/bin/python3 -m venv bin/moto
	bin/moto/bin/pip install --quiet --disable-pip-version-check --requirement $<
	cp $< $@

demo: setup build
	bin/ingot doctor
	bin/ingot build testdata/recipes/web-server.yaml -o out

check:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt: $$unformatted"; exit 1; }
	go vet ./...

# Packages whose tests boot VMs come last and one at a time: a VM test wants both cores. The whole output is in bin/test.log.
VMS := ^$(shell go list -m 2>/dev/null)/(qemu|builder|builder/base|cmd/.*)$$
test: setup-test build check
	@mkdir -p bin; : >bin/test.log; status=0; \
	for packages in "-p 2 $$(go list ./... | grep -vE '$(VMS)')" "-p 1 $$(go list ./... | grep -E '$(VMS)')"; do \
		go test -count=1 -timeout 60m -v $(TESTFLAGS) $$packages 2>&1 | tee -a bin/test.log \
			| grep --line-buffered -E '^(ok|FAIL|panic:)|^ *--- (FAIL|SKIP)' || status=$$?; \
	done; \
	if [ $$status != 0 ]; then echo "failed; the whole output is in bin/test.log, its failures:"; \
		grep -E -B 30 '^ *--- FAIL|^panic:' bin/test.log | tail -n 200; exit 1; fi

bench: setup build
	go test -run '^$$' -bench Guest -benchtime 1x -timeout 30m -v ./builder

ROUNDS := 3
bench-build: setup build
	$(call install,packer openssh-client)
	go test -run '^$$' -bench BenchmarkBuild -benchtime 1x -timeout 6h ./cmd/ingot -ingot $(CURDIR)/bin/ingot -rounds $(ROUNDS) -table $(CURDIR)/bin/bench-build.md

# The disk is the newest base that is cached; there is one after a build.
BASES = $${INGOT_HOME:-$${XDG_DATA_HOME:-$$HOME/.local/share}/ingot}/bases
bench-disk: ROUNDS := 5
bench-disk: setup build
	$(call install,pigz zstd)
	@disk="$$INGOT_BENCH_DISK"; newest() { ls -t "$(BASES)"/*/disk.raw 2>/dev/null | head -n 1 || true; }; \
	[ -n "$$disk" ] || disk=$$(newest); \
	[ -n "$$disk" ] || { bin/ingot build testdata/recipes/web-server.yaml -o bin/bench-disk; disk=$$(newest); }; \
	go test -run '^$$' -bench BenchmarkConvert -benchtime 1x -timeout 6h ./disk -ingot $(CURDIR)/bin/ingot -disk "$$disk" -rounds $(ROUNDS) -table $(CURDIR)/bin/bench-disk.md

# Each part measures against a strict server of its own. coldsnap is built once, where cargo is there.
bench-aws: ROUNDS := 5
bench-aws:
	$(call install,awscli)
	@mkdir -p bin/coldsnap
	go test -run '^$$' -bench BenchmarkEBS -benchtime 1x -timeout 2h ./export/ebs -rounds $(ROUNDS) -coldsnap $(CURDIR)/bin/coldsnap -table $(CURDIR)/bin/bench-ebs.md
	go test -run '^$$' -bench BenchmarkUpload -benchtime 1x -timeout 1h ./export/s3 -rounds $(ROUNDS) -table $(CURDIR)/bin/bench-s3.md
	@disk="$$INGOT_BENCH_DISK"; [ -n "$$disk" ] || disk=$$(ls -t "$(BASES)"/*/disk.raw 2>/dev/null | head -n 1 || true); \
	go test -run '^$$' -bench BenchmarkPreflight -benchtime 5x -timeout 10m -v ./export/preflight -disk "$$disk"

clean:
	rm -rf bin out $(EMBEDDED)/ingot-agent-*
