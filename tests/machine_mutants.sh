#!/bin/sh
# What puts the machine's settings back, taken away one piece at a time: tests/machine_left.py must notice each. Changes
# settings, and puts them back by the command as it is.
. tests/tap.sh
. tests/mutate.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
flags="-std=gnu17 -O1 -w -D_GNU_SOURCE -I$dir/include -I$dir/src"
objects=$BUILD/CMakeFiles/holdfast_command.dir/src/cli

if [ "$(id -u)" -ne 0 ]; then
	skip "mutants of the machine's guardian" "only root may change settings"
	done_testing
fi

# The objects come before the archives that have them as they are.
build() {
	rm -f "$dir"/*.o "$dir/holdfast" "$dir/holdfast-guardian"
	for file in machine journal restore leftovers; do
		# shellcheck disable=SC2086
		gcc $flags -c "$dir/src/machine/$file.c" -o "$dir/$file.o" || return
	done
	# shellcheck disable=SC2046,SC2086
	gcc "$objects"/*.o "$dir"/*.o -Wl,--start-group "$BUILD"/layers/*.a -Wl,--end-group \
		$(pkg-config --libs liburcu-bp liburing jansson) -o "$dir/holdfast" &&
		gcc $flags "$dir/src/guardian/guardian.c" "$dir"/*.o "$BUILD"/layers/libmachine.a -o "$dir/holdfast-guardian"
}

test_machine() {
	HOLDFAST="$dir/holdfast" PATIENCE=5 FIRST_FAILURE=1 timeout 300 tests/machine_left.py 24 1
}

# A mutant must not leave anything to the next one.
noticed() {
	! test_machine
	status=$?
	"$HOLDFAST" restore >/dev/null
	return $status
}

mutant() { # NAME FILE OLD NEW
	if copy_sources && replace "$2" "$3" "$4" && build; then
		check "noticed: $1" noticed
	else
		check "$1: the mutant can be made" false
	fi
}

nothing_to_notice() {
	copy_sources && build && test_machine
}

check "without a mutant there is nothing to notice" nothing_to_notice
mutant "the guardian puts nothing back" guardian/guardian.c 'hf_restore(&j, NULL, NULL);' ';'
mutant "the guardian dies with the runner's group" machine/machine.c 'POSIX_SPAWN_SETSID | ' ''
mutant "what hangs stays" machine/leftovers.c 'kill(pid, SIGKILL);' ';'
mutant "nobody takes the lock" machine/journal.c 'flock(j->fd, LOCK_EX | LOCK_NB)' '0'
mutant "settings are not written down" machine/machine.c 'write_down(HF_CHANGE_SET, path, was, value)' '0'
mutant "the device is not written down" machine/machine.c 'err = write_down(HF_CHANGE_ZRAM, number, "", "");
	if' 'err = 0;
	if'
mutant "the last value is put back, not the first" machine/restore.c 'if (!is_first(j, change))' 'if (0)'
mutant "what others set is put back" machine/restore.c '!we_set(j, c->path, now)' '0'
mutant "the boot does not matter" machine/journal.c '!strcmp(line + 5, boot)' '1'
mutant "half a line is a change" machine/journal.c 'len = take_lines' 'strcat(text, "\n"), len = take_lines'
mutant "what is stuck is forgotten" machine/restore.c 'if (t.stuck)' 'if (0)'
mutant "a joining run looks for nothing" machine/machine.c 'if (!hf_journal_open(&us.journal, false))' 'if (0)'
mutant "a run changes what the dead have left" machine/machine.c 'if (!err && !us.journal.nr)' 'if (!err)'
done_testing
