/* SPDX-License-Identifier: MIT */
/* May a write fault keep a page that carries no mark, instead of copying it? */
#include "rules.h"

/* Nobody else maps it. Those who hold it without mapping it see the stores: CVE-2020-29374. */
bool hf_reuse_mapcount(const struct hf_mm *mm, const struct hf_page *page)
{
	(void)mm;
	return hf_page_mapcount(page) + hf_page_swap_users(page) == 1;
}

/* The same of a page in a large folio, or in one of hugetlb. */
bool hf_reuse_mapped_once(const struct hf_mm *mm, const struct hf_page *page)
{
	(void)mm;
	return hf_page_mapcount(page) == 1;
}

/* Of what a PMD maps: a child that copied the first page still has the others. */
bool hf_reuse_folio_mapped_once(const struct hf_mm *mm, const struct hf_page *page)
{
	(void)mm;
	return hf_folio_most_mapped(page) == 1;
}

/* Nobody else holds it, or the folio that it is of, in any way, our own references included. */
bool hf_reuse_refcount(const struct hf_mm *mm, const struct hf_page *page)
{
	(void)mm;
	return hf_page_refs(page) == 1;
}

/* The swap cache is one that holds it. */
bool hf_reuse_refcount_and_cache(const struct hf_mm *mm, const struct hf_page *page)
{
	(void)mm;
	return hf_page_refs(page) == 1 && !hf_page_lingers(page);
}

/* 5.19 to 6.14: a page of a large folio that lost its mark is always copied. */
bool hf_reuse_never(const struct hf_mm *mm, const struct hf_page *page)
{
	(void)mm;
	(void)page;
	return false;
}

/* 6.15: one address space has every entry, nothing else holds the folio, and it is not a last page
 * that keeps the others' memory. */
bool hf_reuse_owned_folio(const struct hf_mm *mm, const struct hf_page *page)
{
	(void)mm;
	return hf_folio_mapcount(page) > 1 && !hf_folio_maybe_shared(page) &&
	       hf_folio_mapcount(page) == hf_page_refs(page);
}

/* Counts are exact: the page is mapped here only, and every reference of its folio is a mapping. */
bool hf_reuse_unshared_page(const struct hf_mm *mm, const struct hf_page *page)
{
	(void)mm;
	return hf_page_mapcount(page) == 1 && hf_folio_mapcount(page) == hf_page_refs(page);
}
