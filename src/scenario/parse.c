/* SPDX-License-Identifier: MIT */
/* Scenario files: settings, steps, par blocks, expectations. */
#include "parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const hf_verdict_names[HF_NR_VERDICTS] = {
	[HF_OK] = "ok",
	[HF_LOST_WRITE] = "lost-write",
	[HF_STALE_READ] = "stale-read",
	[HF_LEAK] = "leak",
	[HF_TORN] = "torn",
	[HF_REFUSED] = "refused",
	[HF_BUG] = "bug",
	[HF_SKIP] = "skip",
	[HF_ERROR] = "error",
};

void hf_verdict_set(unsigned verdicts, char *buf, size_t len)
{
	size_t at = 0;

	buf[0] = '\0';
	for (int v = 0; v < HF_NR_VERDICTS; v++)
		if (verdicts >> v & 1 && at < len)
			at += (size_t)snprintf(buf + at, len - at, "%s%s", at ? "|" : "",
					       hf_verdict_names[v]);
}

static const char *kind_at(const struct hf_parser *p, size_t i)
{
	(void)p;
	return hf_kinds_name(i);
}

static const char *verdict_at(const struct hf_parser *p, size_t i)
{
	(void)p;
	return i < HF_NR_VERDICTS ? hf_verdict_names[i] : NULL;
}

static const char *target_at(const struct hf_parser *p, size_t i)
{
	return p->targets ? p->targets(i) : NULL;
}

/* ---- settings ---- */

/* The rest of the line, as it stands. */
static int parse_words(struct hf_parser *p, const char **out)
{
	const char *from = p->lx.tok.text - (p->lx.tok.kind == HF_T_STRING);

	if (p->lx.tok.kind == HF_T_END)
		return hf_parse_expected(p, "some words");
	*out = hf_arena_string(p->arena, from, (size_t)(p->lx.stop - from));
	return *out ? 0 : -ENOMEM;
}

static int parse_about(struct hf_parser *p)
{
	if (p->scn->about)
		return hf_parse_fail(p, hf_lex_first(&p->lx),
				     "expected one 'about', found another");
	return parse_words(p, &p->scn->about);
}

