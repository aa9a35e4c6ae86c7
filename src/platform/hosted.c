/* SPDX-License-Identifier: MIT */
/*
 * The hosted platform: POSIX threads, malloc, liburcu.
 *
 * The TLB is a slot a thread: which address space it translates in, and a sequence number. A flush
 * waits for every slot that is in that address space until it moves on. Slots live in thread-local
 * storage, on a list that a thread joins at its first access and leaves when it ends.
 */
#include <holdfast/hosted.h>

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <urcu/urcu-bp.h>

#if defined(__SANITIZE_THREAD__)
#define HF_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HF_TSAN 1
#endif
#endif

#ifdef HF_TSAN
/* liburcu is not instrumented: tell the race detector what a grace period orders. */
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
static char rcu_order;
#define RCU_RELEASE() __tsan_release(&rcu_order)
#define RCU_ACQUIRE() __tsan_acquire(&rcu_order)
#else
#define RCU_RELEASE() ((void)0)
#define RCU_ACQUIRE() ((void)0)
#endif

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(struct hf_lock), "hf_lock is too small");
_Static_assert(sizeof(pthread_rwlock_t) <= sizeof(struct hf_rwlock), "hf_rwlock is too small");
static void *hosted_alloc(void *ctx, size_t size, size_t align)
{
	void *ptr;

	(void)ctx;
	return posix_memalign(&ptr, align < sizeof(void *) ? sizeof(void *) : align, size) ? NULL
											   : ptr;
}

static void hosted_free(void *ctx, void *ptr, size_t size)
{
	(void)ctx;
	(void)size;
	free(ptr);
}

/* ---- who has which lock: for assertions ---- */

#ifdef NDEBUG
#define TAKEN(lock, write) ((void)0)
#define DROPPED(lock) ((void)0)
#define KNOWN(call) NULL
#else
#define MAX_HELD 16 /* of one thread at a time */
#define TAKEN(lock, write) note_taken(lock, write)
#define DROPPED(lock) note_dropped(lock)
#define KNOWN(call) (call)

static _Thread_local struct {
	struct {
		const void *lock;
		bool write;
	} of[MAX_HELD];
	unsigned nr;
} mine;

/* Its place, or `nr`. */
static unsigned place_of(const void *lock)
{
	unsigned i = 0;

	while (i < mine.nr && mine.of[i].lock != lock)
		i++;
	return i;
}

static void note_taken(const void *lock, bool write)
{
	assert(mine.nr < MAX_HELD && place_of(lock) == mine.nr);
	mine.of[mine.nr].lock = lock;
	mine.of[mine.nr++].write = write;
}

static void note_dropped(const void *lock)
{
	unsigned i = place_of(lock);

	assert(i < mine.nr);
	mine.of[i] = mine.of[--mine.nr];
}

static bool lock_held(void *ctx, const struct hf_lock *lock)
{
	(void)ctx;
	return place_of(lock) < mine.nr;
}

static bool rwlock_held(void *ctx, const struct hf_rwlock *lock, bool write)
{
	unsigned i = place_of(lock);

	(void)ctx;
	return i < mine.nr && (mine.of[i].write || !write);
}
#endif

/* ---- locks ---- */

static void lock_init(void *ctx, struct hf_lock *lock)
{
	(void)ctx;
	pthread_mutex_init((pthread_mutex_t *)lock, NULL);
}

static void lock_destroy(void *ctx, struct hf_lock *lock)
{
	(void)ctx;
	pthread_mutex_destroy((pthread_mutex_t *)lock);
}

static void lock_lock(void *ctx, struct hf_lock *lock)
{
	(void)ctx;
	pthread_mutex_lock((pthread_mutex_t *)lock);
	TAKEN(lock, true);
}

static void lock_unlock(void *ctx, struct hf_lock *lock)
{
	(void)ctx;
	DROPPED(lock);
	pthread_mutex_unlock((pthread_mutex_t *)lock);
}

static void rwlock_init(void *ctx, struct hf_rwlock *lock)
{
	pthread_rwlockattr_t attr;

	(void)ctx;
	/* writers must not starve: a fork among threads that fault all the time */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init((pthread_rwlock_t *)lock, &attr);
	pthread_rwlockattr_destroy(&attr);
}

static void rwlock_destroy(void *ctx, struct hf_rwlock *lock)
{
	(void)ctx;
	pthread_rwlock_destroy((pthread_rwlock_t *)lock);
}

