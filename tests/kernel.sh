#!/bin/sh
# A real kernel under QEMU: one that was fetched, or in CI one that is fetched now. Without one, or without QEMU, there is
# nothing to test.
. tests/tap.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
h=$HOLDFAST

need() { # REASON COMMAND...
	reason=$1
	shift
	"$@" >/dev/null 2>"$dir/err" && return
	skip "a kernel under QEMU" "$reason$(tail -n 1 "$dir/err" | sed 's/^/: /')"
	done_testing
}

newest_kernel() {
	"$h" kernels list | awk '$1 != "here" && $1 !~ /^self-built-/ { name = $1 } END { print name }'
}

need "no qemu-system-x86_64: scripts/install-deps kernels" command -v qemu-system-x86_64
need "this build has no holdfast-init" [ -x "$BUILD/holdfast-init" ]
[ -n "$(newest_kernel)" ] || [ -z "${CI-}" ] || need "no kernel can be fetched" "$h" kernels fetch trixie
kernel=$(newest_kernel)
need "no kernel; holdfast kernels fetch" [ -n "$kernel" ]
echo "# $kernel"

# Every verdict is what its file expects of the kernel's era, and few cells are skipped for want of the runner's powers.
telling() {
	# shellcheck disable=SC2046 # a list of files
	"$h" run --format json --on "$kernel" $(cat scenarios/demo) >"$dir/json" 2>"$dir/err" || {
		cat "$dir/json" "$dir/err"
		return 1
	}
	[ ! -s "$dir/err" ] && python3 - "$dir/json" <<-'END'
		import json, sys
		cells = json.load(open(sys.argv[1]))
		verdicts = [c["verdict"] for c in cells]
		assert "error" not in verdicts and len(cells) >= 13, cells
		assert verdicts.count("skip") <= 5, [c["detail"] for c in cells if c["verdict"] == "skip"]
	END
}
check "the telling scenarios are as expected" telling

# Swap, folios, hugetlb, files: what the machine under QEMU must be set up for.
kinds() {
	"$h" run --format json --kinds swapped,thp,thp-swapped,hugetlb,memfd,tmpfile,memfd-hugetlb --on "$kernel" \
		scenarios/cow/a1-basic-cow.hf scenarios/cow/n1-basic-cow-zeropage.hf >"$dir/json" || return
	python3 - "$dir/json" <<-'END'
		import json, sys
		cells = json.load(open(sys.argv[1]))
		assert len(cells) == 7 and {c["verdict"] for c in cells} == {"ok"}, cells
	END
}
check "swap, huge pages and files are there" kinds

# Engine and kernel in lock step, in there.
check "the engine does as the kernel does" says 0 " 0 differences" "$h" equiv --on "$kernel" --count 100

# Beside a copy of the command, an init that crashes on demand.
crashes() {
	cp "$h" "$dir/holdfast" && cp "$BUILD/tests/crash-init" "$dir/holdfast-init" || return
	for what in crash hang warn segfault plain; do
		printf 'about %s\nprocess P\nP: map b 1\n' $what >"$dir/$what.hf"
	done
	"$dir/holdfast" run --timeout 30 --format json --on "$kernel" "$dir/plain.hf" "$dir/crash.hf" "$dir/plain.hf" \
		"$dir/warn.hf" "$dir/segfault.hf" "$dir/hang.hf" "$dir/plain.hf" >"$dir/json"
	[ $? -eq 1 ] && python3 - "$dir/json" <<-'END'
		import json, sys
		cells = json.load(open(sys.argv[1]))
		plain, crash, after, warn, segfault, hang, last = cells
		assert [c["verdict"] for c in cells] == ["ok", "bug", "ok", "bug", "bug", "error", "ok"], cells
		assert "ysrq" in crash["console"] and "RIP: " in crash["console"], crash
		assert warn["detail"] == "the kernel says: WARNING: CPU: 0 PID: 1 at mm/gup.c:75", warn
		assert "Attempted to kill init" in segfault["detail"], segfault
		assert "the kernel hangs" in hang["detail"], hang
	END
}
check "crash, splat, hang and a dying runner are one cell each" crashes

# One that scripts/build-test-kernel made: what the others cannot do.
own=$("$h" kernels list | awk '$1 ~ /^self-built-/ { name = $1 } END { print name }')

read_pins() {
	"$h" run --format json --on "$own" scenarios/cow/a9-*.hf scenarios/cow/a1[0-4]-*.hf scenarios/cow/n[23]-*.hf \
		scenarios/races/fork-and-read-pin.hf scenarios/thread/ro-exemption-forbids-unpin-check.hf --kinds base,thp >"$dir/json" || return
	python3 - "$dir/json" <<-'END'
		import json, sys
		cells = json.load(open(sys.argv[1]))
		assert len(cells) > 10 and {c["verdict"] for c in cells} == {"ok"}, cells
	END
}

two_pages() { # NAME STEPS
	printf 'about x\nprocess P\nP: map b 2\nP: write b 0x11\n%b\n' "$2" >"$dir/$1.hf"
}

# A range that is no whole pages; and what gup_test cannot do is a skip.
one_test_pin() {
	two_pages range 'P: pin d b[100..5000] r long slow\nP: write b[100..108] 0x21\ndevice: check d[0..8] 0x21\n
		device: check d[8..4900] 0x11\nP: unpin d'
	two_pages again 'P: pin d b r long\nP: unpin d\nP: pin e b r long\nP: unpin e'
	two_pages two 'P: pin d b r long\nP: pin e b r long'
	two_pages write 'P: pin d b w long slow\ndevice: write d 0x21'
	"$h" run --format json --on "$own" "$dir/range.hf" "$dir/again.hf" "$dir/two.hf" "$dir/write.hf" >"$dir/json"
	python3 - "$dir/json" <<-'END'
		import json, sys
		cells = json.load(open(sys.argv[1]))
		assert [c["verdict"] for c in cells] == ["ok", "ok", "skip", "skip"], cells
		assert "one pin at a time" in cells[2]["detail"] and "only reads" in cells[3]["detail"], cells
	END
}

if [ -n "$own" ]; then
	check "$own: read-only long-term pins, and the unpin check" read_pins
	check "$own: its gup_test holds one pin, which reads" one_test_pin
else
	skip "read-only long-term pins" "no kernel that has gup_test: scripts/build-test-kernel"
fi
done_testing
