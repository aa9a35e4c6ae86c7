/* SPDX-License-Identifier: MIT */
/*
 * Each allocation of each call fails, in turn: memory, descriptors, threads, what userfaultfd is
 * asked for. The call says so or does without, nothing is lost, nothing leaks, nothing hangs, and
 * when it is over all works. With `lasting` everything behind fails, too.
 */
#include <holdfast/native_uring.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#include "failing.h"
#include "native_child.h"

#define UNITS 7
#define STEP (getenv("HF_QUICK") ? 4 : 1) /* machines without hardware do less */
#define SECONDS 60                        /* for all of a way */

/* Units of the space, by what has happened to them. */
enum unit {
	OFTEN,     /* written before each snapshot and after */
	ONCE,      /* only before the first: both snapshots share it */
	LATE,      /* only after the last */
	WRITE_PIN, /* as OFTEN, and pinned */
	READ_PIN,  /* as ONCE, and pinned */
	NEVER,
	IN_CHILD, /* as ONCE, and then by the child */
};

struct world {
	const struct way *way;
	struct hf_native *space, *child, *other;
	struct hf_native_snapshot *a, *b, *made;
	const void *view;
	size_t unit;
	uint64_t live[UNITS], in_a[UNITS], in_b[UNITS], in_child[UNITS];
	uint64_t next; /* value: none is written twice */
	struct io_uring *ring;
	struct hf_native_buffers buffers;
	int pipe[2];
	bool may_lose;
};

/* What is going on, for who finds this process hanging. */
struct doing {
	char call[32];
	int n;
	bool lasting;
};

static struct doing *doing;

static uint64_t *at(const struct world *w, enum unit unit)
{
	return word(w->space, unit * w->unit);
}

static void store(struct world *w, enum unit unit)
{
	w->live[unit] = ++w->next;
	*at(w, unit) = w->live[unit];
}

/* What is copied 2 MiB at a time takes long: some units do for all. */
static bool spared(const struct world *w, enum unit unit)
{
	return w->unit > PAGE && unit != ONCE && unit != WRITE_PIN && unit != IN_CHILD;
}

/* ---- the world, and whether it is as it was ---- */

static int populate_world(struct world *w)
{
	struct iovec iov;

	for (int u = 0; u < UNITS; u++)
		if (u != LATE && u != NEVER)
			store(w, u);
	NEED(hf_native_pin(w->space, at(w, WRITE_PIN), 8, HF_FOLL_WRITE, &iov, 1) == 1);
	NEED(hf_native_pin(w->space, at(w, READ_PIN), 8, 0, &iov, 1) == 1);
	memcpy(w->in_a, w->live, sizeof(w->live));
	NEED(!hf_native_snapshot(w->space, &w->a));
	store(w, OFTEN);
	store(w, WRITE_PIN);
	memcpy(w->in_b, w->live, sizeof(w->live));
	NEED(!hf_native_snapshot(w->space, &w->b));
	store(w, OFTEN);
	store(w, WRITE_PIN);
	store(w, LATE);
	return 0;
}

static int make_world(struct world *w, const struct way *way, struct io_uring *ring)
{
	memset(w, 0, sizeof(*w));
	w->way = way;
	w->ring = ring;
	NEED(!pipe(w->pipe));
	NEED(!create(way, UNITS, &w->space));
	w->unit = hf_native_unit(w->space);
	if (populate_world(w))
		return 1;
	NEED(!hf_native_map(w->a, &w->view));
	if (hf_native_memfd(w->space) >= 0)
		return 0;
	memcpy(w->in_child, w->live, sizeof(w->live));
	NEED(!hf_native_fork(w->space, &w->child));
	w->in_child[IN_CHILD] = ++w->next;
	*word(w->child, IN_CHILD * w->unit) = w->in_child[IN_CHILD];
	store(w, OFTEN);
	return 0;
}

