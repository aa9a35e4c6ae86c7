/* SPDX-License-Identifier: MIT */
/* Which steps can follow a history, and a history as a scenario. */
#include "history.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum prot { UNMAPPED, NO_ACCESS, READ, READ_WRITE };

struct reference {
	uint8_t made_by; /* enum hf_hist_op */
	bool open;
	uint8_t proc, page;
};

/* What a history has made of the world, as far as it decides what can come next. */
struct world {
	bool alive[HF_HIST_MAX_PROCS];
	enum prot prot[HF_HIST_MAX_PROCS][HF_HIST_MAX_PAGES];
	/* A part was treated by itself: where its mapping
	 * ends is not known, even if all is alike again. */
	bool parted[HF_HIST_MAX_PROCS];
	bool watched[HF_HIST_MAX_PROCS]; /* by userfaultfd */
	bool dontfork[HF_HIST_MAX_PROCS][HF_HIST_MAX_PAGES];
	struct reference ref[HF_HIST_MAX_DEPTH];
	unsigned nr_refs, nr_open, nr_procs;
};

static bool makes_ref(unsigned op)
{
	return op >= HF_H_PIN_R && op <= HF_H_ODIRECT_WRITE;
}

struct hf_hist_pages hf_hist_pages(unsigned place, unsigned pages)
{
	switch (place) {
	case HF_HIST_ALL:
		return (struct hf_hist_pages){ 0, pages };
	case HF_HIST_FIRST_TWO:
		return (struct hf_hist_pages){ 0, 2 };
	case HF_HIST_LAST_TWO:
		return (struct hf_hist_pages){ pages - 2, pages };
	default:
		return (struct hf_hist_pages){ place, place + 1 };
	}
}

static void do_fork(struct world *w, unsigned parent)
{
	unsigned child = w->nr_procs++;

	w->alive[child] = true;
	w->parted[child] = w->parted[parent];
	memcpy(w->prot[child], w->prot[parent], sizeof(w->prot[0]));
	for (unsigned i = 0; i < HF_HIST_MAX_PAGES; i++)
		if (w->dontfork[parent][i])
			w->prot[child][i] = UNMAPPED;
}

/* As far as the first page that is not there. */
static void protect(struct world *w, unsigned proc, struct hf_hist_pages at, enum prot prot)
{
	for (unsigned i = at.from; i < at.to && w->prot[proc][i] != UNMAPPED; i++)
		w->prot[proc][i] = prot;
}

static void unmap(struct world *w, unsigned proc, struct hf_hist_pages at)
{
	for (unsigned i = at.from; i < at.to; i++) {
		w->prot[proc][i] = UNMAPPED;
		w->dontfork[proc][i] = false;
	}
}

static void map(struct world *w, const struct hf_hist_limits *limits, unsigned proc)
{
	for (unsigned i = 0; i < limits->pages; i++)
		if (w->prot[proc][i] != UNMAPPED)
			return;
	for (unsigned i = 0; i < limits->pages; i++)
		w->prot[proc][i] = READ_WRITE;
	w->parted[proc] = w->watched[proc] = false;
}

static void apply_to_pages(struct world *w, const struct hf_hist_limits *limits,
			   const struct hf_hist_step *s)
{
	struct hf_hist_pages at = hf_hist_pages(s->page, limits->pages);

	if (at.from || at.to < limits->pages) {
		if (hf_is_hugetlb(hf_kind_info(limits->kind)))
			return; /* refused */
		w->parted[s->proc] = true;
	}
	switch (s->op) {
	case HF_H_UNMAP:
		unmap(w, s->proc, at);
		break;
	case HF_H_PROTECT_NONE:
		protect(w, s->proc, at, NO_ACCESS);
		break;
	case HF_H_PROTECT_R:
		protect(w, s->proc, at, READ);
		break;
	case HF_H_PROTECT_RW:
		protect(w, s->proc, at, READ_WRITE);
		break;
	case HF_H_WRPROTECT:
		w->watched[s->proc] = true;
		break;
	case HF_H_DONTFORK:
	case HF_H_DOFORK:
		for (unsigned i = at.from; i < at.to; i++)
			w->dontfork[s->proc][i] = s->op == HF_H_DONTFORK;
		break;
	default:
		break;
	}
}

