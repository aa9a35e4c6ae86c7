/* SPDX-License-Identifier: MIT */
#include "../common/arguments.h"
#include "log.h"
#include "server.h"

#include <getopt.h>
#include <holdfast/holdfast.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"Usage: kv [OPTION]...\n"
	"A key-value server in memory that saves points in time while it serves; it speaks the\n"
	"protocol of Redis (RESP2): redis-cli and redis-benchmark drive it.\n"
	"\n"
	"  --port N         TCP port, default 6379; 0: none\n"
	"  --bind ADDRESS   default 127.0.0.1; there are no passwords\n"
	"  --unix PATH      a socket, also without TCP\n"
	"  --memory SIZE    for all data, default 1G\n"
	"  --pages KIND     auto (default), 4k, thp, thp-4k, hugetlb\n"
	"  --save METHOD    native (default): BGSAVE takes a snapshot of a native space, and a\n"
	"                   thread writes it; fork: plain memory, and a child writes\n"
	"  --signal         memory is protected, not bracketed (with --save native): faults are\n"
	"                   resolved in the thread that stores\n"
	"  --handler        the same, and another thread resolves them, which needs a right\n"
	"  --file PATH      what is saved, and loaded at start; without it nothing is\n"
	"  --save-rate SIZE bytes a second at most that BGSAVE writes\n"
	"  --help, --version\n"
	"\n"
	"SIGTERM and SIGINT save what has changed, and end it.\n";

const char *program = "kv";

struct options {
	unsigned long port;
	const char *bind, *unix_path, *file;
	size_t rate;
	struct memory memory;
};

static int misused(void)
{
	fputs("Try 'kv --help'.\n", stderr);
	return 2;
}

static bool take_method(const char *text, bool *forks)
{
	*forks = !strcmp(text, "fork");
	if (*forks || !strcmp(text, "native"))
		return true;
	fprintf(stderr, "kv: --save '%s': expected native or fork\n", text);
	return false;
}

static bool take(int option, const char *text, struct options *o)
{
	struct hf_native_config *config = &o->memory.config;

	switch (option) {
	case 'p':
		return take_number("--port", text, 0, 65535, &o->port);
	case 'b':
		o->bind = text;
		return true;
	case 'u':
		o->unix_path = text;
		return true;
	case 'm':
		return take_size("--memory", text, HEAP_MIN, &config->size);
	case 'k':
		return take_pages("--pages", text, &config->pages);
	case 's':
		return take_method(text, &o->memory.forks);
	case 'S':
		o->memory.protects = true;
		config->flags = HF_NATIVE_SIGNAL;
		return true;
	case 'H':
		o->memory.protects = true;
		config->flags = 0;
		return true;
	case 'f':
		o->file = text;
		return true;
	case 'r':
		return take_size("--save-rate", text, 1, &o->rate);
	}
	return false;
}

/* -1: go on; else the exit status. */
static int take_all(int argc, char **argv, struct options *o)
{
	static const struct option long_options[] = {
		{ "port", required_argument, NULL, 'p' },
		{ "bind", required_argument, NULL, 'b' },
		{ "unix", required_argument, NULL, 'u' },
		{ "memory", required_argument, NULL, 'm' },
		{ "pages", required_argument, NULL, 'k' },
		{ "save", required_argument, NULL, 's' },
		{ "signal", no_argument, NULL, 'S' },
		{ "handler", no_argument, NULL, 'H' },
		{ "file", required_argument, NULL, 'f' },
		{ "save-rate", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == 'h' || option == 'V') {
			fputs(option == 'h' ? usage : "kv " HF_VERSION "\n", stdout);
			return 0;
		}
		if (!take(option, optarg, o))
			return misused();
	}
	if (optind < argc) {
		fprintf(stderr, "kv: unexpected argument '%s'\n", argv[optind]);
		return misused();
	}
	if (!o->port && !o->unix_path) {
		fputs("kv: --port 0 without --unix: nobody could connect\n", stderr);
		return misused();
	}
	if (o->memory.forks && o->memory.protects) {
		fputs("kv: --signal and --handler are of --save native only\n", stderr);
		return misused();
	}
	if (!o->memory.forks && !o->memory.protects)
		o->memory.config.flags = HF_NATIVE_BRACKETED;
	return -1;
}

static bool set_up(struct server *s, const struct options *o)
{
	int err;

	s->memory = o->memory;
	if (!server_init(s) || !memory_open(&s->memory))
		return false;
	s->heap = s->memory.base;
	err = saver_init(&s->saver, &s->memory, o->file, o->rate);
	if (err) {
		say("pipe: %s", strerror(-err));
		return false;
	}
	if (!saver_load(&s->saver))
		return false;
	return (!o->port || server_listen_tcp(s, o->bind, o->port)) &&
	       (!o->unix_path || server_listen_unix(s, o->unix_path));
}

int main(int argc, char **argv)
{
	struct options o = { .port = 6379,
			     .bind = "127.0.0.1",
			     .memory.config = { .size = 1UL << 30 } };
	struct server s = { 0 };
	int status = take_all(argc, argv, &o);

	if (status >= 0)
		return status;
	if (!set_up(&s, &o))
		return 1;
	say("ready: %s bytes of %s pages, saving by %s", size_text(s.memory.size),
	    pages_name(s.memory.config.pages), s.memory.forks ? "fork" : "snapshots");
	server_run(&s);
	server_close(&s);
	saver_close(&s.saver);
	memory_close(&s.memory);
	return 0;
}
