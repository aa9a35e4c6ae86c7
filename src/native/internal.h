/* SPDX-License-Identifier: MIT */
/*
 * What native spaces are made of. A tree is a space made by hf_native_create() with all that comes
 * from it: snapshots, children, their snapshots.
 *
 * A unit is 4 KiB or 2 MiB, the same in all of a tree, and 64 of them are a word, which is one of
 * each bitmap. Of each unit of a space:
 *   populated   there is memory. A space that came from hf_native_create() gets memory from the
 *               kernel at the first touch, and notices at the next snapshot. A child's unit is
 *               missing until its first fault, and gets its base's bytes; so is one of the pool of
 *               huge pages, which gets zeros.
 *   exclusive   it is not shared with the newest snapshot: nothing protects it.
 *   held        pinned for writing, or prepared: the snapshot copies it at once.
 *   begun       a child's 2 MiB of which some pages may be there, for bringing them in has failed.
 * Of each unit of a snapshot: was it populated, and the number of its frame, if it has one.
 *
 * What a unit of a snapshot is (source.c): if it was not populated, what it is in the space's base,
 * or zeros; else the frame of this or the next newer snapshot that has one; else the live unit.
 * Before the live unit changes, the newest snapshot gets a frame. So:
 *   N1  exclusive, and populated when the newest snapshot was taken => the newest has its frame.
 *   N2  a frame that a snapshot's unit is found in stays it for as long as the snapshot exists:
 *       when another is dropped it goes to the next older one, unless that has its own.
 *   N3  not exclusive => the unit is protected, from before the instant on; or, in a bracketed
 *       space, no bracket that lets the program store to it is open.
 *
 * Locks, in order: tree->lock (snapshot, fork, drop: who changes lists), the registry (registry.c;
 * never by who has closed a gate), tree->gate (faults and pins are inside; who needs the instant
 * closes it), a lock for each word (several in order of the words; a child's before its base's),
 * the frames' own, that of calls by the keeper. All signals are blocked under any of them.
 * hf_native_read() takes none: tree->generation tells it of drops.
 */
#ifndef HF_NATIVE_INTERNAL_H
#define HF_NATIVE_INTERNAL_H

#include "check.h"
#include "files.h"
#include "frames.h"
#include "lock.h"
#include "pagemap.h"
#include "ranges.h"
#include "userfault.h"

#include <holdfast/native.h>

#include <pthread.h>
#include <signal.h>

#define HF_WORD_UNITS 64
#define HF_WORD_LOCKS 256

/* In a snapshot's table: no frame, or one that could not be had, else its number and HF_FRAME. */
#define HF_FRAME_NONE 0U
#define HF_FRAME_LOST 1U
#define HF_FRAME_UNSEEN 2U /* lost, and may have changed before the instant: see check.h */
#define HF_FRAME 3U

typedef _Atomic uint64_t hf_bits;

struct hf_native {
	struct hf_native_brackets brackets; /* in bracketed spaces: the header's calls see it */
	struct hf_tree *tree;
	struct hf_native *next;          /* of the tree */
	char *window;                    /* the program's range */
	int memfd;                       /* or -1 */
	struct hf_native_snapshot *base; /* what missing units are; NULL: zeros */
	_Atomic(struct hf_native_snapshot *) newest;
	unsigned refs;           /* the owner, snapshots; under tree->lock */
	bool registered;         /* userfaultfd knows of the window */
	bool owned, view;        /* not destroyed; the range of hf_native_map() */
	bool all_populated;      /* nothing can come that is not known of */
	_Atomic bool doubt;      /* a call has failed: what is exclusive may be protected */
	_Atomic bool distrusted; /* protection was taken away once: see check.h */
	hf_bits *populated, *exclusive, *held, *begun;
	uint8_t *density;         /* of a region of words: see density.c */
	uint64_t *todo;           /* for who takes a snapshot: what is to be protected */
	_Atomic uint64_t *pins;   /* counts of a unit: see pin.c */
	uint32_t *open;           /* of a checked space, by how many a unit is: see stray.c */
	_Atomic uint64_t nr_pins; /* units pinned, each as often as it is */
	struct hf_ranges pinned;  /* as they were asked for: offsets */
	struct hf_futex locks[HF_WORD_LOCKS];
};

struct hf_native_snapshot {
	struct hf_tree *tree;
	_Atomic uint32_t uses; /* that ended, of this piece of memory */
	struct hf_native *space;
	struct hf_native_snapshot *older, *next_free;
	_Atomic(struct hf_native_snapshot *) newer;
	_Atomic uint32_t *frames;
	uint64_t *populated;
	struct hf_native *view;
	unsigned view_users;
	struct hf_ranges pinned; /* offsets; of one kind */
};

