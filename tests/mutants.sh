#!/bin/sh
# Rules and guards taken away one at a time: every mutant of the engine must be noticed by a test. The traps are those
# that whoever builds this anew walks into; docs/design.md lists them by the same numbers.
. tests/tap.sh
. tests/mutate.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
libs=$(pkg-config --libs liburcu-bp liburing jansson cmocka)
quick='mm gup swap migrate huge file ksm track traps'

flags="-std=gnu17 -O1 -w -D_GNU_SOURCE -I$dir/include -I$dir/src -Itests"

compile_engine() { # OBJECTS
	compile_folders "$1" core policy platform native
}

# Once: the engine as it is, and all that is linked to mutants of it.
prepare() {
	copy_sources
	compile_engine "$dir/base" || return 1
	mkdir -p "$dir/tests" "$dir/command"
	# shellcheck disable=SC2086
	for t in $(for q in $quick; do echo test_$q; done) model fuzz fuzz_driver fuzz_ops stress; do
		gcc $flags -c "tests/$t.c" -o "$dir/tests/$t.o" || return 1
	done
	# without the explorer of interleavings, which makes mutants of its own
	rm "$dir/src/cli/interleavings.c" "$dir/src/cli/mutants.c"
	printf 'int hf_cmd_interleavings(void) { return 2; }\nint hf_cmd_mutants(void) { return 2; }\n' \
		>"$dir/src/cli/no_explorer.c"
	compile_folders "$dir/command" machine scenario target/engine target/common target/here target/native search \
		equiv target/image target cli
}

link() { # OUTPUT OBJECT...
	out=$1
	shift
	# shellcheck disable=SC2086
	gcc "$@" "$dir"/objects/*/*.o $libs -o "$dir/$out"
}

# The quick tests first. True when one of them fails.
noticed() {
	for t in $quick; do
		link quick "$dir/tests/test_$t.o" || return 1
		timeout -s KILL 20 "$dir/quick" >/dev/null 2>&1 || return 0
	done
	link fuzz_ops "$dir"/tests/fuzz*.o "$dir/tests/model.o" || return 1
	timeout -s KILL 40 "$dir/fuzz_ops" -runs=400 tests/corpus/ops >/dev/null 2>&1 || return 0
	link holdfast "$dir"/command/*/*.o || return 1
	timeout -s KILL 60 "$dir/holdfast" run --on holdfast,linux-6.12 --kinds base,swapped,zeropage,thp,large-16k \
		scenarios >/dev/null 2>&1 || return 0
	link stress "$dir/tests/stress.o" "$dir/tests/model.o" || return 1
	timeout -s KILL 60 "$dir/stress" >/dev/null 2>&1 || return 0
	echo "no test noticed"
	return 1
}

mutate() { # FILE OLD NEW
	replace "$1" "$2" "$3" || return 1
	case $1 in
	# shellcheck disable=SC2086
	*.c) mkdir -p "$(dirname "$dir/objects/$1")" && gcc $flags -c "$dir/src/$1" -o "$dir/objects/${1%.c}.o" ;;
	*) compile_engine "$dir/objects" ;;
	esac
}

