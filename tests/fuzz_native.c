/* SPDX-License-Identifier: MIT */
/*
 * Native spaces: calls in any order, a record each, against plain copies; in both modes, with
 * frames that run out, and with allocations that fail (failing.c). In the end nothing is left: no
 * memory, no descriptor, no thread.
 */
#include "failing.h"
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <holdfast/native.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define RECORD 8
#define PAGE 4096UL
#define SIZE (8 * PAGE)
#define SPACES 4
#define SHOTS 5
#define PINS 5
#define MAY_FAIL 16 /* the last byte of a record: which allocation fails; above: none */

FUZZ_UNITS(RECORD)

struct space {
	struct hf_native *n; /* NULL: free */
	bool child;
	unsigned id;
	uint8_t live[SIZE];
};

struct shot {
	struct hf_native_snapshot *s; /* NULL: free */
	unsigned of, order;
	unsigned maps, pins;
	const uint8_t *view;
	uint8_t bytes[SIZE];
};

/* Of a space or, without write and with `shot`, of a snapshot. */
struct pin {
	struct space *space;
	struct shot *shot;
	size_t at, len;
	unsigned flags;
};

static struct world {
	struct space space[SPACES];
	struct shot shot[SHOTS];
	struct pin pin[PINS];
	bool signal, limited;
	bool lossy; /* an allocation has failed, or frames are limited */
	bool stuck; /* whatever a call asked for failed: so did undoing what it had protected */
	uint64_t lost;
	unsigned next_id, next_order;
	uint8_t value;
	int pipe[2];
} w;

/* One record, byte by byte. */
static const uint8_t *record;
static unsigned at_byte;
static bool fails, lasts; /* during this record's call */

static unsigned pick(unsigned below)
{
	return record[at_byte++ % (RECORD - 1)] % below;
}

static size_t pick_at(void)
{
	static const uint16_t in_page[] = { 0, 8, 2048, 4088, 4095, 512, 1, 4094 };

	return pick(SIZE / PAGE) * PAGE + in_page[pick(8)];
}

static size_t pick_len(size_t at)
{
	static const uint16_t lens[] = { 1, 8, 2, 64, 4096, 8192, 512, 20000 };
	size_t len = lens[pick(8)];

	return len < SIZE - at ? len : SIZE - at;
}

static uint8_t *base(const struct space *s)
{
	return hf_native_base(s->n);
}

static struct space *pick_space(void)
{
	unsigned first = pick(SPACES);

	for (unsigned i = 0; i < SPACES; i++)
		if (w.space[(first + i) % SPACES].n)
			return &w.space[(first + i) % SPACES];
	return NULL;
}

static struct shot *pick_shot(void)
{
	unsigned first = pick(SHOTS);

	for (unsigned i = 0; i < SHOTS; i++)
		if (w.shot[(first + i) % SHOTS].s)
			return &w.shot[(first + i) % SHOTS];
	return NULL;
}

static struct pin *pick_pin(bool taken)
{
	unsigned first = pick(PINS);

	for (unsigned i = 0; i < PINS; i++)
		if ((w.pin[(first + i) % PINS].len != 0) == taken)
			return &w.pin[(first + i) % PINS];
	return NULL;
}

/* ---- how calls come out ---- */

static void begin_failing(bool may_last)
{
	unsigned n = record[RECORD - 1];

	fails = n && n <= MAY_FAIL;
	lasts = may_last && n % 2;
	if (fails)
		failing_on((int)(n + 1) / 2, lasts);
}

static void end_failing(void)
{
	if (!fails)
		return;
	fails = failing_off();
	w.lossy |= fails;
	w.stuck |= fails && lasts;
}

/* True: done. Errors are what the header says, and come for a reason. */
static bool came_out(const char *call, int got)
{
	end_failing();
	if (got >= 0)
		return true;
	if (got == -ENODATA && w.lossy)
		return false;
	if ((got == -ENOMEM || got == -EAGAIN) && (fails || w.limited))
		return false;
	fuzz_found("%s: %s", call, strerror(-got));
}

