/* SPDX-License-Identifier: MIT */
/*
 * Allocations that fail on demand: failing.c has what the linker's --wrap puts in the place of the
 * functions that CMakeLists.txt lists. They count what is had, too.
 */
#ifndef TEST_FAILING_H
#define TEST_FAILING_H

#include <stdbool.h>

/* From now on, until failing_off(), allocation `n` of the process fails, with `lasting` all from it
 * on. A copy to a missing page may end half-way meanwhile, as the kernel's may. */
void failing_on(int n, bool lasting);
/* The same, but each n-th fails. */
void failing_each(int n);
/* Whether one has failed. */
bool failing_off(void);

struct had {
	long mapped,
		blocks; /* bytes by mmap(), calls of malloc() and its like; not yet given back */
};

struct had failing_had(void);

#endif
