/* SPDX-License-Identifier: MIT */
/* Sites of the core, and one of them made worse. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

#define MAX_READ 256
#define MAX_SKIPPED 16
#define MAX_NAME 160

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

static const char *access_name(const struct hf_site *site)
{
	static const char *const names[] = {
		[HF_SITE_LOAD] = "load",       [HF_SITE_HINT] = "load", [HF_SITE_STORE] = "store",
		[HF_SITE_RMW] = "update",      [HF_SITE_LOCK] = "lock", [HF_SITE_FLUSH] = "flush",
		[HF_SITE_SECTION] = "section",
	};

	return names[site->kind];
}

/* In all but the line. */
static bool are_alike(const struct hf_site *a, const struct hf_site *b)
{
	return !strcmp(access_name(a), access_name(b)) && !strcmp(a->text, b->text) &&
	       !strcmp(a->function, b->function) && !strcmp(a->file, b->file);
}

/* The next line with a site like this one; 0: there is none. */
static int next_line(const struct hf_site *site, int after)
{
	int next = 0;

	for (const struct hf_site *s = __start_hf_sites; s < __stop_hf_sites; s++)
		if (are_alike(s, site) && s->line > after && (!next || s->line < next))
			next = s->line;
	return next;
}

/* Which it is of its function's sites that are alike; 0: the only one. */
static unsigned ordinal_of(const struct hf_site *site)
{
	unsigned nr = 0, ordinal = 0;

	for (int line = next_line(site, 0); line; line = next_line(site, line)) {
		nr++;
		if (line == site->line)
			ordinal = nr;
	}
	return nr > 1 ? ordinal : 0;
}

static void name_site(const struct hf_site *site, char *name)
{
	unsigned ordinal = ordinal_of(site);
	int len = snprintf(name, MAX_NAME, "%s:%s %s %s", hf_site_file(site), site->function,
			   access_name(site), site->text);

	if (ordinal && len < MAX_NAME)
		snprintf(name + len, MAX_NAME - (size_t)len, " #%u", ordinal);
}

const char *hf_site_name(size_t i)
{
	static char names[HF_MAX_SITES][MAX_NAME];

	if (!*names[i])
		name_site(hf_explore_site(i), names[i]);
	return names[i];
}

void hf_mutate(const struct hf_mutation *m, uint8_t *reached)
{
	memset(&mutant, 0, sizeof(mutant));
	mutant.reached = reached;
	for (size_t i = 0; m && hf_explore_site(i) && i < HF_MAX_SITES; i++) {
		if (strcmp(hf_site_name(i), m->site))
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
