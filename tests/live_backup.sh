#!/bin/sh
# examples/live-backup: no block is torn or lost, and the chain of backups is the last snapshot.
# shellcheck disable=SC2015,SC2317 # functions are called by check
. tests/tap.sh

program=$BUILD/examples/live-backup
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

check "--help" says 0 Usage: "$program" --help
check "--version" says 0 "live-backup 0." "$program" --version
check "a wrong size" says 2 "--size '1M': expected a size of at least 4M" "$program" --size 1M
check "wrong pins" says 2 "--pin 'all': expected pool or read" "$program" --pin all
check "a folder that is not there" says 1 "--dir $dir/none: No such file" "$program" --dir "$dir/none"

runs() { # OPTION...
	status_is 0 "$program" --dir "$dir" --size 16M --seconds 1 "$@" || return
	grep -qx 'torn: 0' "$dir/out" && grep -qx 'lost: 0' "$dir/out" &&
		grep -q '^snapshots: [1-9]' "$dir/out" && grep -q '^blocks verified: [1-9]' "$dir/out" &&
		grep -q '^blocks read: [1-9]' "$dir/out" && grep -q '^blocks updated: [1-9]' "$dir/out" || {
		cat "$dir/out"
		return 1
	}
}

"$program" --dir "$dir" --size 4M --seconds 1 >"$dir/out" 2>"$dir/err"
if grep -q 'no O_DIRECT' "$dir/err"; then
	skip "live-backup" "no O_DIRECT in $dir"
	done_testing
fi
check "signal mode, registered frames" runs --signal --pages 4k
check "signal mode, each read pinned" runs --signal --pages 4k --pin read
if grep -q 'no space' "$dir/err"; then
	skip "default mode" "it is not allowed here"
else
	check "registered frames" runs --pages 4k
	check "each read pinned" runs --pages 4k --pin read
	check "huge pages" runs --pages auto --pin read
fi
check "nothing is left behind" test -z "$(find "$dir" -name "live-backup*")"
done_testing
