#!/bin/sh
# The matrix of kernels and policies, of kernels that a stand-in for QEMU makes up; its page in a real browser.
. tests/tap.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export XDG_CACHE_HOME="$dir/cache" FAKE_QEMU_LOG="$dir/log"
mkdir "$dir/bin" "$dir/s"
cp "$HOLDFAST" "$dir/bin/holdfast"
cp tests/fake_qemu.py "$dir/bin/qemu-system-x86_64"
cp tests/tap.sh "$dir/bin/holdfast-init" && chmod +x "$dir/bin/holdfast-init" # any file will do
export PATH="$dir/bin:$PATH"

kernel="$dir/cache/holdfast/kernels/debian-6.1.7"
mkdir -p "$kernel"
python3 tests/fake_image.py "$kernel/vmlinuz" 6.1.0-9-amd64
printf 'about ok\nkinds base memfd\nprocess P\nP: map b 1\n' >"$dir/s/good.hf"
printf 'about liar </script>\nprocess P\nP: map b 1\nP: write b 0x11\n' >"$dir/s/liar.hf"
printf 'about panic\nprocess P\nP: map b 1\n' >"$dir/s/panic.hf"

has() { # FILE TEXT
	grep -qF -- "$2" "$1" || {
		echo "'$2' is not in:"
		head -c 3000 "$1"
		return 1
	}
}

check "the matrix is made" scripts/matrix "$dir/bin/holdfast" "$dir/m.md" "$dir/m.html" "$dir/s"
check "it counts what agrees and what differs" has "$dir/m.md" "| debian-6.1.7 | linux-6.1 | 4 | 2 | 0 | 2 | 0 |"
check "kernels stand by their policies" has "$dir/m.md" "| scenario | debian-6.1.7 | linux-6.1 | here"
check "disagreements are bold" has "$dir/m.md" '| `liar` | **lost-write** | ok |'
check "and listed with the reason" has "$dir/m.md" '- `panic` (base): debian-6.1.7 is bug, linux-6.1 is ok: the kernel died: BUG'
check "the page needs nothing else" sh -c '! grep -E "(src|href)=|https?:|@import|url\(" "$1"' - "$dir/m.html"

dom() { # FRAGMENT
	chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
		--disable-component-update --disable-sync --user-data-dir="$dir/profile" --dump-dom \
		"file://$dir/m.html$1" >"$dir/dom" 2>/dev/null
}

if command -v chromium >/dev/null; then
	check "a browser draws it" dom ""
	check "kinds that are alike are one row" has "$dir/dom" '>base and 1 more<'
	check "disagreements stand out" has "$dir/dom" '<td class="bad differs" tabindex="0">lost-write</td>'
	check "it says how many cases there are" has "$dir/dom" '4 of 4 cases'
	check "no dialog is open" sh -c '! grep -q "<dialog open" "$1"' - "$dir/dom"
	check "a link opens a cell" dom "#panic/base/debian-6.1.7"
	check "with its words" has "$dir/dom" 'panic (base) on debian-6.1.7: bug'
	check "and the console" has "$dir/dom" 'RIP: 0010:try_grab_folio'
	check "a link to an engine's cell" dom "#liar/base/linux-6.1"
	check "has its trace" has "$dir/dom" 'P b@0 frame 1 exclusive writable'
else
	skip "the page in a browser" "no chromium"
fi
done_testing
