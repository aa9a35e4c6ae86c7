/* SPDX-License-Identifier: MIT */
/*
 * Sequences of operations, decoded from bytes, against the shadow model; the validator runs after
 * every operation.
 *
 * Built two ways: as a libFuzzer harness, and (HF_FUZZ_DRIVER) as a plain program that makes its
 * own bytes: fuzz_ops [RUNS [SEED]] A difference aborts and says which operation it was;
 * HF_MODEL_TRACE=1 in the environment prints all of them.
 */
#include "model.h"

#include <holdfast/hosted.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void validate(struct hf_system *sys, const struct model *m)
{
	struct hf_violation v;

	if (!hf_validate(sys, &v))
		return;
	fprintf(stderr,
		"policy %s, after operation %zu: broken invariant: %s (frame %lld, address "
		"0x%llx)\n",
		hf_system_policy(sys)->name, model_operations(m), hf_invariant_text(v.invariant),
		(long long)v.pfn, (unsigned long long)v.addr);
	abort();
}

/*
 * The first two bytes choose the machine: half of the runs are on the default policy, every fourth
 * is short of frames, half have swap, some of them very little of it. Some have slots of 128 pages,
 * so that PMDs map them; the others small folios of some orders.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct hf_policy *policy = hf_policy_default();
	struct hf_system_config config = { .platform = hf_platform_hosted(),
					   .flags = HF_SYSTEM_DEBUG };
	struct model_input in = { data + 2, data + size };
	struct hf_swap_device swap;
	struct hf_system *sys;
	struct model *m;
	unsigned stride = 1;

	if (size < 3)
		return 0;
	if (data[0] & 1 && hf_policy_at(data[0] >> 3 & 15))
		policy = hf_policy_at(data[0] >> 3 & 15);
	config.policy = policy;
	config.nr_frames = (data[0] & 6) == 6 ? 24 : 128;
	if (data[1] >> 4 == 15) {
		stride = 128;
		config.nr_frames = (data[0] & 6) == 6 ? 1100 : 4096;
	}
	if (hf_system_create(&config, &sys))
		return 0;
	if (hf_system_set_thp(sys,
			      stride == 1 ? data[1] >> 4 & 0xe : 1u << 9 | 1u << (4 + data[1] % 4)))
		abort();
	if (hf_swap_device_open(NULL, data[1] & 6 ? 256 * stride : 5, &swap))
		abort();
	if (data[1] & 1 && hf_swapon(sys, &swap))
		abort();
	m = model_new(sys, policy == hf_policy_default(), stride);
	if (m) {
		while (model_step(m, &in))
			validate(sys, m);
		model_free(m);
	}
	if ((data[1] & 9) == 9 && hf_swapoff(sys))
		abort();
	if (hf_system_destroy(sys)) {
		fprintf(stderr, "policy %s: frames or address spaces were left at the end\n",
			policy->name);
		abort();
	}
	hf_swap_device_close(&swap);
	return 0;
}

#ifdef HF_FUZZ_DRIVER
#define INPUT_SIZE 1500

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static unsigned long long current_seed;

/* An abort leaves the command that repeats it. */
static void on_abort(int sig)
{
	(void)sig;
	fprintf(stderr, "repeat it: HF_MODEL_TRACE=1 fuzz_ops 1 %llu\n", current_seed);
	printf("not ok 1 - sequence of seed %llu\n", current_seed);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	unsigned long runs = argc > 1 ? strtoul(argv[1], NULL, 0) : 1000;
	unsigned long long seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	uint8_t data[INPUT_SIZE];

	printf("1..1\n");
	signal(SIGABRT, on_abort);
	for (unsigned long i = 0; i < runs; i++) {
		uint64_t state = (seed + i) * 0x9e3779b97f4a7c15ull + 1;

		for (size_t b = 0; b < sizeof(data); b++)
			data[b] = (uint8_t)(next_random(&state) >> 24);
		current_seed = seed + i;
		LLVMFuzzerTestOneInput(data, sizeof(data));
	}
	printf("ok 1 - %lu sequences of operations agree with the shadow model\n", runs);
	return 0;
}
#endif