static int end_world(struct world *w)
{
	NEED(!hf_native_unmap(w->a));
	NEED(!w->child || !hf_native_destroy(w->child));
	NEED(!hf_native_drop(w->a));
	NEED(!w->b || !hf_native_drop(w->b));
	NEED(!hf_native_unpin(w->space, at(w, WRITE_PIN), 8, HF_FOLL_WRITE));
	NEED(hf_native_unpin(w->space, at(w, WRITE_PIN), 8, HF_FOLL_WRITE) == -EINVAL);
	NEED(!hf_native_unpin(w->space, at(w, READ_PIN), 8, 0));
	NEED(hf_native_unpin(w->space, at(w, READ_PIN), 8, 0) == -EINVAL);
	NEED(!hf_native_destroy(w->space));
	close(w->pipe[0]);
	close(w->pipe[1]);
	return 0;
}

/* Losses are told, and only where something has been written. */
static int lost(const struct world *w, int err)
{
	struct hf_native_stats stats;

	hf_native_stats(w->space, &stats);
	NEED(err == -ENODATA && stats.lost && w->may_lose);
	return 0;
}

static int check_snapshot(const struct world *w, const struct hf_native_snapshot *s,
			  const uint64_t *want)
{
	for (int u = 0; u < UNITS; u++) {
		uint64_t value = 0;
		int err = hf_native_read(s, u * w->unit, &value, sizeof(value));

		if (err) {
			if (lost(w, err))
				return 1;
			continue;
		}
		NEED(value == want[u]);
	}
	return 0;
}

/* A map's, or the child's: as the program reads them. */
static int check_memory(const struct world *w, const void *base, const uint64_t *want)
{
	for (int u = 0; u < UNITS; u++) {
		const uint64_t *p = (const uint64_t *)((const char *)base + u * w->unit);
		int err;

		if (spared(w, u))
			continue;
		err = hf_native_prepare_read(p, 8);
		if (err) {
			if (lost(w, err))
				return 1;
			continue;
		}
		NEED(*p == want[u]);
	}
	return 0;
}

static int check_bytes(const struct world *w)
{
	for (int u = 0; u < UNITS; u++)
		if (u != NEVER)
			NEED(*at(w, u) == w->live[u]);
	if (check_snapshot(w, w->a, w->in_a) || (w->b && check_snapshot(w, w->b, w->in_b)))
		return 1;
	if (check_memory(w, w->view, w->in_a))
		return 1;
	return w->child ? check_memory(w, hf_native_base(w->child), w->in_child) : 0;
}

/* A system call that writes to what is pinned for writing succeeds in each mode. */
static int check_pinned(struct world *w)
{
	w->live[WRITE_PIN] = ++w->next;
	NEED(write(w->pipe[1], &w->next, sizeof(w->next)) == sizeof(w->next));
	NEED(read(w->pipe[0], at(w, WRITE_PIN), sizeof(w->next)) == sizeof(w->next));
	return 0;
}

/* A snapshot of now, which stays what it is, whatever is written. */
static int check_next_snapshot(struct world *w, struct hf_native *space, uint64_t *live)
{
	struct hf_native_snapshot *s;
	uint64_t then[UNITS];
	int err;

	memcpy(then, live, sizeof(then));
	NEED(!hf_native_snapshot(space, &s));
	for (int u = 0; u < UNITS; u++) {
		if (u == NEVER || spared(w, u))
			continue;
		live[u] = ++w->next;
		*word(space, u * w->unit) = live[u];
	}
	err = check_snapshot(w, s, then);
	NEED(!hf_native_drop(s));
	return err;
}

static int check_world(struct world *w)
{
	if (check_bytes(w) || check_pinned(w) || check_next_snapshot(w, w->space, w->live))
		return 1;
	if (w->child && check_next_snapshot(w, w->child, w->in_child))
		return 1;
	return check_bytes(w);
}

/* ---- the calls ---- */

static int call_create(struct world *w)
{
	struct hf_native_config config = {
		.size = w->unit,
		.pages = w->way->pages,
		.flags = w->way->flags,
		.helpers = 2,
	};

	return hf_native_create(&config, &w->other);
}

