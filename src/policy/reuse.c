/* SPDX-License-Identifier: MIT */
/* May a write fault keep a page that carries no mark, instead of copying it? */
#include "rules.h"

/* Nobody else maps it. Those who hold it without mapping it see the stores: CVE-2020-29374. */
bool hf_reuse_mapcount(const struct hf_page *page)
{
	return hf_page_mapcount(page) + hf_page_swap_users(page) == 1;
}

/* Nobody else holds it in any way, our own references included. */
bool hf_reuse_refcount(const struct hf_page *page)
{
	return hf_page_refs(page) == 1;
}
