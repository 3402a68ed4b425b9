# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154,SC2034,SC2317 # dir, bin and the like are ksmadm_test's
#
# The part of ksmadm_test that drives ksmadm in terminals, with tmux: small and
# large ones, with UTF-8 and without, with colours and without.

terminals=0

tm() { tmux -S "$dir/tmux.$terminals" -f /dev/null "$@"; }

# terminal COLUMNS LINES COMMAND [NAME=VALUE...]: a new one, with an environment;
# the command's status appears as "left N", without a new line, for which a small
# one may have no room. A server of its own for each, as one that is killed takes
# its time.
terminal()
{
	tm kill-server 2>/dev/null || :
	terminals=$((terminals + 1))
	tm new-session -d -x "$1" -y "$2" "env ${4:-LC_ALL=C.UTF-8} sh -c '$3; echo -n left \$?; sleep 1000'"
	tm set-option -g status off
	tm resize-window -x "$1" -y "$2"
}

# Waits until the screen shows something, or says what it shows instead.
see()
{
	(wait_for 120 shows "$1") || {
		cat "$dir/screen"
		fail "the screen never showed: $1"
	}
}

screen() { tm capture-pane -p >"$dir/screen"; }
shows() { screen && grep -qE -- "$1" "$dir/screen"; }
key() { tm send-keys "$@"; }

# No line is broken or missing: the heading is where it should be.
looks_right()
{
	screen
	cat "$dir/screen"
	head -n 1 "$dir/screen" | grep -q '^KSM o'
	same "$(grep -c PID "$dir/screen")" 1 'headings'
	same "$(grep -c '^KSM o' "$dir/screen")" 1 'first lines'
}

quits()
{
	key q
	see '^left'
	grep -q '^left 0' "$dir/screen"
}

test_top_in_a_terminal()
{
	start_tenant 8
	put use_zero_pages 1
	merge_all
	start_areas
	terminal 80 24 "$bin/ksmadm top --delay 0.2"
	see "^ *$tenant .* tenant"
	see '[▁▂▃▄▅▆▇█]{3}'
	looks_right
	grep -qE '^ *PID +MERGEABLE +MERGED +ZERO +METADATA +PROFIT +COMMAND +CGROUP' "$dir/screen"
	grep -qE "^ *$tenant +7\.0 +[0-9.]+ +1\.0 " "$dir/screen"
	tail -n 1 "$dir/screen" | grep -q '^by profit down, every 0.2 s .*q quit'
	# By its PID, upwards and downwards
	key p
	see '^by pid up'
	local first last

	first=$(printf '%s\n' "$tenant" "$areas" | sort -n | head -n 1)
	last=$(printf '%s\n' "$tenant" "$areas" | sort -n | tail -n 1)
	same "$(grep -A 1 PID "$dir/screen" | awk 'NR == 2 { print $1 }')" "$first"
	key r
	see '^by pid down'
	same "$(grep -A 1 PID "$dir/screen" | awk 'NR == 2 { print $1 }')" "$last"
	key '>'
	see '^by mergeable down'
	key h
	see '^space +update now'
	key x
	see '^by mergeable'
	key +
	see 'every 0.4 s'
	# One that ends disappears.
	kill "$tenant"
	gone() { ! shows " tenant "; }
	wait_for 120 gone
	looks_right
	quits
}

test_top_in_small_terminals()
{
	start_tenant 8
	merge_all
	for size in '40 10' '20 5' '10 3' '8 1' '200 60'; do
		# shellcheck disable=SC2086 # two numbers
		terminal $size "$bin/ksmadm top --delay 0.2"
		case "$size" in
		'8 1') see '^KSM' ;;
		'10 3') see '^ *PID' ;;
		*) see "^ *$tenant"; looks_right ;;
		esac
		quits
	done
	# From large to small, and back
	terminal 80 24 "$bin/ksmadm top --delay 0.2"
	see "^ *$tenant"
	tm resize-window -x 40 -y 10
	less_columns() { shows "^ *$tenant" && ! grep -q METADATA "$dir/screen"; }
	wait_for 120 less_columns
	looks_right
	tm resize-window -x 120 -y 40
	see METADATA
	looks_right
	quits
}

test_top_in_plain_terminals()
{
	start_tenant 8
	merge_all
	# No UTF-8: the history in letters. No colours: nothing that asks for them.
	terminal 80 24 "$bin/ksmadm top --delay 0.2" 'LC_ALL=C'
	see '#{3}$'
	looks_right
	quits
	terminal 80 24 "$bin/ksmadm top --delay 0.2" 'TERM=vt100 NO_COLOR=1'
	see "^ *$tenant"
	looks_right
	quits
	# No terminal that can be drawn on: the list, once
	terminal 100 24 "$bin/ksmadm top --delay 0.2" TERM=dumb
	see '^left 0'
	grep -q " $tenant .*tenant" "$dir/screen"
	terminal 100 24 "$bin/ksmadm top" TERM=no-such-terminal
	see '^left 1'
	grep -q 'cannot use a terminal' "$dir/screen"
}

test_unmerge_shows_progress()
{
	start_tenant 32
	merge_all
	terminal 80 24 "$bin/ksmadm unmerge"
	see '^left 0'
	cat "$dir/screen"
	grep -qE '^undone: +[0-9.]+ of [0-9.]+ MiB, 100 %' "$dir/screen"
	grep -q 'MiB that were saved are in use again' "$dir/screen"
}
