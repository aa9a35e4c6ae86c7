/* SPDX-License-Identifier: MIT */
/*
 * A persistent loop over a parser that has state: each input changes a document, and then all is as
 * before, by hf_native_restore(). The parser is jansson, which knows nothing of it: its memory
 * comes from an allocator in a space, whose stores the kernel tells of (HF_NATIVE_SIGNAL). Beside
 * it the same by a fork server: a child for each input.
 */
#include "../common/arguments.h"

#include <getopt.h>
#include <holdfast/holdfast.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KEYS 2000 /* of the document */
#define SPARE (4UL << 20)
#define LOOK 64 /* inputs between two looks at whether it is what it was */

static const char usage[] = "Usage: fuzz-loop [OPTION]...\n"
			    "Inputs to a parser with state, which goes back after each: by "
			    "hf_native_restore(), and by a\n"
			    "fork server; how many a second.\n"
			    "\n"
			    "  --seconds N   for each way, default 2\n"
			    "  --memory SIZE of the parser, default 256M; all of it is in use\n"
			    "  --help, --version\n";

const char *program = "fuzz-loop";

static unsigned long seconds = 2;
static size_t size = 256UL << 20;

/* ---- the parser's memory: all of it, the allocator's too, goes back ---- */

struct heap {
	size_t top;
};

static struct heap *heap;

static void *heap_alloc(size_t len)
{
	size_t at = (heap->top + 15) & ~(size_t)15;

	if (len > size || at > size - len)
		return NULL;
	heap->top = at + len;
	return (char *)heap + at;
}

static void heap_free(void *p)
{
	(void)p; /* the next restore frees it */
}

/* ---- the document, and what an input does to it ---- */

static json_t *document;

static bool fill(void)
{
	size_t rest;
	char key[32];

	document = json_object();
	for (int i = 0; i < KEYS; i++) {
		snprintf(key, sizeof(key), "key%d", i);
		if (json_object_set_new(document, key,
					json_pack("{s:i, s:s}", "n", i, "text", key)))
			return false;
	}
	/* what a real program has besides */
	rest = size - heap->top - SPARE;
	memset(heap_alloc(rest), 1, rest);
	return true;
}

/* Right ones and wrong ones. */
static size_t make_input(unsigned *seed, char *text, size_t room)
{
	int n = snprintf(text, room,
			 "{\"key%d\": {\"n\": %d, \"list\": [1, 2, %d]}, \"new%d\": \"%x\"}",
			 rand_r(seed) % KEYS, rand_r(seed), rand_r(seed), rand_r(seed) % 100,
			 (unsigned)rand_r(seed));

	if (rand_r(seed) % 4 == 0)
		text[rand_r(seed) % n] ^= (char)(1 << rand_r(seed) % 7);
	return (size_t)n;
}

static void run_input(const char *text, size_t len)
{
	json_error_t error;
	json_t *input = json_loadb(text, len, 0, &error);

	if (input)
		json_object_update(document, input);
	json_decref(input);
}

static uint64_t sum_of_document(void)
{
	char *text = json_dumps(document, JSON_SORT_KEYS | JSON_COMPACT);
	uint64_t sum = 14695981039346656037ULL;

	for (const char *c = text; c && *c; c++)
		sum = (sum ^ (unsigned char)*c) * 1099511628211ULL;
	return text ? sum : 0;
}

/* ---- the two ways ---- */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* False: something did not go back. */
static bool by_restore(struct hf_native *space, double *rate)
{
	struct hf_native_snapshot *start;
	double begun = now();
	unsigned long n = 0;
	unsigned seed = 1;
	uint64_t sum;
	char text[256];

	sum = sum_of_document();
	if (hf_native_snapshot(space, &start))
		return false;
	for (; now() < begun + (double)seconds; n++) {
		run_input(text, make_input(&seed, text, sizeof(text)));
		if (hf_native_restore(space, start))
			return false;
		if (n % LOOK)
			continue;
		if (sum_of_document() != sum || hf_native_restore(space, start)) {
			fprintf(stderr, "fuzz-loop: the document is not what it was\n");
			return false;
		}
	}
	*rate = (double)n / (now() - begun);
	return !hf_native_drop(start);
}

static bool by_fork(double *rate)
{
	double begun = now();
	unsigned long n = 0;
	unsigned seed = 1;
	int status = 0;
	char text[256];

	for (; now() < begun + (double)seconds; n++) {
		size_t len = make_input(&seed, text, sizeof(text));
		pid_t pid = fork();

		if (pid < 0)
			return false;
		if (!pid) {
			run_input(text, len);
			_exit(0);
		}
		if (waitpid(pid, &status, 0) != pid || status)
			return false;
	}
	*rate = (double)n / (now() - begun);
	return true;
}

static int take_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "memory", required_argument, NULL, 'm' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		bool good = option != '?';

		if (option == 'h' || option == 'V') {
			fputs(option == 'h' ? usage : "fuzz-loop " HF_VERSION "\n", stdout);
			return 0;
		}
		if (option == 's')
			good = take_number("--seconds", optarg, 1, 3600, &seconds);
		if (option == 'm')
			good = take_size("--memory", optarg, 8UL << 20, &size);
		if (!good)
			return 2;
	}
	return -1;
}

int main(int argc, char **argv)
{
	struct hf_native_config config = { .pages = HF_NATIVE_4K, .flags = HF_NATIVE_SIGNAL };
	int status = take_options(argc, argv), err;
	struct hf_native *space;
	double restored, forked;

	if (status >= 0)
		return status;
	config.size = size;
	err = hf_native_create(&config, &space);
	if (err) {
		say_no_space(&config, err);
		return 1;
	}
	heap = hf_native_base(space);
	heap->top = sizeof(*heap);
	json_set_alloc_funcs(heap_alloc, heap_free);
	if (!fill() || !by_restore(space, &restored) || !by_fork(&forked)) {
		fprintf(stderr, "fuzz-loop: no memory, or no process\n");
		return 1;
	}
	printf("restore: %.0f inputs a second; fork server: %.0f; %.1f times as many\n", restored,
	       forked, restored / forked);
	hf_native_destroy(space);
	return 0;
}
