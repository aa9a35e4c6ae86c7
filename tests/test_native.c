/* SPDX-License-Identifier: MIT */
/* Native spaces: one promise a test, each in every way that this machine can have one. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "native.h"

static void a_snapshot_keeps_its_bytes(void **state)
{
	(void)state;
	EACH_WAY(space, 4)
	{
		size_t unit = hf_native_unit(space);
		struct hf_native_snapshot *a, *b;
		const void *view;

		*word(space, 0) = 1;
		*word(space, unit) = 2;
		a = snapshot(space);
		*word(space, 0) = 11;
		*word(space, 2 * unit) = 13; /* not there when the snapshot was taken */
		b = snapshot(space);
		*word(space, 0) = 21;
		*word(space, unit) = 22;
		*word(space, 2 * unit) = 23;
		assert_int_equal(get(a, 0), 1);
		assert_int_equal(get(a, unit), 2);
		assert_int_equal(get(a, 2 * unit), 0);
		assert_int_equal(get(b, 0), 11);
		assert_int_equal(get(b, unit), 2);
		assert_int_equal(get(b, 2 * unit), 13);
		assert_int_equal(get(b, 3 * unit), 0);
		assert_int_equal(hf_native_map(a, &view), 0);
		assert_int_equal(*(const uint64_t *)view, 1);
		assert_int_equal(*(const uint64_t *)((const char *)view + unit), 2);
		assert_int_equal(*(const uint64_t *)((const char *)view + 2 * unit), 0);
		assert_int_equal(hf_native_drop(a), -EBUSY);
		assert_int_equal(hf_native_unmap(a), 0);
		assert_int_equal(hf_native_unmap(a), -EINVAL);
		assert_int_equal(hf_native_drop(b), 0);
		assert_int_equal(get(a, 0), 1);
		assert_int_equal(get(a, 2 * unit), 0);
		assert_int_equal(hf_native_drop(a), 0);
		assert_int_equal(*word(space, unit), 22);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

static void a_child_has_its_own_bytes(void **state)
{
	(void)state;
	EACH_WAY(space, 3)
	{
		size_t unit = hf_native_unit(space);
		struct hf_native *child, *grandchild;
		struct hf_native_snapshot *s;

		*word(space, 0) = 1;
		*word(space, unit) = 2;
		if (hf_native_memfd(space) >= 0) {
			assert_int_equal(hf_native_fork(space, &child), -EOPNOTSUPP);
			assert_int_equal(hf_native_destroy(space), 0);
			continue;
		}
		assert_int_equal(hf_native_fork(space, &child), 0);
		*word(space, 0) = 11;
		*word(child, unit) = 32;
		assert_int_equal(*word(child, 0), 1);
		assert_int_equal(*word(space, unit), 2);
		s = snapshot(child);
		*word(child, unit) = 42;
		*word(child, 2 * unit) = 43;
		assert_int_equal(get(s, 0), 1);
		assert_int_equal(get(s, unit), 32);
		assert_int_equal(get(s, 2 * unit), 0);
		assert_int_equal(hf_native_fork(child, &grandchild), 0);
		*word(space, unit) = 52;
		assert_int_equal(hf_native_destroy(space), 0);
		assert_int_equal(*word(grandchild, unit), 42);
		assert_int_equal(*word(grandchild, 0), 1);
		assert_int_equal(hf_native_destroy(child), 0);
		assert_int_equal(*word(grandchild, 2 * unit), 43);
		assert_int_equal(get(s, unit), 32);
		assert_int_equal(hf_native_destroy(grandchild), 0);
		assert_int_equal(hf_native_drop(s), 0);
	}
}

/* ---- against a model: everything that there is, as plain copies ---- */

#define MODEL_SPACES 4
#define MODEL_SNAPSHOTS 6

struct model {
	struct hf_native *space[MODEL_SPACES];
	uint64_t *words[MODEL_SPACES]; /* of each space: what its sample words are */
	struct hf_native_snapshot *snap[MODEL_SNAPSHOTS];
	uint64_t *snap_words[MODEL_SNAPSHOTS];
	int snap_of[MODEL_SNAPSHOTS];
	size_t nr_words, stride;
	bool shared;
	uint64_t next;
};

static uint64_t *copy_words(const struct model *m, const uint64_t *words)
{
	uint64_t *copy = malloc(m->nr_words * sizeof(*copy));

	assert_non_null(copy);
	return memcpy(copy, words, m->nr_words * sizeof(*copy));
}

static void check_snapshot(const struct model *m, int i)
{
	for (size_t n = 0; n < m->nr_words; n++)
		assert_int_equal(get(m->snap[i], n * m->stride), m->snap_words[i][n]);
}

static void check_space(const struct model *m, int i)
{
	for (size_t n = 0; n < m->nr_words; n++)
		assert_int_equal(*word(m->space[i], n * m->stride), m->words[i][n]);
}

static void model_write(struct model *m, int i)
{
	size_t n = (size_t)rand() % m->nr_words, nr = rand() % 4 ? 1 : (size_t)rand() % 80;

	for (; nr-- && n < m->nr_words; n++)
		*word(m->space[i], n * m->stride) = m->words[i][n] = ++m->next;
}