static void must(const char *call, int got, int want)
{
	end_failing();
	if (got != want)
		fuzz_found("%s: %s, want %s", call, strerror(got < 0 ? -got : 0), strerror(-want));
}

static void same(const char *what, const uint8_t *seen, const uint8_t *want, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (seen[i] != want[i])
			fuzz_found("%s: byte %zu of %zu is 0x%02x, want 0x%02x", what, i, len,
				   seen[i], want[i]);
}

/* A child's pages may not have come yet, and what is lost must not be touched. */
static bool touchable(const struct space *s, size_t at, size_t len)
{
	return !s->child ||
	       came_out("prepare_read of a child", hf_native_prepare_read(base(s) + at, len));
}

/* ---- memory ---- */

static void op_store(void)
{
	struct space *s = pick_space();
	size_t at = pick_at(), len = pick_len(at);

	if (!s || !touchable(s, at, len))
		return;
	w.value++;
	begin_failing(false); /* a failure that lasts would be waited for */
	memset(base(s) + at, w.value, len);
	end_failing();
	memset(s->live + at, w.value, len);
}

static void op_load(void)
{
	struct space *s = pick_space();
	size_t at = pick_at(), len = pick_len(at);

	if (s && touchable(s, at, len))
		same("a load", base(s) + at, s->live + at, len);
}

static bool pinned_for_writing(const struct space *s, size_t at, size_t len)
{
	for (int i = 0; i < PINS; i++) {
		const struct pin *p = &w.pin[i];

		if (p->len && p->space == s && p->flags & HF_FOLL_WRITE && p->at <= at &&
		    at + len <= p->at + p->len)
			return true;
	}
	return false;
}

static void fill_pipe(size_t len)
{
	uint8_t bytes[SIZE];

	memset(bytes, w.value, len);
	if (write(w.pipe[1], bytes, len) != (ssize_t)len)
		fuzz_found("the pipe does not take %zu bytes", len);
}

/* A system call that writes: as it is, or, as signal mode wants it, between the two calls. */
static void op_kernel_writes(void)
{
	struct space *s = pick_space();
	size_t at = pick_at(), len = pick_len(at);
	bool prepared = pick(2) || w.signal;

	if (!s || !touchable(s, at, len))
		return;
	prepared &= w.stuck || !pinned_for_writing(s, at, len);
	if (prepared) {
		begin_failing(true);
		if (!came_out("prepare_write", hf_native_prepare_write(s->n, base(s) + at, len)))
			return;
	}
	w.value++;
	fill_pipe(len);
	if (read(w.pipe[0], base(s) + at, len) != (ssize_t)len)
		fuzz_found("a system call that writes %zu bytes at %zu: %s", len, at,
			   strerror(errno));
	memset(s->live + at, w.value, len);
	if (prepared)
		must("finish_write", hf_native_finish_write(s->n, base(s) + at, len), 0);
}

static void op_kernel_reads(void)
{
	struct space *s = pick_space();
	size_t at = pick_at(), len = pick_len(at);
	uint8_t bytes[SIZE];

	if (!s || !touchable(s, at, len))
		return;
	if (write(w.pipe[1], base(s) + at, len) != (ssize_t)len ||
	    read(w.pipe[0], bytes, len) != (ssize_t)len)
		fuzz_found("a system call that reads %zu bytes at %zu: %s", len, at,
			   strerror(errno));
	same("a system call", bytes, s->live + at, len);
}

/* ---- snapshots ---- */

static void op_snapshot(void)
{
	struct space *s = pick_space();
	struct shot *shot = NULL;

	for (int i = 0; i < SHOTS; i++)
		if (!w.shot[i].s)
			shot = &w.shot[i];
	if (!s || !shot)
		return;
	begin_failing(true);
	if (!came_out("snapshot", hf_native_snapshot(s->n, &shot->s))) {
		shot->s = NULL;
		return;
	}
	shot->of = s->id;
	shot->order = w.next_order++;
	memcpy(shot->bytes, s->live, SIZE);
}

