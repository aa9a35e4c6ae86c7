/* SPDX-License-Identifier: MIT */
/* The parser's memory and messages. */
#include <errno.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"

/* ---- arena ---- */

#define CHUNK_SIZE 4096

struct chunk {
	struct chunk *prev;
	size_t used, size;
	alignas(max_align_t) unsigned char data[];
};

struct hf_arena {
	struct chunk *last;
};

static struct chunk *chunk_create(size_t size)
{
	struct chunk *chunk = malloc(sizeof(*chunk) + size);

	if (chunk)
		*chunk = (struct chunk){ .size = size };
	return chunk;
}

/* The arena lives in its own first chunk. */
struct hf_arena *hf_arena_create(void)
{
	struct chunk *chunk = chunk_create(CHUNK_SIZE);
	struct hf_arena first = { .last = chunk };
	struct hf_arena *arena;

	if (!chunk)
		return NULL;
	arena = hf_arena_alloc(&first, sizeof(*arena));
	*arena = first;
	return arena;
}

void hf_arena_destroy(struct hf_arena *arena)
{
	struct chunk *chunk = arena->last;

	while (chunk) {
		struct chunk *prev = chunk->prev;

		free(chunk);
		chunk = prev;
	}
}

void *hf_arena_alloc(struct hf_arena *arena, size_t size)
{
	struct chunk *chunk = arena->last;
	void *p;

	size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	if (size > chunk->size - chunk->used) {
		chunk = chunk_create(size > CHUNK_SIZE ? size : CHUNK_SIZE);
		if (!chunk)
			return NULL;
		chunk->prev = arena->last;
		arena->last = chunk;
	}
	p = chunk->data + chunk->used;
	chunk->used += size;
	return memset(p, 0, size);
}

char *hf_arena_string(struct hf_arena *arena, const char *text, size_t len)
{
	char *s = hf_arena_alloc(arena, len + 1);

	if (s)
		memcpy(s, text, len);
	return s;
}

/* The capacity is n rounded up to a power of two, at least 8: it need not be remembered. */
void *hf_arena_grow(struct hf_arena *arena, void *array, size_t n, size_t size)
{
	void *bigger;

	if (n != 0 && (n < 8 || (n & (n - 1))))
		return array;
	bigger = hf_arena_alloc(arena, (n ? 2 * n : 8) * size);
	if (bigger && n)
		memcpy(bigger, array, n * size);
	return bigger;
}

/* ---- messages ---- */

