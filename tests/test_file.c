/* SPDX-License-Identifier: MIT */
/* Files, mapped privately and shared: one promise a test. */
#include "machine.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define MOVE (HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED)

static FILE *disk;
static struct hf_backing backing;
static unsigned writes;
static bool broken;

static int counting_write(void *ctx, uint64_t index, const void *page)
{
	struct hf_backing real = hf_backing_of((int)(intptr_t)ctx);

	writes++;
	return broken ? -EIO : real.write(ctx, index, page);
}

static int failing_read(void *ctx, uint64_t index, void *page)
{
	struct hf_backing real = hf_backing_of((int)(intptr_t)ctx);

	return broken ? -EIO : real.read(ctx, index, page);
}

static int setup_file(void **state)
{
	(void)state;
	machine("holdfast", 256);
	disk = tmpfile();
	assert_non_null(disk);
	backing = hf_backing_of(fileno(disk));
	backing.write = counting_write;
	backing.read = failing_read;
	writes = 0;
	broken = false;
	return 0;
}

static int teardown_file(void **state)
{
	(void)state;
	finish();
	fclose(disk);
	return 0;
}

static struct hf_file *new_file(size_t pages, const struct hf_backing *from)
{
	struct hf_file *file;

	assert_int_equal(hf_file_create(sys, pages * P, from, 0, &file), 0);
	return file;
}

static void map_file(struct hf_mm *m, uint64_t addr, size_t pages, unsigned flags,
		     struct hf_file *file, uint64_t pgoff)
{
	uint64_t at = addr;

	assert_int_equal(
		hf_mmap_file(m, &at, pages * P, RW, HF_MAP_FIXED_NOREPLACE | flags, file, pgoff),
		0);
}

static uint8_t file_byte(struct hf_file *file, uint64_t offset)
{
	uint8_t byte = 0xee;

	assert_int_equal(hf_file_read(file, offset, &byte, 1), 0);
	return byte;
}

static void put_byte(struct hf_file *file, uint64_t offset, uint8_t byte)
{
	assert_int_equal(hf_file_write(file, offset, &byte, 1), 0);
}

static void a_private_store_stays_private(void **state)
{
	struct hf_file *file = new_file(4, &backing);

	(void)state;
	put_byte(file, P, 7);
	map_file(mm, A, 2, 0, file, 1);
	map_file(mm, A + 8 * P, 2, HF_MAP_SHARED, file, 1);
	assert_int_equal(load(mm, A), 7);
	assert_true(!info(mm, A).anon && !info(mm, A).writable);
	assert_true(info(mm, A).pfn == (load(mm, A + 8 * P), info(mm, A + 8 * P).pfn));
	store(mm, A, 9);
	assert_true(info(mm, A).anon && info(mm, A).exclusive);
	assert_int_equal(file_byte(file, P), 7);
	assert_int_equal(load(mm, A + 8 * P), 7);
	store(mm, A + P, 5); /* never read before: copied at once */
	assert_int_equal(file_byte(file, 2 * P), 0);
	hf_file_put(file);
}

static void shared_stores_are_everybodys(void **state)
{
	struct hf_file *file = new_file(2, NULL);
	struct hf_mm *child;

	(void)state;
	map_file(mm, A, 2, HF_MAP_SHARED, file, 0);
	store(mm, A, 1);
	child = fork_mm();
	store(child, A, 2);
	assert_int_equal(load(mm, A), 2);
	assert_int_equal(file_byte(file, 0), 2);
	store(mm, A, 3);
	assert_int_equal(load(child, A), 3);
	assert_int_equal(stats().cow_copies, 0);
	hf_mm_put(child);
	hf_file_put(file);
}

