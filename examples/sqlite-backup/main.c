/* SPDX-License-Identifier: MIT */
/*
 * A hot backup of a database that knows nothing of it: SQLite in a bracketed space, threads that
 * move money between accounts, and snapshots that are taken whenever it pleases, without a lock.
 * Each is written to files, opened by SQLite as after a power cut, and checked.
 */
#include "../common/arguments.h"
#include "vfs.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <holdfast/holdfast.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ACCOUNTS 2000
#define EACH 1000 /* in an account, at first */
#define WRITERS 2
#define CHUNK (1UL << 20)

static const char usage[] =
	"Usage: sqlite-backup [OPTION]...\n"
	"SQLite's files in a native space, two threads that write, and snapshots meanwhile: each\n"
	"becomes files, which are opened and checked.\n"
	"\n"
	"  --snapshots N  default 100\n"
	"  --size BYTES   of the space, default 64M\n"
	"  --dir DIR      for the files, default /tmp\n"
	"  --keep         the last backup's files stay\n"
	"  --help, --version\n";

const char *program = "sqlite-backup";

static unsigned long nr_snapshots = 100;
static size_t size = 64UL << 20;
static const char *folder = "/tmp";
static bool keep;

static struct hf_native *space;
static atomic_bool stop;
static atomic_ulong transfers;

/* ---- writers ---- */

static bool run(sqlite3 *db, const char *sql)
{
	char *message = NULL;

	if (!sqlite3_exec(db, sql, NULL, NULL, &message))
		return true;
	fprintf(stderr, "sqlite-backup: %s: %s\n", sql, message);
	sqlite3_free(message);
	return false;
}

static sqlite3 *open_live(void)
{
	sqlite3 *db = NULL;

	if (sqlite3_open_v2("bank", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, VFS_NAME)) {
		fprintf(stderr, "sqlite-backup: %s\n", sqlite3_errmsg(db));
		return NULL;
	}
	sqlite3_busy_timeout(db, 60000);
	/* a small cache: changes are in the file before they are committed */
	return run(db, "PRAGMA journal_mode = DELETE; PRAGMA cache_size = 8") ? db : NULL;
}

static bool fill(void)
{
	sqlite3 *db = open_live();
	char sql[256];
	bool good;

	snprintf(sql, sizeof(sql),
		 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
		 "INSERT INTO account SELECT i, %d, randomblob(200) FROM n",
		 ACCOUNTS, EACH);
	good = db && run(db, "CREATE TABLE account (id INTEGER PRIMARY KEY, money, memo)") &&
	       run(db, sql);
	sqlite3_close(db);
	return good;
}

static bool transfer(sqlite3 *db, unsigned *seed)
{
	char sql[512];
	int from = rand_r(seed) % ACCOUNTS + 1, to = rand_r(seed) % ACCOUNTS + 1,
	    sum = rand_r(seed) % 100;

	snprintf(sql, sizeof(sql),
		 "BEGIN IMMEDIATE;"
		 "UPDATE account SET money = money - %d, memo = randomblob(300) WHERE id = %d;"
		 "UPDATE account SET memo = randomblob(200) WHERE id %% 97 = %d;"
		 "UPDATE account SET money = money + %d WHERE id = %d;"
		 "COMMIT",
		 sum, from, sum % 97, sum, to);
	return run(db, sql);
}

static void *write_all(void *arg)
{
	sqlite3 *db = open_live();
	unsigned seed = (unsigned)(uintptr_t)arg;

	while (db && !atomic_load(&stop) && transfer(db, &seed))
		atomic_fetch_add(&transfers, 1);
	sqlite3_close(db);
	return (void *)(uintptr_t)!atomic_load(&stop); /* it failed */
}

/* ---- a backup ---- */

static int write_file(const struct hf_native_snapshot *snapshot, int number, uint64_t len,
		      const char *path)
{
	static char buf[CHUNK];
	size_t start = vfs_start(size, number);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), err = 0;

	for (uint64_t at = 0; fd >= 0 && at < len && !err; at += CHUNK) {
		size_t n = len - at < CHUNK ? len - at : CHUNK;

		err = hf_native_read(snapshot, start + at, buf, n);
		if (!err && write(fd, buf, n) != (ssize_t)n)
			err = -EIO;
	}
	if (fd < 0 || close(fd))
		err = err ? err : -errno;
	return err;
}

static void path_of(const char *name, char *path, size_t len)
{
	snprintf(path, len, "%s/sqlite-backup-%d-%s", folder, (int)getpid(), name);
}

/* Files of the snapshot; what a snapshot before had, and this has not, goes. */
static int write_files(const struct hf_native_snapshot *snapshot)
{
	static const char *const names[] = { "bank", "bank-journal" };
	struct vfs_head head;
	int err = hf_native_read(snapshot, 0, &head, sizeof(head));

	for (int i = 0; i < 2 && !err; i++) {
		char path[512];

		path_of(names[i], path, sizeof(path));
		unlink(path);
		for (int n = 0; n < VFS_FILES && !err; n++)
			if (!strcmp(head.file[n].name, names[i]))
				err = write_file(snapshot, n, head.file[n].size, path);
	}
	return err;
}

