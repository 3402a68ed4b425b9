# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154,SC2034 # dir, bin and the like are ksmadm_test's
#
# What the parts of ksmadm_test have in common: to run ksmadm and judge what it
# says, to set the kernel up and back again, and processes with memory to merge.

clean_up()
{
	stop_processes
	for server in "$dir"/tmux.*; do
		[ ! -e "$server" ] || tmux -S "$server" kill-server 2>/dev/null || :
	done
	defaults
	rm -rf "$dir"
}

# A test is a function; what it prints is shown if it fails. It runs in a shell
# of its own with -e, so that each command in it has to succeed. (Bash heeds -e
# nowhere in a condition, hence not in an "if".)
run_test()
{
	local status

	number=$((number + 1))
	defaults
	set +e
	(set -e; "$1") >"$dir/said" 2>&1
	status=$?
	set -e
	if [ "$status" -eq 0 ]; then
		echo "ok $number ${1#test_}"
	else
		sed 's/^/# /' "$dir/said"
		echo "not ok $number ${1#test_}"
		bad=1
	fi
	stop_processes
}

ksmadm() { "$bin/ksmadm" --config "$dir/ksmadm.conf" "$@"; }

# A setting or a counter; of a choice, the one in force. Without a program: in an
# emulated machine, to start one takes long.
get()
{
	local value

	read -r value <"$ksm/$1"
	value=${value#*[}
	echo "${value%]*}"
}

put() { echo "$2" >"$ksm/$1"; }
at_least() { [ "$(get "$1")" -ge "$2" ]; }

# The settings as they are after boot
defaults()
{
	put run 2
	[ ! -e "$ksm/scan_threads" ] || put scan_threads 1
	put advisor_mode none
	put pages_to_scan 100
	put sleep_millisecs 20
	put smart_scan 1
	put use_zero_pages 0
	put max_page_sharing 256
	[ ! -e "$ksm/merge_across_nodes" ] || put merge_across_nodes 1
	put advisor_max_cpu 70
	put advisor_target_scan_time 200
	put advisor_min_pages_to_scan 500
	put advisor_max_pages_to_scan 30000
	put stable_node_chains_prune_millisecs 2000
	put run 0
	rm -f "$dir/ksmadm.conf"
}

# What there is of settings, to see if something was changed
all_settings()
{
	local file

	for file in run pages_to_scan sleep_millisecs advisor_{mode,max_cpu,target_scan_time} \
		advisor_{min,max}_pages_to_scan smart_scan use_zero_pages max_page_sharing \
		stable_node_chains_prune_millisecs merge_across_nodes scan_threads; do
		[ ! -e "$ksm/$file" ] || echo "$file=$(get "$file")"
	done
}

fail() { echo "$*"; exit 1; }

same() { [ "$1" = "$2" ] || fail "${3:-}: '$1' is not '$2'"; }

lacks() { if grep "$1" "$2"; then fail "$2 has '$1'"; fi; }

# ksmadm with the arguments has to exit with $1, say $2 (a pattern of grep -E)
# on standard error, and change nothing.
refused()
{
	local want=$1 pattern=$2 status=0 before said

	shift 2
	before=$(all_settings)
	ksmadm "$@" >"$dir/out" 2>"$dir/err" </dev/null || status=$?
	said=$(<"$dir/err")
	echo "$said"
	same "$status" "$want" "ksmadm $*"
	[[ $said =~ $pattern ]] || fail "ksmadm $*: does not say '$pattern'"
	[ ! -s "$dir/out" ] || fail "ksmadm $*: says it on standard output"
	same "$(all_settings)" "$before" "ksmadm $*: settings"
}

# Waits up to $1 seconds until the rest, a command, succeeds.
wait_for()
{
	local left=$(($1 * 10))

	shift
	until "$@"; do
		left=$((left - 1))
		[ "$left" -gt 0 ] || fail "never came true: $*"
		sleep 0.1
	done
}

# Processes are noted in a file: tests run in shells of their own.
note_process() { echo "$1" >>"$dir/processes"; }

stop_processes()
{
	[ -e "$dir/processes" ] || return 0
	while read -r pid; do
		kill "$pid" 2>/dev/null || :
		while [ -e "/proc/$pid/exe" ]; do sleep 0.05; done
	done <"$dir/processes"
	rm -f "$dir/processes"
}

is_ready() { grep -q ready "$1"; }

# A process of $1 MiB: a half alike, an eighth zeroes, the rest its own
start_tenant()
{
	: >"$dir/tenant"
	setsid "$top/build/test/outside/tenant" "$1" 0 >"$dir/tenant" &
	tenant=$!
	note_process "$tenant"
	wait_for 60 is_ready "$dir/tenant"
}

# A process with mappings of each kind; $dir/areas says where they are
start_areas()
{
	: >"$dir/areas"
	"$bin/areas" >"$dir/areas" &
	areas=$!
	note_process "$areas"
	wait_for 60 is_ready "$dir/areas"
}

scans() { get full_scans; }

# Merges what there is to merge, and stops, so that figures stand still.
merge_all()
{
	local from

	put pages_to_scan 20000
	put sleep_millisecs 5
	put run 1
	from=$(scans)
	wait_for 120 at_least full_scans $((from + 4))
	put run 0
	# What ksmd was at
	sleep 0.3
}

stat_of() { sed -n "s/^$2 //p" "/proc/$1/ksm_stat"; }
