/* SPDX-License-Identifier: MIT */
/* A machine with one process, made anew for every test, and what tests do with it in a word. */
#ifndef HF_TEST_MACHINE_H
#define HF_TEST_MACHINE_H

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

static inline void machine_on(const struct hf_platform *platform, const char *policy, size_t frames)
{
	struct hf_system_config config = {
		.platform = platform,
		.policy = hf_policy_find(policy),
		.nr_frames = frames,
		.flags = HF_SYSTEM_DEBUG,
	};

	assert_non_null(config.policy);
	assert_int_equal(hf_system_create(&config, &sys), 0);
	assert_int_equal(hf_mm_create(sys, &mm), 0);
}

static inline void machine(const char *policy, size_t frames)
{
	machine_on(hf_platform_hosted(), policy, frames);
}

static inline int setup(void **state)
{
	(void)state;
	machine("holdfast", 256);
	return 0;
}

/* Every test ends with the books in order and every frame back. */
static inline void finish(void)
{
	struct hf_violation v;

	hf_mm_put(mm);
	assert_int_equal(hf_validate(sys, &v), 0);
	assert_int_equal(hf_system_destroy(sys), 0);
}

static inline int teardown(void **state)
{
	(void)state;
	finish();
	return 0;
}

static inline void restart(const char *policy, size_t frames)
{
	finish();
	machine(policy, frames);
}

static inline void map(uint64_t addr, size_t pages, unsigned prot)
{
	uint64_t at = addr;

	assert_int_equal(hf_mmap(mm, &at, pages * P, prot, HF_MAP_FIXED_NOREPLACE), 0);
	assert_int_equal(at, addr);
}

static inline void store(struct hf_mm *m, uint64_t addr, uint8_t value)
{
	assert_int_equal(hf_store(m, addr, &value, 1), 0);
}

static inline uint8_t load(struct hf_mm *m, uint64_t addr)
{
	uint8_t value = 0xee;

	assert_int_equal(hf_load(m, addr, &value, 1), 0);
	return value;
}

static inline int try_store(struct hf_mm *m, uint64_t addr)
{
	uint8_t value = 1;

	return hf_store(m, addr, &value, 1);
}

static inline int try_load(struct hf_mm *m, uint64_t addr)
{
	uint8_t value;

	return hf_load(m, addr, &value, 1);
}

static inline struct hf_page_info info(struct hf_mm *m, uint64_t addr)
{
	struct hf_page_info i;

	assert_int_equal(hf_mm_page_info(m, addr, &i), 0);
	return i;
}

static inline struct hf_mm *fork_mm(void)
{
	struct hf_mm *child;

	assert_int_equal(hf_mm_fork(mm, &child), 0);
	return child;
}

static inline struct hf_system_stats stats(void)
{
	struct hf_system_stats s;

	hf_system_stats(sys, &s);
	return s;
}

static inline struct hf_ref pin(uint64_t addr, unsigned flags)
{
	struct hf_ref ref;

	assert_int_equal(hf_pin_user_pages(mm, addr, 1, flags, &ref), 1);
	return ref;
}

static inline void unpin(struct hf_ref *ref)
{
	assert_int_equal(hf_unpin_user_pages(sys, ref, 1), 0);
}

#define t(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