/* Threads that take shares of what is to be protected. */
struct hf_helpers {
	pthread_t *threads;
	unsigned nr, room;
	_Atomic uint32_t round, busy, stop;
	struct hf_native *space;
	_Atomic size_t next; /* word of the bitmap */
	_Atomic int err;
};

struct hf_tree {
	struct hf_futex lock;
	struct hf_gate gate;
	_Atomic uint64_t generation; /* odd while a drop is under way */
	size_t size, nr_units, nr_words;
	unsigned unit_shift;
	enum hf_native_pages pages;
	bool bracketed; /* nothing is protected: see bracket.c */
	bool checked;   /* but against stores without a bracket: see stray.c */
	void (*stray)(void *arg, const void *addr);
	void *stray_arg;
	bool signal, unpopulated; /* faults by SIGBUS; WP_UNPOPULATED works */
	struct hf_files files;
	struct hf_frames frames;
	struct hf_native *spaces;
	struct hf_native_snapshot *free_snapshots;
	char *zeros;         /* a unit of them */
	_Atomic char *alive; /* 0 in a process that fork() made */
	pthread_t handler;
	bool handling;
	int stop_fd, epoll_fd; /* the keeper's */
	struct hf_helpers helpers;
	_Atomic uint64_t faults, copied, copied_eager, lost, protect_calls, protected_units,
		last_snapshot_ns, nr_snapshots;
	struct hf_tree *next; /* of the registry */
};

/* ---- ground.c ---- */

uint64_t hf_now_ns(void); /* monotonic */
/* What a thread may be disturbed by, before. */
struct hf_undisturbed {
	sigset_t signals;
	int cancel;
};

/* No signal is handled by this thread, and nobody cancels it, until hf_leave(). */
void hf_enter(struct hf_undisturbed *old);
void hf_leave(const struct hf_undisturbed *old);
void *hf_zalloc(size_t bytes); /* NULL: no memory */
void hf_zfree(void *p, size_t bytes);

/* ---- tree.c ---- */

/* As hf_enter(), for a call from outside. -EOWNERDEAD after fork(): then nothing is blocked. */
int hf_tree_enter(struct hf_tree *tree, struct hf_undisturbed *old);
/* Also takes its lock. -EDEADLK: a snapshot that has it may wait for this thread's bracket. */
int hf_tree_lock(struct hf_tree *tree, struct hf_undisturbed *old);
void hf_tree_unlock(struct hf_tree *tree, const struct hf_undisturbed *old);
int hf_tree_create(const struct hf_native_config *config, struct hf_tree **out);
/* All of it; no space is left. */
void hf_tree_destroy(struct hf_tree *tree);

/* ---- registry.c: who an address belongs to ---- */

int hf_registry_add(struct hf_native *space);
void hf_registry_remove(struct hf_native *space);
/* The space, which stays until hf_registry_leave(), or NULL. */
struct hf_native *hf_registry_enter(const void *addr);
void hf_registry_leave(void);

/* ---- sigbus.c ---- */

/* A handler, and what was there before it. */
struct hf_installed {
	struct hf_futex lock;
	struct sigaction old;
};

int hf_install(struct hf_installed *at, int sig, void (*handler)(int, siginfo_t *, void *));
/* To what was there before us, a signal that is not ours. */
void hf_hand_on(const struct hf_installed *at, int sig, siginfo_t *info, void *context);
int hf_sigbus_install(void);

/* ---- space.c ---- */

/* base NULL: a space of its own. The tree's lock is not held, unless there is a base. */
int hf_space_create(struct hf_tree *tree, struct hf_native_snapshot *base, bool view, bool shared,
		    struct hf_native **out);
/* One reference less; what goes with it, the tree in the end, goes. Takes the tree's lock. */
void hf_space_put(struct hf_native *space);

/* ---- snapshot.c ---- */

int hf_snapshot_take(struct hf_native *space, struct hf_native_snapshot **out);
/* The gate is closed: unlinks it and gives back its
 * frames and itself, not its reference to the space. */
void hf_snapshot_unlink(struct hf_native_snapshot *snapshot);

/* Closes the gate, and lets no bracket be open. Those are waited for first: one inside another has
 * to pass the gate. An error leaves all as it was. */
int hf_keep_out(struct hf_native *space);
void hf_let_in(struct hf_native *space);

void hf_snapshot_free(struct hf_tree *tree, struct hf_native_snapshot *snapshot);

/* The memory of a dropped snapshot is that of another soon. So what programs have is marked with
 * the use, in the bits that are 0 in an address of whole pages. */
#define HF_USES_MASK ((uintptr_t)HF_PAGE_SIZE - 1)

static inline struct hf_native_snapshot *hf_snapshot_handle(struct hf_native_snapshot *snapshot)
{
	uint32_t uses = atomic_load_explicit(&snapshot->uses, memory_order_relaxed);

	return (void *)((uintptr_t)snapshot | (uses & HF_USES_MASK));
}

