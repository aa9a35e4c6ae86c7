/* SPDX-License-Identifier: MIT */
/* Native spaces where something is short or forbidden: memory, descriptors, threads, rights, system
 * calls. Each in a process of its own, which works again when the limit is gone. */
#include <fcntl.h>
#include <liburing.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "native_child.h"
#include "target/common/era.h"

#define NOBODY 64999U /* nobody else's, so that its limits are ours */

static int set_limit(int what, rlim_t now)
{
	struct rlimit limit;

	getrlimit((__rlimit_resource_t)what, &limit);
	limit.rlim_cur = now == RLIM_INFINITY ? limit.rlim_max : now;
	return setrlimit((__rlimit_resource_t)what, &limit);
}

/* ---- RLIMIT_AS ---- */

/* What it got as far as, and how it is taken apart again. */
struct got {
	struct hf_native *space, *child;
	struct hf_native_snapshot *a, *b;
	const void *view;
};

/* The first error; whatever came before it is in *g. */
static int get_all(const struct way *way, struct got *g)
{
	int err = create(way, 64, &g->space);

	if (err)
		return err;
	*word(g->space, 0) = 1;
	err = hf_native_snapshot(g->space, &g->a);
	*word(g->space, 0) = 2;
	if (!err)
		err = hf_native_snapshot(g->space, &g->b);
	*word(g->space, 0) = 3;
	if (!err)
		err = hf_native_map(g->b, &g->view);
	if (!err && hf_native_memfd(g->space) < 0)
		err = hf_native_fork(g->space, &g->child);
	*word(g->space, 0) = 4;
	return err;
}

/* No byte of the owner is lost, and a snapshot has the old ones or says that it has not. */
static int put_all(struct got *g)
{
	uint64_t value;
	int err;

	if (!g->space)
		return 0;
	NEED(*word(g->space, 0) == 4);
	err = g->a ? hf_native_read(g->a, 0, &value, sizeof(value)) : -ENODATA;
	NEED(err == -ENODATA || (!err && value == 1));
	err = g->b ? hf_native_read(g->b, 0, &value, sizeof(value)) : -ENODATA;
	NEED(err == -ENODATA || (!err && value == 2));
	NEED(!g->view || !hf_native_unmap(g->b));
	NEED(!g->a || !hf_native_drop(g->a));
	NEED(!g->b || !hf_native_drop(g->b));
	NEED(!g->child || !hf_native_destroy(g->child));
	NEED(!hf_native_destroy(g->space));
	return 0;
}

static int with_little_memory(const void *arg)
{
	long size, step = 512, failed = 0, now;
	const struct way *way = arg;
	int files, err = -ENOMEM;

	mallopt(M_ARENA_MAX, 1);
	if (all_works(way) || all_works(way))
		return 1;
	size = figure_of("/proc/self/status", "VmSize:");
	files = open_files();
	for (long more = 0; err; more += step) {
		struct got g = { 0 };

		step = more > (8 << 10) ? 4096 : 512;
		NEED(!set_limit(RLIMIT_AS, (rlim_t)(size + more) << 10));
		err = get_all(way, &g);
		NEED(!err || err == -ENOMEM || err == -EAGAIN);
		NEED(!set_limit(RLIMIT_AS, RLIM_INFINITY));
		failed += err != 0;
		if (put_all(&g))
			return 1;
		now = figure_of("/proc/self/status", "VmSize:");
		NEED(open_files() == files && now <= size + 256);
	}
	NEED(failed > 0);
	return all_works(way);
}

static void memory_that_is_short(void **state)
{
	(void)state;
	if (SANITIZED)
		return; /* they want more than there is */
	for (size_t w = 0; w < NR_WAYS; w++)
		if (ways[w].pages != HF_NATIVE_HUGETLB && way_exists(&ways[w]))
			in_child(with_little_memory, &ways[w]);
}

/* ---- memory that is gone ---- */

