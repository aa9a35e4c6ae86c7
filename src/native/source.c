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
	if (entry == HF_FRAME_LOST)
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

/* As hf_source_of(), beside drops: what it gives stays good, for a frame by N2, and for a live unit
 * until the next look. */
static struct hf_source stable_source(const struct hf_native_snapshot *snapshot, size_t unit)
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

static int read_unit(const struct hf_native_snapshot *snapshot, size_t unit, size_t offset,
		     char *buf, size_t len)
{
	struct hf_source source = stable_source(snapshot, unit);

	if (source.kind == HF_SOURCE_LIVE) {
		hf_copy(buf, source.addr + offset, len);
		/* Whoever changes it has left a frame before. */
		atomic_thread_fence(memory_order_acquire);
		source = stable_source(snapshot, unit);
		if (source.kind == HF_SOURCE_LIVE)
			return 0;
	}
	switch (source.kind) {
	case HF_SOURCE_LOST:
		return -ENODATA;
	case HF_SOURCE_ZERO:
		memset(buf, 0, len);
		return 0;
	default:
		hf_copy(buf, source.addr + offset, len);
		return 0;
	}
}

int hf_native_read(const struct hf_native_snapshot *snapshot, size_t offset, void *buf, size_t len)
{
	struct hf_tree *tree = snapshot->space->tree;
	size_t unit_size = 1UL << tree->unit_shift;
	char *to = buf;

	if (!atomic_load_explicit(tree->alive, memory_order_relaxed))
		return -EOWNERDEAD;
	if (offset > tree->size || len > tree->size - offset)
		return -EINVAL;
	while (len) {
		size_t within = offset & (unit_size - 1);
		size_t n = len < unit_size - within ? len : unit_size - within;
		int err = read_unit(snapshot, offset >> tree->unit_shift, within, to, n);

		if (err)
			return err;
		offset += n;
		to += n;
		len -= n;
	}
	return 0;
}