static void dirty_pages_are_written_back_once(void **state)
{
	struct hf_file *file = new_file(3, &backing);
	uint8_t byte;

	(void)state;
	map_file(mm, A, 3, HF_MAP_SHARED, file, 0);
	store(mm, A + P, 5);
	load(mm, A);
	assert_int_equal(hf_file_sync(file), 0);
	assert_int_equal(writes, 1);
	assert_int_equal(pread(fileno(disk), &byte, 1, (off_t)P), 1);
	assert_int_equal(byte, 5);
	assert_false(info(mm, A + P).writable); /* so that the next store is noticed */
	assert_int_equal(hf_file_sync(file), 0);
	assert_int_equal(writes, 1);
	store(mm, A + P, 6);
	assert_int_equal(hf_file_sync(file), 0);
	assert_int_equal(writes, 2);
	store(mm, A + P, 7);
	assert_int_equal(hf_munmap(mm, A, 3 * P), 0);
	hf_file_put(file); /* the last use writes, too */
	assert_int_equal(writes, 3);
	assert_int_equal(pread(fileno(disk), &byte, 1, (off_t)P), 1);
	assert_int_equal(byte, 7);
}

static void errors_lose_nothing(void **state)
{
	struct hf_file *file = new_file(2, &backing);

	(void)state;
	map_file(mm, A, 2, HF_MAP_SHARED, file, 0);
	store(mm, A, 5);
	broken = true;
	assert_int_equal(hf_file_sync(file), -EIO);
	assert_int_equal(try_load(mm, A + P), -EIO);
	assert_int_equal(load(mm, A), 5);
	broken = false;
	assert_int_equal(hf_file_sync(file), 0);
	assert_int_equal(load(mm, A + P), 0);
	hf_file_put(file);
}

static void truncation_takes_pages_from_everybody(void **state)
{
	struct hf_file *file = new_file(4, NULL);
	struct hf_mm *child;
	struct hf_ref ref;
	uint8_t byte = 9;

	(void)state;
	map_file(mm, A, 4, HF_MAP_SHARED, file, 0);
	map_file(mm, A + 8 * P, 4, 0, file, 0);
	store(mm, A + 3 * P, 1);
	store(mm, A + 11 * P, 2); /* a private copy */
	child = fork_mm();
	ref = pin(A + 3 * P, HF_FOLL_WRITE);
	assert_int_equal(hf_file_truncate(file, 2 * P), 0);
	assert_int_equal(hf_file_truncate(file, 2 * P), 0); /* the same */
	assert_int_equal(hf_file_truncate(file, 4 * P + 1), -EINVAL);
	assert_int_equal(try_load(mm, A + 3 * P), -EFAULT);
	assert_int_equal(try_load(child, A + 3 * P), -EFAULT);
	assert_int_equal(try_load(mm, A + 11 * P), -EFAULT);
	assert_int_equal(try_store(mm, A + 2 * P), -EFAULT);
	assert_int_equal(load(mm, A + P), 0);
	/* the pin keeps the frame, which is nobody's now */
	assert_int_equal(hf_ref_write(sys, &ref, 0, &byte, 1), 0);
	unpin(&ref);
	hf_mm_put(child);
	hf_file_put(file);
}

static void long_term_pins_of_private_mappings_are_windows(void **state)
{
	static const char *const policies[] = { "holdfast", "linux-6.12", "linux-6.1" };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct hf_file *file;
		struct hf_ref ref;
		uint8_t byte;

		restart(policies[i], 256);
		file = new_file(1, NULL);
		map_file(mm, A, 1, 0, file, 0);
		load(mm, A);
		ref = pin(A, HF_FOLL_LONGTERM);
		store(mm, A, 7);
		assert_int_equal(hf_ref_read(sys, &ref, 0, &byte, 1), 0);
		assert_int_equal(byte, i < 2 ? 7 : 0); /* until 6.2 the file's page was pinned */
		unpin(&ref);
		hf_file_put(file);
	}
}

/* A driver that writes for long behind a file system's back: refused from 6.5, where stores are
 * tracked. */
