/* SPDX-License-Identifier: MIT */
/*
 * Copy-on-write of anonymous base pages under fork, GUP and swap, and what its users may see: a model
 * that shares no line with the engine. tests/spin.sh runs it beside the search over histories.
 *
 * A history is a sequence of steps of processes and devices. Each step is atomic. The rules of a
 * policy (-DPOLICY_...) decide what becomes of the pages. The oracle at the end of this file knows no
 * policy; it gives a history its verdict, and the history ends with that.
 *
 * Left out, since it cannot change what anybody sees: the per-CPU batches and the swap cache as holders
 * of references (they bring about needless copies of pages that nobody else holds), locks, and the
 * frame that swap-in reads into: while somebody holds the old one it is the old one, and if nobody does,
 * one is as good as another. So a page in swap is its frame here.
 *
 *	-DDEPTH=N	steps of a history
 *	-DPROCS=N	processes
 *	-DPAGES=N	pages of each
 *	-DWRITTEN	every page has been stored to when a history begins
 *	-DWITHOUT_...	these steps are left out
 * In the environment: FIND, the number of the verdict that is an error; 0 or nothing: all are.
 */
c_decl {
\#include <stdlib.h>
}

#ifndef DEPTH
#define DEPTH 4
#endif
#ifndef PROCS
#define PROCS 2
#endif
#ifndef PAGES
#define PAGES 1
#endif
#define REFS 2 /* open at a time */
#define ENTRIES (PROCS * PAGES)
#define FRAMES (ENTRIES + REFS + 2)

mtype = { none, zero, ro, rw, swapped, hole }; /* what an entry is; what a mapping permits */
mtype = { get, pin };                          /* what a reference is taken as */
mtype = { pin_r, pin_w, pin_r_short, pin_w_short, vmsplice, direct_read, direct_write }; /* asked for */
mtype = { take, unshare, fail };               /* what becomes of a read-only pin */

/* Verdicts, as FIND has them. */
#define LOST_WRITE 1
#define STALE_READ 2
#define LEAK 3
#define REFUSED 4
#define BUG 5

/* ---- policies ---- */

/* Who uses a frame; count() finds out. Swap entries count as mappings do. */
byte maps, swaps, gets, pins, write_pins;
#define SOLE_MAPPING (maps + swaps == 1)
#define SOLE_REFERENCE (SOLE_MAPPING && gets + pins == 0)

#ifdef POLICY_LINUX_4_19
/* There are no pins: everybody takes plain references. */
#define MARKS 0
#define REUSE SOLE_MAPPING
#define FORK_COPIES false
#define LONG_PIN get
#define SHORT_PIN get
#define DIRECT get
#define UNMARKED take
#define ZEROPAGE take
#endif

#ifdef POLICY_LINUX_5_8
/* GUP for reading is a write fault to pages that may be shared. */
#define MARKS 0
#define REUSE SOLE_MAPPING
#define FORK_COPIES false
#define DIRECT get
#define GUP_BREAKS_COW 1
#endif

#ifdef POLICY_LINUX_5_10
/* References decide, but for a store to a page in swap, where mappings do. */
#define MARKS 0
#define REUSE (SOLE_REFERENCE || (from_swap && SOLE_MAPPING))
#define FORK_COPIES (pins && has_pinned[p])
#define DIRECT get
#define UNMARKED take
#define ZEROPAGE take
#endif

#ifdef POLICY_LINUX_5_18
#define MARKS 0
#define REUSE SOLE_REFERENCE
#define FORK_COPIES (pins && has_pinned[p])
#define DIRECT get
#define UNMARKED take
#define ZEROPAGE take
#endif

#ifdef POLICY_LINUX_6_1
#define FORK_COPIES (mark[f] && pins && has_pinned[p])
#define DIRECT get
#define ZEROPAGE take
#endif

#if defined(POLICY_LINUX_6_12) || defined(POLICY_LINUX_6_18)
#define FORK_COPIES (mark[f] && pins && has_pinned[p])
#define ZEROPAGE (asked == pin_r -> unshare : take)
#endif

#ifdef POLICY_FAIL_PIN
#define UNMARKED fail
#define ZEROPAGE fail
#endif

#if defined(POLICY_RO_PIN_EXEMPT) || defined(POLICY_TWO_COUNTERS) || defined(POLICY_DONT_FORK)
/* Pins may be of pages without the mark, so there is nothing that unpin could check. */
#define UNMARKED take
#define ZEROPAGE take
#define PINS_HAVE_MARK 0
#endif

