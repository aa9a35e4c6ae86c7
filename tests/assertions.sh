#!/bin/sh
# What functions count on is asserted: so many assertions in 1000 lines, at least.
. tests/tap.sh

count() { # FOLDER
	cat "src/$1"/*.[ch] | awk '
		/^[[:space:]]*(\/\*|\*)/ || /#define/ { next }
		/(^|[^a-z_])hf_assert[a-z_]*\(/ { n++ }
		END { print n + 0 }'
}

has() { # FOLDER FLOOR
	lines=$(cat "src/$1"/*.[ch] | wc -l)
	n=$(count "$1")
	echo "src/$1: $n assertions in $lines lines, $((n * 1000 / lines)) in 1000"
	[ $((n * 1000)) -ge $(($2 * lines)) ]
}

for rule in 'core 25' 'native 18'; do
	# shellcheck disable=SC2086
	check "src/${rule% *}: ${rule#* } assertions in 1000 lines" has $rule
done
done_testing