static void long_term_writes_are_refused_where_stores_are_tracked(void **state)
{
	struct hf_file *tracked = new_file(1, &backing), *memory = new_file(1, NULL);
	const unsigned longterm = HF_FOLL_WRITE | HF_FOLL_LONGTERM;
	struct hf_ref ref;

	(void)state;
	map_file(mm, A, 1, HF_MAP_SHARED, tracked, 0);
	map_file(mm, A + P, 1, HF_MAP_SHARED, memory, 0);
	map_file(mm, A + 2 * P, 1, 0, tracked, 0);
	store(mm, A, 1);
	assert_int_equal(hf_pin_user_pages(mm, A, 1, longterm, &ref), -EFAULT);
	assert_int_equal(hf_pin_user_pages_fast(mm, A, 1, longterm, &ref), -EFAULT);
	ref = pin(A, HF_FOLL_WRITE);
	unpin(&ref);
	ref = pin(A, HF_FOLL_LONGTERM);
	unpin(&ref);
	ref = pin(A + P, longterm);
	unpin(&ref);
	ref = pin(A + 2 * P, longterm); /* a page of its own */
	assert_true(info(mm, A + 2 * P).anon);
	unpin(&ref);
	hf_file_put(tracked);
	hf_file_put(memory);
	restart("linux-6.1", 256);
	tracked = new_file(1, &backing);
	map_file(mm, A, 1, HF_MAP_SHARED, tracked, 0);
	ref = pin(A, longterm);
	assert_int_equal(hf_unpin_user_pages_dirty(sys, &ref, 1), 0);
	hf_file_put(tracked);
}

static void mappings_are_cut_and_moved_like_others(void **state)
{
	struct hf_file *file = new_file(6, NULL);
	uint64_t to = A + 64 * P;

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		put_byte(file, i * P, (uint8_t)(i + 1));
	map_file(mm, A, 6, HF_MAP_SHARED, file, 0);
	assert_int_equal(hf_mprotect(mm, A + 2 * P, P, HF_PROT_READ), 0);
	assert_int_equal(
		hf_mremap(mm, A + 3 * P, 3 * P, 3 * P, HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &to),
		0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(load(mm, A + i * P), i + 1);
		assert_int_equal(load(mm, to + i * P), i + 4);
	}
	assert_int_equal(hf_validate(sys, NULL), 0);
	assert_int_equal(hf_file_truncate(file, 4 * P), 0);
	assert_int_equal(load(mm, to), 4);
	assert_int_equal(try_load(mm, to + P), -EFAULT);
	hf_file_put(file);
}

static void arguments_are_checked(void **state)
{
	struct hf_file *file;
	uint64_t at = A;
	uint8_t byte = 0;

	(void)state;
	assert_int_equal(hf_file_create(sys, 0, NULL, 0, &file), -EINVAL);
	assert_int_equal(hf_file_create(sys, P, NULL, 8, &file), -EINVAL);
	assert_int_equal(hf_file_create(sys, P, &backing, HF_FILE_HUGETLB, &file), -EINVAL);
	file = new_file(1, NULL);
	assert_int_equal(hf_mmap_file(mm, &at, P, RW, HF_MAP_HUGETLB, file, 0), -EINVAL);
	assert_int_equal(hf_mmap(mm, &at, P, RW, HF_MAP_SHARED), -EINVAL);
	assert_int_equal(hf_file_read(file, P, &byte, 1), -EINVAL);
	assert_int_equal(hf_file_write(file, 0, &byte, 2 * P), -EINVAL);
	hf_file_put(file);
}

/* ---- hugetlb ---- */

#define H 0x10000000ul
#define M (512 * P)

static int setup_hugetlb(void **state)
{
	(void)state;
	machine("holdfast", 4096);
	assert_int_equal(hf_system_set_hugepages(sys, 4), 4);
	return 0;
}

static int teardown_hugetlb(void **state)
{
	(void)state;
	finish();
	return 0;
}

static int map_hugetlb(uint64_t addr, size_t len)
{
	uint64_t at = addr;

	return hf_mmap(mm, &at, len, RW, HF_MAP_FIXED_NOREPLACE | HF_MAP_HUGETLB);
}

static void mappings_reserve_their_pages(void **state)
{
	struct hf_mm *other;
	uint64_t at = H;

	(void)state;
	assert_int_equal(map_hugetlb(H, 3 * M), 0);
	assert_int_equal(hf_mm_create(sys, &other), 0);
	assert_int_equal(hf_mmap(other, &at, 2 * M, RW, HF_MAP_HUGETLB), -ENOMEM);
	assert_int_equal(hf_mmap(other, &at, M, RW, HF_MAP_HUGETLB), 0);
	assert_int_equal(hf_system_set_hugepages(sys, 0), 4); /* none is free to go */
	for (unsigned i = 0; i < 3; i++)
		store(mm, H + i * M + 9 * P, 1);
	assert_int_equal(info(mm, H).order, 9);
	hf_mm_put(other);
	assert_int_equal(hf_munmap(mm, H + M, M), 0);
	assert_int_equal(hf_system_set_hugepages(sys, 0), 2);
	assert_int_equal(hf_munmap(mm, H, P), -EINVAL);
	assert_int_equal(hf_mprotect(mm, H, P, HF_PROT_READ), -EINVAL);
}

