/* SPDX-License-Identifier: MIT */
/* Swap: one promise a test. Errors come from a device that fails when it is told to. */
#include <stdio.h>
#include <unistd.h>

#include "machine.h"

static struct hf_swap_device device, failing;
static int write_error, read_error;

static int maybe_write(void *ctx, size_t slot, const void *page)
{
	(void)ctx;
	return write_error ? write_error : device.write(device.ctx, slot, page);
}

static int maybe_read(void *ctx, size_t slot, void *page)
{
	(void)ctx;
	return read_error ? read_error : device.read(device.ctx, slot, page);
}

static void with_swap(const char *policy, size_t frames, const char *path, size_t slots)
{
	restart(policy, frames);
	assert_int_equal(hf_swap_device_open(path, slots, &device), 0);
	failing = (struct hf_swap_device){
		.nr_slots = slots,
		.write = maybe_write,
		.read = maybe_read,
	};
	write_error = read_error = 0;
	assert_int_equal(hf_swapon(sys, &failing), 0);
}

static int swap_teardown(void **state)
{
	teardown(state);
	hf_swap_device_close(&device); /* which may be closed */
	return 0;
}

static void pageout(struct hf_mm *m, uint64_t addr, size_t pages)
{
	assert_int_equal(hf_madvise(m, addr, pages * P, HF_MADV_PAGEOUT), 0);
}

static void a_workload_three_times_the_machine_runs(void **state)
{
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "./holdfast-swap-%d", (int)getpid());
	with_swap("holdfast", 128, path, 512);
	assert_int_equal(access(path, F_OK), -1); /* no name is left */
	map(A, 384, RW);
	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < 384; i++) {
			assert_int_equal(load(mm, A + i * P + i), round ? (uint8_t)(i + round) : 0);
			store(mm, A + i * P + i, (uint8_t)(i + round + 1));
		}
	assert_true(stats().swap_outs > 384 && stats().swap_ins > 384);
	assert_int_equal(hf_validate(sys, NULL), 0);
}

static void a_page_comes_back_as_it_was(void **state)
{
	uint64_t cow;

	(void)state;
	with_swap("holdfast", 64, NULL, 64);
	map(A, 1, RW);
	store(mm, A, 7);
	pageout(mm, A, 1);
	assert_true(info(mm, A).swapped);
	assert_int_equal(stats().nr_free, 63);
	assert_int_equal(load(mm, A), 7);
	/* exclusive as before: the next store needs no copy */
	assert_true(info(mm, A).exclusive);
	cow = stats().cow_copies;
	store(mm, A, 8);
	assert_int_equal(stats().cow_copies, cow);
}

/* Shared when it left, and its last user's now: what a read makes of it. */
static bool read_back_is_exclusive(const char *policy)
{
	struct hf_mm *child;

	with_swap(policy, 64, NULL, 64);
	map(A, 1, RW);
	store(mm, A, 7);
	child = fork_mm();
	hf_mm_put(child);
	pageout(mm, A, 1);
	assert_true(info(mm, A).swapped);
	assert_int_equal(load(mm, A), 7);
	return info(mm, A).exclusive;
}

static void a_fresh_page_is_its_only_users(void **state)
{
	(void)state;
	assert_true(read_back_is_exclusive("linux-6.12"));
	swap_teardown(state);
	setup(state);
	assert_false(read_back_is_exclusive("linux-6.19"));
}

/* The child brings the page into the cache; the parent's write takes its slot's last entry away. */
static uint64_t copies_of_a_page_that_was_cached(const char *policy)
{
	struct hf_mm *child;
	uint64_t cow;

	with_swap(policy, 64, NULL, 64);
	map(A, 1, RW);
	store(mm, A, 7);
	pageout(mm, A, 1);
	child = fork_mm();
	assert_int_equal(load(child, A), 7);
	store(mm, A, 8);
	cow = stats().cow_copies;
	store(child, A, 9);
	cow = stats().cow_copies - cow;
	hf_mm_put(child);
	return cow;
}

static void the_swap_cache_counts_on_5_10(void **state)
{
	(void)state;
	assert_int_equal(copies_of_a_page_that_was_cached("linux-5.10"), 1);
	swap_teardown(state);
	setup(state);
	assert_int_equal(copies_of_a_page_that_was_cached("linux-5.18"), 0);
}

