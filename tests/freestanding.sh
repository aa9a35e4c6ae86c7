#!/bin/sh
# The core and the policies compile, link and run without a C library, and have no state of their own.
. tests/tap.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

builds() { # COMPILER
	for f in src/core/*.c src/policy/*.c tests/freestanding.c; do
		"$1" -std=c17 -O2 -Wall -Wextra -Werror -ffreestanding -fno-stack-protector -fno-pie -Iinclude \
			-c "$f" -o "$(echo "$f" | tr / - | sed 's/c$/o/')" || return
	done
	"$1" -nostdlib -static ./*.o -o bare
}

# In a folder of their own, so that objects do not mix.
in_folder() { # COMPILER
	mkdir "$dir/$1" && cp -r include src tests "$dir/$1" && (cd "$dir/$1" && builds "$1")
}

includes_only_freestanding_headers() {
	! grep -hE '^#include <' src/core/*.[ch] src/policy/*.[ch] include/holdfast/platform.h \
		include/holdfast/policy.h include/holdfast/mm.h include/holdfast/gup.h include/holdfast/validate.h |
		grep -vE '<(holdfast/[a-z]+\.h|stdint\.h|stddef\.h|stdbool\.h|stdatomic\.h|limits\.h|stdalign\.h)>'
}

# b, B, d, D: writable data
has_no_globals() {
	rm -f "$dir/gcc/tests-freestanding.o"
	! nm "$dir"/gcc/*.o | grep -E ' [bBdDC] '
}

for compiler in gcc clang; do
	check "core and policy compile and link with $compiler -ffreestanding -nostdlib" in_folder $compiler
	check "what $compiler built runs: a pin survives a fork" "$dir/$compiler/bare"
done
check "core and policy include freestanding headers only" includes_only_freestanding_headers
check "core and policy have no writable globals" has_no_globals
done_testing
