/* SPDX-License-Identifier: MIT */
/*
 * examples/kv: any bytes as a file to load, with checksums that are made right in half of the runs;
 * and what was saved loads as what it was.
 *
 * An input is the way (a byte), the length of the range (pages, and bytes more or less), the words
 * of the header, and bytes that the range is filled with, again and again.
 */
#include "../examples/common/xxh64.h"
#include "../examples/kv/dump.h"
#include "../examples/kv/heap.h"
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096UL
#define MEMORY (16 * PAGE)
#define PAGES_MAX (MEMORY / PAGE + 1)
#define RIGHT_HEADER 1 /* in the way */
#define SAVE 2
#define WORDS 5 /* of the header: magic, length, its checksum, time, the page's own checksum */

static char folder[64], path[96];
static _Alignas(4096) char memory[MEMORY], copy[MEMORY];

static void remove_folder(void)
{
	unlink(path);
	rmdir(folder);
}

static void make_folder(void)
{
	if (*folder)
		return;
	snprintf(folder, sizeof(folder), "%s/fuzz_dump.XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm"); /* memory syncs at once */
	if (!mkdtemp(folder))
		fuzz_found("no folder");
	snprintf(path, sizeof(path), "%s/kv.data", folder);
	atexit(remove_folder);
}

/* As the program would have written it: word 1 is the length, 2 its checksum, 4 the page's own. */
static void make_right(uint8_t *file, size_t size)
{
	static const uint64_t magic = 0x316b76647466680a;
	uint64_t len = size - PAGE, word[WORDS] = { 0 };
	struct xxh64 range;

	memcpy(word, file, sizeof(word));
	word[0] = magic;
	if (word[1] % PAGE != 1) /* which is left wrong */
		word[1] = len;
	xxh64_init(&range);
	xxh64_update(&range, file + PAGE, len);
	word[2] = xxh64_digest(&range);
	word[4] = 0;
	memcpy(file, word, sizeof(word));
	word[4] = xxh64(file, PAGE);
	memcpy(file, word, sizeof(word));
}

static void write_file(const uint8_t *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		fuzz_found("%s: %s", path, strerror(errno));
	close(fd);
}

static void load(void)
{
	struct dump_result r;

	memset(memory, 0, sizeof(memory));
	dump_load(path, memory, sizeof(memory), &r);
	if (r.err && (r.err > 0 || !r.what[0]))
		fuzz_found("error %d: '%s'", r.err, r.what);
	if (!r.err && (!r.bytes || r.bytes > MEMORY))
		fuzz_found("%llu bytes are loaded", (unsigned long long)r.bytes);
	if (!r.err)
		heap_adopt((struct heap *)memory, r.bytes, MEMORY);
}

static int read_copy(void *arg, size_t offset, void *buf, size_t len)
{
	(void)arg;
	memcpy(buf, copy + offset, len);
	return 0;
}

static void save_and_load(const uint8_t *data, size_t size)
{
	struct dump_source source = { read_copy, NULL, size < MEMORY ? size : MEMORY };
	atomic_bool cancel = false;
	struct dump_result r;
	size_t padded;

	memset(copy, 0, sizeof(copy));
	memcpy(copy, data, source.len);
	dump_write(path, &source, 0, &cancel, &r);
	if (r.err)
		fuzz_found("saving: %s: %s", r.what, strerror(-r.err));
	memset(memory, 1, sizeof(memory));
	dump_load(path, memory, sizeof(memory), &r);
	padded = (source.len + PAGE - 1) & ~(PAGE - 1);
	if (r.err || r.bytes != source.len || memcmp(memory, copy, padded))
		fuzz_found("what was saved, and zeros to whole pages, does not load: %s", r.what);
}

/* The range: `len` bytes of the pattern. */
static void fill(uint8_t *to, size_t len, const uint8_t *pattern, size_t pattern_len)
{
	for (size_t at = 0; pattern_len && at < len; at += pattern_len)
		memcpy(to + at, pattern, pattern_len < len - at ? pattern_len : len - at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t file[2 * PAGE + PAGES_MAX * PAGE];
	const size_t head = 3 + WORDS * sizeof(uint64_t);
	size_t len;

	make_folder();
	if (size < head)
		return 0;
	len = (size_t)((long)(PAGE + data[1] % (PAGES_MAX + 1) * PAGE) + (int8_t)data[2]);
	memset(file, 0, sizeof(file));
	memcpy(file, data + 3, head - 3);
	fill(file + PAGE, len > PAGE ? len - PAGE : 0, data + head, size - head);
	if (data[0] & SAVE) {
		save_and_load(file + PAGE, len > PAGE ? len - PAGE : 1);
		return 0;
	}
	if (data[0] & RIGHT_HEADER && len > PAGE && len % PAGE == 0)
		make_right(file, len);
	write_file(file, len);
	load();
	return 0;
}
