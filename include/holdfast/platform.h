/* SPDX-License-Identifier: MIT */
/*
 * What the freestanding core asks of its surroundings.
 *
 * CAVEATS FIRST
 *  - Every callback is called from many threads at once, except where a comment says otherwise.
 *  - No callback may call back into the core.
 *  - alloc() is the only callback that may fail. The core unwinds whatever it was doing when it
 *    does.
 *  - A thread never sleeps between tlb_begin() and tlb_end(), nor takes a lock there; so
 *    tlb_flush() may be called with any lock of the core held.
 *
 * Besides this, a freestanding build needs what compilers take for granted: memcpy, memmove and
 * memset.
 *
 * Lock order inside the core: mmap_lock (rw; in fork parent's, then child's) -> page lock -> file
 * lock -> anon_vma lock -> ptl -> leaf locks (allocator, swap slots, hugetlb pool, KSM, owners).
 */
#ifndef HOLDFAST_PLATFORM_H
#define HOLDFAST_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define HF_ALIGNAS(n) alignas(n)
#else
#define HF_ALIGNAS(n) _Alignas(n)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Storage for one mutual-exclusion lock; the platform gives it meaning. */
struct hf_lock {
	HF_ALIGNAS(16) unsigned char opaque[64];
};

/* Storage for one reader/writer lock that may be held across everything else in the core. */
struct hf_rwlock {
	HF_ALIGNAS(16) unsigned char opaque[64];
};

/* Embedded in an object that is freed after an RCU grace period.
 * `opaque` belongs to the platform. */
struct hf_rcu_head {
	HF_ALIGNAS(16) unsigned char opaque[32];
	void (*func)(struct hf_rcu_head *head);
	void *owner; /* belongs to the core */
};

struct hf_platform {
	void *ctx; /* passed to every callback */

	/* `size` bytes aligned to `align` (a power of two),
	 * contents undefined; NULL when there are none. */
	void *(*alloc)(void *ctx, size_t size, size_t align);
	/* `size` is what was asked for. */
	void (*free)(void *ctx, void *ptr, size_t size);

	/* A small number that tells the running threads apart; used only to spread load. */
	unsigned (*thread_id)(void *ctx);

	void (*lock_init)(void *ctx, struct hf_lock *lock);
	void (*lock_destroy)(void *ctx, struct hf_lock *lock);
	void (*lock)(void *ctx, struct hf_lock *lock);
	void (*unlock)(void *ctx, struct hf_lock *lock);

	void (*rwlock_init)(void *ctx, struct hf_rwlock *lock);
	void (*rwlock_destroy)(void *ctx, struct hf_rwlock *lock);
	void (*read_lock)(void *ctx, struct hf_rwlock *lock);
	void (*read_unlock)(void *ctx, struct hf_rwlock *lock);
	void (*write_lock)(void *ctx, struct hf_rwlock *lock);
	void (*write_unlock)(void *ctx, struct hf_rwlock *lock);

	/* Whether the calling thread has the lock; `write`: for writing. Asked by assertions alone,
	 * which are gone with NDEBUG. NULL: the platform does not know. */
	bool (*held)(void *ctx, const struct hf_lock *lock);
	bool (*rwlock_held)(void *ctx, const struct hf_rwlock *lock, bool write);

	/* RCU. call_rcu() runs head->func(head) once every
	 * read section that is open now has closed. */
	void (*rcu_read_lock)(void *ctx);
	void (*rcu_read_unlock)(void *ctx);
	void (*call_rcu)(void *ctx, struct hf_rcu_head *head);
	/* Returns when every callback that was queued before has run. Called with no lock held. */
	void (*rcu_barrier)(void *ctx);

	/*
	 * The TLB. Between tlb_begin(asid) and tlb_end() the calling thread uses translations of
	 * that address space. tlb_flush(asid) returns once no thread still uses a translation that
	 * it read before the call. tlb_begin() orders before the reads that follow it, and
	 * tlb_flush() after the writes that precede it, in the single total order of sequentially
	 * consistent operations. asid is never 0.
	 */
	void (*tlb_begin)(void *ctx, uint32_t asid);
	void (*tlb_end)(void *ctx);
	void (*tlb_flush)(void *ctx, uint32_t asid);

	/*
	 * Copies `len` bytes of frame memory. The other side may be written meanwhile by CPUs or
	 * devices: each aligned 8-byte word is copied whole when both sides and the length are
	 * aligned to 8.
	 */
	void (*copy)(void *ctx, void *to, const void *from, size_t len);

	/* Called in loops that wait for another thread. */
	void (*relax)(void *ctx);
};

#ifdef __cplusplus
}
#endif
#endif