static void fork_shares_what_is_swapped(void **state)
{
	struct hf_mm *child;

	(void)state;
	with_swap("holdfast", 64, NULL, 64);
	map(A, 2, RW);
	store(mm, A, 7);
	store(mm, A + P, 8);
	pageout(mm, A, 2);
	child = fork_mm();
	assert_int_equal(hf_validate(sys, NULL), 0); /* no entry of them is exclusive (I4) */
	store(mm, A, 9);
	assert_int_equal(load(child, A), 7);
	store(child, A + P, 10);
	assert_int_equal(load(mm, A + P), 8);
	hf_mm_put(child);
}

static void pinned_pages_stay(void **state)
{
	struct hf_ref ref;
	uint64_t pfn;

	(void)state;
	with_swap("holdfast", 64, NULL, 64);
	map(A, 1, RW);
	store(mm, A, 7);
	ref = pin(A, HF_FOLL_WRITE);
	pfn = info(mm, A).pfn;
	pageout(mm, A, 1);
	assert_int_equal(info(mm, A).pfn, pfn);
	assert_true(info(mm, A).exclusive && info(mm, A).writable);
	unpin(&ref);
}

/* Part 3 of the exclusive-mark series: a page that is unmapped under a plain reference is found
 * again. */
static void plain_references_keep_the_frame(void **state)
{
	struct hf_ref ref;

	(void)state;
	with_swap("linux-6.12", 64, NULL, 64);
	map(A, 1, RW);
	store(mm, A, 7);
	assert_int_equal(hf_get_user_pages(mm, A, 1, HF_FOLL_WRITE, &ref), 1);
	pageout(mm, A, 1);
	assert_true(info(mm, A).swapped);
	assert_int_equal(hf_ref_write(sys, &ref, 1, "\x21", 1), 0);
	assert_int_equal(load(mm, A), 7);
	store(mm, A, 8);
	assert_int_equal(info(mm, A).pfn, hf_ref_pfn(sys, &ref));
	assert_int_equal(load(mm, A + 1), 0x21);
	assert_int_equal(hf_put_user_pages(sys, &ref, 1), 0);
}

static void full_swap_is_an_error_and_nothing_is_lost(void **state)
{
	size_t got = 0;

	(void)state;
	with_swap("holdfast", 32, NULL, 16);
	map(A, 100, RW);
	while (try_store(mm, A + got * P) == 0)
		got++;
	assert_int_equal(got, 31 + 16);
	assert_int_equal(try_store(mm, A + got * P), -ENOMEM);
	assert_int_equal(hf_validate(sys, NULL), 0);
	assert_int_equal(hf_munmap(mm, A, 2 * P), 0);
	store(mm, A + got * P, 1);
	for (size_t i = 2; i <= got; i++)
		assert_int_equal(load(mm, A + i * P), 1);
}

static void write_errors_lose_nothing(void **state)
{
	(void)state;
	with_swap("holdfast", 32, NULL, 64);
	map(A, 40, RW);
	for (int i = 0; i < 31; i++)
		store(mm, A + i * P, (uint8_t)(i + 1));
	write_error = -EIO;
	assert_int_equal(try_store(mm, A + 31 * P), -ENOMEM);
	assert_int_equal(hf_validate(sys, NULL), 0);
	for (int i = 0; i < 31; i++)
		assert_int_equal(load(mm, A + i * P), i + 1);
	write_error = 0;
	store(mm, A + 31 * P, 32);
	for (int i = 0; i < 32; i++)
		assert_int_equal(load(mm, A + i * P), i + 1);
}

static void read_errors_fail_the_access(void **state)
{
	struct hf_ref ref;

	(void)state;
	with_swap("holdfast", 64, NULL, 64);
	map(A, 1, RW);
	store(mm, A, 7);
	pageout(mm, A, 1);
	read_error = -EIO;
	assert_int_equal(try_load(mm, A), -EIO);
	assert_int_equal(try_store(mm, A), -EIO);
	assert_int_equal(hf_pin_user_pages(mm, A, 1, 0, &ref), -EIO);
	assert_int_equal(hf_swapoff(sys), -EIO);
	assert_int_equal(hf_validate(sys, NULL), 0);
	read_error = 0;
	assert_int_equal(load(mm, A), 7);
}