static void apply(struct world *w, const struct hf_hist_limits *limits,
		  const struct hf_hist_step *s)
{
	switch (s->op) {
	case HF_H_FORK:
		do_fork(w, s->proc);
		break;
	case HF_H_EXIT:
		w->alive[s->proc] = false;
		memset(w->prot[s->proc], 0, sizeof(w->prot[0]));
		break;
	case HF_H_MAP:
		map(w, limits, s->proc);
		break;
	case HF_H_UNMAP:
	case HF_H_PROTECT_NONE:
	case HF_H_PROTECT_R:
	case HF_H_PROTECT_RW:
	case HF_H_WRPROTECT:
	case HF_H_DONTFORK:
	case HF_H_DOFORK:
	case HF_H_WIPEONFORK:
	case HF_H_KEEPONFORK:
		apply_to_pages(w, limits, s);
		break;
	case HF_H_DEV_FINISH:
	case HF_H_RELEASE:
		w->ref[s->proc].open = false;
		w->nr_open--;
		break;
	default:
		if (!makes_ref(s->op))
			break;
		w->ref[w->nr_refs++] = (struct reference){
			.made_by = s->op, .open = true, .proc = s->proc, .page = s->page
		};
		w->nr_open++;
	}
}

static struct world first_world(const struct hf_hist_limits *limits)
{
	struct world w = { .alive = { true }, .nr_procs = 1 };

	for (unsigned i = 0; i < limits->pages; i++)
		w.prot[0][i] = READ_WRITE;
	return w;
}

static struct world world_after(const struct hf_history *h, const struct hf_hist_limits *limits)
{
	struct world w = first_world(limits);

	for (unsigned i = 0; i < h->nr; i++)
		apply(&w, limits, &h->step[i]);
	return w;
}

/* Is all of a process's buffer mapped, or none of it? */
static bool all_mapped(const struct world *w, const struct hf_hist_limits *limits, unsigned proc,
		       bool mapped)
{
	for (unsigned i = 0; i < limits->pages; i++)
		if ((w->prot[proc][i] != UNMAPPED) != mapped)
			return false;
	return true;
}

static bool is_direct(unsigned op)
{
	return op == HF_H_ODIRECT_READ || op == HF_H_ODIRECT_WRITE;
}

static bool is_written_through(unsigned op)
{
	return op == HF_H_PIN_W || op == HF_H_PIN_W_SHORT || op == HF_H_GET_W;
}

static bool does_direct_io(const struct world *w, unsigned proc)
{
	for (unsigned i = 0; i < w->nr_refs; i++)
		if (w->ref[i].open && w->ref[i].proc == proc && is_direct(w->ref[i].made_by))
			return true;
	return false;
}

/* Operations that go on whole pages, more than one of them if need be. */
static bool takes_range(unsigned op)
{
	return op == HF_H_UNMAP || op == HF_H_PROTECT_R || op == HF_H_PROTECT_RW ||
	       op == HF_H_SWAPOUT || op == HF_H_PROTECT_NONE ||
	       (op >= HF_H_DONTNEED && op <= HF_H_COLLAPSE_PART);
}

static unsigned nr_places(const struct hf_hist_limits *limits, unsigned op)
{
	if (!limits->refusals || !takes_range(op) || limits->pages == 1)
		return limits->pages;
	return limits->pages == 2 ? HF_HIST_ALL + 1 : HF_HIST_MAX_PLACES;
}

/* Is it known whether all of the buffer is one mapping? */
static bool knows_mapping(const struct world *w, const struct hf_hist_limits *limits, unsigned proc)
{
	if (w->watched[proc])
		return false;
	if (!w->parted[proc] || limits->kind == HF_KIND_MIXED)
		return true;
	for (unsigned i = 1; i < limits->pages; i++)
		if (w->prot[proc][i] != w->prot[proc][0])
			return true;
	return false;
}

