/* SPDX-License-Identifier: MIT */
/* The engine's calls, one promise a test. Some look inside, or break things on purpose to see them noticed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <holdfast/holdfast.h>
#include <holdfast/hosted.h>

#include "core/internal.h"

#define A 0x10000000ul
#define P HF_PAGE_SIZE
#define RW (HF_PROT_READ | HF_PROT_WRITE)

static struct hf_system *sys;
static struct hf_mm *mm;

static void machine(const char *policy, size_t frames)
{
	struct hf_system_config config = {
		.platform = hf_platform_hosted(),
		.policy = hf_policy_find(policy),
		.nr_frames = frames,
		.flags = HF_SYSTEM_DEBUG,
	};

	assert_non_null(config.policy);
	assert_int_equal(hf_system_create(&config, &sys), 0);
	assert_int_equal(hf_mm_create(sys, &mm), 0);
}

static int setup(void **state)
{
	(void)state;
	machine("holdfast", 256);
	return 0;
}

/* Every test ends with the books in order and every frame back. */
static void finish(void)
{
	struct hf_violation v;

	hf_mm_put(mm);
	assert_int_equal(hf_validate(sys, &v), 0);
	assert_int_equal(hf_system_destroy(sys), 0);
}

static int teardown(void **state)
{
	(void)state;
	finish();
	return 0;
}

static void restart(const char *policy, size_t frames)
{
	finish();
	machine(policy, frames);
}

static void map(uint64_t addr, size_t pages, unsigned prot)
{
	uint64_t at = addr;

	assert_int_equal(hf_mmap(mm, &at, pages * P, prot, HF_MAP_FIXED_NOREPLACE), 0);
	assert_int_equal(at, addr);
}

static void store(struct hf_mm *m, uint64_t addr, uint8_t value)
{
	assert_int_equal(hf_store(m, addr, &value, 1), 0);
}

static uint8_t load(struct hf_mm *m, uint64_t addr)
{
	uint8_t value = 0xee;

	assert_int_equal(hf_load(m, addr, &value, 1), 0);
	return value;
}

static int try_store(struct hf_mm *m, uint64_t addr)
{
	uint8_t value = 1;

	return hf_store(m, addr, &value, 1);
}

static int try_load(struct hf_mm *m, uint64_t addr)
{
	uint8_t value;

	return hf_load(m, addr, &value, 1);
}

static struct hf_page_info info(struct hf_mm *m, uint64_t addr)
{
	struct hf_page_info i;

	assert_int_equal(hf_mm_page_info(m, addr, &i), 0);
	return i;
}

static struct hf_mm *fork_mm(void)
{
	struct hf_mm *child;

	assert_int_equal(hf_mm_fork(mm, &child), 0);
	return child;
}

static struct hf_system_stats stats(void)
{
	struct hf_system_stats s;

	hf_system_stats(sys, &s);
	return s;
}

static struct hf_ref pin(uint64_t addr, unsigned flags)
{
	struct hf_ref ref;

	assert_int_equal(hf_pin_user_pages(mm, addr, 1, flags, &ref), 1);
	return ref;
}

static void unpin(struct hf_ref *ref)
{
	assert_int_equal(hf_unpin_user_pages(sys, ref, 1), 0);
}

/* ---- systems and address spaces ------------------------------------------------------------------------------ */

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

/* ---- mappings ------------------------------------------------------------------------------------------------ */

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
	assert_int_equal(hf_mprotect(mm, A + P, 2 * P, HF_PROT_READ), -ENOMEM); /* a hole at its end */
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
	assert_int_equal(hf_mremap(mm, A, 2 * P, 4 * P, HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &to), 0);
	assert_int_equal(info(mm, to).pfn, pfn);
	assert_true(info(mm, to).exclusive);
	assert_int_equal(try_load(mm, A), -EFAULT);
	assert_int_equal(load(mm, to + P), 2);
	assert_int_equal(load(mm, to + 3 * P), 0);
	store(mm, to, 9);
	assert_int_equal(hf_ref_pfn(sys, &ref), info(mm, to).pfn);
	unpin(&ref);
}