static void swapoff_brings_everything_back(void **state)
{
	struct hf_mm *child;

	(void)state;
	with_swap("holdfast", 64, NULL, 64);
	assert_int_equal(hf_swapon(sys, &failing), -EBUSY);
	map(A, 20, RW);
	for (int i = 0; i < 20; i++)
		store(mm, A + i * P, (uint8_t)(i + 1));
	pageout(mm, A, 20);
	child = fork_mm();
	assert_int_equal(hf_mprotect(mm, A, P, HF_PROT_NONE), 0);
	assert_int_equal(hf_swapoff(sys), 0);
	for (int i = 0; i < 20; i++)
		assert_false(info(mm, A + i * P).swapped || info(child, A + i * P).swapped);
	for (int i = 1; i < 20; i++)
		assert_int_equal(load(child, A + i * P), i + 1);
	assert_int_equal(hf_swapoff(sys), -EINVAL);
	hf_mm_put(child);
	/* and on again */
	assert_int_equal(hf_swapon(sys, &failing), 0);
	pageout(mm, A, 20);
	assert_true(info(mm, A + 5 * P).swapped);
}

static void swapoff_without_room_says_so(void **state)
{
	(void)state;
	with_swap("holdfast", 32, NULL, 64);
	map(A, 60, RW);
	for (int i = 0; i < 60; i++)
		store(mm, A + i * P, (uint8_t)(i + 1));
	assert_int_equal(hf_swapoff(sys), -ENOMEM);
	assert_int_equal(hf_validate(sys, NULL), 0);
	for (int i = 0; i < 60; i++)
		assert_int_equal(load(mm, A + i * P), i + 1);
}

static void fork_finds_frames_in_swap(void **state)
{
	struct hf_ref ref[8];
	struct hf_mm *child;

	(void)state;
	with_swap("holdfast", 32, NULL, 64);
	map(A, 30, RW);
	assert_int_equal(hf_pin_user_pages(mm, A, 8, HF_FOLL_WRITE, ref), 8);
	for (int i = 0; i < 30; i++)
		store(mm, A + i * P, (uint8_t)(i + 1));
	child = fork_mm(); /* 8 early copies, and only one frame free */
	for (int i = 0; i < 30; i++)
		assert_int_equal(load(child, A + i * P), i + 1);
	assert_int_equal(hf_unpin_user_pages(sys, ref, 8), 0);
	hf_mm_put(child);
}

static void freed_memory_is_dropped_unless_it_is_used_again(void **state)
{
	struct hf_ref ref, get;

	(void)state;
	with_swap("holdfast", 32, NULL, 64);
	map(A, 60, RW);
	for (int i = 0; i < 20; i++)
		store(mm, A + i * P, (uint8_t)(i + 1));
	assert_int_equal(hf_pin_user_pages(mm, A + 2 * P, 1, 0, &ref), 1);
	assert_int_equal(hf_get_user_pages(mm, A + 3 * P, 1, 0, &get), 1);
	assert_int_equal(hf_madvise(mm, A, 20 * P, HF_MADV_FREE), 0);
	store(mm, A, 99);                         /* used again: kept */
	assert_int_equal(load(mm, A + 1 * P), 2); /* still there, perhaps */
	for (int i = 20; i < 51; i++)
		store(mm, A + i * P, (uint8_t)(i + 1));
	assert_int_equal(load(mm, A), 99);
	assert_int_equal(load(mm, A + 2 * P), 3); /* pinned: kept */
	assert_int_equal(load(mm, A + 3 * P), 4); /* held: kept */
	for (int i = 4; i < 20; i++)
		assert_true(load(mm, A + i * P) == 0 || load(mm, A + i * P) == i + 1);
	for (int i = 20; i < 51; i++)
		assert_int_equal(load(mm, A + i * P), i + 1);
	assert_int_equal(hf_validate(sys, NULL), 0);
	unpin(&ref);
	assert_int_equal(hf_put_user_pages(sys, &get, 1), 0);
}

/* No swap is needed to drop what was freed, and nothing is written. */
static void freed_memory_that_is_used_again_stays_once(void **state)
{
	(void)state;
	with_swap("linux-6.18", 64, NULL, 16);
	map(A, 1, RW);
	store(mm, A, 1);
	assert_int_equal(hf_madvise(mm, A, P, HF_MADV_FREE), 0);
	store(mm, A, 2);
	assert_int_equal(hf_madvise(mm, A, P, HF_MADV_PAGEOUT), 0);
	assert_true(info(mm, A).present);
	assert_int_equal(hf_madvise(mm, A, P, HF_MADV_PAGEOUT), 0);
	assert_true(info(mm, A).swapped);
	assert_int_equal(hf_madvise(mm, A, P, HF_MADV_FREE), 0); /* what is out goes at once */
	assert_false(info(mm, A).swapped);
	assert_int_equal(load(mm, A), 0);
}

