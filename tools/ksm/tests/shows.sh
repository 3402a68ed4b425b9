# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154,SC2034 # dir, bin and the like are ksmadm_test's
#
# The part of ksmadm_test that compares what ksmadm shows with what the kernel
# says, where nothing moves.

# $1, a jq expression over $dir/json, has to be $2.
json_is() { same "$(jq -r "$1" "$dir/json")" "$2" "$1"; }
mib() { awk -v n="$1" 'BEGIN { printf "%.1f", n / 1048576 }'; }

merged_tenant()
{
	start_tenant 16
	put use_zero_pages "$1"
	merge_all
	at_least pages_sharing 1900
}

# Of the processes, those that ksmadm has found within two seconds count. On a machine
# that stood still for so long it has to look again.
found_all()
{
	ksmadm status --json "$@" >"$dir/json" &&
		jq -e '.mergeable_source == "registered"' "$dir/json" >/dev/null
}

says_all()
{
	ksmadm status --interval 0 >"$dir/out" && grep -q ' registered$' "$dir/out"
}

test_status_numbers()
{
	merged_tenant 1
	wait_for 10 found_all --interval 0
	python3 -m json.tool <"$dir/json" >/dev/null
	for counter in pages_{shared,sharing,unshared,volatile,scanned,skipped} full_scans \
		ksm_zero_pages stable_node_{chains,dups} general_profit; do
		json_is ".counters.$counter" "$(get "$counter")"
	done
	while IFS='=' read -r key value; do
		json_is ".settings.$key" "$value"
	done < <(ksmadm get)
	local saved=$((($(get pages_sharing) + $(get ksm_zero_pages)) * 4096))
	local profit metadata

	profit=$(get general_profit)
	metadata=$((saved - profit))
	[ ! -e "$ksm/metadata_bytes" ] || metadata=$(get metadata_bytes)
	json_is .running false
	json_is .saved_bytes "$saved"
	json_is .profit_bytes "$profit"
	json_is .metadata_bytes "$metadata"
	json_is .metadata_estimated "$([ -e "$ksm/metadata_bytes" ] && echo false || echo true)"
	json_is .zero_bytes $(($(get ksm_zero_pages) * 4096))
	# The tenant has registered 16 MiB, all of which is there.
	json_is .mergeable_source registered
	json_is .mergeable_bytes $((16 << 20))
	json_is .processes 1
	json_is .saved_percent "$(jq -n "$saved * 100 / 16777216 * 10000 | round / 10000" )"
	json_is .interval_seconds null

	wait_for 10 says_all
	cat "$dir/out"
	grep -q "^KSM  *off; what is merged stays merged" "$dir/out"
	grep -q "^saved  *$(mib "$saved") MiB, .* of 16.0 MiB that 1 process has registered" "$dir/out"
	grep -q "^profit  *$(mib "$profit") MiB$" "$dir/out"
	grep -q "^costs  *$(mib "$metadata") MiB of metadata" "$dir/out"
	grep -q "^zero pages  *$(get ksm_zero_pages) " "$dir/out"
	grep -q 'hint .*ksmadm start' "$dir/out"
}

ksmd_seconds()
{
	awk '{ printf "%.3f", $1 / 1e9 }' "/proc/$(pgrep -x ksmd)/schedstat"
}

test_status_rates()
{
	local before after

	start_tenant 16
	put pages_to_scan 500
	put sleep_millisecs 10
	put smart_scan 0
	put run 1
	before=$(get pages_scanned)
	wait_for 60 at_least full_scans 3
	# ksmd may not have run at all for these two seconds.
	for _ in 1 2 3 4 5; do
		before=$(get pages_scanned) from=$(ksmd_seconds)
		ksmadm status --json --interval 2 >"$dir/json"
		after=$(get pages_scanned) to=$(ksmd_seconds)
		cat "$dir/json"
		! jq -e '.pages_per_second > 0 and .interval_seconds < 20 and
			.full_scan_seconds < 20' "$dir/json" || break
	done
	json_is .running true
	# No more than was scanned while it looked
	jq -e ".pages_per_second > 0 and .pages_per_second * .interval_seconds <= $((after - before))" \
		"$dir/json"
	jq -e ".interval_seconds >= 2 and .interval_seconds < 20 and .cpu_percent > 0 and
		.cpu_percent / 100 * .interval_seconds <= $to - $from + 0.001 and
		.cpu_seconds >= $from - 0.001 and .cpu_seconds <= $to + 0.001" "$dir/json"
	jq -e '.full_scan_seconds > 0 and .full_scan_seconds < 20' "$dir/json"
	ksmadm status --interval 0.5 | grep -q '^scan  *[0-9]* pages/s; a full scan takes'
}