static void reservations_are_the_parents(void **state)
{
	struct hf_mm *child;

	(void)state;
	assert_int_equal(hf_system_set_hugepages(sys, 1), 1);
	assert_int_equal(map_hugetlb(H, M), 0);
	child = fork_mm();
	assert_int_equal(try_store(child, H), -ENOMEM); /* the one page is spoken for */
	store(mm, H, 1);
	hf_mm_put(child);
}

static void children_take_what_is_left(void **state)
{
	struct hf_mm *child, *another;

	(void)state;
	assert_int_equal(map_hugetlb(H, 2 * M), 0);
	store(mm, H, 1);
	store(mm, H + M, 1);
	child = fork_mm();
	store(child, H, 2);
	store(child, H + M, 2);
	assert_int_equal(load(mm, H), 1);
	another = fork_mm();
	assert_int_equal(try_store(another, H), -ENOMEM); /* the pool is empty */
	assert_int_equal(load(another, H), 1);
	hf_mm_put(child);
	store(another, H, 3);
	assert_int_equal(load(mm, H), 1);
	hf_mm_put(another);
}

/* Linux counts mappings there: a plain reference of somebody else does not matter. */
static void linux_reuses_what_is_mapped_once(void **state)
{
	static const char *const policies[] = { "linux-6.12", "holdfast" };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct hf_mm *child;
		struct hf_ref ref;
		uint8_t seen;

		restart(policies[i], 4096);
		assert_int_equal(hf_system_set_hugepages(sys, 4), 4);
		assert_int_equal(map_hugetlb(H, M), 0);
		store(mm, H, 1);
		child = fork_mm();
		assert_int_equal(hf_get_user_pages(child, H, 1, 0, &ref), 1);
		hf_mm_put(child);
		store(mm, H, 2);
		assert_int_equal(hf_ref_read(sys, &ref, 0, &seen, 1), 0);
		assert_int_equal(seen, i ? 1 : 2);
		assert_int_equal(hf_put_user_pages(sys, &ref, 1), 0);
	}
}

static void pinned_hugetlb_is_copied_by_fork(void **state)
{
	static const struct {
		const char *policy;
		unsigned copies;
	} want[] = { { "holdfast", 1 }, { "linux-6.12", 1 }, { "linux-5.10", 0 } };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct hf_mm *child;
		struct hf_ref ref;

		restart(want[i].policy, 4096);
		assert_int_equal(hf_system_set_hugepages(sys, 4), 4);
		assert_int_equal(map_hugetlb(H, M), 0);
		store(mm, H, 1);
		ref = pin(H + 5 * P, HF_FOLL_WRITE);
		child = fork_mm();
		assert_int_equal(stats().fork_copies, want[i].copies);
		assert_int_equal(hf_validate(sys, NULL), 0);
		unpin(&ref);
		hf_mm_put(child);
	}
}

static void what_was_cut_off_comes_back_as_zeros(void **state)
{
	struct hf_file *file = new_file(2, &backing);

	(void)state;
	map_file(mm, A, 2, HF_MAP_SHARED, file, 0);
	store(mm, A + P, 7);
	assert_int_equal(hf_file_sync(file), 0);
	assert_int_equal(hf_file_truncate(file, P), 0);
	assert_int_equal(try_load(mm, A + P), -EFAULT);
	assert_int_equal(hf_file_truncate(file, 2 * P), 0);
	assert_int_equal(load(mm, A + P), 0);
	hf_file_put(file);
}

/* A lock before which another thread cuts the file off, and makes it as long again. */
static struct {
	struct hf_file *file;
	unsigned before; /* so many locks from now, of those that are taken alone; 0: none */
	unsigned held;
} cut;

static void *cut_and_grow(void *arg)
{
	assert_int_equal(hf_file_truncate(arg, 0), 0);
	assert_int_equal(hf_file_truncate(arg, 2 * P), 0);
	return NULL;
}

