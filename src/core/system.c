/* SPDX-License-Identifier: MIT */
/* The machine: frames, policy, platform. */
#include "internal.h"

static void free_arrays(struct hf_system *sys)
{
	size_t n = sys->nr_frames;

	if (sys->frames)
		sys->pf->free(sys->pf->ctx, sys->frames, n * HF_PAGE_SIZE);
	if (sys->pages)
		hf_free(sys, sys->pages, n * sizeof(*sys->pages));
	if (sys->pcp)
		hf_free(sys, sys->pcp, HF_NR_PCP * sizeof(*sys->pcp));
	hf_shards_free(sys);
	hf_free(sys, sys, sizeof(*sys));
}

static bool alloc_arrays(struct hf_system *sys)
{
	size_t n = sys->nr_frames;

	sys->frames = sys->pf->alloc(sys->pf->ctx, n * HF_PAGE_SIZE, HF_PAGE_SIZE);
	sys->pages = hf_alloc(sys, n * sizeof(*sys->pages));
	sys->pcp = hf_alloc(sys, HF_NR_PCP * sizeof(*sys->pcp));
	return hf_shards_alloc(sys) && sys->frames && sys->pages && sys->pcp;
}

static void init_frames(struct hf_system *sys)
{
	const struct hf_platform *pf = sys->pf;

	for (size_t i = 0; i < sys->nr_frames; i++)
		sys->pages[i] = (struct hf_page){ .index = 0 };
	for (size_t i = 0; i < HF_NR_PCP; i++) {
		sys->pcp[i] = (struct hf_pcp){ .list = NULL };
		pf->lock_init(pf->ctx, &sys->pcp[i].lock);
	}
	sys->zeropage = &sys->pages[0];
	__builtin_memset(sys->frames, 0, HF_PAGE_SIZE);
	hf_st(&sys->zeropage->counts, HF_COUNT_REF, relaxed);
	hf_st(&sys->zeropage->flags, HF_PG_RESERVED, relaxed);
	hf_buddy_init(sys);
}

int hf_system_create(const struct hf_system_config *config, struct hf_system **out)
{
	const struct hf_platform *pf = config->platform;
	struct hf_system *sys;

	*out = NULL;
	if (!pf || config->nr_frames < 16 || config->nr_movable > config->nr_frames - 16 ||
	    config->nr_frames > SIZE_MAX / HF_PAGE_SIZE ||
	    config->flags & ~(HF_SYSTEM_DEBUG | HF_SYSTEM_UNPIN_CHECK))
		return -HF_EINVAL;
	sys = pf->alloc(pf->ctx, sizeof(*sys), 64);
	if (!sys)
		return -HF_ENOMEM;
	*sys = (struct hf_system){
		.pf = pf,
		.policy = config->policy ? config->policy : hf_policy_default(),
		.flags = config->flags,
		.nr_frames = config->nr_frames,
		.movable_start = config->nr_frames - config->nr_movable,
		.next_asid = 1,
		.thp_orders = 1u << HF_PMD_ORDER,
	};
	if (!alloc_arrays(sys)) {
		free_arrays(sys);
		return -HF_ENOMEM;
	}
	pf->lock_init(pf->ctx, &sys->buddy_lock);
	pf->lock_init(pf->ctx, &sys->mms_lock);
	pf->lock_init(pf->ctx, &sys->swap_lock);
	pf->lock_init(pf->ctx, &sys->owner_lock);
	pf->lock_init(pf->ctx, &sys->hugetlb.fault_lock);
	pf->lock_init(pf->ctx, &sys->hugetlb.lock);
	pf->lock_init(pf->ctx, &sys->ksm.lock);
	atomic_init(&sys->swapping, true);
	init_frames(sys);
	*out = sys;
	return 0;
}

int hf_system_destroy(struct hf_system *sys)
{
	const struct hf_platform *pf = sys->pf;
	size_t zero;

	hf_lru_drain_all(sys);
	zero = sys->huge_zeropage && hf_page_refs(sys->huge_zeropage) == 1 ? HF_PMD_PAGES : 0;

	if (sys->mms ||
	    hf_nr_free(sys) + zero + sys->hugetlb.nr_free * HF_PMD_PAGES != sys->nr_frames - 1)
		return -HF_EBUSY;
	pf->rcu_barrier(pf->ctx);
	for (size_t i = 0; i < HF_NR_PCP; i++)
		pf->lock_destroy(pf->ctx, &sys->pcp[i].lock);
	pf->lock_destroy(pf->ctx, &sys->buddy_lock);
	pf->lock_destroy(pf->ctx, &sys->mms_lock);
	pf->lock_destroy(pf->ctx, &sys->swap_lock);
	pf->lock_destroy(pf->ctx, &sys->owner_lock);
	pf->lock_destroy(pf->ctx, &sys->hugetlb.fault_lock);
	pf->lock_destroy(pf->ctx, &sys->hugetlb.lock);
	pf->lock_destroy(pf->ctx, &sys->ksm.lock);
	hf_swap_release(sys);
	free_arrays(sys);
	return 0;
}

const struct hf_policy *hf_system_policy(const struct hf_system *sys)
{
	return sys->policy;
}

int hf_system_set_thp(struct hf_system *sys, uint32_t orders)
{
	if (orders & ~((2u << HF_PMD_ORDER) - 2))
		return -HF_EINVAL;
	hf_st(&sys->thp_orders, orders, relaxed);
	return 0;
}

void hf_system_stats(struct hf_system *sys, struct hf_system_stats *stats)
{
	const _Atomic uint64_t *s = sys->stats;

	*stats = (struct hf_system_stats){
		.nr_frames = sys->nr_frames,
		.nr_free = hf_nr_free(sys),
		.faults = hf_ld(&s[HF_STAT_FAULTS], relaxed),
		.cow_copies = hf_ld(&s[HF_STAT_COW_COPIES], relaxed),
		.cow_reuses = hf_ld(&s[HF_STAT_COW_REUSES], relaxed),
		.unshares = hf_ld(&s[HF_STAT_UNSHARES], relaxed),
		.fork_copies = hf_ld(&s[HF_STAT_FORK_COPIES], relaxed),
		.pins_acquired = hf_pins_acquired(sys),
		.pins_released = hf_ld(&s[HF_STAT_PINS_RELEASED], relaxed),
		.fast_fallbacks = hf_ld(&s[HF_STAT_FAST_FALLBACKS], relaxed),
		.unpin_check_failures = hf_ld(&s[HF_STAT_UNPIN_CHECK_FAILURES], relaxed),
		.swap_ins = hf_ld(&s[HF_STAT_SWAP_IN], relaxed),
		.swap_outs = hf_ld(&s[HF_STAT_SWAP_OUT], relaxed),
		.migrations = hf_ld(&s[HF_STAT_MIGRATIONS], relaxed),
		.thp_faults = hf_ld(&s[HF_STAT_THP_FAULTS], relaxed),
		.thp_splits = hf_ld(&s[HF_STAT_THP_SPLITS], relaxed),
		.collapses = hf_ld(&s[HF_STAT_COLLAPSES], relaxed),
		.ksm_merges = hf_ld(&s[HF_STAT_KSM_MERGES], relaxed),
	};
	hf_mutex_lock(sys, &sys->mms_lock);
	stats->nr_mms = sys->nr_mms;
	hf_mutex_unlock(sys, &sys->mms_lock);
}