/* A space of zeros, or a child of w->space. */
static int undo_other(struct world *w)
{
	if (!w->other)
		return 0;
	NEED(*word(w->other, 0) == (hf_native_size(w->other) > w->unit ? w->live[OFTEN] : 0));
	NEED(!hf_native_destroy(w->other));
	return 0;
}

static int call_probe(struct world *w)
{
	struct hf_native_support support;

	(void)w;
	return hf_native_probe(&support);
}

static int call_snapshot(struct world *w)
{
	return hf_native_snapshot(w->space, &w->made);
}

static int undo_snapshot(struct world *w)
{
	if (check_snapshot(w, w->made, w->live))
		return 1;
	NEED(!hf_native_drop(w->made));
	return 0;
}

static int call_fork(struct world *w)
{
	int err;

	w->other = NULL;
	err = hf_native_fork(w->space, &w->other);
	return err == -EOPNOTSUPP && !w->child ? 0 : err;
}

static int call_map(struct world *w)
{
	const void *view;

	return hf_native_map(w->b, &view);
}

static int undo_map(struct world *w)
{
	NEED(!hf_native_unmap(w->b));
	return 0;
}

static int call_read(struct world *w)
{
	uint64_t words[64];

	return hf_native_read(w->b, w->unit - 8, words, sizeof(words));
}

static int call_diff(struct world *w)
{
	struct hf_native_run run = { 0, 0 };
	int err, nr = 0;

	while ((err = hf_native_diff(w->a, w->b, HF_NATIVE_EXACT, &run)) > 0)
		nr++;
	return err ? err : nr == 2 ? 0 : -EIO;
}

/* Of all there is, what nobody has touched yet included. */
static int pin_all(struct world *w, struct hf_native *space, unsigned flags)
{
	struct iovec iov;

	return hf_native_pin(space, hf_native_base(space), UNITS * w->unit, flags, &iov, 1);
}

static int unpin_all(struct world *w, struct hf_native *space, unsigned flags)
{
	NEED(!hf_native_unpin(space, hf_native_base(space), UNITS * w->unit, flags));
	return 0;
}

static int call_pin_read(struct world *w)
{
	return pin_all(w, w->space, 0);
}

static int undo_pin_read(struct world *w)
{
	return unpin_all(w, w->space, 0);
}

static int call_pin_write(struct world *w)
{
	return pin_all(w, w->space, HF_FOLL_WRITE);
}

static int undo_pin_write(struct world *w)
{
	return unpin_all(w, w->space, HF_FOLL_WRITE);
}

static int call_pin_child(struct world *w)
{
	return w->child ? pin_all(w, w->child, HF_FOLL_WRITE) : 0;
}

static int undo_pin_child(struct world *w)
{
	return w->child ? unpin_all(w, w->child, HF_FOLL_WRITE) : 0;
}

static int call_unpin(struct world *w)
{
	int err = hf_native_unpin(w->space, at(w, WRITE_PIN), 8, HF_FOLL_WRITE);

	return err ? err : hf_native_unpin(w->space, at(w, READ_PIN), 8, 0);
}

static int undo_unpin(struct world *w)
{
	struct iovec iov;

	NEED(hf_native_pin(w->space, at(w, WRITE_PIN), 8, HF_FOLL_WRITE, &iov, 1) == 1);
	NEED(hf_native_pin(w->space, at(w, READ_PIN), 8, 0, &iov, 1) == 1);
	return 0;
}

static int call_pin_snapshot(struct world *w)
{
	struct iovec iov[UNITS];
	int nr = hf_native_pin_snapshot(w->b, 0, UNITS * w->unit, iov, UNITS);

	if (nr > 0 && nr < UNITS) { /* what came before the error */
		hf_native_unpin_snapshot(w->b, 0, (size_t)nr * w->unit);
		return -ENOMEM;
	}
	for (int u = 0; u < nr; u++)
		if (*(const uint64_t *)iov[u].iov_base != w->in_b[u])
			return -EIO;
	return nr;
}

static int undo_pin_snapshot(struct world *w)
{
	NEED(!hf_native_unpin_snapshot(w->b, 0, UNITS * w->unit));
	return 0;
}