static void cutting_lock(void *ctx, struct hf_lock *lock)
{
	pthread_t thread;

	if (!cut.held && cut.before && --cut.before == 0) {
		assert_int_equal(pthread_create(&thread, NULL, cut_and_grow, cut.file), 0);
		pthread_join(thread, NULL);
	}
	hf_platform_hosted()->lock(ctx, lock);
	cut.held++;
}

static void cutting_unlock(void *ctx, struct hf_lock *lock)
{
	cut.held--;
	hf_platform_hosted()->unlock(ctx, lock);
}

static void cut_off_during_a_fault(unsigned before, unsigned flags)
{
	struct hf_file *file = new_file(2, NULL);
	uint8_t was = file_byte(file, 0), now;

	put_byte(file, 0, 7);
	map_file(mm, A, 2, flags, file, 0);
	load(mm, A + P); /* the tables are there */
	cut.file = file;
	cut.before = before;
	if (flags & HF_MAP_SHARED)
		load(mm, A);
	else
		store(mm, A + 1, 1); /* a copy */
	if (cut.before)              /* there were not so many */
		cut_and_grow(file);
	cut.before = 0;
	now = load(mm, A);
	assert_int_equal(now, was);
	assert_int_equal(now, file_byte(file, 0));
	assert_int_equal(hf_munmap(mm, A, 2 * P), 0);
	hf_file_put(file);
}

static void a_fault_does_not_map_what_was_cut_off_meanwhile(void **state)
{
	static struct hf_platform platform;

	(void)state;
	finish();
	platform = *hf_platform_hosted();
	platform.lock = cutting_lock;
	platform.unlock = cutting_unlock;
	machine_on(&platform, "holdfast", 256);
	for (unsigned before = 1; before < 16; before++) {
		cut_off_during_a_fault(before, HF_MAP_SHARED);
		cut_off_during_a_fault(before, 0);
	}
	restart("holdfast", 256);
}

static void hugetlb_files_have_no_pages_of_their_own(void **state)
{
	uint64_t at = H, longer = H + 4 * M;
	struct hf_file *file;
	struct hf_ref ref;

	(void)state;
	assert_int_equal(hf_file_create(sys, M, NULL, HF_FILE_HUGETLB, &file), 0);
	assert_int_equal(hf_mmap_file(mm, &at, M, RW, HF_MAP_FIXED_NOREPLACE, file, 0), 0);
	assert_int_equal(load(mm, H + 3 * P), 0);
	assert_true(info(mm, H).anon && info(mm, H).exclusive);
	ref = pin(H, HF_FOLL_LONGTERM);
	assert_true(info(mm, H).anon && info(mm, H).exclusive);
	store(mm, H, 4);
	assert_true(info(mm, H).pfn == hf_ref_pfn(sys, &ref));
	unpin(&ref);
	assert_int_equal(hf_file_truncate(file, P), -EINVAL);
	assert_int_equal(hf_file_truncate(file, 0), 0);
	assert_int_equal(try_load(mm, H), -EFAULT);
	/* a mapping that can be written to makes the file as long as it is */
	assert_int_equal(hf_mmap_file(mm, &longer, M, RW, HF_MAP_FIXED_NOREPLACE, file, 0), 0);
	assert_int_equal(load(mm, H), 0);
	hf_file_put(file);
}

static void it_moves_whole_where_kernels_move_it(void **state)
{
	static const struct {
		const char *policy;
		int err;
	} want[] = { { "holdfast", 0 },
		     { "linux-5.10", -EINVAL },
		     { "linux-5.18", 0 },
		     { "linux-6.12", 0 } };

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		uint64_t to = H + 8 * M;
		struct hf_ref ref;

		restart(want[i].policy, 4096);
		assert_int_equal(hf_system_set_hugepages(sys, 4), 4);
		assert_int_equal(map_hugetlb(H, 2 * M), 0);
		store(mm, H + 5 * P, 1);
		ref = pin(H + 5 * P, HF_FOLL_WRITE);
		assert_int_equal(hf_mremap(mm, H, 2 * M, 2 * M, MOVE, &to), want[i].err);
		assert_int_equal(load(mm, (want[i].err ? H : to) + 5 * P), 1);
		assert_int_equal(try_load(mm, to), want[i].err ? -EFAULT : 0);
		/* what was reserved, and not yet there, moved too */
		assert_int_equal(hf_system_set_hugepages(sys, 0), 2);
		if (!want[i].err)
			store(mm, to + M, 2);
		assert_int_equal(hf_validate(sys, NULL), 0);
		unpin(&ref);
	}
}

