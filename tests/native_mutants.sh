#!/bin/sh
# What native spaces are careful about, taken away one at a time: a test must notice each.
. tests/tap.sh
. tests/mutate.sh

dir=$(mktemp -d)
source=$PWD
trap 'rm -rf "$dir"' EXIT
flags="-std=gnu17 -O2 -w -D_GNU_SOURCE -I$dir/include -I$dir/src -Itests"
tests='test_native_bracketed test_native_calls test_native_process test_native native_soak'

prepare() {
	copy_sources && mkdir -p "$dir/tests" && compile_folder native "$dir/base" || return
	# shellcheck disable=SC2086
	for t in $tests test_native_failing failing; do
		gcc $flags -c "tests/$t.c" -o "$dir/tests/$t.o" || return
	done
	mkdir "$dir/ordinary" || return
	# shellcheck disable=SC2086
	(cd "$dir/ordinary" && printf '%s\n' "$source"/tests/*native_ordinary*.c | xargs -P 2 -n 4 gcc $flags "-I$source/tests" -c)
}

# True when a test fails, or hangs. The machine must be able to run them, or all would seem to be noticed.
noticed() {
	for t in $tests; do
		gcc "$dir/tests/$t.o" "$dir"/objects/*.o -lcmocka -luring -lpthread -o "$dir/test" || return 1
		timeout -s KILL 60 "$dir/test" 3 >/dev/null 2>&1 || return 0
	done
	echo "no test noticed"
	return 1
}

# True when the test of allocations that fail, fails.
unclean() {
	# shellcheck disable=SC2046 # a list of options
	gcc "$dir/tests/test_native_failing.o" "$dir/tests/failing.o" "$dir"/objects/*.o -lcmocka -luring -lpthread \
		$(grep -o '__wrap_[a-z_]*' tests/failing.c | sort -u | sed 's/__wrap_/-Wl,--wrap=/') -o "$dir/test" || return 1
	! timeout -s KILL 100 "$dir/test" >/dev/null 2>&1
}

# True when a row of test_native_ordinary fails; $row is a part of its name.
unordinary() {
	gcc "$dir"/ordinary/*.o "$dir"/objects/*.o -lcmocka -luring -lpthread -o "$dir/test" || return 1
	HF_HANG=10 HF_WAYS=${ways:-4k} HF_ROWS=$row timeout -s KILL 100 "$dir/test" >"$dir/rows" 2>&1
	status=$?
	grep -q '^# [1-9][0-9]* rows' "$dir/rows" && [ $status -ne 0 ]
}

nothing_to_notice() {
	cp -r "$dir/base" "$dir/objects" && ! noticed && ! unclean || return
	for row in 'all from 3 are closed' 'MADV_DONTNEED of' 'mlockall(MCL_CURRENT | MCL_FUTURE)'; do
		! unordinary || return
	done
}

mutate() { # FILE OLD NEW
	cp "src/native/$1" "$dir/src/native/$1"
	replace "native/$1" "$2" "$3" || return
	# shellcheck disable=SC2086
	gcc $flags -c "$dir/src/native/$1" -o "$dir/objects/${1%.c}.o"
}

mutant() { # NAME FILE OLD NEW [CHECK]
	rm -rf "$dir/objects" && cp -r "$dir/base" "$dir/objects"
	if mutate "$2" "$3" "$4"; then
		check "noticed: $1" "${5:-noticed}"
	else
		check "$1: the mutant can be made" false
	fi
	cp "src/native/$2" "$dir/src/native/$2"
}

# A lock that is not taken, of spaces whose assertions say where they failed.
died_at() { # FUNCTION
	for t in test_native_calls test_native; do
		gcc "$dir/tests/$t.o" "$dir"/objects/*.o -lcmocka -luring -lpthread -o "$dir/test" || return 1
		timeout -s KILL 60 "$dir/test" 2>&1 | grep -aq "^asserted in $1: " && return 0
	done
	echo "no test died there"
	return 1
}

unlocked() { # NAME FUNCTION FILE OLD NEW
	rm -rf "$dir/objects" && copy_sources && speak native/lock.h
	if [ ! -d "$dir/speaking" ]; then
		compile_folder native "$dir/speaking"
	fi
	cp -r "$dir/speaking" "$dir/objects"
	if mutate "$3" "$4" "$5"; then
		check "$2() notices: $1" died_at "$2"
	else
		check "$1: the mutant can be made" false
	fi
	copy_sources
}

check "native spaces and their tests compile" prepare
check "without a mutant there is nothing to notice" nothing_to_notice

unlocked "a word is done without its lock" make_exclusive fault.c 'hf_futex_lock(lock);
	if (mask & ~atomic' 'if (mask & ~atomic'
unlocked "a unit is brought in without its word's lock" populate fault.c 'hf_futex_lock(lock);
	err = populate' 'err = populate'
unlocked "a pin is taken outside of the gate" pin_units pin.c 'hf_gate_enter(&space->tree->gate);
	err = pin_units' 'err = pin_units'
unlocked "a drop leaves the gate open" hf_snapshot_unlink snapshot.c 'hf_gate_close(&tree->gate);
		hf_snapshot_unlink(snapshot);' 'hf_snapshot_unlink(snapshot);'
unlocked "an instant beside another" get_snapshot tree.c 'if (!err)
		hf_futex_lock(&tree->lock);' ''
unlocked "ranges are added without their lock" add ranges.c 'hf_futex_lock(&ranges->lock);
	err = add' 'err = add'
unlocked "frames go back without their lock" give frames.c 'hf_futex_lock(&frames->lock);
	give' 'give'

mutant "pinned units are not copied at once" snapshot.c \
	'if (!atomic_load_explicit(&space->nr_pins, memory_order_relaxed))' 'if (1)'
mutant "a read does not look twice" source.c 'if (source.kind != HF_SOURCE_LIVE)
		return read_stable' 'if (0)
		return read_stable'
mutant "new memory is looked for once" snapshot.c 'if (!err && round && !found)' 'if (!err && round)'
mutant "frames that are given up do not move (N2)" release.c 'bool wanted = older_looks_here(s, unit);' 'bool wanted = false;'
mutant "what is released is copied all the same" release.c 'give_up_inside(s, offset, end, HF_FRAME_LOST);' \
	'give_up_inside(s, offset, end, HF_FRAME_NONE);'
mutant "what was touched since stays when going back" restore.c '!err && !space->all_populated' '0'
mutant "going back takes bytes from newer snapshots" restore.c 'err = hf_make_exclusive(space, unit, 1);' ';'
mutant "what is gone back to is lost, and nobody is told" restore.c 'err = check(space, s);' ';'
mutant "a snapshot does not wait for brackets" bracket.c 'all &= t->outside >= round;' ';'
mutant "threads with brackets are not known of" bracket.c 'threads = thread;' ';'
mutant "a bracket passes the bar" bracket.c 'while (__atomic_load_n(barred' 'while (0 && __atomic_load_n(barred'
mutant "a bracket inside another waits at the bar" bracket.c ' && depth_of(thread) == 1' ''
mutant "a bracket is of its first unit alone" pin.c 'err = hf_make_exclusive(space, part.first, part.end - part.first);
		range.first = part.end;' 'err = hf_make_exclusive(space, part.first, part.end - part.first);
		break;'
mutant "a snapshot in a bracket waits for itself" tree.c 'tree->bracketed && hf_in_bracket() ? -EDEADLK :' ''
mutant "a child does not have its parent's bytes at once" space.c 'space->base ? copy_base(space) : 0' '0'
mutant "the gate is open" lock.c 'if (state & HF_GATE_CLOSED)' 'if (0)'
mutant "what is prepared is protected" pin.c 'prepared |= held & -held;' ';'
mutant "old bytes are not kept (N1)" fault.c 'hf_preserve(space, word, shared, known);' ';'
mutant "a snapshot protects nothing" snapshot.c 'space->todo[word] =
			atomic_load_explicit(&space->exclusive' 'space->todo[word] = 0 &
			atomic_load_explicit(&space->exclusive'
mutant "a fork inherits who is inside the gate" registry.c MADV_WIPEONFORK MADV_NORMAL
mutant "a pin is released by other flags" pin.c 'err = pin_range(space, addr, len, flags);' \
	'err = pin_range(space, addr, len, flags & HF_FOLL_WRITE);'
mutant "a part of a pin is released" ranges.c 'r->start == start && r->len == len && r->kind == kind' \
	'r->start == start && r->kind == kind'
mutant "a pin and a prepared write are the same" pin.c '#define KIND_PREPARED ~0U' '#define KIND_PREPARED HF_FOLL_WRITE'
mutant "a range is released without end" ranges.c 'if (--ranges->slots[i].times == 0)' 'if (0)'
mutant "a hole hides what lies behind it" ranges.c 'ranges->slots[hole] = *r;
		hole = i;' ';'
mutant "a snapshot's pin is released by another range" pin_snapshot.c \
	'err = hf_ranges_remove(&snapshot->pinned, offset, len, 0);' \
	'err = hf_ranges_any(&snapshot->pinned) ? 0 : -EINVAL;'
mutant "a dropped snapshot is the next one" snapshot.c 'atomic_fetch_add_explicit(&s->uses, 1, memory_order_relaxed);' ';'
mutant "a space is destroyed twice" space.c 'if (!space->owned) {
		err = -EINVAL;
	} else if' 'if'
mutant "maps are inherited" space.c MADV_DONTFORK MADV_NORMAL
mutant "a signal that was sent is lost" sigbus.c 'raise(sig);' ';'
mutant "the descriptor is inherited by exec" userfault.c 'int flags = O_CLOEXEC |' 'int flags ='
mutant "what is between two runs may be prepared" protect.c 'mask & hf_prepared(space, word)' '0'
mutant "copies around take the frames of others" frames.c '(frames->limit + 1) / 2' 'frames->limit'
mutant "words are done without their locks" fault.c '	for (; word < end; word++)
		hf_futex_lock(hf_word_lock(space, word));' ';'
mutant "a page is not copied" fault.c 'hf_copied_away(&copies);' ';'
mutant "what comes next is done without an end" fault.c 'ahead->words -= done;' ';'
mutant "a THP is taken by pages" fault.c '*whole = resolve_thp(space, word);' '*whole = false;'
mutant "a THP takes what is not promised" density.c 'return density == DENSE || (in_order &&' 'return 1 || (in_order &&'

mutant "what a child gave back never comes" fault.c 'if (done && space->base)' 'if (0)'

# What is done after a failure.
mutant "a space that failed stays" space.c 'free_space(space);
		return err;' 'return err;' unclean
mutant "a tree that failed stays" tree.c 'hf_tree_destroy(tree);
		return err;' 'return err;' unclean
mutant "the instant of a child that failed stays" space.c 'hf_snapshot_unlink(base);
		hf_gate_open' 'hf_gate_open' unclean
mutant "a descriptor of no use stays open" userfault.c 'close(fd);
	return -EOPNOTSUPP;' 'return -EOPNOTSUPP;' unclean
mutant "pins that failed are counted" pin.c 'unpin_units(space, (struct range){ part.first, unit }, one);' ';' unclean
mutant "a pin without its range stays" pin.c 'if (err)
			undo_pins(space, range, one);' ';' unclean
mutant "a fault that failed is forgotten" fault.c 'if (err || (done' 'if ((done' unclean
mutant "a snapshot that failed leaves pins protected" snapshot.c 'release_held(space);
	atomic' 'atomic' unclean
mutant "what may be protected is not doubted" fault.c 'atomic_load_explicit(&space->doubt, memory_order_relaxed)' '0' unclean
mutant "half a unit is taken for none" check.c 'space->base ? hf_finish_populating(space) : 0' '0' unclean
mutant "a pin of a snapshot takes its bytes" pin_snapshot.c 'err = hf_preserve_or_fail(source->space, unit);' 'err = 0;
		hf_preserve(source->space, unit / HF_WORD_UNITS, 1ULL << unit % HF_WORD_UNITS);' unclean
# What a process does to itself: the row that is about it notices.
strange() { # NAME FILE OLD NEW ROW
	row=$5
	mutant "$1" "$2" "$3" "$4" unordinary
}

strange "nobody keeps the descriptors" files.c 'err = take_own_table(files);' 'err = 0;' 'all from 3 are closed after a snapshot'
strange "any descriptor is ours" files.c 'return fcntl(fd, F_GETOWN_EX, &owner) == 0 &&' \
	'return true || fcntl(fd, F_GETOWN_EX, &owner) == 0 &&' 'before drop and destroy'
strange "what a filter denies is not tried elsewhere" files.c 'return is_denied(got) ?' 'return 0 && is_denied(got) ?' 'ioctl() to the thread'
strange "what denies for ever is tried for ever" fault.c 'return is_final(err) ? err : 0;' 'return 0;' 'ioctl() to all'
strange "protection is taken for granted" check.c 'return mask & bits;' 'return mask;' 'MADV_DONTNEED of'
strange "what was lost once stays lost" check.c 'err = find(space, HF_PAGES_PROTECTED, 0, space->tree->nr_units, space->todo);' 'return 0;' 'MADV_DONTNEED of'
strange "what nobody saw does not differ" diff.c '!nothing_unseen(older, newer)' '0' 'MADV_DONTNEED of'
strange "what cannot be read is read" pagemap.c 'return false;
		if (q.end' 'return true;
		if (q.end' 'PROT_NONE'
strange "children are brought in by mmap()" space.c 'space->base ? PROT_NONE :' '0 ? PROT_NONE :' 'mlockall(MCL_CURRENT | MCL_FUTURE) after create'
strange "huge pages that are off are taken" probe.c 'if (thp_disabled() ||' 'if (' 'PR_SET_THP_DISABLE'
ways=shared
strange "a memfd has holes" space.c 'F_SEAL_FUTURE_WRITE |' '' 'hole'
strange "a signal comes for a file too large" space.c 'size > limit.rlim_cur' '0' 'RLIMIT_FSIZE'
strange "destroy takes what is not ours" space.c '!=
	    -EFAULT)' '!= 1)' 'munmap() of a part'
done_testing
