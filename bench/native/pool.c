/* SPDX-License-Identifier: MIT */
/* Room in the machine's pool of 2 MiB pages, for as long as the benchmark runs. */
#include "../../src/machine/machine.h"
#include "bench.h"

static void say(const char *text)
{
	fprintf(stderr, "bench-native: %s\n", text);
}

void pool_enlarge(size_t bytes)
{
	char why[256];

	hf_machine_user(say, &interrupted);
	hf_machine_join();
	if (hf_machine_enlarge_pool(bytes / HUGE_PAGE, why, sizeof(why)))
		say(why);
}

void pool_restore(void)
{
	hf_machine_leave();
}
