#!/bin/sh
# examples/sqlite-backup: each snapshot of a database that is written to is one that SQLite opens, and finds whole.
# shellcheck disable=SC2015,SC2317 # functions are called by check
. tests/tap.sh

program=$BUILD/examples/sqlite-backup
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

if [ ! -x "$program" ]; then
	skip "examples/sqlite-backup" "this build has no SQLite (package libsqlite3-dev)"
	done_testing
fi
check "--help" says 0 Usage: "$program" --help
check "--version" says 0 "sqlite-backup 0." "$program" --version
check "a wrong number" says 2 "--snapshots '0': expected a number from 1" "$program" --snapshots 0
check "a folder that is not there" says 1 "$dir/none: No such file" "$program" --dir "$dir/none" --snapshots 1

# Some are of the middle of a transaction, or nothing would be tried.
all_whole() {
	status_is 0 "$program" --dir "$dir" --snapshots 60 || return
	grep -q '^snapshots: 60 whole, 0 torn, [1-9][0-9]* in the middle' "$dir/out" || {
		cat "$dir/out"
		return 1
	}
}
check "60 snapshots of a database in use are whole" all_whole
check "nothing is left behind" test -z "$(find "$dir" -name 'sqlite-backup*')"
done_testing
