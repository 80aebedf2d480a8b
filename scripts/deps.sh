#!/usr/bin/env bash
# Installs the programs of scripts/packages.txt that are missing. Nothing of the product needs them; tests do.
# On a terminal it asks first, unless CI or YES=1 is set. Without root it only prints what is missing: it never calls
# sudo, and the tests that lack a program skip and say so. No service is started by what it installs.
set -euo pipefail
cd "$(dirname "$0")/.."

have() {
	case $1 in
	/*) [ -e "$1" ] ;;
	*) PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin command -v "$1" >/dev/null ;;
	esac
}

programs=() packages=()
while read -r program package _; do
	case $program in '' | '#'*) continue ;; esac
	have "$program" && continue
	programs+=("$program")
	case " ${packages[*]-} " in *" $package "*) ;; *) packages+=("$package") ;; esac
done <scripts/packages.txt

if [ ${#packages[@]} -eq 0 ]; then
	echo "deps: every program that the tests use is here"
	exit 0
fi
echo "deps: missing ${programs[*]}"
line="apt-get update && apt-get install --no-install-recommends ${packages[*]}"
if ! command -v apt-get >/dev/null; then
	echo "deps: this is no Debian; the tests that lack a program skip. In Debian's words they are: ${packages[*]}"
	exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "deps: the tests that lack a program skip. As root: $line"
	exit 0
fi
if [ -t 0 ] && [ -z "${CI:-}" ] && [ "${YES:-}" != 1 ]; then
	read -r -p "deps: run \"$line\" now? [y/N] " answer
	case $answer in y | Y | yes) ;; *)
		echo "deps: nothing was installed; the tests that lack a program skip"
		exit 0
		;;
	esac
fi

# While packages are installed no service may start: policy-rc.d answers 101, "forbidden" (invoke-rc.d(8)).
policy=/usr/sbin/policy-rc.d
saved=$policy.allclear-saved
work=$(mktemp -d)
restore() {
	rm -rf "$work"
	if [ -e "$saved" ] || [ -L "$saved" ]; then
		mv -f "$saved" "$policy"
	else
		rm -f "$policy"
	fi
}
mark="written by scripts/deps.sh of allclear"
if grep -qs "$mark" "$policy"; then
	rm -f "$policy" # an earlier run was killed; the machine's own, if it had one, is the saved one
elif [ -e "$policy" ] || [ -L "$policy" ]; then
	mv "$policy" "$saved"
fi
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
printf '#!/bin/sh\n# %s\nexit 101\n' "$mark" >"$policy"
chmod 755 "$policy"

installed() { dpkg-query -W -f '${binary:Package} ${db:Status-Abbrev}\n' | awk '$2=="ii"{print $1}' | sort; }
installed >"$work/before"
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get -q update && apt-get -q -y --no-install-recommends install "${packages[@]}"; } </dev/null; then
	[ -z "${CI:-}" ] || exit 1
	echo "deps: nothing more could be installed; the tests that lack a program skip"
	exit 0
fi
installed >"$work/after"
echo "deps: added $(comm -13 "$work/before" "$work/after" | tr '\n' ' ')"