/* Where a part is unmapped: a pin says so, in each mode, and goes on for ever in none. */
static int with_a_part_unmapped(const void *arg)
{
	struct hf_native *space;
	struct iovec iov;

	NEED(!create(arg, 8, &space));
	NEED(!munmap(word(space, 4 * PAGE), 4 * PAGE));
	for (int i = 0; i < 3; i++) {
		unsigned flags = i % 2 ? HF_FOLL_WRITE : 0;
		int err = hf_native_pin(space, word(space, 0), 8 * PAGE, flags, &iov, 1);

		NEED(err == -EFAULT || err == -ENOMEM);
		NEED(hf_native_unpin(space, word(space, 0), 8 * PAGE, flags) == -EINVAL);
	}
	NEED(hf_native_pin(space, word(space, 0), 4 * PAGE, HF_FOLL_WRITE, &iov, 1) == 1);
	NEED(!hf_native_unpin(space, word(space, 0), 4 * PAGE, HF_FOLL_WRITE));
	NEED(!hf_native_destroy(space));
	return 0;
}

/* What the parent's snapshot has lost a child cannot pin. */
static int with_a_unit_lost(const void *arg)
{
	struct hf_native *space, *child;
	struct iovec iov;
	size_t unit;

	NEED(!create_with(arg, 4, 1, &space));
	unit = hf_native_unit(space);
	for (size_t u = 0; u < 2; u++)
		*word(space, u * unit) = u + 1;
	NEED(!hf_native_fork(space, &child));
	for (size_t u = 0; u < 2; u++)
		*word(space, u * unit) = u + 11;
	NEED(hf_native_pin(child, word(child, 0), 2 * unit, 0, &iov, 1) == -ENODATA);
	NEED(hf_native_unpin(child, word(child, 0), 2 * unit, 0) == -EINVAL);
	NEED(!hf_native_destroy(child) && !hf_native_destroy(space));
	return 0;
}

static void memory_that_is_gone(void **state)
{
	(void)state;
	for (size_t w = 0; w < NR_WAYS; w++)
		if (ways[w].pages != HF_NATIVE_HUGETLB && way_exists(&ways[w]))
			in_child(ways[w].flags & HF_NATIVE_SHARED ? with_a_part_unmapped
								  : with_a_unit_lost,
				 &ways[w]);
}

/* ---- mappings ---- */

static sigjmp_buf elsewhere;

static void leave(int sig)
{
	siglongjmp(elsewhere, sig);
}

/* The signal that reading it ends with; 0: none. */
static int signal_of(const uint64_t *p)
{
	int sig = sigsetjmp(elsewhere, 1);

	if (!sig)
		*(const volatile uint64_t *)p;
	return sig;
}

