/* SPDX-License-Identifier: MIT */
/* The explorer itself: small programs of which it is known what each memory model allows, and
 * random ones that are explored in two ways. */
#include "../src/explore/dpor.h"
#include "../src/scenario/arms.h"

#include <holdfast/hosted.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MAX_OUTCOMES 4096

static _Atomic uint64_t x, y, z;
static uint64_t seen[8]; /* what loads found, in the order of the test's text */

struct outcomes {
	uint64_t of[MAX_OUTCOMES];
	size_t nr;
	uint64_t executions;
	bool failed;
};

/* What the last program left: loads, then x, y and z, four bits each. */
static uint64_t outcome(void)
{
	uint64_t word = x | y << 4 | z << 8;

	for (int i = 0; i < 8; i++)
		word |= seen[i] << (12 + 4 * i);
	return word;
}

static void add_outcome(struct outcomes *o)
{
	uint64_t word = outcome();

	for (size_t i = 0; i < o->nr; i++)
		if (o->of[i] == word)
			return;
	assert_true(o->nr < MAX_OUTCOMES);
	o->of[o->nr++] = word;
}

struct program {
	void (*arm[HF_ARMS])(void);
	unsigned nr;
};

static void run_arm(void *arg)
{
	void (**arm)(void) = arg;

	(*arm)();
}

static void run_program(void *arg)
{
	struct program *p = arg;
	void *args[HF_ARMS];

	for (unsigned i = 0; i < p->nr; i++)
		args[i] = &p->arm[i];
	hf_run_arms(p->nr, run_arm, args);
}

static void explore_by(struct program *p, enum hf_memory_model model, enum hf_strategy strategy,
		       struct outcomes *o)
{
	*o = (struct outcomes){ .nr = 0 };
	hf_m.model = model;
	hf_mutate(NULL, NULL);
	hf_dpor_start(strategy, 100, 1);
	do {
		hf_machine_reset();
		hf_dpor_begin();
		x = y = z = 0;
		memset(seen, 0, sizeof(seen));
		if (!hf_machine_guard(run_program, p)) {
			o->failed = true;
			return;
		}
		if (hf_dpor_was_redundant())
			continue;
		o->executions++;
		add_outcome(o);
	} while (hf_dpor_next());
}

static bool allows(struct program p, enum hf_memory_model model, uint64_t s0, uint64_t s1,
		   uint64_t s2, uint64_t s3)
{
	static struct outcomes o;

	explore_by(&p, model, HF_EXPLORE_ALL, &o);
	assert_false(o.failed);
	for (size_t i = 0; i < o.nr; i++) {
		uint64_t w = o.of[i] >> 12;

		if ((w & 15) == s0 && (w >> 4 & 15) == s1 && (w >> 8 & 15) == s2 &&
		    (w >> 12 & 15) == s3)
			return true;
	}
	return false;
}

#define ARM(name, body)                                                                            \
	static void name(void)                                                                     \
	{                                                                                          \
		body                                                                               \
	}
#define LD(i, v, order) seen[i] = hf_ld(&v, order);
#define ST(v, n, order) hf_st(&v, n, order);
#define TWO(a, b) ((struct program){ .arm = { a, b }, .nr = 2 })
#define THREE(a, b, c) ((struct program){ .arm = { a, b, c }, .nr = 3 })
#define FOUR(a, b, c, d) ((struct program){ .arm = { a, b, c, d }, .nr = 4 })
/* allowed under sc, tso, rc11 */
#define CHECK(p, sc, tso, rc11, ...)                                                               \
	do {                                                                                       \
		assert_int_equal(allows(p, HF_MEMORY_SC, __VA_ARGS__), sc);                        \
		assert_int_equal(allows(p, HF_MEMORY_TSO, __VA_ARGS__), tso);                      \
		assert_int_equal(allows(p, HF_MEMORY_RC11, __VA_ARGS__), rc11);                    \
	} while (0)

