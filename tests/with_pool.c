/* SPDX-License-Identifier: MIT */
/*
 * with-pool PAGES COMMAND...: runs a command while the machine's pool of 2 MiB pages has so many
 * that are nobody's, and puts it back however that ends. 77: it cannot have so many.
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
	char why[256];
	int err = hf_machine_hold(why, sizeof(why));
	long spare = hf_hugetlb_spare(HF_HUGETLB);

	if (!err && spare < pages)
		err = hf_machine_enlarge_pool((size_t)(pages - spare), why, sizeof(why));
	if (err) {
		say(why);
		return false;
	}
	if (hf_hugetlb_spare(HF_HUGETLB) >= pages)
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
	int status = 77;

	if (argc < 3)
		return 2;
	hf_die_with(getppid());
	hf_machine_user(say, NULL);
	hf_machine_join();
	if (enlarge(atol(argv[1])))
		status = run(argv + 2);
	hf_machine_leave();
	return status;
}
