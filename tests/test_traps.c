/* SPDX-License-Identifier: MIT */
/* What one who builds this anew gets wrong, where no other test looks: one trap a test. */
#include "machine.h"

#include <pthread.h>
#include <sched.h>

#define H 0x10000000ul
#define M (512 * P)

/* The mark is not given back when the last sharer goes; the next store proves it. */
static void exit_does_not_mark(void **state)
{
	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	hf_mm_put(fork_mm());
	assert_false(info(mm, A).exclusive || info(mm, A).writable);
	store(mm, A, 2);
	assert_true(info(mm, A).exclusive);
	assert_int_equal(stats().cow_copies, 0);
}

/* What is shared already has no pin to protect, however pinned it looks. */
static void fork_shares_what_is_shared(void **state)
{
	static struct hf_ref refs[1100];
	struct hf_mm *child, *another;
	struct hf_ref own;

	(void)state;
	restart("linux-6.12", 256);
	map(A, 2, RW);
	store(mm, A, 1);
	own = pin(A + P, HF_FOLL_WRITE); /* the mm has pinned something */
	child = fork_mm();
	assert_int_equal(stats().fork_copies, 1);
	for (int i = 0; i < 1100; i++)
		assert_int_equal(hf_get_user_pages(mm, A, 1, 0, &refs[i]), 1);
	another = fork_mm();
	assert_int_equal(stats().fork_copies, 2); /* the pinned page only */
	assert_int_equal(hf_put_user_pages(sys, refs, 1100), 0);
	unpin(&own);
	hf_mm_put(child);
	hf_mm_put(another);
}

/* The flag is the source's, it sticks, and the child has none. */
static void the_pinned_flag_is_the_parents(void **state)
{
	static struct hf_ref refs[1100];
	struct hf_mm *child, *grandchild;
	struct hf_ref own;

	(void)state;
	restart("linux-6.12", 256);
	map(A, 1, RW);
	store(mm, A, 1);
	for (int i = 0; i < 1100; i++)
		assert_int_equal(hf_get_user_pages(mm, A, 1, 0, &refs[i]), 1);
	child = fork_mm(); /* it looks pinned, but nobody ever pinned anything here */
	assert_int_equal(stats().fork_copies, 0);
	hf_mm_put(child);
	assert_int_equal(hf_put_user_pages(sys, refs, 1100), 0);
	store(mm, A, 2);
	own = pin(A, 0);
	unpin(&own);
	assert_true(hf_mm_has_pinned(mm));
	child = fork_mm();
	assert_false(hf_mm_has_pinned(child));
	store(child, A, 3);
	for (int i = 0; i < 1100; i++)
		assert_int_equal(hf_get_user_pages(child, A, 1, 0, &refs[i]), 1);
	assert_int_equal(hf_mm_fork(child, &grandchild), 0);
	assert_int_equal(stats().fork_copies, 0);
	assert_int_equal(hf_put_user_pages(sys, refs, 1100), 0);
	hf_mm_put(child);
	hf_mm_put(grandchild);
}

/* FORCE changes nothing where the mapping allows the write. */
static void force_takes_a_real_write_fault(void **state)
{
	struct hf_ref ref;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	assert_int_equal(hf_wrprotect(mm, A, P), 0);
	assert_true(info(mm, A).exclusive && !info(mm, A).writable);
	assert_int_equal(hf_get_user_pages(mm, A, 1, HF_FOLL_WRITE | HF_FOLL_FORCE, &ref), 1);
	assert_true(info(mm, A).writable);
	assert_int_equal(hf_put_user_pages(sys, &ref, 1), 0);
}

/* 1024 plain references look like a pin, to those who estimate. */
static void many_references_look_like_a_pin(void **state)
{
	static struct hf_ref refs[1023];
	struct hf_swap_device swap;

	(void)state;
	for (int i = 0; i < 2; i++) {
		restart(i ? "holdfast" : "linux-6.12", 256);
		assert_int_equal(hf_swap_device_open(NULL, 16, &swap), 0);
		assert_int_equal(hf_swapon(sys, &swap), 0);
		map(A, 1, RW);
		store(mm, A, 1);
		for (int n = 0; n < 1023; n++)
			assert_int_equal(hf_get_user_pages(mm, A, 1, 0, &refs[n]), 1);
		assert_int_equal(hf_page_maybe_pinned(&sys->pages[info(mm, A).pfn]), true);
		assert_int_equal(hf_madvise(mm, A, P, HF_MADV_PAGEOUT), 0);
		assert_int_equal(info(mm, A).swapped, i); /* counted exactly, it is unmapped */
		assert_int_equal(hf_put_user_pages(sys, refs, 1023), 0);
		load(mm, A);
		assert_int_equal(hf_swapoff(sys), 0);
		hf_swap_device_close(&swap);
	}
}

static void *store_to_huge(void *arg)
{
	store(arg, H, 9);
	return NULL;
}