/* store buffering */
ARM(sb0, ST(x, 1, relaxed) LD(0, y, relaxed))
ARM(sb1, ST(y, 1, relaxed) LD(1, x, relaxed))
ARM(sb0_ra, ST(x, 1, release) LD(0, y, acquire))
ARM(sb1_ra, ST(y, 1, release) LD(1, x, acquire))
ARM(sb0_sc, ST(x, 1, seq_cst) LD(0, y, seq_cst))
ARM(sb1_sc, ST(y, 1, seq_cst) LD(1, x, seq_cst))
ARM(sb0_rmw, hf_xchg(&x, 1, acq_rel); LD(0, y, acquire))
ARM(sb1_rmw, hf_xchg(&y, 1, acq_rel); LD(1, x, acquire))

static void test_store_buffering(void **state)
{
	(void)state;
	CHECK(TWO(sb0, sb1), 0, 1, 1, 0, 0, 0, 0);
	CHECK(TWO(sb0_ra, sb1_ra), 0, 1, 1, 0, 0, 0, 0);
	CHECK(TWO(sb0_sc, sb1_sc), 0, 0, 0, 0, 0, 0, 0);
	CHECK(TWO(sb0_sc, sb1_ra), 0, 1, 1, 0, 0, 0, 0);
	CHECK(TWO(sb0_rmw, sb1_rmw), 0, 0, 1, 0, 0, 0, 0);
}

/* message passing */
ARM(mp0, ST(x, 1, relaxed) ST(y, 1, relaxed))
ARM(mp0_rel, ST(x, 1, relaxed) ST(y, 1, release))
ARM(mp1, LD(0, y, relaxed) LD(1, x, relaxed))
ARM(mp1_acq, LD(0, y, acquire) LD(1, x, relaxed))

static void test_message_passing(void **state)
{
	(void)state;
	CHECK(TWO(mp0, mp1), 0, 0, 1, 1, 0, 0, 0);
	CHECK(TWO(mp0_rel, mp1), 0, 0, 1, 1, 0, 0, 0);
	CHECK(TWO(mp0, mp1_acq), 0, 0, 1, 1, 0, 0, 0);
	CHECK(TWO(mp0_rel, mp1_acq), 0, 0, 0, 1, 0, 0, 0);
}

/* a release sequence goes on through another's read-modify-write */
ARM(rs1, hf_add(&y, 1, relaxed);)
ARM(rs2, LD(0, y, acquire) LD(1, x, relaxed))

static void test_release_sequence(void **state)
{
	(void)state;
	CHECK(THREE(mp0_rel, rs1, rs2), 0, 0, 0, 2, 0, 0, 0);
	CHECK(THREE(mp0, rs1, rs2), 0, 0, 1, 2, 0, 0, 0);
}

/* a compare-exchange that fails acquires nothing */
ARM(cas1, uint64_t old = 7; hf_cas(&y, &old, 9, seq_cst); seen[0] = old; LD(1, x, relaxed))

static void test_failed_cas(void **state)
{
	(void)state;
	CHECK(TWO(mp0_rel, cas1), 0, 0, 1, 1, 0, 0, 0);
}

/* coherence */
ARM(co0, ST(x, 1, relaxed) ST(x, 2, relaxed))
ARM(co1, LD(0, x, relaxed) LD(1, x, relaxed))

static void test_coherence(void **state)
{
	(void)state;
	CHECK(TWO(co0, co1), 0, 0, 0, 2, 1, 0, 0);
	CHECK(TWO(co0, co1), 0, 0, 0, 1, 0, 0, 0);
	CHECK(TWO(co0, co1), 1, 1, 1, 1, 2, 0, 0);
}

/* load buffering: never, though C11 allows it */
ARM(lb0, LD(0, x, relaxed) ST(y, 1, relaxed))
ARM(lb1, LD(1, y, relaxed) ST(x, 1, relaxed))

static void test_load_buffering(void **state)
{
	(void)state;
	CHECK(TWO(lb0, lb1), 0, 0, 0, 1, 1, 0, 0);
}

/* independent reads of independent writes */
ARM(w_x, ST(x, 1, relaxed))
ARM(w_y, ST(y, 1, relaxed))
ARM(w_x_sc, ST(x, 1, seq_cst))
ARM(w_y_sc, ST(y, 1, seq_cst))
ARM(iriw2, LD(0, x, acquire) LD(1, y, acquire))
ARM(iriw3, LD(2, y, acquire) LD(3, x, acquire))
ARM(iriw2_sc, LD(0, x, seq_cst) LD(1, y, seq_cst))
ARM(iriw3_sc, LD(2, y, seq_cst) LD(3, x, seq_cst))

