/* SPDX-License-Identifier: MIT */
/* What fork does with a present anonymous page. */
#include "rules.h"

/* Until 5.8: whoever stores first after the fork moves away, pinned or not. */
enum hf_fork_action hf_fork_share_all(const struct hf_mm *src, const struct hf_page *page)
{
	(void)src;
	(void)page;
	return HF_FORK_SHARE;
}

/* 5.9 to 5.18: early copy of what looks pinned, if the address space ever pinned anything. */
enum hf_fork_action hf_fork_copy_maybe_pinned(const struct hf_mm *src, const struct hf_page *page)
{
	return hf_mm_has_pinned(src) && hf_page_maybe_pinned(page) ? HF_FORK_COPY : HF_FORK_SHARE;
}

/* From 5.19: only what is exclusive; a page that is shared already has no pin to protect. */
enum hf_fork_action hf_fork_copy_exclusive(const struct hf_mm *src, const struct hf_page *page)
{
	return hf_page_exclusive(page) ? hf_fork_copy_maybe_pinned(src, page) : HF_FORK_SHARE;
}

/* The exact count: no false positives, no flag that sticks. */
enum hf_fork_action hf_fork_copy_pinned(const struct hf_mm *src, const struct hf_page *page)
{
	(void)src;
	return hf_page_exclusive(page) && hf_page_pins(page) ? HF_FORK_COPY : HF_FORK_SHARE;
}

/* Pins of class 1 only: write pins of two-counters, long-term pins of wired-copy. */
enum hf_fork_action hf_fork_copy_class1(const struct hf_mm *src, const struct hf_page *page)
{
	(void)src;
	return hf_page_pins_of(page, 1) ? HF_FORK_COPY : HF_FORK_SHARE;
}

/* gVisor: a reference beyond the mappings might be a pin. */
enum hf_fork_action hf_fork_copy_referenced(const struct hf_mm *src, const struct hf_page *page)
{
	(void)src;
	return hf_page_exclusive(page) && hf_page_refs(page) > hf_folio_mapcount(page)
		       ? HF_FORK_COPY
		       : HF_FORK_SHARE;
}

/* Zircon: no fork while devices may be at work. */
enum hf_fork_action hf_fork_refuse_pinned(const struct hf_mm *src, const struct hf_page *page)
{
	(void)src;
	return hf_page_pins(page) ? HF_FORK_REFUSE : HF_FORK_SHARE;
}

/* MADV_DONTFORK on everything that is pinned. */
enum hf_fork_action hf_fork_omit_pinned(const struct hf_mm *src, const struct hf_page *page)
{
	(void)src;
	return hf_page_pins(page) ? HF_FORK_OMIT : HF_FORK_SHARE;
}
