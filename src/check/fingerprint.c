/* SPDX-License-Identifier: MIT */
/*
 * The engine's state and the oracle's, written down in one canonical form: processes and pages in
 * every order of their names, of which the smallest form counts; frames and byte values by the
 * order in which the form comes across them.
 */
#include "fingerprint.h"

#include "../core/internal.h"
#include "../scenario/engine.h"
#include "../scenario/state.h"
#include "history.h"

#include <string.h>

#define MAX_WORDS 512

struct form {
	uint32_t word[MAX_WORDS];
	size_t nr;
	uint64_t frame[64]; /* by their new numbers */
	size_t nr_frames;
	uint8_t value[64];
	size_t nr_values;
};

struct names {
	unsigned proc[HF_HIST_MAX_PROCS], page[HF_HIST_MAX_PAGES];
	unsigned nr_procs, nr_pages;
};

static void put(struct form *f, uint32_t word)
{
	if (f->nr < MAX_WORDS)
		f->word[f->nr++] = word;
}

static uint32_t rename_frame(struct form *f, uint64_t pfn)
{
	size_t i = 0;

	while (i < f->nr_frames && f->frame[i] != pfn)
		i++;
	if (i == f->nr_frames && i < 64)
		f->frame[f->nr_frames++] = pfn;
	return (uint32_t)i;
}

/* Zero is zero: fresh memory has it. */
static uint32_t rename_value(struct form *f, uint8_t value)
{
	size_t i = 0;

	if (!value)
		return 0;
	while (i < f->nr_values && f->value[i] != value)
		i++;
	if (i == f->nr_values && i < 64)
		f->value[f->nr_values++] = value;
	return (uint32_t)i + 1;
}

/* A frame, whoever has it: what it holds, and who counts on it. */
static void put_frame(struct form *f, struct hf_system *sys, uint64_t pfn)
{
	const struct hf_page *page = &sys->pages[pfn];
	uint64_t counts = hf_ld(&page->counts, relaxed);

	put(f, rename_frame(f, pfn));
	put(f, rename_value(f, hf_page_data(sys, page)[0]));
	put(f, (uint32_t)counts);
	put(f, (uint32_t)(counts >> 32));
	put(f, hf_page_mapcount(page));
	put(f, hf_ld(&page->flags, relaxed) &
		       (HF_PG_EXCLUSIVE | HF_PG_KSM | HF_PG_BATCHED | HF_PG_DIRTY));
	put(f, hf_page_swap_users(page));
}

static void put_swapped(struct form *f, struct hf_system *sys, hf_pte pte)
{
	static _Thread_local uint64_t buffer[HF_PAGE_SIZE / 8];
	const struct hf_swap_slot *slot = &sys->slots[hf_pte_slot(pte)];

	put(f, slot->count);
	if (slot->page) {
		put_frame(f, sys, hf_page_pfn(sys, slot->page));
		return;
	}
	sys->swap->read(sys->swap->ctx, hf_pte_slot(pte), buffer);
	put(f, rename_value(f, *(uint8_t *)buffer));
	put(f, rename_frame(f, 1ull << 40 | hf_pte_slot(pte)));
}

static void put_entry(struct form *f, struct hf_mm *mm, uint64_t addr)
{
	struct hf_table *leaf = hf_leaf(mm, addr);
	struct hf_vma *vma = hf_vma_find(mm, addr);
	hf_pte pte = leaf ? hf_ld(&leaf->entry[hf_pte_index(addr)], relaxed) : 0;

	put(f, vma ? vma->prot << 8 | vma->flags << 16 | 1 : 0);
	put(f, (uint32_t)(pte & HF_PTE_FLAGS));
	if (hf_pte_present(pte))
		put_frame(f, mm->sys, hf_pte_pfn(pte));
	else if (hf_pte_swap(pte))
		put_swapped(f, mm->sys, pte);
}

/* ---- the oracle's part ---- */

static int atom_of(const struct hf_state *s, unsigned page)
{
	for (size_t i = 0; i < s->atoms->nr; i++)
		if (s->atoms->atom[i].lo == page * HF_PAGE_SIZE)
			return (int)i;
	return -1;
}

static void put_cell(struct form *f, const struct hf_state *s, int16_t cell)
{
	put(f, cell < 0 ? UINT32_MAX
			: rename_value(f, hf_state_value(s, cell, s->nr_versions)->value));
}

