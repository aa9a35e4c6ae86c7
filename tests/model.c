/* SPDX-License-Identifier: MIT */
#include "model.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS 4           /* of a page, that the model knows */
#define WORD_SPACING 1016 /* so that the first and the last are far apart */
#define MAX_REF_PAGES 3

/* The bytes of one page of one process; references keep it when the process has let it go. */
struct bytes {
	unsigned users;
	uint64_t word[WORDS];
};

struct slot {
	struct bytes *bytes; /* NULL: not mapped */
	unsigned prot;
	bool file; /* mapped of the file */
	bool dontfork, wipeonfork;
};

struct proc {
	struct hf_mm *mm; /* NULL: not there */
	struct slot slot[MODEL_SLOTS];
};

struct reference {
	size_t nr; /* 0: free */
	bool pin, write;
	struct hf_ref ref[MAX_REF_PAGES];
	struct bytes *bytes[MAX_REF_PAGES];
};

struct model {
	struct hf_system *sys;
	bool windows, omits;
	unsigned stride;      /* pages of a slot; its bytes are in the first */
	struct hf_file *file; /* full of zeros, so a private mapping of it is like fresh memory */
	pthread_mutex_t lock; /* of proc[].mm, for borrowers */
	struct proc proc[MODEL_PROCS];
	struct reference reference[MODEL_REFS];
	uint64_t next_value;
	size_t operations;
	char doing[160];
};

/* ---- complaints ---- */

__attribute__((format(printf, 2, 3))) static void doing(struct model *m, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m->doing, sizeof(m->doing), fmt, ap);
	va_end(ap);
	if (getenv("HF_MODEL_TRACE"))
		fprintf(stderr, "# %s\n", m->doing);
}

__attribute__((format(printf, 2, 3))) static void complain(struct model *m, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "model, policy %s, operation %zu, %s: ", hf_system_policy(m->sys)->name,
		m->operations, m->doing);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

/* -ENOMEM may always come, and then nothing has happened. True: it has happened. */
static bool came_out(struct model *m, int64_t got, int want)
{
	if (got == -ENOMEM && want != -ENOMEM)
		return false;
	if (got != want)
		complain(m, "got %lld, want %d", (long long)got, want);
	return got == 0;
}

/* ---- shadow bytes ---- */

static struct bytes *bytes_new(const struct bytes *like)
{
	struct bytes *b = calloc(1, sizeof(*b));

	if (!b)
		abort();
	if (like)
		memcpy(b->word, like->word, sizeof(b->word));
	b->users = 1;
	return b;
}

static void bytes_put(struct bytes **b)
{
	if (*b && --(*b)->users == 0)
		free(*b);
	*b = NULL;
}

static uint64_t span(const struct model *m, unsigned nr)
{
	return (uint64_t)nr * m->stride * HF_PAGE_SIZE;
}

static uint64_t address(const struct model *m, unsigned slot)
{
	return MODEL_BASE + span(m, slot);
}

static uint64_t word_offset(unsigned word)
{
	return word * WORD_SPACING;
}

/* ---- input ---- */

static unsigned pick(struct model_input *in, unsigned below)
{
	return in->at < in->end ? *in->at++ % below : 0;
}

static struct proc *pick_proc(struct model *m, struct model_input *in)
{
	unsigned first = pick(in, MODEL_PROCS);

	for (unsigned i = 0; i < MODEL_PROCS; i++)
		if (m->proc[(first + i) % MODEL_PROCS].mm)
			return &m->proc[(first + i) % MODEL_PROCS];
	abort(); /* one is always there */
}

static int number(const struct model *m, const struct proc *p)
{
	return (int)(p - m->proc);
}

static void pick_range(struct model_input *in, unsigned *slot, unsigned *nr, unsigned most)
{
	*slot = pick(in, MODEL_SLOTS);
	*nr = 1 + pick(in, most);
	if (*slot + *nr > MODEL_SLOTS)
		*nr = MODEL_SLOTS - *slot;
}

static bool all_mapped(const struct proc *p, unsigned slot, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		if (!p->slot[slot + i].bytes)
			return false;
	return true;
}

/* ---- mappings ---- */

