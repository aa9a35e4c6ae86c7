/* SPDX-License-Identifier: MIT */
/* Steps: their form, and what they may mean at their place. */
#include "parse.h"

#include <errno.h>
#include <holdfast/gup.h>
#include <holdfast/mm.h>
#include <string.h>

/*
 * The form of what follows the verb:
 *   A  advice                           R  range
 *   B  new or old buffer                T  another process
 *   C  new process                      V  byte value
 *   D  reference with a sub-range       d  "dirty", may be missing
 *   F  new reference                    f  reference
 *   M  r or w, and GUP options          m  pages, may be missing
 *   P  pages                            p  protection, may be missing
 *                                       r  protection
 */
struct verb {
	const char *word, *mode;
	enum hf_verb verb;
	const char *form;
	bool par;           /* allowed in par blocks */
	bool device;        /* the device's */
	bool pages;         /* whole pages only */
	bool access;        /* in par blocks: one load or store */
	unsigned long made; /* f, D: which verbs may have made the reference */
};

#define MADE(verb) (1ul << (verb))
#define MADE_RAW (MADE(HF_V_PIN) | MADE(HF_V_GET))
#define MADE_ODIRECT (MADE(HF_V_ODIRECT_READ) | MADE(HF_V_ODIRECT_WRITE))
#define MADE_HELD (MADE_RAW | MADE(HF_V_VMSPLICE) | MADE(HF_V_FIXEDBUF))

static const struct verb verbs[] = {
	{ "map", NULL, HF_V_MAP, "BPp", .par = false },
	{ "unmap", NULL, HF_V_UNMAP, "R", .par = true, .pages = true },
	{ "protect", NULL, HF_V_PROTECT, "Rr", .par = true, .pages = true },
	{ "advise", NULL, HF_V_ADVISE, "RA", .par = true, .pages = true },
	{ "remap", NULL, HF_V_REMAP, "Bm", .par = true },
	{ "wrprotect", NULL, HF_V_WRPROTECT, "R", .par = true, .pages = true },
	{ "swapout", NULL, HF_V_SWAPOUT, "R", .par = true, .pages = true },
	{ "migrate", NULL, HF_V_MIGRATE, "R", .par = true, .pages = true },
	{ "merge", NULL, HF_V_MERGE, "R", .par = true, .pages = true },
	{ "split", NULL, HF_V_SPLIT, "R", .par = true, .pages = true },
	{ "truncate", NULL, HF_V_TRUNCATE, "R", .par = true, .pages = true },
	{ "fork", NULL, HF_V_FORK, "C", .par = true },
	{ "exit", NULL, HF_V_EXIT, "", .par = true },
	{ "read", NULL, HF_V_READ, "R", .par = true, .access = true },
	{ "write", NULL, HF_V_WRITE, "RV", .par = true, .access = true },
	{ "check", NULL, HF_V_CHECK, "RV", .par = false },
	{ "pin", NULL, HF_V_PIN, "FRM", .par = true },
	{ "get", NULL, HF_V_GET, "FRM", .par = true },
	{ "unpin", NULL, HF_V_UNPIN, "fd", .par = true, .made = MADE_RAW },
	{ "put", NULL, HF_V_PUT, "f", .par = true, .made = MADE_RAW },
	{ "vmsplice", NULL, HF_V_VMSPLICE, "FR", .par = false },
	{ "fixedbuf", NULL, HF_V_FIXEDBUF, "FR", .par = false },
	{ "release", NULL, HF_V_RELEASE, "f", .made = MADE(HF_V_VMSPLICE) | MADE(HF_V_FIXEDBUF) },
	{ "odirect", "read", HF_V_ODIRECT_READ, "FRV", .par = false },
	{ "odirect", "write", HF_V_ODIRECT_WRITE, "FR", .par = false },
	{ "process_vm", "read", HF_V_PROCESS_VM_READ, "TR", .par = false },
	{ "process_vm", "write", HF_V_PROCESS_VM_WRITE, "TRV", .par = false },
	{ "ptrace", "read", HF_V_PTRACE_READ, "TR", .par = false },
	{ "ptrace", "write", HF_V_PTRACE_WRITE, "TRV", .par = false },
	{ "read", NULL, HF_V_DEV_READ, "D", .par = true, .device = true, .access = true,
	  .made = MADE_HELD },
	{ "write", NULL, HF_V_DEV_WRITE, "DV", .par = true, .device = true, .access = true,
	  .made = MADE_HELD },
	{ "check", NULL, HF_V_DEV_CHECK, "DV", .device = true, .made = MADE_HELD },
	{ "finish", NULL, HF_V_DEV_FINISH, "f", .device = true, .made = MADE_ODIRECT },
};

