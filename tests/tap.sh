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

# Of a command: its exit status, and a text that it prints. $dir is the test's scratch folder.
status_is() { # STATUS COMMAND...
	want=$1
	shift
	"$@" >"$dir/out" 2>"$dir/err"
	got=$?
	[ $got -eq "$want" ] || {
		echo "exit status $got, want $want"
		cat "$dir/out" "$dir/err"
		return 1
	}
}

says() { # STATUS TEXT COMMAND...
	want=$1
	text=$2
	shift 2
	status_is "$want" "$@" || return
	grep -qF -- "$text" "$dir/out" "$dir/err" || {
		echo "'$text' is not in:"
		cat "$dir/out" "$dir/err"
		return 1
	}
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