static void op_read(void)
{
	struct shot *shot = pick_shot();
	size_t at = pick_at(), len = pick_len(at);
	uint8_t bytes[SIZE];

	if (!shot)
		return;
	begin_failing(true);
	if (came_out("read", hf_native_read(shot->s, at, bytes, len)))
		same("a snapshot", bytes, shot->bytes + at, len);
	must("read beyond the end", hf_native_read(shot->s, at, bytes, SIZE - at + 1), -EINVAL);
}

static void op_drop(void)
{
	struct shot *shot = pick_shot();

	if (!shot)
		return;
	begin_failing(true);
	must("drop", hf_native_drop(shot->s), shot->maps || shot->pins ? -EBUSY : 0);
	if (!shot->maps && !shot->pins)
		shot->s = NULL;
}

static void op_map(void)
{
	struct shot *shot = pick_shot();
	const void *view;

	if (!shot)
		return;
	begin_failing(true);
	if (!came_out("map", hf_native_map(shot->s, &view)))
		return;
	if (shot->maps && view != shot->view)
		fuzz_found("a second map is elsewhere");
	shot->view = view;
	shot->maps++;
}

static void op_unmap(void)
{
	struct shot *shot = pick_shot();

	if (!shot)
		return;
	must("unmap", hf_native_unmap(shot->s), shot->maps ? 0 : -EINVAL);
	shot->maps -= shot->maps > 0;
}

static void op_look(void)
{
	struct shot *shot = pick_shot();
	size_t at = pick_at(), len = pick_len(at);

	if (!shot || !shot->maps)
		return;
	begin_failing(true);
	if (came_out("prepare_read", hf_native_prepare_read(shot->view + at, len)))
		same("a map", shot->view + at, shot->bytes + at, len);
}

static int expected_diff(const struct shot *older, const struct shot *newer)
{
	if (older && older->of != newer->of)
		return -EXDEV;
	return older && older->order >= newer->order ? -EINVAL : 0;
}

/* Every byte that differs is in a run, runs come in order, and exact ones have no equal page. */
static void op_diff(void)
{
	struct shot *newer = pick_shot(), *older = pick(3) ? pick_shot() : NULL;
	unsigned flags = pick(2) ? HF_NATIVE_EXACT : 0;
	static const uint8_t zeros[SIZE];
	struct hf_native_run run = { 0, 0 };
	const uint8_t *from = older ? older->bytes : zeros;
	size_t at = 0;
	int got;

	if (!newer)
		return;
	if (expected_diff(older, newer)) {
		must("diff", hf_native_diff(older->s, newer->s, flags, &run),
		     expected_diff(older, newer));
		return;
	}
	begin_failing(true);
	while ((got = hf_native_diff(older ? older->s : NULL, newer->s, flags, &run)) > 0) {
		if (run.offset < at || !run.len || run.offset + run.len > SIZE)
			fuzz_found("a run at %zu of %zu bytes, behind %zu", run.offset, run.len,
				   at);
		same("between runs", newer->bytes + at, from + at, run.offset - at);
		for (at = run.offset; flags && at < run.offset + run.len; at += PAGE)
			if (!memcmp(newer->bytes + at, from + at, PAGE))
				fuzz_found("page %zu of an exact run is equal", at / PAGE);
		at = run.offset + run.len;
	}
	if (came_out("diff", got))
		same("behind the last run", newer->bytes + at, from + at, SIZE - at);
}

/* ---- spaces ---- */

static void op_fork(void)
{
	struct space *s = pick_space(), *c = NULL;

	for (int i = 0; i < SPACES; i++)
		if (!w.space[i].n)
			c = &w.space[i];
	if (!s || !c)
		return;
	if (hf_native_memfd(s->n) >= 0) {
		must("fork of shared memory", hf_native_fork(s->n, &c->n), -EOPNOTSUPP);
		c->n = NULL;
		return;
	}
	begin_failing(true);
	if (!came_out("fork", hf_native_fork(s->n, &c->n))) {
		c->n = NULL;
		return;
	}
	c->child = true;
	c->id = w.next_id++;
	memcpy(c->live, s->live, SIZE);
}

static bool is_pinned(const struct space *s)
{
	for (int i = 0; i < PINS; i++)
		if (w.pin[i].len && w.pin[i].space == s)
			return true;
	return false;
}

