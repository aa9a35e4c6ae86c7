/* SPDX-License-Identifier: MIT */
/*
 * The policies. A Linux era is named for the release that its rules were read from or that
 * introduced them; it stands for the releases up to the next one in the list.
 */
#include "rules.h"

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

/* What 5.19 and later have in common; and up to 6.18. */
#define LINUX_EXCLUSIVE_CACHED                                                                     \
	.has_mark = true, .unpin_check = true, .mprotect_upgrades = true, .estimates_pins = true,  \
	.swap_in_counts_refs = true, .fork_page = hf_fork_copy_exclusive,                          \
	.may_reuse = hf_reuse_refcount, .huge_reuse = hf_reuse_refcount,                           \
	.hugetlb_reuse = hf_reuse_mapped_once, .hugetlb_fork_copies = true,                        \
	.hugetlb_dontneed = true, .lru_batches = true, .drains_lru_batch = true,                   \
	.hugetlb_moves = true, .frees_shared = true
#define LINUX_EXCLUSIVE LINUX_EXCLUSIVE_CACHED, .swap_in_owns_fresh = true

/* Calls that the newest kernels do not refuse. */
#define REFUSES_LITTLE                                                                             \
	.hugetlb_dontneed = true, .hugetlb_moves = true, .remap_spans = true,                      \
	.registers_files = true

/* What the default has in common with the alternatives that vary one of its rules. */
#define MARK_AND_EXACT_PINS                                                                        \
	.has_mark = true, .mprotect_upgrades = true, .fork_one_instant = true,                     \
	.swap_in_counts_refs = true, .may_reuse = hf_reuse_refcount,                               \
	.large_reuse = hf_reuse_unshared_page, .huge_reuse = hf_reuse_refcount,                    \
	.hugetlb_reuse = hf_reuse_refcount, .hugetlb_fork_copies = true,                           \
	.pageout_splits = hf_pageout_mapped_once, .refuses_longterm_file_writes = true,            \
	REFUSES_LITTLE, .users = USERS_DIRECT_PIN

