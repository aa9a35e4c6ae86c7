/* SPDX-License-Identifier: MIT */
/* Systems, address spaces, access, faults and fork: one promise a test. */
#include "machine.h"

/* ---- systems and address spaces ---- */

static void system_refuses_bad_configurations(void **state)
{
	struct hf_system_config config = { .platform = hf_platform_hosted(), .nr_frames = 15 };
	struct hf_system *s;

	(void)state;
	assert_int_equal(hf_system_create(&config, &s), -EINVAL);
	config.nr_frames = 16;
	config.flags = 1u << 31;
	assert_int_equal(hf_system_create(&config, &s), -EINVAL);
	config.flags = 0;
	config.platform = NULL;
	assert_int_equal(hf_system_create(&config, &s), -EINVAL);
	config.platform = hf_platform_hosted();
	assert_int_equal(hf_system_create(&config, &s), 0);
	assert_string_equal(hf_system_policy(s)->name, "holdfast");
	assert_int_equal(hf_system_destroy(s), 0);
}

static void system_with_users_is_not_destroyed(void **state)
{
	struct hf_ref ref;

	(void)state;
	assert_int_equal(hf_system_destroy(sys), -EBUSY);
	map(A, 1, RW);
	store(mm, A, 1);
	ref = pin(A, HF_FOLL_WRITE);
	hf_mm_put(mm);
	/* the pin outlives the address space */
	assert_int_equal(hf_system_destroy(sys), -EBUSY);
	assert_int_equal(hf_ref_write(sys, &ref, 0, "x", 1), 0);
	unpin(&ref);
	assert_int_equal(hf_mm_create(sys, &mm), 0);
}

static void mm_lives_until_its_last_user(void **state)
{
	(void)state;
	map(A, 1, RW);
	store(mm, A, 7);
	hf_mm_get(mm);
	hf_mm_put(mm);
	assert_int_equal(load(mm, A), 7);
	assert_int_equal(stats().nr_mms, 1);
}

static void every_frame_can_be_used_and_comes_back(void **state)
{
	size_t got = 0;

	(void)state;
	restart("holdfast", 64);
	map(A, 100, RW);
	while (try_store(mm, A + got * P) == 0)
		got++;
	assert_int_equal(got, 63);
	assert_int_equal(try_store(mm, A + got * P), -ENOMEM);
	assert_int_equal(load(mm, A + got * P), 0); /* a read needs no frame */
	assert_int_equal(hf_munmap(mm, A, 10 * P), 0);
	assert_int_equal(stats().nr_free, 10);
	store(mm, A + got * P, 1);
}

/* ---- mappings ---- */

static void mmap_finds_room_and_refuses_nonsense(void **state)
{
	uint64_t a = 0, b = 0, c;

	(void)state;
	assert_int_equal(hf_mmap(mm, &a, 3 * P, RW, 0), 0);
	assert_int_equal(hf_mmap(mm, &b, 1, RW, 0), 0);
	assert_true(a % P == 0 && b % P == 0 && (b + P <= a || b >= a + 3 * P));
	c = a;
	assert_int_equal(hf_mmap(mm, &c, P, RW, HF_MAP_FIXED_NOREPLACE), -EEXIST);
	assert_int_equal(hf_mmap(mm, &c, 0, RW, 0), -EINVAL);
	c = a + 1;
	assert_int_equal(hf_mmap(mm, &c, P, RW, HF_MAP_FIXED), -EINVAL);
	c = a;
	assert_int_equal(hf_mmap(mm, &c, P, 1u << 7, 0), -EINVAL);
	assert_int_equal(hf_mmap(mm, &c, P, RW, 1u << 9), -EINVAL);
	assert_int_equal(hf_mmap(mm, &c, HF_TASK_SIZE, RW, 0), -ENOMEM);
}

static void mmap_fixed_replaces(void **state)
{
	uint64_t at = A + P;

	(void)state;
	map(A, 3, RW);
	for (int i = 0; i < 3; i++)
		store(mm, A + i * P, 10 + i);
	assert_int_equal(hf_mmap(mm, &at, P, RW, HF_MAP_FIXED), 0);
	assert_int_equal(load(mm, A), 10);
	assert_int_equal(load(mm, A + P), 0);
	assert_int_equal(load(mm, A + 2 * P), 12);
}

