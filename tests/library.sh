#!/bin/sh
# The scenario library on every policy, and (except under a sanitizer that cannot fork) on the running kernel.
. tests/tap.sh

# Under sanitizers, one or two policies and kinds of each sort; THREADS: only what has threads that race.
all=linux-4.19,linux-5.8,linux-5.10,linux-5.18,linux-6.1,linux-6.12,linux-6.18,holdfast,fail-pin,ro-pin-exempt
all=$all,two-counters,ro-short-get,refuse-fork,wired-copy,copy-referenced,dont-fork
all=${POLICIES:-$all}
kinds=${KINDS:-anon,zeropage,huge-zeropage,memfd,tmpfile,memfd-hugetlb}
[ -n "${THREADS:-}" ] && files=$(grep -rl '^par ' scenarios) || files=scenarios
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# shellcheck disable=SC2086 # $files are words
as_expected() {
	"$HOLDFAST" run --kinds "$kinds" --on "$all" $files >"$out" 2>&1
	status=$?
	grep UNEXPECTED "$out"
	[ $status -eq 0 ] || tail -n 20 "$out"
	return $status
}

no_errors() {
	! grep -E '^[^ ]+ +.* error' "$out"
}

# Without expect lines to lean on: whatever the file says, holdfast must be right.
# shellcheck disable=SC2086
holdfast_is_ok() {
	"$HOLDFAST" run --kinds "$kinds" --format json --on holdfast $files >"$out" || return
	python3 - "$out" <<-'END'
		import json, os, sys
		cells = json.load(open(sys.argv[1]))
		bad = [c for c in cells if c["verdict"] != "ok"]
		cow = [c for c in cells if c["scenario"].split("-")[0][1:].isdigit()]
		scenarios = {c["scenario"] for c in cells}
		assert len(scenarios) >= 140 or "THREADS" in os.environ, len(scenarios)
		assert "KINDS" in os.environ or len(cow) >= 778, len(cow)
		assert not bad, bad
	END
}

# The cells that the README promises.
promised() { # SCENARIO TARGET VERDICT
	"$HOLDFAST" run --format json --on "$2" "$1" | python3 -c "
import json, sys
verdicts = {c['verdict'] for c in json.load(sys.stdin)}
assert verdicts == {'$3'}, verdicts"
}

check "every cell of every policy is as expected" as_expected
check "no cell is an error" no_errors
check "holdfast is ok in every cell" holdfast_is_ok
for era in linux-4.19 linux-5.10 linux-6.1; do
	check "odirect-read-fork-write loses the write on $era" \
		promised scenarios/thread/odirect-read-fork-write.hf $era lost-write
done
for era in linux-6.12 holdfast; do
	check "odirect-read-fork-write is ok on $era" \
		promised scenarios/thread/odirect-read-fork-write.hf $era ok
done
check "vmsplice-child-leak leaks on linux-4.19" \
	promised scenarios/reports/vmsplice-child-leak.hf linux-4.19 leak
for era in linux-5.8 linux-5.10 linux-5.18 linux-6.1 linux-6.12 linux-6.18 holdfast; do
	check "vmsplice-child-leak is ok on $era" promised scenarios/reports/vmsplice-child-leak.hf $era ok
done
for era in linux-4.19 linux-5.10; do
	check "ro-pin-shared-then-write is stale on $era" \
		promised scenarios/thread/ro-pin-shared-then-write.hf $era stale-read
done
for era in linux-6.1 linux-6.12 linux-6.18 holdfast; do
	check "ro-pin-shared-then-write is ok on $era" promised scenarios/thread/ro-pin-shared-then-write.hf $era ok
done
done_testing
