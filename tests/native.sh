#!/bin/sh
# The scenario library on native spaces, in all modes, next to the policy whose promises they make.
. tests/tap.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Those that native spaces have; under a sanitizer, one of each unit.
kinds=base,swapped,zeropage,thp,thp-swapped,huge-zeropage,hugetlb
[ -z "${KINDS:-}" ] || kinds=base,thp-swapped

# What a run may change, and has to put back.
settings() {
	cat /sys/kernel/mm/transparent_hugepage/enabled /sys/kernel/mm/transparent_hugepage/hugepages-*/enabled \
		/proc/sys/vm/nr_hugepages 2>/dev/null
	awk '{ print $1 }' /proc/swaps
}

# Others on the machine may change them, too: once of five times nobody must have.
puts_back() { # COMMAND...
	for _ in 1 2 3 4 5; do
		settings >"$dir/before"
		"$@" || return
		settings >"$dir/after"
		diff "$dir/before" "$dir/after" && return
	done
	return 1
}

# Without a right or a device of this machine, cells are skipped for that, and no other reason may grow.
same_verdicts() {
	"$HOLDFAST" run --format json --on holdfast,native,native-signal,native-bracketed --kinds "$kinds" scenarios >"$dir/json" || {
		tail -n 20 "$dir/json"
		return 1
	}
	python3 - "$dir/json" <<-'END'
		import collections, json, os, re, sys
		cells = json.load(open(sys.argv[1]))
		policy = {(c["scenario"], c["kind"]): c["verdict"] for c in cells if c["target"] == "holdfast"}
		machine = re.compile("the default mode|userfaultfd|THPs need|cannot be set|run as root|there is no swap"
		                     "|did not move|gave no folio|has no folios of|shared zeropage|hugetlb pool|root sees|by root only"
		                     "|/dev/fuse|io_uring|RLIMIT_MEMLOCK|a pipe cannot")
		for target in "native", "native-signal", "native-bracketed":
		    mine = [c for c in cells if c["target"] == target]
		    skips = [c for c in mine if c["verdict"] == "skip"]
		    ok = [c for c in mine if c["verdict"] == "ok"]
		    other = [c for c in skips if machine.search(c["detail"])]
		    print(target, len(ok), "ok", len(skips), "skipped,", len(other), "of them for want of rights or devices")
		    assert len(mine) == len(policy) and len(ok) + len(skips) == len(mine), target
		    assert all(c["detail"] for c in skips), "a skip without a reason"
		    assert all(policy[c["scenario"], c["kind"]] == "ok" for c in ok)
		    assert len(ok) + len(other) >= (90 if "KINDS" in os.environ else 122), collections.Counter(c["detail"] for c in skips)
	END
}

# Without rights the default mode is skipped with what to do, and signal mode runs.
without_rights() {
	cp -r "$HOLDFAST" scenarios "$dir" && chmod -R a+rX "$dir" || return
	for target in native native-signal; do
		(cd "$dir" && setpriv --reuid 65534 --regid 65534 --clear-groups \
			./holdfast run --kinds base --on "$target" --format json scenarios/cow scenarios/thread) >"$dir/$target"
		[ $? -ne 1 ] || return 1
	done
	python3 - "$dir/native" "$dir/native-signal" <<-'END'
		import json, sys
		default, signal = (json.load(open(f)) for f in sys.argv[1:])
		assert {c["verdict"] for c in default} <= {"ok", "skip"}, default
		assert [c for c in signal if c["verdict"] == "ok"], signal
	END
}

special_kinds() {
	"$HOLDFAST" run --kinds thp,hugetlb,swapped --on native,native-signal scenarios/cow/a1-basic-cow.hf >"$dir/out" 2>&1
}

# What was done so far is printed.
interrupted() {
	"$HOLDFAST" run --kinds thp,hugetlb,swapped --on native,native-signal scenarios >"$dir/out" 2>&1 &
	pid=$!
	sleep 0.5
	kill -TERM "$pid"
	wait "$pid"
	got=$?
	[ "$got" -eq 130 ] || [ "$got" -eq 0 ]
}

pages() {
	"$HOLDFAST" run --trace --on native scenarios/thread/odirect-read-fork-write.hf >"$dir/out" || return
	grep -q "P buf@0 .*exclusive writable pins 1" "$dir/out" || {
		cat "$dir/out"
		return 1
	}
}

if "$HOLDFAST" run --kinds base --on native-signal scenarios/cow/a1-basic-cow.hf >"$dir/out" 2>&1; [ $? -eq 77 ]; then
	skip "native spaces" "$(grep '^skip on' "$dir/out")"
	done_testing
fi
check "native spaces give holdfast's verdicts, in all modes" same_verdicts
echo "$output" | sed 's/^/# /'
check "the machine's settings are put back" puts_back special_kinds
check "and when the run is interrupted" puts_back interrupted
if [ "$(id -u)" -eq 0 ] && [ -e /dev/fuse ]; then
	check "the trace shows pages, marks and pins" pages
	check "without rights there is signal mode" without_rights
else
	skip "the trace, and running without rights" "not root, or no /dev/fuse"
fi
check "an unknown target is told of the known ones" says 2 "'native-signal' or 'native-bracketed'" "$HOLDFAST" run --on natives scenarios/cow
check "list targets" says 0 "native-signal" "$HOLDFAST" list targets
check "equiv wants a kernel" says 2 "a kernel is needed" "$HOLDFAST" equiv --on native
done_testing
