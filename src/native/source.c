/* SPDX-License-Identifier: MIT */
/* Where the bytes of a snapshot are, and copying them out while the live space changes. */
#include "internal.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

void hf_copy(void *dst, const void *src, size_t len)
{
#ifdef __x86_64__
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(len) : : "memory");
#else
	volatile char *to = dst;
	const volatile char *from = src;

	while (len--)
		*to++ = *from++;
#endif
}

#ifdef __x86_64__
static void copy_line(char *dst, const char *src)
{
	__asm__ volatile("movdqu (%1), %%xmm0\n\t"
			 "movdqu 16(%1), %%xmm1\n\t"
			 "movdqu 32(%1), %%xmm2\n\t"
			 "movdqu 48(%1), %%xmm3\n\t"
			 "movntdq %%xmm0, (%0)\n\t"
			 "movntdq %%xmm1, 16(%0)\n\t"
			 "movntdq %%xmm2, 32(%0)\n\t"
			 "movntdq %%xmm3, 48(%0)"
			 :
			 : "r"(dst), "r"(src)
			 : "xmm0", "xmm1", "xmm2", "xmm3", "memory");
}

/*
 * Past the caches: nobody reads a frame soon, and what it held before would be fetched only to be
 * overwritten. Four pages abreast, since what fetches ahead stops at a page's end: 40 % of the time
 * of hf_copy() from cold memory to cold memory.
 */
static void copy_pages(const struct hf_copies *copies)
{
	if (copies->nr < HF_COPIES) {
		for (unsigned i = 0; i < copies->nr; i++)
			for (size_t at = 0; at < HF_PAGE_SIZE; at += 64)
				copy_line(copies->to[i] + at, copies->from[i] + at);
		return;
	}
	for (size_t at = 0; at < HF_PAGE_SIZE; at += 64)
		for (unsigned i = 0; i < HF_COPIES; i++)
			copy_line(copies->to[i] + at, copies->from[i] + at);
}
#else
static void copy_pages(const struct hf_copies *copies)
{
	for (unsigned i = 0; i < copies->nr; i++)
		hf_copy(copies->to[i], copies->from[i], HF_PAGE_SIZE);
}
#endif

void hf_copy_away(struct hf_copies *copies, char *to, const char *from, size_t len)
{
	hf_assert(copies->nr < HF_COPIES && len % HF_PAGE_SIZE == 0);
	for (size_t at = 0; at < len; at += HF_PAGE_SIZE) {
		copies->to[copies->nr] = to + at;
		copies->from[copies->nr++] = from + at;
		if (copies->nr < HF_COPIES)
			continue;
		copy_pages(copies);
		copies->nr = 0;
	}
}

void hf_copied_away(const struct hf_copies *copies)
{
	copy_pages(copies);
#ifdef __x86_64__
	__asm__ volatile("sfence" : : : "memory");
#endif
}

static struct hf_source frame_source(const struct hf_tree *tree, uint32_t entry)
{
	if (entry < HF_FRAME)
		return (struct hf_source){ .kind = HF_SOURCE_LOST };
	return (struct hf_source){
		.kind = HF_SOURCE_FRAME,
		.addr = hf_frames_addr(&tree->frames, entry - HF_FRAME),
	};
}

struct hf_source hf_source_of(const struct hf_native_snapshot *snapshot, size_t unit)
{
	struct hf_native *space = snapshot->space;

	while (!hf_snapshot_had(snapshot, unit)) {
		snapshot = space->base;
		if (!snapshot)
			return (struct hf_source){ .kind = HF_SOURCE_ZERO,
						   .addr = space->tree->zeros };
		space = snapshot->space;
	}
	for (; snapshot; snapshot = atomic_load_explicit(&snapshot->newer, memory_order_acquire)) {
		uint32_t entry =
			atomic_load_explicit(&snapshot->frames[unit], memory_order_acquire);

		if (entry != HF_FRAME_NONE)
			return frame_source(space->tree, entry);
	}
	return (struct hf_source){ .kind = HF_SOURCE_LIVE,
				   .addr = hf_unit_addr(space, unit),
				   .space = space };
}

struct hf_source hf_stable_source(const struct hf_native_snapshot *snapshot, size_t unit)
{
	struct hf_tree *tree = snapshot->space->tree;

	for (;;) {
		uint64_t before = atomic_load_explicit(&tree->generation, memory_order_acquire);
		struct hf_source source;

		if (before & 1) {
			sched_yield();
			continue;
		}
		source = hf_source_of(snapshot, unit);
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&tree->generation, memory_order_relaxed) == before)
			return source;
	}
}

/* A piece of a word's units. */
struct piece {
	const struct hf_native_snapshot *snapshot;
	size_t first, nr; /* units */
	size_t within;    /* the first one, bytes */
	size_t len;
};