static void test_independent_reads(void **state)
{
	(void)state;
	CHECK(FOUR(w_x, w_y, iriw2, iriw3), 0, 0, 1, 1, 0, 1, 0);
	CHECK(FOUR(w_x_sc, w_y_sc, iriw2_sc, iriw3_sc), 0, 0, 0, 1, 0, 1, 0);
}

/* write to read causality */
ARM(wrc1, LD(0, x, relaxed) ST(y, 1, release))
ARM(wrc1_acq, LD(0, x, acquire) ST(y, 1, release))
ARM(wrc2, LD(1, y, acquire) LD(2, x, relaxed))

static void test_causality(void **state)
{
	(void)state;
	CHECK(THREE(w_x, wrc1, wrc2), 0, 0, 0, 1, 1, 0, 0);
	CHECK(THREE(w_x, wrc1_acq, wrc2), 0, 0, 0, 1, 1, 0, 0);
}

/* both stores of each arm come first in their orders: final values 1 and 1 */
ARM(ww0, ST(x, 1, relaxed) ST(y, 2, relaxed))
ARM(ww1, ST(y, 1, relaxed) ST(x, 2, relaxed))

static bool ends(struct program p, enum hf_memory_model model, uint64_t word)
{
	static struct outcomes o;

	explore_by(&p, model, HF_EXPLORE_ALL, &o);
	for (size_t i = 0; i < o.nr; i++)
		if ((o.of[i] & 0xfff) == word)
			return true;
	return false;
}

static void test_two_writes_each(void **state)
{
	(void)state;
	assert_false(ends(TWO(ww0, ww1), HF_MEMORY_SC, 0x11));
	assert_false(ends(TWO(ww0, ww1), HF_MEMORY_TSO, 0x11));
	assert_true(ends(TWO(ww0, ww1), HF_MEMORY_RC11, 0x11));
}

/* read-modify-writes lose nothing */
ARM(add, hf_add(&x, 1, relaxed); hf_add(&x, 1, relaxed);)

static void test_atomicity(void **state)
{
	(void)state;
	for (int m = 0; m < HF_NR_MEMORY_MODELS; m++) {
		static struct outcomes o;
		struct program p = THREE(add, add, add);

		explore_by(&p, (enum hf_memory_model)m, HF_EXPLORE_ALL, &o);
		assert_int_equal(o.nr, 1);
		assert_int_equal(o.of[0], 6);
	}
}

/* ---- how many executions there are ---- */

ARM(r_x0, LD(0, x, relaxed))
ARM(r_x1, LD(1, x, relaxed))
ARM(r_x2, LD(2, x, relaxed))
ARM(w1, ST(x, 1, relaxed))
ARM(w2, ST(x, 2, relaxed))
ARM(w3, ST(x, 3, relaxed))

static uint64_t count(struct program p)
{
	static struct outcomes o;

	explore_by(&p, HF_MEMORY_SC, HF_EXPLORE_ALL, &o);
	return o.executions;
}

/* One for each order of what does not commute, no more. */
static void test_counts(void **state)
{
	(void)state;
	assert_int_equal(count(FOUR(w1, r_x0, r_x1, r_x2)), 8);
	assert_int_equal(count(THREE(w1, w2, w3)), 6);
	assert_int_equal(count(TWO(w_x, w_y)), 1);
	assert_int_equal(count(TWO(sb0, sb1)), 3);
}

/* Of a count that does not reach zero, the order is nothing; of one that does, it is. */
ARM(get, hf_ref_add(&x, 1, relaxed);)
ARM(put0, seen[0] = hf_ref_sub(&x, 1, relaxed);)
ARM(put1, seen[1] = hf_ref_sub(&x, 1, relaxed);)
ARM(init_put0, hf_ref_add(&x, 3, relaxed); hf_ref_sub(&x, 1, relaxed);)

static void test_counting(void **state)
{
	(void)state;
	assert_int_equal(count(TWO(put0, put1)), 2);
	assert_int_equal(count(TWO(get, get)), 2);
	assert_true(count(TWO(init_put0, get)) < 4);
}