#define NR_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static const struct {
	const char *name;
	enum hf_advice value;
} advices[] = {
	{ "dontneed", HF_MADV_DONTNEED },           { "free", HF_MADV_FREE },
	{ "dontfork", HF_MADV_DONTFORK },           { "dofork", HF_MADV_DOFORK },
	{ "wipeonfork", HF_MADV_WIPEONFORK },       { "keeponfork", HF_MADV_KEEPONFORK },
	{ "populate-read", HF_MADV_POPULATE_READ }, { "populate-write", HF_MADV_POPULATE_WRITE },
	{ "collapse", HF_MADV_COLLAPSE },
};

static const struct {
	const char *name;
	int value;
} errnos[] = {
	{ "EFAULT", EFAULT },         { "EINVAL", EINVAL }, { "ENOMEM", ENOMEM },
	{ "EBUSY", EBUSY },           { "EPERM", EPERM },   { "EEXIST", EEXIST },
	{ "EOVERFLOW", EOVERFLOW },   { "EAGAIN", EAGAIN }, { "EIO", EIO },
	{ "EOPNOTSUPP", EOPNOTSUPP },
};

static const char *advice_at(const struct hf_parser *p, size_t i)
{
	(void)p;
	return i < sizeof(advices) / sizeof(advices[0]) ? advices[i].name : NULL;
}

static const char *errno_at(const struct hf_parser *p, size_t i)
{
	(void)p;
	return i < sizeof(errnos) / sizeof(errnos[0]) ? errnos[i].name : NULL;
}

static const char *proc_at(const struct hf_parser *p, size_t i)
{
	return i < p->scn->nr_procs ? p->scn->procs[i].name : NULL;
}

static const char *buf_at(const struct hf_parser *p, size_t i)
{
	return i < p->scn->nr_bufs ? p->scn->bufs[i].name : NULL;
}

static const char *ref_at(const struct hf_parser *p, size_t i)
{
	return i < p->scn->nr_refs ? p->scn->refs[i].name : NULL;
}

static const char *verb_at(const struct hf_parser *p, size_t i)
{
	(void)p;
	return i < NR_VERBS ? verbs[i].word : NULL;
}

static const char *copy_name(struct hf_parser *p, const struct hf_token *name)
{
	return hf_arena_string(p->arena, name->text, name->len);
}

/* ---- names ---- */

int hf_parse_add_proc(struct hf_parser *p, const struct hf_token *name, bool initial, int *index)
{
	struct hf_scenario *scn = p->scn;
	struct hf_scn_proc *proc;
	const char *text;

	if (hf_token_is(name, "device"))
		return hf_parse_fail(p, name->text, "'device' cannot be the name of a process");
	*index = hf_parse_find(p, name, proc_at);
	if (*index >= 0)
		return hf_parse_fail(p, name->text,
				     "expected a new process name, found '%.*s', made in line %d",
				     (int)name->len, name->text, p->procs[*index].line);
	if (scn->nr_procs == HF_SCN_MAX_PROCS)
		return hf_parse_fail(p, name->text, "expected at most %d processes",
				     HF_SCN_MAX_PROCS);
	text = copy_name(p, name);
	if (!text)
		return -ENOMEM;
	*index = (int)scn->nr_procs++;
	proc = &scn->procs[*index];
	*proc = (struct hf_scn_proc){ .name = text, .initial = initial, .nr_threads = 1 };
	p->procs[*index].line = p->lx.line;
	for (size_t t = 0; t < HF_SCN_MAX_THREADS; t++)
		p->procs[*index].thread_arm[t] = -1;
	return 0;
}