hints() { wait_for 10 found_all --interval "${1:-0}"; jq -r '.hints[].name' "$dir/json"; }
hinted() { hints "${2:-0}" | grep -qx "$1" || fail "no hint $1"; }
not_hinted() { if hints | grep -qx "$1"; then fail "a hint $1"; fi; }

test_hints()
{
	not_hinted not-running
	put run 1
	hinted nothing-registered
	start_tenant 16
	not_hinted nothing-registered
	# With what was merged by now, the limit could not be changed
	put run 2
	put run 0
	hinted not-running
	put max_page_sharing 100
	put smart_scan 0
	merge_all
	hinted zero-pages
	hinted smart-scan
	put use_zero_pages 1
	put smart_scan 1
	not_hinted zero-pages
	not_hinted smart-scan
	put run 1
	put sleep_millisecs 0
	hinted no-sleep
	put sleep_millisecs 20
	not_hinted no-sleep
	# In the text, too, and each says what to do
	put run 0
	ksmadm status --interval 0 | grep -q '^hint  .*registered.*ksmadm start'
}

# like NAMES FILE=VALUE...: with these values, and otherwise those of a scan that
# has settled well, the hints are NAMES. What is "later" is there at the second look,
# however long the first takes to come: that one reads a pipe.
like()
{
	local wanted=$1 setting file value writer=

	shift
	rm -rf "$dir/sys"
	mkdir "$dir/sys"
	for file in "$ksm"/*; do
		cat "$file" >"$dir/sys/${file##*/}"
	done
	for setting in run=1 full_scans=10 pages_shared=1000 pages_sharing=50000 \
		pages_unshared=50000 pages_volatile=1000 general_profit=100000000 "$@"; do
		case "$setting" in later:*) continue ;; esac
		echo "${setting#*=}" >"$dir/sys/${setting%%=*}"
	done
	for setting; do
		case "$setting" in later:*) ;; *) continue ;; esac
		setting=${setting#later:}
		file=$dir/sys/${setting%%=*}
		value=$(<"$file")
		rm -f "$file" "$dir/pipe"
		mkfifo "$dir/pipe"
		ln "$dir/pipe" "$file"
		echo "${setting#*=}" >"$dir/later"
		{
			echo "$value" >"$dir/pipe"
			mv "$dir/later" "$file"
			# For a second look that came before that, and waits
			echo "${setting#*=}" 1<>"$dir/pipe"
		} &
		writer=$!
	done
	ksmadm --sysfs "$dir/sys" status --json --interval 1 >"$dir/json"
	if [ -n "$writer" ]; then
		kill "$writer" 2>/dev/null || :
		wait "$writer" || :
	fi
	jq -r '.hints[] | .name + ": " + .text' "$dir/json"
	same "$(jq -r '[.hints[].name] | sort | join(" ")' "$dir/json")" "$wanted" "$*"
}

# What a test cannot have in earnest: large machines, and scans of hours
test_hints_of_large_machines()
{
	# So that something is registered
	start_tenant 8
	like ''
	like default-pace pages_unshared=300000
	like '' pages_unshared=300000 pages_to_scan=1000
	like '' pages_unshared=300000 pages_to_scan=100 run=1 "advisor_mode=none [scan-time]"
	like slow-scan pages_unshared=300000 pages_to_scan=101 pages_scanned=0 later:pages_scanned=200
	like '' pages_unshared=300000 pages_to_scan=101 pages_scanned=0 later:pages_scanned=2000000
	like negative-profit general_profit=-1
	like '' general_profit=-1 full_scans=2
	like volatile pages_volatile=150000 pages_unshared=20000
	like unshared pages_unshared=1500000 pages_to_scan=1000
	like zero-pages stable_node_chains=1 stable_node_dups=3
	like '' stable_node_chains=1 stable_node_dups=3 use_zero_pages=1
	like chains stable_node_chains=30 stable_node_dups=200 use_zero_pages=1
	like advisor-limits advisor_min_pages_to_scan=40000 "advisor_mode=none [scan-time]"
	like advisor-pages "advisor_mode=none [scan-time]" pages_to_scan=30000 \
		pages_scanned=0 later:pages_scanned=200
	like '' "advisor_mode=none [scan-time]" pages_to_scan=3000 \
		pages_scanned=0 later:pages_scanned=20000
	like 'advisor-cpu' "advisor_mode=none [scan-time]" pages_to_scan=3000 advisor_max_cpu=0 \
		pages_scanned=0 later:pages_scanned=200
	like smart-scan smart_scan=0
	like 'no-sleep smart-scan' smart_scan=0 sleep_millisecs=0
}

