/* SPDX-License-Identifier: MIT */
/*
 * The policies. A Linux era is named for the release that its rules were read from or that
 * introduced them; it stands for the releases up to the next one in the list.
 *
 * Each era is the one before it and what is new, the holdfast policies are the default and what
 * each of them varies: of two values of a field the later one counts.
 */
#include "rules.h"

#pragma GCC diagnostic ignored "-Woverride-init"

#define GET HF_FOLL_GET
#define PIN HF_FOLL_PIN
#define LONG HF_FOLL_LONGTERM
#define WRITE HF_FOLL_WRITE
#define FORCE HF_FOLL_FORCE

/* Everything but O_DIRECT and the kind that registered
 * buffers and process_vm use is the same everywhere. */
#define USERS(direct_read, direct_write, fixed, process_vm)                                        \
	{                                                                                          \
		[HF_USER_ODIRECT_READ] = (direct_read) | WRITE,                                    \
		[HF_USER_ODIRECT_WRITE] = (direct_write), [HF_USER_VMSPLICE] = GET,                \
		[HF_USER_FIXEDBUF] = (fixed) | WRITE, [HF_USER_PROCESS_VM_READ] = (process_vm),    \
		[HF_USER_PROCESS_VM_WRITE] = (process_vm) | WRITE,                                 \
		[HF_USER_PTRACE_READ] = GET | FORCE, [HF_USER_PTRACE_WRITE] = GET | FORCE | WRITE, \
	}
#define USERS_BEFORE_PIN USERS(GET, GET, GET, GET)
#define USERS_DIRECT_GET USERS(GET, GET, PIN | LONG, PIN)
#define USERS_DIRECT_PIN USERS(PIN, PIN, PIN | LONG, PIN)

#define LINUX_4_19                                                                                 \
	.fork_page = hf_fork_share_all, .gup_read = hf_gup_take, .take_as = hf_take_get_only,      \
	.users = USERS_BEFORE_PIN, .may_reuse = hf_reuse_mapcount, .reuse_sleeps = true,           \
	.large_reuse = hf_reuse_mapped_once, .huge_reuse = hf_reuse_folio_mapped_once,             \
	.hugetlb_reuse = hf_reuse_mapped_once, .hugetlb_force_lasts = true,                        \
	.pageout_splits = hf_pageout_mapped_once, .pageout_minds_use = true,                       \
	.estimates_pins = true, .lru_batches = true, .frees_shared = true,                         \
	.collapse_needs_write = true
/* GUP has pins, and breaks COW first. */
#define LINUX_5_8                                                                                  \
	LINUX_4_19, .gup_read = hf_gup_force_write, .take_as = NULL, .users = USERS_DIRECT_GET
/* References decide; what may be pinned is copied at fork. */
#define LINUX_5_10                                                                                 \
	LINUX_5_8, .fork_page = hf_fork_copy_maybe_pinned, .gup_read = hf_gup_take,                \
		   .may_reuse = hf_reuse_refcount_and_cache, .reuse_sleeps = false,                \
		   .large_reuse = hf_reuse_refcount, .swap_cache_lingers = true
/* References decide about huge and swapped pages, too. */
#define LINUX_5_18                                                                                 \
	LINUX_5_10, .may_reuse = hf_reuse_refcount, .huge_reuse = hf_reuse_refcount,               \
		    .swap_cache_lingers = false, .swap_in_counts_refs = true,                      \
		    .drains_lru_batch = true, .hugetlb_fork_copies = true,                         \
		    .hugetlb_dontneed = true, .hugetlb_moves = true, .populates_over_holes = true
/* The exclusive mark. */
#define LINUX_6_1                                                                                  \
	LINUX_5_18, .has_mark = true, .unpin_check = true, .fork_page = hf_fork_copy_exclusive,    \
		    .gup_read = hf_gup_unshare_anon, .large_reuse = hf_reuse_never,                \
		    .mprotect_upgrades = true, .swap_in_owns_fresh = true,                         \
		    .hugetlb_force_lasts = false, .hugetlb_refuses_force = true
/* Long-term pins unshare files' pages and the zeropage, too; O_DIRECT pins. */
#define LINUX_6_12                                                                                 \
	LINUX_6_1, .gup_read = hf_gup_unshare_longterm, .users = USERS_DIRECT_PIN,                 \
		   .registers_files = true, .refuses_longterm_file_writes = true,                  \
		   .populates_over_holes = false, .pageout_splits = hf_pageout_not_likely_shared,  \
		   .pageout_minds_use = false, .split_drops_zeros = true, .wp_splits_pmds = true,  \
		   .swap_in_folios = true
/* Large folios know who owns them. */
#define LINUX_6_18                                                                                 \
	LINUX_6_12, .large_reuse = hf_reuse_owned_folio, .pageout_splits = hf_pageout_unshared,    \
		    .huge_zero_write_allocates = true, .collapse_needs_write = false,              \
		    .hugetlb_refuses_force = false, .remap_spans = true
/* Swapped pages come back through the swap cache only. */
#define LINUX_6_19 LINUX_6_18, .swap_in_owns_fresh = false, .hugetlb_refuses_dofork = true

/* Calls that the newest kernels do not refuse. */
#define REFUSES_LITTLE                                                                             \
	.hugetlb_dontneed = true, .hugetlb_moves = true, .remap_spans = true,                      \
	.registers_files = true
