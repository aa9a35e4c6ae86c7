#!/bin/sh
# The search over histories: what it must find by itself, and what it must not.
. tests/tap.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# The shortest history that breaks a policy, and that it breaks it in the same way when it is run as a scenario.
finds() { # POLICY VERDICT STEPS OPTION...
	policy=$1
	verdict=$2
	steps=$3
	shift 3
	"$HOLDFAST" check --histories --threads 1 --policy "$policy" --emit "$dir/found.hf" "$@" >"$dir/out"
	status=$?
	cat "$dir/out"
	[ $status -eq 1 ] || return
	grep -q "$policy breaks after $steps steps: $verdict:" "$dir/out" || return
	"$HOLDFAST" run --on "$policy,holdfast" "$dir/found.hf"
}

finds_nothing() { # OPTION...
	"$HOLDFAST" check --histories "$@" >"$dir/out" && grep -q 'nothing in any history' "$dir/out"
}

says() { # STATUS TEXT OPTION...
	want=$1
	text=$2
	shift 2
	"$HOLDFAST" check "$@" >"$dir/out" 2>&1
	[ $? -eq "$want" ] && grep -qF -- "$text" "$dir/out"
}

counts() {
	sed -n 's/^depth \([0-9]*\): \([0-9]*\) histories, \([0-9]*\) states.*/\1 \2 \3/p' "$dir/out"
}

# On one thread and on two, in one go and by way of a checkpoint: the same states.
one_answer() {
	finds_nothing --depth 3 --threads 1 && counts >"$dir/one" &&
		finds_nothing --depth 3 --threads 2 && counts | cmp - "$dir/one" &&
		finds_nothing --depth 2 --checkpoint "$dir/kept" &&
		finds_nothing --depth 3 --resume "$dir/kept" && counts | cmp - "$dir/one"
}

check "linux-4.19: what a pipe holds leaks (CVE-2020-29374)" \
	finds linux-4.19 leak 6 --find leak --without pin,odirect
check "linux-5.10: a pin is orphaned" finds linux-5.10 lost-write 4 --written --without fork --find lost-write
check "linux-6.1: a direct read is lost" finds linux-6.1 lost-write 5 --find lost-write
check "linux-6.12: a short pin of the zeropage goes stale" finds linux-6.12 stale-read 3
check "ro-pin-exempt: a read-only pin goes stale" finds ro-pin-exempt stale-read 4 --written
check "fail-pin: a direct write is refused" finds fail-pin refused 2 --written --without pin
check "two-counters" finds two-counters stale-read 4 --written
check "ro-short-get" finds ro-short-get stale-read 3
check "refuse-fork" finds refuse-fork refused 2
check "wired-copy" finds wired-copy stale-read 3
check "dont-fork" finds dont-fork refused 3 --written --find refused
check "holdfast: nothing" finds_nothing --depth 4
check "holdfast: nothing with more processes and pages" finds_nothing --processes 3 --pages 2 --depth 2
check "threads and checkpoints change nothing" one_answer
check "no histories" says 2 "--histories or --interleavings is needed" --depth 3
check "an unknown policy" says 2 "is not a policy" --histories --policy linux-9
check "an unknown operation" says 2 "is not an operation" --histories --without dance
check "an unknown verdict" says 2 "expected lost-write" --histories --find ok
check "a depth out of bounds" says 2 "expected a number from 1 to 16" --histories --depth 17
check "a checkpoint of something else" says 2 "not a checkpoint of this search" --histories --resume README.md
check "a checkpoint that is not there" says 2 "No such file" --histories --resume "$dir/nowhere"
check "a file that cannot be written" says 2 "$dir/no/where" --histories --policy fail-pin --emit "$dir/no/where"
done_testing
