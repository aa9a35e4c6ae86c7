/* SPDX-License-Identifier: MIT */
/*
 * Compaction. A block is emptied by moving what is in it to other blocks; its own free frames are
 * taken away meanwhile, so nothing moves into it. The emptiest blocks are the cheapest, and the
 * others fill up.
 */
#include "internal.h"

#define BLOCK HF_PMD_PAGES

/* Frames of the block that are in use;
 * BLOCK: one of them cannot be moved, as far as can be told. */
static size_t used_frames(const struct hf_system *sys, uint64_t pfn)
{
	size_t used = 0;

	for (uint64_t i = pfn; i < pfn + BLOCK; i++) {
		const struct hf_page *page = &sys->pages[i];

		if (!hf_page_refs(page))
			continue;
		if (!hf_page_is_anon(page) || hf_page_hugetlb(page) || hf_page_ksm(page) ||
		    hf_folio_pins(page) || hf_folio_order(page) == HF_PMD_ORDER)
			return BLOCK;
		used++;
	}
	return used;
}

static bool move_away(struct hf_system *sys, struct hf_page *page)
{
	struct hf_page *new;
	bool moved = false;

	if (hf_page_try_grab(sys, page, HF_COUNT_REF))
		return true; /* free by now */
	new = hf_folio_alloc(sys, hf_folio_order(page));
	if (new) {
		moved = !hf_migrate_folio(sys, hf_folio(page), new);
		hf_page_put(sys, new);
	}
	hf_page_put(sys, page);
	return moved;
}

static bool empty_block(struct hf_system *sys, uint64_t pfn)
{
	struct hf_page *isolated = hf_buddy_isolate(sys, pfn, pfn + BLOCK);
	bool moved = true;

	for (uint64_t i = pfn; i < pfn + BLOCK && moved; i++)
		if (hf_page_refs(&sys->pages[i]))
			moved = move_away(sys, &sys->pages[i]);
	hf_buddy_unisolate(sys, isolated);
	return moved;
}

size_t hf_compact(struct hf_system *sys)
{
	size_t made = 0;

	for (size_t most = BLOCK / 8; most < BLOCK; most *= 2)
		for (uint64_t pfn = 0; pfn + BLOCK <= sys->nr_frames; pfn += BLOCK) {
			size_t used = used_frames(sys, pfn);

			if (used && used <= most && hf_nr_free(sys) > BLOCK + used)
				made += empty_block(sys, pfn);
		}
	return made;
}