static void mremap_refuses_nonsense(void **state)
{
	uint64_t to = A;

	(void)state;
	map(A, 2, RW);
	assert_int_equal(hf_mremap(mm, A, P, P, HF_MREMAP_FIXED, &to), -EINVAL);
	to = A + P;
	assert_int_equal(hf_mremap(mm, A, 2 * P, 2 * P, HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &to), -EINVAL);
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
	assert_int_equal(hf_madvise(mm, A, 8 * P, HF_MADV_DONTNEED), -ENOMEM); /* a hole; the rest is advised */
	assert_int_equal(load(mm, A + 3 * P), 0);
	assert_int_equal(hf_madvise(mm, A, P, (enum hf_advice)99), -EINVAL);
	assert_int_equal(hf_mprotect(mm, A, P, HF_PROT_READ), 0);
	assert_int_equal(hf_madvise(mm, A, P, HF_MADV_POPULATE_WRITE), -EINVAL);
}

/* ---- access -------------------------------------------------------------------------------------------------- */

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

/* ---- faults and fork ----------------------------------------------------------------------------------------- */

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
	assert_int_equal(hf_handle_mm_fault(mm, A, HF_FAULT_FLAG_WRITE | HF_FAULT_FLAG_UNSHARE), -EINVAL);
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
		{ "linux-4.19", 0, true, false },    { "linux-5.8", 0, true, false },
		{ "linux-5.10", 0, false, false },   { "linux-5.18", 0, false, false },
		{ "linux-6.1", 0, false, false },    { "linux-6.12", 0, false, false },
		{ "linux-6.18", 0, false, false },   { "holdfast", 0, false, false },
		{ "fail-pin", 0, false, false },     { "ro-pin-exempt", 0, false, false },
		{ "two-counters", 0, false, false }, { "ro-short-get", 0, false, false },
		{ "refuse-fork", -EBUSY, false, false }, { "wired-copy", 0, true, false },
		{ "copy-referenced", 0, false, false },	 { "dont-fork", 0, false, true },
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

/* ---- GUP ----------------------------------------------------------------------------------------------------- */

static void gup_checks_its_arguments(void **state)
{
	struct hf_ref ref[4];

	(void)state;
	map(A, 2, RW);
	assert_int_equal(hf_get_user_pages(mm, A, 1, HF_FOLL_LONGTERM, ref), -EINVAL);
	assert_int_equal(hf_get_user_pages(mm, A, 1, HF_FOLL_PIN, ref), -EINVAL);
	assert_int_equal(hf_pin_user_pages(mm, A, 1, HF_FOLL_FAST_ONLY, ref), -EINVAL);
	assert_int_equal(hf_pin_user_pages(mm, A, 1, 1u << 12, ref), -EINVAL);
	assert_int_equal(hf_pin_user_pages(mm, A, 0, 0, ref), -EINVAL);
	assert_int_equal(hf_pin_user_pages(mm, HF_TASK_SIZE - P, 2, 0, ref), -EINVAL);
	assert_int_equal(hf_pin_user_pages(mm, A + 4 * P, 1, 0, ref), -EFAULT);
	assert_int_equal(hf_pin_user_pages(mm, A, 4, HF_FOLL_WRITE, ref), 2); /* as far as it goes */
	assert_int_equal(hf_unpin_user_pages(sys, ref, 2), 0);
}

static void gup_respects_protection_unless_forced(void **state)
{
	struct hf_mm *child;
	struct hf_ref ref;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	assert_int_equal(hf_mprotect(mm, A, P, HF_PROT_READ), 0);
	child = fork_mm();
	assert_int_equal(hf_pin_user_pages(mm, A, 1, HF_FOLL_WRITE, &ref), -EFAULT);
	assert_int_equal(hf_pin_user_pages(mm, A, 1, HF_FOLL_WRITE | HF_FOLL_FORCE, &ref), 1);
	assert_int_equal(hf_ref_write(sys, &ref, 0, "\x09", 1), 0);
	assert_int_equal(load(mm, A), 9);
	assert_int_equal(load(child, A), 1);
	assert_false(info(mm, A).writable);
	unpin(&ref);
	assert_int_equal(hf_mprotect(mm, A, P, HF_PROT_NONE), 0);
	assert_int_equal(hf_pin_user_pages(mm, A, 1, 0, &ref), -EFAULT);
	assert_int_equal(hf_pin_user_pages(mm, A, 1, HF_FOLL_FORCE, &ref), 1);
	unpin(&ref);
	hf_mm_put(child);
}