static void mmap_populates(void **state)
{
	uint64_t at = A;

	(void)state;
	assert_int_equal(hf_mmap(mm, &at, 4 * P, RW, HF_MAP_FIXED | HF_MAP_POPULATE), 0);
	for (int i = 0; i < 4; i++)
		assert_true(info(mm, A + i * P).writable && info(mm, A + i * P).exclusive);
	assert_int_equal(stats().nr_free, 255 - 4);
}

static void munmap_splits_and_ignores_holes(void **state)
{
	(void)state;
	map(A, 5, RW);
	for (int i = 0; i < 5; i++)
		store(mm, A + i * P, 20 + i);
	assert_int_equal(hf_munmap(mm, A + 2 * P, P), 0);
	assert_int_equal(try_load(mm, A + 2 * P), -EFAULT);
	assert_int_equal(load(mm, A + P), 21);
	assert_int_equal(load(mm, A + 3 * P), 23);
	assert_int_equal(hf_munmap(mm, A, 5 * P), 0);
	assert_int_equal(try_load(mm, A + 4 * P), -EFAULT);
	assert_int_equal(hf_munmap(mm, A + 1, P), -EINVAL);
	assert_int_equal(hf_munmap(mm, A, 0), -EINVAL);
	assert_int_equal(stats().nr_free, 255);
}

static void mprotect_takes_and_gives_rights(void **state)
{
	uint64_t faults;

	(void)state;
	map(A, 2, RW);
	store(mm, A, 5);
	assert_int_equal(hf_mprotect(mm, A, P, HF_PROT_READ), 0);
	assert_int_equal(try_store(mm, A), -EFAULT);
	assert_int_equal(load(mm, A), 5);
	assert_int_equal(hf_mprotect(mm, A, P, HF_PROT_NONE), 0);
	assert_int_equal(try_load(mm, A), -EFAULT);
	/* an exclusive page needs no fault after the upgrade */
	assert_int_equal(hf_mprotect(mm, A, P, RW), 0);
	faults = stats().faults;
	store(mm, A, 6);
	assert_int_equal(stats().faults, faults);
	store(mm, A + P, 7);
	assert_int_equal(hf_mprotect(mm, A + P, 2 * P, HF_PROT_READ),
			 -ENOMEM); /* a hole at its end */
	assert_int_equal(try_store(mm, A + P), -EFAULT);
	assert_int_equal(hf_mprotect(mm, A, P, 1u << 5), -EINVAL);
	assert_int_equal(hf_mprotect(mm, A + 1, P, RW), -EINVAL);
}

static void mprotect_leaves_shared_pages_read_only(void **state)
{
	struct hf_mm *child;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 5);
	child = fork_mm();
	assert_int_equal(hf_mprotect(mm, A, P, HF_PROT_READ), 0);
	assert_int_equal(hf_mprotect(mm, A, P, RW), 0);
	assert_false(info(mm, A).writable);
	store(mm, A, 6);
	assert_int_equal(load(child, A), 5);
	hf_mm_put(child);
}

static void mremap_moves_pages_marks_and_pins(void **state)
{
	uint64_t to = A + 64 * P, pfn;
	struct hf_ref ref;

	(void)state;
	map(A, 2, RW);
	store(mm, A, 1);
	store(mm, A + P, 2);
	ref = pin(A, HF_FOLL_WRITE | HF_FOLL_LONGTERM);
	pfn = info(mm, A).pfn;
	assert_int_equal(hf_mremap(mm, A, 2 * P, 4 * P, HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &to),
			 0);
	assert_int_equal(info(mm, to).pfn, pfn);
	assert_true(info(mm, to).exclusive);
	assert_int_equal(try_load(mm, A), -EFAULT);
	assert_int_equal(load(mm, to + P), 2);
	assert_int_equal(load(mm, to + 3 * P), 0);
	store(mm, to, 9);
	assert_int_equal(hf_ref_pfn(sys, &ref), info(mm, to).pfn);
	unpin(&ref);
}

