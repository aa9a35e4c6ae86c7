#!/bin/sh
# The text of the project: formatting, width, the manual, documents that say what is so.
. tests/tap.sh

sources() {
	git ls-files '*.c' '*.h'
}

formatted() {
	# shellcheck disable=SC2046
	clang-format --dry-run -Werror $(sources)
}

narrow() {
	# shellcheck disable=SC2046
	python3 - $(sources) <<-'END'
		import sys
		wide = [f"{f}:{n}" for f in sys.argv[1:] for n, line in enumerate(open(f), 1)
		        if len(line.rstrip("\n").expandtabs(8)) > 100]
		sys.exit("wider than 100 columns: " + " ".join(wide) if wide else 0)
	END
}

manual_is_clean() {
	mandoc -Tlint -Wwarning docs/holdfast.1
}

manual_names_every_policy() {
	for p in $("$HOLDFAST" list policies | awk '{ print $1 }'); do
		grep -q "$p" docs/holdfast.1 || {
			echo "$p is not in docs/holdfast.1"
			return 1
		}
	done
}

table_is_current() {
	targets=$(sed -n 's/^THREAD_TARGETS := //p' Makefile)
	mkdir -p "$dir/docs" "$dir/scripts" && cp docs/design.md "$dir/docs" && cp scripts/thread-table "$dir/scripts" &&
		cp -r scenarios "$dir" && (cd "$dir" && scripts/thread-table "$HOLDFAST" "$targets") &&
		diff docs/design.md "$dir/docs/design.md"
}

index_is_current() {
	rm -rf "$dir/docs" "$dir/scripts" "$dir/scenarios" && mkdir "$dir/scripts" &&
		cp scripts/library-index "$dir/scripts" && cp -r scenarios "$dir" &&
		(cd "$dir" && scripts/library-index) && diff scenarios/README.md "$dir/scenarios/README.md"
}

# Each atomic of the core that is more than relaxed is in the table, by its name and order, and no other.
atomics_are_current() {
	"$HOLDFAST" check --mutants --list >"$dir/sites" &&
		grep -E ', (acquire|release|acq_rel|seq_cst)$' "$dir/sites" >"$dir/strong" &&
		sed -n 's/^| `\(.*\)` | \([a-z_]*\) | .*/\1, \2/p' docs/atomics.md | diff - "$dir/strong" &&
		grep -q "^Another $(grep -c ', relaxed$' "$dir/sites") are relaxed" docs/atomics.md
}

# Words of the workshop do not belong into the product.
stands_alone() {
	! git grep -nE '\.\./shared|work/main' -- ':!tests/style.sh'
}

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

if git rev-parse --git-dir >/dev/null 2>&1; then
	check "sources are clang-formatted" formatted
	check "no source line is wider than 100 columns" narrow
	check "nothing refers to files outside the project" stands_alone
fi
check "mandoc finds nothing to complain about" manual_is_clean
check "the manual names every policy" manual_names_every_policy
check "the thread's table in docs/design.md is what make thread-table writes" table_is_current
check "docs/atomics.md has the atomics that the core has" atomics_are_current
check "scenarios/README.md is what scripts/library-index writes" index_is_current
done_testing
