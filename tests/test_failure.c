/* SPDX-License-Identifier: MIT */
/*
 * Every allocation fails once: a history of operations is run again and again, with the first, the
 * second, the third allocation failing, until one run has none that fails. Each failed call must
 * say -ENOMEM and leave the books in order, and at the end nothing may be left, neither a frame nor
 * a byte of the platform's memory.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <holdfast/holdfast.h>
#include <holdfast/hosted.h>

#define A 0x10000000ul
#define P HF_PAGE_SIZE
#define RW (HF_PROT_READ | HF_PROT_WRITE)

static struct hf_platform failing;
static atomic_long countdown; /* the allocation that fails; negative: none */
static atomic_long live;      /* allocations not freed */
static bool failed;

static void *failing_alloc(void *ctx, size_t size, size_t align)
{
	void *ptr;

	if (atomic_fetch_sub(&countdown, 1) == 0) {
		failed = true;
		return NULL;
	}
	ptr = hf_platform_hosted()->alloc(ctx, size, align);
	if (ptr)
		atomic_fetch_add(&live, 1);
	return ptr;
}

static void failing_free(void *ctx, void *ptr, size_t size)
{
	if (ptr)
		atomic_fetch_sub(&live, 1);
	hf_platform_hosted()->free(ctx, ptr, size);
}

static void validate(struct hf_system *sys)
{
	long saved = atomic_exchange(&countdown, -1);
	struct hf_violation v;

	if (hf_validate(sys, &v))
		fail_msg("broken: %s", hf_invariant_text(v.invariant));
	atomic_store(&countdown, saved);
}

/* Did the call do it? If not, memory must have been the reason, and the books must be right all the
 * same. */
static bool done(struct hf_system *sys, int64_t ret)
{
	if (ret < 0 && ret != -EBUSY && ret != -EFAULT)
		assert_int_equal(ret, -ENOMEM);
	validate(sys);
	return ret >= 0;
}

static void history(struct hf_system *sys, struct hf_mm *mm)
{
	uint64_t addr = A, to = A + (1ul << 31), word = 5;
	struct hf_mm *child = NULL, *grandchild = NULL;
	struct hf_ref refs[8];
	int64_t got;

	if (!done(sys, hf_mmap(mm, &addr, 16 * P, RW, HF_MAP_FIXED)))
		return;
	for (int i = 0; i < 8; i++)
		done(sys, hf_store(mm, A + i * P, &word, 8));
	done(sys, hf_mprotect(mm, A + 2 * P, P, HF_PROT_READ));
	done(sys, hf_madvise(mm, A + 4 * P, P, HF_MADV_WIPEONFORK));
	got = hf_pin_user_pages_fast(mm, A, 8, HF_FOLL_LONGTERM, refs);
	done(sys, got);
	done(sys, hf_mm_fork(mm, &child));
	if (child) {
		done(sys, hf_store(child, A + P, &word, 8));
		done(sys, hf_mm_fork(child, &grandchild));
		done(sys, hf_handle_mm_fault(child, A + 3 * P, HF_FAULT_FLAG_UNSHARE));
		done(sys, hf_mremap(child, A, P, P, HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &to));
	}
	done(sys, hf_mremap(mm, A + 8 * P, 2 * P, 4 * P, HF_MREMAP_MAYMOVE, &to));
	done(sys, hf_munmap(mm, A + 5 * P, P));
	done(sys, hf_copy_to_user(mm, A, "hello", 5));
	if (got > 0)
		assert_int_equal(hf_unpin_user_pages(sys, refs, (size_t)got), 0);
	if (grandchild)
		hf_mm_put(grandchild);
	if (child)
		hf_mm_put(child);
}

/* Large folios, behind a PMD and behind leaf entries. */
static void huge_history(struct hf_system *sys, struct hf_mm *mm)
{
	uint64_t addr = A, word = 5;
	struct hf_mm *child = NULL;
	struct hf_ref ref;
	int64_t got;

	if (!done(sys, hf_mmap(mm, &addr, 544 * P, RW, HF_MAP_FIXED)))
		return;
	done(sys, hf_madvise(mm, A, 544 * P, HF_MADV_HUGEPAGE));
	done(sys, hf_store(mm, A + 8 * P, &word, 8));
	done(sys, hf_store(mm, A + 520 * P, &word, 8));
	got = hf_pin_user_pages_fast(mm, A + 8 * P, 1, 0, &ref);
	done(sys, got);
	done(sys, hf_mm_fork(mm, &child));
	done(sys, hf_store(mm, A + 9 * P, &word, 8));
	if (child) {
		done(sys, hf_store(child, A + 8 * P, &word, 8));
		hf_migrate_pages(child, A, 16 * P);
		validate(sys);
		hf_mm_put(child);
	}
	if (got > 0)
		assert_int_equal(hf_unpin_user_pages(sys, &ref, 1), 0);
	hf_madvise(mm, A, 512 * P, HF_MADV_COLLAPSE);
	done(sys, hf_munmap(mm, A + 100 * P, P));
}

static int no_read(void *ctx, uint64_t index, void *page)
{
	(void)ctx;
	(void)index;
	memset(page, 0, HF_PAGE_SIZE);
	return 0;
}

static int no_write(void *ctx, uint64_t index, const void *page)
{
	(void)ctx;
	(void)index;
	(void)page;
	return 0;
}