static const struct hf_policy policies[] = {
	{
		.name = "linux-4.19",
		.estimates_pins = true,
		.lru_batches = true,
		.frees_shared = true,
		.collapse_needs_write = true,
		.summary = "up to 5.7: mapcount decides, no pins",
		.reuse_sleeps = true,
		.take_as = hf_take_get_only,
		.fork_page = hf_fork_share_all,
		.may_reuse = hf_reuse_mapcount,
		.large_reuse = hf_reuse_mapped_once,
		.huge_reuse = hf_reuse_folio_mapped_once,
		.hugetlb_reuse = hf_reuse_mapped_once,
		.hugetlb_force_lasts = true,
		.pageout_splits = hf_pageout_mapped_once,
		.pageout_minds_use = true,
		.gup_read = hf_gup_take,
		.users = USERS_BEFORE_PIN,
	},
	{
		.name = "linux-5.8",
		.estimates_pins = true,
		.lru_batches = true,
		.frees_shared = true,
		.collapse_needs_write = true,
		.summary = "mapcount decides; GUP breaks COW first",
		.reuse_sleeps = true,
		.fork_page = hf_fork_share_all,
		.may_reuse = hf_reuse_mapcount,
		.large_reuse = hf_reuse_mapped_once,
		.huge_reuse = hf_reuse_folio_mapped_once,
		.hugetlb_reuse = hf_reuse_mapped_once,
		.hugetlb_force_lasts = true,
		.pageout_splits = hf_pageout_mapped_once,
		.pageout_minds_use = true,
		.gup_read = hf_gup_force_write,
		.users = USERS_DIRECT_GET,
	},
	{
		.name = "linux-5.10",
		.estimates_pins = true,
		.lru_batches = true,
		.frees_shared = true,
		.collapse_needs_write = true,
		.summary = "5.9 to 5.17: refcount decides; fork copies what looks pinned",
		.fork_page = hf_fork_copy_maybe_pinned,
		.may_reuse = hf_reuse_refcount_and_cache,
		.swap_cache_lingers = true,
		.large_reuse = hf_reuse_refcount,
		.huge_reuse = hf_reuse_folio_mapped_once,
		.hugetlb_reuse = hf_reuse_mapped_once,
		.hugetlb_force_lasts = true,
		.pageout_splits = hf_pageout_mapped_once,
		.pageout_minds_use = true,
		.gup_read = hf_gup_take,
		.users = USERS_DIRECT_GET,
	},
	{
		.name = "linux-5.18",
		.estimates_pins = true,
		.lru_batches = true,
		.frees_shared = true,
		.drains_lru_batch = true,
		.collapse_needs_write = true,
		.summary = "refcount decides, for huge and swapped pages too",
		.swap_in_counts_refs = true,
		.fork_page = hf_fork_copy_maybe_pinned,
		.may_reuse = hf_reuse_refcount,
		.large_reuse = hf_reuse_refcount,
		.huge_reuse = hf_reuse_refcount,
		.hugetlb_reuse = hf_reuse_mapped_once,
		.hugetlb_force_lasts = true,
		.hugetlb_fork_copies = true,
		.hugetlb_dontneed = true,
		.hugetlb_moves = true,
		.populates_over_holes = true,
		.pageout_splits = hf_pageout_mapped_once,
		.pageout_minds_use = true,
		.gup_read = hf_gup_take,
		.users = USERS_DIRECT_GET,
	},
	{
		.name = "linux-6.1",
		.summary = "5.19 to 6.4: the exclusive mark; pins unshare; O_DIRECT takes plain "
			   "references",
		LINUX_EXCLUSIVE,
		.hugetlb_refuses_force = true,
		.collapse_needs_write = true,
		.large_reuse = hf_reuse_never,
		.populates_over_holes = true,
		.pageout_splits = hf_pageout_mapped_once,
		.pageout_minds_use = true,
		.gup_read = hf_gup_unshare_anon,
		.users = USERS_DIRECT_GET,
	},
	{
		.name = "linux-6.12",
		.summary = "6.5 to 6.14: long-term pins unshare the zeropage; O_DIRECT pins",
		LINUX_EXCLUSIVE,
		.registers_files = true,
		.hugetlb_refuses_force = true,
		.refuses_longterm_file_writes = true,
		.collapse_needs_write = true,
		.large_reuse = hf_reuse_never,
		.pageout_splits = hf_pageout_not_likely_shared,
		.split_drops_zeros = true,
		.wp_splits_pmds = true,
		.swap_in_folios = true,
		.gup_read = hf_gup_unshare_longterm,
		.users = USERS_DIRECT_PIN,
	},
	{
		.name = "linux-6.18",
		.summary = "6.15 and later: large folios know who owns them",
		LINUX_EXCLUSIVE,
		.registers_files = true,
		.remap_spans = true,
		.refuses_longterm_file_writes = true,
		.large_reuse = hf_reuse_owned_folio,
		.pageout_splits = hf_pageout_unshared,
		.split_drops_zeros = true,
		.wp_splits_pmds = true,
		.huge_zero_write_allocates = true,
		.swap_in_folios = true,
		.gup_read = hf_gup_unshare_longterm,
		.users = USERS_DIRECT_PIN,
	},
	{
		.name = "holdfast",
		.summary =
			"option 2, complete and exact: every pin is of an exclusive page (default)",
		MARK_AND_EXACT_PINS,
		.unpin_check = true,
		.take_as = hf_take_write_get_as_pin,
		.fork_page = hf_fork_copy_pinned,
		.gup_read = hf_gup_unshare_all,
	},
	{
		.name = "fail-pin",
		.summary = "option 1: a read-only pin of a page without the mark fails",
		MARK_AND_EXACT_PINS,
		.unpin_check = true,
		.take_as = hf_take_write_get_as_pin,
		.fork_page = hf_fork_copy_pinned,
		.gup_read = hf_gup_fail_shared,
	},
	{
		.name = "ro-pin-exempt",
		.summary = "read-only pins may hold shared pages; no unpin check",
		MARK_AND_EXACT_PINS,
		.pins_shared = true,
		.take_as = hf_take_write_get_as_pin,
		.fork_page = hf_fork_copy_pinned,
		.gup_read = hf_gup_take,
	},
	{
		.name = "two-counters",
		.summary = "read-only and write pins counted apart instead of unsharing",
		MARK_AND_EXACT_PINS,
		.pins_shared = true,
		.take_as = hf_take_write_get_as_pin,
		.pin_class = hf_class_write,
		.fork_page = hf_fork_copy_class1,
		.gup_read = hf_gup_take,
	},
	{
		.name = "ro-short-get",
		.summary = "short read-only pins are taken as FOLL_GET",
		MARK_AND_EXACT_PINS,
		.unpin_check = true,
		.take_as = hf_take_short_read_as_get,
		.fork_page = hf_fork_copy_pinned,
		.gup_read = hf_gup_unshare_all,
	},
	{
		.name = "refuse-fork",
		.summary = "as Zircon: no fork while anything is pinned",
		MARK_AND_EXACT_PINS,
		.unpin_check = true,
		.take_as = hf_take_write_get_as_pin,
		.fork_page = hf_fork_refuse_pinned,
		.gup_read = hf_gup_unshare_all,
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
		MARK_AND_EXACT_PINS,
		.unpin_check = true,
		.fork_page = hf_fork_copy_referenced,
		.gup_read = hf_gup_unshare_all,
	},
	{
		.name = "dont-fork",
		.summary = "as MADV_DONTFORK users: pinned pages are absent from the child",
		MARK_AND_EXACT_PINS,
		.pins_shared = true,
		.take_as = hf_take_write_get_as_pin,
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
		LINUX_EXCLUSIVE_CACHED,
		.hugetlb_refuses_dofork = true,
		.registers_files = true,
		.remap_spans = true,
		.refuses_longterm_file_writes = true,
		.large_reuse = hf_reuse_owned_folio,
		.pageout_splits = hf_pageout_unshared,
		.split_drops_zeros = true,
		.wp_splits_pmds = true,
		.huge_zero_write_allocates = true,
		.swap_in_folios = true,
		.gup_read = hf_gup_unshare_longterm,
		.users = USERS_DIRECT_PIN,
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
