# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Completion of ksmadm's command line for bash.

# The verb among the words so far, or nothing: options before it take a value.
_ksmadm_verb()
{
	local i

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--sysfs | --config) i=$((i + 1)) ;;
		-*) ;;
		*) echo "${COMP_WORDS[i]}"; return ;;
		esac
	done
}

_ksmadm_options()
{
	case $1 in
	'') echo '--sysfs --config --help --version' ;;
	status) echo '--json --interval --quick --help' ;;
	top) echo '--delay --sort --reverse --no-color --batch --count --limit --json --help' ;;
	why) echo '--all --contents --interval --json --help' ;;
	metrics) echo '--output --help' ;;
	unmerge) echo '--force --persist --help' ;;
	get) echo '--json --help' ;;
	set | tune | reset | start | stop) echo '--persist --help' ;;
	*) echo '--help' ;;
	esac
}

_ksmadm_words()
{
	case $1 in
	'') echo 'status top why metrics start stop unmerge get set tune reset apply exec' ;;
	tune | start) echo 'quiet balanced eager' ;;
	get) ksmadm get 2>/dev/null | cut -d= -f1 ;;
	set) ksmadm get 2>/dev/null | sed 's/=.*/=/' ;;
	why) (cd /proc && echo [0-9]*) ;;
	esac
}

_ksmadm()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb
	local columns='pid command cgroup mergeable merged zero metadata profit'

	verb=$(_ksmadm_verb)
	COMPREPLY=()
	case $verb/$prev in
	top/--sort) mapfile -t COMPREPLY < <(compgen -W "$columns" -- "$cur"); return ;;
	*/--sysfs) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
	*/--config | metrics/--output) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
	*/--interval | */--delay | */--count | */--limit) return ;;
	exec/*) mapfile -t COMPREPLY < <(compgen -c -- "$cur"); return ;;
	esac
	case $verb/$cur in
	*/-*) mapfile -t COMPREPLY < <(compgen -W "$(_ksmadm_options "$verb")" -- "$cur") ;;
	apply/*) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	*) mapfile -t COMPREPLY < <(compgen -W "$(_ksmadm_words "$verb")" -- "$cur") ;;
	esac
	case ${COMPREPLY[*]} in
	# Not when it is called otherwise than by completion
	*=) compopt -o nospace 2>/dev/null || : ;;
	esac
}

complete -F _ksmadm ksmadm