/* Maps as many single pages as may be, no two of them alike. They go with the process. */
static void use_up_mappings(void)
{
	int prot = PROT_READ;

	while (mmap(NULL, PAGE, prot ^= PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	       MAP_FAILED)
		;
}

/* UFFDIO_POISON; on a kernel whose version cannot be told, too. */
static bool has_poison(void)
{
	struct utsname name;
	unsigned version = uname(&name) ? 0 : hf_kernel_version(name.release);

	return !version || version >= 606;
}

/* What is lost ends in a signal, even where no mapping is left; and never goes on for ever. */
static int reading_what_is_lost(const void *arg)
{
	const struct way *way = arg;
	struct hf_native *space, *child;
	struct sigaction action = { .sa_handler = leave };
	size_t unit = way_unit(way);

	NEED(!sigaction(SIGBUS, &action, NULL) && !sigaction(SIGSEGV, &action, NULL));
	NEED(!create_with(way, 8, 1, &space));
	for (size_t u = 0; u < 8; u++)
		*word(space, u * unit) = u + 1;
	NEED(!hf_native_fork(space, &child));
	for (size_t u = 0; u < 7; u++)
		*word(space, u * unit) = u + 11;
	NEED(!signal_of(word(child, 0)) && *word(child, 0) == 1);
	NEED(signal_of(word(child, unit)));
	if (!has_poison())
		return not_here("Linux 6.6 has what needs no mapping");
	NEED(signal_of(word(child, unit)) == SIGBUS);
	NEED(hf_native_prepare_read(word(child, 3 * unit), 8) == -ENODATA);
	if (SANITIZED)
		return not_here("a sanitizer needs mappings of its own");
	use_up_mappings();
	for (size_t u = 1; u < 7; u++)
		NEED(signal_of(word(child, u * unit)) == SIGBUS);
	NEED(*word(child, 7 * unit) == 8);
	return 0;
}

static void mappings_that_are_short(void **state)
{
	(void)state;
	for (size_t w = 0; w < NR_WAYS; w++)
		if (!(ways[w].flags & HF_NATIVE_SHARED) && way_exists(&ways[w]))
			in_child(reading_what_is_lost, &ways[w]);
}

/* ---- descriptors ---- */

static int with_few_files(const void *arg)
{
	const struct way *way = arg;
	struct hf_native *space;
	int files = open_files(), err = -1;

	for (rlim_t limit = 3; err; limit++) {
		NEED(limit < 64 && !set_limit(RLIMIT_NOFILE, limit));
		err = create(way, 4, &space);
		NEED(!err || err == -EMFILE);
		NEED(!set_limit(RLIMIT_NOFILE, RLIM_INFINITY));
		NEED(!err || open_files() == files);
	}
	NEED(!hf_native_destroy(space) && open_files() == files);
	return all_works(way);
}

static void descriptors_that_are_short(void **state)
{
	(void)state;
	for (size_t w = 0; w < NR_WAYS; w++)
		if (ways[w].pages != HF_NATIVE_HUGETLB && way_exists(&ways[w]))
			in_child(with_few_files, &ways[w]);
}

/* ---- rights ---- */

/* Another user, with no rights, or with the one for the default mode. */
static int become_nobody(unsigned capability)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0 } };

	if (geteuid())
		return not_here("not root");
	NEED(!prctl(PR_SET_KEEPCAPS, 1));
	NEED(!setresgid(NOBODY, NOBODY, NOBODY) && !setresuid(NOBODY, NOBODY, NOBODY));
	data[0].effective = data[0].permitted = capability == ~0U ? 0 : 1U << capability;
	NEED(!syscall(SYS_capset, &header, data));
	return 0;
}

static bool anyone_may(void)
{
	int fd = open("/proc/sys/vm/unprivileged_userfaultfd", O_RDONLY | O_CLOEXEC);
	char value = '0';

	if (fd < 0)
		return true; /* before Linux 5.2, or no /proc */
	if (read(fd, &value, 1) != 1)
		value = '0';
	close(fd);
	return value != '0' || access("/dev/userfaultfd", R_OK | W_OK) == 0;
}

static int without_rights(const void *arg)
{
	struct hf_native_support support;
	struct hf_native *space;
	int err = become_nobody(~0U);

	if (err)
		return err;
	if (arg)
		prctl(PR_SET_DUMPABLE, 1); /* as a program is that was started so: /proc is its */
	if (anyone_may())
		return not_here("anyone may handle the kernel's faults");
	NEED(!hf_native_probe(&support));
	NEED(!support.kernel_faults && strstr(support.remedy, "unprivileged_userfaultfd"));
	NEED(create(&ways[0], 4, &space) == -EPERM);
	for (size_t w = 0; w < NR_WAYS; w++) {
		if (!(ways[w].flags & HF_NATIVE_SIGNAL) || ways[w].pages == HF_NATIVE_HUGETLB ||
		    (way_is_thp(&ways[w]) && !support.unpopulated) ||
		    (ways[w].flags & HF_NATIVE_SHARED && !support.write_protect_shared))
			continue;
		if (all_works(&ways[w]))
			return 1;
	}
	return 0;
}

static void no_rights_are_needed_in_signal_mode(void **state)
{
	(void)state;
	in_child(without_rights, "with its own /proc");
	in_child(without_rights, NULL);
}

static int without_threads(const void *arg)
{
	struct hf_native_config config = { .size = PAGE, .pages = HF_NATIVE_4K };
	struct hf_native *space;
	int err = become_nobody(CAP_SYS_PTRACE), files = open_files();

	(void)arg;
	if (err)
		return err;
	prctl(PR_SET_DUMPABLE, 1);
	NEED(!set_limit(RLIMIT_NPROC, 1));
	NEED(hf_native_create(&config, &space) == -EAGAIN);
	config.flags = HF_NATIVE_SIGNAL;
	config.helpers = 2;
	NEED(hf_native_create(&config, &space) == -EAGAIN);
	config.helpers = 0;
	NEED(hf_native_create(&config, &space) == -EAGAIN);
	NEED(!set_limit(RLIMIT_NPROC, RLIM_INFINITY));
	NEED(open_files() == files);
	return all_works(&ways[0]);
}

