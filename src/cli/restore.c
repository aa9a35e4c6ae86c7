/* SPDX-License-Identifier: MIT */
/* holdfast restore */
#include "cli.h"

#include "../machine/restore.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void restore_usage(FILE *to)
{
	fputs("Usage: holdfast restore\n"
	      "\n"
	      "Puts back what a run that was killed, and its guardian with it, has changed of "
	      "this\n"
	      "machine: " HF_JOURNAL " says what that is.\n"
	      "\n"
	      "Exit status: 0 put back, or there was nothing; 1 something cannot be put back, or "
	      "the "
	      "run is\n"
	      "still at work; 2 usage, or not permitted.\n",
	      to);
}

static void told(void *arg, enum hf_outcome outcome, const char *text)
{
	(void)arg;
	if (outcome == HF_STUCK)
		fprintf(stderr, "holdfast: %s\n", text);
	else
		puts(text);
}

static int explain(const struct hf_owner *owner, int err)
{
	switch (err) {
	case 0:
		printf("process %d, which had changed this machine, is gone; all is as it was\n",
		       (int)owner->pid);
		return HF_EXIT_OK;
	case -ENOENT:
		puts("nothing of this machine is changed");
		return HF_EXIT_OK;
	case -EBUSY:
		fprintf(stderr,
			hf_owner_lives(owner)
				? "holdfast: process %d has changed this machine, and is at work: "
				  "it puts back what it changed\n"
				: "holdfast: what process %d has left behind does not end\n",
			(int)owner->pid);
		return HF_EXIT_UNEXPECTED;
	case -EPROTO:
		fputs("holdfast: " HF_JOURNAL " was written by another version of holdfast: use "
		      "that one\n",
		      stderr);
		return HF_EXIT_UNEXPECTED;
	default:
		break;
	}
	if (err > 0)
		return HF_EXIT_UNEXPECTED;
	fprintf(stderr, "holdfast: " HF_JOURNAL ": %s%s\n", strerror(-err),
		err == -EACCES ? "; run as root" : "");
	return HF_EXIT_USAGE;
}

int hf_cmd_restore(int argc, char **argv)
{
	struct hf_owner owner = { 0 };

	if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		restore_usage(stdout);
		return HF_EXIT_OK;
	}
	if (argc > 1) {
		restore_usage(stderr);
		return HF_EXIT_USAGE;
	}
	return explain(&owner, hf_restore_now(&owner, told, NULL));
}