#ifdef POLICY_TWO_COUNTERS
#define FORK_COPIES (mark[f] && write_pins)
#endif

#ifdef POLICY_RO_SHORT_GET
#define SHORT_PIN (asked == pin_r_short -> get : pin)
#define DIRECT (asked == direct_write -> get : pin)
#endif

#ifdef POLICY_REFUSE_FORK
#define FORK_REFUSES (pins > 0)
#endif

#ifdef POLICY_WIRED_COPY
/* Short pins are plain references. */
#define MARKS 0
#define REUSE SOLE_MAPPING
#define FORK_COPIES (pins > 0)
#define SHORT_PIN get
#define DIRECT get
#endif

#ifdef POLICY_COPY_REFERENCED
#define FORK_COPIES (mark[f] && pins + gets)
#endif

#ifdef POLICY_DONT_FORK
#define FORK_OMITS (pins > 0)
#endif

/* What no policy above says otherwise: the mark, and pins of marked pages only (POLICY_HOLDFAST). */
#ifndef MARKS
#define MARKS 1
#endif
#ifndef REUSE
#define REUSE (mark[f] || SOLE_REFERENCE)
#endif
#ifndef FORK_COPIES
#define FORK_COPIES (mark[f] && pins)
#endif
#ifndef FORK_REFUSES
#define FORK_REFUSES false
#endif
#ifndef FORK_OMITS
#define FORK_OMITS false
#endif
#ifndef LONG_PIN
#define LONG_PIN pin
#endif
#ifndef SHORT_PIN
#define SHORT_PIN pin
#endif
#ifndef DIRECT
#define DIRECT pin
#endif
#ifndef UNMARKED /* a read-only pin finds a page without the mark */
#define UNMARKED unshare
#endif
#ifndef ZEROPAGE
#define ZEROPAGE unshare
#endif
#ifndef PINS_HAVE_MARK
#define PINS_HAVE_MARK MARKS
#endif
#ifndef GUP_BREAKS_COW
#define GUP_BREAKS_COW 0
#endif

/* ---- the machine ---- */

/* Frame 0 is the zeropage. Contents are the number of the step that stored them, 0 the first ones. */
byte bytes[FRAMES];
bool used[FRAMES], mark[FRAMES];

/* Entry e is page e % PAGES of process e / PAGES. */
mtype entry[ENTRIES];
byte at[ENTRIES];
bool was_marked[ENTRIES]; /* the exclusive bit of an entry in swap */
mtype prot[ENTRIES];
bool alive[PROCS], has_pinned[PROCS];
byte nr_procs;

typedef reference {
	mtype taken, asked; /* 0: the reference is closed */
	byte e, frame;
	short may; /* the oracle: contents that a plain reference may show, a bit each */
};
reference ref[REFS];

byte steps;
bool lost_write, stale_read, leak, refused, bug;
byte find;

/* Scratch: 0 between steps, so that it makes no states. */
byte i, j, f, old, fresh, n, c;
bool from_swap;
mtype asked, how, act;

/* Pins that a device may store through, at any time. */
#define WRITES(asked_) ((asked_) == pin_w || (asked_) == pin_w_short)

#define LETTER(p) ((p) == 0 -> 'P' : 'B' + (p))

inline count(frame_)
{
	maps = 0; swaps = 0; gets = 0; pins = 0; write_pins = 0;
	for (i : 0 .. ENTRIES - 1) {
		if
		:: at[i] == frame_ && (entry[i] == ro || entry[i] == rw) -> maps++
		:: at[i] == frame_ && entry[i] == swapped -> swaps++
		:: else
		fi
	}
	for (i : 0 .. REFS - 1) {
		if
		:: ref[i].taken == get && ref[i].frame == frame_ -> gets++
		:: ref[i].taken == pin && ref[i].frame == frame_ ->
			pins++;
			if
			:: WRITES(ref[i].asked) || ref[i].asked == direct_read -> write_pins++
			:: else
			fi
		:: else
		fi
	}
}

inline drop(frame_)
{
	count(frame_);
	if
	:: frame_ != 0 && maps + swaps + gets + pins == 0 ->
		bytes[frame_] = 0;
		mark[frame_] = false;
		used[frame_] = false
	:: else
	fi
}

/* A new page, marked as every page is at birth. */
inline new_frame(contents)
{
	fresh = 1;
	do
	:: used[fresh] -> fresh++
	:: else -> break
	od;
	used[fresh] = true;
	mark[fresh] = MARKS;
	bytes[fresh] = contents
}