static int old_proc(struct hf_parser *p, int *index)
{
	struct hf_token name;
	int err = hf_parse_name(p, "a process", &name);

	if (err)
		return err;
	*index = hf_parse_find(p, &name, proc_at);
	if (*index < 0)
		return hf_parse_unknown(p, &name, "process", proc_at,
					"declare it with 'process' or fork it first");
	if (p->procs[*index].exited)
		return hf_parse_fail(p, name.text, "process '%s' exited in line %d",
				     proc_at(p, (size_t)*index), p->procs[*index].line);
	return 0;
}

static int thread_of(struct hf_parser *p, int proc, int *index)
{
	struct hf_scn_proc *pr = &p->scn->procs[proc];
	struct hf_token name;
	int err = hf_parse_new_name(p, "a thread", &name);

	if (err)
		return err;
	for (size_t t = 1; t < pr->nr_threads; t++)
		if (hf_token_is(&name, pr->threads[t])) {
			*index = (int)t;
			return 0;
		}
	if (pr->nr_threads == HF_SCN_MAX_THREADS)
		return hf_parse_fail(p, name.text, "expected at most %d threads of a process",
				     HF_SCN_MAX_THREADS);
	*index = (int)pr->nr_threads;
	pr->threads[pr->nr_threads] = copy_name(p, &name);
	return pr->threads[pr->nr_threads++] ? 0 : -ENOMEM;
}

/* ---- the parts of a step ---- */

static int parse_buf(struct hf_parser *p, struct hf_step *st)
{
	struct hf_token name;
	int err = hf_parse_new_name(p, "a buffer", &name);

	if (err)
		return err;
	st->buf = hf_parse_find(p, &name, buf_at);
	if (st->verb == HF_V_REMAP && (st->buf < 0 || !p->procs[st->proc].pages[st->buf]))
		return hf_parse_unknown(p, &name, "buffer", buf_at, "map it first");
	if (st->buf >= 0)
		return 0;
	if (p->scn->nr_bufs == HF_SCN_MAX_BUFS)
		return hf_parse_fail(p, name.text, "expected at most %d buffers", HF_SCN_MAX_BUFS);
	st->buf = (int)p->scn->nr_bufs;
	p->scn->bufs[st->buf].name = copy_name(p, &name);
	return p->scn->bufs[p->scn->nr_bufs++].name ? 0 : -ENOMEM;
}

static void set_pages(struct hf_parser *p, struct hf_step *st)
{
	struct hf_scn_buf *buf = &p->scn->bufs[st->buf];

	if (!st->pages)
		return;
	p->procs[st->proc].pages[st->buf] = st->pages;
	if (buf->max_pages < st->pages)
		buf->max_pages = st->pages;
}

static int parse_pages(struct hf_parser *p, struct hf_step *st, bool optional)
{
	uint64_t n;
	int err;

	if (optional && p->lx.tok.kind != HF_T_NUMBER)
		return 0;
	err = hf_parse_number(p, "a number of pages from 1 to 512", 1, HF_SCN_MAX_PAGES, &n);
	if (err)
		return err;
	st->pages = (unsigned)n;
	set_pages(p, st);
	return 0;
}