/* ---- what goes wrong ---- */

static struct hf_lock a_lock, b_lock;

static void lock(struct hf_lock *l)
{
	hf_platform_hosted()->lock(NULL, l);
}

static void unlock(struct hf_lock *l)
{
	hf_platform_hosted()->unlock(NULL, l);
}

ARM(ab, lock(&a_lock); lock(&b_lock); unlock(&b_lock); unlock(&a_lock);)
ARM(ba, lock(&b_lock); lock(&a_lock); unlock(&a_lock); unlock(&b_lock);)
ARM(a_then_b, lock(&a_lock); unlock(&a_lock); lock(&b_lock); unlock(&b_lock);)
ARM(waits, while (!hf_ld(&x, acquire)) hf_platform_hosted()->relax(NULL);)
ARM(forgets, unlock((lock(&a_lock), &b_lock));)

static const char *failure(struct program p, enum hf_memory_model model)
{
	static struct outcomes o;

	explore_by(&p, model, HF_EXPLORE_ALL, &o);
	return o.failed ? hf_m.failure.text : "";
}

static void test_locks(void **state)
{
	(void)state;
	for (int m = 0; m < HF_NR_MEMORY_MODELS; m++) {
		assert_non_null(strstr(failure(TWO(ab, ba), (enum hf_memory_model)m), "lock"));
		assert_string_equal(failure(TWO(ab, a_then_b), (enum hf_memory_model)m), "");
		assert_string_equal(failure(TWO(ab, ab), (enum hf_memory_model)m), "");
		assert_string_equal(failure(TWO(waits, w_x), (enum hf_memory_model)m), "");
		assert_non_null(strstr(failure(TWO(waits, w_y), (enum hf_memory_model)m),
				       "others to write"));
		assert_non_null(strstr(failure(TWO(forgets, w_y), (enum hf_memory_model)m),
				       "does not hold"));
	}
}

/* A reader in a section may still use what was taken away; one outside may not. */
struct thing {
	_Atomic uint64_t value;
	struct hf_rcu_head rcu;
};

static struct thing *_Atomic published;

static void free_thing(struct hf_rcu_head *head)
{
	const struct hf_platform *pf = hf_platform_hosted();

	pf->free(NULL, (char *)head - offsetof(struct thing, rcu), sizeof(struct thing));
}

static void publish(void)
{
	struct thing *t = hf_platform_hosted()->alloc(NULL, sizeof(*t), 64);

	t->value = 1;
	published = t;
}

ARM(retract, struct thing *t = hf_xchg(&published, NULL, seq_cst); t->rcu.func = free_thing;
    hf_platform_hosted()->call_rcu(NULL, &t->rcu);)
ARM(look, struct thing *t = hf_ld(&published, acquire); if (t){ LD(0, t->value, relaxed) })
ARM(look_safely, hf_platform_hosted()->rcu_read_lock(NULL); look();
    hf_platform_hosted()->rcu_read_unlock(NULL);)

static void run_with_thing(void *arg)
{
	publish();
	run_program(arg);
}

static const char *failure_with_thing(struct program p)
{
	hf_m.model = HF_MEMORY_SC;
	hf_mutate(NULL, NULL);
	hf_dpor_start(HF_EXPLORE_ALL, 0, 1);
	do {
		hf_machine_reset();
		hf_dpor_begin();
		if (!hf_machine_guard(run_with_thing, &p))
			return hf_m.failure.text;
	} while (hf_dpor_next());
	return "";
}

static void test_rcu(void **state)
{
	(void)state;
	assert_string_equal(failure_with_thing(TWO(retract, look_safely)), "");
	assert_non_null(strstr(failure_with_thing(TWO(retract, look)), "freed"));
}

/* ---- random programs, explored in two ways ---- */

#define OPS 3

struct random_op {
	uint8_t what, var, order, value;
};

static struct random_op random_ops[3][OPS];
static unsigned random_arms;
static uint64_t seed;

static unsigned dice(unsigned sides)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(seed >> 33) % sides;
}

