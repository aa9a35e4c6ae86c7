/* SPDX-License-Identifier: MIT */
/* Which steps can follow a history, and a history as a scenario. */
#include "history.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum prot { NONE, READ, READ_WRITE };

struct reference {
	uint8_t made_by; /* enum hf_hist_op */
	bool open;
	uint8_t proc, page;
};

/* What a history has made of the world, as far as it decides what can come next. */
struct world {
	bool alive[HF_HIST_MAX_PROCS];
	enum prot prot[HF_HIST_MAX_PROCS][HF_HIST_MAX_PAGES];
	struct reference ref[HF_HIST_MAX_DEPTH];
	unsigned nr_refs, nr_open, nr_procs;
};

static bool makes_ref(unsigned op)
{
	return op >= HF_H_PIN_R && op <= HF_H_ODIRECT_WRITE;
}

static void apply(struct world *w, const struct hf_hist_step *s)
{
	switch (s->op) {
	case HF_H_FORK:
		w->alive[w->nr_procs] = true;
		memcpy(w->prot[w->nr_procs], w->prot[s->proc], sizeof(w->prot[0]));
		w->nr_procs++;
		break;
	case HF_H_EXIT:
		w->alive[s->proc] = false;
		memset(w->prot[s->proc], 0, sizeof(w->prot[0]));
		break;
	case HF_H_MAP:
		for (unsigned i = 0; i < HF_HIST_MAX_PAGES; i++)
			w->prot[s->proc][i] = READ_WRITE;
		break;
	case HF_H_UNMAP:
		w->prot[s->proc][s->page] = NONE;
		break;
	case HF_H_PROTECT_R:
		w->prot[s->proc][s->page] = READ;
		break;
	case HF_H_PROTECT_RW:
		w->prot[s->proc][s->page] = READ_WRITE;
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
		apply(&w, &h->step[i]);
	return w;
}

/* Is all of a process's buffer mapped, or none of it? */
static bool all_mapped(const struct world *w, const struct hf_hist_limits *limits, unsigned proc,
		       bool mapped)
{
	for (unsigned i = 0; i < limits->pages; i++)
		if ((w->prot[proc][i] != NONE) != mapped)
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

/* Processes and pages that differ in name only are tried once: the state store sees to that. */
static bool possible(const struct world *w, const struct hf_hist_limits *limits, unsigned op,
		     unsigned proc, unsigned page)
{
	enum prot prot = w->prot[proc][page];

	if (!w->alive[proc] || limits->without >> op & 1)
		return false;
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
		if (prot != READ_WRITE)
			return false;
		break;
	case HF_H_PROTECT_R:
		return prot == READ_WRITE;
	case HF_H_PROTECT_RW:
		return prot == READ;
	default:
		if (prot == NONE)
			return false;
	}
	return !makes_ref(op) || (w->nr_open < HF_HIST_MAX_REFS && w->nr_refs < HF_HIST_MAX_DEPTH);
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
			for (unsigned g = 0; g < limits->pages; g++)
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
		apply(&w, &h->step[i]);
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
		"write",         "read",         "fork",          "exit",        "map",
		"unmap",         "protect r",    "protect rw",    "wrprotect",   "swapout",
		"migrate",       "merge",        "collapse",      "split",       "pin r long",
		"pin w long",    "pin r",        "pin w",         "get r",       "get w",
		"vmsplice",      "odirect read", "odirect write", "device read", "device write",
		"device finish", "release",
	};

	return ops[op];
}

uint32_t hf_hist_ops_named(const char *name, size_t len)
{
	static const struct {
		const char *name;
		uint32_t ops;
	} named[] = {
		{ "write", 1u << HF_H_WRITE },
		{ "read", 1u << HF_H_READ },
		{ "fork", 1u << HF_H_FORK },
		{ "exit", 1u << HF_H_EXIT },
		{ "map", 1u << HF_H_MAP },
		{ "unmap", 1u << HF_H_UNMAP },
		{ "protect", 1u << HF_H_PROTECT_R | 1u << HF_H_PROTECT_RW },
		{ "wrprotect", 1u << HF_H_WRPROTECT },
		{ "swapout", 1u << HF_H_SWAPOUT },
		{ "migrate", 1u << HF_H_MIGRATE },
		{ "merge", 1u << HF_H_MERGE },
		{ "collapse", 1u << HF_H_COLLAPSE },
		{ "split", 1u << HF_H_SPLIT },
		{ "pin", 1u << HF_H_PIN_R | 1u << HF_H_PIN_W | 1u << HF_H_PIN_R_SHORT |
				 1u << HF_H_PIN_W_SHORT },
		{ "get", 1u << HF_H_GET_R | 1u << HF_H_GET_W },
		{ "vmsplice", 1u << HF_H_VMSPLICE },
		{ "odirect", 1u << HF_H_ODIRECT_READ | 1u << HF_H_ODIRECT_WRITE },
		{ "device-read", 1u << HF_H_DEV_READ },
		{ "device-write", 1u << HF_H_DEV_WRITE },
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

static void add_phrase(struct writer *o, const struct hf_hist_step *s)
{
	const struct phrase *p = &phrases[s->op];
	unsigned first = s->page * 4096u;

	add(o, "%s ", p->verb);
	if (makes_ref(s->op))
		add(o, "r%u ", o->nr_refs++);
	if (p->range == BUFFER)
		add(o, "mem");
	else if (p->range == PAGE)
		add(o, "mem@%u", s->page);
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
	add(o, "%s: ", names[s->proc]);
	if (s->op == HF_H_FORK)
		add(o, "fork %s", names[o->nr_procs++]);
	else if (s->op == HF_H_EXIT)
		add(o, "exit");
	else if (s->op == HF_H_MAP)
		add(o, "map mem %u", limits->pages);
	else
		add_phrase(o, s);
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

static void look_at_memory(struct writer *o, const struct world *w, unsigned pages)
{
	for (unsigned p = 0; p < w->nr_procs; p++)
		for (unsigned g = 0; g < pages && w->alive[p]; g++)
			if (w->prot[p][g] != NONE)
				add(o, "%s: read mem[%u..%u]\n", names[p], g * 4096u,
				    g * 4096u + 512);
}

/* What the devices see, then what the processes see of what the devices write. */
static void look_at_everything(struct writer *o, const struct world *w, unsigned pages)
{
	look_through(o, w, false);
	look_at_memory(o, w, pages);
	look_through(o, w, true);
	for (unsigned r = 0; r < w->nr_refs; r++)
		if (w->ref[r].open && is_direct(w->ref[r].made_by))
			add(o, "device: finish r%u\n", r);
	look_at_memory(o, w, pages);
}

size_t hf_hist_text(const struct hf_history *h, const struct hf_hist_limits *limits,
		    const char *settings, char *text, size_t len)
{
	struct writer o = { .text = text, .len = len, .nr_procs = 1 };

	add(&o, "%s", settings);
	if (limits->kind != HF_KIND_BASE)
		add(&o, "kinds   %s\n", hf_kind_name(limits->kind));
	add(&o, "process P\n\nP: map mem %u\n", limits->pages);
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
		look_at_everything(&o, &w, limits->pages);
	}
	return o.at;
}