static void note_losses(const struct space *s)
{
	struct hf_native_stats stats;

	hf_native_stats(s->n, &stats);
	if (stats.lost && !w.lossy)
		fuzz_found("%llu units are lost for no reason", (unsigned long long)stats.lost);
}

static void op_destroy(void)
{
	struct space *s = pick_space();

	if (!s)
		return;
	note_losses(s);
	begin_failing(true);
	must("destroy", hf_native_destroy(s->n), is_pinned(s) ? -EBUSY : 0);
	if (!is_pinned(s))
		s->n = NULL;
}

static void op_trim(void)
{
	struct space *s = pick_space();

	if (!s)
		return;
	begin_failing(true);
	came_out("trim", hf_native_trim(s->n));
}

/* ---- pins ---- */

static void op_pin(void)
{
	struct space *s = pick_space();
	struct pin *p = pick_pin(false);
	size_t at = pick_at(), len = pick_len(at);
	unsigned flags = pick(4);
	struct iovec iov;

	if (!s || !p)
		return;
	flags = (flags & 1 ? HF_FOLL_WRITE : 0) | (flags & 2 ? HF_FOLL_LONGTERM : 0);
	begin_failing(true);
	if (!came_out("pin", hf_native_pin(s->n, base(s) + at, len, flags, &iov, 1)))
		return;
	if (iov.iov_base != base(s) + at || iov.iov_len != len)
		fuzz_found("a pin of %zu bytes is of %zu", len, iov.iov_len);
	same("pinned memory", iov.iov_base, s->live + at, len);
	*p = (struct pin){ .space = s, .at = at, .len = len, .flags = flags };
}

static void op_pin_snapshot(void)
{
	struct shot *shot = pick_shot();
	struct pin *p = pick_pin(false);
	size_t at = pick_at(), len = pick_len(at), sum = 0;
	struct iovec iov[SIZE / PAGE];
	int nr, room = 1 + (int)pick(SIZE / PAGE);

	if (!shot || !p)
		return;
	begin_failing(true);
	nr = hf_native_pin_snapshot(shot->s, at, len, iov, room);
	if (!came_out("pin of a snapshot", nr))
		return;
	for (int i = 0; i < nr; sum += iov[i++].iov_len)
		same("a pinned snapshot", iov[i].iov_base, shot->bytes + at + sum, iov[i].iov_len);
	if (!nr || sum > len || (sum < len && nr < room && !w.lossy))
		fuzz_found("%zu bytes of a snapshot's %zu are pinned, %d of %d iovecs", sum, len,
			   nr, room);
	*p = (struct pin){ .shot = shot, .at = at, .len = sum };
	shot->pins++;
}

static void unpin(struct pin *p)
{
	if (p->shot) {
		must("unpin of a snapshot", hf_native_unpin_snapshot(p->shot->s, p->at, p->len), 0);
		p->shot->pins--;
	} else {
		must("unpin",
		     hf_native_unpin(p->space->n, base(p->space) + p->at, p->len, p->flags), 0);
	}
	p->len = 0;
}

static void op_unpin(void)
{
	struct pin *p = pick_pin(true);

	if (!p)
		return;
	begin_failing(true);
	unpin(p);
}

/* Of what is not pinned at all. */
static void op_unpin_nothing(void)
{
	struct space *s = pick_space();
	size_t at = pick_at(), len = pick_len(at);

	if (s && !is_pinned(s))
		must("unpin of nothing",
		     hf_native_unpin(s->n, base(s) + at, len, pick(2) ? HF_FOLL_WRITE : 0),
		     -EINVAL);
}

/* ---- everything ---- */

static void check_all(void)
{
	uint8_t bytes[SIZE];

	for (int i = 0; i < SPACES; i++)
		for (size_t at = 0; w.space[i].n && at < SIZE; at += PAGE)
			if (touchable(&w.space[i], at, PAGE))
				same("a space", base(&w.space[i]) + at, w.space[i].live + at, PAGE);
	for (int i = 0; i < SHOTS; i++)
		for (size_t at = 0; w.shot[i].s && at < SIZE; at += PAGE)
			if (came_out("read", hf_native_read(w.shot[i].s, at, bytes, PAGE)))
				same("a snapshot", bytes, w.shot[i].bytes + at, PAGE);
}