static bool behind_pmd(enum hf_kind kind)
{
	return hf_kind_info(kind)->order == 9 && !hf_is_hugetlb(hf_kind_info(kind));
}

/* Whatever the kernel may say to it, as long as it is known what the history is about. */
static bool possible_or_refused(const struct world *w, const struct hf_hist_limits *limits,
				unsigned op, unsigned proc, unsigned place)
{
	struct hf_hist_pages at = hf_hist_pages(place, limits->pages);
	bool part = at.from || at.to < limits->pages;

	if (place >= limits->pages && place < HF_HIST_ALL)
		return false;
	switch (op) {
	case HF_H_MAP:
		return place == 0;
	case HF_H_REMAP:
		return place == 0 && knows_mapping(w, limits, proc);
	case HF_H_WRPROTECT: /* more than one call */
		return w->prot[proc][place] >= READ &&
		       !(part && hf_is_hugetlb(hf_kind_info(limits->kind)));
	case HF_H_DONTNEED: /* tables that it leaves empty go, since Linux 6.14 */
		return part || !behind_pmd(limits->kind);
	case HF_H_COLLAPSE_PART:
		return part || !behind_pmd(limits->kind);
	default:
		return true;
	}
}

/* Processes and pages that differ in name only are tried once: the state store sees to that. */
static bool possible(const struct world *w, const struct hf_hist_limits *limits, unsigned op,
		     unsigned proc, unsigned page)
{
	enum prot prot = page < HF_HIST_MAX_PAGES ? w->prot[proc][page] : UNMAPPED;
	bool room = w->nr_open < HF_HIST_MAX_REFS && w->nr_refs < HF_HIST_MAX_DEPTH;

	if (!w->alive[proc] || limits->without >> op & 1 || (makes_ref(op) && !room))
		return false;
	if (op >= HF_H_PROTECT_NONE && op <= HF_H_PTRACE_WRITE && !limits->refusals)
		return false;
	if (limits->refusals && op != HF_H_FORK && op != HF_H_EXIT && op != HF_H_COLLAPSE &&
	    op != HF_H_SPLIT)
		return possible_or_refused(w, limits, op, proc, page);
	switch (op) {
	case HF_H_FORK:
		return page == 0 && w->nr_procs < limits->procs;
	case HF_H_EXIT:
		return page == 0 && proc != 0 && !(limits->real && does_direct_io(w, proc));
	case HF_H_MAP:
		return page == 0 && all_mapped(w, limits, proc, false) &&
		       (limits->kind == HF_KIND_BASE || limits->pages == 1);
	case HF_H_COLLAPSE:
	case HF_H_SPLIT:
		return page == 0 && limits->kind == HF_KIND_THP &&
		       all_mapped(w, limits, proc, true);
	case HF_H_WRITE:
	case HF_H_PIN_W:
	case HF_H_PIN_W_SHORT:
	case HF_H_GET_W:
	case HF_H_ODIRECT_READ:
		return prot == READ_WRITE;
	case HF_H_PROTECT_R:
		return prot == READ_WRITE;
	case HF_H_PROTECT_RW:
		return prot == READ;
	default:
		return prot != UNMAPPED;
	}
}

static bool possible_on_ref(const struct world *w, const struct reference *r, unsigned op)
{
	bool direct = is_direct(r->made_by);

	if (!r->open)
		return false;
	switch (op) {
	case HF_H_DEV_READ:
		return !direct;
	case HF_H_DEV_WRITE:
		return is_written_through(r->made_by);
	case HF_H_DEV_FINISH:
		return direct;
	default:
		return !direct && w->alive[r->proc];
	}
}

bool hf_hist_kind_ok(enum hf_kind kind)
{
	const struct hf_kind_info *k = hf_kind_info(kind);
	bool leaves = k->shape == HF_SHAPE_PTES && k->order < 9;

	return k->memory == HF_MEM_ANON && !k->swapped && (k->shape == HF_SHAPE_WHOLE || leaves) &&
	       (!k->order || 1u << k->order >= HF_HIST_MAX_PAGES);
}