/* Files, hugetlb, merging, moving, compaction. */
static void other_history(struct hf_system *sys, struct hf_mm *mm)
{
	static const struct hf_backing backing = { .read = no_read, .write = no_write };
	uint64_t addr = A, word = 5, huge = A + (1ul << 30);
	struct hf_mm *child = NULL;
	struct hf_file *file = NULL;
	struct hf_ref ref;
	int64_t got;

	if (done(sys, hf_file_create(sys, 4 * P, &backing, 0, &file))) {
		done(sys, hf_mmap_file(mm, &addr, 4 * P, RW, HF_MAP_FIXED, file, 0));
		addr = A + 8 * P;
		done(sys,
		     hf_mmap_file(mm, &addr, 4 * P, RW, HF_MAP_FIXED | HF_MAP_SHARED, file, 0));
		done(sys, hf_store(mm, A, &word, 8));
		done(sys, hf_store(mm, A + 9 * P, &word, 8));
		done(sys, hf_file_write(file, 2 * P, &word, 8));
		done(sys, hf_file_sync(file));
		done(sys, hf_mremap(mm, A + 8 * P, 2 * P, 3 * P, HF_MREMAP_MAYMOVE, &addr));
	}
	addr = A + 16 * P;
	done(sys, hf_mmap(mm, &addr, 8 * P, RW, HF_MAP_FIXED));
	for (int i = 0; i < 4; i++)
		done(sys, hf_store(mm, addr + i * P, &word, 8));
	done(sys, hf_madvise(mm, addr, 4 * P, HF_MADV_MERGEABLE));
	done(sys, hf_ksm_scan(sys, 0));
	got = hf_pin_user_pages(mm, addr, 1, HF_FOLL_LONGTERM, &ref);
	done(sys, got);
	if (got > 0)
		assert_int_equal(hf_unpin_user_pages(sys, &ref, 1), 0);
	hf_uffd_move(mm, addr + 4 * P, addr, P);
	validate(sys);
	hf_system_set_hugepages(sys, 2);
	done(sys, hf_mmap(mm, &huge, 1, RW, HF_MAP_FIXED | HF_MAP_HUGETLB));
	done(sys, hf_store(mm, huge, &word, 8));
	done(sys, hf_mm_fork(mm, &child));
	if (child) {
		done(sys, hf_store(child, huge, &word, 8));
		done(sys, hf_store(child, A, &word, 8));
		hf_mm_put(child);
	}
	hf_compact(sys);
	validate(sys);
	if (file) {
		done(sys, hf_file_truncate(file, P));
		hf_file_put(file);
	}
}

typedef void (*history_fn)(struct hf_system *sys, struct hf_mm *mm);

static void run_once(const struct hf_policy *policy, history_fn history, size_t frames)
{
	struct hf_system_config config = {
		.platform = &failing,
		.policy = policy,
		.nr_frames = frames,
		.flags = HF_SYSTEM_DEBUG,
	};
	struct hf_system *sys;
	struct hf_mm *mm;

	if (hf_system_create(&config, &sys))
		return;
	assert_int_equal(hf_system_set_thp(sys, 1u << 9 | 1u << 4), 0);
	if (done(sys, hf_mm_create(sys, &mm))) {
		history(sys, mm);
		hf_mm_put(mm);
	}
	atomic_store(&countdown, -1);
	validate(sys);
	assert_int_equal(hf_system_destroy(sys), 0);
}

static void each_allocation(const struct hf_policy *policy, history_fn history, size_t frames)
{
	long n = 0;

	do {
		failed = false;
		atomic_store(&countdown, n++);
		run_once(policy, history, frames);
		atomic_store(&countdown, -1);
		assert_int_equal(atomic_load(&live), 0);
	} while (failed);
	print_message("# %s: %ld allocations failed, one a run\n", policy->name, n - 1);
	assert_true(n > 20);
}

static void every_allocation_fails_once(void **state)
{
	static const char *const some[] = { "linux-5.10", "linux-6.18", "holdfast", "dont-fork" };

	each_allocation(*state, history, 64);
	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		if (*state != hf_policy_find(some[i]))
			continue;
		each_allocation(*state, huge_history, 2048);
		each_allocation(*state, other_history, 2048);
	}
}

/* The same with frames: the machine has 16, 17, 18 ... of them. */
static void every_frame_is_missing_once(void **state)
{
	(void)state;
	for (size_t frames = 16; frames < 48; frames++) {
		struct hf_system_config config = {
			.platform = hf_platform_hosted(),
			.nr_frames = frames,
			.flags = HF_SYSTEM_DEBUG,
		};
		struct hf_system *sys;
		struct hf_mm *mm;

		assert_int_equal(hf_system_create(&config, &sys), 0);
		assert_int_equal(hf_mm_create(sys, &mm), 0);
		history(sys, mm);
		hf_mm_put(mm);
		validate(sys);
		assert_int_equal(hf_system_destroy(sys), 0);
	}
}

int main(void)
{
	struct CMUnitTest tests[32] = { cmocka_unit_test(every_frame_is_missing_once) };
	static char names[32][64];
	const struct hf_policy *policy;
	size_t nr = 1;

	failing = *hf_platform_hosted();
	failing.alloc = failing_alloc;
	failing.free = failing_free;
	for (size_t i = 0; (policy = hf_policy_at(i)); i++, nr++) {
		snprintf(names[nr], sizeof(names[nr]), "every_allocation_fails_once, %s",
			 policy->name);
		tests[nr] = (struct CMUnitTest){ names[nr], every_allocation_fails_once, NULL, NULL,
						 (void *)(uintptr_t)policy };
	}
	return _cmocka_run_group_tests("failure", tests, nr, NULL, NULL);
}
