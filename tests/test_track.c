/* SPDX-License-Identifier: MIT */
/* Soft-dirty bits, userfaultfd write-protection and moves, forced writes: one promise a test. */
#include "machine.h"

static bool soft_dirty(uint64_t addr)
{
	return info(mm, addr).soft_dirty;
}

static bool protect(uint64_t addr, size_t pages)
{
	return !hf_uffd_writeprotect(mm, addr, pages * P, true);
}

static void stores_set_the_soft_dirty_bit(void **state)
{
	(void)state;
	map(A, 2, RW);
	store(mm, A, 1);
	store(mm, A + P, 1);
	assert_true(soft_dirty(A));
	hf_clear_soft_dirty(mm);
	assert_false(soft_dirty(A) || soft_dirty(A + P) || info(mm, A).writable);
	load(mm, A);
	assert_false(soft_dirty(A));
	store(mm, A, 2);
	assert_true(soft_dirty(A) && !soft_dirty(A + P));
	assert_int_equal(stats().cow_copies, 0);
}

/* Making the mapping writable again must not hide the next store. */
static void mprotect_keeps_tracking(void **state)
{
	(void)state;
	map(A, 2, RW);
	store(mm, A, 1);
	store(mm, A + P, 1);
	hf_clear_soft_dirty(mm);
	assert_true(protect(A + P, 1));
	assert_int_equal(hf_mprotect(mm, A, 2 * P, HF_PROT_READ), 0);
	assert_int_equal(hf_mprotect(mm, A, 2 * P, RW), 0);
	assert_false(info(mm, A).writable || info(mm, A + P).writable);
	store(mm, A, 2);
	store(mm, A + P, 2);
	assert_true(soft_dirty(A) && !info(mm, A + P).uffd_wp);
}

static void bits_go_out_and_come_back(void **state)
{
	struct hf_swap_device swap;

	(void)state;
	assert_int_equal(hf_swap_device_open(NULL, 16, &swap), 0);
	assert_int_equal(hf_swapon(sys, &swap), 0);
	map(A, 3, RW);
	for (int i = 0; i < 3; i++)
		store(mm, A + i * P, 1);
	hf_clear_soft_dirty(mm);
	store(mm, A, 2);
	assert_true(protect(A + P, 1));
	assert_int_equal(hf_madvise(mm, A, 3 * P, HF_MADV_PAGEOUT), 0);
	assert_true(info(mm, A).swapped && soft_dirty(A) && info(mm, A + P).uffd_wp);
	load(mm, A);
	load(mm, A + P);
	load(mm, A + 2 * P);
	assert_true(soft_dirty(A) && info(mm, A).writable);
	assert_true(info(mm, A + P).uffd_wp && !info(mm, A + P).writable);
	assert_false(soft_dirty(A + 2 * P) || info(mm, A + 2 * P).writable);
	assert_int_equal(hf_migrate_pages(mm, A, 3 * P), 3);
	assert_true(soft_dirty(A) && info(mm, A + P).uffd_wp && !info(mm, A + P).writable);
	assert_int_equal(hf_swapoff(sys), 0);
	hf_swap_device_close(&swap);
}

/* An unshare stores nothing, so nobody must think it did. */
static void unsharing_is_not_a_store(void **state)
{
	struct hf_mm *child;
	struct hf_ref ref;

	(void)state;
	map(A, 2, RW);
	store(mm, A, 1);
	store(mm, A + P, 1);
	hf_clear_soft_dirty(mm);
	assert_true(protect(A + P, 1));
	child = fork_mm();
	ref = pin(A, 0);
	assert_int_equal(stats().unshares, 1);
	assert_false(soft_dirty(A) || info(mm, A).dirty || info(mm, A).writable);
	unpin(&ref);
	ref = pin(A + P, 0);
	assert_true(info(mm, A + P).uffd_wp && info(mm, A + P).exclusive);
	unpin(&ref);
	store(mm, A + P, 2);
	assert_false(info(mm, A + P).uffd_wp);
	hf_mm_put(child);
}

static void early_copies_keep_the_protection(void **state)
{
	struct hf_mm *child;
	struct hf_ref ref;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	ref = pin(A, 0);
	assert_true(protect(A, 1));
	child = fork_mm();
	assert_int_equal(stats().fork_copies, 1);
	assert_true(info(child, A).uffd_wp && !info(child, A).writable && info(mm, A).uffd_wp);
	store(child, A, 3);
	assert_false(info(child, A).uffd_wp);
	assert_int_equal(load(mm, A), 1);
	unpin(&ref);
	hf_mm_put(child);
}

/* What a child gets wiped, too: mremap() moves several mappings only where nobody watches. */
static void children_are_watched_by_nobody(void **state)
{
	struct hf_mm *child;
	uint64_t to = A + 16 * P;

	(void)state;
	map(A, 3, RW);
	assert_int_equal(hf_madvise(mm, A, P, HF_MADV_WIPEONFORK), 0);
	assert_int_equal(hf_uffd_register(mm, A, 2 * P), 0);
	assert_int_equal(hf_mremap(mm, A, 3 * P, 3 * P, HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &to),
			 -EFAULT);
	child = fork_mm();
	assert_int_equal(
		hf_mremap(child, A, 3 * P, 3 * P, HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &to), 0);
	hf_mm_put(child);
}