static int call_prepare_write(struct world *w)
{
	return hf_native_prepare_write(w->space, hf_native_base(w->space), UNITS * w->unit);
}

static int undo_prepare_write(struct world *w)
{
	w->live[ONCE] = ++w->next;
	NEED(write(w->pipe[1], &w->next, sizeof(w->next)) == sizeof(w->next));
	NEED(read(w->pipe[0], at(w, ONCE), sizeof(w->next)) == sizeof(w->next));
	NEED(!hf_native_finish_write(w->space, hf_native_base(w->space), UNITS * w->unit));
	return 0;
}

static int call_prepare_read(struct world *w)
{
	int err = hf_native_prepare_read(w->view, UNITS * w->unit);

	if (!err && w->child)
		err = hf_native_prepare_read(hf_native_base(w->child), UNITS * w->unit);
	return err;
}

static int call_child_read(struct world *w)
{
	int err = w->child ? hf_native_prepare_read(word(w->child, ONCE * w->unit), 8) : 0;

	return !err && w->child ? hf_native_prepare_read(word(w->child, NEVER * w->unit), 8) : err;
}

/* The first pages of a unit are there, perhaps: a store to them is in the next snapshot. */
static int store_to_half(struct world *w)
{
	w->in_child[ONCE] = ++w->next;
	*word(w->child, ONCE * w->unit) = w->in_child[ONCE];
	w->in_child[NEVER] = ++w->next;
	*word(w->child, NEVER * w->unit) = w->in_child[NEVER];
	return check_next_snapshot(w, w->child, w->in_child);
}

static int call_register(struct world *w)
{
	return w->ring ? hf_native_register_buffers(w->ring, w->space, hf_native_base(w->space),
						    UNITS * w->unit, &w->buffers)
		       : 0;
}

static int undo_register(struct world *w)
{
	NEED(!w->ring || !hf_native_unregister_buffers(w->ring, &w->buffers));
	NEED(!w->ring || hf_native_unregister_buffers(w->ring, &w->buffers) == -EINVAL);
	return 0;
}

static int call_unregister(struct world *w)
{
	int err = call_register(w);

	if (err || !w->ring)
		return err;
	err = hf_native_unregister_buffers(w->ring, &w->buffers);
	if (!err)
		return 0;
	failing_off(); /* all is as before: for good now */
	return hf_native_unregister_buffers(w->ring, &w->buffers) ? -EIO : err;
}

static int call_store(struct world *w)
{
	store(w, ONCE);
	store(w, LATE);
	return 0;
}

static int call_child_store(struct world *w)
{
	if (!w->child)
		return 0;
	w->in_child[ONCE] = ++w->next;
	*word(w->child, ONCE * w->unit) = w->in_child[ONCE];
	return 0;
}

static int call_load(struct world *w)
{
	if (*(const volatile uint64_t *)((const char *)w->view + ONCE * w->unit) != w->in_a[ONCE])
		return -EIO;
	if (*(const volatile uint64_t *)((const char *)w->view + NEVER * w->unit) != 0)
		return -EIO;
	if (w->child && *(volatile uint64_t *)word(w->child, 0) != w->in_child[0])
		return -EIO;
	return 0;
}

static int call_trim(struct world *w)
{
	return hf_native_trim(w->space);
}

static int call_drop(struct world *w)
{
	int err = w->b ? hf_native_drop(w->b) : 0;

	if (!err)
		w->b = NULL;
	return err;
}

static int call_destroy(struct world *w)
{
	int err = w->child ? hf_native_destroy(w->child) : 0;

	if (!err)
		w->child = NULL;
	return err;
}

#define MAY_LOSE 1 /* it writes: frames that are not there are a snapshot's loss */
#define FAULTS 2   /* a failure that lasts would be waited for */