unsigned hf_hist_next(const struct hf_history *h, const struct hf_hist_limits *limits,
		      struct hf_hist_step *next)
{
	struct world w = world_after(h, limits);
	unsigned n = 0;

	for (unsigned op = 0; op < HF_H_DEV_READ; op++)
		for (unsigned p = 0; p < w.nr_procs; p++)
			for (unsigned g = 0; g < nr_places(limits, op); g++)
				if (possible(&w, limits, op, p, g))
					next[n++] = (struct hf_hist_step){ (uint8_t)op, p & 15,
									   g & 15 };
	for (unsigned op = HF_H_DEV_READ; op < HF_NR_HIST_OPS; op++)
		for (unsigned r = 0; r < w.nr_refs; r++)
			if (!(limits->without >> op & 1) && possible_on_ref(&w, &w.ref[r], op))
				next[n++] = (struct hf_hist_step){ (uint8_t)op, r & 15, 0 };
	return n;
}

/* Of any bytes. */
static bool can_follow(const struct world *w, const struct hf_hist_limits *limits,
		       const struct hf_hist_step *s)
{
	if (s->op < HF_H_DEV_READ)
		return s->proc < w->nr_procs && s->page < limits->pages &&
		       possible(w, limits, s->op, s->proc, s->page);
	return s->op < HF_NR_HIST_OPS && s->proc < w->nr_refs && !s->page &&
	       !(limits->without >> s->op & 1) && possible_on_ref(w, &w->ref[s->proc], s->op);
}

bool hf_hist_possible(const struct hf_history *h, const struct hf_hist_limits *limits)
{
	struct world w = first_world(limits);

	if (h->nr > HF_HIST_MAX_DEPTH)
		return false;
	for (unsigned i = 0; i < h->nr; i++) {
		if (!can_follow(&w, limits, &h->step[i]))
			return false;
		apply(&w, limits, &h->step[i]);
	}
	return true;
}

/* ---- a history without one of its steps ---- */

/* Processes and references have new numbers when one before them is gone; -1: gone itself. */
void hf_hist_without(const struct hf_history *h, const struct hf_hist_limits *limits,
		     unsigned left_out, struct hf_history *out)
{
	int proc[HF_HIST_MAX_PROCS] = { 0 }, ref[HF_HIST_MAX_DEPTH];
	unsigned old_procs = 1, new_procs = 1, old_refs = 0, new_refs = 0;

	*out = (struct hf_history){ .nr = 0 };
	for (unsigned i = 0; i < h->nr; i++) {
		struct world w = world_after(out, limits);
		struct hf_hist_step s = h->step[i];
		int who = s.op < HF_H_DEV_READ ? proc[s.proc] : ref[s.proc];
		bool stays;

		s.proc = (unsigned)who & 15;
		stays = i != left_out && who >= 0 && can_follow(&w, limits, &s);
		if (s.op == HF_H_FORK)
			proc[old_procs++] = stays ? (int)new_procs++ : -1;
		if (makes_ref(s.op))
			ref[old_refs++] = stays ? (int)new_refs++ : -1;
		if (stays)
			out->step[out->nr++] = s;
	}
}

const char *hf_hist_op_name(unsigned op)
{
	static const char *const ops[HF_NR_HIST_OPS] = {
		"write",
		"read",
		"fork",
		"exit",
		"map",
		"unmap",
		"protect r",
		"protect rw",
		"wrprotect",
		"swapout",
		"migrate",
		"merge",
		"collapse",
		"split",
		"protect none",
		"remap",
		"truncate",
		"advise dontneed",
		"advise free",
		"advise dontfork",
		"advise dofork",
		"advise wipeonfork",
		"advise keeponfork",
		"advise populate-read",
		"advise populate-write",
		"advise collapse",
		"process_vm read",
		"process_vm write",
		"ptrace read",
		"ptrace write",
		"pin r long",
		"pin w long",
		"pin r",
		"pin w",
		"get r",
		"get w",
		"vmsplice",
		"odirect read",
		"odirect write",
		"device read",
		"device write",
		"device finish",
		"release",
	};

	return ops[op];
}

