/* SPDX-License-Identifier: MIT */
#include "memory.h"

#include "../common/arguments.h"
#include "heap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_UNIT (2UL << 20)

/* Aligned to 2 MiB: huge pages need it. What is not used of the map costs nothing. */
static int map_plain(struct memory *m)
{
	bool hugetlb = m->config.pages == HF_NATIVE_HUGETLB;
	size_t size = (m->config.size + HUGE_UNIT - 1) & ~(HUGE_UNIT - 1);
	char *at = mmap(NULL, size + HUGE_UNIT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return -errno;
	at += -(size_t)at & (HUGE_UNIT - 1);
	if (mmap(at, size, PROT_READ | PROT_WRITE,
		 MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | (hugetlb ? MAP_HUGETLB : MAP_NORESERVE),
		 -1, 0) == MAP_FAILED)
		return -errno;
	if (!hugetlb)
		madvise(at, size,
			m->config.pages == HF_NATIVE_4K ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	m->base = at;
	m->size = size;
	return 0;
}

bool memory_open(struct memory *m)
{
	int err = m->forks ? map_plain(m) : hf_native_create(&m->config, &m->space);

	if (err) {
		if (m->forks)
			fprintf(stderr, "%s: no %s bytes of %s pages: %s\n", program,
				size_text(m->config.size), pages_name(m->config.pages),
				strerror(-err));
		else
			say_no_space(&m->config, err);
		return false;
	}
	if (m->space) {
		m->base = hf_native_base(m->space);
		m->size = hf_native_size(m->space);
	}
	if (m->space && !m->protects) {
		heap_space = m->space;
		/* the first bracket of the thread is the one that may fail */
		err = hf_native_begin_store(m->space, m->base, 1);
		if (err) {
			say_no_space(&m->config, err);
			return false;
		}
		hf_native_end_store(m->space, m->base, 1);
	}
	return true;
}

void memory_close(struct memory *m)
{
	if (m->space)
		hf_native_destroy(m->space);
	else
		munmap(m->base, m->size);
}
