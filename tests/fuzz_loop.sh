#!/bin/sh
# examples/fuzz-loop: a parser's state goes back after each input.
. tests/tap.sh

program=$BUILD/examples/fuzz-loop
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

check "--help" says 0 Usage: "$program" --help
check "--version" says 0 "fuzz-loop 0." "$program" --version
check "a wrong size" says 2 "--memory '1M': expected a size of at least 8M" "$program" --memory 1M
"$program" --seconds 1 --memory 8M >"$dir/out" 2>"$dir/err"
status=$?
if grep -q 'no space' "$dir/err"; then
	skip "going back" "$(tail -n 1 "$dir/err")"
	done_testing
fi
check "all is as before each time" test $status -eq 0
check "it says how many" grep -q '^restore: [1-9][0-9]* inputs a second; fork server: [1-9]' "$dir/out"
done_testing
