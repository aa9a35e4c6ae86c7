/* SPDX-License-Identifier: MIT */
/* Descriptors that the program did not open: it closes them, or takes their numbers. */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "native_ordinary.h"

#define HIGHEST 20000

/* ---- closed ---- */

static int close_all(struct scene *s)
{
	mark_all(s);
	for (int fd = 3; fd < HIGHEST; fd++)
		close(fd);
	return 0;
}

static int close_the_range(struct scene *s)
{
	mark_all(s);
	closefrom(3);
	return 0;
}

static int close_in_a_table_of_its_own(struct scene *s)
{
	mark_all(s);
	if (syscall(SYS_close_range, 3, ~0U, 2 /* CLOSE_RANGE_UNSHARE */))
		return skipped(s, "no close_range()");
	return 0;
}

static int close_the_memfd(struct scene *s)
{
	int fd = hf_native_memfd(s->space);

	if (fd < 0)
		return skipped(s, "only SHARED has a memfd");
	mark_all(s);
	MUST(!close(fd));
	return 0;
}

static int keep_all_over_exec(struct scene *s)
{
	static char *const args[] = { "true", NULL };
	int status;
	pid_t pid;

	for (int fd = 3; fd < HIGHEST; fd++)
		if (is_stranger(s, fd))
			fcntl(fd, F_SETFD, 0);
	MUST(!posix_spawn(&pid, "/bin/true", NULL, NULL, args, NULL));
	MUST(waitpid(pid, &status, 0) == pid && !status);
	return 0;
}

static int set_flags_of_all(struct scene *s)
{
	for (int fd = 3; fd < HIGHEST; fd++)
		if (is_stranger(s, fd))
			fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) ^ O_NONBLOCK);
	return 0;
}

/* ---- taken ---- */

/* Makes every number that the library has, or would get next, one of ours. */
static int take_numbers(struct scene *s, int (*open_one)(struct scene *s))
{
	int fd;

	mark_all(s);
	for (int nr = 3; nr < HIGHEST; nr++) {
		if (!is_stranger(s, nr))
			continue;
		fd = open_one(s);
		MUST(fd >= 0);
		if (fd != nr) {
			MUST(dup2(fd, nr) == nr);
			close(fd);
		}
		if (own(s, nr))
			return 1;
	}
	return 0;
}

static int one_with(struct scene *s, size_t size)
{
	int fd = memfd_create("data", MFD_CLOEXEC);
	char bytes[PAGE];

	memset(bytes, 0xdb, sizeof(bytes));
	MUST(fd < 0 || !size || !ftruncate(fd, (off_t)size));
	MUST(fd < 0 || pwrite(fd, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes));
	return fd;
}

static int a_data_file(struct scene *s)
{
	return one_with(s, 0);
}

static int a_sparse_file(struct scene *s)
{
	return one_with(s, 1UL << 42);
}

static int an_eventfd(struct scene *s)
{
	(void)s;
	return eventfd(12345, EFD_CLOEXEC);
}

static int dev_zero(struct scene *s)
{
	(void)s;
	return open("/dev/zero", O_RDWR | O_CLOEXEC);
}

static int a_folder(struct scene *s)
{
	(void)s;
	return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int a_pipe(struct scene *s)
{
	int ends[2];

	MUST(!pipe2(ends, O_CLOEXEC) && write(ends[1], "data", 4) == 4);
	s->before[ends[1]] = true; /* it stays open */
	return ends[0];
}

static int take_by_files(struct scene *s)
{
	return take_numbers(s, a_data_file);
}

static int take_by_sparse_files(struct scene *s)
{
	return take_numbers(s, a_sparse_file);
}

static int take_by_eventfds(struct scene *s)
{
	return take_numbers(s, an_eventfd);
}

static int take_by_dev_zero(struct scene *s)
{
	return take_numbers(s, dev_zero);
}

static int take_by_folders(struct scene *s)
{
	return take_numbers(s, a_folder);
}

static int take_by_pipes(struct scene *s)
{
	return take_numbers(s, a_pipe);
}

static int files_are_untouched(struct scene *s)
{
	char bytes[PAGE];

	for (unsigned i = 0; i < s->nr_owned; i++) {
		MUST(pread(s->owned[i].fd, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes));
		for (size_t b = 0; b < sizeof(bytes); b++)
			MUST(bytes[b] == (char)0xdb);
	}
	return 0;
}

static int counts_are_untouched(struct scene *s)
{
	uint64_t count;

	for (unsigned i = 0; i < s->nr_owned; i++)
		MUST(read(s->owned[i].fd, &count, 8) == 8 && count == 12345);
	return 0;
}

static int pipes_are_untouched(struct scene *s)
{
	int bytes;

	for (unsigned i = 0; i < s->nr_owned; i++)
		MUST(!ioctl(s->owned[i].fd, FIONREAD, &bytes) && bytes == 4);
	return 0;
}

/* ---- by a userfaultfd of the program's own ---- */

static char *ours;
static int our_uffd = -1;

/* -1: none. Its range is protected. */
static int protect_ours(char *at, size_t len)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = { .range = { (uintptr_t)at, len },
				       .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = { .range = reg.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg) ||
	    ioctl(fd, UFFDIO_WRITEPROTECT, &wp))
		return -1;
	return fd;
}

