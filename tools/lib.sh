# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What scripts here have in common. Read by ".", by those that set
#   me          their name, for messages
#   die_status  what they exit with when something is wrong (1)

die()
{
	# shellcheck disable=SC2154 # the script that reads this sets it
	echo "$me: $*" >&2
	exit "${die_status:-1}"
}

# whole_number OPTION VALUE
whole_number()
{
	case "$2" in
	'' | *[!0-9]*) die "$1 takes a whole number, not '$2'" ;;
	esac
}

# matches NAME [PATTERN]...: is it one of the shell patterns? Any is, without one.
matches()
{
	[ $# -gt 1 ] || return 0
	name_to_match=$1
	shift
	for pattern; do
		# shellcheck disable=SC2254 # a pattern indeed
		case "$name_to_match" in $pattern) return 0 ;; esac
	done
	return 1
}
