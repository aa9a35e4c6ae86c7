#!/bin/sh
# The benchmark of native spaces: that it runs and says everything, never that a time is met.
. tests/tap.sh

bench=$BUILD/bench/bench-native

every_row_is_there() {
	python3 - "$dir/native.json" <<-'END'
		import json, sys
		data = json.load(open(sys.argv[1]))
		modes = {m["name"]: m for m in data["modes"]}
		assert len(modes) == 16, modes
		assert not [m for m in modes.values() if "failed" in m], modes
		rows = {(r["measure"], r["mode"]): r for r in data["rows"]}
		assert len(rows) == len(data["rows"])
		measures = {measure for measure, mode in rows if mode == "fork-4k"}
		assert len(measures) == 32, measures
		for name, mode in modes.items():
		    want = {m for m in measures if m == "first" or m.startswith("repeat")} \
		        if name.endswith("-helpers") else measures
		    assert want == {m for m, n in rows if n == name}, name
		    for measure in want:
		        row = rows[measure, name]
		        if "skipped" in mode:
		            assert row["skipped"], row
		            continue
		        if measure == "memory-saving": # fork() has nothing to release
		            assert len(row.get("samples", [])) == (0 if mode["baseline"] == name else data["runs"]), row
		            continue
		        assert len(row["samples"]) == data["runs"], row
		        assert "ratio" in row or mode["baseline"] == name, row
		shown = {t["mode"] for t in data["targets"]}
		assert "skipped" in modes["4k-signal"] or "4k-signal" in shown, shown
	END
}

only_one_row() {
	"$bench" --quick --only repeat-10/fork-4k --json "$dir/one.json" >/dev/null &&
		python3 - "$dir/one.json" <<-'END'
			import json, sys
			rows = json.load(open(sys.argv[1]))["rows"]
			assert [(r["measure"], r["mode"]) for r in rows] == [("repeat-10", "fork-4k")], rows
		END
}

plots_are_drawn() {
	for name in snapshots writes latency latency-long; do
		grep -q '<rect .*<title>' "$dir/native-$name.svg" &&
			tail -1 "$dir/native-$name.svg" | grep -q '^</svg>$' || return 1
	done
}

# It ends at once, says so, and leaves no process behind.
can_be_interrupted() {
	"$bench" --runs 100 --size 64M >"$dir/out" 2>"$dir/err" &
	pid=$!
	sleep 0.5
	kill -TERM $pid
	wait $pid
	[ $? -eq 143 ] && grep -q interrupted "$dir/err" && [ ! -s "$dir/out" ] &&
		[ -z "$(ps -o pid= --ppid $pid)" ]
}

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

check "a quick run succeeds" "$bench" --quick --json "$dir/native.json" --svg "$dir"
check "every row is there, with figures or with why it has none" every_row_is_there
check "the plots are drawn" plots_are_drawn
check "--only chooses rows" only_one_row
check "it can be interrupted" can_be_interrupted
check "--help" says 0 --hugetlb-pool "$bench" --help
check "a size that is none" says 2 "--size '1X' is not understood" "$bench" --size 1X
check "too small a size" says 2 "--size '4K'" "$bench" --size 4K
check "no runs" says 2 "--runs '0'" "$bench" --runs 0
check "an argument too many" says 2 "argument 'x'" "$bench" x
check "rows that there are not" says 2 "--only 'thp/first' is no row" "$bench" --only thp/first
check "a file that cannot be written" says 1 "cannot write" "$bench" --quick --only first/fork-4k \
	--json "$dir/none/native.json"
done_testing