# Of the sources in the copy and the objects of them. True: the mutant is to be run. `make check` has no time for all: of EVERY
# so many one is run, and of the others only the text is looked for.
made=0
make_mutant() { # NAME OBJECTS (FILE OLD NEW)...
	made=$((made + 1))
	name=$1
	objects=$2
	shift 2
	if [ $((made % ${EVERY:-1})) -ne 0 ]; then
		check "can be made: $name" replace_all "$@"
		return 1
	fi
	rm -rf "$dir/objects"
	cp -r "$dir/$objects" "$dir/objects"
	while [ $# -gt 0 ]; do
		mutate "$1" "$2" "$3" || {
			check "$name: the mutant can be made" false
			return 1
		}
		shift 3
	done
}

mutant() { # NAME (FILE OLD NEW)...
	name=$1
	shift
	copy_sources
	make_mutant "$name" base "$@" && check "noticed: $name" noticed
}

# A lock that is not taken, of an engine whose assertions say where they failed.
died_at() { # FUNCTION
	for t in $quick; do
		link quick "$dir/tests/test_$t.o" || return 1
		timeout -s KILL 20 "$dir/quick" 2>&1 | grep -aq "^asserted in $1: " && return 0
	done
	echo "no test died there"
	return 1
}

unlocked() { # NAME FUNCTION (FILE OLD NEW)...
	name=$1
	at=$2
	shift 2
	copy_sources
	speak core/internal.h
	[ -d "$dir/speaking" ] || compile_engine "$dir/speaking"
	make_mutant "$name" speaking "$@" && check "$at() notices: $name" died_at "$at"
}

check "the engine and its tests compile" prepare

# The search goes on from one of the states that look alike: what its fingerprints do not see, it does not find.
search() { # COMMAND OPTION...
	"$@" check --histories --threads 1 --policy linux-5.10 --kind thp --written --find lost-write --depth 6 \
		--without pin,get,exit,protect,swapout,migrate,merge,unmap,fork,vmsplice
}

blind() {
	rm -rf "$dir/objects"
	cp -r "$dir/base" "$dir/objects"
	link sees "$dir"/command/*/*.o || return 1
	search "$dir/sees"
	[ $? -eq 1 ] || return 1
	copy_sources
	mutate search/fingerprint.c 'put_folio(f, c, page);' ';' &&
		mutate search/fingerprint.c 'put(f, !pmd ? 0 : hf_pmd_huge(pmd) ? 1 : 2);' ';' &&
		mutate search/fingerprint.c 'put(f, (uint32_t)(pmd & HF_PTE_FLAGS));' \
			'put(f, (uint32_t)(pmd & HF_PTE_FLAGS & ~HF_PTE_HUGE));' &&
		mutate search/fingerprint.c 'put_counts(f, hf_folio(page));' \
			'if (!hf_folio_order(page)) put_counts(f, page);' || return 1
	# shellcheck disable=SC2046
	link blind $(ls "$dir"/command/*/*.o | grep -v /fingerprint.o) || return 1
	search "$dir/blind"
}

# ---- locks ----

unlocked "a fault does not take ptl" install_own core/fault.c \
	'hf_mutex_lock(f->mm->sys, &f->table->ptl);' ';' core/fault.c 'hf_mutex_unlock(f->mm->sys, &f->table->ptl);' ';'
unlocked "reclaim does not lock the page" swap_out_locked core/reclaim.c 'if (!hf_page_trylock(page))
		return -HF_EBUSY;
	err = swap_out_locked' 'err = swap_out_locked'
unlocked "KSM does not lock the page" merge_locked core/ksm.c 'if (page && hf_page_trylock(page)) {' 'if (page) {'
unlocked "migration does not lock the new page" migrate_locked core/migrate.c 'hf_page_lock(sys, new);' ';'
unlocked "a new VMA does not lock the bounds" hf_anon_vma_link core/vma.c 'hf_bounds_lock(vma);
	link_vma(like->anon_vma, vma);
	hf_bounds_unlock(vma);' 'link_vma(like->anon_vma, vma);'
unlocked "the bounds of a file's mapping are the family's alone" link_vma core/vma.c 'if (vma->file)
		hf_mutex_lock(vma->mm->sys, &vma->file->lock);' ';'
unlocked "mremap does not lock the bounds" move_some core/mremap.c 'hf_bounds_lock(m->vma);' ';'
unlocked "munmap takes mmap_lock for reading" hf_munmap_locked core/mmap.c 'hf_mmap_write_lock(mm);
	err = hf_munmap_locked(mm, addr, addr + len);' 'hf_mmap_read_lock(mm);
	err = hf_munmap_locked(mm, addr, addr + len);'
unlocked "fork leaves the child's mmap_lock" fork_vma core/fork.c 'hf_mmap_write_lock(f.child);' ';'
unlocked "who maps a folio is booked without a lock" account_owner core/folio.c \
	'hf_mutex_lock(mm->sys, &mm->sys->owner_lock);
	total = hf_add' 'total = hf_add'
unlocked "a slot gets a user without swap_lock" set_count core/swap.c 'hf_mutex_lock(sys, &sys->swap_lock);
	hf_assert(sys->slots[slot].count);
	set_count(sys, slot, sys->slots[slot].count + 1);' 'set_count(sys, slot, sys->slots[slot].count + 1);'
