/* SPDX-License-Identifier: MIT */
/*
 * The platform of the checked core, in place of src/platform/hosted.c: the same promises, kept by
 * the scheduler. Outside par blocks there is one thread, and nothing to wait for.
 *
 * A callback of call_rcu() runs as soon as it may: what is freed is never given out again, so the
 * earliest moment is the one that catches whoever comes too late.
 */
#include "internal.h"

#include <holdfast/hosted.h>
#include <string.h>

#define MAX_CALLBACKS 256

struct callback {
	struct hf_rcu_head *head;
	uint32_t readers; /* whose sections must end first */
	struct hf_known known;
};

static struct {
	struct callback waiting[MAX_CALLBACKS];
	unsigned nr;
	unsigned main_depth;
	const struct hf_site *site; /* of the next call */
} platform;

void hf_hook_at(const struct hf_site *site)
{
	platform.site = site;
}

static const struct hf_site *take_site(void)
{
	const struct hf_site *site = platform.site;

	platform.site = NULL;
	return site;
}

static void operate(enum hf_op_kind kind, uintptr_t at, uint64_t value)
{
	struct hf_op op = { .kind = kind, .at = at, .value = value, .site = take_site() };

	if (hf_m.running && !hf_skips(op.site, &op))
		hf_op(&op);
}

/* ---- memory ---- */

static void *checked_alloc(void *ctx, size_t size, size_t align)
{
	(void)ctx;
	return hf_heap_alloc(size, align);
}

static void checked_free(void *ctx, void *ptr, size_t size)
{
	(void)ctx;
	(void)size;
	if (hf_m.running)
		operate(HF_OP_FREE, (uintptr_t)ptr, 0);
	else
		hf_heap_free(ptr);
}

static bool is_frame(const void *at)
{
	return hf_heap_in_frames((uintptr_t)at);
}

static bool is_hot(uintptr_t at)
{
	uintptr_t word = (at & (HF_PAGE_SIZE - 1)) / 8;

	return hf_m.hot[word / 64] >> word % 64 & 1;
}

static uint64_t load_word(uintptr_t at, size_t size)
{
	struct hf_op op = { .kind = HF_OP_LOAD, .at = at, .size = (uint8_t)size };

	hf_op(&op);
	return op.old;
}

static void store_word(uintptr_t at, size_t size, uint64_t value)
{
	struct hf_op op = { .kind = HF_OP_STORE, .at = at, .size = (uint8_t)size, .value = value };

	hf_op(&op);
}

/* A word that the scenario touches, or what of it lies in the range. */
static void copy_word(unsigned char *to, const unsigned char *from, size_t len)
{
	uint64_t value = 0;

	if (is_frame(from))
		value = load_word((uintptr_t)from, len);
	else
		memcpy(&value, from, len);
	if (is_frame(to))
		store_word((uintptr_t)to, len, value);
	else
		memcpy(to, &value, len);
}

/* The next hot word at or after `at`, or the end of the range. */
static size_t next_hot(uintptr_t key, size_t at, size_t len)
{
	while (at < len && !is_hot(key + at))
		at += 8 - ((key + at) & 7);
	return at < len ? at : len;
}

static void checked_copy(void *ctx, void *to, const void *from, size_t len)
{
	const unsigned char *f = from;
	unsigned char *t = to;
	uintptr_t key = is_frame(to) ? (uintptr_t)to : (uintptr_t)from;

	(void)ctx;
	for (size_t at = 0, n; at < len; at += n) {
		n = hf_m.running ? next_hot(key, at, len) - at : len;
		memcpy(t + at, f + at, n);
		at += n;
		n = 8 - ((key + at) & 7);
		n = n < len - at ? n : len - at;
		if (n)
			copy_word(t + at, f + at, n);
	}
}

void hf_hook_fill(void *to, int byte, size_t len)
{
	const uint64_t word = 0x0101010101010101ull * (unsigned char)byte;
	unsigned char *t = to;

	for (size_t at = 0, n; at < len; at += 8) {
		n = hf_m.running ? next_hot((uintptr_t)t, at, len) - at : len;
		memset(t + at, byte, n);
		at += n;
		if (at < len)
			store_word((uintptr_t)t + at, 8, word);
	}
}

void hf_hook_tally(uint64_t *count, uint64_t by)
{
	*count += by;
}

static unsigned checked_thread_id(void *ctx)
{
	(void)ctx;
	return (unsigned)(hf_arm() + 1);
}

/* ---- locks ---- */

