#!/bin/sh
# Kernel images as targets, without a kernel: what the command makes of machines that crash, hang, lie or are not there.
. tests/tap.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
h=$dir/bin/holdfast
export XDG_CACHE_HOME="$dir/cache" FAKE_QEMU_LOG="$dir/log"
mkdir "$dir/bin" "$dir/s"
cp "$HOLDFAST" scripts/holdfast-fetch-kernels "$dir/bin"
cp tests/fake_qemu.py "$dir/bin/qemu-system-x86_64"
cp tests/tap.sh "$dir/bin/holdfast-init" && chmod +x "$dir/bin/holdfast-init" # any file will do
export PATH="$dir/bin:$PATH"

image() { # FILE RELEASE
	mkdir -p "$(dirname "$1")" && python3 tests/fake_image.py "$1" "$2"
}

module() { # FILE DEPENDS
	mkdir -p "$(dirname "$1")" && name=${1##*/} && printf '%s\0license=GPL\0depends=%s\0' "${name%.ko}" "$2" >"$1"
}

for what in ok panic warn silent die garble liar; do
	printf 'about %s\nprocess P\nP: map b 1\n' $what >"$dir/s/$what.hf"
done
image "$dir/vmlinuz" 6.1.0-56-amd64
module "$dir/modules/zram.ko" zsmalloc,lz4-compress
module "$dir/modules/zsmalloc.ko" ""
module "$dir/modules/lz4_compress.ko" ""
xz "$dir/modules/lz4_compress.ko"

run() { # ARGUMENT...
	: >"$FAKE_QEMU_LOG"
	"$h" run --on "$dir/vmlinuz" --timeout "${patience:-30}" --format json "$@" >"$dir/out" 2>"$dir/err"
	status=$?
}

# The verdicts of the run's cells, in order, and how many boots they took.
gives() { # STATUS BOOTS VERDICTS ARGUMENT...
	want="$1 $2 $3"
	shift 3
	run "$@"
	got="$status $(wc -l <"$FAKE_QEMU_LOG") $(python3 -c '
import json, sys
print(",".join(c["verdict"] for c in json.load(sys.stdin)))' <"$dir/out")"
	[ "$got" = "$want" ] || {
		echo "got '$got', want '$want'"
		cat "$dir/out" "$dir/err" "$FAKE_QEMU_LOG"
		return 1
	}
}

tells() { # TEXT
	grep -qF -- "$1" "$dir/out" "$dir/err" "$FAKE_QEMU_LOG" || {
		echo "'$1' is not in:"
		cat "$dir/out" "$dir/err" "$FAKE_QEMU_LOG"
		return 1
	}
}

s=$dir/s
check "all cells take one boot" gives 0 1 ok,ok,ok "$s/ok.hf" "$s/ok.hf" "$s/ok.hf"
check "modules are loaded in the order of their needs, decompressed" tells "with zsmalloc,lz4_compress,zram"
check "what the runner has to say is passed on" tells "vmlinuz: a module cannot be loaded: Exec format error"
check "cells have their steps" tells '"step": "P: map b 1"'
check "a panic is one cell, and the rest goes on" gives 1 2 ok,bug,ok "$s/ok.hf" "$s/panic.hf" "$s/ok.hf"
check "a panic's first line is the detail" \
	tells "the kernel died: BUG: unable to handle page fault for address: 0000000000001000"
check "a panic's lines are kept" tells 'try_grab_folio'
patience=5
check "a kernel that hangs is one cell" gives 1 2 error,ok "$s/silent.hf" "$s/ok.hf"
unset patience
check "a hang says so" tells "the kernel hangs"
check "a machine that is gone is one cell" gives 1 2 error,ok "$s/die.hf" "$s/ok.hf"
check "a garbled result is one cell" gives 1 2 error,ok "$s/garble.hf" "$s/ok.hf"
check "every cell may die" gives 1 3 bug,bug,bug "$s/panic.hf" "$s/panic.hf" "$s/panic.hf"
check "a splat is a bug, the kernel goes on" gives 1 1 bug,ok "$s/warn.hf" "$s/ok.hf"
check "a splat is kept" tells '"console": "WARNING: mm/gup.c:75\nRIP\n"'
check "a bad verdict that nobody expects is failure" gives 1 1 lost-write "$s/liar.hf"
echo 'expect linux-6.1 lost-write' >>"$s/liar.hf"
check "the expectations are those of the image's era" gives 0 1 lost-write "$s/liar.hf"
check "trace is passed on" gives 0 1 ok --trace "$s/ok.hf"
check "trace comes back" tells "P b@0 of kind base"
FAKE_QEMU=dead
export FAKE_QEMU
check "a kernel that does not come up is tried once" gives 1 1 error,error "$s/ok.hf" "$s/ok.hf"
check "a kernel that does not come up says why" tells "does not come up: Kernel panic"
unset FAKE_QEMU

module "$dir/elsewhere/kernel/fs/fuse/fuse.ko" ""
check "modules of another folder" gives 0 1 ok --modules "$dir/elsewhere" "$s/ok.hf"
check "are those that are there" tells "with fuse"
image "$dir/root/boot/vmlinuz" 6.1.0-56-amd64
module "$dir/root/usr/lib/modules/6.1.0-56-amd64/kernel/fs/fuse/fuse.ko" ""
: >"$FAKE_QEMU_LOG"
check "modules as a distribution lays them out" status_is 0 "$h" run --on "$dir/root/boot/vmlinuz" "$s/ok.hf"
check "are found" tells "root/boot/vmlinuz with fuse"
check "without QEMU, the remedy" says 1 "install qemu-system-x86" env PATH=/nowhere \
	"$h" run --on "$dir/vmlinuz" --modules "$dir/elsewhere" "$s/ok.hf"
check "without xz, the file" says 2 "lz4_compress.ko.xz: Package not installed" env PATH=/nowhere \
	"$h" run --on "$dir/vmlinuz" "$s/ok.hf"
check "a table has the kernel's words" says 1 "    RIP: 0010:try_grab_folio" \
	"$h" run --on "$dir/vmlinuz" "$s/panic.hf"
check "a file that is no kernel" says 2 "not an x86-64 kernel image" "$h" run --on tests/image.sh,./README.md "$s/ok.hf"
check "a file that is not there" says 2 "./nowhere: No such file" "$h" run --on ./nowhere "$s/ok.hf"
check "a name that is no target" says 2 "holdfast kernels list" "$h" run --on nowhere "$s/ok.hf"
check "--timeout wants seconds" says 2 "expected seconds" "$h" run --timeout soon --on "$dir/vmlinuz" "$s/ok.hf"
image "$dir/old/vmlinuz" 4.19.0-27-amd64
check "a kernel that is too old" says 2 "Linux 5.3 or later" "$h" run --on "$dir/old/vmlinuz" "$s/ok.hf"
echo >"$dir/modules/fuse.ko.xz"
check "a module that cannot be decompressed" says 2 "fuse.ko.xz" "$h" run --on "$dir/vmlinuz" "$s/ok.hf"
rm "$dir/modules/fuse.ko.xz"
check "kernels list, without any" [ "$("$h" kernels list | cut -d " " -f 1)" = here ]
image "$dir/cache/holdfast/kernels/debian-6.10.1/vmlinuz" 6.10.1-amd64
image "$dir/cache/holdfast/kernels/debian-6.9.1/vmlinuz" 6.9.1-amd64
check "kernels list, by version" [ "$("$h" kernels list | sed '$d' | tr -s ' \n' ' ')" = \
	"debian-6.9.1 6.9.1-amd64 linux-6.12 debian-6.10.1 6.10.1-amd64 linux-6.12 " ]
check "a fetched kernel goes by its name" says 0 "debian-6.9.1" "$h" run --on debian-6.9.1 "$s/ok.hf"
check "kernels nonsense" says 2 Usage: "$h" kernels nonsense
check "kernels --help" says 0 "kernels fetch" "$h" kernels --help
check "a mirror that is not there is named" says 1 "bookworm: not served by http://127.0.0.1:1/debian" \
	"$h" kernels fetch --mirror http://127.0.0.1:1 bookworm
check "and leaves nothing behind" [ "$(ls -A "$dir/cache/holdfast/kernels" | tr '\n' ' ')" = "debian-6.10.1 debian-6.9.1 " ]

# The machine must go with the run.
interrupt() {
	: >"$FAKE_QEMU_LOG"
	"$h" run --on "$dir/vmlinuz" "$s/silent.hf" >"$dir/out" 2>&1 &
	pid=$!
	for _ in $(seq 100); do
		[ -s "$FAKE_QEMU_LOG" ] && break
		sleep 0.05
	done
	machine=$(cat /proc/$pid/task/$pid/children)
	kill -"$1" $pid
	wait $pid
	[ $? -eq "$2" ] && [ -n "$machine" ] || return
	for _ in $(seq 100); do
		[ -e "/proc/${machine% }/exe" ] || return 0
		sleep 0.05
	done
	return 1
}
check "an interrupt ends run and machine" interrupt TERM 130
check "a killed run takes the machine along" interrupt KILL 137
done_testing