static void model_snapshot(struct model *m, int i)
{
	for (int s = 0; s < MODEL_SNAPSHOTS; s++) {
		if (m->snap[s])
			continue;
		m->snap[s] = snapshot(m->space[i]);
		m->snap_words[s] = copy_words(m, m->words[i]);
		m->snap_of[s] = i;
		return;
	}
}

static void model_drop(struct model *m)
{
	int s = rand() % MODEL_SNAPSHOTS;

	if (!m->snap[s])
		return;
	check_snapshot(m, s);
	assert_int_equal(hf_native_drop(m->snap[s]), 0);
	free(m->snap_words[s]);
	m->snap[s] = NULL;
}

static void model_fork(struct model *m, int i)
{
	for (int c = 0; c < MODEL_SPACES; c++) {
		if (m->space[c] || m->shared)
			continue;
		assert_int_equal(hf_native_fork(m->space[i], &m->space[c]), 0);
		m->words[c] = copy_words(m, m->words[i]);
		return;
	}
}

static void model_destroy(struct model *m, int i)
{
	check_space(m, i);
	assert_int_equal(hf_native_destroy(m->space[i]), 0);
	free(m->words[i]);
	m->space[i] = NULL;
}

/* What differs must be in a run. */
static void model_diff(struct model *m)
{
	int a = rand() % MODEL_SNAPSHOTS, b = rand() % MODEL_SNAPSHOTS;
	unsigned exact = rand() % 2 ? HF_NATIVE_EXACT : 0;
	struct hf_native_run run = { 0, 0 };
	int more;

	if (!m->snap[a] || !m->snap[b] || a == b)
		return;
	more = hf_native_diff(m->snap[a], m->snap[b], exact, &run);
	if (more < 0) {
		assert_true(more == -EXDEV || more == -EINVAL);
		return;
	}
	for (size_t n = 0; n < m->nr_words; n++) {
		size_t at = n * m->stride;

		while (more == 1 && run.offset + run.len <= at)
			more = hf_native_diff(m->snap[a], m->snap[b], exact, &run);
		if (m->snap_words[a][n] != m->snap_words[b][n])
			assert_true(more == 1 && run.offset <= at);
		else if (exact && more == 1)
			assert_true(run.offset > at || m->stride < PAGE);
	}
}

static void model_map(struct model *m)
{
	int s = rand() % MODEL_SNAPSHOTS;
	const void *view;

	if (!m->snap[s])
		return;
	assert_int_equal(hf_native_map(m->snap[s], &view), 0);
	for (int i = 0; i < 40; i++) {
		size_t n = (size_t)rand() % m->nr_words;

		assert_int_equal(*(const uint64_t *)((const char *)view + n * m->stride),
				 m->snap_words[s][n]);
	}
	assert_int_equal(hf_native_unmap(m->snap[s]), 0);
}

static void model_step(struct model *m)
{
	int i = rand() % MODEL_SPACES, what = rand() % 100;

	if (!m->space[i])
		return;
	if (what < 60)
		model_write(m, i);
	else if (what < 72)
		model_snapshot(m, i);
	else if (what < 80)
		model_drop(m);
	else if (what < 84)
		model_fork(m, i);
	else if (what < 86 && i)
		model_destroy(m, i);
	else if (what < 90)
		model_diff(m);
	else if (what < 94)
		model_map(m);
	else if (what < 97)
		check_space(m, i);
	else
		assert_int_equal(hf_native_trim(m->space[i]), 0);
}

static void run_model(const struct way *way, size_t units, int steps)
{
	struct model m = { .space = { make(way, units) } };

	if (!m.space[0])
		return;
	m.stride = hf_native_unit(m.space[0]) == PAGE ? PAGE : HUGE / 8;
	m.nr_words = hf_native_size(m.space[0]) / m.stride;
	m.words[0] = calloc(m.nr_words, sizeof(m.words[0][0]));
	m.shared = way->flags & HF_NATIVE_SHARED;
	for (int step = 0; step < steps; step++)
		model_step(&m);
	for (int i = 0; i < MODEL_SPACES; i++) {
		if (m.space[i])
			model_destroy(&m, i);
	}
	for (int s = 0; s < MODEL_SNAPSHOTS; s++) {
		if (!m.snap[s])
			continue;
		check_snapshot(&m, s);
		assert_int_equal(hf_native_drop(m.snap[s]), 0);
		free(m.snap_words[s]);
	}
}

static void all_is_as_plain_copies_would_be(void **state)
{
	(void)state;
	srand(1);
	for (size_t w = 0; w < NR_WAYS; w++) {
		bool small = way_unit(&ways[w]) == PAGE;

		for (int seed = 0; seed < times(4); seed++)
			run_model(&ways[w], small ? 150 : 5, times(small ? 1500 : 300));
	}
}

/* ---- one instant ---- */

struct writer {
	pthread_t thread;
	struct hf_native *space;
	size_t first, nr, stride; /* words that it writes in order, again and again */
	size_t fresh, fresh_end;  /* where it touches new memory each time */
	_Atomic bool stop;
};

