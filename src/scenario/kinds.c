/* SPDX-License-Identifier: MIT */
/* The kinds of memory that a scenario can run over, and sets of them by name. */
#include "scenario.h"

#include <string.h>

#define ONE(kind_name, memory_, order_, shape_, swapped_)                                          \
	{                                                                                          \
		.name = (kind_name), .memory = (memory_), .order = (order_), .shape = (shape_),    \
		.swapped = (swapped_)                                                              \
	}
/* What the kernel's cow test does with every size of folio. */
#define FOLIO(order, size)                                                                         \
	ONE("large-" size, HF_MEM_ANON, order, HF_SHAPE_PTES, false),                              \
		ONE("large-" size "-swapped", HF_MEM_ANON, order, HF_SHAPE_PTES, true),            \
		ONE("single-" size, HF_MEM_ANON, order, HF_SHAPE_SINGLE, false),                   \
		ONE("single-" size "-swapped", HF_MEM_ANON, order, HF_SHAPE_SINGLE, true),         \
		ONE("half-" size, HF_MEM_ANON, order, HF_SHAPE_HALF, false),                       \
		ONE("partly-" size, HF_MEM_ANON, order, HF_SHAPE_PARTLY, false)

static const struct hf_kind_info kinds[HF_NR_KINDS] = {
	[HF_KIND_BASE] = ONE("base", HF_MEM_ANON, 0, HF_SHAPE_WHOLE, false),
	[HF_KIND_ZEROPAGE] = ONE("zeropage", HF_MEM_ZEROPAGE, 0, HF_SHAPE_WHOLE, false),
	[HF_KIND_SWAPPED] = ONE("swapped", HF_MEM_ANON, 0, HF_SHAPE_WHOLE, true),
	[HF_KIND_THP] = ONE("thp", HF_MEM_ANON, 9, HF_SHAPE_WHOLE, false),
	[HF_KIND_THP_SWAPPED] = ONE("thp-swapped", HF_MEM_ANON, 9, HF_SHAPE_WHOLE, true),
	[HF_KIND_HUGE_ZEROPAGE] = ONE("huge-zeropage", HF_MEM_ZEROPAGE, 9, HF_SHAPE_WHOLE, false),
	[HF_KIND_HUGETLB] = ONE("hugetlb", HF_MEM_HUGETLB, 9, HF_SHAPE_WHOLE, false),
	[HF_KIND_MEMFD] = ONE("memfd", HF_MEM_MEMFD, 0, HF_SHAPE_WHOLE, false),
	[HF_KIND_TMPFILE] = ONE("tmpfile", HF_MEM_TMPFILE, 0, HF_SHAPE_WHOLE, false),
	[HF_KIND_MEMFD_HUGETLB] =
		ONE("memfd-hugetlb", HF_MEM_MEMFD_HUGETLB, 9, HF_SHAPE_WHOLE, false),
	[HF_KIND_MIXED] = ONE("mixed", HF_MEM_MIXED, 0, HF_SHAPE_WHOLE, false),
	[HF_KIND_FOLIO] = FOLIO(1, "8k"),
	FOLIO(2, "16k"),
	FOLIO(3, "32k"),
	FOLIO(4, "64k"),
	FOLIO(5, "128k"),
	FOLIO(6, "256k"),
	FOLIO(7, "512k"),
	FOLIO(8, "1m"),
	FOLIO(9, "2m"),
};

const struct hf_kind_info *hf_kind_info(enum hf_kind kind)
{
	return &kinds[kind];
}

const char *hf_kind_name(enum hf_kind kind)
{
	return kinds[kind].name;
}

/* ---- sets ---- */

static bool is_anon(const struct hf_kind_info *k)
{
	return k->memory == HF_MEM_ANON || k->memory == HF_MEM_HUGETLB;
}

static bool is_folio(const struct hf_kind_info *k)
{
	return k->shape != HF_SHAPE_WHOLE;
}

static bool is_out(const struct hf_kind_info *k)
{
	return k->swapped;
}

static bool is_large(const struct hf_kind_info *k)
{
	return is_folio(k) && k->shape != HF_SHAPE_SINGLE && !k->swapped;
}

static bool is_single(const struct hf_kind_info *k)
{
	return k->shape == HF_SHAPE_SINGLE && !k->swapped;
}

static bool is_partly(const struct hf_kind_info *k)
{
	return k->shape == HF_SHAPE_PARTLY;
}

static const struct {
	const char *name, *about;
	bool (*has)(const struct hf_kind_info *k);
} sets[] = {
	{ "anon", "every kind of anonymous memory", is_anon },
	{ "folios", "every size of folio that leaf entries map, in every shape", is_folio },
	{ "out", "what is swapped out, of every size", is_out },
	{ "large",
	  "folios of every size that leaf entries map, in memory, more than one page of "
	  "them",
	  is_large },
	{ "partly", "folios of every size of which some pages were shared", is_partly },
	{ "single", "one page of a folio of every size, in memory", is_single },
};

#define NR_SETS (sizeof(sets) / sizeof(sets[0]))

static hf_kinds members(size_t set)
{
	hf_kinds all = 0;

	for (int k = 0; k < HF_NR_KINDS; k++)
		if (sets[set].has(&kinds[k]))
			all |= HF_KINDS_OF(k);
	return all;
}

const char *hf_kinds_name(size_t i)
{
	if (i < HF_NR_KINDS)
		return kinds[i].name;
	return i - HF_NR_KINDS < NR_SETS ? sets[i - HF_NR_KINDS].name : NULL;
}

const char *hf_kinds_about(size_t i)
{
	return i >= HF_NR_KINDS && i - HF_NR_KINDS < NR_SETS ? sets[i - HF_NR_KINDS].about : NULL;
}

hf_kinds hf_kinds_named(size_t i)
{
	return i < HF_NR_KINDS ? HF_KINDS_OF(i) : members(i - HF_NR_KINDS);
}