static void threads_that_are_short(void **state)
{
	(void)state;
	in_child(without_threads, NULL);
}

static int with_little_locked_memory(const void *arg)
{
	struct hf_native_config config = { .size = 64 * PAGE,
					   .pages = HF_NATIVE_4K,
					   .flags = HF_NATIVE_SIGNAL };
	struct hf_native_snapshot *s;
	struct hf_native *space;
	struct io_uring ring;
	struct iovec iov;
	int err = become_nobody(~0U);

	(void)arg;
	if (err)
		return err;
	if (io_uring_queue_init(4, &ring, 0))
		return not_here("no io_uring");
	NEED(!set_limit(RLIMIT_MEMLOCK, 16 * PAGE) && !hf_native_create(&config, &space));
	NEED(hf_native_pin(space, hf_native_base(space), config.size, HF_FOLL_WRITE, &iov, 1) == 1);
	NEED(io_uring_register_buffers(&ring, &iov, 1) == -ENOMEM);
	*word(space, 0) = 1;
	NEED(!hf_native_snapshot(space, &s));
	*word(space, 0) = 2;
	NEED(peek(s, 0) == 1);
	NEED(!hf_native_unpin(space, hf_native_base(space), config.size, HF_FOLL_WRITE));
	NEED(hf_native_pin(space, hf_native_base(space), 8 * PAGE, HF_FOLL_WRITE, &iov, 1) == 1);
	NEED(!io_uring_register_buffers(&ring, &iov, 1));
	io_uring_queue_exit(&ring);
	NEED(!hf_native_unpin(space, hf_native_base(space), 8 * PAGE, HF_FOLL_WRITE));
	NEED(!hf_native_drop(s) && !hf_native_destroy(space));
	return 0;
}

static void locked_memory_that_is_short(void **state)
{
	(void)state;
	in_child(with_little_locked_memory, NULL);
}

/* ---- system calls that are not there ---- */

/* Any call of number `nr`, or, if there is a second argument `with`, that one only, fails. */
static int forbid(uint32_t nr, uint32_t with, uint32_t err)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, with, 0, with ? 1 : 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return not_here("no seccomp filters");
	return 0;
}

static int without_userfaultfd(const void *arg)
{
	int want = *(const int *)arg, err = forbid(SYS_userfaultfd, 0, (uint32_t)want);
	struct hf_native_support support;
	struct hf_native *space;
	int files;

	if (!err)
		err = forbid(SYS_ioctl, _IO(0xAA, 0x00), ENOTTY); /* the device's */
	if (err)
		return err;
	files = open_files();
	NEED(hf_native_probe(&support) == -want && support.remedy[0]);
	NEED(create(&ways[0], 4, &space) == -want);
	NEED(create(&ways[1], 4, &space) == -want);
	NEED(open_files() == files);
	return 0;
}

static void userfaultfd_that_is_missing(void **state)
{
	static const int errors[] = { ENOSYS, EPERM };

	(void)state;
	in_child(without_userfaultfd, &errors[0]);
	in_child(without_userfaultfd, &errors[1]);
}

struct region {
	uint64_t regions[12]; /* struct pm_scan_arg: its size is in the number of the call */
};

#define PAGEMAP_SCAN _IOWR('f', 16, struct region)

static int without_pagemap_scan(const void *arg)
{
	struct hf_native_support support;
	int err = forbid(SYS_ioctl, PAGEMAP_SCAN, ENOTTY);

	if (err)
		return err;
	NEED(!hf_native_probe(&support) && !support.pagemap_scan);
	return all_works(arg);
}

static int without_proc(const void *arg)
{
	const struct way *way = arg;
	struct hf_native_support support;
	struct hf_native *space;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/proc", "tmpfs", 0, NULL))
		return not_here("no namespace of one's own");
	NEED(!hf_native_probe(&support));
	if (support.unpopulated)
		return all_works(way);
	NEED(create(way, 4, &space) == -EOPNOTSUPP);
	return 0;
}