static void mremap_spans_mappings_where_kernels_do(void **state)
{
	static const char *const policy[] = { "linux-6.12", "linux-6.18", "holdfast" };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		uint64_t to = A + 64 * P;
		int err = i ? 0 : -EFAULT;

		restart(policy[i], 64);
		map(A, 4, RW);
		store(mm, A, 1);
		store(mm, A + 3 * P, 4);
		assert_int_equal(hf_mprotect(mm, A + P, P, HF_PROT_READ), 0);
		assert_int_equal(hf_munmap(mm, A + 2 * P, P), 0);
		map(to + 2 * P, 1, RW); /* a hole moves as one, and hides nothing */
		store(mm, to + 2 * P, 9);
		assert_int_equal(
			hf_mremap(mm, A, 4 * P, 4 * P, HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &to),
			err);
		assert_int_equal(try_load(mm, A), err ? 0 : -EFAULT);
		if (!err) {
			assert_int_equal(load(mm, to), 1);
			assert_int_equal(try_store(mm, to + P), -EFAULT);
			assert_int_equal(load(mm, to + 2 * P), 9);
			assert_int_equal(load(mm, to + 3 * P), 4);
		}
		to = A + 128 * P; /* not one that begins with a hole */
		assert_int_equal(hf_mremap(mm, A + 8 * P, 4 * P, 4 * P,
					   HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &to),
				 -EFAULT);
		assert_int_equal(hf_validate(sys, NULL), 0);
	}
}

static void mremap_refuses_nonsense(void **state)
{
	uint64_t to = A;

	(void)state;
	map(A, 2, RW);
	assert_int_equal(hf_mremap(mm, A, P, P, HF_MREMAP_FIXED, &to), -EINVAL);
	to = A + P;
	assert_int_equal(hf_mremap(mm, A, 2 * P, 2 * P, HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &to),
			 -EINVAL);
	assert_int_equal(hf_mremap(mm, A, 0, P, 0, &to), -EINVAL);
	assert_int_equal(hf_mremap(mm, A + 8 * P, P, P, HF_MREMAP_MAYMOVE, &to), -EFAULT);
	assert_int_equal(hf_mremap(mm, A, 3 * P, 4 * P, HF_MREMAP_MAYMOVE, &to), -EFAULT);
	/* shrinking drops the end */
	store(mm, A + P, 3);
	assert_int_equal(hf_mremap(mm, A, 2 * P, P, 0, &to), 0);
	assert_int_equal(try_load(mm, A + P), -EFAULT);
}

static void madvise_does_what_it_says(void **state)
{
	struct hf_mm *child;

	(void)state;
	map(A, 6, RW);
	for (int i = 0; i < 4; i++)
		store(mm, A + i * P, 30 + i);
	assert_int_equal(hf_madvise(mm, A, P, HF_MADV_DONTNEED), 0);
	assert_int_equal(load(mm, A), 0);
	assert_int_equal(hf_madvise(mm, A + P, P, HF_MADV_DONTFORK), 0);
	assert_int_equal(hf_madvise(mm, A + 2 * P, P, HF_MADV_WIPEONFORK), 0);
	assert_int_equal(hf_madvise(mm, A + 4 * P, P, HF_MADV_POPULATE_READ), 0);
	assert_int_equal(hf_madvise(mm, A + 5 * P, P, HF_MADV_POPULATE_WRITE), 0);
	assert_true(info(mm, A + 4 * P).zeropage);
	assert_true(info(mm, A + 5 * P).writable);
	child = fork_mm();
	assert_int_equal(try_load(child, A + P), -EFAULT);
	assert_int_equal(load(child, A + 2 * P), 0);
	assert_int_equal(load(child, A + 3 * P), 33);
	hf_mm_put(child);
	assert_int_equal(hf_madvise(mm, A + P, 2 * P, HF_MADV_DOFORK), 0);
	assert_int_equal(hf_madvise(mm, A + P, 2 * P, HF_MADV_KEEPONFORK), 0);
	child = fork_mm();
	assert_int_equal(load(child, A + P), 31);
	assert_int_equal(load(child, A + 2 * P), 32);
	hf_mm_put(child);
	assert_int_equal(hf_madvise(mm, A, 8 * P, HF_MADV_DONTNEED),
			 -ENOMEM); /* a hole; the rest is advised */
	assert_int_equal(load(mm, A + 3 * P), 0);
	assert_int_equal(hf_munmap(mm, A + P, P), 0);
	assert_int_equal(hf_munmap(mm, A + 3 * P, P), 0);
	store(mm, A + 4 * P, 34);
	assert_int_equal(hf_madvise(mm, A, 6 * P, HF_MADV_DONTNEED), -ENOMEM); /* two holes */
	assert_int_equal(load(mm, A + 4 * P), 0);
	assert_int_equal(hf_madvise(mm, A, P, (enum hf_advice)99), -EINVAL);
	assert_int_equal(hf_mprotect(mm, A, P, HF_PROT_READ), 0);
	assert_int_equal(hf_madvise(mm, A, P, HF_MADV_POPULATE_WRITE), -EINVAL);
}