/* What such a pointer leads to, while anything of its tree exists. */
static inline struct hf_native_snapshot *hf_snapshot_memory(const struct hf_native_snapshot *handle)
{
	return (void *)((uintptr_t)handle & ~HF_USES_MASK);
}

/* NULL: it was dropped. */
static inline struct hf_native_snapshot *hf_snapshot_of(const struct hf_native_snapshot *handle)
{
	struct hf_native_snapshot *snapshot = hf_snapshot_memory(handle);

	return hf_snapshot_handle(snapshot) == handle ? snapshot : NULL;
}
/* Has the memory of one ready, for the first need not wait for it. */
int hf_snapshot_reserve(struct hf_tree *tree);

/* ---- bracket.c ---- */

bool hf_brackets_need_fences(void); /* there is no membarrier() */
bool hf_in_bracket(void);           /* this thread */
/* No bracket of the space is open, nor can be opened, until the bar is lifted. The tree's lock is
 * held, and its gate open. The caller is in no bracket. -EPERM, -EACCES, -ENOSYS: a filter. */
int hf_bar(struct hf_native *space);
void hf_lift_bar(struct hf_native *space);

/* ---- stray.c ---- */

int hf_stray_install(void);
/* Units that may be stored to, as often as they are closed. Of other spaces than checked ones
 * nothing is kept. */
int hf_stray_open(struct hf_native *space, size_t first, size_t end);
void hf_stray_close(struct hf_native *space, size_t first, size_t end);

/* ---- pin.c ---- */

struct hf_units {
	size_t first, end;
};

/* Those that bytes of the space are in. -EINVAL: none, or beyond it. */
int hf_units_of(const struct hf_native *space, const void *addr, size_t len,
		struct hf_units *units);
/* Makes them exclusive. Inside the gate. */
int hf_expose(struct hf_native *space, struct hf_units units);
/* The units of a word that must not be protected. */
uint64_t hf_prepared(const struct hf_native *space, size_t word);

/* ---- populated.c ---- */

/* Finds units that came since: marks them populated and exclusive, and in space->todo. Returns
 * whether there are any, or negative errno. */
int hf_find_populated(struct hf_native *space);

/* ---- release.c ---- */

/* The gate is closed, the generation odd. Frames of units [first, end) go to the next older
 * snapshot, which finds them where it has none of its own (N2), or nowhere; `leave` is in their
 * place. */
void hf_give_up_frames(struct hf_native_snapshot *snapshot, size_t first, size_t end,
		       uint32_t leave);

/* All of them, with the gate open now and then, for stores that wait; what comes meanwhile is left
 * for hf_snapshot_unlink(). Nobody reads the snapshot any more. */
void hf_give_up_by_pieces(struct hf_native_snapshot *snapshot);

/* ---- protect.c ---- */

int hf_helpers_start(struct hf_tree *tree, unsigned nr);
void hf_helpers_stop(struct hf_helpers *helpers);
/* Protects what is in space->todo. */
int hf_protect(struct hf_native *space);

/* ---- source.c ---- */

enum hf_source_kind { HF_SOURCE_ZERO, HF_SOURCE_FRAME, HF_SOURCE_LIVE, HF_SOURCE_LOST };

struct hf_source {
	enum hf_source_kind kind;
	const char *addr;
	struct hf_native *space; /* whose live unit it is */
};

/* Where a unit of a snapshot is. Inside the gate, or with the generation checked. */
struct hf_source hf_source_of(const struct hf_native_snapshot *snapshot, size_t unit);
/* The same beside drops: what it gives stays good,
 * for a frame by N2, and for a live unit until the next look. */
struct hf_source hf_stable_source(const struct hf_native_snapshot *snapshot, size_t unit);
/* As hf_native_read(). */
int hf_snapshot_read(const struct hf_native_snapshot *snapshot, size_t offset, void *buf,
		     size_t len);
/* A copy that sanitizers do not follow: of bytes that may change meanwhile, and are then not used,
 * or that the kernel keeps from changing. */
void hf_copy(void *dst, const void *src, size_t len);

#define HF_COPIES 4

/* Pages that are about to be copied. */
struct hf_copies {
	char *to[HF_COPIES];
	const char *from[HF_COPIES];
	unsigned nr;
};

/* As hf_copy(), of whole pages, to where they are not read soon; sooner or later, and before
 * hf_copied_away() returns. Only then frames may be published. */
void hf_copy_away(struct hf_copies *copies, char *to, const char *from, size_t len);
void hf_copied_away(const struct hf_copies *copies);

/* ---- fault.c: all but the last two are called inside the gate, or by who closed it ---- */

