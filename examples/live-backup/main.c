/* SPDX-License-Identifier: MIT */
#include "../common/arguments.h"
#include "backup.h"
#include "pool.h"

#include <errno.h>
#include <getopt.h>
#include <holdfast/holdfast.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WORKERS 2
#define PERIOD_MS 50 /* between snapshots */

static const char usage[] =
	"Usage: live-backup [OPTION]...\n"
	"A buffer pool that direct reads fill and threads store to, while snapshots of it are "
	"taken,\n"
	"verified, and backed up: one full backup, then what differs.\n"
	"\n"
	"  --size SIZE      of the data file, default 64M; the pool has a quarter of it\n"
	"  --seconds N      how long at least, default 3; it goes on until a block is verified\n"
	"  --pages KIND     auto (default), 4k, thp, thp-4k, hugetlb\n"
	"  --signal         faults are resolved in the thread that stores\n"
	"  --pin WHAT       pool (default): all frames are registered buffers; read: each frame "
	"is\n"
	"                   pinned while it is read to\n"
	"  --dir PATH       for the files, default .; its file system must take O_DIRECT\n"
	"  --help, --version\n"
	"\n"
	"The exit status is 1 when a block was torn or lost, or the backups differ from the last\n"
	"snapshot.\n";

const char *program = "live-backup";

struct options {
	struct hf_native_config config;
	size_t size;
	unsigned long seconds;
	const char *dir;
	bool pins_reads;
};

/* What the snapshots had. */
struct totals {
	uint64_t snapshots, verified, in_io, in_update;
};

/* ---- snapshots ---- */

/* A version is at least what was complete before the snapshot, and no block is older in a later
 * one: `oldest` has what it must have. */
static int verify_frame(struct pool *p, const struct hf_native_snapshot *s, size_t i,
			struct block *copy, uint64_t *oldest, struct totals *t)
{
	struct frame f;
	int err = hf_native_read(s, i * sizeof(f), &f, sizeof(f));

	if (err || f.state == FRAME_EMPTY)
		return err;
	if (f.latch || f.state == FRAME_READING) {
		*(f.latch ? &t->in_update : &t->in_io) += 1;
		return 0;
	}
	err = hf_native_read(s, p->frames_offset + i * BLOCK_BYTES, copy, BLOCK_BYTES);
	if (err)
		return err;
	if (!block_whole(copy, f.block))
		p->torn++;
	else if (copy->version < oldest[f.block])
		p->lost++;
	else
		oldest[f.block] = copy->version;
	t->verified++;
	return 0;
}

static int verify(struct pool *p, const struct hf_native_snapshot *s, uint64_t *oldest,
		  struct totals *t)
{
	struct block *copy = aligned_alloc(4096, BLOCK_BYTES);
	int err = copy ? 0 : -ENOMEM;

	for (size_t i = 0; i < p->nr_frames && !err; i++)
		err = verify_frame(p, s, i, copy, oldest, t);
	free(copy);
	t->snapshots++;
	return err;
}

/* Takes the next snapshot of the chain; *last becomes it. */
static int step(struct pool *p, struct backup *b, struct hf_native_snapshot **last,
		uint64_t *oldest, struct totals *t)
{
	struct hf_native_snapshot *s;
	int err;

	for (size_t i = 0; i < p->nr_blocks; i++)
		oldest[i] = atomic_load(&p->latest[i]);
	err = hf_native_snapshot(p->space, &s);
	if (err)
		return err;
	err = verify(p, s, oldest, t);
	if (!err)
		err = backup_add(b, *last, s);
	if (*last)
		hf_native_drop(*last);
	*last = s;
	return err;
}

static int take_snapshots(struct pool *p, struct backup *b, const struct options *o,
			  struct totals *t)
{
	uint64_t *oldest = calloc(p->nr_blocks, sizeof(*oldest));
	time_t end = time(NULL) + (time_t)o->seconds;
	struct hf_native_snapshot *last = NULL;
	int err = oldest ? 0 : -ENOMEM;

	while (!err && !atomic_load(&p->stop) && (time(NULL) < end || !t->verified)) {
		nanosleep(&(struct timespec){ .tv_nsec = PERIOD_MS * 1000000L }, NULL);
		err = step(p, b, &last, oldest, t);
	}
	if (!err && last)
		err = backup_compare(b, last, hf_native_size(p->space));
	if (last)
		hf_native_drop(last);
	free(oldest);
	return err;
}

/* ---- all together ---- */

