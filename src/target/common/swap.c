/* SPDX-License-Identifier: MIT */
#include "swap.h"

#include "../../machine/machine.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

static bool system_has_swap(void)
{
	FILE *f = fopen("/proc/swaps", "re");
	int lines = 0, c;

	while (f && (c = fgetc(f)) != EOF)
		lines += c == '\n';
	if (f)
		fclose(f);
	return lines > 1;
}

/* Swap that another run has made is not one to rely on: theirs first. */
static void find(struct hf_kernel_swap *swap)
{
	char why[160];
	int err;

	if (swap->tried)
		return;
	err = hf_machine_hold(why, sizeof(why));
	swap->on = err != -EINTR && err != -EBUSY && system_has_swap();
	if (!swap->on && !err)
		err = hf_machine_add_swap(why, sizeof(why));
	swap->on |= !err;
	swap->tried = err != -EINTR;
	if (!swap->on)
		snprintf(swap->why, sizeof(swap->why),
			 "there is no swap, and none can be made: %s; or turn swap on", why);
}

/* Native spaces have threads for the arms of a par block. */
bool hf_kernel_swap_on(struct hf_kernel_swap *swap)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&lock);
	find(swap);
	pthread_mutex_unlock(&lock);
	return swap->on;
}
