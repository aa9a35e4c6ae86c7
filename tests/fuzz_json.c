/* SPDX-License-Identifier: MIT */
/*
 * What a runner under QEMU says, as lines of JSON: of cells, or of histories. Whatever it says,
 * every cell comes to one end, and can be written and read again.
 *
 * An input's first byte chooses between the two. Lines that begin with '!' are the console's; a
 * line
 * "%" ends the machine, and what follows is said by the next one.
 */
#include "equiv/equiv.h"
#include "fuzz.h"
#include "scenario/cell_json.h"
#include "target/image/boot.h"
#include "target/image/cpio.h"
#include "target/image/image.h"
#include "target/image/modules.h"
#include "target/image/release.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define CELLS 3
#define SAID_MAX 60000 /* what a pipe takes */

FUZZ_UNITS(0)

/* ---- a machine that says what the input says ---- */

static const char *said, *said_end;

int __wrap_hf_boot_start(struct hf_boot *b, const char *image, int initramfs);
int __wrap_hf_cpio_copy(struct hf_cpio *c, const char *name, const char *path);
int __wrap_hf_image_release(const char *path, char *release, size_t len);
int __wrap_hf_modules_find(struct hf_modules *m, const char *const *folders, size_t nr, char *where,
			   size_t len);

static void say(int fd, const char *text, size_t len)
{
	if (write(fd, text, len) != (ssize_t)len)
		fuzz_found("the pipe does not take %zu bytes", len);
}

static const char *next_line(size_t *len)
{
	const char *line = said, *end = memchr(said, '\n', (size_t)(said_end - said));

	*len = (size_t)((end ? end + 1 : said_end) - line);
	said += *len;
	return line;
}

int __wrap_hf_boot_start(struct hf_boot *b, const char *image, int initramfs)
{
	int console[2], results[2];

	(void)image;
	(void)initramfs;
	if (pipe2(console, O_CLOEXEC) || pipe2(results, O_CLOEXEC))
		fuzz_found("no pipe");
	*b = (struct hf_boot){ .pid = -1, .console = console[0], .results = results[0] };
	while (said < said_end) {
		size_t len;
		const char *line = next_line(&len);

		if (*line == '%')
			break;
		say(*line == '!' ? console[1] : results[1], line, len);
	}
	close(console[1]);
	close(results[1]);
	return 0;
}

int __wrap_hf_cpio_copy(struct hf_cpio *c, const char *name, const char *path)
{
	(void)path;
	hf_cpio_data(c, name, "", 0);
	return 0;
}

int __wrap_hf_image_release(const char *path, char *release, size_t len)
{
	(void)path;
	snprintf(release, len, "6.1.0-fuzz");
	return 0;
}

int __wrap_hf_modules_find(struct hf_modules *m, const char *const *folders, size_t nr, char *where,
			   size_t len)
{
	(void)folders;
	(void)nr;
	(void)where;
	(void)len;
	m->nr = 0;
	return 0;
}

/* ---- cells ---- */

static size_t nr_done;

/* What can be written can be read, and says the same. */
static void check_cell(const struct hf_cell *cell)
{
	json_t *o = hf_cell_to_json(cell), *again;
	struct hf_cell copy;

	if (!o)
		fuzz_found("a cell cannot be written");
	copy = (struct hf_cell){ .scn = cell->scn,
				 .target = cell->target,
				 .expected = cell->expected };
	if (hf_cell_from_json(o, &copy))
		fuzz_found("a cell that was written cannot be read");
	again = hf_cell_to_json(&copy);
	if (!json_equal(o, again))
		fuzz_found("a cell that was written reads as another");
	json_decref(again);
	json_decref(o);
	hf_cell_free(&copy);
}

static void cell_done(void *arg, const struct hf_cell *cell)
{
	(void)arg;
	nr_done++;
	if (cell->verdict >= HF_NR_VERDICTS)
		fuzz_found("verdict %d", cell->verdict);
	check_cell(cell);
}

static void note(void *arg, const char *text)
{
	size_t *sum = arg;

	*sum += strlen(text);
}

static void run_cells(struct hf_target *t, const struct hf_scenario *scn)
{
	struct hf_cell cells[CELLS], *list[CELLS];
	size_t sum = 0;
	struct hf_batch batch = {
		.cells = list, .nr = CELLS, .done = cell_done, .note = note, .arg = &sum
	};

	for (int i = 0; i < CELLS; i++) {
		hf_cell_init(&cells[i], t, scn, HF_KIND_BASE);
		list[i] = &cells[i];
	}
	nr_done = 0;
	t->ops->batch(t, &batch);
	if (nr_done != CELLS)
		fuzz_found("%zu cells of %d came to an end", nr_done, CELLS);
	for (int i = 0; i < CELLS; i++)
		hf_cell_free(&cells[i]);
}

/* ---- histories ---- */

static void progress(void *arg, const struct hf_equiv_result *so_far)
{
	(void)arg;
	(void)so_far;
}

static void found(void *arg, const struct hf_equiv_found *f)
{
	note(arg, f->text);
	note(arg, f->words);
	note(arg, hf_difference_names[f->what]);
}

static void run_histories(struct hf_target *t)
{
	size_t sum = 0;
	struct hf_equiv_options o = { .policy = "linux-6.1", .most = 1, .count = 1 };
	struct hf_equiv_result result = { 0 };

	o.progress = progress;
	o.found = found;
	o.note = note;
	o.arg = &sum;
	if (t->ops->equiv(t, &o, &result) > 0)
		fuzz_found("equiv's status is no errno");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char text[] = "about x\nprocess P\nP: map buf 1\nP: read buf\n";
	static const struct hf_image_options options = { .init = "init", .patience = 5 };
	struct hf_parse_error parse_error;
	struct hf_scenario *scn;
	struct hf_target *t;
	char err[256];

	if (!size || size > SAID_MAX)
		return 0;
	said = (const char *)data + 1;
	said_end = (const char *)data + size;
	t = hf_target_image("fuzz", "fuzz", &options, err, sizeof(err));
	if (!t || hf_scenario_parse("x.hf", text, sizeof(text) - 1, NULL, &scn, &parse_error))
		fuzz_found("no target, or no scenario");
	if (data[0] & 1)
		run_histories(t);
	else
		run_cells(t, scn);
	hf_scenario_free(scn);
	t->ops->free(t);
	return 0;
}