/* The default. */
#define HOLDFAST                                                                                   \
	REFUSES_LITTLE, .has_mark = true, .unpin_check = true, .fork_one_instant = true,           \
			.fork_page = hf_fork_copy_pinned, .gup_read = hf_gup_unshare_all,          \
			.take_as = hf_take_write_get_as_pin, .users = USERS_DIRECT_PIN,            \
			.may_reuse = hf_reuse_refcount, .large_reuse = hf_reuse_unshared_page,     \
			.huge_reuse = hf_reuse_refcount, .hugetlb_reuse = hf_reuse_refcount,       \
			.hugetlb_fork_copies = true, .mprotect_upgrades = true,                    \
			.swap_in_counts_refs = true, .pageout_splits = hf_pageout_mapped_once,     \
			.refuses_longterm_file_writes = true

static const struct hf_policy policies[] = {
	{
		.name = "linux-4.19",
		.summary = "up to 5.7: mapcount decides, no pins",
		LINUX_4_19,
	},
	{
		.name = "linux-5.8",
		.summary = "mapcount decides; GUP breaks COW first",
		LINUX_5_8,
	},
	{
		.name = "linux-5.10",
		.summary = "5.9 to 5.17: refcount decides; fork copies what looks pinned",
		LINUX_5_10,
	},
	{
		.name = "linux-5.18",
		.summary = "refcount decides, for huge and swapped pages too",
		LINUX_5_18,
	},
	{
		.name = "linux-6.1",
		.summary = "5.19 to 6.4: the exclusive mark; pins unshare; O_DIRECT takes plain "
			   "references",
		LINUX_6_1,
	},
	{
		.name = "linux-6.12",
		.summary = "6.5 to 6.14: long-term pins unshare the zeropage; O_DIRECT pins",
		LINUX_6_12,
	},
	{
		.name = "linux-6.18",
		.summary = "6.15 and later: large folios know who owns them",
		LINUX_6_18,
	},
	{
		.name = "holdfast",
		.summary =
			"option 2, complete and exact: every pin is of an exclusive page (default)",
		HOLDFAST,
	},
	{
		.name = "fail-pin",
		.summary = "option 1: a read-only pin of a page without the mark fails",
		HOLDFAST,
		.gup_read = hf_gup_fail_shared,
	},
	{
		.name = "ro-pin-exempt",
		.summary = "read-only pins may hold shared pages; no unpin check",
		HOLDFAST,
		.pins_shared = true,
		.unpin_check = false,
		.gup_read = hf_gup_take,
	},
	{
		.name = "two-counters",
		.summary = "read-only and write pins counted apart instead of unsharing",
		HOLDFAST,
		.pins_shared = true,
		.unpin_check = false,
		.pin_class = hf_class_write,
		.fork_page = hf_fork_copy_class1,
		.gup_read = hf_gup_take,
	},
	{
		.name = "ro-short-get",
		.summary = "short read-only pins are taken as FOLL_GET",
		HOLDFAST,
		.take_as = hf_take_short_read_as_get,
	},
	{
		.name = "refuse-fork",
		.summary = "as Zircon: no fork while anything is pinned",
		HOLDFAST,
		.fork_page = hf_fork_refuse_pinned,
	},
	{
		.name = "wired-copy",
		.summary = "as FreeBSD: mapcount decides; only long-term pins are copied at fork",
		.reuse_sleeps = true,
		.pin_class = hf_class_longterm,
		.fork_page = hf_fork_copy_class1,
		.may_reuse = hf_reuse_mapcount,
		.large_reuse = hf_reuse_mapped_once,
		.huge_reuse = hf_reuse_folio_mapped_once,
		.hugetlb_reuse = hf_reuse_mapped_once,
		.hugetlb_fork_copies = true,
		REFUSES_LITTLE,
		.pageout_splits = hf_pageout_mapped_once,
		.gup_read = hf_gup_wire_longterm,
		.users = USERS_DIRECT_PIN,
	},
	{
		.name = "copy-referenced",
		.summary = "as gVisor: any extra reference counts as a pin at fork",
		HOLDFAST,
		.take_as = NULL,
		.fork_page = hf_fork_copy_referenced,
	},
	{
		.name = "dont-fork",
		.summary = "as MADV_DONTFORK users: pinned pages are absent from the child",
		HOLDFAST,
		.pins_shared = true,
		.unpin_check = false,
		.fork_page = hf_fork_omit_pinned,
		.gup_read = hf_gup_take,
	},
};

/* Of releases within an era, for the comparison with a kernel: but for calls that they refuse, in
 * no scenario's verdict do they differ from the era's. */
static const struct hf_policy refinements[] = {
	{
		.name = "linux-6.19",
		.summary = "as linux-6.18; swapped pages come back through the swap cache only; "
			   "hugetlb refuses MADV_DOFORK",
		LINUX_6_19,
	},
};

#define NR_REFINEMENTS (sizeof(refinements) / sizeof(refinements[0]))
#define NR_POLICIES (sizeof(policies) / sizeof(policies[0]))

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

const struct hf_policy *hf_policy_at(size_t i)
{
	return i < NR_POLICIES ? &policies[i] : NULL;
}

const struct hf_policy *hf_policy_find(const char *name)
{
	for (size_t i = 0; i < NR_POLICIES; i++)
		if (same(policies[i].name, name))
			return &policies[i];
	for (size_t i = 0; i < NR_REFINEMENTS; i++)
		if (same(refinements[i].name, name))
			return &refinements[i];
	return NULL;
}

const struct hf_policy *hf_policy_default(void)
{
	return hf_policy_find("holdfast");
}