static void nofault_and_fast_only_take_what_is_there(void **state)
{
	struct hf_ref ref[2];

	(void)state;
	map(A, 2, RW);
	store(mm, A, 1);
	assert_int_equal(hf_pin_user_pages(mm, A, 2, HF_FOLL_NOFAULT, ref), 1);
	unpin(ref);
	assert_int_equal(hf_pin_user_pages(mm, A + P, 1, HF_FOLL_NOFAULT, ref), -EFAULT);
	assert_int_equal(hf_pin_user_pages_fast(mm, A, 2, HF_FOLL_FAST_ONLY, ref), 1);
	unpin(ref);
	assert_int_equal(hf_pin_user_pages_fast(mm, A + P, 1, HF_FOLL_FAST_ONLY, ref), 0);
	assert_int_equal(stats().fast_fallbacks, 0);
	assert_int_equal(hf_pin_user_pages_fast(mm, A, 2, HF_FOLL_WRITE, ref), 2);
	assert_int_equal(stats().fast_fallbacks, 1);
	assert_int_equal(hf_unpin_user_pages(sys, ref, 2), 0);
}

static void gup_fast_gives_way_while_fork_is_under_way(void **state)
{
	struct hf_ref ref;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	mm->write_protect_seq++; /* as fork does */
	assert_int_equal(hf_pin_user_pages_fast(mm, A, 1, HF_FOLL_FAST_ONLY, &ref), 0);
	assert_int_equal(hf_get_user_pages_fast(mm, A, 1, HF_FOLL_FAST_ONLY, &ref), 1); /* GET does not care */
	assert_int_equal(hf_put_user_pages(sys, &ref, 1), 0);
	mm->write_protect_seq++;
	assert_int_equal(hf_pin_user_pages_fast(mm, A, 1, HF_FOLL_FAST_ONLY, &ref), 1);
	unpin(&ref);
}

static void handles_know_their_kind(void **state)
{
	struct hf_ref get, pinned, copy, refs[2];

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	assert_int_equal(hf_get_user_pages(mm, A, 1, 0, &get), 1);
	pinned = pin(A, 0);
	assert_int_equal(hf_unpin_user_pages(sys, &get, 1), -EINVAL);
	assert_int_equal(hf_put_user_pages(sys, &pinned, 1), -EINVAL);
	/* one bad handle, and none is released */
	refs[0] = get;
	refs[1] = pinned;
	assert_int_equal(hf_put_user_pages(sys, refs, 2), -EINVAL);
	assert_int_equal(info(mm, A).refs, 3);
	assert_int_equal(hf_ref_write(sys, &get, 0, "x", 1), -EPERM);
	assert_int_equal(hf_ref_read(sys, &get, P - 1, &copy, 2), -EINVAL);
	copy = get;
	assert_int_equal(hf_put_user_pages(sys, &get, 1), 0);
	assert_int_equal(hf_put_user_pages(sys, &get, 1), -EINVAL); /* twice */
	unpin(&pinned);
	assert_int_equal(hf_munmap(mm, A, P), 0);
	assert_int_equal(hf_put_user_pages(sys, &copy, 1), -EINVAL); /* its frame is free */
	map(A, 1, RW);
	store(mm, A, 1);
	assert_int_equal(hf_put_user_pages(sys, &copy, 1), -EINVAL); /* its frame is somebody else's */
}