/* One row of one column is what is wanted. */
static bool says(sqlite3 *db, const char *sql, const char *want)
{
	sqlite3_stmt *s = NULL;
	bool good = !sqlite3_prepare_v2(db, sql, -1, &s, NULL) && sqlite3_step(s) == SQLITE_ROW &&
		    !strcmp((const char *)sqlite3_column_text(s, 0), want);

	if (!good)
		fprintf(stderr, "sqlite-backup: %s: '%s', want '%s'\n", sql,
			s && sqlite3_column_text(s, 0) ? (const char *)sqlite3_column_text(s, 0)
						       : sqlite3_errmsg(db),
			want);
	sqlite3_finalize(s);
	return good;
}

static bool is_whole(void)
{
	char path[512], sum[32];
	sqlite3 *db = NULL;
	bool good;

	path_of("bank", path, sizeof(path));
	snprintf(sum, sizeof(sum), "%d", ACCOUNTS * EACH);
	good = !sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) &&
	       says(db, "SELECT sum(money) FROM account", sum) &&
	       says(db, "PRAGMA integrity_check", "ok");
	sqlite3_close(db);
	return good;
}

static void remove_files(void)
{
	char path[512];

	path_of("bank", path, sizeof(path));
	unlink(path);
	path_of("bank-journal", path, sizeof(path));
	unlink(path);
}

/* With a journal: one was taken in the middle of a transaction. */
struct tally {
	unsigned long whole, torn, with_journal;
	uint64_t longest_ns;
};

static int back_up(struct tally *tally)
{
	struct hf_native_snapshot *snapshot;
	struct hf_native_stats stats;
	char journal[512];
	int err = hf_native_snapshot(space, &snapshot);

	if (err)
		return err;
	hf_native_stats(space, &stats);
	if (stats.last_snapshot_ns > tally->longest_ns)
		tally->longest_ns = stats.last_snapshot_ns;
	err = write_files(snapshot);
	hf_native_drop(snapshot);
	if (err)
		return err;
	path_of("bank-journal", journal, sizeof(journal));
	tally->with_journal += !access(journal, F_OK);
	if (is_whole())
		tally->whole++;
	else
		tally->torn++;
	return 0;
}

/* ---- the program ---- */

static int take_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "snapshots", required_argument, NULL, 's' },
		{ "size", required_argument, NULL, 'z' },
		{ "dir", required_argument, NULL, 'd' },
		{ "keep", no_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		bool good = option != '?';

		if (option == 'h' || option == 'V') {
			fputs(option == 'h' ? usage : "sqlite-backup " HF_VERSION "\n", stdout);
			return 0;
		}
		if (option == 's')
			good = take_number("--snapshots", optarg, 1, 1000000, &nr_snapshots);
		if (option == 'z')
			good = take_size("--size", optarg, 4UL << 20, &size);
		if (option == 'd')
			folder = optarg;
		keep |= option == 'k';
		if (!good)
			return 2;
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "sqlite-backup: unexpected argument '%s'\n", argv[optind]);
	return 2;
}

static bool set_up(void)
{
	struct hf_native_config config = { .size = size, .flags = HF_NATIVE_BRACKETED };
	int err = hf_native_create(&config, &space);

	if (err) {
		say_no_space(&config, err);
		return false;
	}
	size = hf_native_size(space);
	return !vfs_register(space) && fill();
}

int main(int argc, char **argv)
{
	int status = take_options(argc, argv), err = 0;
	struct tally tally = { 0 };
	pthread_t writers[WRITERS];
	void *failed = NULL, *one;

	if (status >= 0)
		return status;
	if (!set_up())
		return 1;
	for (uintptr_t i = 0; i < WRITERS; i++)
		if (pthread_create(&writers[i], NULL, write_all, (void *)(i + 1)))
			return 1;
	for (unsigned long i = 0; i < nr_snapshots && !err; i++)
		err = back_up(&tally);
	atomic_store(&stop, true);
	for (int i = 0; i < WRITERS; i++) {
		pthread_join(writers[i], &one);
		failed = failed ? failed : one;
	}
	if (err)
		fprintf(stderr, "sqlite-backup: %s: %s\n", folder, strerror(-err));
	if (!keep)
		remove_files();
	printf("snapshots: %lu whole, %lu torn, %lu in the middle of a transaction\n", tally.whole,
	       tally.torn, tally.with_journal);
	printf("transactions meanwhile: %lu; longest snapshot: %.1f us\n", transfers,
	       (double)tally.longest_ns / 1000);
	hf_native_destroy(space);
	return err || failed || tally.torn;
}