static const struct call {
	const char *name;
	int (*call)(struct world *w);
	int (*undo)(struct world *w);   /* after a success; may be NULL */
	int (*failed)(struct world *w); /* first of all after a failure; may be NULL */
	unsigned flags;
} calls[] = {
	{ "probe", call_probe, NULL, NULL, 0 },
	{ "create", call_create, undo_other, NULL, 0 },
	{ "snapshot", call_snapshot, undo_snapshot, NULL, MAY_LOSE },
	{ "fork", call_fork, undo_other, NULL, MAY_LOSE },
	{ "map", call_map, undo_map, NULL, 0 },
	{ "read", call_read, NULL, NULL, 0 },
	{ "diff", call_diff, NULL, NULL, 0 },
	{ "pin for reading", call_pin_read, undo_pin_read, NULL, MAY_LOSE },
	{ "pin for writing", call_pin_write, undo_pin_write, NULL, MAY_LOSE },
	{ "pin of a child", call_pin_child, undo_pin_child, NULL, MAY_LOSE },
	{ "unpin", call_unpin, undo_unpin, NULL, 0 },
	{ "pin of a snapshot", call_pin_snapshot, undo_pin_snapshot, NULL, 0 },
	{ "prepare_write", call_prepare_write, undo_prepare_write, NULL, MAY_LOSE },
	{ "prepare_read", call_prepare_read, NULL, NULL, 0 },
	{ "prepare_read of a child", call_child_read, NULL, store_to_half, 0 },
	{ "register", call_register, undo_register, NULL, MAY_LOSE },
	{ "unregister", call_unregister, NULL, NULL, MAY_LOSE },
	{ "store", call_store, NULL, NULL, MAY_LOSE | FAULTS },
	{ "store to a child", call_child_store, NULL, NULL, FAULTS },
	{ "load", call_load, NULL, NULL, FAULTS },
	{ "trim", call_trim, NULL, NULL, 0 },
	{ "drop", call_drop, NULL, NULL, 0 },
	{ "destroy", call_destroy, NULL, NULL, 0 },
};

#define NR_CALLS (sizeof(calls) / sizeof(calls[0]))

/* ---- one failure ---- */

static bool documented(int err)
{
	return err >= 0 || err == -ENOMEM || err == -EAGAIN || err == -EOPNOTSUPP;
}

static int threads(void)
{
	return entries_of("/proc/self/task");
}

/* What a process holds, and has to hold again. */
struct held {
	struct had had;
	int files, threads;
};

static struct held held_now(void)
{
	return (struct held){ failing_had(), open_files(), threads() };
}

static int same(struct held before)
{
	NEED(failing_had().mapped == before.had.mapped);
	NEED(failing_had().blocks == before.had.blocks);
	NEED(open_files() == before.files);
	for (int i = 0; i < 1000 && threads() > before.threads; i++)
		usleep(1000);              /* joined, but not quite gone */
	NEED(threads() <= before.threads); /* one of before may have gone now */
	return 0;
}

/* The n-th allocation fails: *failed, unless there are not so many. */
static int fail_once(const struct call *c, struct world *w, bool *failed)
{
	struct held before = held_now();
	int err;

	failing_on(doing->n, doing->lasting);
	err = c->call(w);
	*failed = failing_off();
	NEED(documented(err) && (*failed || err >= 0));
	if (err < 0) {
		NEED(open_files() == before.files);
		return c->failed ? c->failed(w) : 0;
	}
	return c->undo ? c->undo(w) : 0;
}

/* A call that fails, and fails again, and then does not. */
static int fail_and_recover(const struct call *c, struct world *w, bool *failed)
{
	bool again;
	long mapped;
	int err;

	w->may_lose = c->flags & MAY_LOSE;
	if (fail_once(c, w, failed))
		return 1;
	if (!*failed || c->flags & FAULTS)
		return check_world(w);
	if (check_bytes(w) || (!doing->lasting && check_world(w)))
		return 1;
	mapped = failing_had().mapped;
	if (fail_once(c, w, &again))
		return 1;
	NEED(failing_had().mapped <= mapped + (64L << 20)); /* frames */
	err = c->call(w);
	NEED(err >= 0);
	if (c->undo && c->undo(w))
		return 1;
	return w->unit > PAGE ? check_bytes(w) : check_world(w);
}