/* A call that maps at a fixed address had no memory: what was there may be gone. */
static void note_gone(struct model *m, struct proc *p, unsigned slot, unsigned nr)
{
	struct hf_page_info info;

	for (unsigned i = slot; i < slot + nr; i++)
		if (hf_mm_page_info(p->mm, address(m, i), &info) == -EFAULT)
			bytes_put(&p->slot[i].bytes);
}

static const unsigned prots[] = { HF_PROT_READ | HF_PROT_WRITE, HF_PROT_READ | HF_PROT_WRITE,
				  HF_PROT_READ, HF_PROT_NONE };

static void op_map(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	unsigned slot, nr, prot = prots[pick(in, 4)];
	uint64_t addr;
	bool huge, from_file;

	pick_range(in, &slot, &nr, 4);
	huge = pick(in, 2);
	if (huge && m->stride > 1) {
		slot &= ~3u; /* where a PMD fits */
		nr = 4;
	}
	addr = address(m, slot);
	from_file = pick(in, 4) == 0 && m->file;
	doing(m, "P%d: map %u+%u prot %u%s", number(m, p), slot, nr, prot,
	      from_file ? ", of the file" : "");
	if (!came_out(m,
		      from_file ? hf_mmap_file(p->mm, &addr, span(m, nr), prot, HF_MAP_FIXED,
					       m->file, slot)
				: hf_mmap(p->mm, &addr, span(m, nr), prot, HF_MAP_FIXED),
		      0)) {
		note_gone(m, p, slot, nr);
		return;
	}
	for (unsigned i = slot; i < slot + nr; i++) {
		bytes_put(&p->slot[i].bytes);
		p->slot[i] =
			(struct slot){ .bytes = bytes_new(NULL), .prot = prot, .file = from_file };
	}
	if (huge)
		hf_madvise(p->mm, addr, span(m, nr), HF_MADV_HUGEPAGE);
}

static void op_unmap(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	unsigned slot, nr;

	pick_range(in, &slot, &nr, 4);
	doing(m, "P%d: unmap %u+%u", number(m, p), slot, nr);
	if (!came_out(m, hf_munmap(p->mm, address(m, slot), span(m, nr)), 0))
		return;
	for (unsigned i = slot; i < slot + nr; i++)
		bytes_put(&p->slot[i].bytes);
}

static void op_protect(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	unsigned slot, nr, prot = prots[pick(in, 4)];
	int64_t got;

	pick_range(in, &slot, &nr, 4);
	doing(m, "P%d: protect %u+%u prot %u", number(m, p), slot, nr, prot);
	got = hf_mprotect(p->mm, address(m, slot), span(m, nr), prot);
	if (got == -ENOMEM) /* of memory or of a hole: then it comes again */
		got = hf_mprotect(p->mm, address(m, slot), span(m, nr), prot);
	came_out(m, got, all_mapped(p, slot, nr) ? 0 : -ENOMEM);
	for (unsigned i = slot; i < slot + nr && p->slot[i].bytes; i++)
		p->slot[i].prot = prot;
}

static void advise_slot(struct slot *s, enum hf_advice advice)
{
	switch (advice) {
	case HF_MADV_DONTNEED:
		bytes_put(&s->bytes);
		s->bytes = bytes_new(NULL);
		break;
	case HF_MADV_DONTFORK:
	case HF_MADV_DOFORK:
		s->dontfork = advice == HF_MADV_DONTFORK;
		break;
	case HF_MADV_WIPEONFORK:
	case HF_MADV_KEEPONFORK:
		s->wipeonfork = advice == HF_MADV_WIPEONFORK;
		break;
	default:
		break;
	}
}

static void op_advise(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	enum hf_advice advice = (enum hf_advice)pick(in, HF_MADV_PAGEOUT + 1);
	unsigned slot, nr, to;
	int64_t got, want;

	pick_range(in, &slot, &nr, 3);
	doing(m, "P%d: advise %u+%u %d", number(m, p), slot, nr, advice);
	got = hf_madvise(p->mm, address(m, slot), span(m, nr), advice);
	if (advice >= HF_MADV_POPULATE_READ)
		return; /* may stop anywhere; nothing that can be seen changes */
	if (got == -ENOMEM)
		got = hf_madvise(p->mm, address(m, slot), span(m, nr), advice);
	to = slot + nr;
	want = all_mapped(p, slot, nr) ? 0 : -ENOMEM;
	for (unsigned i = to; advice == HF_MADV_WIPEONFORK && i-- > slot;)
		if (p->slot[i].bytes && p->slot[i].file) {
			to = i; /* files refuse it, and that ends it there */
			want = -EINVAL;
		}
	came_out(m, got, want);
	for (unsigned i = slot; i < to; i++)
		if (p->slot[i].bytes)
			advise_slot(&p->slot[i], advice);
}

