/* SPDX-License-Identifier: MIT */
/*
 * Direct I/O in flight within one process: a thread reads or writes a file of FUSE with O_DIRECT,
 * and whoever waits for it is the file's server (src/target/common/fuse.c).
 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIMIT_MS 10000

/* A pipe of our own takes eight bytes at once. */
static bool report(const struct hf_wire *w, long result)
{
	return write(w->done[1], &result, sizeof(result)) == sizeof(result);
}

/* Tells twice: that the file is open, and how the I/O ended. */
static void *fly(void *arg)
{
	struct hf_flight *f = arg;
	const struct hf_wire *w = f->wire;
	int fd = hf_wire_open_file(w);
	long done;

	if (!report(w, fd < 0 ? fd : 0) || fd < 0)
		return NULL;
	while (sem_wait(&f->go))
		;
	done = w->means == HF_MEANS_READ ? pread(fd, f->addr, f->len, 0)
					 : pwrite(fd, f->addr, f->len, 0);
	if (done < 0)
		done = -errno;
	report(w, done);
	close(fd);
	return NULL;
}

/* Serves the file until the thread tells something: 0, or the error that it tells. With `arrived`,
 * also until the I/O has come to the device: 1. */
static int wait_for(struct hf_flight *f, bool arrived)
{
	struct hf_wire *w = f->wire;
	struct pollfd fds[] = { { .fd = w->done[0], .events = POLLIN },
				{ .fd = w->fuse.dev, .events = POLLIN } };
	long result = 0;
	int n;

	for (;;) {
		if (arrived && w->fuse.held)
			return 1;
		n = poll(fds, 2, LIMIT_MS);
		if (n == 0)
			return -ETIMEDOUT;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && fds[0].revents)
			break;
		if (n > 0 && w->fuse.deaf)
			return 1;
		n = n > 0 ? hf_fuse_serve(&w->fuse) : 0;
		if (n)
			return n;
	}
	if (read(w->done[0], &result, sizeof(result)) != sizeof(result))
		return -EIO;
	return result < 0 ? (int)result : 0;
}

static void join(struct hf_flight *f)
{
	pthread_join(f->thread, NULL);
	sem_destroy(&f->go);
	f->under_way = false;
}

int hf_flight_start(struct hf_nat_ref *ref)
{
	struct hf_flight *f = &ref->flight;
	int err;

	*f = (struct hf_flight){ .wire = &ref->wire, .addr = ref->addr, .len = ref->len };
	sem_init(&f->go, 0, 0);
	err = pthread_create(&f->thread, NULL, fly, f);
	if (err) {
		sem_destroy(&f->go);
		return -err;
	}
	f->under_way = true;
	err = wait_for(f, false);
	/* a write stays in the queue, unread: serving it would copy its bytes */
	ref->wire.fuse.deaf = !err && ref->wire.means == HF_MEANS_WRITE;
	sem_post(&f->go);
	if (!err) {
		err = wait_for(f, true);
		if (err == 1)
			return 0;
		err = err ? err : -EIO;
	}
	hf_flight_abandon(ref);
	return err;
}

/* With the system call go the references. */
static int land(struct hf_nat_ref *ref)
{
	int err = wait_for(&ref->flight, false);

	if (err == -ETIMEDOUT)
		hf_flight_abandon(ref);
	else
		join(&ref->flight);
	return err;
}

int hf_flight_finish_read(struct hf_nat_ref *ref, uint8_t value)
{
	uint8_t *bytes = malloc(ref->len);
	int err;

	if (!bytes)
		return -ENOMEM;
	memset(bytes, value, ref->len);
	err = hf_fuse_complete_read(&ref->wire.fuse, bytes, ref->len, 0);
	free(bytes);
	return err ? err : land(ref);
}

int hf_flight_finish_write(struct hf_nat_ref *ref, uint8_t *data)
{
	int err = hf_fuse_complete_write(&ref->wire.fuse, data, ref->len);

	return err ? err : land(ref);
}

/* A file without a server gives errors to all that wait. */
void hf_flight_abandon(struct hf_nat_ref *ref)
{
	hf_fuse_close(&ref->wire.fuse);
	if (ref->flight.under_way)
		join(&ref->flight);
}