int hf_parse_fail(struct hf_parser *p, const char *at, const char *fmt, ...)
{
	va_list ap;

	p->err->line = at ? p->lx.line : 0;
	p->err->column = at ? hf_lex_column(&p->lx, at) : 0;
	va_start(ap, fmt);
	vsnprintf(p->err->text, sizeof(p->err->text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

#define SHOWN_MAX 32

/* A token for a message: quoted, and cut, between characters, when it is long. */
static const char *show(const struct hf_token *tok, char *out, size_t size)
{
	size_t len = tok->len;

	if (tok->kind == HF_T_END)
		return "end of line";
	if (len > SHOWN_MAX) {
		len = SHOWN_MAX;
		while ((tok->text[len] & 0xc0) == 0x80)
			len--;
	}
	snprintf(out, size, "'%.*s%s'", (int)len, tok->text, len < tok->len ? "..." : "");
	return out;
}

int hf_parse_expected(struct hf_parser *p, const char *what)
{
	const struct hf_token *tok = &p->lx.tok;
	/* A string's text starts after its quote. */
	const char *at = tok->text - (tok->kind == HF_T_STRING);
	char found[SHOWN_MAX + 8];

	return hf_parse_fail(p, at, "expected %s, found %s", what, show(tok, found, sizeof(found)));
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/*
 * How many slips of the finger (a character too many, too few, wrong, or two swapped) lie between
 * the words; case does not matter. Words longer than names are far from everything.
 */
static unsigned distance(const char *a, size_t na, const char *b, size_t nb)
{
	unsigned rows[3][HF_SCN_MAX_NAME + 1];
	unsigned *before = rows[0], *last = rows[1], *row = rows[2];

	if (na > HF_SCN_MAX_NAME || nb > HF_SCN_MAX_NAME)
		return HF_SCN_MAX_NAME;
	for (size_t j = 0; j <= nb; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		unsigned *spare = before;

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned differ = lower(a[i - 1]) != lower(b[j - 1]);

			row[j] = min3(last[j] + 1, row[j - 1] + 1, last[j - 1] + differ);
			if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
			    lower(a[i - 2]) == lower(b[j - 1]) && before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
		before = last;
		last = row;
		row = spare;
	}
	return last[nb];
}

/* The name that the token was most likely meant to be:
 * one slip in three characters, at least one. */
static const char *closest(const struct hf_parser *p, const struct hf_token *tok, hf_names_fn names)
{
	unsigned limit = tok->len < 6 ? 1 : (unsigned)tok->len / 3;
	const char *name, *best = NULL;

	for (size_t i = 0; (name = names(p, i)); i++) {
		unsigned d = distance(tok->text, tok->len, name, strlen(name));

		/* A slip that replaces the whole word is none. */
		if (d <= limit && d < tok->len) {
			best = name;
			limit = d ? d - 1 : 0;
			if (d == 0)
				break;
		}
	}
	return best;
}

/* "a, b or c"; ends in an ellipsis when it does not fit. */
static void list(const struct hf_parser *p, hf_names_fn names, char *out, size_t size)
{
	const char *name;
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; (name = names(p, i)); i++) {
		const char *sep = i == 0 ? "" : names(p, i + 1) ? ", " : " or ";

		if (used + strlen(sep) + strlen(name) + sizeof(", ...") > size) {
			snprintf(out + used, size - used, ", ...");
			return;
		}
		used += (size_t)snprintf(out + used, size - used, "%s%s", sep, name);
	}
}

int hf_parse_unknown(struct hf_parser *p, const struct hf_token *tok, const char *what,
		     hf_names_fn names, const char *remedy)
{
	const char *meant = closest(p, tok, names);
	char found[SHOWN_MAX + 8], all[200];

	show(tok, found, sizeof(found));
	if (meant)
		return hf_parse_fail(p, tok->text, "unknown %s %s; did you mean '%s'?", what, found,
				     meant);
	if (remedy)
		return hf_parse_fail(p, tok->text, "unknown %s %s; %s", what, found, remedy);
	list(p, names, all, sizeof(all));
	return hf_parse_fail(p, tok->text, "unknown %s %s; expected %s", what, found, all);
}

int hf_parse_find(const struct hf_parser *p, const struct hf_token *tok, hf_names_fn names)
{
	const char *name;

	for (size_t i = 0; (name = names(p, i)); i++)
		if (hf_token_is(tok, name))
			return (int)i;
	return -1;
}

/* ---- taking tokens ---- */

int hf_parse_name(struct hf_parser *p, const char *what, struct hf_token *out)
{
	if (p->lx.tok.kind != HF_T_NAME)
		return hf_parse_expected(p, what);
	*out = p->lx.tok;
	hf_lex_next(&p->lx);
	return 0;
}

int hf_parse_new_name(struct hf_parser *p, const char *what, struct hf_token *out)
{
	if (p->lx.tok.kind == HF_T_NAME && p->lx.tok.len > HF_SCN_MAX_NAME)
		return hf_parse_fail(p, p->lx.tok.text,
				     "expected a name of at most %d characters, found %zu",
				     HF_SCN_MAX_NAME, p->lx.tok.len);
	return hf_parse_name(p, what, out);
}

int hf_parse_number(struct hf_parser *p, const char *what, uint64_t min, uint64_t max,
		    uint64_t *out)
{
	const struct hf_token *tok = &p->lx.tok;

	if (tok->kind != HF_T_NUMBER || tok->number < min || tok->number > max)
		return hf_parse_expected(p, what);
	*out = tok->number;
	hf_lex_next(&p->lx);
	return 0;
}

static bool is_punct(const struct hf_token *tok, const char *punct)
{
	return tok->kind == HF_T_PUNCT && tok->len == strlen(punct) &&
	       !memcmp(tok->text, punct, tok->len);
}

int hf_parse_punct(struct hf_parser *p, const char *punct, const char *what)
{
	if (!is_punct(&p->lx.tok, punct))
		return hf_parse_expected(p, what);
	hf_lex_next(&p->lx);
	return 0;
}

int hf_parse_end(struct hf_parser *p)
{
	return p->lx.tok.kind == HF_T_END ? 0 : hf_parse_expected(p, "end of line");
}

bool hf_parse_accept(struct hf_parser *p, const char *word)
{
	if (!hf_token_is(&p->lx.tok, word) && !is_punct(&p->lx.tok, word))
		return false;
	hf_lex_next(&p->lx);
	return true;
}