static void no_lock(void *ctx, struct hf_lock *lock)
{
	(void)ctx;
	(void)lock;
}

static void no_rwlock(void *ctx, struct hf_rwlock *lock)
{
	(void)ctx;
	(void)lock;
}

static void checked_lock(void *ctx, struct hf_lock *lock)
{
	(void)ctx;
	operate(HF_OP_LOCK, (uintptr_t)lock, 0);
}

static void checked_unlock(void *ctx, struct hf_lock *lock)
{
	(void)ctx;
	operate(HF_OP_UNLOCK, (uintptr_t)lock, 0);
}

static void checked_read_lock(void *ctx, struct hf_rwlock *lock)
{
	(void)ctx;
	operate(HF_OP_READ_LOCK, (uintptr_t)lock, 0);
}

static void checked_read_unlock(void *ctx, struct hf_rwlock *lock)
{
	(void)ctx;
	operate(HF_OP_READ_UNLOCK, (uintptr_t)lock, 0);
}

static void checked_write_lock(void *ctx, struct hf_rwlock *lock)
{
	(void)ctx;
	operate(HF_OP_WRITE_LOCK, (uintptr_t)lock, 0);
}

static void checked_write_unlock(void *ctx, struct hf_rwlock *lock)
{
	(void)ctx;
	operate(HF_OP_WRITE_UNLOCK, (uintptr_t)lock, 0);
}

/* Where no arms run, nothing was ever locked. */
static bool checked_held(void *ctx, const struct hf_lock *lock)
{
	(void)ctx;
	return !hf_m.running || hf_arm_holds((uintptr_t)lock, true);
}

static bool checked_rwlock_held(void *ctx, const struct hf_rwlock *lock, bool write)
{
	(void)ctx;
	return !hf_m.running || hf_arm_holds((uintptr_t)lock, write);
}

/* ---- RCU ---- */

static void run_callback(const struct callback *c)
{
	hf_rcu_frees(&c->known);
	c->head->func(c->head);
	hf_rcu_frees(NULL);
}

static void run_ready(void)
{
	for (unsigned i = 0; i < platform.nr;) {
		struct callback c = platform.waiting[i];

		if (c.readers) {
			i++;
			continue;
		}
		platform.waiting[i] = platform.waiting[--platform.nr];
		run_callback(&c);
	}
}

static void checked_rcu_read_lock(void *ctx)
{
	(void)ctx;
	platform.main_depth += !hf_m.running;
	operate(HF_OP_RCU_LOCK, HF_AT_RCU, 0);
}

static void checked_rcu_read_unlock(void *ctx)
{
	uint32_t me = hf_m.running ? 1u << hf_arm() : 0;

	(void)ctx;
	operate(HF_OP_RCU_UNLOCK, HF_AT_RCU, 0);
	if (!hf_m.running) {
		if (!--platform.main_depth)
			run_ready();
		return;
	}
	if (hf_rcu_readers() & me)
		return;
	for (unsigned i = 0; i < platform.nr; i++)
		if (platform.waiting[i].readers & me) {
			platform.waiting[i].readers &= ~me;
			hf_join_known(&platform.waiting[i].known,
				      hf_last_section((unsigned)hf_arm()));
		}
	run_ready();
}

static void checked_call_rcu(void *ctx, struct hf_rcu_head *head)
{
	struct callback *c = &platform.waiting[platform.nr];

	(void)ctx;
	operate(HF_OP_RCU_CALL, HF_AT_RCU, 0);
	if (platform.nr == MAX_CALLBACKS)
		hf_fail("more than %d callbacks wait for readers", MAX_CALLBACKS);
	*c = (struct callback){ .head = head };
	if (hf_m.running) {
		c->readers = hf_rcu_readers();
		c->known = hf_known_by((unsigned)hf_arm());
		/* sections that ended before come before it, too */
		for (unsigned t = 0; t < HF_ARMS; t++)
			hf_join_known(&c->known, hf_last_section(t));
	}
	platform.nr++;
	if (hf_m.running || !platform.main_depth)
		run_ready();
}

static void checked_rcu_barrier(void *ctx)
{
	(void)ctx;
	run_ready();
}

/* ---- the TLB ---- */

static void checked_tlb_begin(void *ctx, uint32_t asid)
{
	(void)ctx;
	operate(HF_OP_TLB_BEGIN, HF_AT_TLB(asid), asid);
}

static void checked_tlb_end(void *ctx)
{
	(void)ctx;
	if (hf_m.running)
		operate(HF_OP_TLB_END, HF_AT_TLB(hf_asid((unsigned)hf_arm())), 0);
}