unlocked "frames are given back without the buddy's lock" block_free core/buddy.c 'hf_mutex_lock(sys, &sys->buddy_lock);
	block_free(sys, page, order);' 'block_free(sys, page, order);'
unlocked "hugetlb's faults come two at a time" present_locked core/hugetlb.c 'if (hf_wants_own_page(f->flags))
		hf_mutex_lock(sys, &sys->hugetlb.fault_lock);' ';'

# ---- the traps ----

mutant "trap 1: the last sharer's exit gives the mark back" core/mmap.c \
	'hf_page_remove_rmap(mm, page);
		gather_page' 'hf_page_remove_rmap(mm, page);
		if (hf_page_mapcount(page) == 1 && hf_page_is_anon(page))
			hf_or(&page->flags, HF_PG_EXCLUSIVE, release);
		gather_page'
mutant "trap 2: mapcount decides over reuse" policy/table.c \
	'.may_reuse = hf_reuse_refcount,' '.may_reuse = hf_reuse_mapped_once,'
mutant "trap 3: an exclusive page with references is copied" core/fault.c 'if (hf_page_marked(sys, page)) {' \
	'if (hf_page_marked(sys, page) && (r->sleeps || hf_page_refs(page) == 1)) {'
mutant "trap 3: an exclusive folio with references is copied" core/fault.c 'if (hf_page_marked(sys, page)) {' \
	'if (hf_page_marked(sys, page) && (!r->sleeps || hf_page_refs(page) == 1)) {'
mutant "trap 4: plain references unshare" policy/gup.c \
	'return view->flags & HF_FOLL_PIN && view->anon && !view->exclusive;' 'return view->anon && !view->exclusive;'
mutant "trap 4: short read pins of the zeropage unshare on Linux" policy/gup.c \
	'bool zeropage = view->flags & HF_FOLL_LONGTERM && !view->anon;' 'bool zeropage = view->flags & HF_FOLL_PIN && !view->anon;'
mutant "trap 5: fork copies what is shared already" policy/fork.c \
	'return hf_page_exclusive(page) ? hf_fork_copy_maybe_pinned(src, page) : HF_FORK_SHARE;' \
	'return hf_fork_copy_maybe_pinned(src, page);'
mutant "trap 5: fork does not ask whether the mm ever pinned" policy/fork.c \
	'hf_mm_has_pinned(src) && hf_page_maybe_pinned(page)' 'hf_page_maybe_pinned(page)'
mutant "trap 5: the child inherits the flag" core/fork.c \
	'*child = f.child;' '{ hf_st(&f.child->has_pinned, hf_ld(&parent->has_pinned, relaxed), relaxed); *child = f.child; }'
mutant "trap 6: fork leaves a swap entry exclusive" core/mark.c 'return pte & ~HF_PTE_SWP_EXCLUSIVE;' 'return pte;'
mutant "trap 6: fork leaves a migration entry exclusive" core/mark.c \
	'return pte & ~(HF_PTE_MIG_WRITE | HF_PTE_MIG_EXCLUSIVE);' 'return pte;'
mutant "trap 7: an unshare fault maps the page writable" core/fault.c \
	'if (fault_flags & HF_FAULT_FLAG_WRITE)
		flags |= hf_written_flags(vma);
	else' 'if (fault_flags & (HF_FAULT_FLAG_WRITE | HF_FAULT_FLAG_UNSHARE))
		flags |= hf_written_flags(vma);
	else'
mutant "trap 7: an unshare drops uffd-wp and soft-dirty" core/fault.c \
	'flags |= old & HF_PTE_TRACK;' ';'
mutant "trap 8: fork relies on barriers, not on the sequence" core/gup_fast.c 'if (pin && seq & 1)' 'if (0)' \
	core/gup_fast.c 'if (pin && hf_ld(&mm->write_protect_seq, seq_cst) != seq)' 'if (0)'
mutant "trap 8: GUP-fast does not look at the sequence again" core/gup_fast.c \
	'if (pin && hf_ld(&mm->write_protect_seq, seq_cst) != seq)' 'if (0)'
mutant "trap 9: GUP-fast does not look at the mark" core/gup_fast.c \
	'return sys->policy->gup_read(&view) == HF_GUP_TAKE;' 'return true;'
