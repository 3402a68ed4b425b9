# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154,SC2034 # dir, bin and the like are ksmadm_test's
#
# The part of ksmadm_test that is about mistakes: each has its exit status and a
# message, and changes nothing.

test_help()
{
	ksmadm --help >"$dir/help"
	for verb in status top why metrics start stop unmerge get set tune reset apply exec; do
		grep -q "^  $verb " "$dir/help"
		ksmadm $verb --help >"$dir/verb"
		grep -q "^Usage: ksmadm $verb" "$dir/verb"
	done
	ksmadm --version | grep -q '^ksmadm [0-9]'
}

# completes WORD... WANTED: what bash offers for the last of the words
completes()
{
	local wanted=${!#}

	COMP_WORDS=(ksmadm "${@:1:$#-1}")
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
	_ksmadm
	same "${COMPREPLY[*]}" "$wanted" "completion of ${COMP_WORDS[*]}"
}

test_completion()
{
	. "$top/tools/ksm/ksmadm.bash"
	completes st 'status start stop'
	completes --config x top to ''
	completes --config x to top
	completes tune '' 'quiet balanced eager'
	completes status --j --json
	completes top --sort me 'mergeable merged metadata'
	completes set use_ use_zero_pages=
	completes get use_ use_zero_pages
	completes unmerge --f --force
	# Each verb, and each option of each, is known to ksmadm.
	for verb in $(_ksmadm_words ''); do
		ksmadm "$verb" --help >"$dir/verb"
		for option in $(_ksmadm_options "$verb"); do
			grep -q -- "$option" "$dir/verb" || [ "$option" = --help ] ||
				fail "$verb has no $option"
		done
	done
}

test_wrong_usage()
{
	refused 2 'what to do'
	refused 2 "'nonsense'" nonsense
	refused 2 'option' --nonsense status
	refused 2 'option' status --nonsense
	refused 2 'no arguments' status something
	refused 2 'needs a value' status --interval
	refused 2 'not a number of seconds' status --interval fast
	refused 2 'no column' top --sort size
	refused 2 'not a number' top --count x
	refused 2 'one PID' why
	refused 2 'not a number' why init
	refused 2 'not a number' why -- -1
	refused 2 'profile' tune
	refused 2 "not 'wild'" tune wild
	refused 2 "not 'wild'" start wild
	refused 2 'KEY=VALUE' set
	refused 2 'which command' exec
	refused 2 'no arguments' unmerge all
	refused 2 "no setting 'speed'" get speed
}

test_wrong_values()
{
	refused 2 "'run' is not KEY=VALUE" set run
	refused 2 "no setting 'speed'" set speed=1
	refused 2 "no setting ''" set =1
	refused 2 "'' is not a number" set pages_to_scan=
	refused 2 'not a number' set pages_to_scan=many
	refused 2 'not a number' set pages_to_scan=100x
	refused 2 'not a number' set pages_to_scan=-1
	refused 2 'not a number' set 'pages_to_scan= 7'
	refused 2 'is not from 1' set pages_to_scan=0
	refused 2 'is not from' set pages_to_scan=4294967296
	refused 2 'is not from' set pages_to_scan=99999999999999999999999
	refused 2 'is not from 0 to 1' set smart_scan=2
	refused 2 'is not from 2' set max_page_sharing=1
	refused 2 'is not from 1 to 256' set scan_threads=257
	refused 2 'unmerge' set run=2
	refused 2 'none or scan-time' set advisor_mode=fast
	refused 2 'twice' set run=0 run=1
	refused 2 'more than' set advisor_min_pages_to_scan=40000
	refused 2 'the advisor' set advisor_mode=scan-time pages_to_scan=200
	# One wrong one, and none is set
	refused 2 'not a number' set use_zero_pages=1 sleep_millisecs=x
	refused 2 'no setting' set use_zero_pages=1 nonsense=1 sleep_millisecs=5
}

test_no_ksm_in_the_kernel()
{
	mkdir -p "$dir/none"
	for args in status 'status --json' top 'why 1' metrics start stop unmerge get \
		'set run=1' 'tune quiet' reset; do
		# shellcheck disable=SC2086 # words
		refused 3 'no KSM in this kernel' --sysfs "$dir/none" $args
	done
	KSMADM_SYSFS=$dir/none refused 3 'no KSM in this kernel' get
	echo run=1 >"$dir/ksmadm.conf"
	refused 3 'no KSM in this kernel' --sysfs "$dir/none" apply
	refused 3 'no KSM' --sysfs "$dir/none/nothing" status
}

nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }

