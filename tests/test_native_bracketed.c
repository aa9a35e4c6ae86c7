/* SPDX-License-Identifier: MIT */
/* Bracketed spaces, and what is given back and gone back to: each promise of the header. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "native.h"

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif

#define EACH_BRACKETED(space, units)                                                               \
	for (size_t w_ = 0; w_ < NR_BRACKETED; w_++)                                               \
		for (struct hf_native *space = make(&bracketed_ways[w_], units); space;            \
		     space = NULL)

static void put(struct hf_native *space, size_t offset, uint64_t value)
{
	uint64_t *at = word(space, offset);

	assert_int_equal(hf_native_begin_store(space, at, sizeof(*at)), 0);
	*at = value;
	hf_native_end_store(space, at, sizeof(*at));
}

static void a_snapshot_keeps_what_brackets_overwrite(void **state)
{
	(void)state;
	EACH_BRACKETED(space, 200)
	{
		size_t unit = hf_native_unit(space), last = hf_native_size(space) - 8;
		struct hf_native_snapshot *a, *b;

		put(space, 0, 1);
		put(space, last, 2);
		a = snapshot(space);
		put(space, 0, 3);
		put(space, 70 * unit, 4);
		b = snapshot(space);
		put(space, 0, 5);
		put(space, last, 6);
		assert_int_equal(get(a, 0), 1);
		assert_int_equal(get(a, last), 2);
		assert_int_equal(get(a, 70 * unit), 0);
		assert_int_equal(get(b, 0), 3);
		assert_int_equal(get(b, last), 2);
		assert_int_equal(get(b, 70 * unit), 4);
		assert_int_equal(hf_native_drop(b), 0);
		assert_int_equal(get(a, 0), 1);
		assert_int_equal(get(a, last), 2);
		assert_int_equal(hf_native_drop(a), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* One of many units, of two words, and with a bracket inside. */
