#!/bin/sh
# Native spaces on huge pages of the pool, which is as large as that takes meanwhile.
. tests/tap.sh

dir=$(mktemp -d)
pool=/proc/sys/vm/nr_hugepages
before=$(cat "$pool" 2>/dev/null)
need=72 # kv: 32, and a child's copies

put_back() {
	[ -z "$before" ] || [ "$(cat "$pool")" -eq "$before" ] || echo "$before" >"$pool"
	rm -rf "$dir"
}
trap put_back EXIT
trap 'exit 1' INT TERM HUP

if [ "$(id -u)" -ne 0 ] || [ ! -w "$pool" ]; then
	skip "huge pages of the pool" "only root may make it larger"
	done_testing
fi
[ "$before" -ge $need ] || echo $need >"$pool"
if [ "$(cat "$pool")" -lt $need ]; then
	skip "huge pages of the pool" "the kernel has not enough memory in one piece"
	done_testing
fi

for t in test_native test_native_calls test_native_process test_native_limits test_native_failing test_native_ordinary "native_soak 4"; do
	# shellcheck disable=SC2086 # a program and its argument
	check "$t" env HF_WAYS=hugetlb "$BUILD"/tests/$t
done
check "examples/kv" env HF_WAYS=hugetlb sh tests/kv.sh
done_testing
