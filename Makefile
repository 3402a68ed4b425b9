# SPDX-License-Identifier: GPL-2.0
#
# The commands of the repository. Each sets up what it needs; all that is
# made goes to build/, and the unpacked base to a cache outside the checkout.

# The base: Debian's 6.12, or 7.3
BASE ?= 6.12
on = $(filter-out -6.12,-$(BASE))

# The kernel of make demo: ksm or base
KERNEL ?= ksm

# How long make stress takes, and other options of tools/test/stress
MINUTES ?= 30
STRESS ?=

export BASE KERNEL

# What make deb configures the kernel with: Debian's own, unless a file is named;
# and whether to leave out modules that are not loaded here
CONFIG ?=
LOCAL ?=

.PHONY: help demo test test-kcsan test-arm64 stress bench kernel kernel-base kernel-debug
.PHONY: check clean mutants coverage patch deb try pictures

help:
	@echo 'make demo          three real KVM guests share memory, checked and reported'
	@echo '                   (KERNEL=base: the same on the kernel as Debian ships it)'
	@echo 'make test          every test, on the release and the debug kernel'
	@echo 'make test-kcsan    some of them on a kernel that looks for data races'
	@echo 'make test-arm64    those of the self-tests that can on arm64, emulated'
	@echo 'make stress        memory under every stress at once, and nothing may change in it'
	@echo '                   (MINUTES=30; STRESS="--seed N"; tools/test/stress --help)'
	@echo 'make bench         what the scan, merging and the rest cost, beside the base'
	@echo '                   (BENCH=--full: the long one; tools/bench/bench --help)'
	@echo 'make kernel        build/ksm/bzImage: the base with this KSM'
	@echo 'make kernel-base   build/base/bzImage: the base as it is'
	@echo 'make kernel-debug  build/debug/bzImage: with KASAN, lockdep, KUnit and the like'
	@echo 'make deb           build/deb: Debian packages of the kernel and of ksmadm'
	@echo '                   (CONFIG=FILE: with this configuration; LOCAL=1: and only'
	@echo '                   the modules that are loaded here; by default Debian'"'"'s)'
	@echo 'make patch         build/linux-VERSION-ksm.patch: all of it, for git am or patch'
	@echo 'make try           tries the packages and the patch as others would use them'
	@echo 'make pictures      draws the pictures of the documents anew'
	@echo 'make check         style and static checks of our own files'
	@echo 'make mutants       faults put into the engine: does a test notice each?'
	@echo '                   (MUTANTS=--list: which; tools/mutants/run --help)'
	@echo 'make coverage      which lines of mm/ksm the tests reach'
	@echo 'make clean         removes build/'
	@echo "BASE=7.3: on Debian's linux-source-7.3 in the place of 6.12"
	@echo 'tools/vm/run --help tells how to run a program of your own on these kernels.'

demo:
	+@tools/demo/demo --kernel $(KERNEL)$(on)

test:
	+@tools/test/run

test-kcsan:
	+@tools/test/run --kernel kcsan

test-arm64:
	+@tools/test/run --kernel arm64

stress:
	+@tools/test/stress --minutes $(MINUTES) $(STRESS)

bench:
	+@tools/bench/bench $(BENCH)

kernel:
	+@tools/vm/build ksm$(on)

kernel-base:
	+@tools/vm/build base$(on)

kernel-debug:
	+@tools/vm/build debug$(on)

deb:
	+@tools/package/deb $(if $(CONFIG),--config $(CONFIG)) $(if $(LOCAL),--local)

patch:
	+@tools/package/patch

try:
	+@tools/package/try patch deb

pictures:
	@tools/pictures

check:
	+@tools/check

mutants:
	+@tools/mutants/run $(MUTANTS)

coverage:
	+@tools/test/coverage

clean:
	rm -rf build
