#!/bin/sh
# The search over histories against a SPIN model of the same rules, tests/spin/cow.pml, which shares no code
# with the engine: the same verdicts after the same number of steps, or nothing to the same depth.
# usage: tests/spin.sh [DEPTH]      every policy and verdict to that depth; each more takes ten times as long
#        tests/spin.sh              the telling ones, in half a minute of CPU
. tests/tap.sh

depth=${1:-4}
verdicts="lost-write stale-read leak refused bug" # as cow.pml numbers them, from 1

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp tests/spin/cow.pml "$dir"

# Options of the search, as the model takes them.
definitions() {
	# shellcheck disable=SC2046 # words
	while [ $# -gt 0 ]; do
		case $1 in
		--written) echo -DWRITTEN ;;
		--processes) echo "-DPROCS=$2" ;;
		--pages) echo "-DPAGES=$2" ;;
		--without) printf -- '-DWITHOUT_%s\n' $(echo "$2" | tr ',a-z-' ' A-Z_') ;;
		esac
		shift
	done
}

# For the shallow histories it takes longer to compile the model than to run it: clang is twice as fast.
compiler=$(command -v clang || echo "${CC:-cc}")
[ "$depth" -gt 4 ] && optimize=-O2 || optimize=-O0

# A policy's model, as the program pan.
model() { # POLICY DEPTH [DEFINITION...]
	policy=-DPOLICY_$(echo "$1" | tr 'a-z.-' 'A-Z__')
	bound=-DDEPTH=$2
	shift 2
	(cd "$dir" && spin "$policy" "$bound" "$@" -a cow.pml &&
		"$compiler" "$optimize" -w -DBFS -DSAFETY -DNOREDUCE -o pan pan.c)
}

# Writes steps of the shortest history with this verdict, or none; states; seconds to $dir/spin.
spin_finds() { # VERDICT|any
	find=0
	nr_verdict=0
	for v in $verdicts; do
		nr_verdict=$((nr_verdict + 1))
		[ "$v" = "$1" ] && find=$nr_verdict
	done
	rm -f "$dir/cow.pml.trail"
	(cd "$dir" && FIND=$find ./pan -E -n -w20 >out 2>&1)
	: >"$dir/history"
	if grep -q 'errors: 1$' "$dir/out"; then
		[ "$1" = any ] || grep -q "violated.*!($(echo "$1" | tr - _))" "$dir/out" || return
		(cd "$dir" && FIND=$find ./pan -r -S -n 2>/dev/null) | sed '/^pan/,$d' >"$dir/history"
	else
		grep -q 'errors: 0$' "$dir/out" || return
	fi
	awk -v steps="$(wc -l <"$dir/history")" '/states, stored/ { states = $1 } /elapsed time/ { s = $4 }
		END { print steps ? steps : "none", states, s }' "$dir/out" >"$dir/spin"
}

# The same of the search, to $dir/search.
search_finds() { # VERDICT|any POLICY DEPTH [OPTION...]
	sought=$1
	policy=$2
	bound=$3
	shift 3
	[ "$sought" = any ] || set -- --find "$sought" "$@"
	"$HOLDFAST" check --histories --threads 1 --policy "$policy" --depth "$bound" "$@" >"$dir/found" 2>&1
	[ $? -le 1 ] || return
	awk '/^depth / { states = $5; s = $3 / $7 } / breaks after / { steps = $4 }
		END { print steps ? steps : "none", states, s }' "$dir/found" >"$dir/search"
}

# A line of the table. Nothing is said about the speed of a blink.
row() { # POLICY VERDICT DEPTH
	cat "$dir/spin" "$dir/search" | awk -v policy="$1" -v verdict="$2" -v depth="$3" '
		{ steps[NR] = $1; states[NR] = $2; rate[NR] = $3 >= .05 ? int($2 / $3) : "-" }
		END { printf "# %-15s %-10s %5d %5s %8s %9d %9d %9s %9s\n", policy, verdict, depth, steps[1],
			steps[2], states[1], states[2], rate[1], rate[2] }' >>"$dir/table"
}