static int add_text(struct hf_parser *p, const char ***texts, size_t *nr, const char *text)
{
	const char **grown = hf_arena_grow(p->arena, *texts, *nr, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	*texts = grown;
	grown[(*nr)++] = text;
	return 0;
}

static int parse_quote(struct hf_parser *p)
{
	const char *text;

	if (p->lx.tok.kind != HF_T_STRING)
		return hf_parse_expected(p, "words in double quotes");
	text = hf_arena_string(p->arena, p->lx.tok.text, p->lx.tok.len);
	if (!text)
		return -ENOMEM;
	hf_lex_next(&p->lx);
	return add_text(p, &p->scn->quotes, &p->scn->nr_quotes, text) ? -ENOMEM : hf_parse_end(p);
}

static int parse_source(struct hf_parser *p)
{
	const char *text = NULL;
	int err = parse_words(p, &text);

	return err ? err : add_text(p, &p->scn->sources, &p->scn->nr_sources, text);
}

/* To the end of the line. */
static int parse_kind_list(struct hf_parser *p, hf_kinds *kinds)
{
	struct hf_token name;
	int i, err;

	*kinds = 0;
	do {
		err = hf_parse_name(p, "a memory kind", &name);
		if (err)
			return err;
		i = hf_parse_find(p, &name, kind_at);
		if (i < 0)
			return hf_parse_unknown(p, &name, "kind", kind_at,
						"see 'holdfast list kinds'");
		*kinds |= hf_kinds_named((size_t)i);
	} while (p->lx.tok.kind != HF_T_END);
	return 0;
}

static int parse_kinds(struct hf_parser *p)
{
	return parse_kind_list(p, &p->scn->kinds);
}

static int parse_rounds(struct hf_parser *p)
{
	uint64_t n = 0;
	int err = hf_parse_number(p, "a number of rounds from 1 to 10000", 1, 10000, &n);

	p->scn->rounds = (unsigned)n;
	return err ? err : hf_parse_end(p);
}

static int parse_frames(struct hf_parser *p)
{
	uint64_t n = 0;
	int err = hf_parse_number(p, "a number of frames from 16 to 65536", 16, 65536, &n);

	p->scn->frames = n;
	return err ? err : hf_parse_end(p);
}

static int parse_unpin_check(struct hf_parser *p)
{
	p->scn->unpin_check = true;
	return hf_parse_end(p);
}

static int parse_process(struct hf_parser *p)
{
	struct hf_token name;
	int index, err = hf_parse_new_name(p, "the name of a process", &name);

	if (!err)
		err = hf_parse_add_proc(p, &name, true, &index);
	return err ? err : hf_parse_end(p);
}

/* ---- expectations ---- */

static int parse_target(struct hf_parser *p, int *index)
{
	struct hf_token name;
	int err;

	hf_lex_dotted(&p->lx);
	err = hf_parse_name(p, "a target", &name);
	if (err)
		return err;
	*index = hf_parse_find(p, &name, target_at);
	return *index < 0 ? hf_parse_unknown(p, &name, "target", target_at,
					     "see 'holdfast list policies'")
			  : 0;
}

static int add_expect(struct hf_parser *p, int target)
{
	struct hf_scenario *scn = p->scn;
	const char *name = target_at(p, (size_t)target);
	struct hf_expect *grown;

	grown = hf_arena_grow(p->arena, scn->expects, scn->nr_expects, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	scn->expects = grown;
	grown[scn->nr_expects++] = (struct hf_expect){ .line = p->lx.line, .target = name };
	return 0;
}

/* A name, or a range of Linux eras. */
static int parse_target_range(struct hf_parser *p)
{
	const char *at = p->lx.tok.text;
	int from, to, err = parse_target(p, &from);

	if (err)
		return err;
	to = from;
	if (hf_parse_accept(p, "..")) {
		err = parse_target(p, &to);
		if (err)
			return err;
		if (from > to || strncmp(target_at(p, (size_t)to), "linux-", 6))
			return hf_parse_fail(p, at, "expected a range of Linux eras, older first");
	}
	for (; from <= to && !err; from++)
		err = add_expect(p, from);
	return err;
}

static int parse_verdicts(struct hf_parser *p, unsigned *verdicts)
{
	struct hf_token name;
	int i, err;

	do {
		err = hf_parse_name(p, "a verdict", &name);
		if (err)
			return err;
		i = hf_parse_find(p, &name, verdict_at);
		if (i < 0)
			return hf_parse_unknown(p, &name, "verdict", verdict_at, NULL);
		*verdicts |= 1u << i;
	} while (hf_parse_accept(p, "|"));
	return 0;
}

/* `for KIND...`: the line holds for these kinds only, and before a line without. */
static int parse_expect_kinds(struct hf_parser *p, hf_kinds *kinds)
{
	return hf_parse_accept(p, "for") ? parse_kind_list(p, kinds) : hf_parse_end(p);
}

static bool clash(const struct hf_expect *a, const struct hf_expect *b)
{
	return !strcmp(a->target, b->target) && (a->kinds == b->kinds || a->kinds & b->kinds);
}

static int check_clashes(struct hf_parser *p, size_t first)
{
	const struct hf_expect *e = p->scn->expects;

	for (size_t i = first; i < p->scn->nr_expects; i++)
		for (size_t j = 0; j < i; j++)
			if (clash(&e[i], &e[j]))
				return hf_parse_fail(p, hf_lex_first(&p->lx),
						     "expected one line for target '%s', found "
						     "another in line %d",
						     e[i].target, e[j].line);
	return 0;
}

static int parse_expect(struct hf_parser *p)
{
	size_t first = p->scn->nr_expects;
	unsigned verdicts = 0;
	hf_kinds kinds = 0;
	int err;

	do {
		err = parse_target_range(p);
	} while (!err && hf_parse_accept(p, ","));
	if (!err)
		err = parse_verdicts(p, &verdicts);
	if (!err)
		err = parse_expect_kinds(p, &kinds);
	for (size_t i = first; i < p->scn->nr_expects; i++) {
		p->scn->expects[i].verdicts = verdicts;
		p->scn->expects[i].kinds = kinds;
	}
	return err ? err : check_clashes(p, first);
}

/* ---- steps and blocks ---- */

static int add_step(struct hf_parser *p)
{
	struct hf_arm *arm = p->par ? &p->par->arms[p->par->nr_arms - 1] : NULL;
	struct hf_step **steps = arm ? &arm->steps : &p->scn->steps, *grown;
	size_t *nr = arm ? &arm->nr_steps : &p->scn->nr_steps;

	if (p->par && p->nr_par_steps++ == HF_SCN_MAX_PAR_STEPS)
		return hf_parse_fail(p, hf_lex_first(&p->lx),
				     "expected at most %d steps in a par block",
				     HF_SCN_MAX_PAR_STEPS);
	grown = hf_arena_grow(p->arena, *steps, *nr, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	*steps = grown;
	return hf_parse_step(p, &grown[(*nr)++]);
}

static int open_par(struct hf_parser *p)
{
	struct hf_scenario *scn = p->scn;
	struct hf_step *grown;
	int err;

	if (p->par)
		return hf_parse_fail(p, hf_lex_first(&p->lx),
				     "expected a step or '}', found another par block");
	err = hf_parse_punct(p, "{", "'{'");
	if (!err)
		err = hf_parse_end(p);
	if (err)
		return err;
	grown = hf_arena_grow(p->arena, scn->steps, scn->nr_steps, sizeof(*grown));
	p->par = hf_arena_alloc(p->arena, sizeof(*p->par));
	if (!grown || !p->par)
		return -ENOMEM;
	scn->steps = grown;
	grown[scn->nr_steps++] = (struct hf_step){
		.line = p->lx.line,
		.text = "par",
		.verb = HF_V_PAR,
		.buf = -1,
		.ref = -1,
		.par = p->par,
	};
	p->par->nr_arms = 1;
	p->nr_par_steps = 0;
	hf_parse_reset_arms(p);
	return 0;
}

/* A line that starts with '}'. */
static int close_arm(struct hf_parser *p)
{
	const char *at = hf_lex_first(&p->lx);
	int err;

	if (!p->par)
		return hf_parse_fail(p, at, "expected a step, found '}' outside a par block");
	if (!p->par->arms[p->par->nr_arms - 1].nr_steps)
		return hf_parse_fail(p, at,
				     "expected a step in this arm of the par block, found '}'");
	if (!hf_parse_accept(p, "and")) {
		if (p->par->nr_arms < 2)
			return hf_parse_fail(
				p, at, "expected '} and {': a par block has two arms or more");
		p->par = NULL;
		return hf_parse_end(p);
	}
	err = hf_parse_punct(p, "{", "'{'");
	if (err)
		return err;
	if (p->par->nr_arms++ == HF_SCN_MAX_ARMS)
		return hf_parse_fail(p, at, "expected at most %d arms in a par block",
				     HF_SCN_MAX_ARMS);
	return hf_parse_end(p);
}

/* ---- lines ---- */

static const struct {
	const char *word;
	int (*parse)(struct hf_parser *p);
	bool anywhere; /* not only before the first step */
} settings[] = {
	{ "about", parse_about, false },
	{ "quote", parse_quote, false },
	{ "source", parse_source, false },
	{ "kinds", parse_kinds, false },
	{ "rounds", parse_rounds, false },
	{ "frames", parse_frames, false },
	{ "unpin-check", parse_unpin_check, false },
	{ "process", parse_process, false },
	{ "expect", parse_expect, true },
	{ "par", open_par, true },
};

#define NR_SETTINGS (sizeof(settings) / sizeof(settings[0]))

static const char *setting_at(const struct hf_parser *p, size_t i)
{
	(void)p;
	return i < NR_SETTINGS ? settings[i].word : NULL;
}

/* "P:" or "P.T2:" starts a step; anything else that starts with a name is a setting. */
static bool looks_like_step(const struct hf_parser *p)
{
	struct hf_lexer lx = p->lx;

	hf_lex_next(&lx);
	return lx.tok.kind == HF_T_PUNCT && (*lx.tok.text == ':' || *lx.tok.text == '.');
}

static int parse_line(struct hf_parser *p)
{
	struct hf_token word = p->lx.tok;
	int i;

	if (word.kind == HF_T_END)
		return 0;
	if (hf_parse_accept(p, "}"))
		return close_arm(p);
	if (word.kind != HF_T_NAME)
		return hf_parse_expected(p, "a setting, a step or 'expect'");
	if (looks_like_step(p))
		return add_step(p);
	i = hf_parse_find(p, &word, setting_at);
	if (i < 0)
		return hf_parse_unknown(p, &word, "setting", setting_at,
					"a step starts with 'NAME:'");
	if (!settings[i].anywhere && p->scn->nr_steps)
		return hf_parse_fail(p, word.text, "'%s' must stand before the first step",
				     settings[i].word);
	hf_lex_next(&p->lx);
	return settings[i].parse(p);
}

static int parse_end(struct hf_parser *p)
{
	if (p->par)
		return hf_parse_fail(
			p, NULL,
			"expected '}' to close the par block in line %d, found end of file",
			p->scn->steps[p->scn->nr_steps - 1].line);
	if (!p->scn->about)
		return hf_parse_fail(p, NULL, "expected a line 'about WORDS', found none");
	if (!p->scn->nr_steps)
		return hf_parse_fail(p, NULL, "expected steps, found none");
	return 0;
}

static int parse_lines(struct hf_parser *p)
{
	int ret;

	while ((ret = hf_lex_line(&p->lx, p->err)) > 0) {
		ret = parse_line(p);
		if (ret)
			return ret;
	}
	return ret ? ret : parse_end(p);
}

/* ---- files ---- */

static int name_scenario(struct hf_parser *p, const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	const char *dot = strrchr(base, '.');

	p->scn->path = hf_arena_string(p->arena, path, strlen(path));
	p->scn->name =
		hf_arena_string(p->arena, base, dot > base ? (size_t)(dot - base) : strlen(base));
	return p->scn->path && p->scn->name ? 0 : -ENOMEM;
}

int hf_scenario_parse(const char *path, const char *text, size_t len, hf_targets_fn targets,
		      struct hf_scenario **out, struct hf_parse_error *err)
{
	struct hf_parser *p = calloc(1, sizeof(*p));
	int ret = -ENOMEM;

	*out = NULL;
	*err = (struct hf_parse_error){ .line = 0 };
	if (!p)
		return ret;
	p->err = err;
	p->targets = targets;
	p->arena = hf_arena_create();
	if (p->arena)
		p->scn = hf_arena_alloc(p->arena, sizeof(*p->scn));
	if (p->scn) {
		p->scn->arena = p->arena;
		p->scn->kinds = HF_KINDS_OF(HF_KIND_BASE);
		p->scn->rounds = 1;
		hf_lex_init(&p->lx, text, len);
		ret = name_scenario(p, path);
		if (!ret)
			ret = parse_lines(p);
	}
	if (!ret)
		*out = p->scn;
	else if (p->arena)
		hf_arena_destroy(p->arena);
	free(p);
	return ret;
}

static int read_error(struct hf_parse_error *err, int error)
{
	snprintf(err->text, sizeof(err->text), "%s", strerror(error));
	return -error;
}

/* The whole file, at most HF_SCN_MAX_FILE bytes. */
static int read_file(FILE *f, char **text, size_t *len, struct hf_parse_error *err)
{
	*text = malloc(HF_SCN_MAX_FILE + 1);
	if (!*text)
		return -ENOMEM;
	errno = 0;
	*len = fread(*text, 1, HF_SCN_MAX_FILE + 1, f);
	if (ferror(f))
		return read_error(err, errno ? errno : EIO);
	if (*len > HF_SCN_MAX_FILE) {
		snprintf(err->text, sizeof(err->text),
			 "expected a file of at most %lu bytes, found more", HF_SCN_MAX_FILE);
		return -EFBIG;
	}
	return 0;
}

int hf_scenario_load(const char *path, hf_targets_fn targets, struct hf_scenario **out,
		     struct hf_parse_error *err)
{
	FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t len = 0;
	int ret;

	*out = NULL;
	*err = (struct hf_parse_error){ .line = 0 };
	if (!f)
		return read_error(err, errno);
	ret = read_file(f, &text, &len, err);
	fclose(f);
	if (!ret)
		ret = hf_scenario_parse(path, text, len, targets, out, err);
	free(text);
	return ret;
}

void hf_scenario_free(struct hf_scenario *scn)
{
	if (scn)
		hf_arena_destroy(scn->arena);
}

unsigned hf_scenario_expected(const struct hf_scenario *scn, const char *target, enum hf_kind kind)
{
	unsigned all = 0;

	for (size_t i = 0; i < scn->nr_expects; i++) {
		const struct hf_expect *e = &scn->expects[i];

		if (strcmp(e->target, target))
			continue;
		if (e->kinds >> kind & 1)
			return e->verdicts;
		if (!e->kinds)
			all = e->verdicts;
	}
	return all;
}
