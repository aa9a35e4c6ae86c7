#!/bin/sh
# Random scenarios that claim nothing, and in which every step may fail: under `holdfast` nothing is wrong with them, and
# under no policy is anything a bug, or an error, for which the oracle or the file would have to be at fault.
. tests/tap.sh

count=${1:-100}
seed=${2:-1}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

holdfast_is_ok() {
	"$HOLDFAST" run --format json --on holdfast --kinds "${KINDS:-base,swapped,zeropage,memfd,large-16k}" "$dir" \
		>"$dir/cells" || return
	verdicts_are ok skip
}

nobody_is_accused() {
	"$HOLDFAST" run --format json --on linux-4.19,linux-6.1,wired-copy --kinds base,memfd "$dir" >"$dir/cells"
	verdicts_are ok skip lost-write stale-read leak torn refused
}

verdicts_are() { # VERDICT...
	python3 - "$dir/cells" "$@" <<-'END'
		import json, sys
		cells = json.load(open(sys.argv[1]))
		bad = [c for c in cells if c["verdict"] not in sys.argv[2:]]
		for c in bad[:5]:
		    print(c["scenario"], c["kind"], c["target"], c["verdict"], c["detail"])
		sys.exit(bool(bad) or not cells)
	END
}

python3 tests/random_scenarios.py "$dir" "$count" "$seed" || exit 1
check "holdfast is right in $count random scenarios (seed $seed)" holdfast_is_ok
check "no policy and no file is accused of what is nobody's fault" nobody_is_accused
done_testing
