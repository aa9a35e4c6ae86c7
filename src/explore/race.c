/* SPDX-License-Identifier: MIT */
/*
 * Data races on what is not atomic, under rc11. The core is compiled as for ThreadSanitizer, and
 * its calls come here: two accesses to the same bytes, one of them a store, of which neither
 * happens before the other. Frames are left out: devices and CPUs meet there by design.
 *
 * And whatever was done with a block, atomically or not, happens before it is freed.
 */
#include "internal.h"

#include <string.h>

#define CELLS 65536
#define GRAIN 4 /* bytes */

struct cell {
	uintptr_t at;
	uint32_t round; /* of hf_race_start(): older ones are void */
	uint8_t writer; /* arm plus 1 */
	uint32_t written;
	uint32_t read[HF_ARMS]; /* epochs, from 1 */
};

struct uses {
	uint32_t round;
	uint32_t epoch[HF_ARMS]; /* of each arm's last use */
};

static struct {
	struct cell cells[CELLS];
	struct uses uses[HF_MAX_BLOCKS];
	uint32_t round;
} races;

void hf_race_start(void)
{
	races.round++;
}

static struct cell *cell_of(uintptr_t at)
{
	uint32_t i = (uint32_t)(at / GRAIN * 0x9e3779b97f4a7c15ull >> 40) % CELLS;
	struct cell *c = &races.cells[i];

	if (c->round != races.round || c->at != at)
		*c = (struct cell){ .at = at, .round = races.round };
	return c;
}

static _Noreturn void report(const char *what, unsigned arm, unsigned other, uintptr_t at)
{
	const struct hf_op *op = hf_pending(arm);
	const struct hf_site *last = op ? op->site : NULL;

	hf_fail("data race: arm %c %s what arm %c used, not ordered (%zu bytes into its block; arm "
		"%c was last at %s:%d)",
		'a' + (char)arm, what, 'a' + (char)other, hf_heap_offset(at), 'a' + (char)arm,
		last ? last->function : "the platform", last ? last->line : 0);
}

/* The last plain store happens before what the arm does now. */
static void check_writer(const struct cell *c, const char *what, unsigned arm)
{
	if (c->writer && c->writer != arm + 1 && hf_memory_known(arm, c->writer - 1) < c->written)
		report(what, arm, c->writer - 1, c->at);
}

static void look(unsigned arm, uintptr_t at, bool store)
{
	struct cell *c = cell_of(at);

	check_writer(c, store ? "stores to" : "reads", arm);
	for (unsigned t = 0; store && t < HF_ARMS; t++)
		if (t != arm && c->read[t] && hf_memory_known(arm, t) < c->read[t])
			report("stores to", arm, t, at);
	if (store) {
		c->writer = (uint8_t)(arm + 1);
		c->written = hf_memory_epoch(arm);
	} else {
		c->read[arm] = hf_memory_epoch(arm);
	}
}

void hf_race_use(unsigned arm, uint32_t block)
{
	struct uses *u = &races.uses[block];

	if (u->round != races.round)
		*u = (struct uses){ .round = races.round };
	u->epoch[arm] = hf_memory_epoch(arm);
}

void hf_race_free(unsigned arm, uint32_t block, const uint32_t *known)
{
	const struct uses *u = &races.uses[block];

	for (unsigned t = 0; u->round == races.round && t < HF_ARMS; t++)
		if (t != arm && known[t] < u->epoch[t])
			hf_fail("data race: arm %c frees what arm %c used, not ordered",
				'a' + (char)arm, 'a' + (char)t);
}

static void access_plain(const void *ptr, size_t size, bool store)
{
	uintptr_t at = (uintptr_t)ptr & ~(uintptr_t)(GRAIN - 1), end = (uintptr_t)ptr + size;
	uint32_t block;

	if (!hf_m.running || hf_m.model != HF_MEMORY_RC11 || hf_arm() < 0 || hf_rcu_is_freeing())
		return;
	block = hf_heap_block(at);
	if (block == HF_NO_BLOCK || hf_heap_in_frames(at))
		return;
	if (hf_heap_is_freed(block))
		hf_fail("arm %c uses memory that was freed", 'a' + (char)hf_arm());
	hf_race_use((unsigned)hf_arm(), block);
	for (; at < end; at += GRAIN)
		look((unsigned)hf_arm(), at, store);
}

/* An atomic access comes after the plain store that made the variable. */
void hf_race_atomic(unsigned arm, uintptr_t at)
{
	check_writer(cell_of(at & ~(uintptr_t)(GRAIN - 1)), "uses", arm);
}

/* ---- what the compiler calls ---- */

#define PLAIN(size)                                                                                \
	void __tsan_read##size(void *ptr);                                                         \
	void __tsan_write##size(void *ptr);                                                        \
	void __tsan_unaligned_read##size(void *ptr);                                               \
	void __tsan_unaligned_write##size(void *ptr);                                              \
	void __tsan_read##size(void *ptr)                                                          \
	{                                                                                          \
		access_plain(ptr, size, false);                                                    \
	}                                                                                          \
	void __tsan_write##size(void *ptr)                                                         \
	{                                                                                          \
		access_plain(ptr, size, true);                                                     \
	}                                                                                          \
	void __tsan_unaligned_read##size(void *ptr)                                                \
	{                                                                                          \
		access_plain(ptr, size, false);                                                    \
	}                                                                                          \
	void __tsan_unaligned_write##size(void *ptr)                                               \
	{                                                                                          \
		access_plain(ptr, size, true);                                                     \
	}
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

/* Atomics by another way than the hooks: variables that are made. */
#define MADE(bits)                                                                                 \
	uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *ptr, int order);  \
	void __tsan_atomic##bits##_store(volatile uint##bits##_t *ptr, uint##bits##_t value,       \
					 int order);                                               \
	uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *ptr, int order)   \
	{                                                                                          \
		(void)order;                                                                       \
		access_plain((const void *)(uintptr_t)ptr, sizeof(*ptr), false);                   \
		return *ptr;                                                                       \
	}                                                                                          \
	void __tsan_atomic##bits##_store(volatile uint##bits##_t *ptr, uint##bits##_t value,       \
					 int order)                                                \
	{                                                                                          \
		(void)order;                                                                       \
		access_plain((const void *)(uintptr_t)ptr, sizeof(*ptr), true);                    \
		*ptr = value;                                                                      \
	}
MADE(8)
MADE(32)
MADE(64)

void __tsan_read_range(void *ptr, size_t size);
void __tsan_write_range(void *ptr, size_t size);
void *__tsan_memcpy(void *to, const void *from, size_t size);
void *__tsan_memset(void *to, int byte, size_t size);
void __tsan_init(void);
void __tsan_func_entry(void *caller);
void __tsan_func_exit(void);

void __tsan_read_range(void *ptr, size_t size)
{
	access_plain(ptr, size, false);
}

void __tsan_write_range(void *ptr, size_t size)
{
	access_plain(ptr, size, true);
}

void *__tsan_memcpy(void *to, const void *from, size_t size)
{
	access_plain(from, size, false);
	access_plain(to, size, true);
	return memcpy(to, from, size);
}

void *__tsan_memset(void *to, int byte, size_t size)
{
	access_plain(to, size, true);
	return memset(to, byte, size);
}

void __tsan_init(void)
{
}

void __tsan_func_entry(void *caller)
{
	(void)caller;
}

void __tsan_func_exit(void)
{
}
