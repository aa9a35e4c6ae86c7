/* SPDX-License-Identifier: MIT */
/*
 * Stores without a bracket, found: a checked space (HF_NATIVE_CHECKED) is read-only but for the
 * units that a bracket, a pin or a prepared write has open. For tests: each bracket makes two calls
 * to the kernel. While a unit is open for one thread the strays of others there are not found.
 */
#include "internal.h"

#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEPTH 32

static struct hf_installed installed;

/* The word's lock is held. */
static int allow(struct hf_native *space, size_t unit, int prot)
{
	return mprotect(hf_unit_addr(space, unit), 1UL << space->tree->unit_shift, prot) ? -errno
											 : 0;
}

void hf_stray_close(struct hf_native *space, size_t first, size_t end)
{
	for (size_t unit = first; space->open && unit < end; unit++) {
		struct hf_futex *lock = hf_word_lock(space, unit / HF_WORD_UNITS);

		hf_futex_lock(lock);
		hf_assert(space->open[unit]);
		if (--space->open[unit] == 0)
			allow(space, unit, PROT_READ);
		hf_futex_unlock(lock);
	}
}

int hf_stray_open(struct hf_native *space, size_t first, size_t end)
{
	int err = 0;

	for (size_t unit = first; space->open && unit < end && !err; unit++) {
		struct hf_futex *lock = hf_word_lock(space, unit / HF_WORD_UNITS);

		hf_futex_lock(lock);
		if (!space->open[unit])
			err = allow(space, unit, PROT_READ | PROT_WRITE);
		space->open[unit] += !err;
		hf_futex_unlock(lock);
		if (err)
			hf_stray_close(space, first, unit);
	}
	return err;
}

/* What a test wants to know, and the end. */
static _Noreturn void tell(const struct hf_native *space, const char *addr)
{
	void *stack[DEPTH];

	dprintf(STDERR_FILENO,
		"holdfast: a store without a bracket: %p, %zu bytes into the space at %p, by "
		"thread %ld\n",
		(const void *)addr, (size_t)(addr - space->window), (void *)space->window,
		(long)gettid());
	backtrace_symbols_fd(stack, backtrace(stack, DEPTH), STDERR_FILENO);
	abort();
}

/* Of a space that is checked, and not by its library itself. True: the store may go on. */
static bool is_stray(const siginfo_t *info)
{
	const char *addr = info->si_addr;
	struct hf_native *space;
	void (*report)(void *arg, const void *addr) = NULL;
	void *arg = NULL;
	bool ours = false;

	if (info->si_code != SEGV_ACCERR)
		return false;
	space = hf_registry_enter(addr);
	if (space && space->open && !space->view && space->owned) {
		size_t unit = (size_t)(addr - space->window) >> space->tree->unit_shift;

		report = space->tree->stray;
		arg = space->tree->stray_arg;
		if (!report)
			tell(space, addr);
		ours = !hf_stray_open(space, unit, unit + 1);
	}
	if (space)
		hf_registry_leave();
	if (ours)
		report(arg, addr);
	return ours;
}

static void on_sigsegv(int sig, siginfo_t *info, void *context)
{
	int err = errno;

	if (!is_stray(info))
		hf_hand_on(&installed, sig, info, context);
	errno = err;
}

int hf_stray_install(void)
{
	void *stack[1];

	backtrace(stack, 1); /* the first time loads libgcc, which a handler must not */
	return hf_install(&installed, SIGSEGV, on_sigsegv);
}