hf_hist_ops hf_hist_ops_named(const char *name, size_t len)
{
	static const struct {
		const char *name;
		hf_hist_ops ops;
	} named[] = {
		{ "write", HF_HIST_OP(HF_H_WRITE) },
		{ "read", HF_HIST_OP(HF_H_READ) },
		{ "fork", HF_HIST_OP(HF_H_FORK) },
		{ "exit", HF_HIST_OP(HF_H_EXIT) },
		{ "map", HF_HIST_OP(HF_H_MAP) },
		{ "unmap", HF_HIST_OP(HF_H_UNMAP) },
		{ "protect", HF_HIST_OP(HF_H_PROTECT_R) | HF_HIST_OP(HF_H_PROTECT_RW) |
				     HF_HIST_OP(HF_H_PROTECT_NONE) },
		{ "wrprotect", HF_HIST_OP(HF_H_WRPROTECT) },
		{ "swapout", HF_HIST_OP(HF_H_SWAPOUT) },
		{ "migrate", HF_HIST_OP(HF_H_MIGRATE) },
		{ "merge", HF_HIST_OP(HF_H_MERGE) },
		{ "collapse", HF_HIST_OP(HF_H_COLLAPSE) },
		{ "split", HF_HIST_OP(HF_H_SPLIT) },
		{ "pin", HF_HIST_OP(HF_H_PIN_R) | HF_HIST_OP(HF_H_PIN_W) |
				 HF_HIST_OP(HF_H_PIN_R_SHORT) | HF_HIST_OP(HF_H_PIN_W_SHORT) },
		{ "get", HF_HIST_OP(HF_H_GET_R) | HF_HIST_OP(HF_H_GET_W) },
		{ "vmsplice", HF_HIST_OP(HF_H_VMSPLICE) },
		{ "odirect", HF_HIST_OP(HF_H_ODIRECT_READ) | HF_HIST_OP(HF_H_ODIRECT_WRITE) },
		{ "device-read", HF_HIST_OP(HF_H_DEV_READ) },
		{ "device-write", HF_HIST_OP(HF_H_DEV_WRITE) },
		{ "remap", HF_HIST_OP(HF_H_REMAP) },
		{ "truncate", HF_HIST_OP(HF_H_TRUNCATE) },
		{ "advise", HF_HIST_OP(HF_H_COLLAPSE_PART + 1) - HF_HIST_OP(HF_H_DONTNEED) },
		{ "process_vm",
		  HF_HIST_OP(HF_H_PROCESS_VM_READ) | HF_HIST_OP(HF_H_PROCESS_VM_WRITE) },
		{ "ptrace", HF_HIST_OP(HF_H_PTRACE_READ) | HF_HIST_OP(HF_H_PTRACE_WRITE) },
	};

	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++)
		if (strlen(named[i].name) == len && !memcmp(named[i].name, name, len))
			return named[i].ops;
	return 0;
}

/* ---- as a scenario ---- */

struct writer {
	char *text;
	size_t at, len;
	unsigned value; /* a new one for every write */
	unsigned nr_procs, nr_refs;
};

__attribute__((format(printf, 2, 3))) static void add(struct writer *o, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(o->text + o->at, o->at < o->len ? o->len - o->at : 0, fmt, ap);
	va_end(ap);
	o->at += n > 0 ? (size_t)n : 0;
}

static const char *const names[HF_HIST_MAX_PROCS] = { "P", "C", "D", "E" };

/* Who looks at the memory of others, and has none. */
#define DEBUGGER "Q"

static bool is_remote(unsigned op)
{
	return op >= HF_H_PROCESS_VM_READ && op <= HF_H_PTRACE_WRITE;
}

static bool has_remote(const struct hf_history *h)
{
	for (unsigned i = 0; i < h->nr; i++)
		if (is_remote(h->step[i].op))
			return true;
	return false;
}

/* Whole pages, or the bytes that everybody writes and reads: half a kilobyte of each page, as
 * direct I/O wants. */
enum range { BUFFER, PAGE, BYTES };