test_top_batch()
{
	merged_tenant 1
	start_areas
	ksmadm top --json >"$dir/json"
	python3 -m json.tool <"$dir/json" >/dev/null
	json_is '.processes | length' 2
	local of=".processes[] | select(.pid == $tenant)"
	local merged zero known profit

	known=$(stat_of "$tenant" ksm_rmap_items)
	merged=$(stat_of "$tenant" ksm_merging_pages)
	zero=$(stat_of "$tenant" ksm_zero_pages)
	profit=$(stat_of "$tenant" ksm_process_profit)
	json_is "$of | .known_bytes" $((known * 4096))
	json_is "$of | .merged_bytes" $((merged * 4096))
	json_is "$of | .zero_bytes" $((zero * 4096))
	json_is "$of | .profit_bytes" "$profit"
	json_is "$of | .metadata_bytes" $(((merged + zero) * 4096 - profit))
	json_is "$of | .command" tenant
	json_is "$of | .cgroup" "$(sed -n 's/^0:://p' "/proc/$tenant/cgroup")"
	# Less the zero pages, which are no memory of its own any more
	json_is "$of | .mergeable_bytes" $(((16 << 20) - zero * 4096))

	ksmadm top --sort pid >"$dir/out"
	cat "$dir/out"
	grep -q "^ *$tenant  *$(mib $(((16 << 20) - zero * 4096)))  *$(mib $((merged * 4096))) .*tenant" \
		"$dir/out"
	same "$(sed 1,2d "$dir/out" | awk '{ print $1 }' | tr '\n' ' ')" \
		"$(printf '%s\n' "$tenant" "$areas" | sort -n | tr '\n' ' ')"
	ksmadm top --sort pid --reverse --limit 1 | sed 1,2d >"$dir/out"
	same "$(awk '{ print $1 }' "$dir/out")" "$(printf '%s\n' "$tenant" "$areas" | sort -n | tail -n 1)"
	ksmadm top --sort mergeable | sed 1,2d | head -n 1 | grep -q tenant
	ksmadm top --batch --count 3 --delay 0.1 >"$dir/out"
	same "$(grep -c PID "$dir/out")" 3
}

# of NAME EXPRESSION: of the mapping of that name in $dir/json
of()
{
	local start

	start=$(awk -v name="$1" '$1 == name { print $2 }' "$dir/areas")
	jq -r --arg start "$start" ".areas[] | select(.start == \$start) | $2" "$dir/json"
}

test_why_before_merging()
{
	start_areas
	ksmadm why --json --contents --interval 0.3 "$areas" >"$dir/json"
	python3 -m json.tool <"$dir/json" >/dev/null
	same "$(of unregistered '.registered, .excluded' | tr '\n' ' ')" 'false false '
	of unregistered .why | grep -q 'not registered: neither MADV_MERGEABLE'
	same "$(of unique '.registered, .anonymous_bytes, .contents.unique_bytes' | tr '\n' ' ')" \
		'true 2097152 2097152 '
	same "$(of alike .contents.alike_bytes)" 2048000
	same "$(of zeroes .contents.zero_bytes)" 1048576
	same "$(of changing .contents.changing_bytes)" 1048576
	of unused .why | grep -q 'nothing of it was used yet'
	same "$(of shared '.registered, .excluded' | tr '\n' ' ')" 'false true '
	of shared .why | grep -q 'shared memory'
	! grep -q ^droppable "$dir/areas" || of droppable .why | grep -q 'MAP_DROPPABLE'
	same "$(of alike .merged_bytes)" 0
	same "$(of huge .huge_bytes)" "$(($(of huge .anonymous_bytes) - $(of huge .unmerged_bytes)))"
	ksmadm why "$areas" >"$dir/out"
	cat "$dir/out"
	grep -q "^process $areas (areas): 6 of .* mappings registered" "$dir/out"
	grep -q '^KSM does not scan now' "$dir/out"
	grep -q 'not scanned yet: ' "$dir/out"
	grep -q 'mappings with less than 64 KiB are left out' "$dir/out"
	ksmadm why --all "$areas" >"$dir/out"
	lacks 'left out' "$dir/out"
}

# What smaps says of the areas of the process, in bytes
smaps_sum() { awk -v key="$2:" '$1 == key { n += $2 } END { print n * 1024 }' "/proc/$1/smaps"; }

