/* SPDX-License-Identifier: MIT */
/* What operations act on, found by address. Numbers are given in the order of first use, so that
 * executions with the same beginning have the same numbers. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS (2 * HF_MAX_OBJECTS)

static struct {
	struct hf_object of[HF_MAX_OBJECTS];
	uint32_t bucket[BUCKETS]; /* index plus 1 */
	uint32_t nr;
} objects;

uint32_t hf_object_of(uintptr_t at)
{
	uint32_t b = (uint32_t)((at * 0x9e3779b97f4a7c15ull) >> 40) % BUCKETS;
	struct hf_object *o;

	for (; objects.bucket[b]; b = (b + 1) % BUCKETS)
		if (objects.of[objects.bucket[b] - 1].at == at)
			return objects.bucket[b] - 1;
	if (objects.nr == HF_MAX_OBJECTS)
		hf_fail("the explorer ran out of room: more than %d objects", HF_MAX_OBJECTS);
	objects.bucket[b] = ++objects.nr;
	o = &objects.of[objects.nr - 1];
	*o = (struct hf_object){
		.at = at,
		.block = hf_heap_block(at),
		.last = -1,
		.owner = -1,
		.last_release = -1,
	};
	return objects.nr - 1;
}

struct hf_object *hf_object(uint32_t index)
{
	return &objects.of[index];
}

uint32_t hf_nr_objects(void)
{
	return objects.nr;
}

void hf_objects_reset(void)
{
	memset(objects.bucket, 0, sizeof(objects.bucket));
	objects.nr = 0;
	for (unsigned t = 0; t < HF_ARMS; t++)
		hf_object_of(HF_AT_EPOCH(t));
}