static void pagemap_that_is_missing(void **state)
{
	(void)state;
	for (size_t w = 0; w < NR_WAYS; w++) {
		if (!way_exists(&ways[w]))
			continue;
		in_child(without_pagemap_scan, &ways[w]);
		if (ways[w].pages != HF_NATIVE_HUGETLB)
			in_child(without_proc, &ways[w]);
	}
}

/* ---- a memory cgroup ---- */

static bool put(const char *folder, const char *name, const char *text)
{
	char path[256];
	int fd;
	bool good;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	good = fd >= 0 && write(fd, text, strlen(text)) > 0;
	if (fd >= 0)
		close(fd);
	return good;
}

/* 64 MiB for a space of 32 and its pool of 16: all four snapshots would not fit. */
static int within(const void *arg)
{
	struct hf_native_config config = { .size = 32UL << 20,
					   .pages = HF_NATIVE_4K,
					   .flags = HF_NATIVE_SIGNAL,
					   .pool_limit = 16UL << 20 };
	struct hf_native_snapshot *s[4];
	struct hf_native_stats stats;
	struct hf_native *space;

	NEED(put(arg, "cgroup.procs", "0") && !hf_native_create(&config, &space));
	for (uint64_t i = 0; i < 4; i++) {
		for (size_t at = 0; at < config.size; at += PAGE)
			*word(space, at) = i + 1;
		NEED(!hf_native_snapshot(space, &s[i]));
	}
	for (size_t at = 0; at < config.size; at += PAGE) {
		NEED(*word(space, at) == 4 && peek(s[3], at) == 4);
		for (uint64_t i = 0; i < 3; i++)
			NEED(peek(s[i], at) == i + 1 || peek(s[i], at) == UINT64_MAX);
	}
	hf_native_stats(space, &stats);
	NEED(stats.lost && stats.frames_used <= config.pool_limit);
	return 0;
}

/* Removes the folder when all who hold the other end of the pipe are gone, killed or not. */
static pid_t start_remover(const char *folder, int *line)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	int ends[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (!pid) {
		setsid();
		close(ends[1]);
		while (read(ends[0], &byte, 1) < 0)
			;
		for (int i = 0; i < 500 && rmdir(folder) && errno != ENOENT; i++)
			nanosleep(&pause, NULL);
		_exit(0);
	}
	assert_true(pid > 0);
	close(ends[0]);
	*line = ends[1];
	return pid;
}

static void a_pool_limit_keeps_within_a_cgroup(void **state)
{
	static const char *const roots[][2] = { { "/sys/fs/cgroup", "memory.max" },
						{ "/sys/fs/cgroup/memory",
						  "memory.limit_in_bytes" } };
	char folder[128];
	int status = -1, line;
	pid_t remover;

	(void)state;
	for (int i = 0; i < 2 && status < 0; i++) {
		snprintf(folder, sizeof(folder), "%s/hf-test-%d", roots[i][0], getpid());
		remover = start_remover(folder, &line);
		if (!mkdir(folder, 0700) && put(folder, roots[i][1], "67108864"))
			status = status_of(within, folder);
		close(line);
		assert_int_equal(waitpid(remover, NULL, 0), remover);
	}
	if (status < 0)
		print_message("# not here: no memory cgroup that we may make\n");
	else if (status)
		fail_msg("the child's wait status is %#x", status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_that_is_short),
		cmocka_unit_test(memory_that_is_gone),
		cmocka_unit_test(mappings_that_are_short),
		cmocka_unit_test(descriptors_that_are_short),
		cmocka_unit_test(no_rights_are_needed_in_signal_mode),
		cmocka_unit_test(threads_that_are_short),
		cmocka_unit_test(locked_memory_that_is_short),
		cmocka_unit_test(userfaultfd_that_is_missing),
		cmocka_unit_test(pagemap_that_is_missing),
		cmocka_unit_test(a_pool_limit_keeps_within_a_cgroup),
	};

	return cmocka_run_group_tests_name("native limits", tests, NULL, NULL);
}