/* Word i is n before word i + 1 is; and memory never touched before is n before word 0 is n + 1. */
static void *write_in_order(void *arg)
{
	struct writer *writer = arg;
	size_t fresh = writer->fresh;

	for (uint64_t n = 1; !atomic_load(&writer->stop); n++) {
		for (size_t i = 0; i < writer->nr; i++)
			__atomic_store_n(word(writer->space, writer->first + i * writer->stride), n,
					 __ATOMIC_RELEASE);
		if (fresh < writer->fresh_end)
			__atomic_store_n(word(writer->space, fresh), n, __ATOMIC_RELEASE);
		fresh += writer->stride;
	}
	return NULL;
}

static void check_order(const struct writer *writer, const struct hf_native_snapshot *s)
{
	uint64_t n = get(s, writer->first), before = n;
	size_t fresh = writer->fresh;

	for (size_t i = 1; i < writer->nr; i++) {
		uint64_t value = get(s, writer->first + i * writer->stride);

		assert_true(value <= before && value + 1 >= n);
		before = value;
	}
	for (uint64_t i = 1; fresh < writer->fresh_end; i++, fresh += writer->stride) {
		uint64_t value = get(s, fresh);

		if (i < n)
			assert_int_equal(value, i);
		else if (i > n || before < n)
			assert_int_equal(value, 0);
		else
			assert_true(value == 0 || value == n);
	}
}