/* [LO..HI] or [N], inside size bytes. */
static int parse_brackets(struct hf_parser *p, size_t size, size_t *lo, size_t *hi)
{
	const char *at = p->lx.tok.text;
	uint64_t from, to;
	int err = hf_parse_number(p, "a byte offset", 0, UINT64_MAX, &from);

	if (err)
		return err;
	to = from == UINT64_MAX ? from : from + 1;
	if (hf_parse_accept(p, "..")) {
		err = hf_parse_number(p, "the end of the range", 0, UINT64_MAX, &to);
		if (err)
			return err;
	}
	if (from >= to || to > size)
		return hf_parse_fail(p, at, "expected a range inside 0..%zu, found %llu..%llu",
				     size, (unsigned long long)from, (unsigned long long)to);
	*lo = from;
	*hi = to;
	return hf_parse_punct(p, "]", "']'");
}

static int parse_range(struct hf_parser *p, struct hf_step *st, const struct verb *v)
{
	const char *at = p->lx.tok.text;
	struct hf_token name;
	uint64_t page;
	size_t size;
	int err = hf_parse_name(p, "a buffer", &name);

	if (err)
		return err;
	st->buf = hf_parse_find(p, &name, buf_at);
	size = st->buf < 0 ? 0 : p->procs[st->target].pages[st->buf] * HF_PAGE_SIZE;
	if (st->buf < 0)
		return hf_parse_unknown(p, &name, "buffer", buf_at, "map it first");
	if (!size)
		return hf_parse_fail(p, name.text,
				     "process '%s' has no buffer '%s'; map it there first",
				     p->scn->procs[st->target].name, p->scn->bufs[st->buf].name);
	st->hi = size;
	if (hf_parse_accept(p, "[")) {
		err = parse_brackets(p, size, &st->lo, &st->hi);
	} else if (hf_parse_accept(p, "@")) {
		err = hf_parse_number(p, "a page of the buffer", 0, size / HF_PAGE_SIZE - 1, &page);
		if (!err) {
			st->lo = page * HF_PAGE_SIZE;
			st->hi = st->lo + HF_PAGE_SIZE;
		}
	}
	if (!err && v->pages && (st->lo | st->hi) % HF_PAGE_SIZE)
		return hf_parse_fail(p, at, "expected whole pages for '%s', found bytes %zu..%zu",
				     v->word, st->lo, st->hi);
	return err;
}

static int parse_value(struct hf_parser *p, struct hf_step *st)
{
	uint64_t n;
	int err = hf_parse_number(p, "a byte value from 0 to 255", 0, 255, &n);

	st->value = err ? 0 : (uint8_t)n;
	return err;
}

static int parse_prot(struct hf_parser *p, struct hf_step *st, bool optional)
{
	if (hf_parse_accept(p, "rw"))
		st->prot = HF_PROT_READ | HF_PROT_WRITE;
	else if (hf_parse_accept(p, "r"))
		st->prot = HF_PROT_READ;
	else if (hf_parse_accept(p, "none"))
		st->prot = HF_PROT_NONE;
	else if (optional)
		st->prot = HF_PROT_READ | HF_PROT_WRITE;
	else
		return hf_parse_expected(p, "r, rw or none");
	return 0;
}

static int parse_advice(struct hf_parser *p, struct hf_step *st)
{
	struct hf_token name;
	int i, err = hf_parse_name(p, "an advice", &name);

	if (err)
		return err;
	i = hf_parse_find(p, &name, advice_at);
	if (i < 0)
		return hf_parse_unknown(p, &name, "advice", advice_at, NULL);
	st->advice = advices[i].value;
	return 0;
}

static int parse_child(struct hf_parser *p, struct hf_step *st)
{
	struct hf_token name;
	int err = hf_parse_new_name(p, "the name of the child", &name);

	if (!err)
		err = hf_parse_add_proc(p, &name, false, &st->child);
	if (!err)
		memcpy(p->procs[st->child].pages, p->procs[st->proc].pages,
		       sizeof(p->procs[0].pages));
	return err;
}