static void forced_writes_keep_what_comes_back(void **state)
{
	struct hf_ref ref;

	(void)state;
	with_swap("linux-5.10", 64, NULL, 16);
	map(A, 1, RW);
	store(mm, A, 1);
	assert_int_equal(hf_get_user_pages(mm, A, 1, 0, &ref), 1);
	assert_int_equal(hf_mprotect(mm, A, P, HF_PROT_NONE), 0);
	assert_int_equal(hf_madvise(mm, A, P, HF_MADV_PAGEOUT), 0);
	assert_true(info(mm, A).swapped);
	assert_int_equal(hf_access_process_vm(mm, HF_USER_PTRACE_WRITE, A, "z", 1), 1);
	assert_true(info(mm, A).pfn == hf_ref_pfn(sys, &ref));
	assert_int_equal(hf_put_user_pages(sys, &ref, 1), 0);
}

static void freed_memory_makes_room_without_swap(void **state)
{
	(void)state;
	restart("holdfast", 32);
	map(A, 60, RW);
	for (int i = 0; i < 31; i++)
		store(mm, A + i * P, 1);
	assert_int_equal(try_store(mm, A + 31 * P), -ENOMEM);
	assert_int_equal(hf_madvise(mm, A, 8 * P, HF_MADV_FREE), 0);
	store(mm, A + 31 * P, 1);
	assert_int_equal(load(mm, A + 20 * P), 1);
}

static void cold_memory_goes_first(void **state)
{
	size_t cold = 0, warm = 0;

	(void)state;
	with_swap("holdfast", 32, NULL, 64);
	map(A, 60, RW);
	for (int i = 0; i < 31; i++)
		store(mm, A + i * P, 1);
	assert_int_equal(hf_madvise(mm, A, 10 * P, HF_MADV_COLD), 0);
	for (int i = 31; i < 36; i++)
		store(mm, A + i * P, 1);
	for (int i = 0; i < 31; i++)
		*(i < 10 ? &cold : &warm) += info(mm, A + i * P).swapped;
	assert_true(cold >= 5);
	assert_int_equal(warm, 0);
}

static void the_reclaimer_keeps_frames_free(void **state)
{
	struct hf_reclaimer *reclaimer;

	(void)state;
	with_swap("holdfast", 128, NULL, 512);
	map(A, 300, RW);
	assert_int_equal(hf_reclaimer_start(sys, &reclaimer), 0);
	for (int i = 0; i < 300; i++)
		store(mm, A + i * P, (uint8_t)(i + 1));
	while (hf_low_on_frames(sys)) /* the test's time limit is the limit */
		usleep(1000);
	hf_reclaimer_stop(reclaimer);
	assert_false(hf_low_on_frames(sys));
	for (int i = 0; i < 300; i++)
		assert_int_equal(load(mm, A + i * P), (uint8_t)(i + 1));
}

static void devices_are_checked(void **state)
{
	struct hf_swap_device d;

	(void)state;
	assert_int_equal(hf_swap_device_open(NULL, 0, &d), -EINVAL);
	assert_int_equal(hf_swap_device_open("/nonexistent/swap", 4, &d), -ENOENT);
	device = (struct hf_swap_device){ .nr_slots = 0 };
	assert_int_equal(hf_swapon(sys, &device), -EINVAL);
	device.ctx = NULL;
}

#define s(test) cmocka_unit_test_setup_teardown(test, setup, swap_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		s(a_workload_three_times_the_machine_runs),
		s(a_page_comes_back_as_it_was),
		s(a_fresh_page_is_its_only_users),
		s(the_swap_cache_counts_on_5_10),
		s(fork_shares_what_is_swapped),
		s(pinned_pages_stay),
		s(plain_references_keep_the_frame),
		s(full_swap_is_an_error_and_nothing_is_lost),
		s(write_errors_lose_nothing),
		s(read_errors_fail_the_access),
		s(swapoff_brings_everything_back),
		s(swapoff_without_room_says_so),
		s(fork_finds_frames_in_swap),
		s(freed_memory_is_dropped_unless_it_is_used_again),
		s(freed_memory_that_is_used_again_stays_once),
		s(forced_writes_keep_what_comes_back),
		s(freed_memory_makes_room_without_swap),
		s(cold_memory_goes_first),
		s(the_reclaimer_keeps_frames_free),
		s(devices_are_checked),
	};

	return cmocka_run_group_tests_name("swap", tests, NULL, NULL);
}
