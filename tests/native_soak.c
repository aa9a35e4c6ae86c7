/* SPDX-License-Identifier: MIT */
/*
 * Everything at once, for as many seconds as the argument says, a share for each way: threads write
 * records, io_uring and direct I/O read into pinned pages, snapshots are taken, read, mapped and
 * dropped, children are made and destroyed. No byte may be lost to the owner, no record torn more
 * than one instant can tear it, and no snapshot may change.
 */
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "native.h"

#define NR_WRITERS 2
#define NR_RECORDS 96
#define RECORD_WORDS 64
#define NR_BLOCKS 8 /* of a page, which devices write */
#define KEPT 4

static double seconds = 8;

struct soak {
	const struct way *way;
	struct hf_native *space;
	size_t record_stride, block_stride, blocks,
		checked; /* where they lie; how much is looked at */
	pthread_t writers[NR_WRITERS], device;
	_Atomic bool stop;
	_Atomic int lost; /* what the owner did not find again */
	_Atomic uint64_t written, read;
};

/* What is on the way: the number of the writer comes with its argument. */
struct writer {
	struct soak *soak;
	size_t first;
};

static uint64_t word_of(uint64_t n, size_t record, size_t i)
{
	return n * 0x9e3779b97f4a7c15ULL + record * 1000003 + i;
}

static size_t at_record(const struct soak *s, size_t record)
{
	return record * s->record_stride;
}

/* ---- threads that write ---- */

/* In order: the word in front, the body, the word behind. */
static void write_record(struct soak *s, size_t record, uint64_t n)
{
	uint64_t *to = word(s->space, at_record(s, record));
	size_t len = RECORD_WORDS * sizeof(*to);

	begin_store(s->space, s->way, to, len);
	for (size_t i = 0; i < RECORD_WORDS; i++)
		__atomic_store_n(&to[i], word_of(n, record, i), __ATOMIC_RELEASE);
	for (size_t i = 0; i < RECORD_WORDS; i++)
		if (__atomic_load_n(&to[i], __ATOMIC_RELAXED) != word_of(n, record, i))
			atomic_fetch_add(&s->lost, 1);
	end_store(s->space, s->way, to, len);
}

static void *write_records(void *arg)
{
	struct writer *w = arg;
	struct soak *s = w->soak;

	for (uint64_t n = 1; !atomic_load(&s->stop); n++)
		for (size_t r = w->first; r < NR_RECORDS; r += NR_WRITERS) {
			write_record(s, r, n);
			atomic_fetch_add(&s->written, 1);
		}
	return NULL;
}

/* A record of one instant: n up to some word, n - 1 from there on. */
static bool record_is_of_one_instant(const uint64_t *words, size_t record)
{
	const uint64_t step = 0x9e3779b97f4a7c15ULL;
	uint64_t first = words[0];
	size_t i = 0;

	if (!first && !words[1])
		first = step + record * 1000003; /* n is 1, perhaps: nothing is there yet */
	while (i < RECORD_WORDS && words[i] == first + i)
		i++;
	for (; i < RECORD_WORDS; i++) {
		uint64_t before = first + i - step;

		if (words[i] != (before == record * 1000003 + i ? 0 : before))
			return false;
	}
	return true;
}

/* Or all of it is n, where it was bracketed. */
static bool record_is_whole(const struct soak *s, const uint64_t *words, size_t record)
{
	if (!record_is_of_one_instant(words, record))
		return false;
	return !(s->way->flags & HF_NATIVE_BRACKETED) ||
	       words[RECORD_WORDS - 1] - words[0] == (words[0] ? RECORD_WORDS - 1 : 0);
}

/* ---- the device ---- */

/* Its source: pages that are all one byte. */
static int source_file(bool direct)
{
	int fd = direct ? open("/var/tmp", O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600)
			: memfd_create("source", MFD_CLOEXEC);
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < 256 && fd >= 0; i++) {
		memset(page, i, PAGE);
		if (pwrite(fd, page, PAGE, i * (off_t)PAGE) != (ssize_t)PAGE) {
			close(fd);
			fd = -1;
		}
	}
	munmap(page, PAGE);
	return fd;
}

static char *at_block(const struct soak *s, size_t block)
{
	return (char *)hf_native_base(s->space) + s->blocks + block * s->block_stride;
}

static bool is_all(const char *page, unsigned char byte)
{
	return (unsigned char)page[0] == byte && !memcmp(page, page + 1, PAGE - 1);
}

