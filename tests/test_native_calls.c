/* SPDX-License-Identifier: MIT */
/*
 * Unmodified code works: every kind of system call that writes to protected pages, or reads from
 * pages that have not come. In the default mode it just succeeds; in signal mode it fails, and
 * succeeds in a bracket. Either way the snapshot has the bytes of before.
 */
#include <fcntl.h>
#include <liburing.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "native.h"

#define LEN PAGE
#define NOT_HERE 1 /* this machine has no such call */

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static char pattern[LEN] __attribute__((aligned(4096)));

/* A call that writes to `to`. `want` has what is there before, and gets what is to be there after.
 * Everything is set up anew each time, so that what failed can be done again. */
struct call {
	const char *name;
	long (*run)(char *to, char *want);
	long refused; /* in signal mode, without a bracket */
	bool always;  /* and perhaps in the default mode: kernels do not wait for a handler there */
};

static long outcome(ssize_t n, size_t len)
{
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -ENODATA;
}

static int file_of_pattern(void)
{
	int fd = memfd_create("pattern", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, pattern, LEN, 0), LEN);
	return fd;
}

/* ---- calls that write to memory ---- */

static long by_read(char *to, char *want)
{
	int fd = file_of_pattern();
	long err = outcome(read(fd, to, LEN), LEN);

	memcpy(want, pattern, LEN);
	close(fd);
	return err;
}

static long by_pread(char *to, char *want)
{
	int fd = file_of_pattern();
	long err = outcome(pread(fd, to, LEN - 100, 100), LEN - 100);

	memcpy(want, pattern + 100, LEN - 100);
	close(fd);
	return err;
}

static long by_readv(char *to, char *want)
{
	struct iovec iov[] = { { to + 1000, LEN - 1000 }, { to, 1000 } };
	int fd = file_of_pattern();
	long err = outcome(readv(fd, iov, 2), LEN);

	memcpy(want + 1000, pattern, LEN - 1000);
	memcpy(want, pattern + LEN - 1000, 1000);
	close(fd);
	return err;
}