static void rw_read_lock(void *ctx, struct hf_rwlock *lock)
{
	(void)ctx;
	pthread_rwlock_rdlock((pthread_rwlock_t *)lock);
	TAKEN(lock, false);
}

static void rw_write_lock(void *ctx, struct hf_rwlock *lock)
{
	(void)ctx;
	pthread_rwlock_wrlock((pthread_rwlock_t *)lock);
	TAKEN(lock, true);
}

static void rw_unlock(void *ctx, struct hf_rwlock *lock)
{
	(void)ctx;
	DROPPED(lock);
	pthread_rwlock_unlock((pthread_rwlock_t *)lock);
}

/* ---- RCU ---- */

static void hosted_rcu_read_lock(void *ctx)
{
	(void)ctx;
	urcu_bp_read_lock();
}

static void hosted_rcu_read_unlock(void *ctx)
{
	(void)ctx;
	RCU_RELEASE();
	urcu_bp_read_unlock();
}

/*
 * liburcu's callback thread looks for work every 10 ms, too slowly for the end of a small machine.
 * So callbacks gather in a chain of our own: a long one goes to liburcu, and a barrier runs the
 * rest after a grace period of its own.
 */
#define RCU_CHAIN 256

struct rcu_link {
	struct rcu_head rcu; /* of the chain's first, for liburcu */
	struct hf_rcu_head *next;
};

_Static_assert(sizeof(struct rcu_link) <= sizeof(((struct hf_rcu_head *)0)->opaque),
	       "hf_rcu_head is too small");

static struct {
	pthread_mutex_t lock;    /* of the chain; a leaf */
	pthread_mutex_t barrier; /* who comes second finds all run */
	struct hf_rcu_head *chain;
	unsigned length;
	bool handed_over; /* to liburcu, since the last barrier */
} rcu = { .lock = PTHREAD_MUTEX_INITIALIZER, .barrier = PTHREAD_MUTEX_INITIALIZER };

static struct rcu_link *link_of(struct hf_rcu_head *head)
{
	return (struct rcu_link *)head->opaque;
}

static void run_chain(struct hf_rcu_head *head)
{
	RCU_ACQUIRE();
	while (head) {
		struct hf_rcu_head *next = link_of(head)->next;

		head->func(head);
		head = next;
	}
	RCU_RELEASE();
}

static void run_chain_from_liburcu(struct rcu_head *head)
{
	run_chain((struct hf_rcu_head *)head); /* opaque, and in it rcu, come first */
}

static void hosted_call_rcu(void *ctx, struct hf_rcu_head *head)
{
	(void)ctx;
	pthread_mutex_lock(&rcu.lock);
	link_of(head)->next = rcu.chain;
	rcu.chain = head;
	if (++rcu.length == RCU_CHAIN) {
		rcu.chain = NULL;
		rcu.length = 0;
		rcu.handed_over = true;
		RCU_RELEASE();
		urcu_bp_call_rcu(&link_of(head)->rcu, run_chain_from_liburcu);
	}
	pthread_mutex_unlock(&rcu.lock);
}

static void hosted_rcu_barrier(void *ctx)
{
	struct hf_rcu_head *chain;
	bool handed_over;

	(void)ctx;
	pthread_mutex_lock(&rcu.barrier);
	pthread_mutex_lock(&rcu.lock);
	chain = rcu.chain;
	handed_over = rcu.handed_over;
	rcu.chain = NULL;
	rcu.length = 0;
	rcu.handed_over = false;
	pthread_mutex_unlock(&rcu.lock);
	if (chain) {
		urcu_bp_synchronize_rcu();
		run_chain(chain);
	}
	if (handed_over)
		urcu_bp_barrier();
	pthread_mutex_unlock(&rcu.barrier);
	RCU_ACQUIRE();
}

/* ---- threads and the TLB ---- */

struct tlb_slot {
	_Atomic uint64_t state; /* asid << 32 | sequence; asid 0: not translating */
	uint32_t seq;
	bool listed;
	unsigned id;
	struct tlb_slot *next, *prev;
};

static _Thread_local struct tlb_slot self;
static struct tlb_slot *slots;
static unsigned next_id;
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;

static void slot_leave(void *arg)
{
	struct tlb_slot *slot = arg;

	pthread_mutex_lock(&slots_lock);
	if (slot->prev)
		slot->prev->next = slot->next;
	else
		slots = slot->next;
	if (slot->next)
		slot->next->prev = slot->prev;
	slot->listed = false;
	pthread_mutex_unlock(&slots_lock);
}

static void make_key(void)
{
	pthread_key_create(&key, slot_leave);
}