static void brackets_may_be_long_and_nest(void **state)
{
	(void)state;
	EACH_BRACKETED(space, 200)
	{
		size_t unit = hf_native_unit(space), len = 100 * unit;
		char *from = (char *)hf_native_base(space) + 40 * unit - 8;
		struct hf_native_snapshot *s = snapshot(space);

		assert_int_equal(hf_native_begin_store(space, from, len), 0);
		assert_int_equal(hf_native_begin_store(space, from + unit, 8), 0);
		hf_native_end_store(space, from + unit, 8);
		memset(from, 7, len);
		hf_native_end_store(space, from, len);
		for (size_t at = 0; at < hf_native_size(space); at += unit)
			assert_int_equal(get(s, at), 0);
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

static void what_cannot_be_bracketed_is_refused(void **state)
{
	struct hf_native_config both = { .size = PAGE,
					 .flags = HF_NATIVE_BRACKETED | HF_NATIVE_SIGNAL };
	struct hf_native *space = make(&bracketed_ways[1], 4), *other;
	char *base = hf_native_base(space);
	struct hf_native_snapshot *s = snapshot(space);
	const void *view;

	(void)state;
	assert_int_equal(hf_native_create(&both, &other), -EINVAL);
	assert_int_equal(hf_native_begin_store(space, base - 8, 8), -EINVAL);
	assert_int_equal(hf_native_begin_store(space, base + 4 * PAGE - 4, 8), -EINVAL);
	assert_int_equal(hf_native_begin_store(space, base + 4 * PAGE, 1), -EINVAL);
	assert_int_equal(hf_native_begin_store(space, base, 0), -EINVAL);
	assert_int_equal(hf_native_begin_store(space, base + 8, SIZE_MAX), -EINVAL);
	/* and none of them has left a bracket open */
	assert_int_equal(hf_native_begin_store(space, base, 8), 0);
	assert_int_equal(hf_native_snapshot(space, &s), -EDEADLK);
	assert_int_equal(hf_native_fork(space, &other), -EDEADLK);
	assert_int_equal(hf_native_drop(s), -EDEADLK);
	assert_int_equal(hf_native_map(s, &view), -EDEADLK);
	assert_int_equal(hf_native_release(s, 0, PAGE), -EDEADLK);
	assert_int_equal(hf_native_restore(space, s), -EDEADLK);
	assert_int_equal(hf_native_destroy(space), -EDEADLK);
	hf_native_end_store(space, base, 8);
	assert_int_equal(hf_native_drop(s), 0);
	assert_int_equal(hf_native_destroy(space), 0);
}

/* ---- a snapshot waits for brackets ---- */

struct waiting {
	struct hf_native *space;
	_Atomic int stage;
};

static void *store_slowly(void *arg)
{
	struct waiting *w = arg;
	uint64_t *first = word(w->space, 0), *second = word(w->space, 3 * PAGE);

	assert_int_equal(hf_native_begin_store(w->space, first, 8), 0);
	*first = 1;
	atomic_store(&w->stage, 1);
	usleep(20000);
	/* one inside another does not wait for the snapshot that waits for it */
	put(w->space, 3 * PAGE, 1);
	*second = 1;
	*first = 2;
	atomic_store(&w->stage, 2);
	hf_native_end_store(w->space, first, 8);
	put(w->space, 0, 3); /* waits */
	return NULL;
}

static void a_snapshot_waits_for_open_brackets(void **state)
{
	(void)state;
	EACH_BRACKETED(space, 4)
	{
		struct waiting w = { .space = space };
		struct hf_native_snapshot *s;
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, store_slowly, &w), 0);
		while (!atomic_load(&w.stage))
			;
		s = snapshot(space);
		assert_int_equal(atomic_load(&w.stage), 2);
		pthread_join(thread, NULL);
		assert_int_equal(get(s, 0), 2);
		assert_int_equal(get(s, 3 * PAGE), 1);
		assert_int_equal(*word(space, 0), 3);
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* ---- children and maps ---- */

static void children_and_maps_are_copies(void **state)
{
	(void)state;
	EACH_BRACKETED(space, 70)
	{
		size_t unit = hf_native_unit(space);
		struct hf_native_snapshot *s, *of_child;
		struct hf_native *child, *grandchild;
		const void *view;

		put(space, 0, 1);
		put(space, 66 * unit, 2);
		s = snapshot(space);
		put(space, 0, 3);
		assert_int_equal(hf_native_fork(space, &child), 0);
		put(space, 66 * unit, 4);
		put(child, 0, 5);
		of_child = snapshot(child);
		put(child, 66 * unit, 6);
		put(child, unit, 7);
		assert_int_equal(get(of_child, 0), 5);
		assert_int_equal(get(of_child, 66 * unit), 2);
		assert_int_equal(get(of_child, unit), 0);
		assert_int_equal(hf_native_fork(child, &grandchild), 0);
		assert_int_equal(*word(grandchild, 66 * unit), 6);
		assert_int_equal(*word(space, 0), 3);
		assert_int_equal(hf_native_map(s, &view), 0);
		assert_int_equal(*(const uint64_t *)view, 1);
		assert_int_equal(*(const uint64_t *)((const char *)view + 66 * unit), 2);
		assert_int_equal(hf_native_prepare_read(view, unit), 0);
		assert_int_equal(hf_native_unmap(s), 0);
		assert_int_equal(hf_native_drop(of_child), 0);
		assert_int_equal(hf_native_destroy(grandchild), 0);
		assert_int_equal(hf_native_destroy(child), 0);
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* ---- pins, and what they go with ---- */

static void what_is_pinned_needs_no_bracket(void **state)
{
	(void)state;
	EACH_BRACKETED(space, 4)
	{
		struct hf_native_snapshot *s, *t;
		struct iovec iov;

		assert_int_equal(hf_native_pin(space, word(space, 0), 8, HF_FOLL_WRITE, &iov, 1),
				 1);
		*word(space, 0) = 1;
		s = snapshot(space);
		*word(space, 0) = 2;
		t = snapshot(space);
		*word(space, 0) = 3;
		assert_int_equal(get(s, 0), 1);
		assert_int_equal(get(t, 0), 2);
		assert_int_equal(hf_native_discard(space, word(space, 0), 8), 0);
		assert_int_equal(*word(space, 0), 0);
		assert_int_equal(hf_native_unpin(space, word(space, 0), 8, HF_FOLL_WRITE), 0);
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_drop(t), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

static void what_is_discarded_snapshots_keep(void **state)
{
	(void)state;
	EACH_BRACKETED(space, 130)
	{
		size_t size = hf_native_size(space), unit = hf_native_unit(space);
		struct hf_native_snapshot *s;

		for (size_t at = 0; at < size; at += unit)
			put(space, at, at + 1);
		s = snapshot(space);
		assert_int_equal(hf_native_discard(space, word(space, 8), size - 16), 0);
		assert_int_equal(*word(space, 0), 1);
		for (size_t at = unit; at < size; at += unit) {
			assert_int_equal(*word(space, at), 0);
			assert_int_equal(get(s, at), at + 1);
		}
		put(space, unit, 5);
		assert_int_equal(get(s, unit), unit + 1);
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* ---- giving back, going back: in every mode ---- */

static uint64_t frames_of(const struct hf_native *space)
{
	struct hf_native_stats stats;

	hf_native_stats(space, &stats);
	return stats.frames_used;
}

static const struct way *way;

static void put_any(struct hf_native *space, size_t offset, uint64_t value)
{
	begin_store(space, way, word(space, offset), 8);
	*word(space, offset) = value;
	end_store(space, way, word(space, offset), 8);
}

static void try_release(struct hf_native *space)
{
	size_t unit = hf_native_unit(space);
	struct hf_native_snapshot *a, *b;
	uint64_t value;

	for (size_t i = 0; i < 4; i++)
		put_any(space, i * unit, i + 1);
	a = snapshot(space);
	put_any(space, 0, 10);
	b = snapshot(space);
	put_any(space, 0, 20);
	put_any(space, unit, 21);
	/* b is done with the first three; a still has to have them */
	assert_int_equal(hf_native_release(b, 0, 3 * unit + unit / 2), 0);
	assert_int_equal(hf_native_read(b, 0, &value, 8), -ENODATA);
	put_any(space, 2 * unit, 22);
	put_any(space, 3 * unit, 23);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(get(a, i * unit), i + 1);
	assert_int_equal(get(b, 3 * unit), 4);
	assert_int_equal(hf_native_release(a, 0, hf_native_size(space)), 0);
	assert_int_equal(get(b, 3 * unit), 4);
	assert_int_equal(hf_native_drop(a), 0);
	assert_int_equal(get(b, 3 * unit), 4);
	assert_int_equal(frames_of(space), 2 * unit); /* the third was a's when b gave it up */
	assert_int_equal(hf_native_drop(b), 0);
	/* what nobody needs is not copied */
	a = snapshot(space);
	assert_int_equal(hf_native_release(a, 0, 4 * unit), 0);
	for (size_t i = 0; i < 4; i++)
		put_any(space, i * unit, i);
	assert_int_equal(frames_of(space), 0);
	assert_int_equal(hf_native_release(a, 1, hf_native_size(space)), -EINVAL);
	assert_int_equal(hf_native_drop(a), 0);
	assert_int_equal(hf_native_release(a, 0, unit), -EINVAL);
	assert_int_equal(hf_native_destroy(space), 0);
}

static void try_restore(struct hf_native *space)
{
	size_t unit = hf_native_unit(space);
	struct hf_native_snapshot *a, *b;
	struct hf_native *child;

	put_any(space, 0, 1);
	put_any(space, unit, 2);
	a = snapshot(space);
	for (int round = 0; round < 3; round++) {
		put_any(space, 0, 10);
		put_any(space, 2 * unit, 11);
		if (round)
			put_any(space, unit, 12);
		assert_int_equal(hf_native_restore(space, a), 0);
		assert_int_equal(*word(space, 0), 1);
		assert_int_equal(*word(space, unit), 2);
		assert_int_equal(*word(space, 2 * unit), 0);
		assert_int_equal(get(a, 0), 1);
	}
	put_any(space, 0, 20);
	put_any(space, 3 * unit, 21);
	b = snapshot(space);
	put_any(space, 3 * unit, 22);
	assert_int_equal(hf_native_restore(space, a), 0);
	assert_int_equal(*word(space, 0), 1);
	assert_int_equal(*word(space, 3 * unit), 0);
	assert_int_equal(get(b, 0), 20);
	assert_int_equal(get(b, 3 * unit), 21);
	assert_int_equal(hf_native_restore(space, b), 0);
	assert_int_equal(*word(space, 0), 20);
	assert_int_equal(*word(space, 3 * unit), 21);
	assert_int_equal(get(a, 0), 1);
	if (hf_native_memfd(space) < 0) {
		assert_int_equal(hf_native_fork(space, &child), 0);
		assert_int_equal(hf_native_restore(child, a), -EXDEV);
		assert_int_equal(hf_native_destroy(child), 0);
	}
	put_any(space, 0, 30);
	assert_int_equal(hf_native_release(b, 0, unit), 0);
	assert_int_equal(hf_native_restore(space, b), -ENODATA);
	assert_int_equal(*word(space, 0), 30);
	assert_int_equal(hf_native_drop(b), 0);
	assert_int_equal(hf_native_drop(a), 0);
	assert_int_equal(hf_native_restore(space, a), -EINVAL);
	assert_int_equal(hf_native_destroy(space), 0);
}

static void in_each_mode(void (*try)(struct hf_native *space))
{
	EACH_BRACKETED(space, 8)
	{
		way = &bracketed_ways[w_];
		try(space);
	}
	EACH_WAY(space, 8)
	{
		way = &ways[w_];
		try(space);
	}
}

static void what_is_released_is_there_for_others(void **state)
{
	(void)state;
	in_each_mode(try_release);
}

static void restore_goes_back_in_place(void **state)
{
	(void)state;
	in_each_mode(try_restore);
}

/* Kernels that can tell whether a page is protected: Linux 5.14, of the pool's 6.7. */
static bool can_tell(void)
{
	struct hf_native_support support;

	return !hf_native_probe(&support) && support.pagemap_scan;
}

static void going_back_does_not_hide_what_is_lost(void **state)
{
	(void)state;
	if (!can_tell())
		skip();
	EACH_WAY(space, 4)
	{
		struct hf_native_snapshot *s;
		uint64_t value;

		*word(space, 0) = 1;
		s = snapshot(space);
		if (hf_native_memfd(space) < 0) {
			assert_int_equal(
				madvise(word(space, 0), hf_native_unit(space), MADV_DONTNEED), 0);
			*word(space, 0) = 9;
			assert_int_equal(hf_native_read(s, 0, &value, 8), -ENODATA);
			assert_int_equal(hf_native_restore(space, s), -ENODATA);
			assert_int_equal(*word(space, 0), 9);
		}
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* A fault would wait for who goes back, or end the program. */
static void going_back_goes_over_holes(void **state)
{
	(void)state;
	if (!can_tell())
		skip();
	EACH_WAY(space, 4)
	{
		struct hf_native_snapshot *s;
		struct hf_native *child;

		if (hf_native_memfd(space) < 0) {
			*word(space, 0) = 1;
			assert_int_equal(hf_native_fork(space, &child), 0);
			*word(child, 0) = 2;
			s = snapshot(child);
			*word(child, 0) = 3;
			assert_int_equal(
				madvise(word(child, 0), hf_native_unit(space), MADV_DONTNEED), 0);
			assert_int_equal(hf_native_restore(child, s), 0);
			assert_int_equal(*word(child, 0), 2);
			assert_int_equal(hf_native_drop(s), 0);
			assert_int_equal(hf_native_destroy(child), 0);
		}
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

static void going_back_to_read_only_memory_is_refused(void **state)
{
	(void)state;
	EACH_BRACKETED(space, 4)
	{
		size_t unit = hf_native_unit(space);
		struct hf_native_snapshot *s = snapshot(space);

		put(space, 0, 1);
		assert_int_equal(mprotect(word(space, 0), unit, PROT_READ), 0);
		assert_int_equal(hf_native_restore(space, s), -EFAULT);
		assert_int_equal(*word(space, 0), 1);
		assert_int_equal(mprotect(word(space, 0), unit, PROT_READ | PROT_WRITE), 0);
		assert_int_equal(hf_native_restore(space, s), 0);
		assert_int_equal(*word(space, 0), 0);
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* ---- threads ---- */

static void *first_bracket_and_end(void *arg)
{
	struct waiting *w = arg;

	while (atomic_load(&w->stage) < 2)
		;
	usleep(20000);
	put(w->space, PAGE, 1); /* waits, but holds nothing that others need */
	return NULL;
}

static void *come_and_go_elsewhere(void *arg)
{
	struct hf_native *own = make(&bracketed_ways[1], 1);

	put(own, 0, 1); /* it has to be forgotten when it ends */
	assert_int_equal(hf_native_destroy(own), 0);
	return arg;
}

static void *be_inside_for_a_while(void *arg)
{
	struct waiting *w = arg;
	pthread_t other;

	assert_int_equal(hf_native_begin_store(w->space, word(w->space, 0), 8), 0);
	atomic_store(&w->stage, 1);
	while (atomic_load(&w->stage) < 2)
		;
	usleep(20000);
	/* threads come and go while the snapshot waits for this one */
	assert_int_equal(pthread_create(&other, NULL, come_and_go_elsewhere, NULL), 0);
	assert_int_equal(pthread_join(other, NULL), 0);
	hf_native_end_store(w->space, word(w->space, 0), 8);
	return NULL;
}

static void threads_come_and_go_while_a_snapshot_waits(void **state)
{
	struct hf_native *space = make(&bracketed_ways[0], 4);
	struct waiting w = { .space = space };
	pthread_t inside, late;
	struct hf_native_snapshot *s;

	(void)state;
	assert_int_equal(pthread_create(&inside, NULL, be_inside_for_a_while, &w), 0);
	assert_int_equal(pthread_create(&late, NULL, first_bracket_and_end, &w), 0);
	while (!atomic_load(&w.stage))
		;
	atomic_store(&w.stage, 2);
	s = snapshot(space);
	pthread_join(inside, NULL);
	pthread_join(late, NULL);
	assert_int_equal(hf_native_drop(s), 0);
	assert_int_equal(hf_native_destroy(space), 0);
}

static _Atomic bool stop;

static void *count_up(void *arg)
{
	struct hf_native *space = arg;

	/* two words that are never one apart by more, whatever the instant */
	for (uint64_t n = 1; !atomic_load(&stop); n++) {
		for (size_t i = 0; i < 40; i++) {
			uint64_t *a = word(space, i * PAGE * 3), *b = a + PAGE / 8;

			assert_int_equal(hf_native_begin_store(space, a, PAGE + 8), 0);
			*a = n;
			*b = n;
			hf_native_end_store(space, a, PAGE + 8);
		}
	}
	return NULL;
}

/* Threads come and go meanwhile. */
static void *come_and_go(void *arg)
{
	put(arg, 125 * PAGE, 1);
	return NULL;
}

static void brackets_are_whole_in_snapshots(void **state)
{
	(void)state;
	EACH_BRACKETED(space, 130)
	{
		pthread_t writer, other;

		atomic_store(&stop, false);
		assert_int_equal(pthread_create(&writer, NULL, count_up, space), 0);
		for (int i = 0; i < times(400); i++) {
			struct hf_native_snapshot *s = snapshot(space);

			assert_int_equal(pthread_create(&other, NULL, come_and_go, space), 0);
			for (size_t at = 0; at < 40; at++)
				if (get(s, at * PAGE * 3) != get(s, at * PAGE * 3 + PAGE))
					fail_msg("a bracket was cut in two");
			assert_int_equal(hf_native_drop(s), 0);
			pthread_join(other, NULL);
		}
		atomic_store(&stop, true);
		pthread_join(writer, NULL);
		assert_int_equal(frames_of(space), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

static void after_fork_the_child_makes_its_own(void **state)
{
	struct hf_native *space = make(&bracketed_ways[0], 8);
	int status;
	pid_t pid;

	(void)state;
	put(space, 0, 1);
	hf_native_drop(snapshot(space));
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct hf_native *own;
		struct hf_native_snapshot *s;
		bool good = hf_native_begin_store(space, word(space, PAGE), 8) == -EOWNERDEAD;

		own = make(&bracketed_ways[0], 8);
		put(own, 0, 2);
		good = good && !hf_native_snapshot(own, &s);
		put(own, 0, 3);
		_exit(good && get(s, 0) == 2 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(hf_native_destroy(space), 0);
}

/* ---- brackets that are forgotten ---- */

struct strays {
	const void *last;
	unsigned nr;
};

static void note_stray(void *arg, const void *addr)
{
	struct strays *strays = arg;

	strays->last = addr;
	strays->nr++;
}

static struct hf_native *make_checked(const struct way *checked, struct strays *strays)
{
	struct hf_native_config config = {
		.size = 64 * way_unit(checked),
		.pages = checked->pages,
		.flags = HF_NATIVE_BRACKETED | HF_NATIVE_CHECKED,
		.stray = strays ? note_stray : NULL,
		.stray_arg = strays,
	};
	struct hf_native *space = NULL;

	assert_int_equal(hf_native_create(&config, &space), 0);
	return space;
}

/* One in a thousand. */
static void a_forgotten_bracket_is_found(void **state)
{
	(void)state;
	for (size_t w = 0; w < NR_BRACKETED; w++) {
		struct strays strays = { .nr = 0 };
		struct hf_native *space = make_checked(&bracketed_ways[w], &strays);
		size_t unit = hf_native_unit(space);
		struct hf_native_snapshot *s = snapshot(space);
		struct iovec iov;

		for (uint64_t i = 0; i < 2000; i++)
			if (i == 1234)
				*word(space, i % 64 * unit) = i;
			else
				put(space, i % 64 * unit, i);
		assert_int_equal(strays.nr, 1);
		assert_ptr_equal(strays.last, word(space, 1234 % 64 * unit));
		/* what needs none is no stray */
		assert_int_equal(hf_native_pin(space, word(space, 8), 8, HF_FOLL_WRITE, &iov, 1),
				 1);
		*word(space, 8) = 1;
		assert_int_equal(hf_native_unpin(space, word(space, 8), 8, HF_FOLL_WRITE), 0);
		assert_int_equal(hf_native_discard(space, word(space, unit), unit), 0);
		assert_int_equal(hf_native_restore(space, s), 0);
		assert_int_equal(*word(space, 0), 0);
		assert_int_equal(strays.nr, 1);
		*(volatile uint64_t *)word(space, 0) = 1;
		assert_int_equal(*(volatile unsigned *)&strays.nr, 2);
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

static void and_ends_the_program_with_its_place(void **state)
{
	int ends[2], status;
	char text[4096] = "";
	ssize_t n;
	pid_t pid;

	(void)state;
#ifdef __SANITIZE_THREAD__
	skip(); /* it does not let a handler print a stack */
#endif
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct hf_native *space = make_checked(&bracketed_ways[1], NULL);

		signal(SIGABRT, SIG_DFL);
		dup2(ends[1], STDERR_FILENO);
		put(space, 0, 1);
		*word(space, 5 * PAGE) = 1;
		_exit(0);
	}
	close(ends[1]);
	for (size_t got = 0; (n = read(ends[0], text + got, sizeof(text) - 1 - got)) > 0;)
		got += (size_t)n;
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_non_null(strstr(text, "a store without a bracket: 0x"));
	assert_non_null(strstr(text, ", 20480 bytes into the space"));
	assert_non_null(strstr(text, "test_native_bracketed"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_snapshot_keeps_what_brackets_overwrite),
		cmocka_unit_test(brackets_may_be_long_and_nest),
		cmocka_unit_test(what_cannot_be_bracketed_is_refused),
		cmocka_unit_test(a_snapshot_waits_for_open_brackets),
		cmocka_unit_test(children_and_maps_are_copies),
		cmocka_unit_test(what_is_pinned_needs_no_bracket),
		cmocka_unit_test(what_is_discarded_snapshots_keep),
		cmocka_unit_test(what_is_released_is_there_for_others),
		cmocka_unit_test(restore_goes_back_in_place),
		cmocka_unit_test(going_back_does_not_hide_what_is_lost),
		cmocka_unit_test(going_back_goes_over_holes),
		cmocka_unit_test(going_back_to_read_only_memory_is_refused),
		cmocka_unit_test(threads_come_and_go_while_a_snapshot_waits),
		cmocka_unit_test(brackets_are_whole_in_snapshots),
		cmocka_unit_test(after_fork_the_child_makes_its_own),
		cmocka_unit_test(a_forgotten_bracket_is_found),
		cmocka_unit_test(and_ends_the_program_with_its_place),
	};

	return cmocka_run_group_tests_name("native bracketed", tests, NULL, NULL);
}
