/* SPDX-License-Identifier: MIT */
/* Processes, and how and where they run: what becomes of a program that lives long. */
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>

#include "native_ordinary.h"

/* ---- other processes ---- */

static int reap(struct scene *s, pid_t pid)
{
	int status;

	MUST(pid > 0 && waitpid(pid, &status, 0) == pid && !status);
	return 0;
}

/* The daemon has no spaces but those that it makes. */
static int become_a_daemon(struct scene *s)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		uint64_t value;

		if (daemon(0, 1))
			_exit(1);
		alarm(100); /* it has left the group that ends with the cell */
		s->verdict->told = hf_native_read(s->snapshots[0], 0, &value, 8) == -EOWNERDEAD &&
						   !all_works(s->way)
					   ? 1
					   : 2;
		_exit(0);
	}
	MUST(pid > 0 && waitpid(pid, &status, 0) == pid && !status);
	for (int i = 0; i < 10000 && !s->verdict->told; i++)
		usleep(1000);
	MUST(s->verdict->told == 1);
	return 0;
}

static int see_and_store(struct scene *s)
{
	if (!(s->way->flags & HF_NATIVE_SHARED) && s->way->pages != HF_NATIVE_HUGETLB) {
		for (size_t page = 0; page < nr_pages(s); page++) {
			NEED(is_right(&s->live, page, page_at(s, page)));
			fill(page_at(s, page), 77);
		}
		for (size_t page = 0; page < nr_pages(s); page++)
			NEED(*(uint64_t *)page_at(s, page) == *(uint64_t *)page_at(s, 0));
	}
	while (!s->verdict->stop)
		usleep(100);
	return 0;
}

static int fork_and_store_on_both_sides(struct scene *s)
{
	MUST(helper(s, see_and_store) > 0);
	return 0;
}

static int fork_and_end_at_once(struct scene *s)
{
	for (int i = 0; i < 5; i++) {
		pid_t pid = fork();

		if (!pid)
			exit(0); /* with all that happens then */
		if (reap(s, pid))
			return 1;
	}
	return 0;
}

static char *const args[] = { "true", NULL };

static __attribute__((noinline)) pid_t by_vfork(void)
{
	pid_t pid = vfork();

	if (!pid) {
		execv("/bin/true", args);
		_exit(1);
	}
	return pid;
}

static int vfork_and_exec(struct scene *s)
{
	return reap(s, by_vfork());
}

static int spawn(struct scene *s)
{
	pid_t pid;

	MUST(!posix_spawn(&pid, "/bin/true", NULL, NULL, args, NULL));
	return reap(s, pid);
}

/* ---- stopped and traced ---- */

static int stop_and_continue(struct scene *s)
{
	(void)s;
	kill(getppid(), SIGSTOP);
	usleep(200);
	kill(getppid(), SIGCONT);
	usleep(300);
	return 0;
}

static int be_stopped(struct scene *s)
{
	MUST(helper(s, stop_and_continue) > 0);
	return 0;
}

static int for_each_thread(pid_t pid, long request)
{
	char path[64];
	struct dirent *e;
	DIR *folder;
	int nr = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	folder = opendir(path);
	while (folder && (e = readdir(folder)))
		if (atoi(e->d_name))
			nr += !ptrace(request, atoi(e->d_name), NULL, NULL);
	if (folder)
		closedir(folder);
	return nr;
}

/* Lets every thread go on that has stopped, with its signal. */
static int trace(struct scene *s)
{
	int status;
	pid_t tid;

	if (!s->verdict->told)
		s->verdict->told = for_each_thread(getppid(), PTRACE_SEIZE) ? 1 : 2;
	for_each_thread(getppid(), PTRACE_INTERRUPT);
	while ((tid = waitpid(-1, &status, __WALL | WNOHANG)) > 0)
		if (WIFSTOPPED(status))
			ptrace(PTRACE_CONT, tid, NULL, status >> 16 ? 0 : WSTOPSIG(status));
	usleep(300);
	return 0;
}

