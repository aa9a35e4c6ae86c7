/* SPDX-License-Identifier: MIT */
/*
 * The engine's state and the oracle's, written down in one canonical form: processes and pages in
 * every order of their names, of which the smallest form counts; frames and byte values by the
 * order in which the form comes across them.
 */
#include "fingerprint.h"

#include "../core/internal.h"
#include "../scenario/state.h"
#include "../target/engine/engine.h"
#include "history.h"

#include <string.h>

/* What was written down so far, hashed. */
struct form {
	uint64_t hash;
	uint64_t frame[64]; /* by their new numbers */
	size_t nr_frames;
	uint8_t value[64];
	size_t nr_values;
};

/* Sets of names, each in the order that is tried. Page names are places in the buffer. */
enum { PROCS, PAGES, REFS, NR_SETS };

struct canon {
	struct hf_engine_run *r;
	const struct hf_state *s;
	struct {
		unsigned name[HF_HIST_MAX_PROCS], nr;
	} set[NR_SETS];
	bool folios; /* the memory is of large folios */
};

_Static_assert(HF_HIST_MAX_PAGES <= HF_HIST_MAX_PROCS && HF_HIST_MAX_REFS <= HF_HIST_MAX_PROCS,
	       "names of every set fit");

/* What is renamed like frames: swap slots, and folios by their first frame. */
#define SLOT (1ull << 40)
#define FOLIO (1ull << 41)

static void put(struct form *f, uint32_t word)
{
	f->hash = (f->hash ^ word) * 0xff51afd7ed558ccdull;
	f->hash ^= f->hash >> 32;
}

