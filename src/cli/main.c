/* SPDX-License-Identifier: MIT */
#include "cli.h"

#include "../machine/machine.h"

#include <holdfast/holdfast.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

volatile sig_atomic_t hf_interrupted;

static const char usage[] =
	"Usage: holdfast COMMAND ...\n"
	"\n"
	"  holdfast run [--on TARGET[,TARGET...]] [--format table|json|tap|markdown] [--trace] "
	"FILE|DIR...\n"
	"        run scenarios and say who loses data, who leaks it, who refuses, who is right\n"
	"  holdfast check --histories [--policy P] [--processes N] [--pages N] [--depth N] ...\n"
	"        try every short history, and print the shortest that breaks the policy\n"
	"  holdfast equiv [--policy P] [--on KERNEL] [--count N] [--seed S] ...\n"
	"        random histories on the engine and on a kernel, compared page by page\n"
	"  holdfast list policies|targets|scenarios|kinds [DIR...]\n"
	"  holdfast kernels fetch|list\n"
	"        Debian's kernels, for --on: they run the scenarios under QEMU\n"
	"  holdfast restore\n"
	"        puts back what a run that was killed has left changed of this machine\n"
	"  holdfast --version\n"
	"  holdfast --help\n"
	"\n"
	"A TARGET is a policy of the engine (holdfast list targets), 'here', the running "
	"kernel,\n"
	"'native', 'native-signal' or 'native-bracketed', native spaces in their modes, a path "
	"of a\n"
	"kernel image, or the name of a fetched kernel (holdfast kernels list).\n"
	"Exit status: 0 all as expected, 1 not, 2 usage or parse error, 77 all skipped.\n";

static void on_signal(int sig)
{
	(void)sig;
	hf_interrupted = 1;
}

static void catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sa.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &sa, NULL);
}

/* Also in the midst of a line that shows progress. */
static void note(const char *text)
{
	fprintf(stderr, "%sholdfast: %s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "", text);
}

static int dispatch(int argc, char **argv)
{
	const char *cmd = argc > 1 ? argv[1] : NULL;

	if (!cmd) {
		fputs(usage, stderr);
		return HF_EXIT_USAGE;
	}
	if (!strcmp(cmd, "--help") || !strcmp(cmd, "-h") || !strcmp(cmd, "help")) {
		fputs(usage, stdout);
		return HF_EXIT_OK;
	}
	if (!strcmp(cmd, "--version")) {
		puts("holdfast " HF_VERSION);
		return HF_EXIT_OK;
	}
	if (!strcmp(cmd, "run"))
		return hf_cmd_run(argc - 1, argv + 1);
	if (!strcmp(cmd, "check"))
		return hf_cmd_check(argc - 1, argv + 1);
	if (!strcmp(cmd, "equiv"))
		return hf_cmd_equiv(argc - 1, argv + 1);
	if (!strcmp(cmd, "list"))
		return hf_cmd_list(argc - 1, argv + 1);
	if (!strcmp(cmd, "kernels"))
		return hf_cmd_kernels(argc - 1, argv + 1);
	if (!strcmp(cmd, "restore"))
		return hf_cmd_restore(argc - 1, argv + 1);
	fprintf(stderr, "holdfast: '%s' is not a command; see 'holdfast --help'\n", cmd);
	return HF_EXIT_USAGE;
}

int main(int argc, char **argv)
{
	int status;

	/* machines come and go by the thousand: their frames stay with us, those of threads, too */
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	catch_signals();
	hf_machine_user(note, &hf_interrupted);
	status = dispatch(argc, argv);
	if (fflush(stdout) || ferror(stdout)) {
		perror("holdfast: writing the output");
		return HF_EXIT_USAGE;
	}
	return status;
}