# SPIN and the search agree on each of these verdicts.
agree() { # POLICY DEPTH VERDICTS [OPTION...]
	of=$1
	to=$2
	each=$3
	shift 3
	# The model has base pages only, which stay where they are, and nobody maps what is unmapped or asks for FOLL_GET.
	set -- --without migrate,merge,map,get "$@"
	# shellcheck disable=SC2046 # words
	model "$of" "$to" $(definitions "$@") || return
	for verdict in $each; do
		if ! spin_finds "$verdict"; then
			cat "$dir/out"
			return 1
		fi
		if ! search_finds "$verdict" "$of" "$to" "$@"; then
			cat "$dir/found"
			return 1
		fi
		row "$of" "$verdict" "$to"
		[ "$(cut -d' ' -f1 "$dir/spin")" = "$(cut -d' ' -f1 "$dir/search")" ] || {
			echo "$of, $verdict: SPIN and the search differ"
			cat "$dir/history" "$dir/found"
			return 1
		}
	done
}

# The model notices when holdfast has another rule.
breaks() { # VERDICT DEPTH DEFINITION...
	noticed=$1
	shift
	model holdfast "$@" && spin_finds "$noticed" && [ -s "$dir/history" ]
}

# In half a minute of CPU: no refusals by Linux, which never refuses; three steps for the designs, and for linux-6.18, whose
# rules for base pages are those of linux-6.12.
if [ $# -gt 0 ]; then
	linux=$verdicts
	designs=$verdicts
	less=$depth
	more=$((depth + 1))
else
	linux="lost-write stale-read leak bug"
	designs="stale-read refused bug"
	less=3
	more=4
fi
for p in $("$HOLDFAST" list policies | awk '{ print $1 }'); do
	case $p in
	holdfast) check "$p: nothing" agree "$p" "$more" any ;;
	copy-referenced) check "$p: nothing" agree "$p" "$less" any ;;
	linux-6.18) check "$p: the same verdicts" agree "$p" "$less" "$linux" ;;
	linux-*) check "$p: the same verdicts" agree "$p" "$depth" "$linux" ;;
	*) check "$p: the same verdicts" agree "$p" "$less" "$designs" ;;
	esac
done
check "linux-6.1: how a direct read is lost" agree linux-6.1 5 lost-write --written \
	--without protect,swapout,unmap,exit,vmsplice
check "linux-4.19: how a pipe leaks" agree linux-4.19 6 leak --without pin,odirect
for p in linux-5.10 linux-5.18; do
	check "$p: whether a page in swap leaks" agree $p 6 leak --written --without pin,odirect
done
check "linux-5.10: zeros from before a fork are old bytes" agree linux-5.10 6 bug \
	--without write,swapout,protect,unmap,exit,vmsplice,device-read,device-write
check "linux-5.18: stores from before a fork are old bytes" agree linux-5.18 6 leak --written \
	--without odirect,swapout,protect,unmap,exit,vmsplice,device-read
check "linux-5.10: three processes" agree linux-5.10 4 "stale-read leak" --processes 3
check "holdfast: three processes with two pages" agree holdfast 3 any --processes 3 --pages 2
check "fork must not share pinned pages" breaks bug 4 -DFORK_COPIES=false
check "pins must be of marked pages" breaks bug 4 -DUNMARKED=take
check "pins must not be of the zeropage" breaks stale-read 4 -DZEROPAGE=take
check "references must count" breaks leak 5 -DREUSE=SOLE_MAPPING -DWRITTEN
check "the mark must count" breaks lost-write 4 -DREUSE=SOLE_REFERENCE
printf '# %-15s %-10s %5s %14s %19s %19s\n' '' '' '' steps states 'states a second'
printf '# %-15s %-10s %5s %5s %8s %9s %9s %9s %9s\n' policy verdict depth SPIN search SPIN search SPIN search
cat "$dir/table"
done_testing
