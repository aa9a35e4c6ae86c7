/* SPDX-License-Identifier: MIT */
/* Whose large folios does MADV_PAGEOUT take apart, to move pages of them out? */
#include "rules.h"

/* As in 6.1: nobody else maps the page, whatever they map of the folio. */
bool hf_pageout_mapped_once(const struct hf_page *page)
{
	return hf_page_mapcount(page) == 1;
}

/* As in 6.12 (folio_likely_mapped_shared): a guess by the number of mappings, and by the first
 * page's; who shares other pages only goes unseen. */
bool hf_pageout_not_likely_shared(const struct hf_page *page)
{
	uint32_t mapped = hf_folio_mapcount(page);

	if (mapped <= 1)
		return true;
	return !hf_folio_behind_pmd(page) && mapped <= hf_folio_nr_pages(page) &&
	       hf_folio_first_mapcount(page) <= 1;
}

/* 6.15: the folio knows. */
bool hf_pageout_unshared(const struct hf_page *page)
{
	return !hf_folio_maybe_shared(page);
}