/* A documented weakness of Linux: such pages are soft-dirty for ever. */
static void pinned_pages_stay_soft_dirty_on_linux(void **state)
{
	struct hf_ref ref;

	(void)state;
	for (int i = 0; i < 2; i++) {
		restart(i ? "holdfast" : "linux-6.12", 256);
		map(A, 1, RW);
		ref = pin(A, HF_FOLL_WRITE);
		hf_clear_soft_dirty(mm);
		assert_int_equal(soft_dirty(A), !i);
		store(mm, A, 1);
		assert_int_equal(info(mm, A).pfn, hf_ref_pfn(sys, &ref));
		unpin(&ref);
	}
}

/* A write by FORCE to a read-only mapping: only through an exclusive page, and noticed. */
static void forced_writes_are_real_writes(void **state)
{
	struct hf_mm *child;
	struct hf_ref ref;
	uint8_t byte = 9;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	assert_int_equal(hf_mprotect(mm, A, P, HF_PROT_READ), 0);
	child = fork_mm();
	assert_int_equal(hf_access_process_vm(mm, HF_USER_PTRACE_WRITE, A, &byte, 1), 1);
	assert_int_equal(load(mm, A), 9);
	assert_int_equal(load(child, A), 1);
	assert_true(info(mm, A).exclusive && !info(mm, A).writable);
	hf_mm_put(child);
	hf_clear_soft_dirty(mm);
	assert_true(protect(A, 1));
	assert_int_equal(hf_access_process_vm(mm, HF_USER_PTRACE_WRITE, A, &byte, 1), 1);
	assert_true(soft_dirty(A) && !info(mm, A).uffd_wp);
	/* where the mapping allows writing, FORCE changes nothing: a real write fault is taken */
	assert_int_equal(hf_mprotect(mm, A, P, RW), 0);
	assert_true(protect(A, 1));
	assert_int_equal(hf_get_user_pages(mm, A, 1, HF_FOLL_WRITE | HF_FOLL_FORCE, &ref), 1);
	assert_true(info(mm, A).writable);
	assert_int_equal(hf_put_user_pages(sys, &ref, 1), 0);
}

static void a_page_moves_without_a_copy(void **state)
{
	uint64_t before;

	(void)state;
	map(A, 2, RW);
	map(A + 16 * P, 3, RW);
	store(mm, A, 7);
	before = info(mm, A).pfn;
	assert_int_equal(hf_uffd_move(mm, A + 16 * P, A, 2 * P), 2 * P);
	assert_int_equal(info(mm, A + 16 * P).pfn, before);
	assert_true(info(mm, A + 16 * P).exclusive && info(mm, A + 16 * P).writable);
	assert_int_equal(load(mm, A + 16 * P), 7);
	assert_false(info(mm, A).present);
	assert_int_equal(load(mm, A), 0);
	assert_int_equal(hf_validate(sys, NULL), 0);
	assert_int_equal(hf_migrate_pages(mm, A + 16 * P, P), 1); /* its family knows it */
}

static void what_is_held_or_shared_does_not_move(void **state)
{
	struct hf_mm *child;
	struct hf_ref ref;

	(void)state;
	map(A, 4, RW);
	map(A + 16 * P, 4, RW);
	for (int i = 0; i < 3; i++)
		store(mm, A + i * P, 7);
	ref = pin(A + P, 0);
	assert_int_equal(hf_uffd_move(mm, A + 16 * P, A, 2 * P), P);
	assert_int_equal(hf_uffd_move(mm, A + 17 * P, A + P, P), -EBUSY);
	unpin(&ref);
	assert_int_equal(hf_uffd_move(mm, A + 16 * P, A + P, P), -EEXIST);
	child = fork_mm();
	assert_int_equal(hf_uffd_move(mm, A + 17 * P, A + P, P), -EBUSY);
	hf_mm_put(child);
	assert_int_equal(hf_uffd_move(mm, A + 17 * P, A + P, P), -EBUSY); /* nobody has proved it */
	store(mm, A + P, 8);
	assert_int_equal(hf_uffd_move(mm, A + 17 * P, A + P, P), P);
	assert_int_equal(hf_uffd_move(mm, A + P, A, 4 * P), -EINVAL);
	assert_int_equal(hf_uffd_move(mm, A + 40 * P, A, P), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(stores_set_the_soft_dirty_bit),
		t(mprotect_keeps_tracking),
		t(bits_go_out_and_come_back),
		t(unsharing_is_not_a_store),
		t(early_copies_keep_the_protection),
		t(children_are_watched_by_nobody),
		t(pinned_pages_stay_soft_dirty_on_linux),
		t(forced_writes_are_real_writes),
		t(a_page_moves_without_a_copy),
		t(what_is_held_or_shared_does_not_move),
	};

	return cmocka_run_group_tests_name("track", tests, NULL, NULL);
}