/* Does nothing without swap; never changes what anybody sees. */
static void op_pageout(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	unsigned slot, nr;

	pick_range(in, &slot, &nr, MODEL_SLOTS);
	doing(m, "P%d: page out %u+%u", number(m, p), slot, nr);
	hf_madvise(p->mm, address(m, slot), span(m, nr), HF_MADV_PAGEOUT);
}

/* Faults may use large folios now, or no more. */
static void op_hugepage(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	unsigned slot, nr;
	bool off = pick(in, 4) == 0;

	pick_range(in, &slot, &nr, MODEL_SLOTS);
	doing(m, "P%d: huge pages %s %u+%u", number(m, p), off ? "off" : "on", slot, nr);
	hf_madvise(p->mm, address(m, slot), span(m, nr),
		   off ? HF_MADV_NOHUGEPAGE : HF_MADV_HUGEPAGE);
}

/* Never changes what anybody sees. */
static void op_collapse(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	unsigned slot = pick(in, MODEL_SLOTS) & ~3u;

	doing(m, "P%d: collapse %u+4", number(m, p), slot);
	hf_madvise(p->mm, address(m, slot), span(m, 4), HF_MADV_COLLAPSE);
}

/* Merging, and its undoing; nobody sees either. */
static void op_merge(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	unsigned slot, nr, how = pick(in, 4);
	int64_t got;

	pick_range(in, &slot, &nr, MODEL_SLOTS);
	doing(m, "P%d: merge %u+%u, %u", number(m, p), slot, nr, how);
	hf_madvise(p->mm, address(m, slot), span(m, nr),
		   how ? HF_MADV_MERGEABLE : HF_MADV_UNMERGEABLE);
	if (how < 2)
		return;
	got = hf_ksm_scan(m->sys, how == 2 ? HF_KSM_USE_ZERO_PAGES : 0);
	if (got < 0)
		came_out(m, got, -ENOMEM);
}

static void op_track(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	unsigned slot, nr, how = pick(in, 3);

	pick_range(in, &slot, &nr, 4);
	doing(m, "P%d: track %u+%u, %u", number(m, p), slot, nr, how);
	if (how)
		hf_uffd_writeprotect(p->mm, address(m, slot), span(m, nr), how == 1);
	else
		hf_clear_soft_dirty(p->mm);
}

/* One page; what was never touched has no page to move. */
static void op_move(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	unsigned from = pick(in, MODEL_SLOTS), to = pick(in, MODEL_SLOTS);
	struct slot *src = &p->slot[from], *dst = &p->slot[to];
	int64_t got;

	if (from == to || !src->bytes || !dst->bytes)
		return;
	doing(m, "P%d: move %u to %u", number(m, p), from, to);
	got = hf_uffd_move(p->mm, address(m, to), address(m, from), HF_PAGE_SIZE);
	if (got < 0)
		return; /* many reasons; nothing has happened */
	if (got != HF_PAGE_SIZE)
		complain(m, "got %lld", (long long)got);
	bytes_put(&dst->bytes);
	dst->bytes = src->bytes;
	src->bytes = bytes_new(NULL);
}

static void op_compact(struct model *m, struct model_input *in)
{
	(void)in;
	doing(m, "compact");
	hf_compact(m->sys);
}

/* Moves frames, and nobody sees it. */
static void op_migrate(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	unsigned slot, nr;
	int64_t got;

	pick_range(in, &slot, &nr, 4);
	doing(m, "P%d: migrate %u+%u", number(m, p), slot, nr);
	got = hf_migrate_pages(p->mm, address(m, slot), span(m, nr));
	if (got < 0)
		came_out(m, got, -ENOMEM);
}

static void move_slot(struct proc *p, unsigned from, unsigned to)
{
	bytes_put(&p->slot[to].bytes);
	p->slot[to] = p->slot[from];
	p->slot[from].bytes = NULL;
}

