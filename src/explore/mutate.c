/* SPDX-License-Identifier: MIT */
/* Sites of the core, and one of them made worse. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

#define MAX_READ 256
#define MAX_SKIPPED 16

extern const struct hf_site __start_hf_sites[], __stop_hf_sites[];

static struct {
	uint8_t changed[HF_MAX_SITES]; /* enum hf_mutation_kind */
	uint8_t order[HF_MAX_SITES];
	/* for stale loads: what each arm read last, where */
	struct {
		uintptr_t at;
		uint64_t value;
		const char *function;
	} read[HF_ARMS][MAX_READ];
	unsigned nr_read[HF_ARMS];
	uint8_t *reached; /* the result's */
	bool stale;       /* a load is to give what was read before */
	uintptr_t skipped[HF_ARMS][MAX_SKIPPED];
	unsigned nr_skipped[HF_ARMS];
} mutant;

const struct hf_site *hf_explore_site(size_t i)
{
	return __start_hf_sites + i < __stop_hf_sites ? &__start_hf_sites[i] : NULL;
}

static size_t index_of(const struct hf_site *site)
{
	return (size_t)(site - __start_hf_sites);
}

void hf_site_name(const struct hf_site *site, char *name, size_t len)
{
	snprintf(name, len, "%s:%d %s", hf_site_file(site), site->line, site->text);
}

/* A site of a header is one in each file that includes it. */
void hf_mutate(const struct hf_mutation *m, uint8_t *reached)
{
	char name[160];

	memset(&mutant, 0, sizeof(mutant));
	mutant.reached = reached;
	for (size_t i = 0; m && hf_explore_site(i) && i < HF_MAX_SITES; i++) {
		hf_site_name(hf_explore_site(i), name, sizeof(name));
		if (strcmp(name, m->site))
			continue;
		mutant.changed[i] = (uint8_t)m->kind;
		mutant.order[i] = (uint8_t)m->order;
		mutant.stale |= m->kind == HF_MUTATE_STALE;
	}
}

void hf_mutate_reset(void)
{
	memset(mutant.nr_read, 0, sizeof(mutant.nr_read));
	memset(mutant.nr_skipped, 0, sizeof(mutant.nr_skipped));
}

uint8_t hf_site_order(const struct hf_site *site)
{
	size_t i = index_of(site);

	return mutant.changed[i] == HF_MUTATE_ORDER ? mutant.order[i] : site->order;
}

void hf_site_met(const struct hf_site *site)
{
	if (site && mutant.reached)
		mutant.reached[index_of(site)] |= HF_SITE_MET;
}

static bool gives_back(uint8_t kind)
{
	return kind == HF_OP_UNLOCK || kind == HF_OP_READ_UNLOCK || kind == HF_OP_WRITE_UNLOCK ||
	       kind == HF_OP_RCU_UNLOCK;
}

static bool was_skipped(unsigned arm, uintptr_t at)
{
	for (unsigned i = mutant.nr_skipped[arm]; i--;)
		if (mutant.skipped[arm][i] == at) {
			mutant.skipped[arm][i] = mutant.skipped[arm][--mutant.nr_skipped[arm]];
			return true;
		}
	return false;
}

bool hf_skips(const struct hf_site *site, const struct hf_op *op)
{
	unsigned arm = (unsigned)hf_arm();

	if (gives_back(op->kind))
		return was_skipped(arm, op->at);
	if (!site || mutant.changed[index_of(site)] != HF_MUTATE_SKIP)
		return false;
	if (op->kind != HF_OP_TLB_FLUSH && op->kind != HF_OP_TLB_WAIT &&
	    mutant.nr_skipped[arm] < MAX_SKIPPED)
		mutant.skipped[arm][mutant.nr_skipped[arm]++] = op->at;
	return true;
}

/* By the function that looked first; those of headers are called again and again. */
static bool is_second_look(const struct hf_site *site, const char *function)
{
	return !strcmp(site->function, function) && !strstr(site->file, ".h");
}

uint64_t hf_stale_value(const struct hf_op *op)
{
	unsigned arm = (unsigned)hf_arm(), i = 0;
	size_t site = index_of(op->site);

	if (!mutant.reached && !mutant.stale)
		return op->old;
	while (i < mutant.nr_read[arm] && mutant.read[arm][i].at != op->at)
		i++;
	if (i == MAX_READ)
		return op->old;
	if (i == mutant.nr_read[arm]) {
		mutant.nr_read[arm]++;
	} else if (mutant.read[arm][i].value != op->old &&
		   is_second_look(op->site, mutant.read[arm][i].function)) {
		if (mutant.changed[site] == HF_MUTATE_STALE)
			return mutant.read[arm][i].value;
		if (mutant.reached)
			mutant.reached[site] |= HF_SITE_CHANGED;
	}
	mutant.read[arm][i].at = op->at;
	mutant.read[arm][i].value = op->old;
	mutant.read[arm][i].function = op->site->function;
	return op->old;
}