static int parse_new_ref(struct hf_parser *p, struct hf_step *st)
{
	struct hf_scenario *scn = p->scn;
	struct hf_token name;
	int err = hf_parse_new_name(p, "the name of the reference", &name);

	if (err)
		return err;
	st->ref = hf_parse_find(p, &name, ref_at);
	if (st->ref >= 0)
		return hf_parse_fail(p, name.text,
				     "expected a new reference name, found '%s', made in line %d",
				     scn->refs[st->ref].name, p->maker[st->ref]->line);
	if (scn->nr_refs == HF_SCN_MAX_REFS)
		return hf_parse_fail(p, name.text, "expected at most %d references",
				     HF_SCN_MAX_REFS);
	st->ref = (int)scn->nr_refs;
	scn->refs[st->ref] =
		(struct hf_scn_ref){ .name = copy_name(p, &name), .made_by = st->verb };
	p->maker[st->ref] = st;
	scn->nr_refs++;
	return scn->refs[st->ref].name ? 0 : -ENOMEM;
}

static int parse_ref(struct hf_parser *p, struct hf_step *st, const struct verb *v, bool sub_range)
{
	const struct hf_step *maker;
	struct hf_token name;
	int err = hf_parse_name(p, "a reference", &name);

	if (err)
		return err;
	st->ref = hf_parse_find(p, &name, ref_at);
	if (st->ref < 0)
		return hf_parse_unknown(p, &name, "reference", ref_at,
					"pin, get or start it first");
	maker = p->maker[st->ref];
	if (!(v->made >> maker->verb & 1))
		return hf_parse_fail(p, name.text,
				     "'%s' does not go with '%s', made by '%s' in line %d", v->word,
				     ref_at(p, (size_t)st->ref), maker->text, maker->line);
	if (!sub_range)
		return 0;
	st->hi = maker->hi - maker->lo;
	return hf_parse_accept(p, "[") ? parse_brackets(p, st->hi, &st->lo, &st->hi) : 0;
}

static int parse_gup_option(struct hf_parser *p, struct hf_step *st, bool *more)
{
	static const struct {
		const char *word;
		unsigned flag;
	} flags[] = {
		{ "long", HF_FOLL_LONGTERM },
		{ "force", HF_FOLL_FORCE },
		{ "nofault", HF_FOLL_NOFAULT },
		{ "fast-only", HF_FOLL_FAST_ONLY },
	};
	const char *at = p->lx.tok.text;
	uint64_t times;
	int err;

	*more = true;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (!hf_parse_accept(p, flags[i].word))
			continue;
		st->foll |= flags[i].flag;
		if (st->verb == HF_V_GET && flags[i].flag == HF_FOLL_LONGTERM)
			return hf_parse_fail(p, at, "'long' goes with 'pin', not with 'get'");
		return 0;
	}
	if (hf_parse_accept(p, "slow")) {
		st->fast = false;
		return 0;
	}
	if (hf_parse_accept(p, "of"))
		return old_proc(p, &st->target);
	if (hf_parse_accept(p, "times")) {
		err = hf_parse_number(p, "a count from 1 to 4096", 1, HF_SCN_MAX_TIMES, &times);
		st->times = err ? 1 : (unsigned)times;
		return err;
	}
	*more = false;
	return 0;
}

static int parse_gup(struct hf_parser *p, struct hf_step *st)
{
	bool more = true;
	int err = 0;

	st->fast = true;
	if (hf_parse_accept(p, "w"))
		st->foll = HF_FOLL_WRITE;
	else if (!hf_parse_accept(p, "r"))
		return hf_parse_expected(p, "r or w");
	while (more && !err)
		err = parse_gup_option(p, st, &more);
	return err;
}

/* The memory of another process: `of Q` comes late in the line,
 * but the range before it needs it. */