mutant "trap 10: GUP-fast's undo runs the unpin check" core/gup_fast.c \
	'int err = hf_page_release(sys, refs[i].page, delta);' \
	'int err = delta == HF_COUNT_REF ? hf_page_release(sys, refs[i].page, delta) : (hf_unpin_user_pages(sys, &refs[i], 1), 0);'
mutant "trap 11: the unpin check looks at the first page only" core/mark.c \
	'if (hf_page_exclusive(page))
		return true;' 'if (head == page)
		return hf_page_exclusive(page);'
mutant "trap 11: the release of a range is checked" core/ref.c \
	'&(struct release){ .kind = HF_FOLL_PIN, .dirty = dirty });' \
	'&(struct release){ .kind = HF_FOLL_PIN, .check = true, .dirty = dirty });'
mutant "trap 12: unmapping takes the mark away" core/rmap.c \
	'old = hf_ref_sub(&page->mapcount, 1, relaxed);' \
	'old = hf_ref_sub(&page->mapcount, 1, relaxed); hf_and(&page->flags, ~HF_PG_EXCLUSIVE, relaxed);'
mutant "trap 13: pins of a large folio are counted for each page on Linux" core/page.c \
	'if (hf_folio_order(page))
		return pins_of(counts, 0) + pins_of(counts, 1);' 'if (hf_folio_order(page))
		return hf_page_pins(page);'
mutant "trap 14: pins count on the zeropage" core/gup.c \
	'if (!hf_pte_special(pte) || huge != HF_NOT_HUGE) {' 'if (1) {'
mutant "trap 14: pins do not count on the huge zeropage" core/gup.c \
	'if (!hf_pte_special(pte) || huge != HF_NOT_HUGE) {' 'if (!hf_pte_special(pte)) {'
mutant "trap 15: FORCE gets around the write fault of a writable mapping" core/gup.c \
	'if (!(vma->prot & HF_PROT_WRITE) && !hf_pte_special(pte)' 'if (!hf_pte_special(pte)'
mutant "trap 15: FORCE writes through a page that is shared" core/gup.c \
	'has_mark ? hf_page_exclusive(page)' 'has_mark ? true'
mutant "trap 16: KSM merges pages that are held" core/ksm.c \
	'return hf_page_refs(page) ==
	       hf_page_mapcount(page) + 1 + (hf_ld(&page->slot, relaxed) ? 1 : 0);' 'return true;'
mutant "trap 16: a plain reference keeps a page from being unmapped" core/reclaim.c \
	'if (hf_page_looks_pinned(sys, page))' 'if (hf_page_refs(page) > hf_page_mapcount(page) + 1)'
mutant "trap 16: a page that is held leaves the swap cache" core/swap.c \
	'drop = hf_page_refs(page) == 2 && !(hf_ld(&page->flags, relaxed) & HF_PG_DIRTY);' \
	'drop = !(hf_ld(&page->flags, relaxed) & HF_PG_DIRTY);'
mutant "trap 17: a read fault maps a swapped page of ours read-only" core/fault.c \
	'if (marked && f->vma->prot & HF_PROT_WRITE &&' 'if (0 &&'
mutant "trap 18: swap-in drops the mark although nothing is being written back" core/fault.c \
	'keep = f->pte & HF_PTE_SWP_EXCLUSIVE;' 'keep = false;'
mutant "trap 19: a write fault drains every CPU's batch" core/fault.c 'hf_lru_drain(mm->sys);' 'hf_lru_drain_all(mm->sys);'
mutant "trap 19: a write fault drains no batch" core/fault.c 'hf_lru_drain(mm->sys);' ';'
mutant "trap 20: a small page whose lock is busy is waited for" core/fault.c \
	'.sleeps = f->mm->sys->policy->reuse_sleeps,' '.sleeps = true,'
mutant "trap 20: a folio whose lock is busy is copied" core/huge.c \
	'.sleeps = true,' '.sleeps = false,'
mutant "trap 21: a split leaves the mark with the first page" core/mark.c 'if (exclusive)' 'if (exclusive && !i)'
mutant "trap 22: references decide over hugetlb on Linux" policy/table.c \
	'.hugetlb_reuse = hf_reuse_mapped_once, .hugetlb_force_lasts' \
	'.hugetlb_reuse = hf_reuse_refcount, .hugetlb_force_lasts'