static void take_down(void)
{
	for (int i = 0; i < PINS; i++)
		if (w.pin[i].len)
			unpin(&w.pin[i]);
	for (int i = 0; i < SHOTS; i++) {
		for (; w.shot[i].maps; w.shot[i].maps--)
			must("unmap", hf_native_unmap(w.shot[i].s), 0);
		if (w.shot[i].s)
			must("drop", hf_native_drop(w.shot[i].s), 0);
	}
	for (int i = 0; i < SPACES; i++)
		if (w.space[i].n) {
			note_losses(&w.space[i]);
			must("destroy", hf_native_destroy(w.space[i].n), 0);
		}
}

static int entries(const char *path)
{
	DIR *folder = opendir(path);
	int nr = 0;

	while (folder && readdir(folder))
		nr++;
	if (folder)
		closedir(folder);
	return nr;
}

/* Threads may be joined and not quite gone. */
static void nothing_left(long mapped, int files, int threads)
{
	if (failing_had().mapped != mapped)
		fuzz_found("%ld bytes are still mapped", failing_had().mapped - mapped);
	if (entries("/proc/self/fd") != files)
		fuzz_found("descriptors are left");
	for (int i = 0; entries("/proc/self/task") > threads; i++) {
		if (i == 5000)
			fuzz_found("threads are left");
		usleep(1000);
	}
}

/* The first record chooses how the space is made. */
static int make_space(const uint8_t *data)
{
	struct hf_native_config config = {
		.size = SIZE,
		.pages = HF_NATIVE_4K,
		.flags =
			(data[0] & 1 ? HF_NATIVE_SIGNAL : 0) | (data[0] & 6 ? 0 : HF_NATIVE_SHARED),
		.helpers = data[0] >> 3 & 1,
		.pool_limit = data[1] % 4 ? 0 : (1 + data[1] / 4 % 8) * PAGE,
	};
	int err;

	memset(&w, 0, sizeof(w));
	w.next_id = 1;
	w.signal = config.flags & HF_NATIVE_SIGNAL;
	w.limited = w.lossy = config.pool_limit;
	record = data;
	begin_failing(true);
	err = hf_native_create(&config, &w.space[0].n);
	end_failing();
	if (err && !fails && (err == -EPERM || err == -ENOSYS)) {
		fprintf(stderr, "not here: hf_native_create(): %s\n", strerror(-err));
		exit(0);
	}
	if (err)
		w.space[0].n = NULL;
	return err;
}

static void run(const uint8_t *data, size_t size)
{
	static void (*const ops[])(void) = {
		op_store,         op_store,        op_store,    op_store,        op_load,
		op_kernel_writes, op_snapshot,     op_snapshot, op_read,         op_read,
		op_drop,          op_kernel_reads, op_map,      op_unmap,        op_look,
		op_fork,          op_diff,         op_destroy,  op_pin,          op_pin,
		op_unpin,         op_trim,         check_all,   op_pin_snapshot, op_unpin_nothing,
	};

	for (; size >= RECORD; data += RECORD, size -= RECORD) {
		record = data;
		at_byte = 0;
		fails = false;
		ops[pick(sizeof(ops) / sizeof(ops[0]))]();
	}
	check_all();
}

static void one(const uint8_t *data, size_t size)
{
	if (pipe(w.pipe))
		fuzz_found("no pipe");
	run(data, size);
	take_down();
	close(w.pipe[0]);
	close(w.pipe[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t first[2][RECORD] = { { 2 }, { 3 } };
	static bool warm; /* what is made once is there */
	long mapped;
	int files, threads;

	for (int i = 0; i < 2 && !warm; i++)
		if (!make_space(first[i]))
			hf_native_destroy(w.space[0].n);
	warm = true;
	if (size < 2 * RECORD)
		return 0;
	mapped = failing_had().mapped;
	files = entries("/proc/self/fd");
	threads = entries("/proc/self/task");
	if (!make_space(data))
		one(data + RECORD, size - RECORD);
	nothing_left(mapped, files, threads);
	return 0;
}