/* The call had no memory for one of its mappings: those before it have moved. */
static void note_moved(struct model *m, struct proc *p, unsigned from, unsigned to, unsigned nr)
{
	struct hf_page_info info;

	for (unsigned i = 0; i < nr; i++)
		if (p->slot[from + i].bytes &&
		    hf_mm_page_info(p->mm, address(m, from + i), &info) == -EFAULT)
			move_slot(p, from + i, to + i);
	note_gone(m, p, to, nr);
}

static void op_remap(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	unsigned from, nr, to;
	uint64_t addr;
	bool spans;
	int got;

	pick_range(in, &from, &nr, 3);
	to = pick(in, MODEL_SLOTS - nr + 1);
	if (to < from + nr && from < to + nr)
		return;
	doing(m, "P%d: remap %u+%u to %u", number(m, p), from, nr, to);
	addr = address(m, to);
	got = hf_mremap(p->mm, address(m, from), span(m, nr), span(m, nr),
			HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &addr);
	spans = hf_system_policy(m->sys)->remap_spans;
	if (got == -EFAULT && !p->slot[from].bytes)
		return;
	if (got == -EFAULT && nr > 1 && !spans) {
		/* not one mapping; the place was made free before that was noticed */
		for (unsigned i = 0; i < nr; i++)
			bytes_put(&p->slot[to + i].bytes);
		return;
	}
	if (!came_out(m, got, 0)) {
		note_moved(m, p, from, to, nr);
		return;
	}
	if (spans ? !p->slot[from].bytes : !all_mapped(p, from, nr))
		complain(m, "moved what is not mapped");
	for (unsigned i = 0; i < nr; i++)
		if (p->slot[from + i].bytes) /* else a hole, which hides nothing */
			move_slot(p, from + i, to + i);
}

static void op_wrprotect(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	unsigned slot, nr;

	pick_range(in, &slot, &nr, MODEL_SLOTS);
	doing(m, "P%d: wrprotect %u+%u", number(m, p), slot, nr);
	came_out(m, hf_wrprotect(p->mm, address(m, slot), span(m, nr)), 0);
}

/* ---- processes ---- */

static void op_fork(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in), *c = &m->proc[pick(in, MODEL_PROCS)];
	struct hf_mm *child;
	int got;

	if (c->mm)
		return;
	doing(m, "P%d: fork P%d", number(m, p), number(m, c));
	got = hf_mm_fork(p->mm, &child);
	if (got == -EBUSY && !m->windows)
		return; /* refuse-fork */
	if (!came_out(m, got, 0))
		return;
	pthread_mutex_lock(&m->lock);
	c->mm = child;
	pthread_mutex_unlock(&m->lock);
	for (unsigned i = 0; i < MODEL_SLOTS; i++) {
		const struct slot *s = &p->slot[i];

		c->slot[i] = (struct slot){ .bytes = NULL };
		if (!s->bytes || s->dontfork)
			continue;
		c->slot[i] = *s;
		c->slot[i].bytes = bytes_new(s->wipeonfork ? NULL : s->bytes);
	}
}

static void end_process(struct model *m, struct proc *p)
{
	struct hf_mm *mm = p->mm;

	pthread_mutex_lock(&m->lock);
	p->mm = NULL;
	pthread_mutex_unlock(&m->lock);
	hf_mm_put(mm);
	for (unsigned i = 0; i < MODEL_SLOTS; i++)
		bytes_put(&p->slot[i].bytes);
}

static void op_exit(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	unsigned alive = 0;

	for (unsigned i = 0; i < MODEL_PROCS; i++)
		alive += m->proc[i].mm != NULL;
	if (alive < 2)
		return;
	doing(m, "P%d: exit", number(m, p));
	end_process(m, p);
}

/* ---- access ---- */

/* dont-fork leaves holes that only the engine knows of. */
static bool may_be_absent(const struct model *m, int64_t got)
{
	return m->omits && got == -EFAULT;
}

static void op_store(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	unsigned slot = pick(in, MODEL_SLOTS), word = pick(in, WORDS);
	struct slot *s = &p->slot[slot];
	uint64_t value = ++m->next_value;
	int got;

	doing(m, "P%d: store %u.%u %llu", number(m, p), slot, word, (unsigned long long)value);
	got = hf_store(p->mm, address(m, slot) + word_offset(word), &value, 8);
	if (may_be_absent(m, got))
		return;
	if (came_out(m, got, s->bytes && s->prot & HF_PROT_WRITE ? 0 : -EFAULT))
		s->bytes->word[word] = value;
}

