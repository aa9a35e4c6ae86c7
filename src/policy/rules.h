/* SPDX-License-Identifier: MIT */
/* The rule families that policies are made of. Each rule only looks and answers. */
#ifndef HF_RULES_H
#define HF_RULES_H

#include <holdfast/policy.h>

/* fork.c: what fork does with a page */
enum hf_fork_action hf_fork_share_all(const struct hf_mm *src, const struct hf_page *page);
enum hf_fork_action hf_fork_copy_maybe_pinned(const struct hf_mm *src, const struct hf_page *page);
enum hf_fork_action hf_fork_copy_exclusive(const struct hf_mm *src, const struct hf_page *page);
enum hf_fork_action hf_fork_copy_pinned(const struct hf_mm *src, const struct hf_page *page);
enum hf_fork_action hf_fork_copy_class1(const struct hf_mm *src, const struct hf_page *page);
enum hf_fork_action hf_fork_copy_referenced(const struct hf_mm *src, const struct hf_page *page);
enum hf_fork_action hf_fork_refuse_pinned(const struct hf_mm *src, const struct hf_page *page);
enum hf_fork_action hf_fork_omit_pinned(const struct hf_mm *src, const struct hf_page *page);

/* reuse.c: may a write fault keep an unmarked page? */
bool hf_reuse_mapcount(const struct hf_mm *mm, const struct hf_page *page);
bool hf_reuse_refcount(const struct hf_mm *mm, const struct hf_page *page);
bool hf_reuse_refcount_and_cache(const struct hf_mm *mm, const struct hf_page *page);
bool hf_reuse_mapped_once(const struct hf_mm *mm, const struct hf_page *page);
bool hf_reuse_folio_mapped_once(const struct hf_mm *mm, const struct hf_page *page);
bool hf_reuse_never(const struct hf_mm *mm, const struct hf_page *page);
bool hf_reuse_owned_folio(const struct hf_mm *mm, const struct hf_page *page);
bool hf_reuse_unshared_page(const struct hf_mm *mm, const struct hf_page *page);

/* pageout.c: may MADV_PAGEOUT take a large folio apart? */
bool hf_pageout_mapped_once(const struct hf_page *page);
bool hf_pageout_not_likely_shared(const struct hf_page *page);
bool hf_pageout_unshared(const struct hf_page *page);

/* gup.c: what a read-only GUP does with a page that a store
 * could move away from, and what requests turn into */
enum hf_gup_action hf_gup_take(const struct hf_gup_view *view);
enum hf_gup_action hf_gup_force_write(const struct hf_gup_view *view);
enum hf_gup_action hf_gup_unshare_anon(const struct hf_gup_view *view);
enum hf_gup_action hf_gup_unshare_longterm(const struct hf_gup_view *view);
enum hf_gup_action hf_gup_unshare_all(const struct hf_gup_view *view);
enum hf_gup_action hf_gup_wire_longterm(const struct hf_gup_view *view);
enum hf_gup_action hf_gup_fail_shared(const struct hf_gup_view *view);

unsigned hf_take_get_only(unsigned foll_flags);
unsigned hf_take_write_get_as_pin(unsigned foll_flags);
unsigned hf_take_short_read_as_get(unsigned foll_flags);

unsigned hf_class_write(unsigned foll_flags);
unsigned hf_class_longterm(unsigned foll_flags);

#endif
