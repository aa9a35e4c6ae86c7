#!/bin/sh
# The tests of native spaces on the oldest fetched kernel, under QEMU, or with ALL_KERNELS=1 on each: what they lack is
# done without. The test programs go there as they are, with their libraries.
. tests/tap.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM HUP
kernels=${XDG_CACHE_HOME:-$HOME/.cache}/holdfast/kernels
tests=${TESTS:-test_native test_native_calls test_native_process test_native_bracketed native_soak}

missing() { # WHAT
	skip "native spaces on other kernels" "$1"
	done_testing
}

command -v qemu-system-x86_64 >/dev/null || missing "no qemu-system-x86_64: scripts/install-deps kernels"
[ -x "$BUILD/tests/native-init" ] || missing "this build has no native-init"
ls "$kernels"/*/vmlinuz >/dev/null 2>&1 || missing "no kernel; holdfast kernels fetch"

# A cpio archive ("newc") of all folders and files.
archive() { # FOLDER
	python3 - "$1" <<-'END'
		import os, sys
		def member(name, mode, data=b""):
		    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
		    head = b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
		    sys.stdout.buffer.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))
		os.chdir(sys.argv[1])
		for folder, _, files in os.walk("."):
		    member(folder[2:] or ".", 0o040755)
		    for f in files:
		        member(os.path.join(folder, f)[2:], 0o100755, open(os.path.join(folder, f), "rb").read())
		member("TRAILER!!!", 0)
	END
}

initramfs() {
	mkdir -p "$dir/root/tests" "$dir/root/proc" "$dir/root/sys" "$dir/root/dev" "$dir/root/tmp" "$dir/root/var/tmp" &&
		cp "$BUILD/tests/native-init" "$dir/root/init" || return
	for t in $tests; do
		cp "$BUILD/tests/$t" "$dir/root/tests" || return
		ldd "$BUILD/tests/$t" | grep -o '/[^ ]*'
		# which backtrace() loads
		/sbin/ldconfig -p | sed -n 's,.*libgcc_s.so.1 (libc6\,x86-64) => ,,p'
	done | sort -u | while read -r lib; do
		mkdir -p "$dir/root$(dirname "$lib")" && cp -L "$lib" "$dir/root$lib" || exit
	done
	archive "$dir/root" >"$dir/initramfs"
}
check "an initramfs can be made" initramfs

boot() { # VMLINUZ
	timeout 400 qemu-system-x86_64 -accel tcg -cpu qemu64,+rdrand -m 1024 -smp 2 -nodefaults -no-user-config -display none \
		-no-reboot -serial stdio -initrd "$dir/initramfs" -kernel "$1" </dev/null \
		-append "console=ttyS0 loglevel=3 oops=panic panic=-1 nowatchdog mitigations=off" 2>&1 |
		stdbuf -o0 tr -d '\r' >"$dir/console"
}

# One line a test program: it has ended with 0.
on_kernel() { # VMLINUZ
	boot "$1"
	grep -E '^(not ok|ok)' "$dir/console" | sed 's/^/# /'
	for t in $tests; do
		grep -qx "result $t 0" "$dir/console" || {
			echo "$t failed"
			tail -n 60 "$dir/console"
			return 1
		}
	done
	! grep -E 'BUG:|WARNING:|Oops' "$dir/console"
}

if [ "${ALL_KERNELS:-0}" = 1 ]; then
	set -- "$kernels"/debian-*/vmlinuz
else # the oldest lacks most
	set -- "$(printf '%s\n' "$kernels"/debian-*/vmlinuz | sort -V | head -n 1)"
fi
for kernel; do
	check "native spaces on $(basename "$(dirname "$kernel")")" on_kernel "$kernel"
done
done_testing