static struct piece piece_at(const struct hf_native_snapshot *snapshot, size_t offset, size_t len)
{
	unsigned shift = snapshot->space->tree->unit_shift;
	size_t word_size = (size_t)HF_WORD_UNITS << shift;
	size_t left = shift == 12 ? word_size - offset % word_size
				  : (1UL << shift) - offset % (1UL << shift);
	struct piece p = { .snapshot = snapshot, .first = offset >> shift };

	p.within = offset - (p.first << shift);
	p.len = len < left ? len : left;
	p.nr = ((p.within + p.len - 1) >> shift) + 1;
	return p;
}

/* How much of the piece is live memory of one space: at least the first unit, which is. */
static void cut_to_live(struct piece *p, const struct hf_native *live)
{
	unsigned shift = live->tree->unit_shift;
	size_t nr = 1;

	while (nr < p->nr) {
		struct hf_source source = hf_stable_source(p->snapshot, p->first + nr);

		if (source.kind != HF_SOURCE_LIVE || source.space != live)
			break;
		nr++;
	}
	if (nr < p->nr) {
		p->nr = nr;
		p->len = (nr << shift) - p->within;
	}
}

static int read_stable(const struct hf_source *source, size_t offset, char *buf, size_t len)
{
	if (source->kind == HF_SOURCE_LOST)
		return -ENODATA;
	if (source->kind == HF_SOURCE_ZERO)
		memset(buf, 0, len);
	else
		hf_copy(buf, source->addr + offset, len);
	return 0;
}

/* One unit again, whose live bytes have been copied: whoever changes it has left a frame before. */
static int settle(const struct piece *p, size_t i, uint64_t protected, int copied, char *buf)
{
	struct hf_source source = hf_stable_source(p->snapshot, p->first + i);
	size_t size = 1UL << p->snapshot->space->tree->unit_shift;
	size_t start = i ? i * size - p->within : 0;
	size_t end = (i + 1) * size - p->within;

	if (source.kind != HF_SOURCE_LIVE)
		return read_stable(&source, i ? 0 : p->within, buf + start,
				   (end < p->len ? end : p->len) - start);
	if (!(protected >> (p->first + i) % HF_WORD_UNITS & 1))
		return -ENODATA;
	return copied;
}

/* The buffer may be protected itself, which in signal mode a call does not write to. */
static int copy_live(char *buf, const char *from, size_t len)
{
	char page[HF_PAGE_SIZE];
	int err = hf_copy_by_call(buf, from, len);

	if (!err)
		return 0;
	for (size_t at = 0, n; at < len; at += n) {
		n = len - at < sizeof(page) ? len - at : sizeof(page);
		err = hf_copy_by_call(page, from + at, n);
		if (err)
			return err;
		hf_copy(buf + at, page, n);
	}
	return 0;
}

static int read_live(struct piece *p, struct hf_native *live, char *buf)
{
	size_t word = p->first / HF_WORD_UNITS, bit = p->first % HF_WORD_UNITS;
	uint64_t protected;
	int copied, err = 0;

	cut_to_live(p, live);
	hf_files_look(&live->tree->files);
	copied = copy_live(buf, hf_unit_addr(live, p->first) + p->within, p->len);
	atomic_thread_fence(memory_order_acquire); /* see bracket.c */
	protected = hf_still_protected(live, word, hf_units_mask(bit, p->nr));
	for (size_t i = 0; i < p->nr && !err; i++)
		err = settle(p, i, protected, copied, buf);
	return err;
}

static int read_piece(struct piece *p, char *buf)
{
	unsigned shift = p->snapshot->space->tree->unit_shift;
	struct hf_source source = hf_stable_source(p->snapshot, p->first);

	if (source.kind == HF_SOURCE_LIVE)
		return read_live(p, source.space, buf);
	if (p->nr > 1)
		p->len = (1UL << shift) - p->within;
	return read_stable(&source, p->within, buf, p->len);
}

int hf_snapshot_read(const struct hf_native_snapshot *snapshot, size_t offset, void *buf,
		     size_t len)
{
	struct hf_tree *tree = snapshot->space->tree;
	char *to = buf;
	int err = 0;

	if (!atomic_load_explicit(tree->alive, memory_order_relaxed))
		return -EOWNERDEAD;
	if (offset > tree->size || len > tree->size - offset)
		return -EINVAL;
	while (len && !err) {
		struct piece p = piece_at(snapshot, offset, len);

		err = read_piece(&p, to);
		offset += p.len;
		to += p.len;
		len -= p.len;
	}
	return err;
}

int hf_native_read(const struct hf_native_snapshot *snapshot, size_t offset, void *buf, size_t len)
{
	snapshot = hf_snapshot_of(snapshot);
	return snapshot ? hf_snapshot_read(snapshot, offset, buf, len) : -EINVAL;
}
