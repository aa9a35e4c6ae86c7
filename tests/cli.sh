#!/bin/sh
# The command as its users meet it: options, formats, exit statuses, messages.
. tests/tap.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
one=scenarios/thread/odirect-read-fork-write.hf

h=$HOLDFAST
check "no arguments is a usage error" says 2 Usage: "$h"
check "--help" says 0 Usage: "$h" --help
check "--version" says 0 "holdfast 0." "$h" --version
check "an unknown command" says 2 "'rum' is not a command" "$h" rum
check "restore --help" says 0 /run/holdfast.journal "$h" restore --help
check "restore takes no arguments" says 2 Usage: "$h" restore now
check "run --help" says 0 "--format" "$h" run --help
check "run without files" says 2 "no scenario given" "$h" run
check "run with an unknown option" says 2 "unrecognized option" "$h" run --frob "$one"
check "run with an unknown format" says 2 "expected table, json, tap or markdown" "$h" run --format xml "$one"
check "run on an unknown target" says 2 "linux-7.9" "$h" run --on linux-7.9 "$one"
check "run on no target" says 2 "names no target" "$h" run --on , "$one"
check "run a file that is not there" says 2 "No such file" "$h" run nowhere.hf
check "run a folder without scenarios" says 2 "no scenario" "$h" run docs
check "a parse error names file, line and column" \
	says 2 "tests/scenario/bad/unknown-verb.hf:4:4: unknown step 'mmap'" "$h" run tests/scenario/bad/unknown-verb.hf
check "what is expected is success" status_is 0 "$h" run --on linux-6.1 "$one"
check "table: the bad cell in words" says 0 "but the device wrote 0x22 there" "$h" run --on linux-6.1 "$one"
check "list policies" says 0 "option 2, complete and exact" "$h" list policies
check "list kinds" says 0 zeropage "$h" list kinds
check "list scenarios" says 0 vmsplice-child-leak "$h" list scenarios
check "list nonsense" says 2 Usage: "$h" list nonsense
check "trace shows page states" says 0 "exclusive writable refs" "$h" run --on holdfast --trace "$one"
check "tap" says 0 "ok 1 - odirect-read-fork-write base on holdfast" "$h" run --format tap --on holdfast "$one"
check "markdown" says 0 '| `odirect-read-fork-write` | **lost-write** |' "$h" run --format markdown --on linux-6.1 "$one"
check "no colours in a file" sh -c '! "$1" run --on linux-6.1 "$2" | grep -q "$(printf "\033")"' - "$h" "$one"

sed 's/^expect.*//' "$one" >"$dir/plain.hf"
check "a bad cell without expect line is failure" says 1 UNEXPECTED "$h" run --on linux-6.1 "$dir/plain.hf"
{
	cat "$dir/plain.hf"
	echo 'expect holdfast leak'
} >"$dir/wrong.hf"
check "an ok cell that was expected to be bad is failure" says 1 UNEXPECTED "$h" run --on holdfast "$dir/wrong.hf"
printf 'about x\nframes 99\nprocess P\nP: map b 1\n' >"$dir/skip.hf"
check "all skipped is 77" status_is 77 "$h" run --on here "$dir/skip.hf"
check "some skipped is not" status_is 0 "$h" run --on here,holdfast "$dir/skip.hf"

json_is_right() {
	"$h" run --format json --trace --on linux-6.1,holdfast,here "$one" >"$dir/json" || return
	python3 - "$dir/json" <<-'END'
		import json, sys
		cells = json.load(open(sys.argv[1]))
		assert [c["target"] for c in cells] == ["linux-6.1", "holdfast", "here"]
		for c in cells:
		    assert set(c) == {"scenario", "kind", "target", "verdict", "expected", "detail", "steps"}, c
		    assert c["scenario"] == "odirect-read-fork-write" and c["kind"] == "base"
		assert cells[0]["verdict"] == "lost-write" and cells[0]["expected"] == "lost-write"
		assert cells[0]["steps"][0]["step"] == "P: map buf 1" and cells[0]["steps"][0]["line"] > 1
		assert "exclusive" in cells[1]["steps"][1]["pages"]
	END
}
check "json" json_is_right

# A name may be any bytes, JSON is UTF-8: the cell is there all the same.
json_of_any_name() {
	name=$(printf '%s/caf\351.hf' "$dir")
	cp "$one" "$name" && "$h" run --format json --on holdfast "$name" >"$dir/json" &&
		python3 -c 'import json, sys; assert [c["scenario"] for c in json.load(open(sys.argv[1]))] == ["caf?"]' \
			"$dir/json"
}
check "json of a file whose name is not UTF-8" json_of_any_name

interrupt() {
	printf 'about x\nrounds 10000\nprocess P\nP: map b 64\nP: write b 1\nP: fork C\n' >"$dir/long.hf"
	"$h" run --on holdfast "$dir/long.hf" "$dir/long.hf" "$dir/long.hf" "$dir/long.hf" >/dev/null 2>&1 &
	pid=$!
	# SIGTERM is signal 15: bit 14 of the mask of what is caught
	for _ in $(seq 100); do
		grep -qE '^SigCgt:.*[4-7c-f][0-9a-f]{3}$' /proc/$pid/status && break
		sleep 0.05
	done
	kill -TERM $pid
	wait $pid
	[ $? -eq 130 ]
}
check "an interrupt ends the run" interrupt

check "output that cannot be written is an error" sh -c '"$1" --help >/dev/full 2>/dev/null; [ $? -eq 2 ]' - "$h"
if [ "$(id -u)" -eq 0 ]; then
	cp "$h" "$dir/holdfast" && chmod 755 "$dir" "$dir/holdfast"
	cp "$one" scenarios/cow/a1-basic-cow.hf "$dir" && chmod 644 "$dir"/*.hf
	check "without root, direct I/O is skipped with the remedy" \
		says 0 "run as root" setpriv --reuid 65534 --regid 65534 --clear-groups \
		"$dir/holdfast" run --on here "$dir/odirect-read-fork-write.hf" "$dir/a1-basic-cow.hf"
fi
done_testing