static int run(struct pool *p, struct backup *b, const struct options *o, struct totals *t)
{
	pthread_t threads[1 + WORKERS];
	int started = 0, err = 0;

	for (; started < 1 + WORKERS && !err; started += !err)
		err = -pthread_create(&threads[started], NULL, started ? pool_work : pool_io, p);
	if (!err)
		err = take_snapshots(p, b, o, t);
	atomic_store(&p->stop, true);
	while (started--)
		pthread_join(threads[started], NULL);
	if (p->err)
		return p->err;
	return err ? err : pool_check_file(p);
}

static void report(const struct pool *p, const struct backup *b, const struct totals *t)
{
	struct hf_native_stats stats;

	hf_native_stats(p->space, &stats);
	printf("blocks read: %llu\nblocks written: %llu\nblocks updated: %llu\n",
	       (unsigned long long)p->reads, (unsigned long long)p->writes,
	       (unsigned long long)p->updates);
	printf("snapshots: %llu\nblocks verified: %llu\n", (unsigned long long)t->snapshots,
	       (unsigned long long)t->verified);
	printf("not verified: %llu in I/O, %llu in an update\n", (unsigned long long)t->in_io,
	       (unsigned long long)t->in_update);
	printf("backup: %llu bytes full, %llu incremental\n", (unsigned long long)b->full_bytes,
	       (unsigned long long)b->incremental_bytes);
	printf("units copied: %llu, %llu of them at the instant\n",
	       (unsigned long long)stats.copied, (unsigned long long)stats.copied_eager);
	printf("torn: %llu\nlost: %llu\n", (unsigned long long)p->torn,
	       (unsigned long long)p->lost);
}

static int misused(void)
{
	fputs("Try 'live-backup --help'.\n", stderr);
	return 2;
}

static bool take(int option, const char *text, struct options *o)
{
	switch (option) {
	case 's':
		return take_size("--size", text, 4UL << 20, &o->size);
	case 't':
		return take_number("--seconds", text, 1, 1000000, &o->seconds);
	case 'k':
		return take_pages("--pages", text, &o->config.pages);
	case 'S':
		o->config.flags |= HF_NATIVE_SIGNAL;
		return true;
	case 'd':
		o->dir = text;
		return true;
	case 'p':
		o->pins_reads = !strcmp(text, "read");
		if (o->pins_reads || !strcmp(text, "pool"))
			return true;
		fprintf(stderr, "live-backup: --pin '%s': expected pool or read\n", text);
		return false;
	}
	return false;
}

/* -1: go on; else the exit status. */
static int take_all(int argc, char **argv, struct options *o)
{
	static const struct option long_options[] = {
		{ "size", required_argument, NULL, 's' },
		{ "seconds", required_argument, NULL, 't' },
		{ "pages", required_argument, NULL, 'k' },
		{ "signal", no_argument, NULL, 'S' },
		{ "pin", required_argument, NULL, 'p' },
		{ "dir", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == 'h' || option == 'V') {
			fputs(option == 'h' ? usage : "live-backup " HF_VERSION "\n", stdout);
			return 0;
		}
		if (!take(option, optarg, o))
			return misused();
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "live-backup: unexpected argument '%s'\n", argv[optind]);
	return misused();
}

static void say_not_opened(const struct pool *p, const struct options *o, int err)
{
	if (p->file >= 0)
		say_no_space(&o->config, err);
	else
		fprintf(stderr, "live-backup: --dir %s: %s%s\n", o->dir, strerror(-err),
			err == -EINVAL ? ": no O_DIRECT there; take a folder on a disk" : "");
}

int main(int argc, char **argv)
{
	struct options o = { .size = 64UL << 20, .seconds = 3, .dir = "." };
	struct totals totals = { 0 };
	struct pool pool = { 0 };
	struct backup backup = { 0 };
	int status = take_all(argc, argv, &o), err;

	if (status >= 0)
		return status;
	pool.pins_reads = o.pins_reads;
	err = pool_open(&pool, &o.config, o.dir, o.size);
	if (err)
		say_not_opened(&pool, &o, err);
	if (!err) {
		err = backup_open(&backup, o.dir);
		if (!err)
			err = run(&pool, &backup, &o, &totals);
		report(&pool, &backup, &totals);
		if (err)
			fprintf(stderr, "live-backup: %s%s%s\n", pool.what ? pool.what : "",
				pool.what ? ": " : "",
				err == -EBADMSG ? "the backups differ from the last snapshot"
						: strerror(-err));
	}
	backup_close(&backup);
	pool_close(&pool);
	return err || pool.torn || pool.lost;
}
