# SPDX-License-Identifier: Apache-2.0
# A thin front: Meson builds (scripts/build knows the build folders), tests/run-all tests. `make help` lists the targets.

MACHINE := $(shell uname -m)
ARCH ?= $(MACHINE)
PREFIX ?= /usr/local
DESTDIR ?=
C_FILES = $(shell git ls-files '*.c' '*.h')

.PHONY: all setup run test check boot asan tsan valgrind fuzz cross static bench install lint format clean help

all: ## build build/cvmm and build/libcvmm.so
	@scripts/build native

setup: ## install the Debian packages that are missing
	@scripts/setup build run test cross lint

run: ## boot a Debian kernel to a shell, installing and building what that needs
	@scripts/setup build run
	@scripts/demo

test: ## everything: install, build all variants, run all tests of both architectures
	@scripts/setup build run test cross
	@tests/run-all

check: ## the fast tests: unit, command line, kvm
	@scripts/setup --check build test
	@tests/run-all unit kvm

boot: ## boot Debian kernels: make boot ARCH=x86_64|aarch64
	@scripts/setup --check build run $(if $(filter-out $(MACHINE),$(ARCH)),cross)
	@tests/run-all boot-$(ARCH)

asan tsan valgrind fuzz: ## one step of the tests
	@scripts/setup --check build test
	@tests/run-all $@

bench: ## cost of starting and exits to user space, beside other VMMs
	@scripts/setup build run
	@scripts/build native static-$(MACHINE)
	@bench/start
	@bench/exits

cross: ## build for both architectures, dynamic: build-ISA
	@scripts/build x86_64 aarch64

static: ## build for both architectures, fully static: build-static-ISA
	@scripts/build static-x86_64 static-aarch64

install: all ## install to $(DESTDIR)$(PREFIX)
	@meson configure build -Dprefix=$(PREFIX)
	@DESTDIR=$(DESTDIR) meson install -C build

lint: all ## clang-format, clang-tidy and shellcheck over what differs from main
	@scripts/setup --check lint test
	@scripts/lint

format: ## clang-format every C file in place
	@scripts/setup --check lint
	@clang-format -i $(C_FILES)

clean: ## remove the build folders (the cache of downloads stays)
	@rm -rf build build-asan build-tsan build-fuzz build-x86_64 build-aarch64 build-static-x86_64 build-static-aarch64

help: ## this list
	@sed -n 's/^\([a-z ]*\):.*## \(.*\)/\1\t\2/p' Makefile | awk -F'\t' '{ printf "  make %-20s %s\n", $$1, $$2 }'