inline move_to_copy(e_)
{
	old = at[e_];
	new_frame(bytes[old]);
	at[e_] = fresh;
	drop(old)
}

/* Somebody reads: something must be there. A page comes back from swap marked as it left. */
inline fault_in(e_)
{
	if
	:: entry[e_] == none -> entry[e_] = zero
	:: entry[e_] == swapped ->
		mark[at[e_]] = was_marked[e_];
		entry[e_] = (was_marked[e_] && prot[e_] == rw -> rw : ro);
		was_marked[e_] = false
	:: else
	fi
}

/* The page becomes the owner's own; its entry stays read-only. What a write fault begins with, and all
 * that an unshare fault does. */
inline make_own(e_)
{
	f = at[e_];
	count(f);
	if
	:: f != 0 && REUSE -> mark[f] = MARKS
	:: else -> move_to_copy(e_)
	fi;
	entry[e_] = ro
}

inline write_fault(e_)
{
	from_swap = (entry[e_] == swapped);
	fault_in(e_);
	if
	:: entry[e_] != rw -> make_own(e_); entry[e_] = prot[e_]
	:: else
	fi;
	from_swap = false
}

/* GUP for reading. Plain references take what is there. */
inline gup_read(e_)
{
	if
	:: GUP_BREAKS_COW -> write_fault(e_)
	:: else ->
		fault_in(e_);
		if
		:: how != pin || entry[e_] == rw -> act = take
		:: how == pin && entry[e_] == zero -> act = ZEROPAGE
		:: how == pin && entry[e_] == ro -> act = (mark[at[e_]] -> take : UNMARKED)
		fi;
		if
		:: act == unshare -> make_own(e_)
		:: act == fail -> refused = true
		:: act == take
		fi
	fi
}

inline gup(e_, asked_, how_)
{
	asked = asked_;
	how = how_;
	if
	:: WRITES(asked) || asked == direct_read -> write_fault(e_)
	:: else -> gup_read(e_)
	fi;
	n = (ref[0].asked == 0 -> 0 : 1);
	if
	:: !refused ->
		ref[n].taken = how;
		ref[n].asked = asked;
		ref[n].e = e_;
		ref[n].frame = at[e_];
		may_show(n);
		has_pinned[e_ / PAGES] = has_pinned[e_ / PAGES] || how == pin
	:: else
	fi
}

inline close(r_)
{
	if
	:: PINS_HAVE_MARK && ref[r_].taken == pin && ref[r_].frame != 0 &&
	   !mark[ref[r_].frame] -> bug = true
	:: else
	fi;
	f = ref[r_].frame;
	ref[r_].taken = 0;
	ref[r_].asked = 0;
	ref[r_].e = 0;
	ref[r_].frame = 0;
	ref[r_].may = 0;
	drop(f)
}

inline zap(e_)
{
	f = at[e_];
	entry[e_] = none;
	at[e_] = 0;
	was_marked[e_] = false;
	prot[e_] = none;
	drop(f)
}

/* p's page at e is to be c's page at d, too. */
inline fork_page(e_, d_)
{
	prot[d_] = prot[e_];
	f = at[e_];
	count(f);
	if
	:: entry[e_] != ro && entry[e_] != rw ->
		was_marked[e_] = false;
		entry[d_] = entry[e_];
		at[d_] = f
	:: else ->
		if
		:: FORK_REFUSES -> refused = true
		:: FORK_OMITS -> entry[d_] = hole
		:: !(FORK_REFUSES) && !(FORK_OMITS) && FORK_COPIES ->
			new_frame(bytes[f]);
			at[d_] = fresh;
			entry[d_] = prot[d_]
		:: else ->
			mark[f] = false;
			entry[e_] = ro;
			entry[d_] = ro;
			at[d_] = f
		fi
	fi
}

inline do_fork()
{
	c = nr_procs;
	nr_procs++;
	alive[c] = true;
	for (j : 0 .. PAGES - 1) {
		fork_page(p * PAGES + j, c * PAGES + j);
		inherit(p * PAGES + j, c * PAGES + j)
	}
}

inline do_exit()
{
	for (j : 0 .. PAGES - 1) {
		zap(p * PAGES + j)
	}
	alive[p] = false
}

/* MADV_PAGEOUT: of pages that are mapped here only and do not look pinned. */
inline swap_out(e_)
{
	f = at[e_];
	count(f);
	if
	:: (entry[e_] == ro || entry[e_] == rw) && maps == 1 && pins == 0 ->
		was_marked[e_] = mark[f];
		mark[f] = false;
		entry[e_] = swapped
	:: else
	fi
}