static const struct phrase {
	const char *verb, *after;
	enum range range;
	bool value;
} phrases[HF_NR_HIST_OPS] = {
	[HF_H_WRITE] = { "write", "", BYTES, true },
	[HF_H_READ] = { "read", "", BYTES, false },
	[HF_H_UNMAP] = { "unmap", "", PAGE, false },
	[HF_H_PROTECT_R] = { "protect", " r", PAGE, false },
	[HF_H_PROTECT_RW] = { "protect", " rw", PAGE, false },
	[HF_H_WRPROTECT] = { "wrprotect", "", PAGE, false },
	[HF_H_SWAPOUT] = { "swapout", "", PAGE, false },
	[HF_H_MIGRATE] = { "migrate", "", PAGE, false },
	[HF_H_MERGE] = { "merge", "", PAGE, false },
	/* references are in its way */
	[HF_H_COLLAPSE] = { "advise", " collapse maybe", BUFFER, false },
	[HF_H_SPLIT] = { "split", "", BUFFER, false },
	[HF_H_PROTECT_NONE] = { "protect", " none", PAGE, false },
	[HF_H_REMAP] = { "remap", "", BUFFER, false },
	[HF_H_TRUNCATE] = { "truncate", "", PAGE, false },
	[HF_H_DONTNEED] = { "advise", " dontneed", PAGE, false },
	[HF_H_FREE] = { "advise", " free", PAGE, false },
	[HF_H_DONTFORK] = { "advise", " dontfork", PAGE, false },
	[HF_H_DOFORK] = { "advise", " dofork", PAGE, false },
	[HF_H_WIPEONFORK] = { "advise", " wipeonfork", PAGE, false },
	[HF_H_KEEPONFORK] = { "advise", " keeponfork", PAGE, false },
	[HF_H_POPULATE_R] = { "advise", " populate-read", PAGE, false },
	[HF_H_POPULATE_W] = { "advise", " populate-write", PAGE, false },
	[HF_H_COLLAPSE_PART] = { "advise", " collapse", PAGE, false },
	[HF_H_PROCESS_VM_READ] = { "process_vm read", "", BYTES, false },
	[HF_H_PROCESS_VM_WRITE] = { "process_vm write", "", BYTES, true },
	[HF_H_PTRACE_READ] = { "ptrace read", "", BYTES, false },
	[HF_H_PTRACE_WRITE] = { "ptrace write", "", BYTES, true },
	[HF_H_PIN_R] = { "pin", " r long", BYTES, false },
	[HF_H_PIN_W] = { "pin", " w long", BYTES, false },
	[HF_H_PIN_R_SHORT] = { "pin", " r", BYTES, false },
	[HF_H_PIN_W_SHORT] = { "pin", " w", BYTES, false },
	[HF_H_GET_R] = { "get", " r", BYTES, false },
	[HF_H_GET_W] = { "get", " w", BYTES, false },
	[HF_H_VMSPLICE] = { "vmsplice", "", BYTES, false },
	[HF_H_ODIRECT_READ] = { "odirect read", "", BYTES, true },
	[HF_H_ODIRECT_WRITE] = { "odirect write", "", BYTES, false },
};

static void add_pages(struct writer *o, unsigned place, unsigned pages)
{
	struct hf_hist_pages at = hf_hist_pages(place, pages);

	if (place < HF_HIST_MAX_PAGES)
		add(o, "mem@%u", place);
	else if (place == HF_HIST_ALL)
		add(o, "mem");
	else
		add(o, "mem[%u..%u]", at.from * 4096u, at.to * 4096u);
}

static void add_phrase(struct writer *o, const struct hf_hist_step *s, unsigned pages)
{
	const struct phrase *p = &phrases[s->op];
	unsigned first = s->page * 4096u;

	add(o, "%s ", p->verb);
	if (makes_ref(s->op))
		add(o, "r%u ", o->nr_refs++);
	if (is_remote(s->op))
		add(o, "%s ", names[s->proc]);
	if (p->range == BUFFER)
		add(o, "mem");
	else if (p->range == PAGE)
		add_pages(o, s->page, pages);
	else
		add(o, "mem[%u..%u]", first, first + 512);
	add(o, "%s", p->after);
	if (p->value)
		add(o, " %u", ++o->value);
}

