#!/bin/sh
# Native spaces on huge pages of the pool, which is as large as that takes meanwhile.
. tests/tap.sh

need=72 # kv: 32, and a child's copies

if [ "${1-}" != inside ]; then
	"$BUILD"/tests/with-pool $need sh "$0" inside
	status=$?
	[ $status -eq 77 ] || exit $status
	skip "huge pages of the pool" "only root may make it larger, or the kernel has not enough memory in one piece"
	done_testing
fi

for t in test_native test_native_bracketed test_native_calls test_native_process test_native_limits test_native_failing test_native_ordinary "native_soak 4"; do
	# shellcheck disable=SC2086 # a program and its argument
	check "$t" env HF_WAYS=hugetlb "$BUILD"/tests/$t
done
check "examples/kv" env HF_WAYS=hugetlb sh tests/kv.sh
done_testing