static void check_word(struct model *m, const char *who, const struct bytes *b, unsigned word,
		       uint64_t seen)
{
	if (b->word[word] != seen)
		complain(m, "%s sees %llu, want %llu", who, (unsigned long long)seen,
			 (unsigned long long)b->word[word]);
}

static void op_load(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	unsigned slot = pick(in, MODEL_SLOTS), word = pick(in, WORDS);
	struct slot *s = &p->slot[slot];
	uint64_t value;
	int got;

	doing(m, "P%d: load %u.%u", number(m, p), slot, word);
	got = hf_load(p->mm, address(m, slot) + word_offset(word), &value, 8);
	if (may_be_absent(m, got))
		return;
	if (came_out(m, got, s->bytes && s->prot & HF_PROT_READ ? 0 : -EFAULT))
		check_word(m, "the load", s->bytes, word, value);
}

/* Reads all that can be read of a process, in one copy a page. */
static void op_check_all(struct model *m, struct model_input *in)
{
	struct proc *p = pick_proc(m, in);
	uint8_t page[HF_PAGE_SIZE];

	doing(m, "P%d: check all", number(m, p));
	for (unsigned i = 0; i < MODEL_SLOTS; i++) {
		struct slot *s = &p->slot[i];
		int64_t got;
		uint64_t seen;

		if (!s->bytes || !(s->prot & HF_PROT_READ))
			continue;
		got = hf_copy_from_user(p->mm, page, address(m, i), sizeof(page));
		if (may_be_absent(m, got) || got == -ENOMEM)
			continue;
		if (got != HF_PAGE_SIZE)
			complain(m, "page %u: got %lld", i, (long long)got);
		for (unsigned w = 0; w < WORDS; w++) {
			memcpy(&seen, page + word_offset(w), 8);
			check_word(m, "the copy", s->bytes, w, seen);
		}
	}
}

static void op_fault(struct model *m, struct model_input *in)
{
	static const unsigned flags[] = { 0, HF_FAULT_FLAG_WRITE, HF_FAULT_FLAG_UNSHARE };
	struct proc *p = pick_proc(m, in);
	unsigned slot = pick(in, MODEL_SLOTS), how = pick(in, 3);
	struct slot *s = &p->slot[slot];
	bool allowed = s->bytes && (how == 2 || s->prot & (how ? HF_PROT_WRITE : HF_PROT_READ));
	int got;

	doing(m, "P%d: fault %u kind %u", number(m, p), slot, how);
	got = hf_handle_mm_fault(p->mm, address(m, slot), flags[how]);
	if (!may_be_absent(m, got))
		came_out(m, got, allowed ? 0 : -EFAULT);
}

static void op_remote(struct model *m, struct model_input *in)
{
	static const enum hf_user users[] = { HF_USER_PROCESS_VM_READ, HF_USER_PROCESS_VM_WRITE,
					      HF_USER_PTRACE_READ, HF_USER_PTRACE_WRITE };
	struct proc *p = pick_proc(m, in);
	unsigned slot = pick(in, MODEL_SLOTS), word = pick(in, WORDS), u = pick(in, 4);
	struct slot *s = &p->slot[slot];
	bool writes = u & 1, forced = u >= 2;
	uint64_t value = ++m->next_value;
	int64_t got;

	doing(m, "P%d: user %u at %u.%u", number(m, p), u, slot, word);
	got = hf_access_process_vm(p->mm, users[u], address(m, slot) + word_offset(word), &value,
				   8);
	if (forced && got == -EIO)
		got = -EFAULT; /* ptrace's word for it */
	if (may_be_absent(m, got) || got == -ENOMEM)
		return;
	if (!s->bytes || (!forced && !(s->prot & (writes ? HF_PROT_WRITE : HF_PROT_READ)))) {
		came_out(m, got, -EFAULT);
		return;
	}
	if (got != 8) {
		if (hf_system_policy(m->sys)->gup_read && got == -EFAULT && !m->windows && !writes)
			return; /* fail-pin */
		complain(m, "got %lld", (long long)got);
	}
	if (writes)
		s->bytes->word[word] = value;
	else
		check_word(m, "the remote read", s->bytes, word, value);
}