static int fail_each(const struct call *c, const struct way *way, struct io_uring *ring)
{
	bool failed = true;

	snprintf(doing->call, sizeof(doing->call), "%s", c->name);
	for (doing->n = 1; failed; doing->n += STEP) {
		struct held before = held_now();
		struct world w;

		if (make_world(&w, way, ring) || fail_and_recover(c, &w, &failed) ||
		    end_world(&w) || same(before))
			return 1;
	}
	return 0;
}

/* ---- all of them, in processes that are ended when they hang ---- */

static int lines_of(const char *path)
{
	FILE *file = fopen(path, "re");
	int nr = 0, c;

	while (file && (c = getc(file)) != EOF)
		nr += c == '\n';
	if (file)
		fclose(file);
	return nr;
}

static int each_call(const struct way *way)
{
	struct io_uring ring;
	bool has_ring = !io_uring_queue_init(4, &ring, 0);
	struct world w;
	int maps;

	if (make_world(&w, way, NULL) || call_create(&w) || undo_other(&w) || end_world(&w))
		return 1;
	maps = lines_of("/proc/self/maps");
	for (int lasting = 0; lasting < (way_unit(way) == PAGE ? 2 : 1); lasting++) {
		doing->lasting = lasting;
		for (size_t i = 0; i < NR_CALLS; i++)
			if (!(lasting && calls[i].flags & FAULTS) &&
			    fail_each(&calls[i], way, has_ring ? &ring : NULL))
				return 1;
	}
	/* they merge as they happen to lie */
	NEED(SANITIZED || lines_of("/proc/self/maps") <= maps + 4);
	if (has_ring)
		io_uring_queue_exit(&ring);
	return 0;
}

/* Where no frame can be had the writer goes on, and the snapshot says what it has lost; a pin of
 * the snapshot, which need not go on, leaves it its bytes. */
static int first_frames(const struct way *way)
{
	struct hf_native_snapshot *s;
	struct hf_native *space;
	struct iovec iov;
	uint64_t value;
	size_t unit;

	NEED(!create(way, 3, &space));
	unit = hf_native_unit(space);
	*word(space, 0) = 1;
	*word(space, unit) = 2;
	NEED(!hf_native_snapshot(space, &s));
	failing_on(1, true);
	NEED(hf_native_pin_snapshot(s, 0, unit, &iov, 1) == -ENOMEM);
	NEED(failing_off() && peek(s, 0) == 1);
	failing_on(1, false);
	*word(space, unit) = 3;
	NEED(failing_off() && hf_native_read(s, unit, &value, 8) == -ENODATA);
	NEED(*word(space, unit) == 3);
	NEED(hf_native_pin_snapshot(s, 0, 2 * unit, &iov, 1) == 1);
	*word(space, 0) = 4;
	NEED(*(uint64_t *)iov.iov_base == 1 && hf_native_drop(s) == -EBUSY);
	NEED(!hf_native_unpin_snapshot(s, 0, unit));
	NEED(!hf_native_drop(s) && !hf_native_destroy(space));
	return 0;
}

#define MANY_WORDS 400 /* of which three in four are protected, by the helpers, too */

static void store_runs(struct hf_native *space, uint64_t value)
{
	for (size_t at = 0; at < hf_native_size(space); at += PAGE)
		if (at / PAGE / 64 % 4)
			*word(space, at) = value;
}

static int with_helpers(const struct way *way)
{
	struct hf_native_config config = {
		.size = MANY_WORDS * 64 * PAGE,
		.pages = way->pages,
		.flags = way->flags,
		.helpers = 2,
	};
	struct hf_native_snapshot *s;
	struct hf_native *space;
	uint64_t value = 0;
	bool failed = true;

	NEED(!hf_native_create(&config, &space));
	for (doing->n = 1; failed; doing->n += 7) {
		int err;

		store_runs(space, ++value);
		failing_on(doing->n, doing->lasting);
		err = hf_native_snapshot(space, &s);
		failed = failing_off();
		NEED(err == (failed ? -ENOMEM : 0));
		if (err)
			NEED(!hf_native_snapshot(space, &s));
		store_runs(space, value + 1);
		for (size_t at = 64 * PAGE; at < config.size; at += 256 * PAGE)
			NEED(peek(s, at) == value);
		NEED(!hf_native_drop(s));
	}
	NEED(doing->n > 7 && !hf_native_destroy(space));
	return 0;
}

