/* SPDX-License-Identifier: MIT */
/*
 * `holdfast check --histories --resume`: any bytes are refused, or hold histories that this search
 * can come to, and that it goes on from.
 *
 * An input's first byte chooses whether the checksum at its end is made right; the rest follows the
 * part of the header that says which search it is. The search is small: few operations of one
 * process on one page.
 */
#include "fuzz.h"
#include "search/history.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SAME 92 /* bytes of the header that say which search it is */
#define INPUT_MAX 8192

static uint8_t same[SAME];
static char path[40]; /* of a memfd */
static int fd;

static const struct hf_search_options small = {
	.policy = "holdfast",
	.limits = { .procs = 1,
		    .pages = 1,
		    .without = ((hf_hist_ops)1 << HF_NR_HIST_OPS) - 1 -
			       ((hf_hist_ops)1 << HF_H_WRITE | (hf_hist_ops)1 << HF_H_PIN_R |
				(hf_hist_ops)1 << HF_H_VMSPLICE | (hf_hist_ops)1 << HF_H_DEV_READ |
				(hf_hist_ops)1 << HF_H_RELEASE) },
	.threads = 1,
	.depth = 3,
	.seconds = 5,
};

/* What a search of depth 1 writes begins with it. */
static void find_header(void)
{
	char folder[] = "/tmp/fuzz_checkpoint.XXXXXX", name[64];
	struct hf_search_options o = small;
	struct hf_search_result result;
	FILE *f;

	if (!mkdtemp(folder))
		fuzz_found("no folder");
	snprintf(name, sizeof(name), "%s/kept", folder);
	o.depth = 1;
	o.checkpoint = name;
	if (hf_search(&o, &result) || !(f = fopen(name, "re")) ||
	    fread(same, sizeof(same), 1, f) != 1)
		fuzz_found("no checkpoint");
	fclose(f);
	unlink(name);
	rmdir(folder);
	fd = memfd_create("checkpoint", MFD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
}

/* FNV-1a of all that comes before it. */
static void make_right(uint8_t *file, size_t size)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < size - sizeof(sum); i++)
		sum = (sum ^ file[i]) * 0x100000001b3;
	memcpy(file + size - sizeof(sum), &sum, sizeof(sum));
}

static void resume(const uint8_t *file, size_t size)
{
	struct hf_search_options o = small;
	struct hf_search_result result;
	int err;

	if (ftruncate(fd, 0) || pwrite(fd, file, size, 0) != (ssize_t)size)
		fuzz_found("the file cannot be written");
	o.resume = path;
	err = hf_search(&o, &result);
	if (err && err != -EINVAL && err != -EBADMSG)
		fuzz_found("resume: %s", strerror(-err));
	if (!err && (result.verdict != HF_OK || result.depth > HF_HIST_MAX_DEPTH))
		fuzz_found("resumed: %s at depth %u: %s", hf_verdict_names[result.verdict],
			   result.depth, result.detail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t file[SAME + INPUT_MAX];

	if (!fd)
		find_header();
	if (!size || size > INPUT_MAX)
		return 0;
	memcpy(file, same, SAME);
	memcpy(file + SAME, data + 1, size - 1);
	if (data[0] & 1 && size > sizeof(uint64_t))
		make_right(file, SAME + size - 1);
	resume(file, SAME + size - 1);
	return 0;
}
