/* SPDX-License-Identifier: MIT */
/* KSM: one promise a test. */
#include "machine.h"

static void map_alike(unsigned pages)
{
	map(A, pages, RW);
	for (unsigned i = 0; i < pages; i++)
		store(mm, A + i * P + 5, 7);
	assert_int_equal(hf_madvise(mm, A, pages * P, HF_MADV_MERGEABLE), 0);
}

static int64_t scan(void)
{
	return hf_ksm_scan(sys, 0);
}

static void alike_pages_become_one(void **state)
{
	(void)state;
	map_alike(3);
	store(mm, A + 2 * P, 9); /* not this one */
	assert_int_equal(scan(), 1);
	assert_true(info(mm, A).ksm && info(mm, A).pfn == info(mm, A + P).pfn);
	assert_false(info(mm, A).exclusive || info(mm, A).writable);
	assert_false(info(mm, A + 2 * P).ksm);
	assert_int_equal(info(mm, A).mapcount, 2);
	assert_int_equal(stats().nr_free, 255 - 2);
	assert_int_equal(hf_validate(sys, NULL), 0);
	assert_int_equal(scan(), 0);
}

static void a_store_gets_a_copy(void **state)
{
	(void)state;
	map_alike(2);
	assert_int_equal(scan(), 1);
	store(mm, A, 1);
	assert_int_equal(load(mm, A + P), 0);
	assert_int_equal(load(mm, A + P + 5), 7);
	assert_false(info(mm, A).ksm);
	store(mm, A + P, 1); /* the last mapping is copied, too: a merged page is never reused */
	assert_int_equal(stats().cow_copies, 2);
	assert_int_equal(stats().nr_free, 255 - 2);
}

static void only_what_was_advised_is_merged(void **state)
{
	(void)state;
	map_alike(2);
	assert_int_equal(hf_madvise(mm, A, P, HF_MADV_UNMERGEABLE), 0);
	assert_int_equal(scan(), 0);
	assert_false(info(mm, A).ksm);
}

static void merging_crosses_processes(void **state)
{
	struct hf_mm *other;
	uint64_t at = A;
	uint8_t byte = 7;

	(void)state;
	map_alike(1);
	assert_int_equal(hf_mm_create(sys, &other), 0);
	assert_int_equal(hf_mmap(other, &at, P, RW, HF_MAP_FIXED), 0);
	assert_int_equal(hf_store(other, A + 5, &byte, 1), 0);
	assert_int_equal(hf_madvise(other, A, P, HF_MADV_MERGEABLE), 0);
	assert_int_equal(scan(), 1);
	assert_true(info(mm, A).pfn == info(other, A).pfn);
	store(other, A + 5, 8);
	assert_int_equal(load(mm, A + 5), 7);
	hf_mm_put(other);
}

/* Any reference, a plain one too, keeps a page from being merged. */
static void what_is_held_stays(void **state)
{
	struct hf_ref ref;

	(void)state;
	map_alike(2);
	assert_int_equal(hf_get_user_pages(mm, A, 1, 0, &ref), 1);
	assert_int_equal(scan(), 0);
	assert_true(info(mm, A).exclusive && info(mm, A).writable);
	assert_int_equal(hf_put_user_pages(sys, &ref, 1), 0);
	ref = pin(A + P, 0);
	assert_int_equal(scan(), 0);
	assert_true(info(mm, A + P).exclusive);
	unpin(&ref);
	assert_int_equal(scan(), 1);
}

static void a_pin_unmerges(void **state)
{
	struct hf_ref ref;

	(void)state;
	map_alike(2);
	assert_int_equal(scan(), 1);
	ref = pin(A, 0);
	assert_true(info(mm, A).exclusive && !info(mm, A).ksm && !info(mm, A).writable);
	assert_int_equal(hf_ref_pfn(sys, &ref), info(mm, A).pfn);
	assert_int_equal(stats().unshares, 1);
	assert_int_equal(scan(), 0);
	unpin(&ref);
	assert_int_equal(hf_get_user_pages(mm, A + P, 1, 0, &ref), 1);
	assert_true(info(mm, A + P).ksm); /* a plain reference takes it as it is */
	assert_int_equal(hf_put_user_pages(sys, &ref, 1), 0);
}

static void unmerging_copies_without_stores(void **state)
{
	(void)state;
	map_alike(3);
	assert_int_equal(scan(), 2);
	assert_int_equal(hf_mprotect(mm, A, P, HF_PROT_NONE), 0);
	assert_int_equal(hf_madvise(mm, A, 3 * P, HF_MADV_UNMERGEABLE), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_true(info(mm, A + i * P).exclusive && !info(mm, A + i * P).ksm &&
			    !info(mm, A + i * P).writable && !info(mm, A + i * P).dirty);
	assert_int_equal(hf_mprotect(mm, A, P, HF_PROT_READ), 0);
	assert_int_equal(load(mm, A + 5), 7);
}

static void pages_of_zeros_can_become_the_zeropage(void **state)
{
	(void)state;
	map(A, 2, RW);
	store(mm, A, 0);
	store(mm, A + P, 1);
	assert_int_equal(hf_madvise(mm, A, 2 * P, HF_MADV_MERGEABLE), 0);
	assert_int_equal(hf_ksm_scan(sys, HF_KSM_USE_ZERO_PAGES), 1);
	assert_true(info(mm, A).zeropage);
	store(mm, A, 3);
	assert_int_equal(load(mm, A), 3);
	assert_int_equal(hf_ksm_scan(sys, 4), -EINVAL);
}

static void forks_share_merged_pages(void **state)
{
	struct hf_mm *child;

	(void)state;
	map_alike(2);
	assert_int_equal(scan(), 1);
	child = fork_mm();
	assert_int_equal(info(mm, A).mapcount, 4);
	store(child, A + 5, 1);
	assert_int_equal(load(mm, A + 5), 7);
	assert_int_equal(load(child, A + P + 5), 7);
	hf_mm_put(child);
}

static void merged_pages_stay_where_they_are(void **state)
{
	struct hf_swap_device swap;

	(void)state;
	assert_int_equal(hf_swap_device_open(NULL, 16, &swap), 0);
	assert_int_equal(hf_swapon(sys, &swap), 0);
	map_alike(2);
	assert_int_equal(scan(), 1);
	assert_int_equal(hf_madvise(mm, A, 2 * P, HF_MADV_PAGEOUT), 0);
	assert_int_equal(hf_migrate_pages(mm, A, 2 * P), 0);
	assert_true(info(mm, A).ksm);
	assert_int_equal(hf_swapoff(sys), 0);
	hf_swap_device_close(&swap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(alike_pages_become_one),
		t(a_store_gets_a_copy),
		t(only_what_was_advised_is_merged),
		t(merging_crosses_processes),
		t(what_is_held_stays),
		t(a_pin_unmerges),
		t(unmerging_copies_without_stores),
		t(pages_of_zeros_can_become_the_zeropage),
		t(forks_share_merged_pages),
		t(merged_pages_stay_where_they_are),
	};

	return cmocka_run_group_tests_name("ksm", tests, NULL, NULL);
}