/* ---- now and then, while threads write ---- */

#define NR_WRITERS 2
#define EACH 7

struct writer {
	struct hf_native *space;
	size_t first, second; /* offsets, in different units: no instant has `second` ahead */
	_Atomic bool stop, lost;
	pthread_t thread;
};

static void *write_in_turn(void *arg)
{
	struct writer *w = arg;
	volatile uint64_t *first = word(w->space, w->first), *second = word(w->space, w->second);

	for (uint64_t i = 1; !w->stop; i++) {
		__atomic_store_n(first, i, __ATOMIC_RELEASE);
		__atomic_store_n(second, i, __ATOMIC_RELEASE);
		if (*first != i || *second != i)
			w->lost = true;
	}
	return NULL;
}

/* Of one instant, or told to be lost. */
static int check_instant(const struct writer *w, const struct hf_native_snapshot *s)
{
	uint64_t first, second;
	int err = hf_native_read(s, w->first, &first, sizeof(first));

	if (!err)
		err = hf_native_read(s, w->second, &second, sizeof(second));
	NEED(err == -ENODATA || (!err && first - second <= 1));
	return 0;
}

static int check_instant_at(const struct writer *w, const void *base)
{
	const char *first = (const char *)base + w->first, *second = (const char *)base + w->second;
	int err = hf_native_prepare_read(first, 8);

	if (!err)
		err = hf_native_prepare_read(second, 8);
	NEED(documented(err) || err == -ENODATA);
	NEED(err || *(const uint64_t *)first - *(const uint64_t *)second <= 1);
	return 0;
}

static int pin_for_a_moment(const struct writer *w, unsigned flags)
{
	char *at = (char *)hf_native_base(w->space) + w->first;
	struct iovec iov;
	int nr = hf_native_pin(w->space, at, 8, flags, &iov, 1);

	NEED(documented(nr));
	NEED(nr < 0 || !hf_native_unpin(w->space, at, 8, flags));
	return 0;
}

/* What can be done with one instant. */
static int use_instant(const struct writer *w, struct hf_native_snapshot *s)
{
	struct hf_native *child;
	const void *view;
	int err;

	if (check_instant(&w[0], s) || check_instant(&w[1], s))
		return 1;
	err = hf_native_map(s, &view);
	NEED(documented(err));
	if (!err) {
		if (check_instant_at(&w[0], view) || check_instant_at(&w[1], view))
			return 1;
		NEED(!hf_native_unmap(s));
	}
	err = hf_native_fork(w->space, &child);
	NEED(documented(err));
	if (!err) {
		if (check_instant_at(&w[0], hf_native_base(child)))
			return 1;
		NEED(!hf_native_destroy(child));
	}
	return check_instant(&w[0], s) || check_instant(&w[1], s);
}

static int rounds_under_threads(const struct writer *w, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		struct hf_native_snapshot *s;
		int err = hf_native_snapshot(w->space, &s);

		NEED(documented(err));
		if (pin_for_a_moment(&w[i % 2], i % 3 ? HF_FOLL_WRITE : 0))
			return 1;
		if (!err) {
			if (use_instant(w, s))
				return 1;
			NEED(!hf_native_drop(s));
		}
	}
	return 0;
}

static int under_threads(const struct way *way)
{
	struct writer w[NR_WRITERS];
	struct hf_native *space;
	int err;

	NEED(!create(way, 2 * NR_WRITERS, &space));
	for (size_t i = 0; i < NR_WRITERS; i++) {
		w[i] = (struct writer){ .space = space,
					.first = i * hf_native_unit(space),
					.second = (i + NR_WRITERS) * hf_native_unit(space) };
		NEED(!pthread_create(&w[i].thread, NULL, write_in_turn, &w[i]));
	}
	failing_each(EACH);
	err = rounds_under_threads(w, times(way_unit(way) == PAGE ? 300 : 30));
	NEED(failing_off());
	if (!err)
		err = rounds_under_threads(w, 10);
	for (size_t i = 0; i < NR_WRITERS; i++) {
		w[i].stop = true;
		pthread_join(w[i].thread, NULL);
		NEED(!w[i].lost);
	}
	NEED(!hf_native_destroy(space));
	return err;
}