refused_nobody()
{
	local pattern=$1 status=0 before

	shift
	before=$(all_settings)
	nobody "$bin/ksmadm" --config "$dir/ksmadm.conf" "$@" 2>"$dir/err" >"$dir/out" || status=$?
	cat "$dir/err"
	same "$status" 4 "ksmadm $*"
	[[ $(<"$dir/err") =~ $pattern ]]
	same "$(all_settings)" "$before" "ksmadm $*: settings"
}

test_not_root()
{
	chmod 755 "$dir"
	for args in 'start' 'set sleep_millisecs=7 run=1' 'tune eager' unmerge; do
		# shellcheck disable=SC2086 # words
		refused_nobody 'cannot set' $args
	done
	refused_nobody 'cannot write' set --persist sleep_millisecs=7
	refused_nobody 'not yours' why $$
	put use_zero_pages 1
	refused_nobody 'cannot set' reset
	put use_zero_pages 0
	# What needs no root
	nobody "$bin/ksmadm" status --quick | grep -q '^KSM  *off'
	nobody "$bin/ksmadm" status --json --interval 0 | jq -e '.mergeable_source == "scanned"'
	nobody "$bin/ksmadm" get run | grep -qx 'run=0'
	nobody "$bin/ksmadm" metrics | grep -q '^ksm_running 0'
	nobody "$bin/ksmadm" top --batch 2>"$dir/err" | grep -q '^ *PID  MERGEABLE'
	grep -q 'by root' "$dir/err"
	# shellcheck disable=SC2016 # the other shell's
	nobody sh -c '"$1" why --json $$' - "$bin/ksmadm" >"$dir/why"
	jq -e '.registered.areas == 0 and (.areas | length) > 3' "$dir/why"
}

test_pid_gone()
{
	sleep 0 &
	gone=$!
	wait "$gone"
	refused 5 "no process $gone" why "$gone"
	# A thread of the kernel's
	refused 5 'memory of its own' why 2
}

# With what is not there in files, and what cannot be written
make_fixture()
{
	mkdir -p "$dir/sys"
	for file in run pages_to_scan sleep_millisecs smart_scan use_zero_pages \
		max_page_sharing pages_shared pages_sharing; do
		cat "$ksm/$file" >"$dir/sys/$file"
	done
}

test_unmerge_without_memory()
{
	make_fixture
	echo 1 >"$dir/sys/run"
	echo 1000000000 >"$dir/sys/pages_sharing"
	refused 6 'needs 3906250.0 MiB' --sysfs "$dir/sys" unmerge
	same "$(cat "$dir/sys/run")" 1 'run'
	ksmadm --sysfs "$dir/sys" unmerge --force 2>"$dir/err"
	grep -q 'may be killed' "$dir/err"
	same "$(cat "$dir/sys/run")" 2 'run'
}

# The last one to be written cannot be: all before it are set back.
test_all_or_nothing()
{
	make_fixture
	rm "$dir/sys/pages_to_scan"
	ln -s /proc/sys/kernel/ngroups_max "$dir/sys/pages_to_scan"
	grep . "$dir"/sys/* >"$dir/before"
	refused 4 'pages_to_scan.*nothing was changed' --sysfs "$dir/sys" \
		set --persist run=0 smart_scan=0 use_zero_pages=1 pages_to_scan=7 sleep_millisecs=3
	grep . "$dir"/sys/* | diff "$dir/before" -
	[ ! -e "$dir/ksmadm.conf" ] || fail 'it was persisted'
	[ -z "$(find "$dir" -name 'ksmadm.conf.*')" ] || fail 'a temporary file is left'
	# And the same without what is in the way
	rm "$dir/sys/pages_to_scan"
	echo 100 >"$dir/sys/pages_to_scan"
	ksmadm --sysfs "$dir/sys" set smart_scan=0 use_zero_pages=1 pages_to_scan=7
	same "$(grep -h . "$dir"/sys/{smart_scan,use_zero_pages,pages_to_scan} | tr '\n' ' ')" '0 1 7 '
}

test_old_kernel()
{
	rm -rf "$dir/sys"
	make_fixture
	refused 1 'no advisor_mode' --sysfs "$dir/sys" set advisor_mode=none
	refused 1 'no scan_threads' --sysfs "$dir/sys" set scan_threads=2
	ksmadm --sysfs "$dir/sys" tune eager
	same "$(cat "$dir/sys/pages_to_scan")" 5000
	ksmadm --sysfs "$dir/sys" status --json --interval 0 >"$dir/json"
	jq -e '.metadata_estimated and .profit_estimated and .settings.pages_to_scan == 5000' "$dir/json"
	ksmadm --sysfs "$dir/sys" status --interval 0 | grep -q 'advisor *not in this kernel'
	ksmadm --sysfs "$dir/sys" metrics >"$dir/prom"
	lacks '^ksm_.*full_scans' "$dir/prom"
	lacks '^ksm_.*advisor' "$dir/prom"
}
