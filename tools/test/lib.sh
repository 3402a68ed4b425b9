# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What the scripts that run tests have in common: which parts there are, where
# they run, and what a VM of theirs is like. Read by ".", at the top of the checkout.

test_lists=${KSM_TEST_LISTS:-tools/test}

# Slab caches that are not shared, so that their figures are of one user; memory
# that can be taken offline (huge pages that lie there cannot be pinned for long);
# and persistent memory, for files on DAX.
# shellcheck disable=SC2034 # for those that read this
test_append=slab_nomerge test_movable='movablecore=768M' test_pmem='memmap=64M!1G'

# On the debug kernel, KASAN watches all slab memory. SLUB's own checks nearly double the
# time of a test, so only KSM's caches and those of reverse mapping have them.
# shellcheck disable=SC2034
test_slabs='slab_debug=-;FZPU,ksm_*,anon_vma*'

# A line that nobody reads is a part that nobody runs.
awk '
	function wrong(why) { print FILENAME ":" FNR ": " why >"/dev/stderr"; bad = 1 }
	BEGIN {
		n = split("host main 2-workers debug 2-node 2-node-7.3 short-7.3 1-node 1-node-release counted kcsan arm64", names, " ")
		for (i = 1; i <= n; i++)
			machine[names[i]] = 1
	}
	/^(#|$)/ { next }
	NF < 3 { wrong("wants PART, WHAT, MACHINES") }
	NF >= 3 && $2 !~ /^(kselftest|base|base-7.3|kernel|host)$|\// { wrong("cannot run " $2) }
	$1 in seen { wrong($1 " is there twice") }
	{
		seen[$1] = 1
		for (i = 3; i <= NF; i++)
			if (!($i in machine))
				wrong("there is no machine " $i)
	}
	END { exit bad }' "$test_lists/parts" || exit 2

# The parts that run on one of the machines, in order; all of them without any.
parts_on()
{
	awk -v machines="$*" '
		BEGIN { n = split(machines, wanted, " ") }
		/^(#|$)/ { next }
		{
			here = !n
			for (i = 3; i <= NF; i++)
				for (j = 1; j <= n; j++)
					here = here || $i == wanted[j]
		}
		here { print $1 }' "$test_lists/parts"
}

# The parts with this word for what they are
parts_that_are()
{
	awk -v what="$1" '!/^#/ && $2 == what { print $1 }' "$test_lists/parts"
}

# What tools/test/in-vm is to be given for a part: part_path PART BUILT [bare]
part_path()
{
	what=$(awk -v part="$1" '$1 == part { print $2 }' "$test_lists/parts")
	case "$what,${3:-}" in
	kselftest,*) echo "$2/kselftest/$1" ;;
	base,bare) echo "$2/base/$1" ;;
	base,*) echo "base:$2/base/$1" ;;
	base-7.3,*) echo "base:build/test-7.3/base/$1" ;;
	kernel,*) echo "$1" ;;
	*/*) echo "$what" ;;
	*)
		echo "$test_lists/parts: no part of a VM is called $1" >&2
		return 1
		;;
	esac
}

# Something that no earlier run, and no program, can have printed
new_nonce()
{
	od -An -N8 -tx8 /dev/urandom | tr -d ' '
}
