/* SPDX-License-Identifier: MIT */
/* Limits that change at any time. */
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "native_ordinary.h"

static int set(struct scene *s, int what, rlim_t soft)
{
	struct rlimit limit;

	MUST(!getrlimit(what, &limit));
	limit.rlim_cur = soft;
	MUST(!setrlimit(what, &limit));
	return 0;
}

static int memory_as_it_is(struct scene *s, int what, const char *figure)
{
	long kib = figure_of("/proc/self/status", figure);

	if (kib < 0 || SANITIZED)
		return skipped(s, "nobody knows how much memory there is");
	mark_all(s);
	return set(s, what, (rlim_t)kib << 10);
}

static int no_more_memory(struct scene *s)
{
	return memory_as_it_is(s, RLIMIT_AS, "VmSize:");
}

static int no_more_data(struct scene *s)
{
	return memory_as_it_is(s, RLIMIT_DATA, "VmData:");
}

static int no_limit_again(struct scene *s)
{
	return set(s, RLIMIT_AS, RLIM_INFINITY) || set(s, RLIMIT_DATA, RLIM_INFINITY);
}

static int no_locked_memory(struct scene *s)
{
	return set(s, RLIMIT_MEMLOCK, 0);
}

static int no_files(struct scene *s)
{
	return set(s, RLIMIT_FSIZE, 0);
}

static int no_core(struct scene *s)
{
	return set(s, RLIMIT_CORE, 0);
}

static int no_pending_signals(struct scene *s)
{
	return set(s, RLIMIT_SIGPENDING, 0);
}

static int stack_of(struct scene *s, size_t size)
{
	pthread_attr_t attr;

	if (set(s, RLIMIT_STACK, RLIM_INFINITY))
		return 1;
	pthread_attr_init(
		&attr); /* what the C library takes from the limit when a program starts */
	MUST(!pthread_attr_setstacksize(&attr, size) && !pthread_setattr_default_np(&attr));
	pthread_attr_destroy(&attr);
	return 0;
}

static int large_stack(struct scene *s)
{
	return stack_of(s, 64UL << 30);
}

static int huge_stack(struct scene *s)
{
	return stack_of(s, 200UL << 40);
}

static int small_stack(struct scene *s)
{
	return set(s, RLIMIT_STACK, 64 << 10) || stack_of(s, 16384);
}

/* Somebody else, who may still handle the kernel's faults. */
static int no_threads(struct scene *s)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct caps[2] = { { 0 }, { 0 } };

	prctl(PR_SET_KEEPCAPS, 1);
	if (setresuid(65533, 65533, 65533))
		return skipped(s, "only root becomes somebody else");
	caps[0].effective = caps[0].permitted = 1U << CAP_SYS_PTRACE;
	MUST(!syscall(SYS_capset, &head, caps));
	return set(s, RLIMIT_NPROC, 0);
}

#define MAY (LOSE | REFUSE)

const struct row limit_rows[] = {
	ROW("RLIMIT_AS is what is used, after a snapshot", AFTER_S1, no_more_memory,
	    MAY | FOR_GOOD),
	ROW("RLIMIT_AS is what is used, for a while", AFTER_S1, no_more_memory, MAY,
	    .undo = no_limit_again),
	ROW("RLIMIT_DATA is what is used, after a snapshot", AFTER_S1, no_more_data,
	    MAY | FOR_GOOD),
	ROW("RLIMIT_DATA is what is used, for a while", AFTER_S1, no_more_data, MAY,
	    .undo = no_limit_again),
	ROW("RLIMIT_AS is what is used, with maps and a child", AFTER_MAPS, no_more_memory,
	    MAY | FOR_GOOD),
	ROW("RLIMIT_MEMLOCK 0 before create", BEFORE_CREATE, no_locked_memory, 0),
	ROW("RLIMIT_MEMLOCK 0 after create", AFTER_CREATE, no_locked_memory, 0),
	ROW("RLIMIT_FSIZE 0 before create", BEFORE_CREATE, no_files, 0, .create_errors = { EFBIG }),
	ROW("RLIMIT_FSIZE 0 after create", AFTER_CREATE, no_files, 0),
	ROW("RLIMIT_CORE 0", AFTER_CREATE, no_core, 0),
	ROW("RLIMIT_SIGPENDING 0", AFTER_CREATE, no_pending_signals, 0),
	ROW("RLIMIT_STACK without end, stacks of 64 GiB", BEFORE_CREATE, large_stack, 0,
	    .create_errors = { EAGAIN }),
	ROW("RLIMIT_STACK without end, stacks of 200 TiB", BEFORE_CREATE, huge_stack, 0,
	    .create_errors = { EAGAIN, ENOMEM }),
	ROW("stacks of 16 KiB", BEFORE_CREATE, small_stack, 0),
	ROW("RLIMIT_NPROC 0 before create, not as root", BEFORE_CREATE, no_threads, 0,
	    .create_errors = { EAGAIN }),
	ROW("RLIMIT_NPROC 0 after create, not as root", AFTER_CREATE, no_threads, 0),
	END_OF_ROWS,
};
