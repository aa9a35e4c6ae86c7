/* SPDX-License-Identifier: MIT */
/*
 * The thread that resolves faults of the default mode, the kernel's included. While no fault waits
 * it goes on where stores come in order: the program then runs beside the copying.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BATCH 32
#define SPIN_NS 50000 /* how long it looks for another fault before it sleeps */

static void resolve(const struct uffd_msg *msg, struct hf_ahead *ahead)
{
	const char *addr = (const char *)(uintptr_t)msg->arg.pagefault.address;
	struct hf_native *space;
	int err;

	if (msg->event != UFFD_EVENT_PAGEFAULT)
		return;
	space = hf_registry_enter(addr);
	if (!space)
		return;
	err = hf_resolve_fault(space, addr, ahead);
	hf_registry_leave();
	if (err && err != -ENODATA)
		kill(getpid(), SIGBUS); /* the thread would wait for ever */
}

/* Whether there were any. */
static bool resolve_batch(int fd, struct hf_ahead *ahead)
{
	struct uffd_msg msgs[BATCH];
	ssize_t got = read(fd, msgs, sizeof(msgs));

	for (size_t i = 0; got > 0 && i < (size_t)got / sizeof(msgs[0]); i++)
		resolve(&msgs[i], ahead);
	return got > 0;
}

/* Returns whether there is more. The space may have gone, and another come. */
static bool go_ahead(const struct hf_tree *tree, struct hf_ahead *ahead)
{
	struct hf_native *space = ahead->addr ? hf_registry_enter(ahead->addr) : NULL;
	bool more;

	if (!space)
		return false;
	more = space->tree == tree && hf_resolve_ahead(space, ahead);
	hf_registry_leave();
	return more;
}

/* Not beside a snapshot, each of whose calls would interrupt this CPU. */
static bool may_spin(const struct hf_tree *tree, uint64_t until)
{
	return until > hf_now_ns() && !hf_gate_is_closed(&tree->gate);
}

/* The program has changed what all that share the open file have. */
static bool do_not_block(int fd)
{
	return !fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void *handle(void *arg)
{
	struct hf_tree *tree = arg;
	int fd = tree->files.fd[HF_FILE_USERFAULT];
	long nr_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct hf_ahead ahead = { .addr = NULL };
	uint64_t until = 0;
	int timeout = 0;

	for (;;) {
		struct epoll_event event = { 0 };
		int ready = epoll_wait(tree->epoll_fd, &event, 1, timeout);

		timeout = 0;
		if (ready > 0 && event.data.fd == tree->stop_fd)
			return NULL;
		if (ready > 0 && event.events & EPOLLERR && do_not_block(fd))
			continue;
		if (ready > 0 && resolve_batch(fd, &ahead))
			until = nr_cpus > 1 ? hf_now_ns() + SPIN_NS : 0;
		else if (!go_ahead(tree, &ahead) && !may_spin(tree, until))
			timeout = -1;
	}
}

static int watch(const struct hf_tree *tree, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(tree->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* What the handler waits for, in the keeper's table alone, which ends with it. Not poll(), which
 * RLIMIT_NOFILE forbids when it is less than two. */
static long make_descriptors(void *arg)
{
	struct hf_tree *tree = arg;
	int err;

	tree->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (tree->stop_fd < 0)
		return -errno;
	tree->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (tree->epoll_fd < 0)
		return -errno;
	err = watch(tree, tree->stop_fd);
	return err ? err : watch(tree, tree->files.fd[HF_FILE_USERFAULT]);
}

static long stop(void *arg)
{
	const struct hf_tree *tree = arg;
	uint64_t one = 1;

	while (write(tree->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	return 0;
}

int hf_handler_start(struct hf_tree *tree)
{
	int err = (int)hf_files_call(&tree->files, make_descriptors, tree);

	if (err)
		return err;
	err = hf_files_thread(&tree->files, &tree->handler, handle, tree);
	tree->handling = !err;
	return err;
}

void hf_handler_stop(struct hf_tree *tree)
{
	if (!tree->handling)
		return;
	hf_files_call(&tree->files, stop, tree);
	pthread_join(tree->handler, NULL);
}