/* -1 where no file system here does without the page cache. */
static int direct_file(void)
{
	static const char *const folders[] = { ".", "/var/tmp" };
	int fd = -1;

	for (int i = 0; i < 2 && fd < 0; i++)
		fd = open(folders[i], O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
	if (fd >= 0 && pwrite(fd, pattern, LEN, 0) != LEN) {
		close(fd);
		return -1;
	}
	return fd;
}

static long by_direct_read(char *to, char *want)
{
	int fd = direct_file();
	long err;

	if (fd < 0)
		return NOT_HERE;
	err = outcome(pread(fd, to, LEN, 0), LEN);
	memcpy(want, pattern, LEN);
	close(fd);
	return err;
}

static long by_pipe(char *to, char *want)
{
	int fds[2];
	long err;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(write(fds[1], pattern, LEN), LEN);
	err = outcome(read(fds[0], to, LEN), LEN);
	memcpy(want, pattern, LEN);
	close(fds[0]);
	close(fds[1]);
	return err;
}

static long by_socket(int type, char *to, char *want)
{
	int fds[2];
	long err;

	assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(send(fds[1], pattern, LEN, 0), LEN);
	if (type == SOCK_STREAM)
		err = outcome(recv(fds[0], to, LEN, MSG_WAITALL), LEN);
	else
		err = outcome(recvfrom(fds[0], to, LEN, 0, NULL, NULL), LEN);
	memcpy(want, pattern, LEN);
	close(fds[0]);
	close(fds[1]);
	return err;
}

static long by_recv(char *to, char *want)
{
	return by_socket(SOCK_STREAM, to, want);
}

static long by_datagram(char *to, char *want)
{
	return by_socket(SOCK_DGRAM, to, want);
}

static long by_fstat(char *to, char *want)
{
	int fd = file_of_pattern();
	long err;

	memset(want, 0, sizeof(struct stat)); /* padding included */
	assert_int_equal(syscall(SYS_fstat, fd, want), 0);
	err = syscall(SYS_fstat, fd, to) ? -errno : 0;
	close(fd);
	return err;
}

/* What cannot be foretold has to have changed. */
static long changed(char *to, char *want, size_t len, long err)
{
	if (err)
		return err;
	assert_true(memcmp(to, want, len) != 0);
	memcpy(want, to, len);
	return 0;
}

static long by_getrandom(char *to, char *want)
{
	return changed(to, want, 64, outcome(getrandom(to, 64, 0), 64));
}

static long by_clock_gettime(char *to, char *want)
{
	long err = syscall(SYS_clock_gettime, CLOCK_MONOTONIC, to) ? -errno : 0;

	return changed(to, want, sizeof(struct timespec), err);
}

/* As a program does it: a store like any other, or, without a clock for users, a call after all. */
static long by_vdso_clock(char *to, char *want)
{
	long err = clock_gettime(CLOCK_MONOTONIC, (struct timespec *)to) ? -errno : 0;

	return changed(to, want, sizeof(struct timespec), err);
}

static long by_futex(char *to, char *want)
{
	uint32_t nobody = 0, set = 0x2a;
	long n = syscall(SYS_futex, &nobody, FUTEX_WAKE_OP_PRIVATE, 1, 1, to,
			 FUTEX_OP(FUTEX_OP_SET, set, FUTEX_OP_CMP_EQ, 0));

	memcpy(want, &set, sizeof(set));
	return outcome(n, 0);
}

static long by_poll(char *to, char *want)
{
	struct pollfd *fds = (struct pollfd *)to, ready;
	int fd = file_of_pattern();
	long err;

	ready = (struct pollfd){ .fd = fd, .events = POLLIN, .revents = POLLIN };
	memcpy(want, &ready, sizeof(ready));
	ready.revents = 0;
	memcpy(fds, &ready, sizeof(ready)); /* a store: only the next protection counts */
	err = outcome(poll(fds, 1, 0), 1);
	close(fd);
	return err;
}

static long by_process_vm_writev(char *to, char *want)
{
	struct iovec from = { pattern, LEN }, remote = { to, LEN };

	memcpy(want, pattern, LEN);
	return outcome(process_vm_writev(getpid(), &from, 1, &remote, 1, 0), LEN);
}

static long by_populate(char *to, char *want)
{
	char *page = (char *)((uintptr_t)to & ~(PAGE - 1));
	long err = madvise(page, PAGE, MADV_POPULATE_WRITE) ? -errno : 0;

	(void)want;
	return err == -EINVAL ? NOT_HERE : err;
}

static long by_proc_mem(char *to, char *want)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	long err;

	if (fd < 0)
		return NOT_HERE;
	err = outcome(pwrite(fd, pattern, LEN, (off_t)(uintptr_t)to), LEN);
	memcpy(want, pattern, LEN);
	close(fd);
	return err;
}

static int poke(pid_t pid, char *to)
{
	long value;

	memcpy(&value, pattern, sizeof(value));
	if (ptrace(PTRACE_ATTACH, pid, NULL, NULL))
		return NOT_HERE;
	if (waitpid(pid, NULL, __WALL) != pid)
		return EINVAL;
	errno = 0;
	ptrace(PTRACE_POKEDATA, pid, to, value);
	value = errno;
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
	return (int)value;
}

static long by_ptrace(char *to, char *want)
{
	pid_t self = getpid(), pid = fork();
	int status;

	if (!pid)
		_exit(poke(self, to));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	memcpy(want, pattern, sizeof(long));
	return WEXITSTATUS(status) == NOT_HERE ? NOT_HERE : -WEXITSTATUS(status);
}

/* ---- io_uring ---- */

static long ring_result(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	long res;

	assert_int_equal(io_uring_submit_and_wait(ring, 1), 1);
	assert_int_equal(io_uring_wait_cqe(ring, &cqe), 0);
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res < 0 ? res : res == LEN ? 0 : -ENODATA;
}