mutant "trap 23: many plain references never look like a pin" core/page.c \
	'return refs_of(counts) + 1023ull * (pins_of(counts, 0) + pins_of(counts, 1)) >= 1024;' \
	'return pins_of(counts, 0) + pins_of(counts, 1);'
mutant "trap 24: mprotect makes shared pages writable" core/protect.c \
	'hf_page_exclusive(hf_pfn_page(mm->sys, hf_pte_pfn(pte))))' '1)'
mutant "trap 24: mprotect does not upgrade what is exclusive" policy/table.c \
	'.mprotect_upgrades = true' '.mprotect_upgrades = false'
mutant "trap 25: a long-term pin stays in the movable zone" core/gup.c \
	'return g->taken & HF_FOLL_LONGTERM && g->taken & HF_FOLL_PIN &&' 'return 0 &&' \
	core/gup_fast.c 'if (taken & HF_FOLL_LONGTERM && !hf_page_longterm_pinnable(sys, page))' 'if (0)'

# ---- and more ----

mutant "fork shares pinned pages" policy/fork.c \
	'return hf_page_exclusive(page) && hf_page_pins(page) ? HF_FORK_COPY : HF_FORK_SHARE;' 'return HF_FORK_SHARE;'
mutant "fork shares a folio with a pinned page" core/fork.c \
	'(!policy->estimates_pins && hf_folio_pins(head))' 'false'
mutant "fork leaves the parent's entry writable" core/fork.c 'hf_and(src, ~HF_PTE_WRITE, relaxed);' ';'
mutant "fork does not stop the writers" policy/table.c '.fork_one_instant = true,' '.fork_one_instant = false,'
mutant "fork does not flush what it protects" core/fork.c '&protect);
		hf_tlb_flush(parent);' '&protect);'
mutant "Linux's fork does not flush" core/fork.c 'if (!one_instant)
		hf_tlb_flush(parent);' ';'
mutant "a failed fork does not give back write access" core/fork.c 'for_each_copied(parent, &unprotect);' ';'
mutant "read-only pins take shared pages" policy/gup.c \
	'return view->flags & HF_FOLL_PIN && view->anon && !view->exclusive;' 'return false;' \
	core/gup.c 'hf_assert(!(g->taken & HF_FOLL_PIN)' 'hf_assert(1 || !(g->taken & HF_FOLL_PIN)'
mutant "pins take the zeropage" policy/gup.c \
	'bool zeropage = view->flags & HF_FOLL_PIN && !view->anon;' 'bool zeropage = false;'
mutant "write references are not pins" policy/gup.c \
	'if (foll_flags & HF_FOLL_GET && foll_flags & HF_FOLL_WRITE)' 'if (0)'
mutant "an unshared page gets no mark" core/fault.c \
	'hf_page_add_new_rmap(page, f->vma, f->addr);' 'if (f->flags & HF_FAULT_FLAG_WRITE)
		hf_page_add_new_rmap(page, f->vma, f->addr);
	else
		hf_page_add_anon_rmap(page, f->vma, f->addr);'
mutant "the unpin check is not run" core/ref.c 'if (!stands)' 'stands = true; if (0)'
mutant "a handle does not know its kind" core/held.c 'refs[i].flags & kind ? slot_of(sys, &refs[i]) : NULL' \
	'slot_of(sys, &refs[i])'
mutant "a stale handle can be used" core/held.c 'slot && hf_ld(slot, relaxed) == ref->use' 'slot'
mutant "a stale handle can be released" core/held.c 'slot && hf_cas(slot, &use, use - HELD + LEAVING, relaxed)' \
	'slot && (hf_st(slot, use - HELD + LEAVING, relaxed), 1)'
mutant "two uses of a slot are taken for one" core/held.c '#define NEXT_USE 4u' '#define NEXT_USE 0u' \
	core/held.c '#define STATE (NEXT_USE - 1)' '#define STATE 3u'
