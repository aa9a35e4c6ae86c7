/* SPDX-License-Identifier: MIT */
/* States that the search takes for one go on alike: tried on all histories of a few steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "search/fingerprint.h"
#include "search/history.h"
#include "target/engine/engine.h"

struct known {
	uint64_t state, next; /* what it is, and all that can become of it in one step */
	struct hf_history history;
};

static struct hf_target *engine;
static struct hf_hist_limits limits;
static struct known *known;
static size_t nr_known;

static void take(void *run, const struct hf_oracle *oracle, void *arg)
{
	*(uint64_t *)arg = hf_fingerprint(run, oracle);
}

/* The state after a history; its verdict when that is bad. */
static uint64_t state_after(const struct hf_history *h)
{
	struct hf_parse_error err;
	struct hf_scenario *scn;
	struct hf_cell cell;
	uint64_t state = 0;
	char text[2048];
	size_t len = hf_hist_text(h, &limits, "about x\n", text, sizeof(text));

	if (hf_scenario_parse("x.hf", text, len, NULL, &scn, &err))
		fail_msg("%d:%d: %s\n%s", err.line, err.column, err.text, text);
	hf_run_watched(engine, scn, limits.kind, take, &state, &cell);
	hf_scenario_free(scn);
	return cell.verdict == HF_OK ? state : (uint64_t)cell.verdict;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Of a set of states: names that are left open let some come up more than once. */
static uint64_t hash_of(uint64_t *state, unsigned nr)
{
	uint64_t hash = 1;

	qsort(state, nr, sizeof(*state), compare);
	for (unsigned i = 0; i < nr; i++)
		if (!i || state[i] != state[i - 1])
			hash = (hash ^ state[i]) * 0xff51afd7ed558ccdull ^ hash >> 29;
	return hash;
}

static void check_alike(const struct known *a, const struct known *b)
{
	char first[2048], second[2048];

	if (a->state != b->state || a->next == b->next)
		return;
	hf_hist_text(&a->history, &limits, "", first, sizeof(first));
	hf_hist_text(&b->history, &limits, "", second, sizeof(second));
	fail_msg("taken for one state, but these do not go on alike:\n%s---\n%s", first, second);
}

static void explore(struct hf_history h, unsigned depth)
{
	struct hf_hist_step next[HF_HIST_MAX_NEXT];
	uint64_t state[HF_HIST_MAX_NEXT];
	unsigned nr = hf_hist_next(&h, &limits, next);
	struct known *k = &known[nr_known++];

	*k = (struct known){ .state = state_after(&h), .history = h };
	h.nr++;
	for (unsigned i = 0; i < nr; i++) {
		h.step[h.nr - 1] = next[i];
		state[i] = state_after(&h);
		if (h.nr < depth && state[i] >= HF_NR_VERDICTS)
			explore(h, depth);
	}
	k->next = hash_of(state, nr);
}

/* `only`: the operations, by their names; NULL: all of them. */
static hf_hist_ops without(const char *only)
{
	hf_hist_ops ops = only ? 0 : ~(hf_hist_ops)0;

	for (size_t len; only && *only; only += len + (only[len] == ',')) {
		len = strcspn(only, ",");
		assert_int_not_equal(hf_hist_ops_named(only, len), 0);
		ops |= hf_hist_ops_named(only, len);
	}
	return ~ops;
}

static void all_histories(const char *policy, unsigned steps, const char *only)
{
	engine = hf_target_engine(policy);
	limits.procs = 2;
	limits.without = without(only);
	known = calloc(1 << 16, sizeof(*known));
	assert_non_null(known);
	nr_known = 0;
	explore((struct hf_history){ .nr = 0 }, steps + 1);
	assert_true(nr_known > 200);
	for (struct known *k = known; k < known + nr_known; k++)
		for (struct known *other = known; other < k; other++)
			check_alike(other, k);
	free(known);
	engine->ops->free(engine);
}

static void small_pages(void **state)
{
	(void)state;
	limits = (struct hf_hist_limits){ .pages = 2, .kind = HF_KIND_BASE };
	all_histories("holdfast", 2, NULL);
	limits = (struct hf_hist_limits){ .pages = 1, .kind = HF_KIND_BASE, .written = true };
	all_histories("linux-5.10", 2, NULL);
	all_histories("linux-6.1", 4, "fork,exit,write,wrprotect,get");
}

static void a_folio_behind_a_pmd(void **state)
{
	(void)state;
	limits = (struct hf_hist_limits){ .pages = 1, .kind = HF_KIND_THP, .written = true };
	all_histories("linux-5.10", 2, NULL);
	all_histories("linux-5.10", 3, "fork,write,split,wrprotect,collapse");
	limits.pages = 2;
	all_histories("holdfast", 3, "unmap,protect,split,collapse,write");
}

static void a_folio_behind_leaf_entries(void **state)
{
	(void)state;
	limits = (struct hf_hist_limits){ .pages = 2, .kind = HF_KIND_FOLIO + 6 }; /* large-16k */
	all_histories("holdfast", 2, NULL);
	limits.written = true;
	all_histories("linux-6.18", 2, "fork,exit,write,wrprotect,swapout,migrate,get,vmsplice");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_pages),
		cmocka_unit_test(a_folio_behind_a_pmd),
		cmocka_unit_test(a_folio_behind_leaf_entries),
	};

	return cmocka_run_group_tests_name("search", tests, NULL, NULL);
}
