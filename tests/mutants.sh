#!/bin/sh
# Rules and guards taken away one at a time: every mutant of the engine must be noticed by a test.
. tests/tap.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
libs=$(pkg-config --libs liburcu-bp liburing jansson cmocka)

flags="-std=gnu17 -O1 -w -D_GNU_SOURCE -DHF_FUZZ_DRIVER -I$dir/include -I$dir/src"

# The engine, once a mutant. Files of two folders share names, so each folder has its objects.
compile_engine() {
	rm -rf "$dir/objects"
	for folder in core policy platform; do
		mkdir -p "$dir/objects/$folder"
		# shellcheck disable=SC2086
		(cd "$dir/objects/$folder" && printf '%s\n' "$dir/src/$folder"/*.c | xargs -P 2 -n 4 gcc $flags -c) ||
			return 1
	done
}

compile() { # OUTPUT SOURCE...
	out=$1
	shift
	# shellcheck disable=SC2086
	gcc $flags "$@" "$dir"/objects/*/*.o $libs -o "$dir/$out"
}

# The quick tests first. True when one of them fails.
noticed() {
	compile_engine || return 1
	for t in mm gup swap migrate; do
		compile test_$t tests/test_$t.c || return 1
		timeout 60 "$dir/test_$t" >/dev/null 2>&1 || return 0
	done
	compile fuzz_ops tests/fuzz_ops.c tests/model.c || return 1
	timeout 100 "$dir/fuzz_ops" 100 >/dev/null 2>&1 || return 0
	compile holdfast "$dir"/src/scenario/*.c "$dir"/src/kernel/*.c "$dir"/src/cli/*.c || return 1
	timeout 100 "$dir/holdfast" run --on holdfast scenarios >/dev/null 2>&1 || return 0
	compile stress tests/stress.c tests/model.c || return 1
	timeout 100 "$dir/stress" >/dev/null 2>&1 || return 0
	echo "no test noticed"
	return 1
}

mutate() { # FILE OLD NEW
	python3 - "$dir/src/$1" "$2" "$3" <<-'END'
		import sys
		path, old, new = sys.argv[1:]
		text = open(path).read()
		if text.count(old) < 1:
		    sys.exit(f"{path}: '{old}' is not there any more")
		open(path, "w").write(text.replace(old, new))
	END
}

mutant() { # NAME (FILE OLD NEW)...
	name=$1
	shift
	rm -rf "$dir/src" "$dir/include"
	cp -r src include "$dir"
	while [ $# -gt 0 ]; do
		mutate "$1" "$2" "$3" || {
			check "$name: the mutant can be made" false
			return
		}
		shift 3
	done
	check "noticed: $name" noticed
}

mutant "mapcount decides over reuse" policy/reuse.c \
	'return hf_page_refs(page) == 1;' 'return hf_page_mapcount(page) == 1;'
mutant "an exclusive page with references is copied" core/fault.c \
	'if (policy->has_mark && hf_page_exclusive(page)) {' \
	'if (policy->has_mark && hf_page_exclusive(page) && hf_page_refs(page) == 1) {'
mutant "fork shares pinned pages" policy/fork.c \
	'return hf_page_exclusive(page) && hf_page_pins(page) ? HF_FORK_COPY : HF_FORK_SHARE;' \
	'return HF_FORK_SHARE;' core/page.c 'if (!policy->pins_shared && hf_page_pins(page))' 'if (0)'
mutant "fork leaves the parent's entry writable" core/fork.c \
	'hf_and(src, ~HF_PTE_WRITE, seq_cst);' ';'
mutant "fork does not stop the writers" policy/table.c \
	'.fork_one_instant = true,' '.fork_one_instant = false,'
mutant "fork does not flush what it protects" core/fork.c 'protect_leaf);
		hf_tlb_flush(parent);' 'protect_leaf);'
mutant "Linux's fork does not flush" core/fork.c 'if (!one_instant)
		hf_tlb_flush(parent);' ';'
mutant "a failed fork does not give back write access" core/fork.c \
	'for_each_copied(parent, unprotect_leaf);' ';'
mutant "read-only pins take shared pages" policy/gup.c \
	'return view->flags & HF_FOLL_PIN && view->anon && !view->exclusive;' 'return false;' \
	core/gup.c 'hf_assert(!(g->taken & HF_FOLL_PIN)' 'hf_assert(1 || !(g->taken & HF_FOLL_PIN)'
mutant "pins take the zeropage" policy/gup.c \
	'bool zeropage = view->flags & HF_FOLL_PIN && !view->anon;' 'bool zeropage = false;'
mutant "write references are not pins" policy/gup.c \
	'if (foll_flags & HF_FOLL_GET && foll_flags & HF_FOLL_WRITE)' 'if (0)'
mutant "GUP-fast does not look at the mark" core/gup_fast.c \
	'return sys->policy->gup_read(&view) == HF_GUP_TAKE;' 'return true;'
mutant "GUP-fast ignores fork" core/gup_fast.c 'if (pin && seq & 1)' 'if (0)'
mutant "an unshare fault maps the page writable" core/fault.c \
	'if (f->flags & HF_FAULT_FLAG_WRITE) {
		flags |= HF_PTE_DIRTY;' 'if (wants_own_page(f)) {
		flags |= HF_PTE_DIRTY;'
mutant "an unshared page gets no mark" core/fault.c \
	'hf_page_add_new_rmap(page, f->vma, f->addr, sys->policy->has_mark);' \
	'hf_page_add_new_rmap(page, f->vma, f->addr, f->flags & HF_FAULT_FLAG_WRITE);'
mutant "mprotect makes shared pages writable" core/protect.c \
	'hf_page_exclusive(hf_pfn_page(mm->sys, hf_pte_pfn(pte))))' '1)'
mutant "unmapping takes the mark away" core/rmap.c \
	'uint32_t old = hf_sub(&page->mapcount, 1, release);' \
	'uint32_t old = hf_sub(&page->mapcount, 1, release); hf_and(&page->flags, ~HF_PG_EXCLUSIVE, release);'
mutant "the unpin check is not run" core/ref.c 'if (!stands)' 'stands = true; if (0)'
mutant "a handle does not know its kind" core/ref.c \
	'if (!(refs[i].flags & r->kind) || !ref_valid(sys, &refs[i]))' 'if (!ref_valid(sys, &refs[i]))'
mutant "a stale handle is not told" core/ref.c \
	'ref->generation == hf_ld(&page->generation, relaxed) &&' ''
mutant "counters overflow" core/page.c 'if (would_overflow(counts, delta))' 'if (0)'
mutant "fork leaves a swap entry exclusive" core/fork.c 'pte &= ~HF_PTE_SWP_EXCLUSIVE;' ';'
mutant "pinned pages are swapped out" core/reclaim.c 'if (hf_page_pins(page))' 'if (0)' \
	core/page.c 'if (!policy->pins_shared && hf_page_pins(page))' 'if (0)'
mutant "swap-in forgets the mark" core/fault.c 'keep = f->pte & HF_PTE_SWP_EXCLUSIVE;' 'keep = false;'
mutant "swap-in marks what is shared" core/fault.c 'keep = f->pte & HF_PTE_SWP_EXCLUSIVE;' 'keep = true;'
mutant "a clean page is not written to its new slot" core/swap.c \
	'hf_or(&page->flags, HF_PG_DIRTY, relaxed);' ';'
mutant "unmapping leaks the swap slot" core/mmap.c 'hf_slot_put(mm->sys, hf_pte_slot(pte));' ';'
mutant "a failed write drops the page" core/reclaim.c 'hf_or(&page->flags, HF_PG_DIRTY, relaxed);
			return -HF_EIO;' ';'
mutant "a failed migration loses the mark" core/migrate.c 'if (pte & HF_PTE_MIG_EXCLUSIVE)' 'if (0)'
mutant "held pages migrate" core/swap.c 'exact = hf_page_refs(old) == (slot ? 2 : 1);' 'exact = true;'
mutant "pinned pages migrate" core/migrate.c 'if (av && !hf_page_pins(old))' 'if (av)' \
	core/page.c 'if (!policy->pins_shared && hf_page_pins(page))' 'if (0)' \
	core/swap.c 'exact = hf_page_refs(old) == (slot ? 2 : 1);' 'exact = true;'
mutant "children come before their parents in the reverse map" core/rmap.c \
	'vma->av_next = NULL;
	vma->av_prev = av->tail;
	if (av->tail)
		av->tail->av_next = vma;
	else
		av->head = vma;
	av->tail = vma;' 'vma->av_prev = NULL;
	vma->av_next = av->head;
	if (av->head)
		av->head->av_prev = vma;
	else
		av->tail = vma;
	av->head = vma;'
mutant "freed memory is dropped although it was stored to" core/reclaim.c \
	'if (pte & HF_PTE_DIRTY ||' 'if ('
mutant "freed memory is dropped although it is held" core/reclaim.c \
	'hf_page_refs(page) != 2' '0'
done_testing