static int be_traced(struct scene *s)
{
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	MUST(helper(s, trace) > 0);
	while (!s->verdict->told)
		usleep(1000);
	return s->verdict->told == 1 ? 0 : skipped(s, "no tracing");
}

/* ---- the library unloaded ---- */

struct library {
	void *handle;
	__typeof__(&hf_native_create) create;
	__typeof__(&hf_native_base) base;
	__typeof__(&hf_native_snapshot) snapshot;
	__typeof__(&hf_native_read) read;
	__typeof__(&hf_native_drop) drop;
	__typeof__(&hf_native_destroy) destroy;
};

static bool loaded(struct library *l)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/libholdfast.so", getenv("BUILD") ?: "build");
	l->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!l->handle)
		return false;
	*(void **)&l->create = dlsym(l->handle, "hf_native_create");
	*(void **)&l->base = dlsym(l->handle, "hf_native_base");
	*(void **)&l->snapshot = dlsym(l->handle, "hf_native_snapshot");
	*(void **)&l->read = dlsym(l->handle, "hf_native_read");
	*(void **)&l->drop = dlsym(l->handle, "hf_native_drop");
	*(void **)&l->destroy = dlsym(l->handle, "hf_native_destroy");
	return l->create && l->base && l->snapshot && l->read && l->drop && l->destroy;
}

static int unload(struct scene *s)
{
	size_t unit = way_unit(s->way);
	struct hf_native_config config = { .size = 8 * unit,
					   .pages = s->way->pages,
					   .flags = s->way->flags };
	struct hf_native_snapshot *taken;
	struct hf_native *space;
	struct library l;
	uint64_t value;
	char *base;

	if (SANITIZED || !loaded(&l))
		return skipped(s, "no shared library");
	MUST(!l.create(&config, &space));
	base = l.base(space);
	for (size_t i = 0; i < 6; i++)
		*(volatile uint64_t *)(base + i * unit) = i + 1;
	MUST(!l.snapshot(space, &taken));
	*(volatile uint64_t *)base = 100;
	MUST(!dlclose(l.handle));
	for (size_t i = 0; i < 8; i++)
		*(volatile uint64_t *)(base + i * unit) = 100 + i;
	MUST(loaded(&l));
	for (size_t i = 0; i < 8; i++) {
		int err = l.read(taken, i * unit, &value, 8);

		MUST(!err);
		if (value != (i < 6 ? i + 1 : 0))
			return wrong(s, "a snapshot of a library that was unloaded", 0);
	}
	MUST(!l.drop(taken) && !l.destroy(space) && !dlclose(l.handle));
	return 0;
}

static int unload_after_use(struct scene *s)
{
	struct hf_native_config config = { .size = 1, .flags = s->way->flags };
	struct hf_native *space;
	struct library l;

	if (SANITIZED)
		return skipped(s, "no shared library");
	for (int i = 0; i < 3; i++) {
		if (!loaded(&l))
			return skipped(s, "no shared library");
		MUST(!l.create(&config, &space));
		*(volatile char *)l.base(space) = 1;
		MUST(!l.destroy(space) && !dlclose(l.handle));
	}
	return 0;
}

/* ---- where and how it runs ---- */

static int on_one_cpu(struct scene *s)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	MUST(!sched_setaffinity(0, sizeof(one), &one));
	return 0;
}

static int nice_process(struct scene *s)
{
	MUST(!setpriority(PRIO_PROCESS, 0, 19));
	return 0;
}

static int in_real_time(struct scene *s)
{
	struct sched_param param = { .sched_priority = 1 };

	(void)s;
	if (sched_setscheduler(0, SCHED_FIFO, &param))
		return skipped(s, "no real-time scheduling");
	return 0;
}

