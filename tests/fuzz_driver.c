/* SPDX-License-Identifier: MIT */
/*
 * In libFuzzer's place, for every compiler: fuzz_NAME [-runs=N] [-seed=N] FILE|FOLDER...
 * takes all files as inputs, then N inputs that are made of them. A finding says which it was.
 */
#include "fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_MAX 1500

struct input {
	uint8_t *data;
	size_t size;
};

static struct input *inputs;
static size_t nr_inputs;
static const char *current = "none";
static unsigned long current_seed;
static uint64_t mutate_random;

/* Harnesses without one have their bytes changed. */
__attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
						     unsigned seed)
{
	(void)seed;
	return LLVMFuzzerMutate(data, size, max);
}

__attribute__((weak)) size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size,
						       const uint8_t *b, size_t b_size,
						       uint8_t *out, size_t max, unsigned seed)
{
	return fuzz_cross_over(a, a_size, b, b_size, out, max, seed, 16);
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max)
{
	size_t at = size ? fuzz_random(&mutate_random) % size : 0;

	switch (fuzz_random(&mutate_random) % 4) {
	case 0: /* one less */
		if (size < 2)
			break;
		memmove(data + at, data + at + 1, size - at - 1);
		return size - 1;
	case 1: /* one more */
		if (size >= max)
			break;
		memmove(data + at + 1, data + at, size - at);
		data[at] = (uint8_t)fuzz_random(&mutate_random);
		return size + 1;
	case 2:
		if (size)
			data[at] ^= (uint8_t)(1u << fuzz_random(&mutate_random) % 8);
		break;
	default:
		if (size)
			data[at] = (uint8_t)fuzz_random(&mutate_random);
	}
	return size;
}

/* ---- the corpus ---- */

static void give_up(const char *path)
{
	perror(path);
	exit(2);
}

static void add_input(const char *path, size_t size)
{
	FILE *f = fopen(path, "r");

	inputs = realloc(inputs, (nr_inputs + 1) * sizeof(*inputs));
	inputs[nr_inputs].data = malloc(size + 1);
	if (!f)
		give_up(path);
	inputs[nr_inputs].size = fread(inputs[nr_inputs].data, 1, size, f);
	fclose(f);
	current = path;
	LLVMFuzzerTestOneInput(inputs[nr_inputs].data, inputs[nr_inputs].size);
	nr_inputs++;
}

static void add_path(const char *path)
{
	struct dirent **entries;
	struct stat st;
	int nr;

	if (stat(path, &st))
		give_up(path);
	if (!S_ISDIR(st.st_mode)) {
		add_input(path, (size_t)st.st_size);
		return;
	}
	nr = scandir(path, &entries, NULL, alphasort);
	for (int i = 0; i < nr; i++) {
		char *name;

		if (entries[i]->d_name[0] != '.' &&
		    asprintf(&name, "%s/%s", path, entries[i]->d_name) > 0) {
			add_path(name);
			free(name);
		}
		free(entries[i]);
	}
	free(entries);
}

/* ---- new inputs ---- */

/* Every fourth is made of nothing, the others of two that are there. */
static size_t make_input(uint8_t *data, uint64_t *random)
{
	unsigned changes = 1 + fuzz_random(random) % 8;
	size_t size = 0;

	if (nr_inputs && fuzz_random(random) % 4) {
		const struct input *a = &inputs[fuzz_random(random) % nr_inputs];
		const struct input *b = &inputs[fuzz_random(random) % nr_inputs];

		size = LLVMFuzzerCustomCrossOver(a->data, a->size, b->data, b->size, data,
						 INPUT_MAX, (unsigned)fuzz_random(random));
	}
	for (; changes; changes--)
		size = LLVMFuzzerCustomMutator(data, size, INPUT_MAX,
					       (unsigned)fuzz_random(random));
	return size;
}

static void run_seed(unsigned long seed)
{
	uint64_t random = seed * 0x9e3779b97f4a7c15ull + 1;
	uint8_t data[INPUT_MAX];

	current = NULL;
	current_seed = seed;
	mutate_random = random;
	LLVMFuzzerTestOneInput(data, make_input(data, &random));
}

/* An abort says what repeats it. */
static void on_abort(int sig)
{
	(void)sig;
	if (current)
		fprintf(stderr, "found with the input %s\n", current);
	else
		fprintf(stderr, "found with the same paths and -runs=1 -seed=%lu\n", current_seed);
	printf("not ok 1 - %s\n", current ? current : "an input made of others");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	unsigned long runs = 0, seed = 1;

	signal(SIGABRT, on_abort);
	printf("1..1\n");
	for (int i = 1; i < argc; i++)
		if (!strncmp(argv[i], "-runs=", 6))
			runs = strtoul(argv[i] + 6, NULL, 0);
		else if (!strncmp(argv[i], "-seed=", 6))
			seed = strtoul(argv[i] + 6, NULL, 0);
		else
			add_path(argv[i]);
	for (unsigned long i = 0; i < runs; i++)
		run_seed(seed + i);
	printf("ok 1 - nothing found with %zu inputs and %lu made of them\n", nr_inputs, runs);
	for (size_t i = 0; i < nr_inputs; i++)
		free(inputs[i].data);
	free(inputs);
	return 0;
}