#define UNTOUCHED 2 /* exit status: there are not so many allocations */

/* The first space of the process: what is made once, too. */
static int first_create(const struct way *way)
{
	struct hf_native *space;
	bool failed;
	int err;

	failing_on(doing->n, doing->lasting);
	err = create(way, 4, &space);
	failed = failing_off();
	NEED(documented(err));
	NEED(err || !hf_native_destroy(space));
	if (all_works(way))
		return 1;
	return failed ? 0 : UNTOUCHED;
}

static _Noreturn void report(const struct way *way, int status)
{
	fail_msg("%s: %s, allocation %d%s: wait status %#x%s", way->name, doing->call, doing->n,
		 doing->lasting ? " and all behind it" : "", status,
		 status == SIGKILL ? ": it hung" : "");
	abort();
}

/* Its exit status. SIGALRM would not end what hangs with signals blocked. */
static int run(int (*test)(const struct way *way), const struct way *way)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int status = 0, left = SECONDS * 1000;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		_exit(test(way));
	while (!waitpid(pid, &status, WNOHANG)) {
		nanosleep(&pause, NULL);
		if (--left == 0)
			kill(pid, SIGKILL);
	}
	if (!WIFEXITED(status) || (WEXITSTATUS(status) & ~UNTOUCHED))
		report(way, status);
	return WEXITSTATUS(status);
}

/* Pages of the pool only when asked for: others of the tests may have them next. */
static int exists(const struct way *way)
{
	const char *wanted = getenv("HF_WAYS");
	struct hf_native *space;

	if (wanted ? !strstr(way->name, wanted) : way->pages == HF_NATIVE_HUGETLB)
		return UNTOUCHED;
	return create(way, UNITS, &space) ? UNTOUCHED : 0;
}

static void in_each_way(int (*test)(const struct way *way))
{
	for (size_t i = 0; i < NR_WAYS; i++)
		if (run(exists, &ways[i]) == 0)
			run(test, &ways[i]);
}

static void allocations_that_fail(void **state)
{
	(void)state;
	in_each_way(each_call);
}

static void the_first_create(void **state)
{
	(void)state;
	snprintf(doing->call, sizeof(doing->call), "the first create");
	for (size_t i = 0; i < 2 * NR_WAYS; i++) {
		const struct way *way = &ways[i / 2];

		doing->lasting = i % 2;
		doing->n = 1;
		if (run(exists, way) == 0)
			while (run(first_create, way) != UNTOUCHED)
				doing->n += STEP;
	}
}

static void no_frames(void **state)
{
	(void)state;
	snprintf(doing->call, sizeof(doing->call), "the first frames");
	in_each_way(first_frames);
}

static void helpers_that_fail(void **state)
{
	(void)state;
	snprintf(doing->call, sizeof(doing->call), "snapshot with helpers");
	for (size_t i = 0; i < 2 * NR_WAYS; i++) {
		doing->lasting = i % 2;
		if (way_unit(&ways[i / 2]) == PAGE && run(exists, &ways[i / 2]) == 0)
			run(with_helpers, &ways[i / 2]);
	}
}

static void now_and_then_under_threads(void **state)
{
	(void)state;
	snprintf(doing->call, sizeof(doing->call), "all, each %d-th", EACH);
	in_each_way(under_threads);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_create),
		cmocka_unit_test(allocations_that_fail),
		cmocka_unit_test(no_frames),
		cmocka_unit_test(helpers_that_fail),
		cmocka_unit_test(now_and_then_under_threads),
	};

	doing = mmap(NULL, sizeof(*doing), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	return cmocka_run_group_tests_name("native failing", tests, NULL, NULL);
}
