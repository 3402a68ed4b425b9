# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154,SC2034 # dir, bin and the like are ksmadm_test's
#
# The part of ksmadm_test that is about verbs that change something.

test_start_and_stop()
{
	ksmadm start
	same "$(get run)" 1
	ksmadm start
	same "$(get run)" 1
	ksmadm stop
	same "$(get run)" 0
	ksmadm start eager
	same "$(get run) $(get advisor_mode) $(get advisor_target_scan_time)" '1 scan-time 30'
}

test_set_and_get()
{
	# In an order that would not do for one after the other
	ksmadm set pages_to_scan=0321 run=1 sleep_millisecs=7 advisor_max_pages_to_scan=900 \
		advisor_min_pages_to_scan=800 max_page_sharing=300 use_zero_pages=1
	same "$(get pages_to_scan) $(get run) $(get sleep_millisecs)" '321 1 7'
	same "$(get advisor_min_pages_to_scan) $(get max_page_sharing)" '800 300'
	ksmadm get run pages_to_scan max_page_sharing >"$dir/out"
	printf '%s\n' run=1 max_page_sharing=300 pages_to_scan=321 | diff "$dir/out" -
	ksmadm get >"$dir/out"
	while IFS='=' read -r key value; do
		same "$(get "$key")" "$value" "$key"
	done <"$dir/out"
	same "$(wc -l <"$dir/out")" "$(all_settings | wc -l)" 'number of settings'
	ksmadm get --json >"$dir/json"
	jq -e '.pages_to_scan == 321 and .advisor_mode == "none"' "$dir/json"

	ksmadm set pages_to_scan=1 advisor_mode=none run=0
	# The advisor begins with the least that it may.
	ksmadm set advisor_mode=scan-time advisor_min_pages_to_scan=850
	same "$(get advisor_mode) $(get pages_to_scan)" 'scan-time 850'
	refused 2 'the advisor' set pages_to_scan=200
	ksmadm set pages_to_scan=222 advisor_mode=none
	same "$(get advisor_mode) $(get pages_to_scan)" 'none 222'
	if [ -e "$ksm/scan_threads" ]; then
		ksmadm set scan_threads=3
		same "$(get scan_threads)" 3
	else
		refused 1 'no scan_threads' set scan_threads=3 run=1
	fi
}

# What the kernel refuses leaves everything as it was.
test_set_with_merged_memory()
{
	start_tenant 8
	merge_all
	at_least pages_sharing 900
	ksmadm start
	refused 1 "max_page_sharing cannot change while memory is merged.*'ksmadm unmerge'" \
		set run=0 use_zero_pages=1 max_page_sharing=300
	same "$(get run) $(get use_zero_pages)" '1 0'
	refused 1 'cannot change while memory is merged' set --persist max_page_sharing=300
	[ ! -e "$dir/ksmadm.conf" ] || fail 'it was persisted'
	ksmadm unmerge
	ksmadm set max_page_sharing=300 run=1
	same "$(get run) $(get max_page_sharing)" '1 300'
}

test_unmerge()
{
	start_tenant 8
	put use_zero_pages 1
	merge_all
	local saved=$(($(get pages_sharing) + $(get ksm_zero_pages)))

	[ "$saved" -gt 900 ]
	ksmadm unmerge >"$dir/out"
	same "$(get run) $(get pages_sharing) $(get ksm_zero_pages)" '2 0 0'
	same "$(cat "$dir/out")" \
		"$(awk -v n="$saved" 'BEGIN { printf "%.1f MiB that were saved are in use again", n / 256 }')"
	# Nothing is left to do
	ksmadm unmerge | grep -q '^0.0 MiB'
}

test_tune()
{
	for profile in quiet balanced eager; do
		ksmadm tune $profile 2>"$dir/err"
		grep -q 'ksmadm start' "$dir/err"
		same "$(get run) $(get advisor_mode) $(get smart_scan)" '0 scan-time 1' $profile
		echo "$(get advisor_target_scan_time) $(get advisor_max_cpu) $(get use_zero_pages)"
	done >"$dir/out"
	printf '%s\n' '900 10 0' '200 40 1' '30 100 1' | diff "$dir/out" -
	put run 1
	ksmadm tune quiet 2>"$dir/err"
	[ ! -s "$dir/err" ] || fail 'says something although KSM runs'
}