static void order_holds(const struct way *way, unsigned helpers)
{
	size_t units = way_unit(way) == PAGE ? 4096 : 24;
	struct hf_native *space = make_with(way, units, helpers, 0);
	struct writer writers[2] = { { .space = space }, { .space = space } };
	struct hf_native_snapshot *kept[3] = { NULL };

	if (!space)
		return;
	for (int i = 0; i < 2; i++) {
		struct writer *w = &writers[i];
		size_t half = hf_native_size(space) / 2;

		w->stride = hf_native_unit(space);
		w->first = (size_t)i * half;
		w->nr = 6;
		w->fresh = w->first + 6 * w->stride;
		w->fresh_end = w->first + half;
		assert_int_equal(pthread_create(&w->thread, NULL, write_in_order, w), 0);
	}
	for (int i = 0; i < times(60); i++) {
		struct hf_native_snapshot *s = snapshot(space);

		check_order(&writers[0], s);
		check_order(&writers[1], s);
		if (kept[i % 3]) {
			check_order(&writers[i % 2], kept[i % 3]);
			assert_int_equal(hf_native_drop(kept[i % 3]), 0);
		}
		kept[i % 3] = s;
	}
	for (int i = 0; i < 2; i++) {
		atomic_store(&writers[i].stop, true);
		pthread_join(writers[i].thread, NULL);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(hf_native_drop(kept[i]), 0);
	assert_int_equal(hf_native_destroy(space), 0);
}

static void a_snapshot_is_one_instant(void **state)
{
	(void)state;
	for (size_t w = 0; w < NR_WAYS; w++) {
		order_holds(&ways[w], 0);
		order_holds(&ways[w], 2);
	}
}

/* ---- two threads and one page ---- */

struct meeting {
	struct hf_native *space;
	int rounds;
	_Atomic int round, done;
};

static void *store_when_told(void *arg)
{
	struct meeting *m = arg;

	for (int r = 1; r <= m->rounds; r++) {
		while (atomic_load(&m->round) < r)
			sched_yield();
		__atomic_fetch_add(word(m->space, r % 2 * PAGE), 1, __ATOMIC_RELAXED);
		atomic_fetch_add(&m->done, 1);
	}
	return NULL;
}

/* A fault that comes late, for the other one has been resolved meanwhile, does not wait for ever.
 */
static void threads_meet_at_a_page(void **state)
{
	(void)state;
	EACH_WAY(space, 2)
	{
		bool file = ways[w_].flags == HF_NATIVE_SHARED; /* where it happens most */
		struct meeting m = { .space = space, .rounds = times(file ? 10000 : 500) };
		pthread_t threads[2];

		*word(space, 0) = *word(space, PAGE) = 0;
		for (int i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, store_when_told, &m), 0);
		for (int r = 1; r <= m.rounds; r++) {
			struct hf_native_snapshot *s = snapshot(space);

			atomic_store(&m.round, r);
			while (atomic_load(&m.done) < 2 * r)
				sched_yield();
			assert_int_equal(get(s, 0) + get(s, PAGE), 2 * (r - 1));
			assert_int_equal(hf_native_drop(s), 0);
		}
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		assert_int_equal(*word(space, 0) + *word(space, PAGE), 2 * m.rounds);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* ---- pins ---- */

static void pins_count_and_hold(void **state)
{
	(void)state;
	EACH_WAY(space, 4)
	{
		size_t unit = hf_native_unit(space);
		char *base = hf_native_base(space);
		struct hf_native_stats before, after;
		struct hf_native_snapshot *s;
		struct iovec iov[2];

		*word(space, unit) = 1;
		s = snapshot(space);
		assert_int_equal(hf_native_pin(space, base + unit, 8, HF_FOLL_WRITE, iov, 2), 1);
		assert_ptr_equal(iov[0].iov_base, base + unit);
		assert_int_equal(iov[0].iov_len, 8);
		assert_int_equal(hf_native_pin(space, base + unit, 8, 0, iov, 2), 1);
		assert_int_equal(get(s, unit), 1);
		assert_int_equal(hf_native_drop(s), 0);
		hf_native_stats(space, &before);
		s = snapshot(space);
		hf_native_stats(space, &after);
		assert_int_equal(after.copied_eager - before.copied_eager, 1);
		*word(space, unit) = 2;
		hf_native_stats(space, &before);
		assert_int_equal(before.faults, after.faults); /* it is not protected */
		assert_int_equal(get(s, unit), 1);
		assert_int_equal(hf_native_destroy(space), -EBUSY);
		assert_int_equal(hf_native_unpin(space, base + unit, 8, HF_FOLL_WRITE), 0);
		assert_int_equal(hf_native_unpin(space, base + unit, 8, HF_FOLL_WRITE), -EINVAL);
		assert_int_equal(hf_native_unpin(space, base + unit, 8, 0), 0);
		assert_int_equal(hf_native_pin(space, base, 4 * unit + 1, 0, iov, 2), -EINVAL);
		assert_int_equal(hf_native_pin(space, base, 8, 0x100000, iov, 2), -EINVAL);
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* What was never written is no frame of its own, until it is pinned. */
static void a_reader_sees_what_is_written_later(void **state)
{
	(void)state;
	EACH_WAY(space, 4)
	{
		size_t unit = hf_native_unit(space);
		struct hf_native_snapshot *s;
		struct iovec iov;
		uint64_t seen[2] = { 1, 1 };
		int fds[2];

		assert_int_equal(pipe(fds), 0);
		assert_int_equal(*word(space, 0), 0);
		s = snapshot(space);
		for (size_t i = 0; i < 2; i++) {
			assert_int_equal(hf_native_pin(space, word(space, i * unit), 8, 0, &iov, 1),
					 1);
			assert_int_equal(vmsplice(fds[1], &iov, 1, 0), 8);
			*word(space, i * unit) = 42 + i;
		}
		assert_int_equal(read(fds[0], seen, sizeof(seen)), sizeof(seen));
		assert_int_equal(seen[0], 42);
		assert_int_equal(seen[1], 43);
		assert_int_equal(get(s, 0), 0);
		assert_int_equal(get(s, unit), 0);
		for (size_t i = 0; i < 2; i++)
			assert_int_equal(hf_native_unpin(space, word(space, i * unit), 8, 0), 0);
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_destroy(space), 0);
		close(fds[0]);
		close(fds[1]);
	}
}

static void a_pin_count_that_is_full_is_refused(void **state)
{
	struct hf_native *space;
	struct iovec iov;
	char *base;

	(void)state;
	if (times(8) == 1)
		skip();
	space = make(&ways[1], 2);
	base = hf_native_base(space);
	for (unsigned i = 0; i < HF_NATIVE_PIN_MAX; i++)
		assert_int_equal(hf_native_pin(space, base, 1, HF_FOLL_WRITE, &iov, 1), 1);
	assert_int_equal(hf_native_pin(space, base, 1, HF_FOLL_WRITE, &iov, 1), -EOVERFLOW);
	assert_int_equal(hf_native_pin(space, base, 1, 0, &iov, 1), 1);
	assert_int_equal(hf_native_unpin(space, base, 1, 0), 0);
	for (unsigned i = 0; i < HF_NATIVE_PIN_MAX; i++)
		assert_int_equal(hf_native_unpin(space, base, 1, HF_FOLL_WRITE), 0);
	assert_int_equal(hf_native_destroy(space), 0);
}

/* As it was taken: range, flags, kind, number. */
static void pins_are_released_as_they_were_taken(void **state)
{
	static const unsigned kinds[] = { 0, HF_FOLL_WRITE, HF_FOLL_LONGTERM,
					  HF_FOLL_WRITE | HF_FOLL_LONGTERM };

	(void)state;
	EACH_WAY(space, 4)
	{
		size_t unit = hf_native_unit(space);
		char *base = hf_native_base(space);
		struct iovec iov;

		for (size_t k = 0; k < 4; k++) {
			assert_int_equal(hf_native_pin(space, base, 64, kinds[k], &iov, 1), 1);
			for (size_t other = 0; other < 4; other++)
				if (other != k)
					assert_int_equal(
						hf_native_unpin(space, base, 64, kinds[other]),
						-EINVAL);
			assert_int_equal(hf_native_finish_write(space, base, 64), -EINVAL);
			/* parts, and what lies about it */
			assert_int_equal(hf_native_unpin(space, base, 32, kinds[k]), -EINVAL);
			assert_int_equal(hf_native_unpin(space, base, unit, kinds[k]), -EINVAL);
			assert_int_equal(hf_native_unpin(space, base + 64, 64, kinds[k]), -EINVAL);
			/* two of one unit, and of two */
			assert_int_equal(hf_native_pin(space, base + 64, unit, kinds[k], &iov, 1),
					 1);
			assert_int_equal(hf_native_unpin(space, base + unit, 64, kinds[k]),
					 -EINVAL);
			assert_int_equal(hf_native_unpin(space, base, 64, kinds[k]), 0);
			assert_int_equal(hf_native_unpin(space, base, 64, kinds[k]), -EINVAL);
			assert_int_equal(hf_native_unpin(space, base + 64, unit, kinds[k]), 0);
		}
		assert_int_equal(hf_native_prepare_write(space, base, 64), 0);
		assert_int_equal(hf_native_prepare_write(space, base, 64), 0);
		assert_int_equal(hf_native_unpin(space, base, 64, HF_FOLL_WRITE), -EINVAL);
		assert_int_equal(hf_native_finish_write(space, base, 63), -EINVAL);
		assert_int_equal(hf_native_finish_write(space, base, 64), 0);
		assert_int_equal(hf_native_finish_write(space, base, 64), 0);
		assert_int_equal(hf_native_finish_write(space, base, 64), -EINVAL);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

static void snapshot_pins_are_released_as_they_were_taken(void **state)
{
	(void)state;
	EACH_WAY(space, 4)
	{
		size_t unit = hf_native_unit(space);
		struct hf_native_snapshot *s;
		struct iovec iov[2];

		*word(space, 0) = 1;
		*word(space, unit) = 2;
		s = snapshot(space);
		assert_int_equal(hf_native_pin_snapshot(s, 0, 8, iov, 2), 1);
		assert_int_equal(hf_native_unpin_snapshot(s, unit, 8), -EINVAL);
		assert_int_equal(hf_native_unpin_snapshot(s, 0, 16), -EINVAL);
		assert_int_equal(hf_native_unpin_snapshot(s, 0, 0), -EINVAL);
		/* one that was cut short */
		assert_int_equal(hf_native_pin_snapshot(s, 8, 2 * unit, iov, 1), 1);
		assert_int_equal(hf_native_unpin_snapshot(s, 8, 2 * unit), -EINVAL);
		assert_int_equal(hf_native_unpin_snapshot(s, 8, unit - 8), 0);
		assert_int_equal(hf_native_drop(s), -EBUSY);
		assert_int_equal(hf_native_unpin_snapshot(s, 0, 8), 0);
		assert_int_equal(hf_native_unpin_snapshot(s, 0, 8), -EINVAL);
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* So many that they are found one behind the other, and released in another order. */
static void many_ranges_are_told_apart(void **state)
{
	enum { N = 1009, STEP = 313 };
	struct hf_native *space;
	struct iovec iov;
	char *base;

	(void)state;
	if (times(8) == 1)
		skip();
	space = make(&ways[1], 2);
	base = hf_native_base(space);
	for (size_t i = 0; i < N; i++)
		assert_int_equal(hf_native_pin(space, base + i % 37, 1 + i, HF_FOLL_WRITE, &iov, 1),
				 1);
	for (size_t n = 0, i = 0; n < N; n++, i = (i + STEP) % N) {
		assert_int_equal(hf_native_unpin(space, base + i % 37, 1 + i, 0), -EINVAL);
		assert_int_equal(hf_native_unpin(space, base + 37, 1 + i, HF_FOLL_WRITE), -EINVAL);
		assert_int_equal(hf_native_unpin(space, base + i % 37, 1 + i, HF_FOLL_WRITE), 0);
		assert_int_equal(hf_native_unpin(space, base + i % 37, 1 + i, HF_FOLL_WRITE),
				 -EINVAL);
	}
	assert_int_equal(hf_native_destroy(space), 0);
}

/* Its memory is the next snapshot's, which must not suffer for it. */
static void a_dropped_snapshot_is_known(void **state)
{
	(void)state;
	EACH_WAY(space, 2)
	{
		struct hf_native_snapshot *gone, *s;
		struct hf_native_run run = { 0, 0 };
		struct iovec iov;
		const void *map;
		uint64_t seen;

		*word(space, 0) = 1;
		gone = snapshot(space);
		assert_int_equal(hf_native_drop(gone), 0);
		assert_int_equal(hf_native_drop(gone), -EINVAL);
		*word(space, 0) = 2;
		s = snapshot(space);
		*word(space, 0) = 3;
		assert_int_equal(hf_native_map(s, &map), 0);
		assert_int_equal(hf_native_drop(gone), -EINVAL);
		assert_int_equal(hf_native_read(gone, 0, &seen, 8), -EINVAL);
		assert_int_equal(hf_native_map(gone, &map), -EINVAL);
		assert_int_equal(hf_native_unmap(gone), -EINVAL);
		assert_int_equal(hf_native_pin_snapshot(gone, 0, 8, &iov, 1), -EINVAL);
		assert_int_equal(hf_native_pin_snapshot(s, 0, 8, &iov, 1), 1);
		assert_int_equal(hf_native_unpin_snapshot(gone, 0, 8), -EINVAL);
		assert_int_equal(hf_native_diff(gone, s, 0, &run), -EINVAL);
		assert_int_equal(hf_native_diff(NULL, gone, 0, &run), -EINVAL);
		assert_int_equal(get(s, 0), 2);
		assert_int_equal(hf_native_unpin_snapshot(s, 0, 8), 0);
		assert_int_equal(hf_native_unmap(s), 0);
		assert_int_equal(hf_native_unmap(s), -EINVAL);
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

static void a_destroyed_space_is_known(void **state)
{
	(void)state;
	EACH_WAY(space, 2)
	{
		char *base = hf_native_base(space);
		struct hf_native_snapshot *s, *more;
		struct hf_native *child;
		struct iovec iov;

		*word(space, 0) = 1;
		s = snapshot(space);
		assert_int_equal(hf_native_destroy(space), 0);
		assert_int_equal(hf_native_destroy(space), -EINVAL);
		assert_int_equal(hf_native_snapshot(space, &more), -EINVAL);
		assert_int_equal(hf_native_fork(space, &child), -EINVAL);
		assert_int_equal(hf_native_pin(space, base, 8, 0, &iov, 1), -EINVAL);
		assert_int_equal(hf_native_prepare_write(space, base, 8), -EINVAL);
		assert_int_equal(hf_native_unpin(space, base, 8, 0), -EINVAL);
		assert_int_equal(get(s, 0), 1);
		assert_int_equal(hf_native_drop(s), 0);
	}
}

static void a_pinned_snapshot_is_unshared(void **state)
{
	(void)state;
	EACH_WAY(space, 3)
	{
		size_t unit = hf_native_unit(space), sum = 0;
		struct hf_native_snapshot *s;
		struct iovec iov[3];

		*word(space, 0) = 1;
		*word(space, unit) = 2;
		s = snapshot(space);
		*word(space, 0) = 11;
		assert_int_equal(hf_native_pin_snapshot(s, 0, 2 * unit + 8, iov, 3), 3);
		*word(space, unit) = 12;
		assert_int_equal(*(uint64_t *)iov[0].iov_base, 1);
		assert_int_equal(*(uint64_t *)iov[1].iov_base, 2);
		assert_int_equal(*(uint64_t *)iov[2].iov_base, 0);
		for (int i = 0; i < 3; i++)
			sum += iov[i].iov_len;
		assert_int_equal(sum, 2 * unit + 8);
		assert_int_equal(hf_native_drop(s), -EBUSY);
		assert_int_equal(hf_native_unpin_snapshot(s, 0, 2 * unit + 8), 0);
		assert_int_equal(hf_native_unpin_snapshot(s, 0, 8), -EINVAL);
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* ---- what goes wrong ---- */

static void without_frames_the_writer_goes_on(void **state)
{
	(void)state;
	for (size_t w = 0; w < NR_WAYS; w++) {
		size_t unit = way_unit(&ways[w]);
		struct hf_native *space = make_with(&ways[w], 4, 0, 2 * unit);
		struct hf_native_stats stats;
		struct hf_native_snapshot *s;
		uint64_t value;
		int lost = 0;

		if (!space)
			continue;
		for (size_t i = 0; i < 4; i++)
			*word(space, i * unit) = i + 1;
		s = snapshot(space);
		for (size_t i = 0; i < 4; i++)
			*word(space, i * unit) = i + 11;
		for (size_t i = 0; i < 4; i++) {
			int err = hf_native_read(s, i * unit, &value, sizeof(value));

			assert_int_equal(*word(space, i * unit), i + 11);
			assert_true(err == -ENODATA || (!err && value == i + 1));
			lost += err != 0;
		}
		assert_int_equal(lost, 2);
		hf_native_stats(space, &stats);
		assert_int_equal(stats.lost, 2);
		assert_int_equal(stats.frames_used, 2 * unit);
		assert_int_equal(hf_native_drop(s), 0);
		s = snapshot(space);
		*word(space, 0) = 21;
		assert_int_equal(get(s, 0), 11);
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* Stores enough for the rest of their words to be copied with them, and half of the pool would not
 * do for that and for the others. */
static void what_is_copied_around_takes_no_frame_from_others(void **state)
{
	(void)state;
	for (size_t w = 0; w < NR_WAYS; w++) {
		struct hf_native *space = NULL;
		struct hf_native_stats stats;
		struct hf_native_snapshot *s;

		if (way_unit(&ways[w]) == PAGE)
			space = make_with(&ways[w], 192, 0, 64 * PAGE);
		if (!space)
			continue;
		for (size_t i = 0; i < 192; i++)
			*word(space, i * PAGE) = i + 1;
		s = snapshot(space);
		for (size_t i = 0; i < 30; i++)
			*word(space, (i / 10 * 64 + i) * PAGE) = 0;
		for (size_t i = 0; i < 192; i++)
			assert_int_equal(get(s, i * PAGE), i + 1);
		hf_native_stats(space, &stats);
		assert_int_equal(stats.lost, 0);
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* ---- how much is copied ---- */

#define WORD (64 * PAGE)

static uint64_t copied_by(struct hf_native *space)
{
	struct hf_native_stats stats;

	hf_native_stats(space, &stats);
	return stats.copied;
}

static struct hf_native_snapshot *fill(struct hf_native *space, uint64_t value)
{
	for (size_t at = 0; at < hf_native_size(space); at += PAGE)
		*word(space, at) = value;
	return snapshot(space);
}

/* Waits for it, and for more. */
static uint64_t copied_in_time(struct hf_native *space, uint64_t want)
{
	for (int i = 0; i < 10000 && copied_by(space) < want; i++)
		usleep(1000);
	usleep(20000);
	return copied_by(space);
}

/* Nothing is copied after a snapshot for what was stored before it. */
static void check_what_is_left(struct hf_native *space)
{
	for (int i = 0; i < 10; i++) {
		struct hf_native_snapshot *s;
		uint64_t before;

		for (size_t at = 0; at < 64 * WORD; at += PAGE)
			++*word(space, at);
		s = snapshot(space);
		before = copied_by(space);
		usleep(5000);
		assert_int_equal(copied_by(space), before);
		assert_int_equal(hf_native_drop(s), 0);
	}
}

/* The thread that resolves faults does what is likely to come next: as far as this, and rightly. */
static void dense_stores_are_copied_ahead(void **state)
{
	(void)state;
	for (size_t w = 0; w < NR_WAYS; w++) {
		struct hf_native *space =
			way_unit(&ways[w]) == PAGE ? make(&ways[w], 128 * 64) : NULL;
		uint64_t at_once = way_is_thp(&ways[w]) ? 8 : 2, before;
		uint64_t ahead = way_is_thp(&ways[w]) ? 16 : 21;
		struct hf_native_snapshot *first, *s;

		if (!space)
			continue;
		if (ways[w].flags & HF_NATIVE_SIGNAL)
			ahead = 0;
		first = fill(space, 1);
		s = fill(space, 2); /* and by now it is known to be dense */
		before = copied_by(space);
		*word(space, WORD) = *word(space, 2 * WORD) = 3;
		before += (at_once + ahead) * 64;
		assert_int_equal(copied_in_time(space, before), before);
		for (size_t at = 0; at < 16 * WORD; at += PAGE)
			*word(space, at) = 4;
		for (size_t at = 0; at < hf_native_size(space); at += PAGE)
			assert_int_equal(get(s, at), 2);
		check_what_is_left(space);
		assert_int_equal(hf_native_drop(first), 0);
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* ---- two threads and much of the memory ---- */

#define MANY_UNITS (130 * 64 + 17) /* regions, their samples, THPs, and a part of a word */

struct halves {
	struct hf_native *space;
	pthread_barrier_t barrier;
	int rounds;
	_Atomic size_t next; /* half */
};

static void *store_to_half(void *arg)
{
	struct halves *h = arg;
	size_t half = atomic_fetch_add(&h->next, 1);

	for (int r = 1; r <= h->rounds; r++) {
		pthread_barrier_wait(&h->barrier);
		for (size_t i = half; i < MANY_UNITS; i += 2) {
			size_t unit = r % 2 ? i : MANY_UNITS - 1 - i;

			*word(h->space, unit * PAGE) = *word(h->space, unit * PAGE + 2048) = r;
		}
		pthread_barrier_wait(&h->barrier);
	}
	return NULL;
}

static int wrong_in(const struct hf_native_snapshot *s, uint64_t value)
{
	int wrong = 0;

	for (size_t at = 0; at < MANY_UNITS * PAGE; at += PAGE)
		wrong += get(s, at) != value || get(s, at + 2048) != value;
	return wrong;
}

/* Of neighbours each thread has one, so that both do words and THPs at the same time. */
static void threads_store_all_over(void **state)
{
	(void)state;
	for (size_t w = 0; w < NR_WAYS; w++) {
		struct halves h = { .rounds = times(16) };
		pthread_t threads[2];

		if (way_unit(&ways[w]) != PAGE || !(h.space = make(&ways[w], MANY_UNITS)))
			continue;
		for (size_t at = 0; at < MANY_UNITS * PAGE; at += PAGE)
			*word(h.space, at) = 0;
		pthread_barrier_init(&h.barrier, NULL, 3);
		for (int i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, store_to_half, &h), 0);
		for (int r = 1; r <= h.rounds; r++) {
			struct hf_native_snapshot *s = snapshot(h.space);

			pthread_barrier_wait(&h.barrier);
			assert_int_equal(wrong_in(s, (uint64_t)r - 1), 0);
			pthread_barrier_wait(&h.barrier);
			assert_int_equal(wrong_in(s, (uint64_t)r - 1), 0);
			assert_int_equal(hf_native_drop(s), 0);
		}
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		pthread_barrier_destroy(&h.barrier);
		assert_int_equal(hf_native_destroy(h.space), 0);
	}
}

/* Of the space's range, as the kernel tells. */
static size_t huge_pages(struct hf_native *space)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	unsigned long from, to, kb, at = (unsigned long)hf_native_base(space);
	bool inside = false;
	char line[256];
	size_t huge = 0;

	assert_non_null(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = at <= from && from < at + hf_native_size(space);
		else if (inside && sscanf(line, "AnonHugePages: %lu kB", &kb) == 1)
			huge += kb / 2048;
	}
	fclose(smaps);
	return huge;
}

/* Two stores to one THP cost two pages, and split it; where all are written to they stay whole, but
 * for the first and those that are samples. */
static void thps_are_split_where_stores_are_few(void **state)
{
	(void)state;
	for (size_t w = 0; w < NR_WAYS; w++) {
		struct hf_native *space =
			ways[w].pages == HF_NATIVE_THP_4K ? make(&ways[w], 128 * 64) : NULL;
		struct hf_native_snapshot *s[4];
		uint64_t copied;

		if (!space)
			continue;
		s[0] = fill(space, 1);
		if (huge_pages(space) < 16) {
			print_message("%s: no THPs came\n", ways[w].name);
		} else {
			copied = copied_by(space);
			*word(space, 0) = *word(space, 300 * PAGE) = 2;
			assert_int_equal(copied_by(space) - copied, 2);
			assert_int_equal(get(s[0], 0), 1);
			assert_int_equal(get(s[0], 300 * PAGE), 1);
			assert_int_equal(huge_pages(space), 15);
			s[1] = snapshot(space);
			s[2] = fill(space, 3);
			s[3] = fill(space, 4);
			assert_true(huge_pages(space) >= 12);
			for (size_t at = 0; at < hf_native_size(space); at += PAGE)
				assert_int_equal(get(s[2], at), 3);
			for (int i = 1; i < 4; i++)
				assert_int_equal(hf_native_drop(s[i]), 0);
		}
		assert_int_equal(hf_native_drop(s[0]), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* What its memory is then, as elsewhere. */
static void a_child_that_gives_memory_back_has_zeros(void **state)
{
	(void)state;
	EACH_WAY(space, 4)
	{
		size_t unit = hf_native_unit(space);
		struct hf_native_snapshot *s;
		struct hf_native *child;
		uint64_t value;

		*word(space, unit) = 1;
		if (hf_native_memfd(space) < 0) {
			assert_int_equal(hf_native_fork(space, &child), 0);
			*word(child, unit) = 2;
			assert_int_equal(madvise(word(child, unit), PAGE, MADV_DONTNEED), 0);
			assert_int_equal(*word(child, unit), 0);
			*word(child, unit) = 3;
			s = snapshot(child);
			assert_int_equal(madvise(word(child, unit), PAGE, MADV_DONTNEED), 0);
			assert_int_equal(*word(child, unit), 0); /* and nobody kept the old bytes */
			assert_int_equal(hf_native_read(s, unit, &value, sizeof(value)), -ENODATA);
			assert_int_equal(hf_native_drop(s), 0);
			assert_int_equal(hf_native_destroy(child), 0);
		}
		assert_int_equal(*word(space, unit), 1);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

static void bad_arguments_are_refused(void **state)
{
	struct hf_native_config config = { .size = 0 };
	struct hf_native *space, *other;
	struct hf_native_snapshot *a, *b, *c;
	struct hf_native_run run = { 0, 0 };
	char byte;

	(void)state;
	assert_int_equal(hf_native_create(&config, &space), -EINVAL);
	config = (struct hf_native_config){ .size = PAGE, .flags = 0x80 };
	assert_int_equal(hf_native_create(&config, &space), -EINVAL);
	config = (struct hf_native_config){ .size = PAGE, .pages = 9 };
	assert_int_equal(hf_native_create(&config, &space), -EINVAL);
	config = (struct hf_native_config){ .size = PAGE,
					    .pages = HF_NATIVE_THP,
					    .flags = HF_NATIVE_SHARED };
	assert_int_equal(hf_native_create(&config, &space), -EINVAL);
	space = make(&ways[1], 2);
	other = make(&ways[1], 2);
	a = snapshot(space);
	b = snapshot(space);
	c = snapshot(other);
	assert_int_equal(hf_native_read(a, 2 * PAGE, &byte, 1), -EINVAL);
	assert_int_equal(hf_native_read(a, 1, &byte, SIZE_MAX), -EINVAL);
	assert_int_equal(hf_native_diff(b, a, 0, &run), -EINVAL);
	assert_int_equal(hf_native_diff(a, a, 0, &run), -EINVAL);
	assert_int_equal(hf_native_diff(a, b, 8, &run), -EINVAL);
	assert_int_equal(hf_native_diff(a, c, 0, &run), -EXDEV);
	assert_int_equal(hf_native_diff(a, b, 0, &run), 0);
	assert_int_equal(hf_native_prepare_read(&byte, 1), -EINVAL);
	assert_int_equal(hf_native_drop(a), 0);
	assert_int_equal(hf_native_drop(b), 0);
	assert_int_equal(hf_native_drop(c), 0);
	assert_int_equal(hf_native_destroy(space), 0);
	assert_int_equal(hf_native_destroy(other), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_snapshot_keeps_its_bytes),
		cmocka_unit_test(a_child_has_its_own_bytes),
		cmocka_unit_test(all_is_as_plain_copies_would_be),
		cmocka_unit_test(a_snapshot_is_one_instant),
		cmocka_unit_test(threads_meet_at_a_page),
		cmocka_unit_test(pins_count_and_hold),
		cmocka_unit_test(a_reader_sees_what_is_written_later),
		cmocka_unit_test(a_pin_count_that_is_full_is_refused),
		cmocka_unit_test(pins_are_released_as_they_were_taken),
		cmocka_unit_test(snapshot_pins_are_released_as_they_were_taken),
		cmocka_unit_test(many_ranges_are_told_apart),
		cmocka_unit_test(a_dropped_snapshot_is_known),
		cmocka_unit_test(a_destroyed_space_is_known),
		cmocka_unit_test(a_pinned_snapshot_is_unshared),
		cmocka_unit_test(without_frames_the_writer_goes_on),
		cmocka_unit_test(what_is_copied_around_takes_no_frame_from_others),
		cmocka_unit_test(dense_stores_are_copied_ahead),
		cmocka_unit_test(threads_store_all_over),
		cmocka_unit_test(thps_are_split_where_stores_are_few),
		cmocka_unit_test(a_child_that_gives_memory_back_has_zeros),
		cmocka_unit_test(bad_arguments_are_refused),
	};

	return cmocka_run_group_tests_name("native", tests, NULL, NULL);
}