/* ---- the oracle ---- */

/*
 * fork is an instant, full copy, and each process owns its bytes. A pin is a window on the owner's bytes,
 * and stays one on the bytes as they were when the owner unmaps them: nobody maps anything there again,
 * so owns[] goes on for them. A plain reference (a pipe, a direct write) may show the bytes of the moment
 * it was taken, or any later ones of the owner.
 */
byte owns[ENTRIES];
short had[ENTRIES]; /* everything that the page's owner ever had there, a bit each */

#define IS_PLAIN(r) (ref[r].asked == vmsplice || ref[r].asked == direct_write)

inline inherit(e_, d_)
{
	owns[d_] = owns[e_];
	had[d_] = had[e_]
}

inline may_show(r_)
{
	ref[r_].may = (IS_PLAIN(r_) -> 1 << owns[ref[r_].e] : 0)
}

/* The owner, or a device on its behalf, stores a new value to frame_. */
inline store(e_, frame_)
{
	bytes[frame_] = steps;
	owns[e_] = steps;
	had[e_] = had[e_] | 1 << steps;
	for (i : 0 .. REFS - 1) {
		if
		:: IS_PLAIN(i) && ref[i].e == e_ -> ref[i].may = ref[i].may | 1 << steps
		:: else
		fi
	}
}

/* What is wrong in its owner's eyes is an old value of its own, or another's. */
inline load(e_)
{
	n = bytes[at[e_]];
	if
	:: n == owns[e_]
	:: n != owns[e_] && (had[e_] & 1 << n) -> lost_write = true
	:: else -> leak = true
	fi
}

inline device_sees(r_)
{
	n = bytes[ref[r_].frame];
	if
	:: IS_PLAIN(r_) && (ref[r_].may & 1 << n)
	:: !IS_PLAIN(r_) && n == owns[ref[r_].e]
	:: else ->
		if
		:: !(had[ref[r_].e] & 1 << n) -> leak = true
		:: (had[ref[r_].e] & 1 << n) && WRITES(ref[r_].asked) -> lost_write = true
		:: else -> stale_read = true
		fi
	fi
}

/* A writable entry has a marked page, a marked page is mapped once, a pinned page that is mapped is
 * marked. */
inline check_marks()
{
	for (j : 0 .. ENTRIES - 1) {
		f = at[j];
		if
		:: entry[j] == rw || (entry[j] == ro && mark[f]) ->
			count(f);
			bug = bug || !mark[f] || maps != 1
		:: PINS_HAVE_MARK && entry[j] == ro && !mark[f] ->
			count(f);
			bug = bug || pins
		:: else
		fi
	}
}

#define SOUGHT(verdict) (find == 0 || find == verdict)

/* After each step. A history ends with its verdict, be it sought or not. */
inline judge()
{
	if
	:: MARKS && !refused -> check_marks()
	:: else
	fi;
	maps = 0; swaps = 0; gets = 0; pins = 0; write_pins = 0;
	i = 0; j = 0; f = 0; old = 0; fresh = 0; n = 0; c = 0;
	asked = 0; how = 0; act = 0;
	assert(!SOUGHT(LOST_WRITE) || !lost_write);
	assert(!SOUGHT(STALE_READ) || !stale_read);
	assert(!SOUGHT(LEAK) || !leak);
	assert(!SOUGHT(REFUSED) || !refused);
	assert(!SOUGHT(BUG) || !bug)
}

/* ---- steps ---- */

#define RUNNING (!lost_write && !stale_read && !leak && !refused && !bug && steps < DEPTH)
#define CAN_REF (ref[0].asked == 0 || ref[1].asked == 0)
#define READABLE (alive[p] && prot[e] != none)
#define WRITABLE (alive[p] && prot[e] == rw)

