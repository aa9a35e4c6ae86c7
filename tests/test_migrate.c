/* SPDX-License-Identifier: MIT */
/* Migration: one promise a test. */
#include "machine.h"

static uint64_t pfn(struct hf_mm *m, uint64_t addr)
{
	return info(m, addr).pfn;
}

static void pages_move_and_nobody_notices(void **state)
{
	uint64_t before[3];

	(void)state;
	map(A, 4, RW);
	for (int i = 0; i < 3; i++) {
		store(mm, A + i * P, (uint8_t)(i + 1));
		before[i] = pfn(mm, A + i * P);
	}
	load(mm, A + 3 * P); /* the zeropage stays where it is */
	assert_int_equal(hf_mprotect(mm, A + 2 * P, P, HF_PROT_READ), 0);
	assert_int_equal(hf_migrate_pages(mm, A, 4 * P), 3);
	for (int i = 0; i < 3; i++) {
		assert_int_not_equal(pfn(mm, A + i * P), before[i]);
		assert_true(info(mm, A + i * P).exclusive);
		assert_int_equal(info(mm, A + i * P).writable, i < 2);
		assert_int_equal(load(mm, A + i * P), i + 1);
	}
	assert_int_equal(stats().migrations, 3);
	assert_int_equal(stats().nr_free, 255 - 3);
	assert_int_equal(stats().cow_copies, 0);
}

static void shared_pages_move_for_all(void **state)
{
	struct hf_mm *child, *grandchild;
	uint64_t before;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 7);
	child = fork_mm();
	assert_int_equal(hf_mm_fork(child, &grandchild), 0);
	before = pfn(mm, A);
	assert_int_equal(hf_migrate_pages(child, A, P), 1);
	assert_int_not_equal(pfn(mm, A), before);
	assert_true(pfn(mm, A) == pfn(child, A) && pfn(mm, A) == pfn(grandchild, A));
	assert_int_equal(info(mm, A).mapcount, 3);
	assert_false(info(mm, A).exclusive || info(mm, A).writable);
	store(child, A, 8);
	assert_int_equal(load(mm, A), 7);
	hf_mm_put(child);
	hf_mm_put(grandchild);
}

static void what_is_held_stays(void **state)
{
	struct hf_ref pinned, get;
	uint64_t before[2];

	(void)state;
	map(A, 2, RW);
	store(mm, A, 1);
	store(mm, A + P, 2);
	pinned = pin(A, HF_FOLL_WRITE | HF_FOLL_LONGTERM);
	assert_int_equal(hf_get_user_pages(mm, A + P, 1, 0, &get), 1);
	for (int i = 0; i < 2; i++)
		before[i] = pfn(mm, A + i * P);
	assert_int_equal(hf_migrate_pages(mm, A, 2 * P), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pfn(mm, A + i * P), before[i]);
		/* restored as it was: failure does not cost the mark */
		assert_true(info(mm, A + i * P).exclusive && info(mm, A + i * P).writable);
	}
	unpin(&pinned);
	assert_int_equal(hf_put_user_pages(sys, &get, 1), 0);
	assert_int_equal(hf_migrate_pages(mm, A, 2 * P), 2);
}

static void swap_cache_pages_move_too(void **state)
{
	struct hf_swap_device swap;
	struct hf_mm *child;

	(void)state;
	assert_int_equal(hf_swap_device_open(NULL, 16, &swap), 0);
	assert_int_equal(hf_swapon(sys, &swap), 0);
	map(A, 1, RW);
	store(mm, A, 7);
	assert_int_equal(hf_madvise(mm, A, P, HF_MADV_PAGEOUT), 0);
	child = fork_mm();
	assert_int_equal(load(mm, A), 7); /* in memory, and in swap for the child */
	assert_int_equal(hf_migrate_pages(mm, A, P), 1);
	assert_int_equal(hf_validate(sys, NULL), 0);
	assert_int_equal(load(child, A), 7);
	assert_int_equal(pfn(mm, A), pfn(child, A));
	hf_mm_put(child);
	assert_int_equal(hf_swapoff(sys), 0);
	hf_swap_device_close(&swap);
}

