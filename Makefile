# SPDX-License-Identifier: GPL-2.0
#
# The commands of the repository. Each sets up what it needs; all that is
# made goes to build/, and the unpacked base to a cache outside the checkout.

# The kernel of make demo: ksm or base
KERNEL ?= ksm

export KERNEL

.PHONY: help demo test bench kernel kernel-base kernel-debug check clean

help:
	@echo 'make demo          three real KVM guests share memory, checked and reported'
	@echo '                   (KERNEL=base: the same on the kernel as Debian ships it)'
	@echo 'make test          every test, on the release and the debug kernel'
	@echo 'make bench         what the scan, merging and the rest cost, beside the base'
	@echo '                   (BENCH=--full: the long one; tools/bench/bench --help)'
	@echo 'make kernel        build/ksm/bzImage: the base with this KSM'
	@echo 'make kernel-base   build/base/bzImage: the base as it is'
	@echo 'make kernel-debug  build/debug/bzImage: with KASAN, lockdep, KUnit and the like'
	@echo 'make check         style and static checks of our own files'
	@echo 'make clean         removes build/'
	@echo 'tools/vm/run --help tells how to run a program of your own on these kernels.'

demo:
	+@tools/demo/demo --kernel $(KERNEL)

test:
	+@tools/test/run

bench:
	+@tools/bench/bench $(BENCH)

kernel:
	+@tools/vm/build ksm

kernel-base:
	+@tools/vm/build base

kernel-debug:
	+@tools/vm/build debug

check:
	+@tools/check

clean:
	rm -rf build