test_reset()
{
	local initial

	initial=$(all_settings)
	ksmadm start eager --persist
	ksmadm set max_page_sharing=99 stable_node_chains_prune_millisecs=5
	grep -q '^run=1$' "$dir/ksmadm.conf"
	ksmadm reset
	same "$(all_settings)" "$initial"
	grep -q '^run=1$' "$dir/ksmadm.conf"
	ksmadm reset --persist
	lacks '=' "$dir/ksmadm.conf"
}

test_persist_and_apply()
{
	local set_then

	printf '%s\n' '# mine' 'sleep_millisecs = 5 # wrong: no spaces' >"$dir/ksmadm.conf"
	refused 2 'line 2: ' apply
	printf '%s\n' '# mine' 'sleep_millisecs=50  # slow' '' 'smart_scan=0' >"$dir/ksmadm.conf"
	ksmadm set --persist smart_scan=1 run=1
	printf '%s\n' '# mine' 'sleep_millisecs=50  # slow' '' 'smart_scan=1' run=1 |
		diff "$dir/ksmadm.conf" -
	same "$(get sleep_millisecs)" 20 'sleep_millisecs, which was not asked for'
	ksmadm tune eager --persist
	# Whose pages_to_scan is changes hands.
	ksmadm set --persist pages_to_scan=1234 advisor_mode=none
	ksmadm tune balanced --persist
	lacks pages_to_scan=1234 "$dir/ksmadm.conf"
	ksmadm set advisor_mode=none
	ksmadm set --persist pages_to_scan=1234
	set_then=$(all_settings)
	defaults_but_config
	ksmadm apply
	same "$(all_settings)" "$set_then"

	ksmadm unmerge --persist
	grep -qx run=0 "$dir/ksmadm.conf"
	echo 'nonsense=1' >>"$dir/ksmadm.conf"
	refused 2 "no setting 'nonsense'" apply
	rm "$dir/ksmadm.conf"
	refused 1 'cannot read' apply
	# Not in every kernel: no reason not to set the rest
	printf '%s\n' scan_threads=2 use_zero_pages=1 >"$dir/other"
	ksmadm apply "$dir/other" 2>"$dir/err"
	same "$(get use_zero_pages)" 1
	[ -e "$ksm/scan_threads" ] || grep -q 'no scan_threads: left out' "$dir/err"
	refused 1 'cannot write' --config /proc/ksmadm.conf set --persist use_zero_pages=0
}

defaults_but_config()
{
	mv "$dir/ksmadm.conf" "$dir/keep"
	defaults
	mv "$dir/keep" "$dir/ksmadm.conf"
}

# All changes of one, or all of the other, however they meet
test_two_at_once()
{
	local i pids

	for i in 1 2 3 4 5 6 7 8; do
		ksmadm set --persist sleep_millisecs=11 pages_to_scan=11 smart_scan=0 &
		pids=$!
		ksmadm set --persist sleep_millisecs=22 pages_to_scan=22 smart_scan=1
		wait "$pids"
		case "$(get sleep_millisecs) $(get pages_to_scan) $(get smart_scan)" in
		'11 11 0') grep -qx sleep_millisecs=11 "$dir/ksmadm.conf" ;;
		'22 22 1') grep -qx sleep_millisecs=22 "$dir/ksmadm.conf" ;;
		*) fail 'a mixture of both' ;;
		esac
	done
}

test_exec()
{
	local status

	ksmadm exec -- grep -c '^VmFlags:.* mg' /proc/self/smaps >"$dir/out" 2>"$dir/err"
	[ "$(cat "$dir/out")" -gt 3 ]
	grep -q 'does not scan' "$dir/err"
	put run 1
	# Also what it starts, as another user, and with options that are not ours
	ksmadm exec setpriv --reuid=65534 sh -c 'grep -c " mg" /proc/self/smaps' >"$dir/out" 2>"$dir/err"
	[ "$(cat "$dir/out")" -gt 3 ]
	[ ! -s "$dir/err" ] || fail "says $(cat "$dir/err")"
	put run 0
	status=0
	ksmadm exec -- sh -c 'exit 7' || status=$?
	same "$status" 7
	refused 127 'cannot run' exec -- /nonsense
	refused 126 'cannot run' exec /etc/passwd
}
