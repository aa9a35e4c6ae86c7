# For shell tests: TAP. Source it, call `check NAME COMMAND...`, end with `done_testing`.
# shellcheck shell=sh
nr=0
failed=0

# The command must succeed.
check() {
	name=$1
	shift
	nr=$((nr + 1))
	if output=$("$@" 2>&1); then
		echo "ok $nr - $name"
	else
		echo "not ok $nr - $name"
		echo "$output" | head -40 | sed 's/^/# /'
		failed=$((failed + 1))
	fi
}

# What cannot be tested here, and why.
skip() { # NAME REASON
	nr=$((nr + 1))
	echo "ok $nr - $1 # SKIP $2"
}

done_testing() {
	echo "1..$nr"
	[ "$failed" -eq 0 ]
	exit
}