test_why_after_merging()
{
	start_areas
	put use_zero_pages 1
	merge_all
	kill -STOP "$areas"
	ksmadm why --json "$areas" >"$dir/json"
	same "$(of alike .merged_bytes)" 2048000
	same "$(of zeroes '.zero_bytes, .anonymous_bytes' | tr '\n' ' ')" '1048576 0 '
	same "$(of unique '.merged_bytes, .unmerged_bytes' | tr '\n' ' ')" '0 2097152 '
	same "$(of unregistered .merged_bytes)" 0
	json_is .registered.merged_bytes "$(smaps_sum "$areas" KSM)"
	json_is .registered.zero_bytes $(($(stat_of "$areas" ksm_zero_pages) * 4096))
	json_is .profit_bytes "$(stat_of "$areas" ksm_process_profit)"
	json_is .known_bytes $(($(stat_of "$areas" ksm_rmap_items) * 4096))
	json_is '[.areas[].merged_bytes] | add' "$(smaps_sum "$areas" KSM)"
	ksmadm why "$areas" >"$dir/out"
	cat "$dir/out"
	grep -q 'registered: 2.0 MiB, of it 2.0 in memory, 2.0 merged$' "$dir/out"
	grep -q 'registered: 1.0 MiB, of it 0.0 in memory, 1.0 on the zero page$' "$dir/out"
	kill -CONT "$areas"
}

# Every figure has a type, and is what sysfs says.
test_metrics()
{
	merged_tenant 1
	ksmadm metrics >"$dir/prom"
	local name value file

	while read -r name value; do
		grep -qE "^# TYPE ${name%%\{*} (counter|gauge)$" "$dir/prom" || fail "no type: $name"
		case "$name" in
		ksm_setting*mode*) same "$value" 0 "$name" ;;
		ksm_setting*) file=${name#*\"}; same "$value" "$(get "${file%\"*}")" "$name" ;;
		ksm_shared_bytes | ksm_sharing_bytes | ksm_unshared_bytes | ksm_volatile_bytes)
			file=${name#ksm_}
			same "$value" $(($(get "pages_${file%_bytes}") * 4096)) "$name" ;;
		ksm_zero_bytes) same "$value" $(($(get ksm_zero_pages) * 4096)) "$name" ;;
		ksm_pages_*_total | ksm_full_scans_total)
			file=${name#ksm_}
			same "$value" "$(get "${file%_total}")" "$name" ;;
		ksm_profit_bytes) same "$value" "$(get general_profit)" "$name" ;;
		ksm_chains) same "$value" "$(get stable_node_chains)" "$name" ;;
		ksm_running) same "$value" 0 "$name" ;;
		ksm_copies_on_write_total)
			same "$value" "$(awk '$1 == "cow_ksm" { print $2 }' /proc/vmstat)" "$name" ;;
		ksm_*) ;;
		*) fail "a stray line: $name" ;;
		esac
	done < <(grep -v '^#' "$dir/prom")
	[ "$(grep -c '^ksm_' "$dir/prom")" -ge 30 ]
}

scraped() { curl -sf http://127.0.0.1:9101/metrics >"$dir/scraped"; }

# Beside the collector that node_exporter has itself
test_metrics_in_node_exporter()
{
	merged_tenant 1
	mkdir -p "$dir/collect"
	ksmadm metrics --output "$dir/collect/ksm.prom"
	same "$(ls "$dir/collect")" ksm.prom
	same "$(stat -c %a "$dir/collect/ksm.prom")" 644
	"$exporter" --collector.disable-defaults --collector.ksmd --collector.textfile \
		--collector.textfile.directory="$dir/collect" \
		--web.listen-address=127.0.0.1:9101 >"$dir/exporter" 2>&1 &
	note_process $!
	wait_for 60 scraped
	cat "$dir/exporter"
	grep -q '^node_textfile_scrape_error 0$' "$dir/scraped"
	grep -q 'node_scrape_collector_success{collector="textfile"} 1' "$dir/scraped"
	same "$(awk '$1 == "ksm_saved_bytes" { printf "%d", $2 }' "$dir/scraped")" \
		$((($(get pages_sharing) + $(get ksm_zero_pages)) * 4096))
	same "$(awk '$1 == "ksm_sharing_bytes" { printf "%d", $2 }' "$dir/scraped")" \
		"$(awk '$1 == "node_ksmd_pages_sharing" { printf "%d", $2 * 4096 }' "$dir/scraped")"
}