/* The handler's thread, where there is one, waits for a CPU that this one has. */
static int in_real_time_on_one_cpu(struct scene *s)
{
	struct dirent *e;
	cpu_set_t one;
	DIR *folder = opendir("/proc/self/task");

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	while (folder && (e = readdir(folder)))
		if (atoi(e->d_name))
			sched_setaffinity(atoi(e->d_name), sizeof(one), &one);
	if (folder)
		closedir(folder);
	return in_real_time(s);
}

static int plain_again(struct scene *s)
{
	struct sched_param param = { 0 };

	MUST(!sched_setscheduler(0, SCHED_OTHER, &param));
	return 0;
}

/* ---- control groups ---- */

static const char *const groups[] = { "/sys/fs/cgroup/hf-ordinary-a",
				      "/sys/fs/cgroup/hf-ordinary-b",
				      "/sys/fs/cgroup/memory/hf-ordinary-a",
				      "/sys/fs/cgroup/memory/hf-ordinary-b" };
static const char *const limits[] = { "memory.max", "memory.limit_in_bytes" };

static int put(const char *folder, const char *file, const char *text)
{
	char path[128];
	int fd, err;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	err = fd < 0 || write(fd, text, strlen(text)) < 0;
	if (fd >= 0)
		close(fd);
	return err;
}

static void remove_groups(void)
{
	for (int i = 0; i < 4; i++)
		for (int t = 0; t < 100 && rmdir(groups[i]) && errno == EBUSY; t++)
			usleep(1000);
}

/* Version 2 where it has memory, else version 1. */
static int make_groups(void)
{
	int from = access("/sys/fs/cgroup/memory/tasks", F_OK) ? 0 : 2;

	for (int i = from; i < from + 2; i++)
		if (mkdir(groups[i], 0700) || put(groups[i], limits[from / 2], "536870912")) {
			remove_groups();
			return not_here("no control groups with memory limits");
		}
	return 0;
}

static int enter_group(struct scene *s, int nr)
{
	int from = access("/sys/fs/cgroup/memory/tasks", F_OK) ? 0 : 2;

	MUST(!put(groups[from + nr], "cgroup.procs", "0"));
	return 0;
}

static int enter_a_group(struct scene *s)
{
	return enter_group(s, 0);
}

static int enter_another_group(struct scene *s)
{
	return enter_group(s, 1);
}

const struct row life_rows[] = {
	ROW("daemon(), which makes spaces of its own", AFTER_S1, become_a_daemon, 0),
	ROW("fork(), and stores on both sides", AFTER_S1, fork_and_store_on_both_sides, 0,
	    .undo = end_helper),
	ROW("fork() and exit()", AFTER_S1, fork_and_end_at_once, 0),
	ROW("vfork() and exec", AFTER_S1, vfork_and_exec, 0),
	ROW("posix_spawn()", AFTER_S1, spawn, 0),
	ROW("stopped and continued all the time", AFTER_CREATE, be_stopped, 0, .undo = end_helper),
	ROW("traced, and stopped by the tracer all the time", AFTER_CREATE, be_traced, 0,
	    .undo = end_helper),
	ROW("dlclose() with a space that is in use", BEFORE_CREATE, unload, 0),
	ROW("dlopen(), use and dlclose(), again and again", BEFORE_CREATE, unload_after_use, 0),
	ROW("one CPU", AFTER_CREATE, on_one_cpu, 0),
	ROW("nice 19", AFTER_CREATE, nice_process, 0),
	ROW("SCHED_FIFO", AFTER_CREATE, in_real_time, 0, .undo = plain_again),
	ROW("SCHED_FIFO on one CPU", AFTER_CREATE, in_real_time_on_one_cpu, 0, .undo = plain_again),
	ROW("moved to a control group with a memory limit", AFTER_CREATE, enter_a_group, 0,
	    .undo = enter_another_group, .enter = make_groups, .leave = remove_groups),
	ROW("moved to another control group after a snapshot", AFTER_S1, enter_another_group, 0,
	    .undo = enter_a_group, .enter = make_groups, .leave = remove_groups),
	END_OF_ROWS,
};