static long by_ring_read(char *to, char *want)
{
	int fd = file_of_pattern();
	struct io_uring ring;
	long err = NOT_HERE;

	if (!io_uring_queue_init(4, &ring, 0)) {
		io_uring_prep_read(io_uring_get_sqe(&ring), fd, to, LEN, 0);
		err = ring_result(&ring);
		io_uring_queue_exit(&ring);
	}
	memcpy(want, pattern, LEN);
	close(fd);
	return err;
}

/* Registered and used in one go: nothing is protected in between. */
static long by_ring_fixed(char *to, char *want)
{
	struct iovec iov = { to, LEN };
	int fd = file_of_pattern();
	struct io_uring ring;
	long err = NOT_HERE;

	if (!io_uring_queue_init(4, &ring, 0)) {
		err = io_uring_register_buffers(&ring, &iov, 1);
		if (!err) {
			io_uring_prep_read_fixed(io_uring_get_sqe(&ring), fd, to, LEN, 0, 0);
			err = ring_result(&ring);
		}
		io_uring_queue_exit(&ring);
	}
	memcpy(want, pattern, LEN);
	close(fd);
	return err;
}

static const struct call calls[] = {
	{ "read", by_read, -EFAULT, false },
	{ "pread", by_pread, -EFAULT, false },
	{ "readv", by_readv, -EFAULT, false },
	{ "O_DIRECT", by_direct_read, -EFAULT, false },
	{ "pipe", by_pipe, -EFAULT, false },
	{ "recv", by_recv, -EFAULT, false },
	{ "recvfrom", by_datagram, -EFAULT, false },
	{ "fstat", by_fstat, -EFAULT, false },
	{ "getrandom", by_getrandom, -EFAULT, false },
	{ "clock_gettime", by_clock_gettime, -EFAULT, false },
	{ "clock_gettime in user space", by_vdso_clock, 0, false },
	{ "futex", by_futex, -EFAULT, true },
	{ "poll", by_poll, 0, false },
	{ "process_vm_writev", by_process_vm_writev, -EFAULT, false },
	{ "MADV_POPULATE_WRITE", by_populate, -EFAULT, false },
	{ "/proc/self/mem", by_proc_mem, -EIO, true },
	{ "ptrace", by_ptrace, -EIO, true },
	{ "io_uring read", by_ring_read, -EFAULT, false },
	{ "io_uring registered buffer", by_ring_fixed, -EFAULT, true },
};

#define NR_CALLS (sizeof(calls) / sizeof(calls[0]))

/* ---- the checks ---- */

static void expect_bytes(const char *what, const char *way, const char *got, const char *want)
{
	for (size_t i = 0; i < LEN; i++)
		if (got[i] != want[i])
			fail_msg("%s, %s: byte %zu is %#x, not %#x", way, what, i,
				 (unsigned char)got[i], (unsigned char)want[i]);
}

static void expect_old(const struct call *call, const struct way *way,
		       const struct hf_native_snapshot *s, size_t offset, const char *old)
{
	char got[LEN];

	assert_int_equal(hf_native_read(s, offset, got, LEN), 0);
	expect_bytes(call->name, way->name, got, old);
}

/* The call once more, in a bracket, with a snapshot before it and one after. */
static long in_bracket(const struct call *call, const struct way *way, struct hf_native *space,
		       char *to, const char *old, char *want)
{
	size_t offset = (size_t)(to - (char *)hf_native_base(space));
	struct hf_native_snapshot *before, *after;
	long err;

	assert_int_equal(hf_native_prepare_write(space, to, LEN), 0);
	before = snapshot(space);
	memcpy(want, old, LEN);
	err = call->run(to, want);
	after = snapshot(space);
	assert_int_equal(hf_native_finish_write(space, to, LEN), 0);
	if (!err) {
		expect_old(call, way, before, offset, old);
		expect_old(call, way, after, offset, want);
	}
	assert_int_equal(hf_native_drop(before), 0);
	assert_int_equal(hf_native_drop(after), 0);
	return err;
}