static int our_userfaultfd(struct scene *s)
{
	MUST(our_uffd >= 0);
	return fcntl(our_uffd, F_DUPFD_CLOEXEC, 3);
}

static int take_by_our_userfaultfd(struct scene *s)
{
	ours = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(ours != MAP_FAILED);
	memset(ours, 1, 4 * PAGE);
	our_uffd = protect_ours(ours, 4 * PAGE);
	if (our_uffd < 0)
		return skipped(s, "no userfaultfd");
	s->before[our_uffd] = true;
	return take_numbers(s, our_userfaultfd);
}

static void *store_to_ours(void *arg)
{
	(void)arg;
	ours[PAGE] = 2;
	return NULL;
}

/* Its events come to the program, and to nobody else. */
static int our_events_come(struct scene *s)
{
	struct pollfd comes = { .fd = our_uffd, .events = POLLIN };
	struct uffdio_writeprotect wp = { .range = { (uintptr_t)ours, 4 * PAGE } };
	struct uffd_msg msg;
	pthread_t thread;

	MUST(!pthread_create(&thread, NULL, store_to_ours, NULL));
	MUST(poll(&comes, 1, 10000) == 1);
	MUST(read(our_uffd, &msg, sizeof(msg)) == sizeof(msg));
	MUST(msg.arg.pagefault.address == (uintptr_t)ours + PAGE);
	MUST(!ioctl(our_uffd, UFFDIO_WRITEPROTECT, &wp));
	pthread_join(thread, NULL);
	munmap(ours, 4 * PAGE);
	return 0;
}

/* ---- by another process's ---- */

static int channel[2];

static int send_descriptor(int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *head = CMSG_FIRSTHDR(&msg);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &fd, sizeof(int));
	return sendmsg(channel[1], &msg, 0) == 1 ? 0 : -1;
}

static int receive_descriptor(void)
{
	char byte, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	int fd = -1;

	if (recvmsg(channel[0], &msg, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&msg))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	return fd;
}

/* Of the pages here, protected ones; -1: other bytes than there were. */
static int count_protected(const char *at, size_t nr)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), count = 0;

	for (size_t i = 0; i < nr; i++) {
		uint64_t entry = 0;

		if (pread(fd, &entry, 8, (off_t)((uintptr_t)at / PAGE + i) * 8) != 8)
			return 0;
		count += (int)(entry >> 57 & 1);
		if (at[i * PAGE] != (char)(i + 1))
			return -1;
	}
	close(fd);
	return count;
}

/* Another process has memory at the very addresses of the space, and its own userfaultfd. */
static int lend(struct scene *s)
{
	size_t nr = nr_pages(s);
	struct uffdio_writeprotect wp = { .range = { (uintptr_t)block_at(s, FIRST), nr * PAGE } };
	char *at = mmap(block_at(s, FIRST), nr * PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	int fd;

	NEED(at != MAP_FAILED && !madvise(at, nr * PAGE, MADV_NOHUGEPAGE));
	for (size_t i = 0; i < nr; i++)
		at[i * PAGE] = (char)(i + 1);
	fd = protect_ours(at, nr * PAGE);
	NEED(!ioctl(fd, UFFDIO_WRITEPROTECT, &wp));
	NEED(!send_descriptor(fd));
	while (!s->verdict->stop)
		usleep(1000);
	NEED(count_protected(at, nr) == 0);
	return 0;
}

static int take_by_anothers_userfaultfd(struct scene *s)
{
	MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel));
	s->before[channel[0]] = s->before[channel[1]] = true;
	MUST(helper(s, lend) > 0);
	close(channel[1]);
	our_uffd = receive_descriptor();
	if (our_uffd < 0)
		return skipped(s, "no userfaultfd");
	s->before[our_uffd] = true;
	return take_numbers(s, our_userfaultfd);
}