/* All blocks at once, in flight while snapshots are taken: by registered buffers, for the others
 * fail in signal mode while a snapshot is taken. False: there is no io_uring. */
static bool read_blocks(struct soak *s, struct io_uring *ring, const int *fds, unsigned round)
{
	struct io_uring_cqe *cqe;

	for (unsigned b = 0; b < NR_BLOCKS; b++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
		off_t at = (off_t)((round + b) % 256 * PAGE);

		if (b % 4 == 3 && !(s->way->flags & HF_NATIVE_SIGNAL))
			io_uring_prep_read(sqe, fds[b % 2], at_block(s, b), PAGE, (uint64_t)at);
		else
			io_uring_prep_read_fixed(sqe, fds[b % 2], at_block(s, b), PAGE,
						 (uint64_t)at, (int)b);
	}
	if (io_uring_submit_and_wait(ring, NR_BLOCKS) != NR_BLOCKS)
		return false;
	for (unsigned b = 0; b < NR_BLOCKS; b++) {
		if (io_uring_wait_cqe(ring, &cqe))
			return false;
		if (cqe->res != (int)PAGE)
			atomic_fetch_add(&s->lost, 1);
		io_uring_cqe_seen(ring, cqe);
	}
	for (unsigned b = 0; b < NR_BLOCKS; b++)
		if (!is_all(at_block(s, b), (unsigned char)(round + b)))
			atomic_fetch_add(&s->lost, 1);
	atomic_fetch_add(&s->read, NR_BLOCKS);
	return true;
}

/* Pins, reads a while, and unpins, so that pages are protected in between. */
static bool read_pinned(struct soak *s, struct io_uring *ring, const int *fds, unsigned *round)
{
	struct iovec iov[NR_BLOCKS];
	bool good = true;

	for (unsigned b = 0; b < NR_BLOCKS; b++)
		if (hf_native_pin(s->space, at_block(s, b), PAGE, HF_FOLL_WRITE | HF_FOLL_LONGTERM,
				  &iov[b], 1) != 1)
			atomic_fetch_add(&s->lost, 1);
	if (io_uring_register_buffers(ring, iov, NR_BLOCKS))
		good = false;
	for (int i = 0; i < 50 && good; i++)
		good = read_blocks(s, ring, fds, ++*round);
	io_uring_unregister_buffers(ring);
	for (unsigned b = 0; b < NR_BLOCKS; b++)
		if (hf_native_unpin(s->space, at_block(s, b), PAGE,
				    HF_FOLL_WRITE | HF_FOLL_LONGTERM))
			atomic_fetch_add(&s->lost, 1);
	return good;
}

static void *be_the_device(void *arg)
{
	struct soak *s = arg;
	struct io_uring ring;
	int fds[2] = { source_file(false), source_file(true) };
	unsigned round = 0;

	if (fds[1] < 0)
		fds[1] = fds[0];
	if (io_uring_queue_init(2 * NR_BLOCKS, &ring, 0))
		return NULL;
	while (!atomic_load(&s->stop) && read_pinned(s, &ring, fds, &round))
		;
	io_uring_queue_exit(&ring);
	close(fds[0]);
	if (fds[1] != fds[0])
		close(fds[1]);
	return NULL;
}

/* ---- who takes snapshots ---- */

struct kept {
	struct hf_native_snapshot *s;
	uint64_t sum;
};

static uint64_t sum_of(uint64_t sum, const uint64_t *words, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		sum = (sum ^ words[i]) * 0x100000001b3ULL + (sum >> 29);
	return sum;
}

/* Of all that is written; the records have to be of one instant. */
static uint64_t look_at(const struct soak *s, const struct hf_native_snapshot *snap)
{
	uint64_t words[PAGE / sizeof(uint64_t)], sum = 1;

	for (size_t r = 0; r < NR_RECORDS; r++) {
		assert_int_equal(hf_native_read(snap, at_record(s, r), words,
						RECORD_WORDS * sizeof(words[0])),
				 0);
		if (!record_is_whole(s, words, r))
			fail_msg("%s: record %zu is torn", s->way->name, r);
		sum = sum_of(sum, words, RECORD_WORDS);
	}
	for (size_t b = 0; b < NR_BLOCKS; b++) {
		size_t at = s->blocks + b * s->block_stride;

		assert_int_equal(hf_native_read(snap, at, words, PAGE), 0);
		sum = sum_of(sum, words, PAGE / sizeof(words[0]));
	}
	return sum;
}

