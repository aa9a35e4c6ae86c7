#!/bin/sh
# The search over histories: what it must find by itself, and what it must not.
. tests/tap.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

steps_of() {
	grep -E '^[A-Za-z]+: ' "$1"
}

# The shortest history that breaks a policy, that it is the one that was kept, and that it breaks the policy in the same
# way when it is run as a scenario.
finds() { # POLICY VERDICT STEPS KEPT OPTION...
	policy=$1
	verdict=$2
	steps=$3
	kept=scenarios/found/$4.hf
	shift 4
	"$HOLDFAST" check --histories --threads 1 --policy "$policy" --emit "$dir/found.hf" "$@" >"$dir/out"
	status=$?
	cat "$dir/out"
	[ $status -eq 1 ] || return
	grep -q "$policy breaks after $steps steps: $verdict:" "$dir/out" || return
	steps_of "$kept" >"$dir/kept.steps"
	steps_of "$dir/found.hf" | diff "$dir/kept.steps" - || return
	"$HOLDFAST" run --on "$policy,holdfast" "$dir/found.hf"
}

# What a kept scenario says that it was found by.
found() { # VERDICT STEPS KEPT
	command=$(sed -n 's/^source *holdfast check --histories --policy //p' "scenarios/found/$3.hf")
	# shellcheck disable=SC2086
	set -- "$1" "$2" "$3" $command
	by=$4
	verdict=$1
	steps=$2
	kept=$3
	shift 4
	finds "$by" "$verdict" "$steps" "$kept" "$@"
}

every_kept_one_was_looked_for() {
	for f in scenarios/found/*.hf; do
		grep -q "^check .*\" found [a-z-]* [0-9] $(basename "$f" .hf)\$" tests/check.sh || {
			echo "$f"
			return 1
		}
	done
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

other_kind() {
	finds_nothing --depth 1 --checkpoint "$dir/base" &&
		says 2 "not a checkpoint of this search" --histories --kind thp --resume "$dir/base"
}

# A bit of a figure, a state, a history; too short, too long: nothing that it says is believed.
damaged() {
	finds_nothing --depth 2 --checkpoint "$dir/kept" || return
	size=$(stat -c %s "$dir/kept")
	for at in 92 97 105 130 200 $((size - 60)) $((size - 3)) short long; do
		python3 - "$dir/kept" "$dir/damaged" $at <<-'END'
			import sys
			data, at = bytearray(open(sys.argv[1], "rb").read()), sys.argv[3]
			if at == "short":
			    del data[-36:]
			elif at == "long":
			    data += b"x"
			else:
			    data[int(at)] ^= 4
			open(sys.argv[2], "wb").write(data)
		END
		says 2 "is damaged" --histories --resume "$dir/damaged" || return
	done
}

shows_progress() {
	"$HOLDFAST" check --histories --depth 16 --seconds 3 --progress >"$dir/out" 2>"$dir/err" || return
	grep -qE '^depth [0-9]+: [0-9]+%; [0-9]+ states, [0-9]+ histories a second; [0-9]+[smh] left, then [0-9]+[smh]$' \
		"$dir/err" || return
	"$HOLDFAST" check --histories --depth 16 --seconds 2 >"$dir/out" 2>"$dir/err" || return
	[ ! -s "$dir/err" ] &&
		grep -qE '^depth [0-9]+: [0-9]+ histories, [0-9]+ states, [1-9][0-9]* histories a second, [0-9.]+ MiB$' "$dir/out"
}

interrupt() {
	"$HOLDFAST" check --histories --depth 16 --progress >"$dir/out" 2>"$dir/err" &
	pid=$!
	for _ in $(seq 100); do
		grep -q left "$dir/err" && break
		sleep 0.1
	done
	kill -INT $pid
	wait $pid
	[ $? -eq 130 ] && grep -q 'nothing in any history of up to [1-9]' "$dir/out"
}

check "linux-4.19: what a pipe holds leaks (CVE-2020-29374)" found leak 6 pipe-shows-what-the-child-writes
check "linux-5.8: a pin is lost by fork" found lost-write 4 pin-lost-by-fork
check "linux-5.10: a pin is orphaned" found lost-write 4 pin-orphaned-by-write-protection
check "linux-5.18: a read-only pin goes stale" \
	finds linux-5.18 stale-read 4 read-pin-of-a-shared-page --written --find stale-read
check "linux-6.1: a direct read is lost" found lost-write 5 direct-read-lost-by-fork
check "linux-6.12: a short pin of the zeropage goes stale" found stale-read 3 short-pin-of-a-never-written-page
check "linux-6.18: likewise" finds linux-6.18 stale-read 3 short-pin-of-a-never-written-page
check "ro-pin-exempt: a read-only pin goes stale" found stale-read 4 read-pin-of-a-shared-page
check "two-counters: likewise" finds two-counters stale-read 4 read-pin-of-a-shared-page --written
check "fail-pin: a direct write is refused" found refused 2 direct-write-refused-after-fork
check "ro-short-get: a short pin goes stale" finds ro-short-get stale-read 3 short-pin-of-a-never-written-page
check "wired-copy: likewise" finds wired-copy stale-read 3 short-pin-of-a-never-written-page
check "refuse-fork: fork is refused" found refused 2 fork-refused-while-pinned
check "copy-referenced: swap hides a reference" found leak 5 reference-lost-by-swapout
check "dont-fork: the child has a hole" found refused 3 hole-in-the-child
check "the folder has no others" every_kept_one_was_looked_for
check "holdfast: nothing" finds_nothing --depth 4
check "holdfast: nothing behind a PMD" finds_nothing --kind thp --depth 3
check "holdfast: nothing in folios" finds_nothing --kind large-16k --pages 2 --depth 3
check "holdfast: nothing with more processes and pages" finds_nothing --processes 3 --pages 2 --depth 2
check "threads and checkpoints change nothing" one_answer
check "--progress shows how far it is, and nothing else does where there is no terminal" shows_progress
check "an interrupt prints what is known" interrupt
# It said that holdfast refuses to map what is mapped.
few=read,fork,exit,protect,wrprotect,swapout,migrate,merge,collapse,split,get,vmsplice,odirect,device-read,device-write
check "holdfast: nothing where memory is unmapped and mapped again" finds_nothing --written --depth 6 --without $few

check "no histories" says 2 "--histories or --interleavings is needed" --depth 3
check "an unknown policy" says 2 "is not a policy" --histories --policy linux-9
check "an unknown operation" says 2 "is not an operation" --histories --without dance
check "an unknown verdict" says 2 "expected lost-write" --histories --find ok
check "memory that the search does not know" says 2 "expected one of base thp" --histories --kind hugetlb
check "a depth out of bounds" says 2 "expected a number from 1 to 16" --histories --depth 17
check "a checkpoint of something else" says 2 "not a checkpoint of this search" --histories --resume README.md
check "a checkpoint of another kind" other_kind
check "a checkpoint that is damaged" damaged
check "a checkpoint that is not there" says 2 "No such file" --histories --resume "$dir/nowhere"
check "a file that cannot be written" says 2 "$dir/no/where" --histories --policy fail-pin --emit "$dir/no/where"
done_testing