/* ---- references ---- */

static int64_t take(const struct model *m, struct proc *p, unsigned how, unsigned slot, unsigned nr,
		    unsigned flags, bool pin, struct hf_ref *refs)
{
	uint64_t addr = address(m, slot);

	switch (how) {
	case 0:
		return pin ? hf_pin_user_pages(p->mm, addr, nr, flags, refs)
			   : hf_get_user_pages(p->mm, addr, nr, flags, refs);
	case 1:
		return pin ? hf_pin_user_pages_remote(p->mm, addr, nr, flags, refs)
			   : hf_get_user_pages_remote(p->mm, addr, nr, flags, refs);
	default:
		return pin ? hf_pin_user_pages_fast(p->mm, addr, nr, flags, refs)
			   : hf_get_user_pages_fast(p->mm, addr, nr, flags, refs);
	}
}

static bool slot_allows(const struct slot *s, unsigned flags)
{
	return s->bytes && (flags & HF_FOLL_FORCE ||
			    s->prot & (flags & HF_FOLL_WRITE ? HF_PROT_WRITE : HF_PROT_READ));
}

static void op_take(struct model *m, struct model_input *in)
{
	struct reference *r = &m->reference[pick(in, MODEL_REFS)];
	struct proc *p = pick_proc(m, in);
	unsigned bits = pick(in, 128), slot, nr, flags, want = 0;
	bool pin = bits & 1, exact;
	int64_t got;

	pick_range(in, &slot, &nr, m->stride == 1 ? MAX_REF_PAGES : 1);
	if (r->nr)
		return;
	flags = (bits & 2 ? HF_FOLL_WRITE : 0) | (bits & 4 && pin ? HF_FOLL_LONGTERM : 0) |
		((bits & 0x18) == 0x18 ? HF_FOLL_FORCE : 0);
	if (!m->windows)
		flags &= ~HF_FOLL_WRITE; /* devices do not write where pins are no windows */
	doing(m, "P%d: %s %u+%u flags %u way %u", number(m, p), pin ? "pin" : "get", slot, nr,
	      flags, bits >> 5);
	got = take(m, p, bits >> 5 & 3, slot, nr, flags, pin, r->ref);
	while (want < nr && slot_allows(&p->slot[slot + want], flags))
		want++;
	/* memory may be short, a page held in the movable zone, and policies fail or lack pages */
	exact = m->windows && got != -ENOMEM && !(got == -EBUSY && flags & HF_FOLL_LONGTERM) &&
		!(got >= 0 && got < want);
	if (exact && got != (want ? (int64_t)want : -EFAULT))
		complain(m, "got %lld, want %u", (long long)got, want);
	if (got > (int64_t)want)
		complain(m, "got %lld, but only %u pages allow it", (long long)got, want);
	if (got <= 0)
		return;
	r->nr = (size_t)got;
	r->pin = pin;
	r->write = flags & HF_FOLL_WRITE;
	for (unsigned i = 0; i < r->nr; i++) {
		r->bytes[i] = p->slot[slot + i].bytes;
		r->bytes[i]->users++;
	}
}

static void release(struct model *m, struct reference *r, unsigned how)
{
	struct hf_ref wrong[MAX_REF_PAGES];
	int got;

	memcpy(wrong, r->ref, sizeof(wrong));
	got = r->pin ? hf_put_user_pages(m->sys, wrong, r->nr)
		     : hf_unpin_user_pages(m->sys, wrong, r->nr);
	if (got != -EINVAL)
		complain(m, "the wrong kind of release gave %d", got);
	if (!r->pin)
		got = hf_put_user_pages(m->sys, r->ref, r->nr);
	else if (how & 1)
		got = hf_unpin_user_pages_dirty(m->sys, r->ref, r->nr);
	else
		got = hf_unpin_user_pages(m->sys, r->ref, r->nr);
	came_out(m, got, 0);
	for (unsigned i = 0; i < r->nr; i++)
		bytes_put(&r->bytes[i]);
	r->nr = 0;
}