mutant "what cannot be released with the rest stays half released" core/held.c 'stay(sys, refs, i);' ';'
mutant "a slot that is held is found again" core/held.c 'if ((use & STATE) != FREE)' 'if (0)'
mutant "slots are not used again" core/held.c 'shard->next = 0;' 'return false;'
mutant "a shard is anybody's" core/held.c 'hf_xchg(&sys->shards[i % HF_NR_SHARDS].busy, true, acquire)' '0'
mutant "handles of another system are good" core/held.c \
	'ref->page < sys->pages || ref->page >= sys->pages + sys->nr_frames ||' '!ref->page ||'
mutant "a user releases what another took" core/user.c 'if (refs[i].flags != flags)' 'if (0)'
mutant "counters overflow" core/page.c 'if (would_overflow(counts, delta))' 'if (0)'
mutant "pinned pages are swapped out" core/reclaim.c 'if (hf_page_looks_pinned(sys, page))' 'if (0)' \
	core/mark.c 'if (!policy->pins_shared && hf_page_looks_pinned(sys, page))' 'if (0)'
mutant "swap-in marks what is shared" core/fault.c 'keep = f->pte & HF_PTE_SWP_EXCLUSIVE;' 'keep = true;'
mutant "a fresh page is not its only user's" core/fault.c 'keep |= own || (' 'keep |= ('
mutant "5.10's swap cache does not count" core/swap.c 'if (page && sys->policy->swap_cache_lingers)' 'if (0)'
mutant "a clean page is not written to its new slot" core/swap.c 'hf_or(&page->flags, HF_PG_DIRTY, relaxed);' ';'
mutant "unmapping leaks the swap slot" core/mmap.c 'hf_slot_put(mm->sys, hf_pte_slot(pte));' ';'
mutant "a failed write drops the page" core/reclaim.c 'hf_or(&page->flags, HF_PG_DIRTY, relaxed);
			return -HF_EIO;' ';'
mutant "a failed migration loses the mark" core/folio.c 'if (pte & HF_PTE_MIG_EXCLUSIVE)' 'if (0)'
mutant "held pages migrate" core/swap.c 'exact = hf_page_refs(old) == (slot ? 2 : 1);' 'exact = true;'
mutant "pinned pages migrate" core/migrate.c 'if (av && !hf_folio_pins(old) &&' 'if (av &&' \
	core/mark.c 'if (!policy->pins_shared && hf_page_looks_pinned(sys, page))' 'if (0)' \
	core/swap.c 'exact = hf_page_refs(old) == (slot ? 2 : 1);' 'exact = true;'
mutant "children come before their parents in the reverse map" core/vma.c \
	'vma->link[which] = (struct hf_vma_link){ .prev = list->last };
	if (list->last)
		list->last->link[which].next = vma;
	else
		list->first = vma;
	list->last = vma;' 'vma->link[which] = (struct hf_vma_link){ .next = list->first };
	if (list->first)
		list->first->link[which].prev = vma;
	else
		list->last = vma;
	list->first = vma;'
mutant "freed memory is dropped although it was stored to" core/reclaim.c '!= 2 || pte & HF_PTE_DIRTY ||' '!= 2 ||'
mutant "freed memory is dropped although it is held" core/reclaim.c 'hf_page_refs(page) != 2' '0'
mutant "held folios are split" core/folio.c 'if (!err && !hf_cas(&head->counts, &counts, 0, acquire))' \
	'if (!err && (hf_st(&head->counts, 0, seq_cst), 0))' core/folio.c \
	'if (hf_folio_pins(head) || hf_page_refs(head) != hf_folio_mapcount(head) + 1)' 'if (0)'
mutant "held pages are collapsed" core/collapse.c 'if (!exact(c)) {' 'if (0) {'
mutant "collapse marks nothing" core/collapse.c 'hf_mark_new(sys, c->head);' ';'
mutant "merged pages are written to" core/fault.c 'if (hf_page_ksm(page))
		return false;' ';' core/ksm.c 'hf_mk_pte(hf_page_pfn(sys, stable), flags)' \
	'hf_mk_pte(hf_page_pfn(sys, stable), flags | HF_PTE_WRITE)'
mutant "merging does not compare" core/ksm.c '&& same_bytes(mm->sys, page, stable)) {' ') {' \
	core/ksm.c '(sum ^ hf_ld(&word[i], relaxed)) * 0x100000001b3ull' '(sum ^ (hf_ld(&word[i], relaxed) & 0)) * 0x100000001b3ull'