static void put64(struct form *f, uint64_t word)
{
	put(f, (uint32_t)word);
	put(f, (uint32_t)(word >> 32));
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

/* ---- the engine's part ---- */

/* Who counts on a folio as a whole; its first page has the books. */
static void put_counts(struct form *f, const struct hf_page *head)
{
	put64(f, hf_ld(&head->counts, relaxed));
	put(f, hf_ld(&head->flags, relaxed) &
		       (HF_PG_KSM | HF_PG_BATCHED | HF_PG_DIRTY | HF_PG_LINGERS));
}

/* Of a large folio: which one, who maps it and how, and who holds this page of it. */
static void put_folio(struct form *f, const struct canon *c, const struct hf_page *page)
{
	const struct hf_page *head = hf_folio(page);

	put(f, rename_frame(f, FOLIO | hf_page_pfn(c->r->sys, head)));
	put64(f, hf_ld(&page->pins, relaxed));
	put(f, hf_ld(&head->entire_mapcount, relaxed));
	put(f, hf_ld(&head->large_mapcount, relaxed));
	put(f, hf_ld(&head->maybe_shared, relaxed));
	for (unsigned p = 0; p < c->set[PROCS].nr; p++) {
		const struct hf_mm *mm = c->r->mm[c->set[PROCS].name[p]];

		for (unsigned o = 0; o < 2; o++)
			if (mm && head->owner[o].asid == mm->asid)
				put64(f, (uint64_t)p << 32 | head->owner[o].entries);
	}
}

/* The first byte is what histories write, the last what the page was before. */
static void put_bytes(struct form *f, const uint8_t *bytes)
{
	put(f, rename_value(f, bytes[0]));
	put(f, rename_value(f, bytes[HF_PAGE_SIZE - 1]));
}

/* A frame, whoever has it: what it holds, and who counts on it. */
static void put_frame(struct form *f, const struct canon *c, uint64_t pfn)
{
	const struct hf_page *page = &c->r->sys->pages[pfn];

	put(f, rename_frame(f, pfn));
	put_bytes(f, hf_page_data(c->r->sys, page));
	put_counts(f, hf_folio(page));
	put(f, hf_page_mapcount(page));
	put(f, hf_page_exclusive(page));
	put(f, hf_page_swap_users(page));
	put(f, hf_folio_order(page));
	if (hf_folio_order(page))
		put_folio(f, c, page);
}

static void put_swapped(struct form *f, const struct canon *c, hf_pte pte)
{
	static _Thread_local uint64_t buffer[HF_PAGE_SIZE / 8];
	const struct hf_system *sys = c->r->sys;
	const struct hf_swap_slot *slot = &sys->slots[hf_pte_slot(pte)];

	put(f, slot->count);
	put(f, slot->order);
	if (slot->page) {
		put_frame(f, c, hf_page_pfn(sys, slot->page));
		return;
	}
	sys->swap->read(sys->swap->ctx, hf_pte_slot(pte), buffer);
	put_bytes(f, (const uint8_t *)buffer);
	put(f, rename_frame(f, SLOT | hf_pte_slot(pte)));
}

/* A folio can come where no table is, and where one mapping covers its whole place. */
static hf_pte put_place(struct form *f, const struct canon *c, const struct hf_mm *mm,
			const struct hf_vma *vma, uint64_t addr)
{
	uint64_t size = HF_PAGE_SIZE << c->r->kind->order, start = addr & ~(size - 1);
	struct hf_table *pmds = hf_pmd_table(mm, addr);
	hf_pte pmd = pmds ? hf_ld(hf_pmd_entry(pmds, addr), relaxed) : 0;

	put(f, !pmd ? 0 : hf_pmd_huge(pmd) ? 1 : 2);
	put(f, vma && vma->start <= start && vma->end >= start + size);
	return pmd;
}

static void put_entry(struct form *f, const struct canon *c, struct hf_mm *mm, uint64_t addr)
{
	struct hf_table *leaf = hf_leaf(mm, addr);
	struct hf_vma *vma = hf_vma_find(mm, addr);
	hf_pte pte = leaf ? hf_ld(&leaf->entry[hf_pte_index(addr)], relaxed) : 0;
	hf_pte pmd = c->folios ? put_place(f, c, mm, vma, addr) : 0;

	put(f, vma ? vma->prot << 8 | vma->flags << 16 | 1 : 0);
	if (hf_pmd_huge(pmd)) {
		put(f, (uint32_t)(pmd & HF_PTE_FLAGS));
		if (!hf_pte_special(pmd))
			put_frame(f, c, hf_pte_pfn(pmd) + hf_pte_index(addr));
		return;
	}
	put(f, (uint32_t)(pte & HF_PTE_FLAGS));
	if (hf_pte_present(pte))
		put_frame(f, c, hf_pte_pfn(pte));
	else if (hf_pte_swap(pte))
		put_swapped(f, c, pte);
}

/* Of a folio's pages that are not the history's, whatever happens happens to all; but the last ones
 * may be in a batch yet. */
static void put_rest(struct form *f, const struct canon *c, struct hf_mm *mm,
		     const struct hf_engine_place *place)
{
	if (place->extent == place->size)
		return;
	put_entry(f, c, mm, place->addr + place->size);
	put_entry(f, c, mm, place->addr + place->extent - HF_PAGE_SIZE);
}

/* While there is such a block, a fault or a collapse gets a folio behind a PMD. */
static uint32_t free_blocks(const struct hf_system *sys)
{
	uint32_t nr = 0;

	for (const struct hf_page *p = sys->free[HF_ZONE_NORMAL][HF_PMD_ORDER]; p; p = p->next)
		nr++;
	return nr;
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
	put(f, cell < 0 ? UINT32_MAX : rename_value(f, hf_state_now(s, cell)->value));
}

/* Where a reference's cell is now, and which values it may show. */
static void put_window(struct form *f, const struct canon *c, int ref, unsigned page)
{
	const struct hf_state *s = c->s;
	int atom = atom_of(s, page);
	int16_t cell = atom < 0 ? -1 : *hf_state_window(s, ref, (size_t)atom);
	int32_t since = atom < 0 ? -1 : *hf_state_since(s, ref, (size_t)atom);
	uint32_t owner = UINT32_MAX;

	for (unsigned i = 0; cell >= 0 && i < c->set[PROCS].nr; i++)
		if (*hf_state_map(s, (int)c->set[PROCS].name[i], (size_t)atom) == cell)
			owner = i;
	put(f, owner);
	put_cell(f, s, cell);
	if (cell < 0)
		return;
	for (int32_t at = s->last[cell]; at >= since; at = s->version[at].prev)
		put(f, rename_value(f, s->version[at].value));
}

/* ---- all of it, under given names ---- */

static uint32_t new_name(const struct canon *c, unsigned set, unsigned old)
{
	uint32_t i = 0;

	while (i < c->set[set].nr && c->set[set].name[i] != old)
		i++;
	return i;
}

static void put_ref(struct form *f, const struct canon *c, unsigned ref)
{
	const struct hf_engine_held *h = &c->r->held[ref];
	unsigned page = (unsigned)(h->maker->lo / HF_PAGE_SIZE);
	uint64_t pfn = hf_ref_pfn(c->r->sys, &h->refs[0]);

	put(f, h->maker->verb << 8 | h->maker->foll);
	put(f, new_name(c, PAGES, page));
	put(f, new_name(c, PROCS, (unsigned)h->maker->target));
	put(f, pfn != HF_PFN_NONE);
	if (pfn != HF_PFN_NONE)
		put_frame(f, c, pfn);
	put_window(f, c, (int)ref, page);
}

static void put_proc(struct form *f, const struct canon *c, unsigned proc)
{
	const struct hf_engine_place *place = &c->r->place[proc][0];
	struct hf_mm *mm = c->r->mm[proc];

	put(f, mm ? 1 + hf_mm_has_pinned(mm) : 0);
	if (!mm)
		return;
	for (unsigned g = 0; g < c->set[PAGES].nr; g++) {
		unsigned page = c->set[PAGES].name[g];
		int atom = atom_of(c->s, page);

		put_entry(f, c, mm, place->addr + page * HF_PAGE_SIZE);
		put_cell(f, c->s, atom < 0 ? -1 : *hf_state_map(c->s, (int)proc, (size_t)atom));
	}
	put_rest(f, c, mm, place);
}

/* All of it, under the names as they are now. */
static uint64_t form_of(const struct canon *c)
{
	struct form f = { .hash = 0x9e3779b97f4a7c15ull };

	for (unsigned p = 0; p < c->set[PROCS].nr; p++)
		put_proc(&f, c, c->set[PROCS].name[p]);
	for (unsigned i = 0; i < c->set[REFS].nr; i++)
		put_ref(&f, c, c->set[REFS].name[i]);
	if (c->r->kind->order == HF_PMD_ORDER)
		put(&f, free_blocks(c->r->sys));
	return f.hash;
}

static void swap(unsigned *a, unsigned *b)
{
	unsigned t = *a;

	*a = *b;
	*b = t;
}

/* The smallest form over the orders of a set's names from `from` on, and of the sets after it. */
static uint64_t least(struct canon *c, unsigned set, unsigned from)
{
	uint64_t found = UINT64_MAX;
	unsigned *name;

	if (set == NR_SETS)
		return form_of(c);
	if (from + 1 >= c->set[set].nr)
		return least(c, set + 1, 0);
	name = c->set[set].name;
	for (unsigned i = from; i < c->set[set].nr; i++) {
		uint64_t h;

		swap(&name[from], &name[i]);
		h = least(c, set, from + 1);
		swap(&name[from], &name[i]);
		found = h < found ? h : found;
	}
	return found;
}

static void add_name(struct canon *c, unsigned set, unsigned name)
{
	c->set[set].name[c->set[set].nr++] = name;
}

uint64_t hf_fingerprint(void *run, const struct hf_oracle *oracle)
{
	struct hf_engine_run *r = run;
	struct canon c = { .r = r, .s = hf_oracle_state(oracle), .folios = r->kind->order > 0 };

	for (unsigned i = 0; i < r->scn->nr_procs; i++)
		add_name(&c, PROCS, i);
	for (unsigned i = 0; i < r->scn->bufs[0].max_pages; i++)
		add_name(&c, PAGES, i);
	for (unsigned i = 0; i < r->scn->nr_refs; i++)
		if (hf_engine_holds(r, i))
			add_name(&c, REFS, i);
	/* the first process is born alone, and the only one that cannot exit: it keeps its name */
	return least(&c, PROCS, 1) | 1;
}
