/* SPDX-License-Identifier: MIT */
/* What each page must hold: zeros, a pattern of its own, or bytes kept aside. */
#include "native_ordinary.h"

#define ASIDE (1U << 24) /* and above: kept[] */
#define MAX_KEPT 256

static _Alignas(64) unsigned char kept[MAX_KEPT][PAGE];
static unsigned nr_kept;

int failed(struct scene *s, const char *file, int line, const char *what)
{
	struct verdict *v = s->verdict;

	if (v->kind == NOTHING) {
		v->kind = FAILED;
		snprintf(v->why, sizeof(v->why), "%s:%d: %s (errno %s)", strrchr(file, '/') + 1,
			 line, what, strerror(errno));
	}
	return 1;
}

int wrong(struct scene *s, const char *of, size_t page)
{
	struct verdict *v = s->verdict;

	if (v->kind == NOTHING) {
		v->kind = WRONG;
		snprintf(v->why, sizeof(v->why), "other bytes with 0: %s, page %zu of block %zu",
			 of, page % s->block_pages, page / s->block_pages);
	}
	return 1;
}

int skipped(struct scene *s, const char *why)
{
	struct verdict *v = s->verdict;

	if (v->kind == NOTHING) {
		v->kind = IMPOSSIBLE;
		snprintf(v->why, sizeof(v->why), "%s", why);
	}
	return 1;
}

static uint64_t pattern(uint32_t what, size_t i)
{
	return (what + 1) * 0x9e3779b97f4a7c15ULL + i * 0x0101010101010101ULL;
}

void fill(void *at, uint32_t what)
{
	uint64_t *words = at;

	for (size_t i = 0; i < PAGE / 8; i++)
		words[i] = what ? pattern(what, i) : 0;
}

static bool holds(const void *bytes, uint32_t what)
{
	const uint64_t *words = bytes;
	uint64_t differ = 0;

	if (what >= ASIDE)
		return !memcmp(bytes, kept[what - ASIDE], PAGE);
	for (size_t i = 0; i < PAGE / 8; i++)
		differ |= words[i] ^ (what ? pattern(what, i) : 0);
	return !differ;
}

bool is_right(const struct image *image, size_t page, const void *bytes)
{
	return image->how[page] & UNKNOWN || holds(bytes, image->what[page]) ||
	       (image->how[page] & OR_ZERO && holds(bytes, 0));
}

bool are_equal(const struct image *a, const struct image *b, size_t page)
{
	return a->what[page] == b->what[page];
}

size_t nr_pages(const struct scene *s)
{
	return s->block_pages * NR_BLOCKS;
}

size_t page_of(const struct scene *s, enum block block)
{
	return s->block_pages * block;
}

char *page_at(const struct scene *s, size_t page)
{
	return (char *)hf_native_base(s->space) + page * PAGE;
}

char *block_at(const struct scene *s, enum block block)
{
	return page_at(s, page_of(s, block));
}

size_t block_size(const struct scene *s)
{
	return s->block_pages * PAGE;
}

void store_page(struct scene *s, size_t page)
{
	if (s->live.how[page] & (HIDDEN | READ_ONLY))
		return;
	s->live.what[page] = ++s->next;
	s->live.how[page] &= LOST_OK;
	fill(page_at(s, page), s->next);
}

void stored_bytes(struct scene *s, struct image *image, size_t page, size_t at, const void *bytes,
		  size_t len)
{
	unsigned char *to = kept[nr_kept];
	uint32_t what = image->what[page];

	if (nr_kept + 1 == MAX_KEPT) {
		failed(s, __FILE__, __LINE__, "more bytes kept aside than there is room for");
		return;
	}
	if (what >= ASIDE)
		memcpy(to, kept[what - ASIDE], PAGE);
	else
		fill(to, what);
	memcpy(to + at, bytes, len);
	image->what[page] = ASIDE + nr_kept++;
}

static void mark_image(struct image *image, size_t page, size_t nr, uint8_t how)
{
	for (size_t i = page; i < page + nr; i++)
		image->how[i] |= how;
}

void mark(struct scene *s, size_t page, size_t nr)
{
	size_t unit = s->unit / PAGE, from = page - page % unit, to = page + nr;

	to += (unit - to % unit) % unit;
	mark_image(&s->live, from, to - from, LOST_OK);
	mark_image(&s->of_child, from, to - from, LOST_OK);
	for (int i = 0; i < NR_SNAPSHOTS; i++)
		mark_image(&s->of[i], from, to - from, LOST_OK);
}

void mark_block(struct scene *s, enum block block)
{
	mark(s, page_of(s, block), s->block_pages);
}

void mark_all(struct scene *s)
{
	if (s->space)
		mark(s, 0, nr_pages(s));
	else
		mark_image(&s->live, 0, MAX_PAGES, LOST_OK);
}

void now_zero(struct scene *s, size_t page, size_t nr)
{
	memset(s->live.what + page, 0, nr * sizeof(s->live.what[0]));
}

void now(struct scene *s, enum block block, uint8_t how)
{
	mark_image(&s->live, page_of(s, block), s->block_pages, how);
}

void no_more(struct scene *s, enum block block, uint8_t how)
{
	for (size_t i = 0; i < s->block_pages; i++)
		s->live.how[page_of(s, block) + i] &= ~how;
}