static void add_step(struct writer *o, const struct hf_hist_step *s,
		     const struct hf_hist_limits *limits)
{
	switch (s->op) {
	case HF_H_DEV_READ:
		add(o, "device: read r%u[0..512]\n", s->proc);
		return;
	case HF_H_DEV_WRITE:
		add(o, "device: write r%u[0..512] %u\n", s->proc, ++o->value);
		return;
	case HF_H_DEV_FINISH:
		add(o, "device: finish r%u\n", s->proc);
		return;
	}
	add(o, "%s: ", is_remote(s->op) ? DEBUGGER : names[s->proc]);
	if (s->op == HF_H_FORK)
		add(o, "fork %s", names[o->nr_procs++]);
	else if (s->op == HF_H_EXIT)
		add(o, "exit");
	else if (s->op == HF_H_MAP)
		add(o, "map mem %u", limits->pages);
	else
		add_phrase(o, s, limits->pages);
	add(o, "\n");
}

/* Releases depend on what made the reference. */
static void add_release(struct writer *o, const struct hf_history *h, unsigned ref)
{
	unsigned n = 0;

	for (unsigned i = 0; i < h->nr; i++) {
		const struct hf_hist_step *s = &h->step[i];

		if (!makes_ref(s->op) || n++ != ref)
			continue;
		add(o, "%s: %s r%u\n", names[s->proc],
		    s->op == HF_H_VMSPLICE                       ? "release"
		    : s->op == HF_H_GET_R || s->op == HF_H_GET_W ? "put"
								 : "unpin",
		    ref);
		return;
	}
}

static void look_through(struct writer *o, const struct world *w, bool write)
{
	for (unsigned r = 0; r < w->nr_refs; r++) {
		if (!w->ref[r].open || is_direct(w->ref[r].made_by))
			continue;
		if (!write)
			add(o, "device: read r%u[0..512]\n", r);
		else if (is_written_through(w->ref[r].made_by))
			add(o, "device: write r%u[0..512] %u\n", r, ++o->value);
	}
}

static void look_at_memory(struct writer *o, const struct world *w, unsigned pages, bool everything)
{
	for (unsigned p = 0; p < w->nr_procs; p++)
		for (unsigned g = 0; g < pages && w->alive[p]; g++)
			if (w->prot[p][g] != UNMAPPED || everything)
				add(o, "%s: read mem[%u..%u]\n", names[p], g * 4096u,
				    g * 4096u + 512);
}

/* What the devices see, then what the processes see of what the devices write. */
static void look_at_everything(struct writer *o, const struct world *w,
			       const struct hf_hist_limits *limits)
{
	look_through(o, w, false);
	look_at_memory(o, w, limits->pages, limits->refusals);
	look_through(o, w, true);
	for (unsigned r = 0; r < w->nr_refs; r++)
		if (w->ref[r].open && is_direct(w->ref[r].made_by))
			add(o, "device: finish r%u\n", r);
	look_at_memory(o, w, limits->pages, limits->refusals);
}

size_t hf_hist_text(const struct hf_history *h, const struct hf_hist_limits *limits,
		    const char *settings, char *text, size_t len)
{
	struct writer o = { .text = text, .len = len, .nr_procs = 1 };

	add(&o, "%s", settings);
	if (limits->kind != HF_KIND_BASE)
		add(&o, "kinds   %s\n", hf_kind_name(limits->kind));
	add(&o, "process P\n%s\nP: map mem %u\n", has_remote(h) ? "process " DEBUGGER "\n" : "",
	    limits->pages);
	if (limits->written)
		add(&o, "P: write mem 255\n");
	for (unsigned i = 0; i < h->nr; i++)
		if (h->step[i].op == HF_H_RELEASE)
			add_release(&o, h, h->step[i].proc);
		else
			add_step(&o, &h->step[i], limits);
	if (limits->looked_at) {
		struct world w = world_after(h, limits);

		add(&o, "\n");
		look_at_everything(&o, &w, limits);
	}
	return o.at;
}