static void pins_are_counted_exactly(void **state)
{
	struct hf_ref ref[3];

	(void)state;
	map(A, 3, RW);
	assert_int_equal(hf_pin_user_pages(mm, A, 3, HF_FOLL_WRITE, ref), 3);
	assert_int_equal(info(mm, A).pins, 1);
	assert_int_equal(info(mm, A).refs, 2);
	assert_int_equal(stats().pins_acquired, 3);
	assert_int_equal(hf_unpin_user_pages_dirty(sys, ref, 2), 0);
	assert_int_equal(hf_unpin_user_page_range_dirty(sys, ref + 2, 1, true), 0);
	assert_int_equal(stats().pins_released, 3);
	assert_int_equal(info(mm, A).pins, 0);
}

static void counters_refuse_to_overflow(void **state)
{
	struct hf_ref ref = { .page = NULL }, one;
	size_t taken = 0;
	int64_t got;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	ref = pin(A, 0);
	for (taken = 1; (got = hf_pin_user_pages_fast(mm, A, 1, 0, &one)) == 1; taken++)
		;
	assert_int_equal(got, -EOVERFLOW);
	assert_int_equal(taken, HF_PINS_MAX);
	/* the books still balance, and fork still works */
	hf_mm_put(fork_mm());
	for (one = ref; taken; taken--) {
		ref = one;
		unpin(&ref);
	}
}

static void zeropage_is_pinned_in_pretence_only(void **state)
{
	struct hf_ref ref;

	(void)state;
	restart("linux-6.12", 64);
	map(A, 1, RW);
	load(mm, A);
	assert_int_equal(hf_pin_user_pages(mm, A, 1, 0, &ref), 1);
	assert_true(info(mm, A).zeropage);
	assert_int_equal(stats().pins_acquired, 0);
	unpin(&ref);
	/* long-term: a page of its own */
	assert_int_equal(hf_pin_user_pages(mm, A, 1, HF_FOLL_LONGTERM, &ref), 1);
	assert_false(info(mm, A).zeropage);
	assert_int_equal(stats().pins_acquired, 1);
	unpin(&ref);
}

static void unpin_check_finds_a_lost_mark(void **state)
{
	struct hf_ref ref[2];
	struct hf_page *page;

	(void)state;
	map(A, 2, RW);
	assert_int_equal(hf_pin_user_pages(mm, A, 2, HF_FOLL_WRITE, ref), 2);
	page = &sys->pages[info(mm, A + P).pfn];
	page->flags &= ~HF_PG_EXCLUSIVE; /* somebody's mistake */
	assert_int_equal(hf_unpin_user_pages(sys, ref, 2), -EUCLEAN);
	assert_int_equal(stats().unpin_check_failures, 1);
	assert_int_equal(info(mm, A).pins + info(mm, A + P).pins, 0); /* released all the same */
	page->flags |= HF_PG_EXCLUSIVE;
}