static void populate_goes_over_holes_where_kernels_do(void **state)
{
	static const char *const policy[] = { "linux-6.1", "linux-6.12", "holdfast" };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		restart(policy[i], 64);
		map(A, 1, RW);
		map(A + 2 * P, 1, RW);
		assert_int_equal(hf_madvise(mm, A, 3 * P, HF_MADV_POPULATE_WRITE), -ENOMEM);
		assert_true(info(mm, A).present);
		assert_int_equal(info(mm, A + 2 * P).present, i == 0);
		assert_int_equal(hf_mprotect(mm, A + 2 * P, P, 0), 0); /* which counts for more */
		assert_int_equal(hf_madvise(mm, A, 3 * P, HF_MADV_POPULATE_READ),
				 i ? -ENOMEM : -EINVAL);
	}
}

/* ---- access ---- */

static void accesses_have_natural_sizes(void **state)
{
	uint64_t v = 0x1122334455667788ull, r = 0;

	(void)state;
	map(A, 1, RW);
	assert_int_equal(hf_store(mm, A, &v, 8), 0);
	assert_int_equal(hf_load(mm, A + 4, &r, 4), 0);
	assert_int_equal(r, 0x11223344);
	r = 0;
	assert_int_equal(hf_load(mm, A + 2, &r, 2), 0);
	assert_int_equal(r, 0x5566);
	assert_int_equal(hf_load(mm, A + 1, &r, 2), -EINVAL);
	assert_int_equal(hf_store(mm, A, &v, 3), -EINVAL);
	assert_int_equal(hf_load(mm, HF_TASK_SIZE, &r, 8), -EFAULT);
	assert_int_equal(hf_load(mm, UINT64_MAX - 7, &r, 8), -EFAULT);
}

static void copies_cross_pages_and_stop_at_holes(void **state)
{
	char out[3 * P], in[3 * P];

	(void)state;
	map(A, 2, RW);
	memset(out, 'x', sizeof(out));
	assert_int_equal(hf_copy_to_user(mm, A + 100, out, 2 * P - 100), 2 * P - 100);
	assert_int_equal(hf_copy_from_user(mm, in, A + 100, 2 * P - 100), 2 * P - 100);
	assert_memory_equal(in, out, 2 * P - 100);
	assert_int_equal(hf_copy_from_user(mm, in, A + P, 2 * P), P);
	assert_int_equal(hf_copy_from_user(mm, in, A + 2 * P, 1), -EFAULT);
	assert_int_equal(hf_copy_to_user(mm, A, out, 0), 0);
}

static void reads_map_the_zeropage_and_stores_replace_it(void **state)
{
	size_t free = stats().nr_free;

	(void)state;
	map(A, 2, RW);
	assert_int_equal(load(mm, A), 0);
	assert_true(info(mm, A).zeropage);
	assert_false(info(mm, A).exclusive);
	assert_int_equal(stats().nr_free, free);
	store(mm, A + 5, 1);
	assert_false(info(mm, A).zeropage);
	assert_true(info(mm, A).exclusive && info(mm, A).writable && info(mm, A).dirty);
	assert_int_equal(load(mm, A), 0);
}

/* ---- faults and fork ---- */

static void fork_shares_and_stores_part(void **state)
{
	struct hf_mm *child;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	child = fork_mm();
	assert_int_equal(info(mm, A).pfn, info(child, A).pfn);
	assert_false(info(mm, A).exclusive || info(mm, A).writable || info(child, A).writable);
	assert_int_equal(info(mm, A).mapcount, 2);
	store(mm, A, 2);
	assert_int_equal(load(child, A), 1);
	assert_int_equal(stats().cow_copies, 1);
	/* the child is alone with the page now, and proves it */
	store(child, A, 3);
	assert_int_equal(stats().cow_copies, 1);
	assert_int_equal(stats().cow_reuses, 1);
	assert_int_equal(load(mm, A), 2);
	hf_mm_put(child);
}

static void unshare_neither_maps_writable_nor_dirties(void **state)
{
	struct hf_mm *child;

	(void)state;
	map(A, 2, RW);
	store(mm, A, 1);
	child = fork_mm();
	assert_int_equal(hf_handle_mm_fault(child, A, HF_FAULT_FLAG_UNSHARE), 0);
	assert_int_not_equal(info(mm, A).pfn, info(child, A).pfn);
	assert_true(info(child, A).exclusive);
	assert_false(info(child, A).writable || info(child, A).dirty);
	assert_int_equal(load(child, A), 1);
	assert_int_equal(stats().unshares, 1);
	/* the parent is the only one left: the page stays */
	assert_int_equal(hf_handle_mm_fault(mm, A, HF_FAULT_FLAG_UNSHARE), 0);
	assert_true(info(mm, A).exclusive);
	assert_int_equal(stats().unshares, 1);
	/* a never-written page gets a page of zeros of its own */
	load(mm, A + P);
	assert_int_equal(hf_handle_mm_fault(mm, A + P, HF_FAULT_FLAG_UNSHARE), 0);
	assert_true(info(mm, A + P).exclusive && !info(mm, A + P).writable);
	hf_mm_put(child);
}