static void look_at_memory(const struct soak *s, const void *base, const char *what)
{
	for (size_t r = 0; r < NR_RECORDS; r++) {
		const char *at = (const char *)base + at_record(s, r);

		if (!record_is_whole(s, (const uint64_t *)at, r))
			fail_msg("%s: record %zu of a %s is torn", s->way->name, r, what);
	}
}

static void drop(const struct soak *s, struct kept *kept)
{
	if (!kept->s)
		return;
	if (look_at(s, kept->s) != kept->sum)
		fail_msg("%s: a snapshot has changed", s->way->name);
	assert_int_equal(hf_native_drop(kept->s), 0);
	kept->s = NULL;
}

static void try_a_child(const struct soak *s)
{
	struct hf_native *child;

	if (hf_native_memfd(s->space) >= 0)
		return;
	assert_int_equal(hf_native_fork(s->space, &child), 0);
	look_at_memory(s, hf_native_base(child), "child");
	for (size_t r = 0; r < NR_RECORDS; r++) {
		char *at = (char *)hf_native_base(child) + at_record(s, r);

		begin_store(child, s->way, at, 8);
		memset(at, 0xee, 8);
		end_store(child, s->way, at, 8);
	}
	assert_int_equal(hf_native_destroy(child), 0);
}

static void try_a_map(const struct soak *s, const struct kept *kept)
{
	const void *view;

	if (!kept->s)
		return;
	assert_int_equal(hf_native_map(kept->s, &view), 0);
	look_at_memory(s, view, "map");
	assert_int_equal(hf_native_unmap(kept->s), 0);
}

static void one_round(const struct soak *s, struct kept *kept)
{
	struct kept *k = &kept[rand() % KEPT];

	drop(s, k);
	k->s = snapshot(s->space);
	k->sum = look_at(s, k->s);
	if (look_at(s, k->s) != k->sum)
		fail_msg("%s: a snapshot has changed at once", s->way->name);
	if (rand() % 8 == 0)
		try_a_child(s);
	if (rand() % 4 == 0)
		try_a_map(s, &kept[rand() % KEPT]);
	if (rand() % 32 == 0)
		assert_int_equal(hf_native_trim(s->space), 0);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run_way(const struct way *way, double share)
{
	size_t units = way_unit(way) == PAGE ? 512 : 8;
	struct soak s = { .way = way, .space = make(way, units) };
	struct writer writers[NR_WRITERS];
	struct kept kept[KEPT] = { { NULL, 0 } };
	double end = now() + share;
	int rounds = 0;

	if (!s.space)
		return;
	s.record_stride = hf_native_size(s.space) / 2 / NR_RECORDS / 8 * 8;
	s.blocks = hf_native_size(s.space) / 2;
	s.block_stride = hf_native_size(s.space) / 2 / NR_BLOCKS;
	for (size_t i = 0; i < NR_WRITERS; i++) {
		writers[i] = (struct writer){ &s, i };
		assert_int_equal(pthread_create(&s.writers[i], NULL, write_records, &writers[i]),
				 0);
	}
	assert_int_equal(pthread_create(&s.device, NULL, be_the_device, &s), 0);
	for (; now() < end || rounds < 10; rounds++)
		one_round(&s, kept);
	atomic_store(&s.stop, true);
	for (size_t i = 0; i < NR_WRITERS; i++)
		pthread_join(s.writers[i], NULL);
	pthread_join(s.device, NULL);
	for (int i = 0; i < KEPT; i++)
		drop(&s, &kept[i]);
	assert_int_equal(s.lost, 0);
	assert_int_equal(hf_native_destroy(s.space), 0);
	print_message("# %s: %d rounds, %llu records, %llu pages read\n", way->name, rounds,
		      (unsigned long long)s.written, (unsigned long long)s.read);
}

static void nothing_is_lost_and_no_snapshot_changes(void **state)
{
	(void)state;
	for (size_t w = 0; w < NR_WAYS; w++)
		run_way(&ways[w], seconds / (NR_WAYS + NR_BRACKETED));
	for (size_t w = 0; w < NR_BRACKETED; w++)
		run_way(&bracketed_ways[w], seconds / (NR_WAYS + NR_BRACKETED));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_and_no_snapshot_changes),
	};

	if (argc > 1)
		seconds = strtod(argv[1], NULL);
	return cmocka_run_group_tests_name("native soak", tests, NULL, NULL);
}