static void slot_join(void)
{
	pthread_once(&key_once, make_key);
	pthread_setspecific(key, &self);
	pthread_mutex_lock(&slots_lock);
	self.id = next_id++;
	self.prev = NULL;
	self.next = slots;
	if (slots)
		slots->prev = &self;
	slots = &self;
	self.listed = true;
	pthread_mutex_unlock(&slots_lock);
}

static unsigned hosted_thread_id(void *ctx)
{
	(void)ctx;
	if (!self.listed)
		slot_join();
	return self.id;
}

/*
 * Entries are read after the begin, and changed before the flush, by weaker accesses than these: a
 * slot that the flush does not see reads what was changed. The race detector knows no fences; a
 * seq_cst store is one wherever it runs.
 */
#ifdef HF_TSAN
#define BEFORE_BARRIER memory_order_seq_cst
static void full_barrier(void)
{
}
#else
#define BEFORE_BARRIER memory_order_relaxed
static void full_barrier(void)
{
	atomic_thread_fence(memory_order_seq_cst);
}
#endif

static void hosted_tlb_begin(void *ctx, uint32_t asid)
{
	(void)ctx;
	if (!self.listed)
		slot_join();
	atomic_store_explicit(&self.state, (uint64_t)asid << 32 | ++self.seq, BEFORE_BARRIER);
	full_barrier();
}

static void hosted_tlb_end(void *ctx)
{
	(void)ctx;
	atomic_store_explicit(&self.state, 0, memory_order_release);
}

static void hosted_relax(void *ctx)
{
	(void)ctx;
	sched_yield();
}

static void hosted_tlb_flush(void *ctx, uint32_t asid)
{
	(void)ctx;
	full_barrier();
	pthread_mutex_lock(&slots_lock);
	for (struct tlb_slot *slot = slots; slot; slot = slot->next) {
		uint64_t seen = atomic_load_explicit(&slot->state, memory_order_seq_cst);

		if (seen >> 32 != asid)
			continue;
		while (atomic_load_explicit(&slot->state, memory_order_acquire) == seen)
			sched_yield();
	}
	pthread_mutex_unlock(&slots_lock);
}

/* ---- memory ---- */

#ifdef HF_TSAN
/* Frames are written by CPUs and devices at once, as on hardware:
 * say so to the race detector, word by word. */
static void hosted_copy(void *ctx, void *to, const void *from, size_t len)
{
	_Atomic unsigned char *t = to;
	const _Atomic unsigned char *f = from;

	(void)ctx;
	for (; len && ((uintptr_t)t | (uintptr_t)f) % 8; len--)
		atomic_store_explicit(t++, atomic_load_explicit(f++, memory_order_relaxed),
				      memory_order_relaxed);
	for (; len >= 8; len -= 8, t += 8, f += 8)
		atomic_store_explicit(
			(_Atomic uint64_t *)t,
			atomic_load_explicit((const _Atomic uint64_t *)f, memory_order_relaxed),
			memory_order_relaxed);
	for (; len; len--)
		atomic_store_explicit(t++, atomic_load_explicit(f++, memory_order_relaxed),
				      memory_order_relaxed);
}
#else
/* memcpy moves aligned words whole on every machine that this platform runs on. */
static void hosted_copy(void *ctx, void *to, const void *from, size_t len)
{
	(void)ctx;
	memcpy(to, from, len);
}
#endif

static const struct hf_platform hosted = {
	.alloc = hosted_alloc,
	.free = hosted_free,
	.thread_id = hosted_thread_id,
	.lock_init = lock_init,
	.lock_destroy = lock_destroy,
	.lock = lock_lock,
	.unlock = lock_unlock,
	.rwlock_init = rwlock_init,
	.rwlock_destroy = rwlock_destroy,
	.read_lock = rw_read_lock,
	.read_unlock = rw_unlock,
	.write_lock = rw_write_lock,
	.write_unlock = rw_unlock,
	.held = KNOWN(lock_held),
	.rwlock_held = KNOWN(rwlock_held),
	.rcu_read_lock = hosted_rcu_read_lock,
	.rcu_read_unlock = hosted_rcu_read_unlock,
	.call_rcu = hosted_call_rcu,
	.rcu_barrier = hosted_rcu_barrier,
	.tlb_begin = hosted_tlb_begin,
	.tlb_end = hosted_tlb_end,
	.tlb_flush = hosted_tlb_flush,
	.copy = hosted_copy,
	.relax = hosted_relax,
};

const struct hf_platform *hf_platform_hosted(void)
{
	return &hosted;
}
