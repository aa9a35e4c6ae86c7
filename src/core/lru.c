/* SPDX-License-Identifier: MIT */
/*
 * LRU batches, as far as they matter here: under the Linux policies a new page waits in a batch of
 * the CPU that made it, and the batch holds a reference, which those who count references see.
 */
#include "internal.h"

/* Takes the batch; the caller puts the pages when the lock is free. */
static unsigned take(struct hf_pcp *pcp, struct hf_page **pages)
{
	unsigned nr = pcp->nr_batch;

	hf_assert(nr <= HF_LRU_BATCH);
	for (unsigned i = 0; i < nr; i++)
		pages[i] = pcp->batch[i];
	pcp->nr_batch = 0;
	return nr;
}

static void put_all(struct hf_system *sys, struct hf_page **pages, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		hf_and(&pages[i]->flags, ~HF_PG_BATCHED, relaxed);
		hf_page_put(sys, pages[i]);
	}
}

static struct hf_pcp *this_cpu(struct hf_system *sys)
{
	return &sys->pcp[sys->pf->thread_id(sys->pf->ctx) % HF_NR_PCP];
}

static void drain(struct hf_system *sys, struct hf_pcp *pcp)
{
	struct hf_page *pages[HF_LRU_BATCH];
	unsigned nr;

	hf_mutex_lock(sys, &pcp->lock);
	nr = take(pcp, pages);
	hf_mutex_unlock(sys, &pcp->lock);
	put_all(sys, pages, nr);
}

void hf_lru_add(struct hf_system *sys, struct hf_page *page)
{
	struct hf_page *pages[HF_LRU_BATCH];
	struct hf_pcp *pcp = this_cpu(sys);
	unsigned nr = 0;

	if (!sys->policy->lru_batches)
		return;
	hf_page_get(page);
	hf_or(&page->flags, HF_PG_BATCHED, relaxed);
	hf_mutex_lock(sys, &pcp->lock);
	if (pcp->nr_batch == HF_LRU_BATCH)
		nr = take(pcp, pages);
	pcp->batch[pcp->nr_batch++] = page;
	hf_mutex_unlock(sys, &pcp->lock);
	put_all(sys, pages, nr);
}

void hf_lru_drain(struct hf_system *sys)
{
	drain(sys, this_cpu(sys));
}

void hf_lru_drain_all(struct hf_system *sys)
{
	for (size_t i = 0; sys->policy->lru_batches && i < HF_NR_PCP; i++)
		drain(sys, &sys->pcp[i]);
}
