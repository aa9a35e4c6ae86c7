#!/bin/sh
# The oracle's rules, made wrong one at a time: tests/test_oracle.c must notice each.
. tests/tap.sh
. tests/mutate.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
flags="-std=gnu17 -O1 -w -D_GNU_SOURCE -I$dir/include -I$dir/src -Isrc -Itests"
libs=$(pkg-config --libs liburcu-bp jansson cmocka)

prepare() {
	copy_sources
	compile_folders "$dir/engine" core policy platform || return
	# shellcheck disable=SC2086
	compile_folders "$dir/base" scenario target/engine && gcc $flags -c tests/test_oracle.c -o "$dir/test.o"
}

link() {
	# shellcheck disable=SC2086
	gcc "$dir/test.o" "$dir"/objects/*/*.o "$dir"/engine/*/*.o $libs -lpthread -o "$dir/test"
}

passes() {
	timeout -s KILL 60 "$dir/test" >/dev/null 2>&1
}

nothing_to_notice() {
	cp -r "$dir/base" "$dir/objects" && link && passes
}

noticed() {
	link || return
	passes || return 0
	echo "no test noticed"
	return 1
}

# Of a file of the oracle's folder, or one that is named with its own.
path_of() { # FILE
	case $1 in
	*/*) echo "$1" ;;
	*) echo "scenario/$1" ;;
	esac
}

mutate() { # (FILE OLD NEW)...
	while [ $# -gt 0 ]; do
		path=$(path_of "$1")
		# shellcheck disable=SC2086
		replace "$path" "$2" "$3" && gcc $flags -c "$dir/src/$path" \
			-o "$dir/objects/$(dirname "$path" | tr / _)/$(basename "$path" .c).o" || return
		shift 3
	done
}

made=0
mutant() { # NAME (FILE OLD NEW)...
	name=$1
	shift
	made=$((made + 1))
	rm -rf "$dir/objects" && cp -r "$dir/base" "$dir/objects"
	if mutate "$@"; then
		check "noticed: $name" noticed
	else
		check "$name: the mutant can be made" false
	fi
	while [ $# -gt 0 ]; do
		path=$(path_of "$1")
		cp "src/$path" "$dir/src/$path"
		shift 3
	done
}

check "the oracle and its test compile" prepare
check "without a mutant there is nothing to notice" nothing_to_notice

# ---- what calls do that fail ----

mutant "what fails does nothing" effect.c 'if (obs->status == -ECANCELED)
		return 0;
	obstacle' 'if (obs->status)
		return 0;
	obstacle'
mutant "what was not done is done" effect.c 'if (obs->status == -ECANCELED)
		return 0;
	obstacle' 'obstacle'
mutant "advice ends at a hole" effect.c '*end = st->verb == HF_V_PROTECT ? gap : st->hi;' '*end = gap;'
mutant "protection goes on after a hole" effect.c '*end = st->verb == HF_V_PROTECT ? gap : st->hi;' '*end = st->hi;'
mutant "ENOMEM is always of a hole" effect.c 'return gap < st->hi;' 'return true;'
mutant "a hole is advised" effect.c 'if (hf_atom_in(&s->atoms->atom[i], st->buf, st->lo, end) &&
		    *hf_state_map(s, st->proc, i) != HF_NOT_MAPPED)
			err = advise_atom(s, st, i);' 'if (hf_atom_in(&s->atoms->atom[i], st->buf, st->lo, end))
			err = advise_atom(s, st, i);'
mutant "what refuses all has done all" effect.c 'case -EINVAL:
		*end = refusal(s, st);' 'case -EINVAL:
		*end = st->hi;'
mutant "nobody knows what EINVAL has done" effect.c 'case -EINVAL:
		*end = refusal(s, st);
		return true;' 'case -EINVAL:
		return false;'
mutant "what stopped somewhere did nothing" effect.c 'n = count_vmas(s, st, st->lo, st->hi);' 'n = 1;'
mutant "what stopped somewhere may have stopped behind" effect.c 'n = count_vmas(s, st, st->lo, st->hi);' \
	'n = count_vmas(s, st, st->lo, st->hi) + 1;'
mutant "VMAs begin after holes only" effect.c '(!mapped || a->starts_range)' '!mapped'
mutant "a failed store stores all" effect.c 'return obs->status ? lo + obs->done : hi;' 'return hi;'
mutant "a failed store stores nothing" effect.c 'return obs->status ? lo + obs->done : hi;' 'return obs->status ? lo : hi;'
mutant "a part of what no step tells apart is all of it" effect.c '.maybe = a->hi > w->sure,' '.maybe = false,'
mutant "a device that failed has written all" effect.c '.sure = reached(obs, lo, hi),
		.perhaps' '.sure = hi,
		.perhaps'
mutant "a device that failed has written what it counts, no more" effect.c \
	'.perhaps = obs->status == -EINVAL ? reached(obs, lo, hi) : hi,' '.perhaps = reached(obs, lo, hi),'
mutant "a device that was refused may have written" effect.c \
	'.perhaps = obs->status == -EINVAL ? reached(obs, lo, hi) : hi,' '.perhaps = hi,'
mutant "a failed mremap leaves the tail" effect.c 'n = has_tail(s, st) ? 2 : 1;' 'n = 1;'
mutant "a failed mremap has moved nothing" effect.c 'n = count_vmas(s, st, 0, SIZE_MAX);' 'n = 1;'
mutant "a failed truncation is none" effect.c 'n = obs->status == -EINVAL ? 1 : 2;' 'n = 1;'
mutant "a refused truncation may be done" effect.c 'n = obs->status == -EINVAL ? 1 : 2;' 'n = 2;'
mutant "what a failed load saw was not seen" look.c 'l->hi = l->lo + obs->done;' 'return false;'
mutant "a failed load saw all" look.c 'if (obs->status)
		l->hi' 'if (0)
		l->hi'
mutant "a failed call does all it can" effect.c 'return err || obs->status ? err : apply_whole(s, st);' \
	'return err ? err : apply_whole(s, st);'
mutant "steps of processes that are not there are done" run.c \
	'r->void_proc[st->proc] || r->void_proc[st->target] ||' ''
mutant "the rest of a folio is the buffer's" run.c 'r->folios && st->buf >= 0' '0'
mutant "arms have what is not there" run.c 'obs[i].left_out = is_void(r, steps[i]);' 'obs[i].left_out = false;'
mutant "the engine does not ask why it stopped" target/engine/engine.c 'obs->done < len && n >= 0; obs->done' \
	'obs->done < len && n >= 0; n = n > 0 && obs->done + n < len ? -EFAULT : n, obs->done'
mutant "the engine does not count" target/engine/engine.c 'obs->done += n > 0 ? (size_t)n : 0)' 'n > 0 ? (obs->done = 0) : 0)'

# ---- what can be done ----

mutant "stores get past protection" effect.c 'case HF_V_WRITE:
	case HF_V_PROCESS_VM_WRITE:
	case HF_V_FIXEDBUF:' 'case HF_V_PROCESS_VM_WRITE:
	case HF_V_FIXEDBUF:'
mutant "process_vm_writev gets past protection" effect.c 'case HF_V_PROCESS_VM_WRITE:
	case HF_V_FIXEDBUF:' 'case HF_V_FIXEDBUF:'
mutant "registered buffers get past protection" effect.c 'case HF_V_FIXEDBUF:
	case HF_V_ODIRECT_READ:
		return HF_ATOM_READONLY;' 'case HF_V_ODIRECT_READ:
		return HF_ATOM_READONLY;'
mutant "write pins get past protection" effect.c 'return st->foll & HF_FOLL_WRITE ? HF_ATOM_READONLY : HF_ATOM_NOACCESS;' \
	'return HF_ATOM_NOACCESS;'
mutant "FOLL_FORCE does not" effect.c 'if (st->foll & HF_FOLL_FORCE)
			return 0;' ''
mutant "/proc/PID/mem does not" effect.c 'case HF_V_PTRACE_WRITE:
		return 0;
	default:
		return HF_ATOM_NOACCESS;' 'case HF_V_PTRACE_WRITE:
	default:
		return HF_ATOM_NOACCESS;'
mutant "what is not mapped can be stored to" effect.c 'if (*hf_state_map(s, st->target, i) < 0)
			return "not mapped there";' ''
mutant "PROT_NONE can be read" effect.c 'if (!prot)
		*flags |= HF_ATOM_NOACCESS;' ''
mutant "the file's end is no end" effect.c 'if (s->atoms->atom[atom].lo >= s->file_size) {' 'if (0) {'
mutant "what was cut off comes back as it was" effect.c 'else if (!beyond && *cell == HF_BEYOND_FILE)
				err = new_cell(s, (int)proc, i);' ''
mutant "what grows has no advice" effect.c '*hf_state_flags(s, st->proc, i) = flags;
		err' 'err'
mutant "unmapped memory keeps its advice" effect.c '*hf_state_flags(s, proc, i) = 0;' ';'

# ---- what may be seen ----

mutant "a copy shows what its source shows later" look.c 'v = &s->version[v->from >= 0 ? v->from : v->prev];' \
	'v = v->from >= 0 ? hf_state_now(s, s->version[v->from].cell) : &s->version[v->prev];'
mutant "freed bytes are zero" look.c '(v->from >= 0 || v->maybe)' '(v->from >= 0)'
mutant "freed bytes stay" effect.c '.maybe = true,
									.line' '.value = 0x11,
									.line'
mutant "pins may show old bytes" look.c '.any_later = maker->verb == HF_V_GET ||' '.any_later = maker->verb == HF_V_PIN || maker->verb == HF_V_GET ||'
mutant "pipes may not show old bytes" look.c 'maker->verb == HF_V_VMSPLICE ||' ''
mutant "pipes may show what was before them" look.c 'while (at != since && !shows(s, &s->version[at], value))' \
	'while (s->version[at].prev >= 0 && (l->any_later || at != since) && !shows(s, &s->version[at], value))'
mutant "a reader's pin loses writes" look.c 'l->ref >= 0 && !l->write_ref ? HF_STALE_READ : HF_LOST_WRITE;' 'HF_LOST_WRITE;'
mutant "a writer's pin goes stale" look.c 'l->ref >= 0 && !l->write_ref ? HF_STALE_READ : HF_LOST_WRITE;' \
	'l->ref >= 0 ? HF_STALE_READ : HF_LOST_WRITE;'
mutant "what was inherited was another's" look.c 'at = s->version[at].from >= 0 ? s->version[at].from : s->version[at].prev;' \
	'at = s->version[at].prev;'
mutant "own memory leaks" look.c 'other && s->owner[other->cell] == s->owner[cell]' '0'
mutant "a mix within what no step splits is well" look.c 'if (bytes[i] != bytes[0]) {' 'if (0) {'
mutant "WIPEONFORK does not wipe" effect.c 'else if (flags & HF_ATOM_WIPEONFORK)' 'else if (0)'
mutant "DONTFORK is forked" effect.c 'if (cell == HF_NOT_MAPPED || flags & HF_ATOM_DONTFORK)' 'if (cell == HF_NOT_MAPPED)'
mutant "DONTNEED leaves the bytes" effect.c 'return *cell < 0 ? 0 : hf_state_new_cell(s, st->proc, 0, cell);' 'return 0;'

# ---- instants, orders, claims ----

mutant "all that is bad in a child is torn" oracle.c 'if (atom == o->atoms.nr) {' 'if (child >= 0 || atom == o->atoms.nr) {'
mutant "what cannot be read is torn" oracle.c 'if (!l || hf_step_obstacle(s, l->step, &where))' 'if (!l)'
mutant "nothing is torn" oracle.c 'if (child >= 0)
			hf_say_torn(o, l->step, child, j);' ''
mutant "a parent is torn" oracle.c 'if (child >= 0)
			hf_say_torn(o, l->step, child, j);' 'hf_say_torn(o, l->step, child < 0 ? 0 : child, j);'
mutant "instants that do not explain are forgotten" oracle.c 'if (child < 0 || (!hf_explains(s)' 'if (1 || (!hf_explains(s)'
mutant "any look leaves an instant standing" oracle.c 'if (child < 0 || (!hf_explains(s)' 'if (0 && (!hf_explains(s)'
mutant "a child's child is of one instant" oracle.c 'of_parent >= 0 ? of_parent : in_par' 'in_par'
mutant "children of other forks are torn" oracle.c 'in_par ? st->child : -1;' 'st->child;'
mutant "the order of arms is the target's fault" oracle.c 'if (look && is_claim(st))
		judge_claim(o, &l, j);' ''
mutant "a claim that some order allows is well" oracle.c 'if (!no)
			continue;
		j->verdict' 'if (!no || yes)
			continue;
		j->verdict'
mutant "a claim names one value" oracle.c 'yes ? "that or " : ""' '""'
mutant "claims go by what was ruled out" oracle.c 'if (!hf_explains(s) || hf_look_cell(s, l, atom) < 0)' \
	'if (hf_look_cell(s, l, atom) < 0)'
mutant "a check is content with what else may be" oracle.c 'if (look && is_claim(st))
			judge_seen_claim(&l, j);' ''
mutant "what order forbids is refused" run.c 'if (open && (obs->status == -EFAULT' 'if (0 && (obs->status == -EFAULT'
mutant "what order allows is a bug" run.c 'obs->status == 0 && st->fails && open' '0'
mutant "any refusal may be the order's" run.c '(obs->status == -EFAULT || obs->status == -EIO)' '1'
mutant "arms keep their order" orders.c 'for (size_t a = 0; a < m->par->nr_arms && !err; a++) {
			const struct hf_arm *arm' 'for (size_t a = 0, one = 0; a < m->par->nr_arms && !err && !one; a++) {
			const struct hf_arm *arm' orders.c '*done = false;' '*done = false; one = 1;'
mutant "orders that end alike are many" orders.c 'if (equal)
			err = hf_state_compare(&f->all.state[i], s, &equal);' 'equal = false;'
mutant "states are alike that differ in a value" state.c 'x->value != y->value ||' '' state.c 'x->line != y->line ||' ''
mutant "states are alike that differ in the past" state.c 'va = x->prev;
		vb = y->prev;' 'va = vb = -1;'
mutant "states are alike that differ in protection" state.c 'a->flags[i] != b->flags[i] ||' ''
mutant "states are alike that differ in references" state.c 'if (!pair_cells(p, a->window[i], b->window[i]) ||
		    !pair_versions(p, a->since[i], b->since[i]))' 'if (0)'
mutant "a part of a pool page is dropped" effect.c 'return rest ? st->lo : end;' 'return end;'
mutant "what is less than a pool page stays, though it is all" effect.c 'bool rest = false;' 'bool rest = true;'
mutant "files of the pool drop parts" effect.c '!hf_is_hugetlb(s->atoms->kind)' 's->atoms->kind->memory != HF_MEM_HUGETLB'
mutant "DONTNEED is one moment" orders.c 'if (is_discard(st))
		return true;' ''
mutant "pins are one moment" orders.c 'if (!hf_step_makes_ref(st))
		return false;' 'return false;'
mutant "fork comes between two pages of DONTNEED" orders.c '!must_wait(m, &m->now.place[i], &arm->steps[at])' '1'
mutant "looks in arms show nothing" orders.c 'if (j->verdict == HF_OK) {' 'if (1) {'
mutant "bad looks in arms are torn" orders.c 'if (!(m->well >> n & 1))
			return;' ''
mutant "children in arms are not torn" orders.c 'torn = st;' ';'

echo "# mutants of the oracle that were noticed: $((made - failed))/$made"
done_testing