static int find_target(struct hf_parser *p, struct hf_step *st)
{
	struct hf_lexer saved = p->lx;
	int err = 0;

	while (p->lx.tok.kind != HF_T_END && !hf_token_is(&p->lx.tok, "of"))
		hf_lex_next(&p->lx);
	if (hf_parse_accept(p, "of"))
		err = old_proc(p, &st->target);
	if (!err)
		p->lx = saved;
	return err;
}

static int parse_outcome(struct hf_parser *p, struct hf_step *st)
{
	struct hf_token name;
	int i;

	if (hf_parse_accept(p, "maybe")) {
		st->maybe = true;
	} else if (hf_parse_accept(p, "fails")) {
		st->fails = true;
		if (p->lx.tok.kind != HF_T_NAME)
			return 0;
		hf_parse_name(p, "an errno", &name);
		i = hf_parse_find(p, &name, errno_at);
		if (i < 0)
			return hf_parse_unknown(p, &name, "errno", errno_at, NULL);
		st->fails_errno = errnos[i].value;
	}
	return 0;
}

static int parse_part(struct hf_parser *p, struct hf_step *st, const struct verb *v, char part)
{
	switch (part) {
	case 'B':
		return parse_buf(p, st);
	case 'R':
		return parse_range(p, st, v);
	case 'V':
		return parse_value(p, st);
	case 'P':
		return parse_pages(p, st, false);
	case 'm':
		return parse_pages(p, st, true);
	case 'p':
		return parse_prot(p, st, true);
	case 'r':
		return parse_prot(p, st, false);
	case 'A':
		return parse_advice(p, st);
	case 'C':
		return parse_child(p, st);
	case 'F':
		return parse_new_ref(p, st);
	case 'f':
		return parse_ref(p, st, v, false);
	case 'D':
		return parse_ref(p, st, v, true);
	case 'T':
		return old_proc(p, &st->target);
	case 'd':
		st->dirty = hf_parse_accept(p, "dirty");
		return 0;
	default: /* M */
		return parse_gup(p, st);
	}
}

/* ---- par ---- */

void hf_parse_reset_arms(struct hf_parser *p)
{
	p->moving = -1;
	for (size_t i = 0; i < HF_SCN_MAX_PROCS; i++) {
		p->procs[i].arms = 0;
		for (size_t t = 0; t < HF_SCN_MAX_THREADS; t++)
			p->procs[i].thread_arm[t] = -1;
	}
}

/* What an arm does has its address when the block starts. */
static int check_moves(struct hf_parser *p, const struct hf_step *st, const char *at)
{
	if (st->verb == HF_V_REMAP && p->moving >= 0 && p->moving != st->proc)
		return hf_parse_fail(p, at,
				     "expected one process that moves its memory in a par "
				     "block, found another");
	if (st->verb == HF_V_REMAP)
		p->moving = st->proc;
	if (p->moving >= 0 && p->procs[p->moving].arms & (p->procs[p->moving].arms - 1))
		return hf_parse_fail(p, at,
				     "'remap' moves what another arm of this par block is at");
	return 0;
}

static int check_par(struct hf_parser *p, const struct hf_step *st, const struct verb *v,
		     const char *at)
{
	size_t len = st->hi - st->lo, base = st->proc == HF_SCN_DEVICE ? p->maker[st->ref]->lo : 0;
	unsigned this = 1u << (p->par->nr_arms - 1);
	int *arm;

	if (!v->par)
		return hf_parse_fail(p, at, "'%s' cannot stand in a par block", v->word);
	if (v->access && !hf_single_access(base + st->lo, len))
		return hf_parse_fail(
			p, at,
			"expected 1, 2, 4 or 8 aligned bytes in a par block, found bytes %zu..%zu",
			st->lo, st->hi);
	if (st->proc == HF_SCN_DEVICE)
		return 0;
	arm = &p->procs[st->proc].thread_arm[st->thread];
	if ((*arm >= 0 && *arm != (int)p->par->nr_arms - 1) ||
	    (st->verb == HF_V_EXIT && p->procs[st->proc].arms & ~this))
		return hf_parse_fail(p, hf_lex_first(&p->lx),
				     "'%s' acts in another arm of this par block already",
				     p->scn->procs[st->proc].name);
	*arm = (int)p->par->nr_arms - 1;
	p->procs[st->proc].arms |= this;
	p->procs[st->target].arms |= this;
	if (st->verb == HF_V_FORK)
		p->procs[st->child].arms |= this;
	return check_moves(p, st, at);
}

