/* SPDX-License-Identifier: MIT */
/* What the tests of native spaces share: the ways in which a space can be made, and checks. */
#ifndef TEST_NATIVE_H
#define TEST_NATIVE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <holdfast/native.h>

#define PAGE 4096UL
#define HUGE (2UL << 20)

struct way {
	const char *name;
	enum hf_native_pages pages;
	unsigned flags;
};

static const struct way ways[] = {
	{ "4k", HF_NATIVE_4K, 0 },
	{ "4k signal", HF_NATIVE_4K, HF_NATIVE_SIGNAL },
	{ "shared", HF_NATIVE_4K, HF_NATIVE_SHARED },
	{ "shared signal", HF_NATIVE_4K, HF_NATIVE_SHARED | HF_NATIVE_SIGNAL },
	{ "thp", HF_NATIVE_THP, 0 },
	{ "thp signal", HF_NATIVE_THP, HF_NATIVE_SIGNAL },
	{ "thp 4k", HF_NATIVE_THP_4K, 0 },
	{ "thp 4k signal", HF_NATIVE_THP_4K, HF_NATIVE_SIGNAL },
	{ "hugetlb", HF_NATIVE_HUGETLB, 0 },
	{ "hugetlb signal", HF_NATIVE_HUGETLB, HF_NATIVE_SIGNAL },
};

/* In which every store is bracketed: for tests that do so. */
static const struct way bracketed_ways[] = {
	{ "bracketed", HF_NATIVE_AUTO, HF_NATIVE_BRACKETED },
	{ "bracketed 4k", HF_NATIVE_4K, HF_NATIVE_BRACKETED },
	{ "bracketed thp", HF_NATIVE_THP, HF_NATIVE_BRACKETED },
};

#define NR_BRACKETED (sizeof(bracketed_ways) / sizeof(bracketed_ways[0]))
#define NR_WAYS (sizeof(ways) / sizeof(ways[0]))

static inline bool way_is_thp(const struct way *way)
{
	return way->pages == HF_NATIVE_THP || way->pages == HF_NATIVE_THP_4K;
}

static inline size_t way_unit(const struct way *way)
{
	return way->pages == HF_NATIVE_THP || way->pages == HF_NATIVE_HUGETLB ? HUGE : PAGE;
}

/* Machines without hardware do less of what is done many times. */
static inline int times(int nr)
{
	return getenv("HF_QUICK") ? (nr + 7) / 8 : nr;
}

/* A space of at least `units` units, or NULL where this machine cannot have one of that way. */
static inline struct hf_native *make_with(const struct way *way, size_t units, unsigned helpers,
					  size_t pool_limit)
{
	struct hf_native_config config = {
		.size = units * way_unit(way),
		.pages = way->pages,
		.flags = way->flags,
		.helpers = helpers,
		.pool_limit = pool_limit,
	};
	struct hf_native_support support;
	struct hf_native *space = NULL;
	const char *wanted = getenv("HF_WAYS");
	int err;

	if (way->flags & HF_NATIVE_BRACKETED) {
		assert_int_equal(hf_native_create(&config, &space), 0);
		return space;
	}
	if (wanted && !strstr(way->name, wanted) && way != &ways[1]) /* which some tests need */
		return NULL;
	assert_int_equal(hf_native_probe(&support), 0);
	if (wanted && way->pages == HF_NATIVE_HUGETLB && support.write_protect_shared &&
	    support.hugetlb_free < config.size)
		fail_msg("%s: the pool has %zu bytes to spare of %zu", way->name,
			 support.hugetlb_free, config.size);
	if ((way->pages == HF_NATIVE_HUGETLB &&
	     (support.hugetlb_free < config.size || !support.write_protect_shared)) ||
	    (way_is_thp(way) && !support.unpopulated) ||
	    (way->flags & HF_NATIVE_SHARED && !support.write_protect_shared) ||
	    (!(way->flags & HF_NATIVE_SIGNAL) && !support.kernel_faults))
		return NULL;
	err = hf_native_create(&config, &space);
	if (err == -ENOMEM && way->pages == HF_NATIVE_HUGETLB)
		return NULL; /* others were faster */
	if (err)
		fail_msg("%s: %s (%s)", way->name, strerror(-err), support.remedy);
	return space;
}

/* As the mode wants its stores: what is between the two may be stored to. */
static inline void begin_store(struct hf_native *space, const struct way *way, void *at, size_t len)
{
	if (way->flags & HF_NATIVE_BRACKETED)
		assert_int_equal(hf_native_begin_store(space, at, len), 0);
}

static inline void end_store(struct hf_native *space, const struct way *way, void *at, size_t len)
{
	if (way->flags & HF_NATIVE_BRACKETED)
		hf_native_end_store(space, at, len);
}

static inline struct hf_native *make(const struct way *way, size_t units)
{
	return make_with(way, units, 0, 0);
}

#define EACH_WAY(space, units)                                                                     \
	for (size_t w_ = 0; w_ < NR_WAYS; w_++)                                                    \
		for (struct hf_native *space = make(&ways[w_], units); space; space = NULL)

static inline uint64_t get(const struct hf_native_snapshot *s, size_t offset)
{
	uint64_t value = 0;

	assert_int_equal(hf_native_read(s, offset, &value, sizeof(value)), 0);
	return value;
}

static inline uint64_t *word(struct hf_native *space, size_t offset)
{
	return (uint64_t *)((char *)hf_native_base(space) + offset);
}

static inline struct hf_native_snapshot *snapshot(struct hf_native *space)
{
	struct hf_native_snapshot *s = NULL;

	assert_int_equal(hf_native_snapshot(space, &s), 0);
	return s;
}

#endif