/* How it may be refused: always, by protected pages, or perhaps, by what was never there. */
enum protection { PROTECTED, PERHAPS };

static void check_call(const struct call *call, const struct way *way, struct hf_native *space,
		       char *to, enum protection protection)
{
	size_t offset = (size_t)(to - (char *)hf_native_base(space));
	struct hf_native_snapshot *s = snapshot(space);
	bool signal = way->flags & HF_NATIVE_SIGNAL;
	char old[LEN], want[LEN];
	long err;

	assert_int_equal(hf_native_read(s, offset, old, LEN), 0);
	memcpy(want, old, LEN);
	err = call->run(to, want);
	if ((signal || call->always) && err != NOT_HERE) {
		bool either = !call->refused && err == -EFAULT;

		if (!either && err != call->refused && (err || (signal && protection == PROTECTED)))
			fail_msg("%s, %s: %ld is not the refusal", way->name, call->name, err);
		if (err) {
			expect_bytes(call->name, way->name, to, old);
			err = in_bracket(call, way, space, to, old, want);
		}
	}
	if (err == NOT_HERE)
		print_message("# not here: %s\n", call->name);
	else if (err)
		fail_msg("%s, %s: %s", way->name, call->name, strerror((int)-err));
	else
		expect_bytes(call->name, way->name, to, want);
	expect_old(call, way, s, offset, old);
	assert_int_equal(hf_native_drop(s), 0);
}