/* ---- the step ---- */

static const struct verb *find_verb(const struct hf_token *word, const struct hf_token *mode,
				    bool device)
{
	for (size_t i = 0; i < NR_VERBS; i++)
		if (verbs[i].device == device && hf_token_is(word, verbs[i].word) &&
		    (!verbs[i].mode || hf_token_is(mode, verbs[i].mode)))
			return &verbs[i];
	return NULL;
}

static int parse_actor(struct hf_parser *p, struct hf_step *st)
{
	int err;

	if (hf_parse_accept(p, "device")) {
		st->proc = HF_SCN_DEVICE;
		return hf_parse_punct(p, ":", "':'");
	}
	err = old_proc(p, &st->proc);
	if (!err && hf_parse_accept(p, "."))
		err = thread_of(p, st->proc, &st->thread);
	return err ? err : hf_parse_punct(p, ":", "':'");
}

static int parse_verb(struct hf_parser *p, struct hf_step *st, const struct verb **v)
{
	bool device = st->proc == HF_SCN_DEVICE;
	struct hf_token word;
	int err = hf_parse_name(p, "what happens (map, write, fork, ...)", &word);

	if (err)
		return err;
	*v = find_verb(&word, &p->lx.tok, device);
	if (!*v && (hf_token_is(&word, "odirect") || hf_token_is(&word, "process_vm") ||
		    hf_token_is(&word, "ptrace")))
		return hf_parse_expected(p, "read or write");
	if (!*v && find_verb(&word, &word, !device))
		return hf_parse_fail(p, word.text, "'%.*s' is not for %s", (int)word.len, word.text,
				     device ? "the device" : "a process");
	if (!*v)
		return hf_parse_unknown(p, &word, "step", verb_at, "docs/scenarios.md lists them");
	if ((*v)->mode)
		hf_lex_next(&p->lx);
	st->verb = (*v)->verb;
	return 0;
}

int hf_parse_step(struct hf_parser *p, struct hf_step *st)
{
	const char *first = hf_lex_first(&p->lx);
	const struct verb *v = NULL;
	int err;

	*st = (struct hf_step){ .line = p->lx.line, .buf = -1, .ref = -1, .child = -1, .times = 1 };
	st->text = hf_arena_string(p->arena, first, (size_t)(p->lx.stop - first));
	if (!st->text)
		return -ENOMEM;
	err = parse_actor(p, st);
	if (!err)
		err = parse_verb(p, st, &v);
	if (err)
		return err;
	st->target = st->proc == HF_SCN_DEVICE ? 0 : st->proc;
	if (st->verb == HF_V_FORK && st->thread)
		return hf_parse_fail(p, first, "'fork' is for the main thread: expected '%s: fork'",
				     p->scn->procs[st->proc].name);
	if (st->verb == HF_V_PIN || st->verb == HF_V_GET)
		err = find_target(p, st);
	for (const char *part = v->form; *part && !err; part++)
		err = parse_part(p, st, v, *part);
	if (!err)
		err = parse_outcome(p, st);
	if (!err)
		err = hf_parse_end(p);
	if (!err && p->par)
		err = check_par(p, st, v, first);
	if (!err && st->verb == HF_V_EXIT) {
		p->procs[st->proc].exited = true;
		p->procs[st->proc].line = st->line;
	}
	return err;
}
