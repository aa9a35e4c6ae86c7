#!/bin/sh
# The engine next to the running kernel: as many histories as a few seconds take. Frames and marks are for root to see.
. tests/tap.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
h=$HOLDFAST

check "help" says 0 "Usage: holdfast equiv" "$h" equiv --help
check "a policy is no kernel" says 2 "a kernel is needed" "$h" equiv --on linux-6.1
check "an unknown policy" says 2 "is not a policy" "$h" equiv --policy linux-1.0
check "an unknown operation" says 2 "is not an operation" "$h" equiv --without dance
check "memory that it does not know" says 2 "expected one of base" "$h" equiv --kind swapped
check "a count that is none" says 2 "expected a number" "$h" equiv --count many

"$h" equiv --count 1 >"$dir/out" 2>"$dir/err"
if [ $? -eq 77 ]; then
	skip "the engine and the running kernel" "$(head -n 1 "$dir/err")"
	done_testing
fi

check "no difference in 200 histories" says 0 " 0 differences" "$h" equiv --count 200 --seed 3

over() { # KIND
	"$h" equiv --kind "$1" --count 1 >"$dir/out" 2>"$dir/err"
	if [ $? -eq 77 ]; then
		skip "no difference in 60 over $1" "$(head -n 1 "$dir/err")"
	else
		check "no difference in 60 over $1" says 0 " 0 differences" "$h" equiv --kind "$1" --count 60 --seed 3
	fi
}
for kind in large-16k huge-zeropage hugetlb memfd tmpfile memfd-hugetlb mixed; do
	over $kind
done

# Rules of another era must be told apart, by marks and, where both have them, by what pins do.
other_rules() { # POLICY
	says 1 "history" "$h" equiv --policy "$1" --count 400 --emit "$dir/found.hf" || return
	[ "$(grep -c '^[PCDE]:' "$dir/found.hf")" -le 20 ] || {
		cat "$dir/found.hf"
		return 1
	}
	"$h" run --on holdfast "$dir/found.hf"
}
check "the rules of 5.10 differ, and a short scenario shows it" other_rules linux-5.10

# By what is refused alone: without forks, swap and references.
refusals() {
	says 1 "status:" "$h" equiv --kind mixed --policy "$1" --count 400 \
		--without fork,swapout,wrprotect,pin,odirect,vmsplice
}
case $(uname -r) in
6.1[7-9].*|6.[2-9]*|[7-9].*) check "what mremap may span tells 6.12 from this kernel" refusals linux-6.12 ;;
*) skip "what mremap may span tells 6.12 from this kernel" "it is Linux $(uname -r)" ;;
esac
check "the default policy's rules differ" other_rules holdfast

same_again() {
	"$h" equiv --policy holdfast --count 400 --seed 9 | sed '$d' >"$dir/1"
	"$h" equiv --policy holdfast --count 400 --seed 9 | sed '$d' >"$dir/2"
	[ -s "$dir/1" ] && diff "$dir/1" "$dir/2"
}
check "a seed means the same histories" same_again

interrupted() {
	"$h" equiv --count 1000000 >"$dir/out" &
	sleep 1
	kill -INT $!
	wait $!
	[ $? -eq 130 ] && grep -q "steps compared" "$dir/out"
}
check "an interrupt prints what is known" interrupted
done_testing