/* Makes units [first, first + nr) of one word exclusive. */
int hf_make_exclusive(struct hf_native *space, size_t first, size_t nr);
/* What is known of units that are to be copied. */
enum hf_known {
	HF_KNOWN_NOTHING, /* whether they are protected still has to be looked at */
	HF_KNOWN_STORED,  /* a store was kept from them right now: they are, and can be read */
	HF_KNOWN_HELD,    /* the gate is closed, and they need no protection */
};

/* The word's lock is held: gives the newest snapshot frames for the units of `mask`. */
void hf_preserve(struct hf_native *space, size_t word, uint64_t mask, enum hf_known known);
/* The same for one unit; -ENOMEM, and nothing is lost. */
int hf_preserve_or_fail(struct hf_native *space, size_t unit);
/* Brings in the units of `mask` of one word of a space that brings them. -ENODATA, -ENOMEM. */
int hf_populate(struct hf_native *space, size_t word, uint64_t mask);
/* A unit of such a space is there afterwards, with whatever bytes. As above. */
int hf_bring(struct hf_native *space, size_t unit);
/* Brings in the rest of what is begun: the program may have stored to the first part. */
int hf_finish_populating(struct hf_native *space);
/* Where stores are likely to come next. */
struct hf_ahead {
	const char *addr; /* of a word; NULL: nowhere */
	size_t words;     /* to do, or to look at, from there on */
};

/* One fault, from outside; the kernel tries again afterwards. -ENODATA: it is lost. -EPERM,
 * -EACCES, -ENOSYS: nothing can be done, ever. */
int hf_resolve_fault(struct hf_native *space, const char *addr, struct hf_ahead *ahead);
/* Does some of that before stores come. Returns whether there is more. */
bool hf_resolve_ahead(struct hf_native *space, struct hf_ahead *ahead);

/* ---- density.c ---- */

size_t hf_density_bytes(const struct hf_tree *tree);
/* Before the exclusive marks of the last interval go. */
void hf_density_observe(struct hf_native *space);
/* The neighbours, in its word and with it, to which stores are likely to come soon after one to
 * this unit; 0: none. */
uint64_t hf_density_around(const struct hf_native *space, size_t unit, bool in_order);
/* The word of its region that shows. */
size_t hf_density_sample(size_t word);
/* Of words of one region, none of them stored to: will stores come to all of them? */
bool hf_density_promises_all(const struct hf_native *space, size_t word, size_t end, bool in_order);

/* ---- handler.c ---- */

int hf_handler_start(struct hf_tree *tree);
void hf_handler_stop(struct hf_tree *tree);

static inline bool hf_is_thp(const struct hf_tree *tree)
{
	return tree->pages == HF_NATIVE_THP || tree->pages == HF_NATIVE_THP_4K;
}

/* Its pages are of the pool, and are not copied from a base. */
static inline bool hf_brings_zeros(const struct hf_native *space)
{
	return !space->base && space->tree->pages == HF_NATIVE_HUGETLB && !space->tree->bracketed;
}

/* What is missing comes through us: its first use is a fault. */
static inline bool hf_brings(const struct hf_native *space)
{
	return (space->base && !space->tree->bracketed) || hf_brings_zeros(space);
}

static inline struct hf_futex *hf_word_lock(struct hf_native *space, size_t word)
{
	return &space->locks[word % HF_WORD_LOCKS];
}

/* Its lock keeps a word, or the closed gate all of them. */
static inline bool hf_has_word(const struct hf_native *space, size_t word)
{
	const struct hf_gate *gate = &space->tree->gate;

	return hf_has(&space->locks[word % HF_WORD_LOCKS]) ||
	       (hf_gate_is_closed(gate) && hf_has(gate));
}

#define hf_assert_word(space, word) hf_assert(hf_has_word(space, word))

/* Bits [first, first + nr) of a word. */
static inline uint64_t hf_units_mask(size_t first, size_t nr)
{
	hf_assert(nr && first + nr <= HF_WORD_UNITS);
	return (nr == HF_WORD_UNITS ? ~0ULL : (1ULL << nr) - 1) << first;
}

/* The bits of a word that are units: the last one may have fewer than 64. */
static inline uint64_t hf_word_mask(const struct hf_tree *tree, size_t word)
{
	size_t left = tree->nr_units - word * HF_WORD_UNITS;

	hf_assert(word < tree->nr_words);
	return left < HF_WORD_UNITS ? (1ULL << left) - 1 : ~0ULL;
}

static inline char *hf_unit_addr(const struct hf_native *space, size_t unit)
{
	return space->window + (unit << space->tree->unit_shift);
}

static inline bool hf_snapshot_had(const struct hf_native_snapshot *snapshot, size_t unit)
{
	hf_assert(unit < snapshot->tree->nr_units);
	return snapshot->populated[unit / HF_WORD_UNITS] >> unit % HF_WORD_UNITS & 1;
}

#endif