static void parts_of_hugetlb_pages_are_refused(void **state)
{
	uint64_t to = H + 8 * M;

	(void)state;
	assert_int_equal(map_hugetlb(H, M), 0);
	store(mm, H, 1);
	assert_int_equal(hf_munmap(mm, H + P, P), -EINVAL);
	assert_int_equal(hf_mprotect(mm, H, P, HF_PROT_READ), -EINVAL);
	assert_int_equal(hf_mprotect(mm, H, P, RW), 0); /* as it is */
	assert_int_equal(hf_madvise(mm, H, P, HF_MADV_DONTFORK), -EINVAL);
	assert_int_equal(hf_madvise(mm, H, P, HF_MADV_DOFORK), 0); /* likewise */
	assert_int_equal(hf_madvise(mm, H + P, P, HF_MADV_DONTNEED), -EINVAL);
	assert_int_equal(hf_madvise(mm, H, P, HF_MADV_DONTNEED), 0); /* no whole page of it */
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_WIPEONFORK), -EINVAL);
	assert_int_equal(hf_mremap(mm, H + P, M - P, M - P, MOVE, &to), -EINVAL);
	assert_int_equal(hf_mremap(mm, H, M, 2 * M, MOVE, &to), -EINVAL);
	assert_int_equal(load(mm, H), 1);
}

static void advice_about_forks_and_frees_is_for_anonymous_memory(void **state)
{
	struct hf_file *file = new_file(2, NULL);
	struct hf_mm *child;

	(void)state;
	map(A, 1, RW);
	map_file(mm, A + P, 1, 0, file, 0);
	map(A + 3 * P, 1, RW);
	store(mm, A + P, 3);
	/* it ends at the file, and has been followed before it */
	assert_int_equal(hf_madvise(mm, A, 4 * P, HF_MADV_WIPEONFORK), -EINVAL);
	store(mm, A, 1);
	store(mm, A + 3 * P, 4);
	child = fork_mm();
	assert_int_equal(load(child, A), 0);
	assert_int_equal(load(child, A + 3 * P), 4);
	hf_mm_put(child);
	assert_int_equal(hf_madvise(mm, A + P, P, HF_MADV_FREE), -EINVAL);
	assert_int_equal(load(mm, A + P), 3);
	hf_file_put(file);
}

static void newer_kernels_refuse_to_fork_hugetlb_again(void **state)
{
	(void)state;
	restart("linux-6.19", 4096);
	assert_int_equal(hf_system_set_hugepages(sys, 4), 4);
	assert_int_equal(map_hugetlb(H, M), 0);
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_DONTFORK), 0);
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_DOFORK), -EINVAL);
	map(H + 8 * M, 1, RW);
	assert_int_equal(hf_madvise(mm, H + 8 * M, P, HF_MADV_DOFORK), 0);
}

static void forced_writes_to_hugetlb_are_of_an_era(void **state)
{
	static const struct {
		const char *policy;
		int64_t forced;
		int stored; /* afterwards, by the process itself */
	} want[] = { { "linux-5.10", 1, 0 },
		     { "linux-6.1", -EIO, -EFAULT },
		     { "linux-6.12", -EIO, -EFAULT },
		     { "linux-6.18", 1, -EFAULT },
		     { "holdfast", 1, -EFAULT } };

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		struct hf_mm *child;

		restart(want[i].policy, 4096);
		assert_int_equal(hf_system_set_hugepages(sys, 4), 4);
		assert_int_equal(map_hugetlb(H, M), 0);
		store(mm, H, 1);
		child = fork_mm(); /* so that the write copies */
		assert_int_equal(hf_mprotect(mm, H, M, HF_PROT_READ), 0);
		assert_int_equal(hf_access_process_vm(mm, HF_USER_PTRACE_WRITE, H, "z", 1),
				 want[i].forced);
		assert_int_equal(load(mm, H), want[i].forced == 1 ? 'z' : 1);
		assert_int_equal(try_store(mm, H + P), want[i].stored);
		assert_int_equal(load(child, H), 1);
		assert_int_equal(hf_validate(sys, NULL), 0);
		hf_mm_put(child);
	}
}