/* One step of page e. In a hole it fails. */
#define STEP(guard, what, action)                          \
	:: d_step { RUNNING && (guard) ->                  \
		steps++;                                   \
		printf("%c: ", LETTER(p));                 \
		printf(#what);                             \
		printf(" %d\n", g);                        \
		if                                         \
		:: entry[e] == hole -> refused = true      \
		:: else -> action                          \
		fi;                                        \
		judge() }

/* Page g of process p. What is done to the whole process, page 0 does. */
proctype page(byte p; byte g)
{
	byte e = p * PAGES + g;

	do
#ifndef WITHOUT_WRITE
	STEP(WRITABLE, write, write_fault(e); store(e, at[e]))
#endif
#ifndef WITHOUT_READ
	STEP(READABLE, read, fault_in(e); load(e))
#endif
#ifndef WITHOUT_PROTECT
	STEP(WRITABLE, protect r, prot[e] = ro; entry[e] = (entry[e] == rw -> ro : entry[e]))
	STEP(READABLE && prot[e] == ro, protect rw,
	     prot[e] = rw; entry[e] = (entry[e] == ro && mark[at[e]] -> rw : entry[e]))
#endif
#ifndef WITHOUT_WRPROTECT
	STEP(READABLE, wrprotect, entry[e] = (entry[e] == rw -> ro : entry[e]))
#endif
#ifndef WITHOUT_SWAPOUT
	STEP(READABLE, swapout, swap_out(e))
#endif
#ifndef WITHOUT_PIN
	STEP(READABLE && CAN_REF, pin r long, gup(e, pin_r, LONG_PIN))
	STEP(WRITABLE && CAN_REF, pin w long, gup(e, pin_w, LONG_PIN))
	STEP(READABLE && CAN_REF, pin r, gup(e, pin_r_short, SHORT_PIN))
	STEP(WRITABLE && CAN_REF, pin w, gup(e, pin_w_short, SHORT_PIN))
#endif
#ifndef WITHOUT_VMSPLICE
	STEP(READABLE && CAN_REF, vmsplice, gup(e, vmsplice, get))
#endif
#ifndef WITHOUT_ODIRECT
	STEP(WRITABLE && CAN_REF, odirect read, gup(e, direct_read, DIRECT))
	STEP(READABLE && CAN_REF, odirect write, gup(e, direct_write, DIRECT))
#endif
#ifndef WITHOUT_UNMAP
	:: d_step { RUNNING && READABLE ->
		steps++;
		printf("%c: unmap %d\n", LETTER(p), g);
		zap(e);
		judge() }
#endif
#ifndef WITHOUT_FORK
	:: d_step { RUNNING && alive[p] && g == 0 && nr_procs < PROCS ->
		steps++;
		printf("%c: fork %c\n", LETTER(p), LETTER(nr_procs));
		do_fork();
		judge() }
#endif
#ifndef WITHOUT_EXIT
	:: d_step { RUNNING && alive[p] && g == 0 && p != 0 ->
		steps++;
		printf("%c: exit\n", LETTER(p));
		do_exit();
		judge() }
#endif
	od
}

#define IS_DIRECT(r) (ref[r].asked == direct_read || ref[r].asked == direct_write)

proctype device(byte r)
{
	do
#ifndef WITHOUT_DEVICE_READ
	:: d_step { RUNNING && ref[r].asked != 0 && !IS_DIRECT(r) ->
		steps++;
		printf("device: read r%d\n", r);
		device_sees(r);
		judge() }
#endif
#ifndef WITHOUT_DEVICE_WRITE
	:: d_step { RUNNING && WRITES(ref[r].asked) ->
		steps++;
		printf("device: write r%d\n", r);
		store(ref[r].e, ref[r].frame);
		judge() }
#endif
	:: d_step { RUNNING && IS_DIRECT(r) ->
		steps++;
		printf("device: finish r%d\n", r);
		if
		:: ref[r].asked == direct_read -> store(ref[r].e, ref[r].frame)
		:: else -> device_sees(r)
		fi;
		close(r);
		judge() }
	:: d_step { RUNNING && ref[r].asked != 0 && !IS_DIRECT(r) && alive[ref[r].e / PAGES] ->
		steps++;
		printf("%c: release r%d\n", LETTER(ref[r].e / PAGES), r);
		close(r);
		judge() }
	od
}

init
{
	d_step {
		c_code { now.find = getenv("FIND") ? atoi(getenv("FIND")) : 0; };
		alive[0] = true;
		nr_procs = 1;
		for (j : 0 .. ENTRIES - 1) {
			entry[j] = none;
			prot[j] = (j < PAGES -> rw : none)
		}
		for (j : 0 .. PAGES - 1) {
			had[j] = 1;
#ifdef WRITTEN
			new_frame(0);
			at[j] = fresh;
			entry[j] = rw
#endif
		}
	}
	atomic {
		for (j : 0 .. ENTRIES - 1) {
			run page(j / PAGES, j % PAGES)
		}
		for (j : 0 .. REFS - 1) {
			run device(j)
		}
	}
}