static void calls_write_to_protected_pages(void **state)
{
	(void)state;
	EACH_WAY(space, 2)
	{
		char *to = hf_native_base(space);

		for (size_t i = 0; i < NR_CALLS; i++) {
			memset(to, 'a' + (int)i, LEN);
			check_call(&calls[i], &ways[w_], space, to, PROTECTED);
		}
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* The second page only: where the first is writable, a call in signal mode may get half its way. */
static void calls_write_across_units(void **state)
{
	(void)state;
	EACH_WAY(space, 2)
	{
		char *to = (char *)hf_native_base(space) + hf_native_unit(space) - LEN / 2;

		for (size_t i = 0; i < NR_CALLS; i++) {
			memset(to, 'a' + (int)i, LEN);
			check_call(&calls[i], &ways[w_], space, to, PROTECTED);
		}
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

static void calls_write_to_memory_never_touched(void **state)
{
	(void)state;
	for (size_t w = 0; w < NR_WAYS; w++) {
		bool small = way_unit(&ways[w]) == PAGE;
		struct hf_native *space = NULL;

		for (size_t i = 0; i < NR_CALLS; i++) {
			size_t at = small ? i : i % 4;

			if (!space && !(space = make(&ways[w], small ? NR_CALLS : 4)))
				break;
			check_call(&calls[i], &ways[w], space,
				   (char *)hf_native_base(space) + at * hf_native_unit(space),
				   PERHAPS);
			if (!small && at == 3) {
				assert_int_equal(hf_native_destroy(space), 0);
				space = NULL;
			}
		}
		if (space)
			assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* What a child has not used yet comes for a system call as it does for a store. */
static void calls_write_to_a_child(void **state)
{
	(void)state;
	EACH_WAY(space, 2)
	{
		struct hf_native *child;

		memset(hf_native_base(space), 'p', LEN);
		for (size_t i = 0; i < NR_CALLS && hf_native_memfd(space) < 0; i++) {
			assert_int_equal(hf_native_fork(space, &child), 0);
			check_call(&calls[i], &ways[w_], child, hf_native_base(child), PERHAPS);
			for (size_t n = 0; n < LEN; n++)
				assert_int_equal(((char *)hf_native_base(space))[n], 'p');
			assert_int_equal(hf_native_destroy(child), 0);
		}
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* What is pinned needs no bracket, and its snapshots are of the instant. */
static void calls_write_to_pinned_pages(void **state)
{
	(void)state;
	EACH_WAY(space, 2)
	{
		char *to = hf_native_base(space), want[LEN], old[LEN];
		struct hf_native_snapshot *s;
		struct iovec iov;

		assert_int_equal(hf_native_pin(space, to, LEN, HF_FOLL_WRITE, &iov, 1), 1);
		for (size_t i = 0; i < NR_CALLS; i++) {
			long err;

			memset(to, 'A' + (int)i, LEN);
			memcpy(old, to, LEN);
			memcpy(want, to, LEN);
			s = snapshot(space);
			err = calls[i].run(to, want);
			if (err && err != NOT_HERE)
				fail_msg("%s, %s: %ld", ways[w_].name, calls[i].name, err);
			if (!err)
				expect_bytes(calls[i].name, ways[w_].name, to, want);
			expect_old(&calls[i], &ways[w_], s, 0, old);
			assert_int_equal(hf_native_drop(s), 0);
		}
		assert_int_equal(hf_native_unpin(space, to, LEN, HF_FOLL_WRITE), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* ---- a bracket, and snapshots at any moment ---- */

struct snapper {
	struct hf_native *space;
	_Atomic bool stop;
	_Atomic int taken;
	int torn;
};

/* On both sides of the bracket, which is in unit 1, and then here and there: calls to protect, so
 * that between protecting and letting go there is time for a system call. */
static void store_elsewhere(struct hf_native *space)
{
	size_t unit = hf_native_unit(space);

	++*word(space, 0);
	for (size_t at = 2 * unit; at < hf_native_size(space); at += 8 * unit)
		++*word(space, at);
}

#define IN_BRACKET 16 /* records, one after the other */

/* A record is of one byte, the next of the next; a snapshot has bytes of one bracket only. */
static bool of_one_bracket(const unsigned char *got)
{
	int low = 0, high = 0;

	for (size_t i = 0; i < LEN; i++) {
		int ahead = (signed char)(got[i] - got[0]);

		low = ahead < low ? ahead : low;
		high = ahead > high ? ahead : high;
	}
	return high - low <= IN_BRACKET;
}

static void *take_snapshots(void *arg)
{
	struct snapper *snapper = arg;
	unsigned char got[LEN];

	while (!atomic_load(&snapper->stop)) {
		struct hf_native_snapshot *s;

		store_elsewhere(snapper->space);
		if (hf_native_snapshot(snapper->space, &s)) {
			snapper->torn++;
			continue;
		}
		snapper->torn += hf_native_read(s, hf_native_unit(snapper->space), got, LEN) ||
				 !of_one_bracket(got);
		snapper->torn += hf_native_drop(s) != 0;
		atomic_fetch_add(&snapper->taken, 1);
	}
	return NULL;
}

static void snapshots_may_be_taken_in_a_bracket(void **state)
{
	(void)state;
	for (size_t w = 0; w < NR_WAYS; w++) {
		struct hf_native *space = make(&ways[w], way_unit(&ways[w]) == PAGE ? 256 : 3);
		struct snapper snapper = { .space = space };
		char *to, record[LEN];
		pthread_t thread;
		int fds[2], round = 0, value = -1;

		if (!space)
			continue;
		to = (char *)hf_native_base(space) + hf_native_unit(space);
		assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
		assert_int_equal(pthread_create(&thread, NULL, take_snapshots, &snapper), 0);
		for (; round < times(100) || atomic_load(&snapper.taken) < times(100); round++) {
			assert_int_equal(hf_native_prepare_write(space, to, LEN), 0);
			for (int i = 0; i < IN_BRACKET; i++) {
				memset(record, ++value & 0xff, LEN);
				assert_int_equal(write(fds[1], record, LEN), LEN);
				assert_int_equal(read(fds[0], to, LEN), LEN);
			}
			assert_int_equal(hf_native_finish_write(space, to, LEN), 0);
			assert_memory_equal(to, record, LEN);
		}
		atomic_store(&snapper.stop, true);
		pthread_join(thread, NULL);
		assert_int_equal(snapper.torn, 0);
		assert_int_equal(hf_native_finish_write(space, to, LEN), -EINVAL);
		assert_int_equal(hf_native_destroy(space), 0);
		close(fds[0]);
		close(fds[1]);
	}
}

/* ---- calls that read from memory ---- */

static long to_pipe(const char *from, char *got)
{
	int fds[2];
	long err;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	err = outcome(write(fds[1], from, LEN), LEN);
	if (!err)
		err = outcome(read(fds[0], got, LEN), LEN);
	close(fds[0]);
	close(fds[1]);
	return err;
}

static long to_socket(const char *from, char *got)
{
	int fds[2];
	long err;

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
	err = outcome(send(fds[1], from, LEN, 0), LEN);
	if (!err)
		err = outcome(recv(fds[0], got, LEN, 0), LEN);
	close(fds[0]);
	close(fds[1]);
	return err;
}

static long to_direct_file(const char *from, char *got)
{
	int fd = direct_file();
	char *buffer = aligned_alloc(PAGE, LEN);
	long err = NOT_HERE;

	if (fd >= 0) {
		err = outcome(pwrite(fd, from, LEN, 0), LEN);
		if (!err)
			err = outcome(pread(fd, buffer, LEN, 0), LEN);
		memcpy(got, buffer, LEN);
		close(fd);
	}
	free(buffer);
	return err;
}

static long to_process_vm_readv(const char *from, char *got)
{
	struct iovec local = { got, LEN }, remote = { (char *)(uintptr_t)from, LEN };

	return outcome(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), LEN);
}

static long (*const readers[])(const char *from, char *got) = { to_pipe, to_socket, to_direct_file,
								to_process_vm_readv };

static void check_reader(const struct way *way, int r, const char *from, char byte)
{
	char got[LEN], want[LEN];
	long err = readers[r](from, got);

	if (err == NOT_HERE)
		return;
	if (way->flags & HF_NATIVE_SIGNAL && err) {
		assert_int_equal(err, -EFAULT);
		assert_int_equal(hf_native_prepare_read(from, LEN), 0);
		err = readers[r](from, got);
	}
	assert_int_equal(err, 0);
	memset(want, byte, LEN);
	assert_memory_equal(got, want, LEN);
}

static void calls_read_what_has_not_come(void **state)
{
	(void)state;
	EACH_WAY(space, 4)
	{
		size_t unit = hf_native_unit(space);
		struct hf_native_snapshot *s;
		struct hf_native *child;
		const void *view;

		for (size_t i = 0; i < 4; i++)
			memset((char *)hf_native_base(space) + i * unit, 'a' + (int)i, LEN);
		s = snapshot(space);
		memset((char *)hf_native_base(space) + unit, 'x', LEN);
		assert_int_equal(hf_native_map(s, &view), 0);
		for (int r = 0; r < 4; r++) {
			check_reader(&ways[w_], r, (char *)hf_native_base(space) + unit, 'x');
			check_reader(&ways[w_], r, (const char *)view + (size_t)r * unit,
				     (char)('a' + r));
		}
		assert_int_equal(hf_native_prepare_read(view, 4 * unit + 1), -EINVAL);
		assert_int_equal(hf_native_unmap(s), 0);
		assert_int_equal(hf_native_drop(s), 0);
		for (int r = 0; r < 4 && hf_native_memfd(space) < 0; r++) {
			assert_int_equal(hf_native_fork(space, &child), 0);
			check_reader(&ways[w_], r, hf_native_base(child), 'a');
			assert_int_equal(hf_native_destroy(child), 0);
		}
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_write_to_protected_pages),
		cmocka_unit_test(calls_write_across_units),
		cmocka_unit_test(calls_write_to_memory_never_touched),
		cmocka_unit_test(calls_write_to_a_child),
		cmocka_unit_test(calls_write_to_pinned_pages),
		cmocka_unit_test(snapshots_may_be_taken_in_a_bracket),
		cmocka_unit_test(calls_read_what_has_not_come),
	};

	for (size_t i = 0; i < LEN; i++)
		pattern[i] = (char)(i * 7 + (i >> 8) + 1);
	return cmocka_run_group_tests_name("native calls", tests, NULL, NULL);
}