static void registered_buffers_and_files_are_of_an_era(void **state)
{
	static const struct {
		const char *policy;
		int64_t of_disk, of_two;
	} want[] = { { "linux-5.10", -EOPNOTSUPP, -EINVAL },
		     { "linux-6.1", -EOPNOTSUPP, -EINVAL },
		     { "linux-6.12", 1, 2 },
		     { "holdfast", 1, 2 } };

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct hf_file *file, *memory;
		struct hf_ref refs[2];
		int64_t got;

		restart(want[i].policy, 64);
		file = new_file(1, &backing);
		memory = new_file(1, NULL);
		map_file(mm, A, 1, 0, file, 0);
		map_file(mm, A + 8 * P, 1, 0, memory, 0);
		map(A + 9 * P, 1, RW);
		got = hf_user_acquire(mm, HF_USER_FIXEDBUF, A, 1, refs);
		assert_int_equal(got, want[i].of_disk);
		if (got > 0)
			assert_int_equal(hf_user_release(sys, HF_USER_FIXEDBUF, refs, 1), 0);
		got = hf_user_acquire(mm, HF_USER_FIXEDBUF, A + 8 * P, 2, refs);
		assert_int_equal(got, want[i].of_two);
		if (got > 0)
			assert_int_equal(hf_user_release(sys, HF_USER_FIXEDBUF, refs, 2), 0);
		assert_int_equal(hf_user_acquire(mm, HF_USER_FIXEDBUF, A + 8 * P, 1, refs), 1);
		assert_int_equal(hf_user_release(sys, HF_USER_FIXEDBUF, refs, 1), 0);
		assert_true(stats().pins_acquired == stats().pins_released);
		hf_file_put(file);
		hf_file_put(memory);
	}
}

static void it_stays_where_it_is(void **state)
{
	struct hf_swap_device swap;

	(void)state;
	assert_int_equal(hf_swap_device_open(NULL, 1024, &swap), 0);
	assert_int_equal(hf_swapon(sys, &swap), 0);
	assert_int_equal(map_hugetlb(H, M), 0);
	store(mm, H, 1);
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_PAGEOUT), -EINVAL);
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_COLD), -EINVAL);
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_FREE), -EINVAL);
	assert_int_equal(hf_migrate_pages(mm, H, M), 0);
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_COLLAPSE), -EINVAL);
	assert_true(info(mm, H).pmd);
	assert_int_equal(hf_swapoff(sys), 0);
	hf_swap_device_close(&swap);
}

#define f(test) cmocka_unit_test_setup_teardown(test, setup_file, teardown_file)
#define h(test) cmocka_unit_test_setup_teardown(test, setup_hugetlb, teardown_hugetlb)

int main(void)
{
	const struct CMUnitTest tests[] = {
		f(a_private_store_stays_private),
		f(shared_stores_are_everybodys),
		f(dirty_pages_are_written_back_once),
		f(errors_lose_nothing),
		f(truncation_takes_pages_from_everybody),
		f(what_was_cut_off_comes_back_as_zeros),
		f(a_fault_does_not_map_what_was_cut_off_meanwhile),
		f(long_term_pins_of_private_mappings_are_windows),
		f(long_term_writes_are_refused_where_stores_are_tracked),
		f(mappings_are_cut_and_moved_like_others),
		f(arguments_are_checked),
		h(mappings_reserve_their_pages),
		h(reservations_are_the_parents),
		h(children_take_what_is_left),
		h(linux_reuses_what_is_mapped_once),
		h(pinned_hugetlb_is_copied_by_fork),
		h(hugetlb_files_have_no_pages_of_their_own),
		f(advice_about_forks_and_frees_is_for_anonymous_memory),
		h(it_moves_whole_where_kernels_move_it),
		h(parts_of_hugetlb_pages_are_refused),
		f(registered_buffers_and_files_are_of_an_era),
		h(forced_writes_to_hugetlb_are_of_an_era),
		h(newer_kernels_refuse_to_fork_hugetlb_again),
		h(it_stays_where_it_is),
	};

	return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