static void op_release(struct model *m, struct model_input *in)
{
	struct reference *r = &m->reference[pick(in, MODEL_REFS)];
	unsigned how = pick(in, 2);

	if (!r->nr)
		return;
	doing(m, "release reference %d", (int)(r - m->reference));
	release(m, r, how);
}

static void op_device(struct model *m, struct model_input *in)
{
	struct reference *r = &m->reference[pick(in, MODEL_REFS)];
	unsigned word = pick(in, WORDS), i = pick(in, MAX_REF_PAGES);
	bool writes = pick(in, 2);
	uint64_t value = ++m->next_value;
	int got;

	if (i >= r->nr || !m->windows || (!r->pin && !r->write))
		return;
	doing(m, "the device %s page %u.%u of reference %d", writes ? "writes" : "reads", i, word,
	      (int)(r - m->reference));
	if (!writes) {
		came_out(m, hf_ref_read(m->sys, &r->ref[i], word_offset(word), &value, 8), 0);
		check_word(m, "the device", r->bytes[i], word, value);
		return;
	}
	got = hf_ref_write(m->sys, &r->ref[i], word_offset(word), &value, 8);
	if (came_out(m, got, r->write ? 0 : -EPERM))
		r->bytes[i]->word[word] = value;
}

/* ---- the model ---- */

bool model_step(struct model *m, struct model_input *in)
{
	typedef void (*operation)(struct model *, struct model_input *);
	/* what stands more than once is done more often */
	static const operation ops[] = {
		op_store,   op_store,   op_store,   op_load,     op_load,      op_check_all,
		op_fork,    op_fork,    op_exit,    op_take,     op_take,      op_take,
		op_release, op_device,  op_device,  op_map,      op_unmap,     op_remap,
		op_fault,   op_remote,  op_protect, op_advise,   op_wrprotect, op_pageout,
		op_pageout, op_migrate, op_migrate, op_hugepage, op_collapse,  op_merge,
		op_track,   op_move,    op_compact,
	};

	if (in->at >= in->end)
		return false;
	m->operations++;
	ops[pick(in, sizeof(ops) / sizeof(ops[0]))](m, in);
	return true;
}

struct model *model_new(struct hf_system *sys, bool windows, unsigned stride)
{
	struct model *m = calloc(1, sizeof(*m));
	struct hf_system_stats stats;
	uint64_t addr = MODEL_BASE;
	int err;

	if (!m)
		return NULL;
	m->sys = sys;
	m->windows = windows;
	m->stride = stride;
	m->omits = !strcmp(hf_system_policy(sys)->name, "dont-fork");
	pthread_mutex_init(&m->lock, NULL);
	err = hf_mm_create(sys, &m->proc[0].mm);
	hf_system_stats(sys, &stats);
	/* files' pages stay in memory: not where it is scarce */
	if (!err && stride == 1 && stats.nr_frames >= 128)
		err = hf_file_create(sys, MODEL_SLOTS * HF_PAGE_SIZE, NULL, 0, &m->file);
	if (!err)
		err = hf_mmap(m->proc[0].mm, &addr, span(m, MODEL_SLOTS / 2),
			      HF_PROT_READ | HF_PROT_WRITE, HF_MAP_FIXED);
	for (unsigned i = 0; i < MODEL_SLOTS / 2 && !err; i++)
		m->proc[0].slot[i] = (struct slot){ .bytes = bytes_new(NULL),
						    .prot = HF_PROT_READ | HF_PROT_WRITE };
	if (err) {
		model_free(m);
		return NULL;
	}
	return m;
}

void model_free(struct model *m)
{
	doing(m, "the end");
	for (unsigned i = 0; i < MODEL_REFS; i++)
		if (m->reference[i].nr)
			release(m, &m->reference[i], 0);
	for (unsigned i = 0; i < MODEL_PROCS; i++)
		if (m->proc[i].mm)
			end_process(m, &m->proc[i]);
	if (m->file)
		hf_file_put(m->file);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

struct hf_mm *model_borrow(struct model *m, unsigned proc)
{
	struct hf_mm *mm;

	pthread_mutex_lock(&m->lock);
	mm = m->proc[proc % MODEL_PROCS].mm;
	if (mm)
		hf_mm_get(mm);
	pthread_mutex_unlock(&m->lock);
	return mm;
}

size_t model_operations(const struct model *m)
{
	return m->operations;
}
