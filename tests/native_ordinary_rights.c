/* SPDX-License-Identifier: MIT */
/* Rights that are dropped, and namespaces that are entered. */
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "native_ordinary.h"

static int become_nobody(struct scene *s)
{
	(void)s;
	if (setgid(65534) || setresuid(65534, 65534, 65534))
		return skipped(s, "only root becomes somebody else");
	return 0;
}

static int drop_capabilities(struct scene *s)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2] = { { 0 }, { 0 } };

	MUST(!syscall(SYS_capset, &head, none));
	return 0;
}

static int not_dumpable(struct scene *s)
{
	MUST(!prctl(PR_SET_DUMPABLE, 0));
	return 0;
}

static int not_dumpable_nobody(struct scene *s)
{
	return become_nobody(s) || not_dumpable(s);
}

static int no_new_privileges(struct scene *s)
{
	MUST(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	return 0;
}

/* A folder that is removed while it is the root stays one, empty. */
static int enter_an_empty_root(struct scene *s)
{
	char folder[] = "/tmp/hf-ordinary-XXXXXX";
	int err;

	MUST(mkdtemp(folder));
	err = chdir(folder) || rmdir(folder) || chroot(".");
	if (err) {
		rmdir(folder);
		return skipped(s, "no right to chroot()");
	}
	return 0;
}

static int hide_proc(struct scene *s)
{
	(void)s;
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/proc", "tmpfs", 0, NULL))
		return skipped(s, "no right to mount");
	return 0;
}

static int hide_sys(struct scene *s)
{
	(void)s;
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/sys", "tmpfs", 0, NULL))
		return skipped(s, "no right to mount");
	return 0;
}

static int enter_a_user_namespace(struct scene *s)
{
	if (unshare(CLONE_NEWUSER)) /* never with threads */
		MUST(errno == EINVAL || errno == EPERM || errno == ENOSPC || errno == EUSERS);
	return 0;
}

static int enter_a_pid_namespace(struct scene *s)
{
	if (unshare(CLONE_NEWPID))
		MUST(errno == EINVAL || errno == EPERM || errno == ENOSPC);
	return 0;
}

static int enter_namespaces(struct scene *s)
{
	if (unshare(CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS))
		MUST(errno == EINVAL || errno == EPERM || errno == ENOSPC);
	return 0;
}

static int leave_the_folder(struct scene *s)
{
	MUST(!unshare(CLONE_FS));
	return 0;
}

const struct row right_rows[] = {
	ROW("setresuid() before create", BEFORE_CREATE, become_nobody, 0,
	    .create_errors = { EPERM, ENOSYS }),
	ROW("setresuid() after create", AFTER_CREATE, become_nobody, 0),
	ROW("setresuid() after a snapshot", AFTER_S1, become_nobody, 0),
	ROW("no capabilities, before create", BEFORE_CREATE, drop_capabilities, 0,
	    .create_errors = { EPERM, ENOSYS }),
	ROW("no capabilities, after create", AFTER_CREATE, drop_capabilities, 0),
	ROW("no capabilities, after a snapshot", AFTER_S1, drop_capabilities, 0),
	ROW("PR_SET_DUMPABLE 0 before create", BEFORE_CREATE, not_dumpable, 0),
	ROW("PR_SET_DUMPABLE 0 after create", AFTER_CREATE, not_dumpable, 0),
	ROW("PR_SET_DUMPABLE 0 and setresuid() after a snapshot", AFTER_S1, not_dumpable_nobody, 0),
	ROW("PR_SET_DUMPABLE 0 and setresuid() before create", BEFORE_CREATE, not_dumpable_nobody,
	    0, .create_errors = { EPERM, ENOSYS }),
	ROW("PR_SET_NO_NEW_PRIVS", AFTER_CREATE, no_new_privileges, 0),
	ROW("chroot() to an empty folder before create", BEFORE_CREATE, enter_an_empty_root, 0,
	    .create_errors = { EPERM, ENOSYS }),
	ROW("chroot() to an empty folder after create", AFTER_CREATE, enter_an_empty_root, 0),
	ROW("chroot() to an empty folder after a snapshot", AFTER_S1, enter_an_empty_root, 0),
	ROW("no /proc any more, before create", BEFORE_CREATE, hide_proc, 0),
	ROW("no /proc any more, after create", AFTER_CREATE, hide_proc, 0),
	ROW("no /proc any more, after a snapshot", AFTER_S1, hide_proc, 0),
	ROW("no /sys any more, before create", BEFORE_CREATE, hide_sys, 0,
	    .create_errors = { EOPNOTSUPP }),
	ROW("unshare(CLONE_NEWUSER) before create", BEFORE_CREATE, enter_a_user_namespace, 0,
	    .create_errors = { EPERM }),
	ROW("unshare(CLONE_NEWUSER) after create", AFTER_CREATE, enter_a_user_namespace, 0),
	ROW("unshare(CLONE_NEWPID) after create", AFTER_CREATE, enter_a_pid_namespace, 0),
	ROW("unshare(CLONE_NEWPID) before create", BEFORE_CREATE, enter_a_pid_namespace, 0,
	    .create_errors = { EAGAIN, ENOMEM }),
	ROW("unshare(CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS)", AFTER_CREATE, enter_namespaces,
	    0),
	ROW("unshare(CLONE_FS)", AFTER_CREATE, leave_the_folder, 0),
	END_OF_ROWS,
};