/* Where a reference's cell is now, and which values it may show. */
static void put_window(struct form *f, const struct hf_state *s, const struct names *n, int ref,
		       unsigned page)
{
	int atom = atom_of(s, page);
	int16_t cell = atom < 0 ? -1 : *hf_state_window(s, ref, (size_t)atom);
	uint32_t owner = UINT32_MAX;

	for (unsigned i = 0; cell >= 0 && i < n->nr_procs; i++)
		if (*hf_state_map(s, (int)n->proc[i], (size_t)atom) == cell)
			owner = i;
	put(f, owner);
	put_cell(f, s, cell);
	if (cell < 0)
		return;
	put(f, rename_value(f, hf_state_value(s, cell, s->taken[ref])->value));
	for (size_t i = s->taken[ref]; i < s->nr_versions; i++)
		if (s->version[i].cell == cell)
			put(f, rename_value(f, s->version[i].value));
}

/* ---- all of it, under given names ---- */

static void put_refs(struct form *f, struct hf_engine_run *r, const struct hf_state *s,
		     const struct names *n)
{
	for (size_t i = 0; i < r->scn->nr_refs; i++) {
		const struct hf_engine_held *h = &r->held[i];
		unsigned page;

		if (!h->refs)
			continue;
		page = (unsigned)(h->maker->lo / HF_PAGE_SIZE);
		put(f, 0xfeed0000u | h->maker->verb << 8 | h->maker->foll);
		for (unsigned g = 0; g < n->nr_pages; g++)
			if (n->page[g] == page)
				put(f, g);
		for (unsigned p = 0; p < n->nr_procs; p++)
			if ((int)n->proc[p] == h->maker->target)
				put(f, p);
		if (hf_ref_pfn(r->sys, &h->refs[0]) != HF_PFN_NONE)
			put_frame(f, r->sys, hf_ref_pfn(r->sys, &h->refs[0]));
		put_window(f, s, n, (int)i, page);
	}
}

static uint64_t hash(const struct form *f)
{
	uint64_t h = 0x9e3779b97f4a7c15ull;

	for (size_t i = 0; i < f->nr; i++) {
		h = (h ^ f->word[i]) * 0xff51afd7ed558ccdull;
		h ^= h >> 32;
	}
	return h;
}

static uint64_t form_of(struct hf_engine_run *r, const struct hf_state *s, const struct names *n)
{
	struct form f = { .nr = 0 };

	for (unsigned p = 0; p < n->nr_procs; p++) {
		struct hf_mm *mm = r->mm[n->proc[p]];

		put(&f, mm ? 1 + hf_mm_has_pinned(mm) : 0);
		for (unsigned g = 0; mm && g < n->nr_pages; g++) {
			int atom = atom_of(s, n->page[g]);

			put_entry(&f, mm, r->place[n->proc[p]][0].addr + n->page[g] * HF_PAGE_SIZE);
			put_cell(&f, s,
				 atom < 0 ? -1 : *hf_state_map(s, (int)n->proc[p], (size_t)atom));
		}
	}
	put_refs(&f, r, s, n);
	return hash(&f);
}

static void swap(unsigned *a, unsigned *b)
{
	unsigned t = *a;

	*a = *b;
	*b = t;
}

/* The smallest form over the orders of names[from..nr), and then over those of the pages. */
static uint64_t least(struct hf_engine_run *r, const struct hf_state *s, struct names *n,
		      unsigned *names, unsigned nr, unsigned from)
{
	uint64_t found = UINT64_MAX;

	if (from + 1 >= nr)
		return names == n->proc ? least(r, s, n, n->page, n->nr_pages, 0)
					: form_of(r, s, n);
	for (unsigned i = from; i < nr; i++) {
		uint64_t h;

		swap(&names[from], &names[i]);
		h = least(r, s, n, names, nr, from + 1);
		swap(&names[from], &names[i]);
		found = h < found ? h : found;
	}
	return found;
}

uint64_t hf_fingerprint(void *run, const struct hf_oracle *oracle)
{
	struct hf_engine_run *r = run;
	struct names n = { .nr_procs = (unsigned)r->scn->nr_procs,
			   .nr_pages = r->scn->bufs[0].max_pages };

	for (unsigned i = 0; i < HF_HIST_MAX_PROCS; i++)
		n.proc[i] = i;
	for (unsigned i = 0; i < HF_HIST_MAX_PAGES; i++)
		n.page[i] = i;
	/* the first process is born alone, and the only one that cannot exit: it keeps its name */
	return least(r, hf_oracle_state(oracle), &n, n.proc, n.nr_procs, 1) | 1;
}
