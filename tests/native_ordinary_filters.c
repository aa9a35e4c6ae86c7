/* SPDX-License-Identifier: MIT */
/* Filters of system calls, as sandboxes and containers have them. */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "native_ordinary.h"

#define MAX_DENIED 4

/* Of this thread, or of all. Ends with 0. */
static int deny(struct scene *s, const long *calls, int err, unsigned flags)
{
	struct sock_filter code[2 + 2 * MAX_DENIED] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	struct sock_fprog filter = { .len = 1, .filter = code };

	for (int i = 0; i < MAX_DENIED && calls[i]; i++) {
		code[filter.len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
								  (uint32_t)calls[i], 0, 1);
		code[filter.len++] = (struct sock_filter)BPF_STMT(
			BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)err);
	}
	code[filter.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	MUST(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter))
		return skipped(s, "no filters of system calls");
	return 0;
}

static const long protecting[MAX_DENIED] = { SYS_ioctl, SYS_userfaultfd };

static int deny_ioctl(struct scene *s)
{
	mark_all(s);
	return deny(s, protecting, EPERM, 0);
}

static int deny_ioctl_to_all(struct scene *s)
{
	mark_all(s);
	return deny(s, protecting, EPERM, SECCOMP_FILTER_FLAG_TSYNC);
}

/* What the library can hardly do without: errors, no other bytes. */
#define DENY(name, err, ...)                                                                       \
	static int deny_##name##_##err(struct scene *s)                                            \
	{                                                                                          \
		static const long calls[MAX_DENIED] = { __VA_ARGS__ };                             \
                                                                                                   \
		mark_all(s);                                                                       \
		return deny(s, calls, err, SECCOMP_FILTER_FLAG_TSYNC);                             \
	}

DENY(fcntl, EPERM, SYS_fcntl)
DENY(fcntl, ENOSYS, SYS_fcntl)
DENY(process_vm, EPERM, SYS_process_vm_readv, SYS_process_vm_writev)
DENY(process_vm, ENOSYS, SYS_process_vm_readv, SYS_process_vm_writev)
DENY(madvise, EPERM, SYS_madvise)
DENY(madvise, ENOSYS, SYS_madvise)
DENY(close_range, EPERM, SYS_close_range)
DENY(close_range, ENOSYS, SYS_close_range)
DENY(open, EPERM, SYS_openat, SYS_open)
DENY(mmap, EPERM, SYS_mmap)
DENY(mprotect, EPERM, SYS_mprotect)
DENY(poll, EPERM, SYS_poll, SYS_ppoll)
DENY(pread64, EPERM, SYS_pread64)
DENY(eventfd, EPERM, SYS_eventfd2)
DENY(membarrier, ENOSYS, SYS_membarrier)
DENY(userfaultfd, EPERM, SYS_userfaultfd)
DENY(userfaultfd, ENOSYS, SYS_userfaultfd)
DENY(memfd, ENOSYS, SYS_memfd_create)
DENY(clone, EPERM, SYS_clone3, SYS_clone)
DENY(clone3, ENOSYS, SYS_clone3)
DENY(mlock, EPERM, SYS_mlock, SYS_mlock2, SYS_mlockall, SYS_munlockall)
DENY(unshare, EPERM, SYS_unshare)

#define MAY (LOSE | REFUSE | FOR_GOOD)
#define WHEREVER .create_errors = { EPERM, ENOSYS, ENOMEM, EAGAIN }

