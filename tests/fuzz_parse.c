/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a scenario: an error with a message, or a scenario that the engine can run without
 * harm.
 *
 * Built two ways: as a libFuzzer harness, and (HF_FUZZ_DRIVER) as a plain program that cuts and
 * mixes good files: fuzz_parse RUNS SEED FILE...
 */
#include "scenario/target.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_on_engine(struct hf_scenario *scn)
{
	struct hf_target *t = hf_target_engine("holdfast");
	struct hf_cell cell;

	scn->rounds = 1;
	if (!t)
		return;
	hf_run_cell(t, scn, HF_KIND_BASE, false, NULL, &cell);
	if (cell.verdict == HF_BUG && strstr(cell.detail, "broken invariant"))
		abort();
	hf_cell_free(&cell);
	t->ops->free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hf_parse_error err = { .line = 0 };
	struct hf_scenario *scn;

	if (!hf_scenario_parse("fuzz.hf", (const char *)data, size, &scn, &err)) {
		run_on_engine(scn);
		hf_scenario_free(scn);
	} else if (!err.text[0] || err.line < 0 || (err.line && err.column < 1)) {
		abort();
	}
	return 0;
}

#ifdef HF_FUZZ_DRIVER
#define MAX_LINES 4096

static char *lines[MAX_LINES];
static size_t nr_lines;

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void read_lines(const char *path)
{
	FILE *f = fopen(path, "r");
	char *line = NULL;
	size_t cap = 0;

	if (!f) {
		perror(path);
		exit(2);
	}
	while (nr_lines < MAX_LINES && getline(&line, &cap, f) > 0)
		if (strstr(line, ": ") && line[0] != '#') /* steps */
			lines[nr_lines++] = strdup(line);
	free(line);
	fclose(f);
}

/* A plausible head, then lines from anywhere, now and then with a byte changed. */
static size_t make_text(uint64_t *state, char *text, size_t max)
{
	size_t len = (size_t)snprintf(
		text, max, "about x\nprocess P\nprocess Q\nP: map buf 2\nP: map mem 1\n");
	unsigned n = 1 + next_random(state) % 6;

	for (unsigned i = 0; i < n; i++) {
		const char *line = lines[next_random(state) % nr_lines];
		size_t size = strlen(line);

		if (len + size >= max)
			break;
		memcpy(text + len, line, size);
		if (next_random(state) % 8 == 0)
			text[len + next_random(state) % size] = (char)next_random(state);
		len += size;
	}
	return len;
}

int main(int argc, char **argv)
{
	unsigned long runs = argc > 3 ? strtoul(argv[1], NULL, 0) : 0;
	uint64_t state = argc > 3 ? strtoull(argv[2], NULL, 0) * 2 + 1 : 0;
	static char text[1 << 16];

	if (argc < 4) {
		fprintf(stderr, "usage: fuzz_parse RUNS SEED FILE...\n");
		return 2;
	}
	for (int i = 3; i < argc; i++)
		read_lines(argv[i]);
	printf("1..1\n");
	for (unsigned long i = 0; i < runs; i++) {
		size_t len = make_text(&state, text, sizeof(text));

		LLVMFuzzerTestOneInput((const uint8_t *)text, len);
	}
	printf("ok 1 - %lu mixed scenario texts give an error or run\n", runs);
	return 0;
}
#endif