static void faults_check_their_arguments(void **state)
{
	(void)state;
	map(A, 1, HF_PROT_READ);
	assert_int_equal(hf_handle_mm_fault(mm, A, HF_FAULT_FLAG_WRITE | HF_FAULT_FLAG_UNSHARE),
			 -EINVAL);
	assert_int_equal(hf_handle_mm_fault(mm, A, 1u << 20), -EINVAL);
	assert_int_equal(hf_handle_mm_fault(mm, A, HF_FAULT_FLAG_WRITE), -EFAULT);
	assert_int_equal(hf_handle_mm_fault(mm, A + P, 0), -EFAULT);
	assert_int_equal(hf_handle_mm_fault(mm, A, 0), 0);
}

static void exclusive_page_is_reused_whatever_holds_it(void **state)
{
	struct hf_ref get, pinned;
	uint64_t pfn;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	pfn = info(mm, A).pfn;
	assert_int_equal(hf_get_user_pages(mm, A, 1, 0, &get), 1);
	pinned = pin(A, 0);
	assert_int_equal(hf_wrprotect(mm, A, P), 0);
	assert_false(info(mm, A).writable);
	assert_true(info(mm, A).exclusive);
	store(mm, A, 2);
	assert_int_equal(info(mm, A).pfn, pfn);
	assert_int_equal(hf_put_user_pages(sys, &get, 1), 0);
	unpin(&pinned);
}

static void fork_copies_pinned_pages(void **state)
{
	struct hf_mm *child;
	struct hf_ref ref;

	(void)state;
	map(A, 2, RW);
	store(mm, A, 1);
	store(mm, A + P, 2);
	ref = pin(A, 0);
	child = fork_mm();
	assert_true(info(mm, A).exclusive && info(mm, A).writable);
	assert_true(info(child, A).exclusive && info(child, A).writable);
	assert_int_not_equal(info(mm, A).pfn, info(child, A).pfn);
	assert_int_equal(info(mm, A + P).pfn, info(child, A + P).pfn);
	assert_int_equal(stats().fork_copies, 1);
	hf_mm_put(child);
	unpin(&ref);
	/* exact: the pin is gone, so the page is shared again */
	child = fork_mm();
	assert_int_equal(info(mm, A).pfn, info(child, A).pfn);
	hf_mm_put(child);
}

/* What fork has done when it copies its first page: nothing may be stored any more, by nobody. */
static struct {
	unsigned flushes, copies;
	bool flushed, writable; /* the parent's translations, its entries, at the first copy */
} spied;

static void spying_flush(void *ctx, uint32_t asid)
{
	spied.flushes += asid == mm->asid;
	hf_platform_hosted()->tlb_flush(ctx, asid);
}

static void spying_copy(void *ctx, void *to, const void *from, size_t len)
{
	for (int i = 0; i < 3 && !spied.copies; i++)
		spied.writable |=
			hf_leaf(mm, A + i * P)->entry[hf_pte_index(A + i * P)] & HF_PTE_WRITE;
	if (!spied.copies++)
		spied.flushed = spied.flushes;
	hf_platform_hosted()->copy(ctx, to, from, len);
}

/* A machine whose flushes and copies are watched, and a fork of three pages, the first pinned. */
static void fork_under_watch(const char *policy)
{
	static struct hf_platform spying;
	struct hf_ref ref;

	finish();
	spying = *hf_platform_hosted();
	spying.tlb_flush = spying_flush;
	spying.copy = spying_copy;
	machine_on(&spying, policy, 64);
	map(A, 3, RW);
	for (int i = 0; i < 3; i++)
		store(mm, A + i * P, 1);
	ref = pin(A, HF_FOLL_WRITE);
	memset(&spied, 0, sizeof(spied));
	hf_mm_put(fork_mm());
	unpin(&ref);
	assert_int_equal(spied.copies, 1);
	assert_int_equal(spied.flushes, 1);
}

