#!/bin/sh
# Interleavings: what every order of the arms shows, and what a schedule replays.
. tests/tap.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

explore() { # OPTION...
	"$HOLDFAST" check --interleavings "$@" >"$dir/out" 2>"$dir/err"
}

# Every order of every pair that is small enough to be gone through whole here.
all_of() { # MEMORY KINDS SCENARIO...
	model=$1
	kinds=$2
	shift 2
	explore --memory "$model" --kinds "$kinds" --seconds 0 "$@" &&
		! grep -v '(all)' "$dir/out" | grep -v '^[0-9]* explorations' >"$dir/incomplete" || {
		cat "$dir/out"
		return 1
	}
}

pairs="fork-and-fork fork-and-read-pin migration-and-read-pin store-and-store swapout-and-read-pin two-pins unmap-and-pin
	unmap-and-read unmap-reuse-and-pin unpin-and-fork unpin-and-merge unpin-and-migration unpin-and-store
	unpin-and-swapout unpin-and-unmap unshare-and-exit copy-and-read-and-exit"
others="hugetlb-store-and-store truncation-and-fork truncation-and-fault-of-child truncation-and-store dontneed-and-copy
	swapout-beside-and-pin discard-and-pin discard-and-device-store remap-and-migration-elsewhere copy-and-read-and-store
	protect-and-migration"
in_races() { # NAME...
	for p in "$@"; do echo "scenarios/races/$p.hf"; done
}
# shellcheck disable=SC2086
files=$(in_races $pairs) more=$(in_races $others)

# The schedule that is printed leads to the same verdict again, with every operation on the way.
replays() { # POLICY VERDICT SCENARIO OPTION...
	policy=$1
	verdict=$2
	scenario=$3
	shift 3
	sed '/^expect/d' "$scenario" >"$dir/found.hf"
	explore --policy "$policy" --kinds base "$@" "$dir/found.hf"
	[ $? -eq 1 ] && grep -q "^  $verdict: " "$dir/out" || {
		cat "$dir/out" "$dir/err"
		return 1
	}
	# shellcheck disable=SC2046
	set -- $(sed -n 's/^  holdfast //p' "$dir/out")
	"$HOLDFAST" "$@" >"$dir/replay"
	[ $? -eq 1 ] && grep -q "^  $verdict: " "$dir/replay" && grep -q 'load.*seq_cst.*gup_fast.c' "$dir/replay"
}

says() { # STATUS TEXT OPTION...
	want=$1
	text=$2
	shift 2
	explore "$@"
	[ $? -eq "$want" ] && cat "$dir/out" "$dir/err" | grep -qF -- "$text"
}

says_of_mutants() { # STATUS TEXT OPTION...
	want=$1
	text=$2
	shift 2
	"$HOLDFAST" check --mutants --seconds 1 "$@" >"$dir/out" 2>"$dir/err"
	[ $? -eq "$want" ] && grep -qF -- "$text" "$dir/err"
}

# Over small pages.
killed() { # SITE SCENARIO
	sed '/^kinds/d' "$2" >"$dir/base.hf"
	"$HOLDFAST" check --mutants --policy holdfast --seconds 0 --only "$1" "$dir/base.hf" >"$dir/out" || {
		cat "$dir/out"
		return 1
	}
}

interrupted() {
	"$HOLDFAST" check --interleavings --seconds 0 --threads 1 scenarios/races/swap-in-and-swap-in.hf >"$dir/out" &
	pid=$!
	sleep 1
	kill -INT $pid
	wait $pid
	[ $? -eq 130 ] && grep -q 'executions, .* ok' "$dir/out"
}

# shellcheck disable=SC2086
check "holdfast: no order of any pair is bad, sequentially consistent" all_of sc base $files
# shellcheck disable=SC2086
check "holdfast: nor with store buffers" all_of tso base $files
# shellcheck disable=SC2086
check "holdfast: nor in any way that C11 allows" all_of rc11 base $files
for model in sc rc11; do
	# shellcheck disable=SC2086
	check "holdfast: nor of huge pages, files and folios, $model" \
		all_of $model base,hugetlb,memfd,memfd-hugetlb,large-8k $more
done
check "linux-5.8: fork between a pin's look and its count" replays linux-5.8 stale-read scenarios/races/fork-and-read-pin.hf
check "linux-5.10: write protection, among schedules with one preemption" \
	replays linux-5.10 lost-write scenarios/reports/pin-races-write-protection.hf --preemptions 1
check "the same at random" \
	replays linux-5.8 stale-read scenarios/races/fork-and-read-pin.hf --random 5000 --depth 3 --seed 7
check "linux-5.10: reclaim between a pin's look and its count" \
	replays linux-5.10 lost-write scenarios/reports/pin-races-swapout.hf
check "GUP-fast without its second look at the entry, or with a weaker one" \
	killed 'gup_fast.c:fast_one load ptep #2' scenarios/races/swapout-and-pin-and-unpin.hf
check "GUP-fast without its second look at the sequence, or with a weaker one" \
	killed 'hf_gup_fast load &mm->write_protect_seq #2' scenarios/races/fork-and-read-pin.hf
check "GUP-fast outside of an RCU section" \
	killed 'hf_gup_fast section RCU' scenarios/races/unmap-and-pin.hf
check "a site that there is not" says_of_mutants 2 "no arms meet at a site with 'gup_fast.c:66' in its name" \
	--only gup_fast.c:66 scenarios/races/two-pins.hf
check "an interrupt prints what is known" interrupted
check "a schedule that does not fit" says 1 "the schedule does not fit" --schedule c3 scenarios/races/two-pins.hf
check "a schedule that is none" says 1 "is no schedule" --schedule x scenarios/races/two-pins.hf
check "no par block" says 77 "has a par block" scenarios/cow/a1-basic-cow.hf
check "no scenario" says 2 "no scenario given" --memory sc
check "an unknown model" says 2 "expected sc, tso or rc11" --memory power scenarios/races
check "an unknown policy" says 2 "is not a policy" --policy linux-2.4 scenarios/races
done_testing
