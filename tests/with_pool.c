/* SPDX-License-Identifier: MIT */
/*
 * with-pool PAGES COMMAND...: runs a command while the machine's pool of 2 MiB pages has so many,
 * and puts it back however that ends. The command finds in HF_POOL_BEFORE what the pool had. 77:
 * it cannot have so many.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine/hugetlb.h"
#include "machine/leftovers.h"
#include "machine/machine.h"

static void say(const char *text)
{
	fprintf(stderr, "with-pool: %s\n", text);
}

static bool enlarge(long pages)
{
	long size = hf_hugetlb_size(HF_HUGETLB);
	char why[256];

	if (hf_machine_hold(why, sizeof(why)) ||
	    (size < pages && hf_machine_enlarge_pool((size_t)(pages - size), why, sizeof(why)))) {
		say(why);
		return false;
	}
	if (hf_hugetlb_size(HF_HUGETLB) >= pages)
		return true;
	say("the kernel has not enough memory in one piece");
	return false;
}

static int run(char **argv)
{
	pid_t parent = getpid(), pid = fork();
	int status;

	if (!pid) {
		hf_die_with(parent);
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
	char before[24];
	int status = 77;

	if (argc < 3)
		return 2;
	hf_machine_user(say, NULL);
	hf_machine_join();
	snprintf(before, sizeof(before), "%ld", hf_hugetlb_size(HF_HUGETLB));
	setenv("HF_POOL_BEFORE", before, 1);
	if (enlarge(atol(argv[1])))
		status = run(argv + 2);
	hf_machine_leave();
	return status;
}