const struct row filter_rows[] = {
	ROW("a filter denies ioctl() to the thread", AFTER_S1, deny_ioctl, 0),
	ROW("a filter denies ioctl() to all threads", AFTER_S1, deny_ioctl_to_all, MAY | BUSY,
	    .dies_of = SIGBUS),
	ROW("a filter denies ioctl() to all threads, with maps and a child", AFTER_MAPS,
	    deny_ioctl_to_all, MAY | BUSY, .dies_of = SIGBUS),
	ROW("a filter denies fcntl(): EPERM", AFTER_S1, deny_fcntl_EPERM, MAY),
	ROW("a filter denies fcntl() before create: EPERM", BEFORE_CREATE, deny_fcntl_EPERM, MAY,
	    WHEREVER),
	ROW("a filter denies fcntl(): ENOSYS", AFTER_S1, deny_fcntl_ENOSYS, MAY),
	ROW("a filter denies process_vm_readv(): EPERM", AFTER_S1, deny_process_vm_EPERM, MAY),
	ROW("a filter denies process_vm_readv() before create: EPERM", BEFORE_CREATE,
	    deny_process_vm_EPERM, MAY, WHEREVER),
	ROW("a filter denies process_vm_readv(): ENOSYS", AFTER_S1, deny_process_vm_ENOSYS, MAY),
	ROW("a filter denies madvise(): EPERM", AFTER_S1, deny_madvise_EPERM, MAY),
	ROW("a filter denies madvise() before create: EPERM", BEFORE_CREATE, deny_madvise_EPERM,
	    MAY, WHEREVER),
	ROW("a filter denies madvise(): ENOSYS", AFTER_S1, deny_madvise_ENOSYS, MAY),
	ROW("a filter denies close_range(): EPERM", AFTER_CREATE, deny_close_range_EPERM, 0),
	ROW("a filter denies close_range() before create: EPERM", BEFORE_CREATE,
	    deny_close_range_EPERM, 0, WHEREVER),
	ROW("a filter denies close_range() before create: ENOSYS", BEFORE_CREATE,
	    deny_close_range_ENOSYS, 0, WHEREVER),
	ROW("a filter denies unshare() before create: EPERM", BEFORE_CREATE, deny_unshare_EPERM, 0,
	    WHEREVER),
	ROW("a filter denies open(): EPERM", AFTER_CREATE, deny_open_EPERM, 0),
	ROW("a filter denies open() before create: EPERM", BEFORE_CREATE, deny_open_EPERM, 0,
	    WHEREVER),
	ROW("a filter denies mmap(): EPERM", AFTER_S1, deny_mmap_EPERM, MAY),
	ROW("a filter denies mprotect(): EPERM", AFTER_S1, deny_mprotect_EPERM, MAY),
	ROW("a filter denies poll(): EPERM", AFTER_CREATE, deny_poll_EPERM, MAY, .dies_of = SIGBUS),
	ROW("a filter denies pread(): EPERM", AFTER_S1, deny_pread64_EPERM, MAY),
	ROW("a filter denies eventfd() before create: EPERM", BEFORE_CREATE, deny_eventfd_EPERM, 0,
	    WHEREVER),
	ROW("a filter denies membarrier() before create: ENOSYS", BEFORE_CREATE,
	    deny_membarrier_ENOSYS, 0, WHEREVER),
	ROW("a filter denies userfaultfd() before create: EPERM", BEFORE_CREATE,
	    deny_userfaultfd_EPERM, 0, WHEREVER),
	ROW("a filter denies userfaultfd() before create: ENOSYS", BEFORE_CREATE,
	    deny_userfaultfd_ENOSYS, 0, WHEREVER),
	ROW("a filter denies userfaultfd() after create: EPERM", AFTER_CREATE,
	    deny_userfaultfd_EPERM, 0),
	ROW("a filter denies memfd_create() before create: ENOSYS", BEFORE_CREATE,
	    deny_memfd_ENOSYS, 0, WHEREVER),
	ROW("a filter denies clone() before create: EPERM", BEFORE_CREATE, deny_clone_EPERM, 0,
	    WHEREVER),
	ROW("a filter denies clone3() before create: ENOSYS", BEFORE_CREATE, deny_clone3_ENOSYS, 0),
	ROW("a filter denies mlock() after create: EPERM", AFTER_CREATE, deny_mlock_EPERM, 0),
	END_OF_ROWS,
};