mutant "children inherit hugetlb reservations" core/fork.c 'return 0; /* reservations are not inherited */' \
	'{ hf_st(dst, pmd, release); return 0; }'
mutant "private mappings store to the file" core/fault.c 'if (!is_shared(f))
			return copy_page_fault(f, page);' ';'
mutant "truncation leaves pages mapped" core/file.c 'if (skip < pages)' 'if (0)'
mutant "writeback leaves entries writable" core/file.c 'hf_and(ptep, ~(HF_PTE_WRITE | HF_PTE_DIRTY), relaxed)' \
	'hf_and(ptep, ~HF_PTE_DIRTY, seq_cst)'

# ---- what kernels refuse ----

mutant "populating ends at a hole in every era" core/madvise.c '!mm->sys->policy->populates_over_holes' 'true'
mutant "mremap spans mappings in every era" core/mremap.c 'm->mm->sys->policy->remap_spans' 'true'
mutant "what precedes a mapping that cannot move stays" core/mremap.c 'm.new = whole->new + (m.old - whole->old);' \
	'm.new = whole->new;'
mutant "hugetlb moves in every era" core/mremap.c '!m->mm->sys->policy->hugetlb_moves' 'false'
mutant "hugetlb moves from the middle of a page" core/mremap.c '(m->old | m->new) & ~HF_PMD_MASK' 'false'
mutant "a huge PMD moves in pieces" core/mremap.c 'if (moves_whole(m, off, len) && hf_pmd_table(m->mm, old))' 'if (0)'
mutant "a huge PMD moves to where none fits" core/mremap.c '!((m->new + off) & ~HF_PMD_MASK) &&' ''
mutant "files take MADV_FREE" core/madvise.c '(a->what == HF_MADV_FREE && vma->file)' 'false'
mutant "files take MADV_WIPEONFORK" core/madvise.c 'a->what == HF_MADV_WIPEONFORK && !is_anonymous(vma)' 'false'
mutant "hugetlb takes MADV_FREE" core/madvise.c 'if (hugetlb || (a->what' 'if ((a->what'
mutant "advice ends at a hole" core/madvise.c 'while (addr < end && !err) {' 'while (addr < end && !err && !hole) {'
mutant "advice for a part of a hugetlb page is for all of it" core/madvise.c '|| start & ~HF_PMD_MASK' ''
mutant "protection that is there already is refused" core/protect.c 'if (vma->prot == c->prot)
		return 0;' ''
mutant "forced writes reach hugetlb in every era" core/gup.c 'mm->sys->policy->hugetlb_refuses_force &&' 'false &&'
mutant "forced writes to hugetlb do not last" core/hugetlb.c 'return lasts && f->flags' 'return false && f->flags'
mutant "forced writes to hugetlb last in every era" core/hugetlb.c 'return lasts && f->flags' 'return f->flags'
mutant "ptrace says EFAULT" core/user.c 'err = -HF_EIO;' ';'
mutant "buffers are registered in any mapping" core/user.c 'if (mm->sys->policy->registers_files)' 'if (true)'
mutant "a refused buffer stays pinned" core/user.c 'hf_user_release(mm->sys, user, refs, (size_t)got);
	return err;' 'return err;'
mutant "what was cut off comes back" core/file.c 'index < hf_ld(&file->nr_backed, relaxed)' 'true'
mutant "hugetlb files have no end" core/hugetlb.c \
	'if (hf_file_index(f->vma, f->addr) / HF_PMD_PAGES < hf_file_pages(file))' 'if (file)'
mutant "freed memory that was written goes at once" core/reclaim.c 'if (is_discarded(page))
		return discard(sys, page);' 'if (is_discarded(page) && !discard(sys, page))
		return 0;'
mutant "MADV_FREE takes shared pages in every policy" core/reclaim.c 'return policy->frees_shared &&' 'return'
mutant "a forced write copies what it brought back" core/fault.c 'f->again = !err && !kept;' 'f->again = !err;'

# ---- the search ----

check "noticed: fingerprints that do not see who maps a folio, and how" blind
done_testing