/* ---- used up ---- */

static int limit_to_what_is_open(struct scene *s)
{
	struct rlimit limit = { 64, 64 };

	MUST(!setrlimit(RLIMIT_NOFILE, &limit));
	for (int fd = dup(0); fd >= 0; fd = dup(0))
		if (own(s, fd))
			return 1;
	MUST(errno == EMFILE);
	return 0;
}

static int limit_to_none(struct scene *s)
{
	struct rlimit limit = { 0, 0 };

	MUST(!setrlimit(RLIMIT_NOFILE, &limit));
	return 0;
}

/* ---- a table of this thread's own ---- */

static int leave_the_table(struct scene *s)
{
	MUST(!unshare(CLONE_FILES));
	return 0;
}

static int leave_the_table_and_close(struct scene *s)
{
	return leave_the_table(s) || close_all(s);
}

#define MAY (LOSE | REFUSE | FOR_GOOD)

const struct row descriptor_rows[] = {
	ROW("all from 3 are closed after create", AFTER_CREATE, close_all, MAY),
	ROW("all from 3 are closed after a snapshot", AFTER_S1, close_all, MAY),
	ROW("all from 3 are closed with maps and a child", AFTER_MAPS, close_all, MAY),
	ROW("all from 3 are closed before drop and destroy", BEFORE_END, close_all, MAY),
	ROW("closefrom(3) after a snapshot", AFTER_S1, close_the_range, MAY),
	ROW("close_range(3, ~0, CLOSE_RANGE_UNSHARE)", AFTER_S1, close_in_a_table_of_its_own, MAY),
	ROW("unshare(CLONE_FILES)", AFTER_S1, leave_the_table, 0),
	ROW("unshare(CLONE_FILES), and all from 3 are closed", AFTER_S1, leave_the_table_and_close,
	    MAY),
	ROW("the memfd is closed", AFTER_S1, close_the_memfd, MAY),
	ROW("FD_CLOEXEC is cleared, and /bin/true run", AFTER_S1, keep_all_over_exec, 0),
	ROW("O_NONBLOCK of all from 3 is turned over", AFTER_S1, set_flags_of_all, MAY),
	ROW("numbers taken by data files after create", AFTER_CREATE, take_by_files, MAY,
	    .finish = files_are_untouched),
	ROW("numbers taken by data files after a snapshot", AFTER_S1, take_by_files, MAY,
	    .finish = files_are_untouched),
	ROW("numbers taken by data files before drop and destroy", BEFORE_END, take_by_files, MAY,
	    .finish = files_are_untouched),
	ROW("numbers taken by big sparse files", AFTER_S1, take_by_sparse_files, MAY,
	    .finish = files_are_untouched),
	ROW("numbers taken by pipes", AFTER_S1, take_by_pipes, MAY, .finish = pipes_are_untouched),
	ROW("numbers taken by eventfds", AFTER_S1, take_by_eventfds, MAY,
	    .finish = counts_are_untouched),
	ROW("numbers taken by /dev/zero", AFTER_S1, take_by_dev_zero, MAY),
	ROW("numbers taken by folders", AFTER_S1, take_by_folders, MAY),
	ROW("numbers taken by the program's own userfaultfd", AFTER_S1, take_by_our_userfaultfd,
	    MAY | KEEP, .finish = our_events_come),
	ROW("numbers taken by another process's userfaultfd", AFTER_S1,
	    take_by_anothers_userfaultfd, MAY, .finish = end_helper),
	ROW("no descriptor is left before create", BEFORE_CREATE, limit_to_what_is_open, 0,
	    .create_errors = { EMFILE }),
	ROW("no descriptor is left after create", AFTER_CREATE, limit_to_what_is_open, 0),
	ROW("no descriptor is left after a snapshot", AFTER_S1, limit_to_what_is_open, 0),
	ROW("RLIMIT_NOFILE 0 before create", BEFORE_CREATE, limit_to_none, 0,
	    .create_errors = { EMFILE }),
	ROW("RLIMIT_NOFILE 0 after create", AFTER_CREATE, limit_to_none, 0),
	END_OF_ROWS,
};