static void users_take_what_their_era_takes(void **state)
{
	static const struct {
		const char *policy;
		enum hf_user user;
		bool pin, write;
	} want[] = {
		{ "linux-4.19", HF_USER_FIXEDBUF, false, true },
		{ "linux-6.1", HF_USER_ODIRECT_READ, false, true },
		{ "linux-6.1", HF_USER_FIXEDBUF, true, true },
		{ "linux-6.12", HF_USER_ODIRECT_READ, true, true },
		{ "linux-6.12", HF_USER_ODIRECT_WRITE, true, false },
		{ "linux-6.12", HF_USER_VMSPLICE, false, false },
		{ "linux-6.18", HF_USER_PTRACE_WRITE, false, true },
		{ "holdfast", HF_USER_PROCESS_VM_READ, true, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		struct hf_ref ref;

		restart(want[i].policy, 64);
		map(A, 1, RW);
		store(mm, A, 1);
		assert_int_equal(hf_user_acquire(mm, want[i].user, A, 1, &ref), 1);
		assert_int_equal(info(mm, A).pins, want[i].pin);
		assert_int_equal(!!(ref.flags & HF_FOLL_WRITE), want[i].write);
		assert_int_equal(hf_user_release(sys, want[i].user, &ref, 1), 0);
	}
	assert_int_equal(hf_user_acquire(mm, HF_NR_USERS, A, 1, NULL), -EINVAL);
}

static void remote_access_reaches_other_processes(void **state)
{
	char out[2 * P], in[2 * P];

	(void)state;
	map(A, 2, RW);
	memset(out, 'y', sizeof(out));
	assert_int_equal(hf_access_process_vm(mm, HF_USER_PROCESS_VM_WRITE, A + 7, out, 2 * P - 7), 2 * P - 7);
	assert_int_equal(hf_access_process_vm(mm, HF_USER_PROCESS_VM_READ, A + 7, in, 2 * P - 7), 2 * P - 7);
	assert_memory_equal(in, out, 2 * P - 7);
	assert_int_equal(hf_access_process_vm(mm, HF_USER_PROCESS_VM_READ, A + P, in, 2 * P), P); /* short */
	assert_int_equal(hf_access_process_vm(mm, HF_USER_ODIRECT_READ, A, in, 1), -EINVAL);
	assert_int_equal(hf_mprotect(mm, A, P, HF_PROT_READ), 0);
	assert_int_equal(hf_access_process_vm(mm, HF_USER_PROCESS_VM_WRITE, A, out, 1), -EFAULT);
	assert_int_equal(hf_access_process_vm(mm, HF_USER_PTRACE_WRITE, A, "z", 1), 1);
	assert_int_equal(load(mm, A), 'z');
}

/* ---- the reverse map ----------------------------------------------------------------------------------------- */

struct found {
	struct hf_mm *mm[8];
	uint64_t addr[8];
	size_t nr;
};

static int note_mapping(struct hf_mm *m, uint64_t addr, void *arg)
{
	struct found *f = arg;

	f->mm[f->nr] = m;
	f->addr[f->nr++] = addr;
	return 0;
}

static int stop_walk(struct hf_mm *m, uint64_t addr, void *arg)
{
	(void)m;
	(void)addr;
	(void)arg;
	return 42;
}

static void rmap_finds_every_mapping(void **state)
{
	struct found f = { .nr = 0 };
	struct hf_mm *c1, *c2;
	uint64_t to = A + 99 * P, pfn;

	(void)state;
	map(A, 3, RW);
	store(mm, A + P, 1);
	pfn = info(mm, A + P).pfn;
	c1 = fork_mm();
	assert_int_equal(hf_mm_fork(c1, &c2), 0);
	assert_int_equal(hf_mremap(c2, A + P, P, P, HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &to), 0);
	assert_int_equal(hf_rmap_walk(sys, pfn, note_mapping, &f), 0);
	assert_int_equal(f.nr, 3);
	for (size_t i = 0; i < f.nr; i++)
		assert_int_equal(f.addr[i], f.mm[i] == c2 ? to : A + P);
	assert_int_equal(hf_rmap_walk(sys, pfn, stop_walk, NULL), 42);
	assert_int_equal(hf_rmap_walk(sys, 1u << 30, note_mapping, &f), -EINVAL);
	hf_mm_put(c1);
	hf_mm_put(c2);
}

/* ---- the validator sees what is broken ----------------------------------------------------------------------- */

static enum hf_invariant verdict(void)
{
	struct hf_violation v;

	hf_validate(sys, &v);
	return v.invariant;
}

static _Atomic uint64_t *entry(struct hf_mm *m, uint64_t addr)
{
	return &hf_leaf(m, addr)->entry[hf_pte_index(addr)];
}

static void validator_names_what_is_broken(void **state)
{
	struct hf_page *page, *lone;
	struct hf_mm *child;
	struct hf_ref ref;

	(void)state;
	map(A, 3, RW);
	store(mm, A, 1);
	child = fork_mm();
	store(mm, A + P, 2);
	load(mm, A + 2 * P);
	page = &sys->pages[info(mm, A).pfn];
	lone = &sys->pages[info(mm, A + P).pfn];
	assert_int_equal(verdict(), HF_INV_NONE);

	lone->flags &= ~HF_PG_EXCLUSIVE;
	assert_int_equal(verdict(), HF_I1_WRITABLE_IS_EXCLUSIVE);
	lone->flags |= HF_PG_EXCLUSIVE;
	page->flags |= HF_PG_EXCLUSIVE;
	assert_int_equal(verdict(), HF_I2_EXCLUSIVE_MAPPED_ONCE);
	page->flags &= ~HF_PG_EXCLUSIVE;
	ref = pin(A + P, 0);
	*entry(mm, A + P) &= ~HF_PTE_WRITE;
	lone->flags &= ~HF_PG_EXCLUSIVE;
	assert_int_equal(verdict(), HF_I3_PINNED_IS_EXCLUSIVE);
	lone->flags |= HF_PG_EXCLUSIVE;
	unpin(&ref);
	*entry(mm, A + 2 * P) |= HF_PTE_WRITE;
	assert_int_equal(verdict(), HF_I7_ZEROPAGE_UNTOUCHED);
	*entry(mm, A + 2 * P) &= ~HF_PTE_WRITE;
	sys->frames[17] = 1;
	assert_int_equal(verdict(), HF_I7_ZEROPAGE_UNTOUCHED);
	sys->frames[17] = 0;
	page->mapcount++;
	assert_int_equal(verdict(), HF_INV_MAPCOUNT);
	page->mapcount--;
	page->counts -= HF_COUNT_REF;
	assert_int_equal(verdict(), HF_INV_REFCOUNT);
	page->counts += HF_COUNT_REF;
	page->index++;
	assert_int_equal(verdict(), HF_INV_RMAP);
	page->index--;
	*entry(mm, A + 2 * P) = HF_PTE_PRESENT | 0x999999000ull;
	assert_int_equal(verdict(), HF_INV_TABLE);
	*entry(mm, A + 2 * P) = 0;
	mm->vmas[0]->end += 1;
	assert_int_equal(verdict(), HF_INV_VMA);
	mm->vmas[0]->end -= 1;
	assert_int_equal(verdict(), HF_INV_NONE);
	hf_mm_put(child);
}

static void validator_sees_writes_to_free_frames(void **state)
{
	uint64_t pfn;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	pfn = info(mm, A).pfn;
	assert_int_equal(hf_munmap(mm, A, P), 0);
	sys->frames[pfn * P + 100] ^= 1;
	assert_int_equal(verdict(), HF_INV_FREE_PAGE);
	sys->frames[pfn * P + 100] ^= 1;
}

static void validator_needs_a_writable_shared_page_to_be_wrong_without_marks(void **state)
{
	struct hf_mm *child;

	(void)state;
	restart("linux-4.19", 64);
	map(A, 1, RW);
	store(mm, A, 1);
	child = fork_mm();
	*entry(mm, A) |= HF_PTE_WRITE;
	assert_int_equal(verdict(), HF_I8_SHARED_IS_READ_ONLY);
	*entry(mm, A) &= ~HF_PTE_WRITE;
	hf_mm_put(child);
}

static void policies_are_listed_and_found(void **state)
{
	const struct hf_policy *p;

	(void)state;
	for (size_t i = 0; (p = hf_policy_at(i)); i++) {
		assert_ptr_equal(hf_policy_find(p->name), p);
		assert_true(strlen(p->summary) > 10);
	}
	assert_null(hf_policy_find("linux"));
	assert_null(hf_policy_find(""));
	assert_string_equal(hf_policy_default()->name, "holdfast");
}

#define t(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

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
		t(fork_without_frames_changes_nothing),
		t(policies_fork_pinned_pages_their_way),
		t(gup_checks_its_arguments),
		t(gup_respects_protection_unless_forced),
		t(nofault_and_fast_only_take_what_is_there),
		t(gup_fast_gives_way_while_fork_is_under_way),
		t(handles_know_their_kind),
		t(pins_are_counted_exactly),
		t(counters_refuse_to_overflow),
		t(zeropage_is_pinned_in_pretence_only),
		t(unpin_check_finds_a_lost_mark),
		t(users_take_what_their_era_takes),
		t(remote_access_reaches_other_processes),
		t(rmap_finds_every_mapping),
		t(validator_names_what_is_broken),
		t(validator_sees_writes_to_free_frames),
		t(validator_needs_a_writable_shared_page_to_be_wrong_without_marks),
		t(policies_are_listed_and_found),
	};

	return cmocka_run_group_tests_name("core", tests, NULL, NULL);
}