static void fork_stops_all_stores_before_it_copies(void **state)
{
	(void)state;
	fork_under_watch("holdfast");
	assert_true(spied.flushed);
	assert_false(spied.writable);
}

/* Later than the copies, but before anybody can use the child. */
static void linux_fork_flushes_at_its_end(void **state)
{
	(void)state;
	fork_under_watch("linux-6.12");
	assert_false(spied.flushed);
}

static void fork_without_frames_changes_nothing(void **state)
{
	struct hf_mm *child = (void *)1;
	struct hf_ref ref[8];
	size_t free;

	(void)state;
	restart("holdfast", 16);
	map(A, 8, RW);
	for (int i = 0; i < 8; i++)
		store(mm, A + i * P, 1 + i);
	assert_int_equal(hf_pin_user_pages(mm, A, 8, HF_FOLL_WRITE, ref), 8);
	free = stats().nr_free;
	assert_int_equal(hf_mm_fork(mm, &child), -ENOMEM);
	assert_null(child);
	assert_int_equal(stats().nr_free, free);
	for (int i = 0; i < 8; i++) {
		assert_true(info(mm, A + i * P).writable && info(mm, A + i * P).exclusive);
		assert_int_equal(load(mm, A + i * P), 1 + i);
	}
	assert_int_equal(hf_unpin_user_pages(sys, ref, 8), 0);
}

/* What fork does with a pinned page is the policy's. */
static void policies_fork_pinned_pages_their_way(void **state)
{
	static const struct {
		const char *policy;
		int result;
		bool shares, omits;
	} want[] = {
		{ "linux-4.19", 0, true, false },        { "linux-5.8", 0, true, false },
		{ "linux-5.10", 0, false, false },       { "linux-5.18", 0, false, false },
		{ "linux-6.1", 0, false, false },        { "linux-6.12", 0, false, false },
		{ "linux-6.18", 0, false, false },       { "holdfast", 0, false, false },
		{ "fail-pin", 0, false, false },         { "ro-pin-exempt", 0, false, false },
		{ "two-counters", 0, false, false },     { "ro-short-get", 0, false, false },
		{ "refuse-fork", -EBUSY, false, false }, { "wired-copy", 0, true, false },
		{ "copy-referenced", 0, false, false },  { "dont-fork", 0, false, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		struct hf_mm *child;
		struct hf_ref ref;

		restart(want[i].policy, 64);
		map(A, 1, RW);
		store(mm, A, 1);
		ref = pin(A, HF_FOLL_WRITE); /* short */
		assert_int_equal(hf_mm_fork(mm, &child), want[i].result);
		if (want[i].omits)
			assert_int_equal(try_load(child, A), -EFAULT);
		else if (!want[i].result)
			assert_int_equal(info(mm, A).pfn == info(child, A).pfn, want[i].shares);
		if (child)
			hf_mm_put(child);
		assert_int_equal(hf_unpin_user_pages(sys, &ref, 1), 0);
	}
	assert_null(hf_policy_at(sizeof(want) / sizeof(want[0])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(system_refuses_bad_configurations),
		t(system_with_users_is_not_destroyed),
		t(mm_lives_until_its_last_user),
		t(every_frame_can_be_used_and_comes_back),
		t(mmap_finds_room_and_refuses_nonsense),
		t(mmap_fixed_replaces),
		t(mmap_populates),
		t(munmap_splits_and_ignores_holes),
		t(mprotect_takes_and_gives_rights),
		t(mprotect_leaves_shared_pages_read_only),
		t(mremap_moves_pages_marks_and_pins),
		t(mremap_spans_mappings_where_kernels_do),
		t(populate_goes_over_holes_where_kernels_do),
		t(mremap_refuses_nonsense),
		t(madvise_does_what_it_says),
		t(accesses_have_natural_sizes),
		t(copies_cross_pages_and_stop_at_holes),
		t(reads_map_the_zeropage_and_stores_replace_it),
		t(fork_shares_and_stores_part),
		t(unshare_neither_maps_writable_nor_dirties),
		t(faults_check_their_arguments),
		t(exclusive_page_is_reused_whatever_holds_it),
		t(fork_copies_pinned_pages),
		t(fork_stops_all_stores_before_it_copies),
		t(linux_fork_flushes_at_its_end),
		t(fork_without_frames_changes_nothing),
		t(policies_fork_pinned_pages_their_way),
	};

	return cmocka_run_group_tests_name("mm", tests, NULL, NULL);
}
