# SPDX-License-Identifier: MIT
# All the set-up of a fresh Debian (12 or 13) in two commands: `make demo` and `make test`. `make help` names the rest.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Debian's own Python, not one that PATH may name: its libpython, and the PIC archive of it, go into the image.
PYTHON ?= /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# No module of another Python on the way.
unexport PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# To build images and boot them: `make venv`, `make demo`.
PACKAGES += python3-venv       # the virtual environment
PACKAGES += libpython3-dev     # the shared libpython for PyInstaller, and the archive that PID 1 is linked from
PACKAGES += gcc                # compiles and links PID 1's bootloader; compiles the demo's init
PACKAGES += libc6-dev          # its headers; the static libc for the demo's init
PACKAGES += binutils           # ar, strip; objdump for PyInstaller
PACKAGES += zlib1g-dev         # the interpreter holds zlib
PACKAGES += libudev1           # goes into the image
PACKAGES += libblkid1          # goes into the image
PACKAGES += kmod               # depmod: the index of a kernel's modules
PACKAGES += qemu-system-x86    # the machine that boots
PACKAGES += e2fsprogs          # mke2fs -d: a disk without mounts
PACKAGES += fdisk              # sfdisk: its partition table
PACKAGES += debian-archive-keyring # the signatures of the kernels' packages

# Beyond those, to run every test: `make test`.
TEST_PACKAGES += git           # what is committed names no host
TEST_PACKAGES += mmdebstrap    # a real Debian as the root; the pristine root of `make fresh`
TEST_PACKAGES += ovmf          # UEFI firmware
TEST_PACKAGES += btrfs-progs   # mkfs.btrfs --rootdir
TEST_PACKAGES += xfsprogs      # file systems to mount
TEST_PACKAGES += dosfstools
TEST_PACKAGES += mtools         # reads and writes them without a mount
TEST_PACKAGES += erofs-utils   # mkfs.erofs
TEST_PACKAGES += squashfs-tools # mksquashfs
TEST_PACKAGES += fakeroot      # file systems whose files are root's, made by anybody
TEST_PACKAGES += cpio          # reads our archives: a second opinion
TEST_PACKAGES += bzip2         # images of other tools may be compressed with it
TEST_PACKAGES += zstd          # the same for each compressor, and the control image of the bench
TEST_PACKAGES += lz4
TEST_PACKAGES += xz-utils
TEST_PACKAGES += busybox-static # a program for roots and containers that needs no library

# Only for `make bench-container`: what ours is measured against.
BENCH_PACKAGES += bubblewrap
BENCH_PACKAGES += runc
BENCH_PACKAGES += crun

.PHONY: help
help: ## What there is to make
	@sed -n 's/^\([a-z-]*\):.*## /  make \1 	/p' $(MAKEFILE_LIST) | expand -t 24

.PHONY: demo
demo: venv ## Build an image, boot it in QEMU into a real root, show the timeline of the boot
	@$(BIN)/python -m tests.guest.demo

.PHONY: test
test: venv $(VENV)/.test-packages ## Run every test; what this machine cannot run is skipped, with the reason
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --durations 10 $(TESTS)

.PHONY: venv
venv: $(VENV)/.installed ## Make .venv/bin/rootfall

.PHONY: bench
bench: venv $(VENV)/.test-packages ## Measure an image against a static C init, on QEMU's instruction clock
	@$(BIN)/python -m tests.bench

.PHONY: bench-container bench-disks bench-parallel matrix
bench-container: venv $(VENV)/.test-packages $(VENV)/.bench-packages ## A container of ours beside runc, crun and bubblewrap
	@$(BIN)/python -m tests.bench.containers

bench-disks: venv $(VENV)/.test-packages ## What 1, 16 and 64 disks cost a boot
	@$(BIN)/python -m tests.bench.disks

bench-parallel: venv $(VENV)/.test-packages ## Modules loaded in parallel against one after another, on two processors
	@$(BIN)/python -m tests.bench.parallel

matrix: venv $(VENV)/.test-packages ## Boot from each kind of disk with each kernel, without and with udevd; print the tables
	@$(BIN)/python -m tests.boot.matrix

.PHONY: lint
lint: venv ## Format and check the sources
	@$(BIN)/ruff format && $(BIN)/ruff check --fix && $(BIN)/mypy

.PHONY: fresh fresh-demo
fresh: venv $(VENV)/.test-packages ## Prove `make demo` and `make test` in a pristine minimal Debian (FRESH_SUITE=trixie)
	@$(call as_root) $(BIN)/python -m tests.house.fresh $(FRESH_SUITE) demo test

fresh-demo: venv $(VENV)/.test-packages ## The first half of that: `make demo`
	@$(call as_root) $(BIN)/python -m tests.house.fresh $(FRESH_SUITE) demo

.PHONY: clean
clean: ## Delete what was made here (not the cache, ~/.cache/rootfall)
	rm -rf $(VENV) demo dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

FRESH_SUITE ?= bookworm

$(VENV)/.installed: pyproject.toml $(VENV)/.packages
	@echo "rootfall: make $(VENV) with $$($(PYTHON) --version) and what pyproject.toml asks for"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --editable '.[test]'
	@touch $@

$(VENV)/.packages: Makefile
	@$(call install,$(PACKAGES))
	@mkdir -p $(VENV) && touch $@

$(VENV)/.test-packages: Makefile
	@$(call install,$(TEST_PACKAGES))
	@mkdir -p $(VENV) && touch $@

$(VENV)/.bench-packages: Makefile
	@$(call install,$(BENCH_PACKAGES))
	@mkdir -p $(VENV) && touch $@

# `sudo`, or nothing for root.
as_root = $$([ "$$(id -u)" = 0 ] || echo sudo --preserve-env)

# Install the Debian packages that are missing; say how, where it cannot be done.
define install
missing=; for package in $(1); do \
  dpkg-query -W -f '$${db:Status-Status}\n' $$package 2>/dev/null | grep -x installed >/dev/null || missing+=" $$package"; \
done; \
if [ -n "$$missing" ]; then \
  sudo=$(as_root); \
  if [ -n "$$sudo" ] && ! command -v sudo >/dev/null; then \
    echo "rootfall: Debian packages are missing; as root: apt-get install$$missing" >&2; exit 1; \
  fi; \
  echo "rootfall: install from Debian:$$missing"; \
  $$sudo apt-get update -qq; \
  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $$missing >/dev/null </dev/null; \
fi
endef