static void checked_tlb_flush(void *ctx, uint32_t asid)
{
	const struct hf_site *site = platform.site;

	(void)ctx;
	operate(HF_OP_TLB_FLUSH, HF_AT_TLB(asid), asid);
	hf_hook_at(site);
	operate(HF_OP_TLB_WAIT, HF_AT_TLB(asid), asid);
}

static void checked_relax(void *ctx)
{
	(void)ctx;
	operate(HF_OP_WAIT, 0, 0);
}

/* ---- atomics ---- */

static struct hf_op access_at(const struct hf_site *site, enum hf_op_kind kind,
			      const volatile void *at, size_t size)
{
	return (struct hf_op){ .kind = kind,
			       .size = (uint8_t)size,
			       .order = hf_site_order(site),
			       .site = site,
			       .at = (uintptr_t)at };
}

static void access_word(struct hf_op *op)
{
	if (hf_m.running)
		hf_op(op);
	else
		hf_memory_plain(op);
}

static uint64_t modify(struct hf_op op, enum hf_rmw what, uint64_t operand, bool counts)
{
	op.rmw = what;
	op.value = operand;
	op.counts = counts;
	access_word(&op);
	return op.old;
}

/* Most of it by the validator, which walks all tables when no arm runs. */
uint64_t hf_hook_load(const struct hf_site *site, const volatile void *at, size_t size)
{
	struct hf_op op;

	if (!hf_m.running)
		return hf_memory_word(at, size);
	op = access_at(site, HF_OP_LOAD, at, size);
	hf_op(&op);
	return hf_stale_value(&op);
}

uint64_t hf_hook_peek(const volatile void *at, size_t size)
{
	return hf_m.running ? hf_memory_peek((unsigned)hf_arm(), at, size)
			    : hf_memory_word(at, size);
}

void hf_hook_store(const struct hf_site *site, volatile void *at, size_t size, uint64_t value)
{
	struct hf_op op = access_at(site, HF_OP_STORE, at, size);

	op.value = value;
	access_word(&op);
}

uint64_t hf_hook_rmw(const struct hf_site *site, volatile void *at, size_t size, enum hf_rmw what,
		     uint64_t operand)
{
	return modify(access_at(site, HF_OP_RMW, at, size), what, operand, false);
}

uint64_t hf_hook_count(const struct hf_site *site, const volatile void *at, size_t size,
		       int64_t delta)
{
	return modify(access_at(site, HF_OP_LOAD, at, size), delta < 0 ? HF_RMW_SUB : HF_RMW_ADD,
		      (uint64_t)(delta < 0 ? -delta : delta), true);
}

uint64_t hf_hook_count_by(const struct hf_site *site, volatile void *at, size_t size,
			  enum hf_rmw what, uint64_t operand)
{
	return modify(access_at(site, HF_OP_RMW, at, size), what, operand, true);
}

bool hf_hook_cas(const struct hf_site *site, volatile void *at, size_t size, uint64_t *old,
		 uint64_t value)
{
	struct hf_op op = access_at(site, HF_OP_RMW, at, size);

	op.rmw = HF_RMW_CAS;
	op.value = value;
	op.expected = *old;
	access_word(&op);
	*old = op.old;
	return op.done;
}

void hf_platform_reset(void)
{
	platform.nr = 0;
	platform.main_depth = 0;
}

static const struct hf_platform checked = {
	.alloc = checked_alloc,
	.free = checked_free,
	.thread_id = checked_thread_id,
	.lock_init = no_lock,
	.lock_destroy = no_lock,
	.lock = checked_lock,
	.unlock = checked_unlock,
	.rwlock_init = no_rwlock,
	.rwlock_destroy = no_rwlock,
	.read_lock = checked_read_lock,
	.read_unlock = checked_read_unlock,
	.write_lock = checked_write_lock,
	.write_unlock = checked_write_unlock,
	.held = checked_held,
	.rwlock_held = checked_rwlock_held,
	.rcu_read_lock = checked_rcu_read_lock,
	.rcu_read_unlock = checked_rcu_read_unlock,
	.call_rcu = checked_call_rcu,
	.rcu_barrier = checked_rcu_barrier,
	.tlb_begin = checked_tlb_begin,
	.tlb_end = checked_tlb_end,
	.tlb_flush = checked_tlb_flush,
	.copy = checked_copy,
	.relax = checked_relax,
};

const struct hf_platform *hf_platform_hosted(void)
{
	return &checked;
}
