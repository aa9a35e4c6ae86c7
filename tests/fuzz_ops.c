/* SPDX-License-Identifier: MIT */
/*
 * Sequences of operations, a record each, against the shadow model; the validator runs after every
 * operation. HF_MODEL_TRACE=1 in the environment prints all of them.
 */
#include "core/internal.h"
#include "fuzz.h"
#include "model.h"

#include <holdfast/hosted.h>

#define RECORD 8     /* an operation, what it picks, and last which of its allocations fails */
#define MAY_FAIL 8   /* above: none */
#define LARGE 65536u /* bytes of a block that is kept for the next machine: fresh ones cost */
#define KEPT 8

FUZZ_UNITS(RECORD)

/* ---- a platform whose allocations fail on demand ---- */

static unsigned left; /* allocations until one fails; 0: none does */
static struct kept {
	void *block;
	size_t size;
	bool taken;
} kept[KEPT];

/* NULL: there is no place for one of this size. */
static struct kept *keep(size_t size)
{
	for (int i = 0; i < KEPT; i++)
		if (!kept[i].taken && (!kept[i].size || kept[i].size == size))
			return &kept[i];
	return NULL;
}

static void *failing_alloc(void *ctx, size_t size, size_t align)
{
	struct kept *k = size >= LARGE ? keep(size) : NULL;
	void *block = k ? k->block : NULL;

	if (left && !--left)
		return NULL;
	if (!block)
		block = hf_platform_hosted()->alloc(ctx, size, align);
	if (k && block)
		*k = (struct kept){ block, size, true };
	return block;
}

static void failing_free(void *ctx, void *block, size_t size)
{
	for (int i = 0; i < KEPT; i++)
		if (kept[i].block == block) {
			kept[i].taken = false;
			return;
		}
	hf_platform_hosted()->free(ctx, block, size);
}

static const struct hf_platform *platform(void)
{
	static struct hf_platform failing;

	failing = *hf_platform_hosted();
	failing.alloc = failing_alloc;
	failing.free = failing_free;
	return &failing;
}

/* ---- machines ---- */

/* All but what is in free frames, which is looked at when they are used again, and at the end:
 * going through it each time would take most of the time. */
static void validate(struct hf_system *sys, const struct model *m, bool free_frames)
{
	struct hf_violation v;

	if (hf_validate_books(sys, &v, free_frames))
		fuzz_found("policy %s, after operation %zu: broken invariant: %s (frame %lld, "
			   "address 0x%llx)",
			   hf_system_policy(sys)->name, model_operations(m),
			   hf_invariant_text(v.invariant), (long long)v.pfn,
			   (unsigned long long)v.addr);
}

/*
 * The first record chooses the machine: half of the runs are on the default policy, every fourth
 * is short of frames, half have swap, some of them very little of it. Some have slots of 128 pages,
 * so that PMDs map them; the others small folios of some orders.
 */
struct machine {
	const struct hf_policy *policy;
	unsigned stride, orders;
	size_t frames, swap;
	bool swaps, swapoff;
};

static struct machine choose(const uint8_t *data)
{
	struct machine c = { .policy = hf_policy_default(), .stride = 1 };
	bool scarce = (data[0] & 6) == 6;

	if (data[0] & 1 && hf_policy_at(data[0] >> 3 & 15))
		c.policy = hf_policy_at(data[0] >> 3 & 15);
	c.frames = scarce ? 24 : 128;
	c.orders = data[1] >> 4 & 0xe;
	if (data[1] >> 4 == 15) {
		c.stride = 128;
		c.frames = scarce ? 1100 : 1800;
		c.orders = 1u << 9 | 1u << (4 + data[1] % 4);
	}
	c.swaps = data[1] & 1;
	c.swapoff = (data[1] & 9) == 9;
	c.swap = data[1] & 6 ? 256 * c.stride : 5;
	return c;
}

static void run(struct hf_system *sys, const struct machine *c, const uint8_t *data, size_t size)
{
	struct model *m = model_new(sys, c->policy == hf_policy_default(), c->stride);

	if (!m)
		return;
	for (size_t at = 0; at < size; at += RECORD) {
		size_t len = size - at < RECORD ? size - at : RECORD;
		struct model_input in = { data + at, data + at + len };

		left = len == RECORD && data[at + RECORD - 1] <= MAY_FAIL ? data[at + RECORD - 1]
									  : 0;
		model_step(m, &in);
		left = 0;
		validate(sys, m, false);
	}
	validate(sys, m, true);
	model_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hf_system_config config = { .platform = platform(), .flags = HF_SYSTEM_DEBUG };
	struct hf_swap_device swap;
	struct hf_system *sys;
	struct machine c;

	if (size <= RECORD)
		return 0;
	c = choose(data);
	config.policy = c.policy;
	config.nr_frames = c.frames;
	if (hf_system_create(&config, &sys))
		return 0;
	if (hf_system_set_thp(sys, c.orders))
		fuzz_found("orders 0x%x", c.orders);
	if (c.swaps && (hf_swap_device_open(NULL, c.swap, &swap) || hf_swapon(sys, &swap)))
		fuzz_found("swap of %zu slots", c.swap);
	run(sys, &c, data + RECORD, size - RECORD);
	if (c.swapoff && hf_swapoff(sys))
		fuzz_found("swapoff");
	if (hf_system_destroy(sys))
		fuzz_found("policy %s: frames or address spaces were left at the end",
			   c.policy->name);
	if (c.swaps)
		hf_swap_device_close(&swap);
	return 0;
}