static void random_op(unsigned arm, unsigned i)
{
	static const struct hf_site sites[3][6] = {
#define ROW(kind)                                                                                  \
	{                                                                                          \
		{ "t", "t", "t", 1, kind, memory_order_relaxed },                                  \
		{ "t", "t", "t", 1, kind, memory_order_relaxed },                                  \
		{ "t", "t", "t", 1, kind, memory_order_acquire },                                  \
		{ "t", "t", "t", 1, kind, memory_order_release },                                  \
		{ "t", "t", "t", 1, kind, memory_order_acq_rel },                                  \
		{ "t", "t", "t", 1, kind, memory_order_seq_cst },                                  \
	}
		ROW(HF_SITE_LOAD), ROW(HF_SITE_STORE), ROW(HF_SITE_RMW)
	};
	static const uint8_t orders[3][3] = { { 0, 2, 5 }, { 0, 3, 5 }, { 0, 4, 5 } };
	const struct random_op *op = &random_ops[arm][i];
	_Atomic uint64_t *var = op->var ? &y : &x;
	struct hf_op o = { .kind = op->what,
			   .rmw = HF_RMW_ADD,
			   .size = 8,
			   .at = (uintptr_t)var,
			   .value = op->value,
			   .order = orders[op->what][op->order],
			   .site = &sites[op->what][op->order] };

	hf_op(&o);
	if (op->what != HF_OP_STORE && arm * OPS + i < 8)
		seen[arm * OPS + i] = o.old & 15;
}

#define RANDOM_ARM(n)                                                                              \
	static void random##n(void)                                                                \
	{                                                                                          \
		for (unsigned i = 0; i < OPS; i++)                                                 \
			random_op(n, i);                                                           \
	}
RANDOM_ARM(0)
RANDOM_ARM(1)
RANDOM_ARM(2)

static void make_random(void)
{
	random_arms = 2 + dice(2);
	for (unsigned a = 0; a < 3; a++)
		for (unsigned i = 0; i < OPS; i++)
			random_ops[a][i] = (struct random_op){ .what = (uint8_t)dice(3),
							       .var = (uint8_t)dice(2),
							       .order = (uint8_t)dice(3),
							       .value = (uint8_t)(1 + dice(3)) };
}

static bool has(const struct outcomes *o, uint64_t word)
{
	for (size_t i = 0; i < o->nr; i++)
		if (o->of[i] == word)
			return true;
	return false;
}

/* The reduction shows all outcomes that all orders show. */
static void test_random_programs(void **state)
{
	static struct outcomes reduced, all;

	(void)state;
	for (uint64_t n = 1; n <= 40; n++) {
		struct program p = { .arm = { random0, random1, random2 } };

		seed = n;
		make_random();
		p.nr = random_arms;
		for (int m = 0; m < HF_NR_MEMORY_MODELS; m++) {
			if (m == HF_MEMORY_TSO && p.nr > 2)
				continue;
			explore_by(&p, (enum hf_memory_model)m, HF_EXPLORE_ALL, &reduced);
			hf_m.unreduced = true;
			explore_by(&p, (enum hf_memory_model)m, HF_EXPLORE_BOUNDED, &all);
			hf_m.unreduced = false;
			for (size_t i = 0; i < all.nr; i++)
				if (!has(&reduced, all.of[i]))
					fail_msg("program %d under %s: %#llx is missing", (int)n,
						 hf_memory_names[m], (unsigned long long)all.of[i]);
			for (size_t i = 0; i < reduced.nr; i++)
				if (!has(&all, reduced.of[i]))
					fail_msg("program %d under %s: %#llx is too much", (int)n,
						 hf_memory_names[m],
						 (unsigned long long)reduced.of[i]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_buffering),
		cmocka_unit_test(test_message_passing),
		cmocka_unit_test(test_release_sequence),
		cmocka_unit_test(test_failed_cas),
		cmocka_unit_test(test_coherence),
		cmocka_unit_test(test_load_buffering),
		cmocka_unit_test(test_independent_reads),
		cmocka_unit_test(test_causality),
		cmocka_unit_test(test_two_writes_each),
		cmocka_unit_test(test_atomicity),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_counting),
		cmocka_unit_test(test_locks),
		cmocka_unit_test(test_rcu),
		cmocka_unit_test(test_random_programs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