static void arguments_are_checked(void **state)
{
	size_t taken = 0;

	(void)state;
	assert_int_equal(hf_migrate_pages(mm, A + 1, P), -EINVAL);
	assert_int_equal(hf_migrate_pages(mm, A, 0), -EINVAL);
	assert_int_equal(hf_migrate_pages(mm, A, P), 0); /* nothing there */
	map(A, 300, RW);
	while (try_store(mm, A + taken * P) == 0)
		taken++;
	assert_int_equal(hf_migrate_pages(mm, A, P), -ENOMEM);
	assert_int_equal(load(mm, A), 1);
}

static void machine_with_movable(size_t frames, size_t movable)
{
	struct hf_system_config config = {
		.platform = hf_platform_hosted(),
		.nr_frames = frames,
		.nr_movable = movable,
		.flags = HF_SYSTEM_DEBUG,
	};

	finish();
	assert_int_equal(hf_system_create(&config, &sys), 0);
	assert_int_equal(hf_mm_create(sys, &mm), 0);
}

static bool in_movable(uint64_t addr)
{
	return pfn(mm, addr) >= sys->movable_start;
}

static void long_term_pins_leave_the_movable_zone(void **state)
{
	struct hf_ref longterm, brief, get;

	(void)state;
	machine_with_movable(256, 128);
	map(A, 3, RW);
	for (int i = 0; i < 3; i++)
		store(mm, A + i * P, (uint8_t)(i + 1));
	assert_true(in_movable(A) && in_movable(A + P) && in_movable(A + 2 * P));
	brief = pin(A, HF_FOLL_WRITE);
	assert_true(in_movable(A));
	longterm = pin(A + P, HF_FOLL_WRITE | HF_FOLL_LONGTERM);
	assert_false(in_movable(A + P));
	assert_int_equal(pfn(mm, A + P), hf_ref_pfn(sys, &longterm));
	assert_true(info(mm, A + P).exclusive && info(mm, A + P).pins == 1);
	assert_int_equal(load(mm, A + P), 2);
	/* somebody holds it there: it cannot move, so it cannot be pinned for long */
	assert_int_equal(hf_pin_user_pages(mm, A, 1, HF_FOLL_LONGTERM, &get), -EBUSY);
	assert_int_equal(
		hf_pin_user_pages_fast(mm, A, 1, HF_FOLL_LONGTERM | HF_FOLL_FAST_ONLY, &get), 0);
	unpin(&brief);
	unpin(&longterm);
	longterm = pin(A, HF_FOLL_LONGTERM);
	assert_false(in_movable(A));
	unpin(&longterm);
}

static void compaction_makes_whole_blocks(void **state)
{
	struct hf_system_stats before;

	(void)state;
	restart("holdfast", 4096);
	map(A, 2048, RW);
	for (int i = 0; i < 2048; i++)
		store(mm, A + i * P, (uint8_t)(i % 250 + 1));
	for (int i = 0; i < 2048; i++) /* one page in eight stays, in every block */
		if (i % 8)
			assert_int_equal(hf_madvise(mm, A + i * P, P, HF_MADV_DONTNEED), 0);
	before = stats();
	assert_true(hf_compact(sys) >= 2);
	assert_true(stats().migrations > before.migrations);
	assert_int_equal(stats().nr_free, before.nr_free);
	for (int i = 0; i < 2048; i += 8) {
		assert_int_equal(load(mm, A + i * P), i % 250 + 1);
		assert_true(info(mm, A + i * P).exclusive);
	}
	assert_int_equal(hf_validate(sys, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(pages_move_and_nobody_notices),
		t(shared_pages_move_for_all),
		t(what_is_held_stays),
		t(swap_cache_pages_move_too),
		t(arguments_are_checked),
		t(long_term_pins_leave_the_movable_zone),
		t(compaction_makes_whole_blocks),
	};

	return cmocka_run_group_tests_name("migrate", tests, NULL, NULL);
}
