/* SPDX-License-Identifier: MIT */
/*
 * The core and the policies without a C library: their own entry point, their own platform, one
 * thread. Exit status 0 when a pinned page survives a fork.
 */
#include <holdfast/holdfast.h>

static unsigned char heap[1 << 22] __attribute__((aligned(4096)));
static size_t used;

static void *bump_alloc(void *ctx, size_t size, size_t align)
{
	size_t at = (used + align - 1) & ~(align - 1);

	(void)ctx;
	if (size > sizeof(heap) - at)
		return NULL;
	used = at + size;
	return heap + at;
}

static void no_free(void *ctx, void *ptr, size_t size)
{
	(void)ctx;
	(void)ptr;
	(void)size;
}

static unsigned zero(void *ctx)
{
	(void)ctx;
	return 0;
}

static void nothing(void *ctx)
{
	(void)ctx;
}

static void no_lock(void *ctx, struct hf_lock *lock)
{
	(void)ctx;
	(void)lock;
}

static void no_rwlock(void *ctx, struct hf_rwlock *lock)
{
	(void)ctx;
	(void)lock;
}

static void call_now(void *ctx, struct hf_rcu_head *head)
{
	(void)ctx;
	head->func(head);
}

static void no_asid(void *ctx, uint32_t asid)
{
	(void)ctx;
	(void)asid;
}

static void copy(void *ctx, void *to, const void *from, size_t len)
{
	(void)ctx;
	for (size_t i = 0; i < len; i++)
		((unsigned char *)to)[i] = ((const unsigned char *)from)[i];
}

/* What compilers call even here (holdfast/platform.h). */
void *memcpy(void *to, const void *from, size_t len);
void *memmove(void *to, const void *from, size_t len);
void *memset(void *to, int byte, size_t len);

void *memcpy(void *to, const void *from, size_t len)
{
	for (volatile size_t i = 0; i < len; i++)
		((unsigned char *)to)[i] = ((const unsigned char *)from)[i];
	return to;
}

void *memmove(void *to, const void *from, size_t len)
{
	const unsigned char *f = from;
	unsigned char *t = to;

	if (t < f)
		return memcpy(to, from, len);
	for (volatile size_t i = len; i > 0; i--)
		t[i - 1] = f[i - 1];
	return to;
}

void *memset(void *to, int byte, size_t len)
{
	for (volatile size_t i = 0; i < len; i++)
		((unsigned char *)to)[i] = (unsigned char)byte;
	return to;
}

static const struct hf_platform bare = {
	.alloc = bump_alloc,
	.free = no_free,
	.thread_id = zero,
	.lock_init = no_lock,
	.lock_destroy = no_lock,
	.lock = no_lock,
	.unlock = no_lock,
	.rwlock_init = no_rwlock,
	.rwlock_destroy = no_rwlock,
	.read_lock = no_rwlock,
	.read_unlock = no_rwlock,
	.write_lock = no_rwlock,
	.write_unlock = no_rwlock,
	.rcu_read_lock = nothing,
	.rcu_read_unlock = nothing,
	.call_rcu = call_now,
	.rcu_barrier = nothing,
	.tlb_begin = no_asid,
	.tlb_end = nothing,
	.tlb_flush = no_asid,
	.copy = copy,
	.relax = nothing,
};

static int pin_survives_fork(void)
{
	struct hf_system_config config = { .platform = &bare,
					   .nr_frames = 64,
					   .flags = HF_SYSTEM_DEBUG };
	uint64_t addr = 0x10000000, one = 1, two = 2, seen = 0;
	struct hf_mm *parent, *child;
	struct hf_system *sys;
	struct hf_ref ref;

	if (hf_system_create(&config, &sys) || hf_mm_create(sys, &parent) ||
	    hf_mmap(parent, &addr, HF_PAGE_SIZE, HF_PROT_READ | HF_PROT_WRITE, HF_MAP_FIXED) ||
	    hf_store(parent, addr, &one, 8) ||
	    hf_pin_user_pages_fast(parent, addr, 1, HF_FOLL_LONGTERM, &ref) != 1 ||
	    hf_mm_fork(parent, &child) || hf_store(parent, addr, &two, 8))
		return 1;
	if (hf_ref_read(sys, &ref, 0, &seen, 8) || seen != 2)
		return 2;
	if (hf_load(child, addr, &seen, 8) || seen != 1)
		return 3;
	if (hf_validate(sys, NULL))
		return 4;
	hf_mm_put(child);
	hf_mm_put(parent);
	return hf_unpin_user_pages(sys, &ref, 1) || hf_system_destroy(sys) ? 5 : 0;
}

_Noreturn void _start(void);

_Noreturn __attribute__((force_align_arg_pointer)) void _start(void)
{
	long status = pin_survives_fork();

	for (;;)
		__asm__ volatile("syscall" : : "a"(60l), "D"(status) : "rcx", "r11", "memory");
}