/* A small page whose lock is busy is copied; for a folio behind a PMD one waits and looks again. */
static void a_busy_folio_is_waited_for(void **state)
{
	struct hf_page *head;
	uint64_t faults;
	pthread_t thread;

	(void)state;
	restart("holdfast", 4096);
	map(H, 512, RW);
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_HUGEPAGE), 0);
	store(mm, H, 1);
	hf_mm_put(fork_mm());
	head = &sys->pages[info(mm, H).pfn];
	hf_page_lock(sys, head);
	faults = stats().faults;
	assert_int_equal(pthread_create(&thread, NULL, store_to_huge, mm), 0);
	/* until it waits: the fault was counted, and it holds the folio */
	while (stats().faults == faults || (hf_page_refs(head) == 1 && info(mm, H).pmd))
		sched_yield();
	hf_page_unlock(head);
	pthread_join(thread, NULL);
	assert_int_equal(stats().cow_copies, 0);
	assert_true(info(mm, H).pmd);
}

static void a_busy_page_is_copied(void **state)
{
	struct hf_page *page;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	hf_mm_put(fork_mm());
	page = &sys->pages[info(mm, A).pfn];
	hf_page_get(page);
	hf_page_lock(sys, page);
	store(mm, A, 2);
	assert_int_equal(stats().cow_copies, 1);
	hf_page_unlock(page);
	hf_page_put(sys, page);
}

static void *touch(void *arg)
{
	store(arg, A, 1);
	return NULL;
}

/* The batch of the CPU that made the page holds a reference: the faulting CPU drains its own. */
static void only_ones_own_batch_is_drained(void **state)
{
	static const struct {
		const char *policy;
		unsigned copies[2]; /* made here, and by another thread */
	} want[] = { { "linux-5.10", { 1, 1 } },
		     { "linux-6.12", { 0, 1 } },
		     { "holdfast", { 0, 0 } } };
	pthread_t thread;

	(void)state;
	for (int i = 0; i < 6; i++) {
		restart(want[i / 2].policy, 256);
		map(A, 1, RW);
		if (i % 2) {
			assert_int_equal(pthread_create(&thread, NULL, touch, mm), 0);
			pthread_join(thread, NULL);
		} else {
			store(mm, A, 1);
		}
		hf_mm_put(fork_mm());
		store(mm, A, 2);
		assert_int_equal(stats().cow_copies, want[i / 2].copies[i % 2]);
	}
}

/* The release of a range checks nothing, as Linux's. */
static void ranges_are_released_unchecked(void **state)
{
	struct hf_ref ref;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	ref = pin(A, 0);
	hf_and(&sys->pages[info(mm, A).pfn].flags, ~HF_PG_EXCLUSIVE, seq_cst);
	assert_int_equal(hf_unpin_user_page_range_dirty(sys, &ref, 1, true), 0);
	assert_int_equal(stats().unpin_check_failures, 0);
	assert_int_equal(hf_wrprotect(mm, A, P), 0);
}

/* An entry on its way holds the mark: fork takes it, from the parent's too. */
static void fork_shares_what_is_on_its_way(void **state)
{
	_Atomic uint64_t *ptep;
	struct hf_mm *child;
	uint64_t was;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	ptep = &hf_leaf(mm, A)->entry[hf_pte_index(A)];
	was = *ptep;
	*ptep = hf_mk_pte_migration(was, true);
	child = fork_mm();
	assert_false(*ptep & (HF_PTE_MIG_EXCLUSIVE | HF_PTE_MIG_WRITE));
	assert_false(hf_leaf(child, A)->entry[hf_pte_index(A)] &
		     (HF_PTE_MIG_EXCLUSIVE | HF_PTE_MIG_WRITE));
	*ptep = was;
	hf_leaf(child, A)->entry[hf_pte_index(A)] = 0;
	hf_mm_put(child);
}

/* A read of a swapped page that is ours alone maps it writable, at once. */
static void swap_in_maps_writable(void **state)
{
	struct hf_swap_device swap;

	(void)state;
	assert_int_equal(hf_swap_device_open(NULL, 16, &swap), 0);
	assert_int_equal(hf_swapon(sys, &swap), 0);
	map(A, 1, RW);
	store(mm, A, 1);
	assert_int_equal(hf_madvise(mm, A, P, HF_MADV_PAGEOUT), 0);
	load(mm, A);
	assert_true(info(mm, A).exclusive && info(mm, A).writable);
	assert_int_equal(hf_swapoff(sys), 0);
	hf_swap_device_close(&swap);
}

/* A short read-only pin of the zeropage takes it, on Linux; so does a plain reference. */
static void short_reads_take_the_zeropage_on_linux(void **state)
{
	struct hf_ref ref;

	(void)state;
	restart("linux-6.12", 256);
	map(A, 1, RW);
	load(mm, A);
	ref = pin(A, 0);
	assert_int_equal(hf_ref_pfn(sys, &ref), 0);
	unpin(&ref);
	assert_true(info(mm, A).zeropage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(exit_does_not_mark),
		t(fork_shares_what_is_shared),
		t(the_pinned_flag_is_the_parents),
		t(force_takes_a_real_write_fault),
		t(many_references_look_like_a_pin),
		t(a_busy_folio_is_waited_for),
		t(a_busy_page_is_copied),
		t(only_ones_own_batch_is_drained),
		t(ranges_are_released_unchecked),
		t(fork_shares_what_is_on_its_way),
		t(swap_in_maps_writable),
		t(short_reads_take_the_zeropage_on_linux),
	};

	return cmocka_run_group_tests_name("traps", tests, NULL, NULL);
}
