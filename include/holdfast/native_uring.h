/* SPDX-License-Identifier: MIT */
/*
 * Ranges of a native space as registered ("fixed") buffers of an io_uring. Functions here are
 * inline: the program links liburing, the library does not.
 *
 * CAVEATS FIRST
 *  - What is registered is pinned for writing all the time, so that every snapshot copies all of it
 *    at once. Register what I/O goes through, not the whole space.
 *  - The kernel counts registered memory against RLIMIT_MEMLOCK, except for CAP_IPC_LOCK.
 *  - An io_uring has one set of registered buffers: one range for each ring.
 */
#ifndef HOLDFAST_NATIVE_URING_H
#define HOLDFAST_NATIVE_URING_H

#include <holdfast/native.h>

#include <errno.h>
#include <liburing.h>
#include <sched.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HF_NATIVE_BUFFER_MAX (1UL << 30) /* bytes that one registered buffer may have */

/* A range that is registered. The caller's, who does not copy it; its members are for reading. */
struct hf_native_buffers {
	struct io_uring *ring;
	struct hf_native *space;
	void *addr;
	size_t len;
	struct iovec *iov; /* the buffers, in order of addresses */
	int nr;
};

/*
 * Pins the range and registers it. -EBUSY: the ring has buffers already. Else errors of
 * hf_native_pin() and io_uring_register_buffers(): -ENOMEM also where RLIMIT_MEMLOCK is too low.
 * After an error nothing is pinned.
 */
static inline int hf_native_register_buffers(struct io_uring *ring, struct hf_native *space,
					     void *addr, size_t len,
					     struct hf_native_buffers *buffers)
{
	unsigned flags = HF_FOLL_WRITE | HF_FOLL_LONGTERM;
	int nr = (int)(len / HF_NATIVE_BUFFER_MAX) + 1, tries = 1000, err;
	struct iovec *iov = (struct iovec *)calloc((size_t)nr, sizeof(*iov));

	if (!iov)
		return -ENOMEM;
	nr = hf_native_pin(space, addr, len, flags, iov, nr);
	if (nr < 0) {
		free(iov);
		return nr;
	}
	/* Signal mode: a snapshot that is just being taken has yet to let go of what is pinned. */
	do
		err = io_uring_register_buffers(ring, iov, (unsigned)nr);
	while (err == -EFAULT && tries-- && !sched_yield());
	if (err) {
		hf_native_unpin(space, addr, len, flags);
		free(iov);
		return err;
	}
	buffers->ring = ring;
	buffers->space = space;
	buffers->addr = addr;
	buffers->len = len;
	buffers->iov = iov;
	buffers->nr = nr;
	return 0;
}

/* The reverse. No request may be in flight that uses them: not every kernel waits for it. -EINVAL:
 * not registered there, or not any more. Errors as of io_uring_unregister_buffers(), and then all
 * is as before, and hf_native_unpin(). */
static inline int hf_native_unregister_buffers(struct io_uring *ring,
					       struct hf_native_buffers *buffers)
{
	int err = buffers->ring == ring ? io_uring_unregister_buffers(ring) : -EINVAL;

	if (err)
		return err;
	free(buffers->iov);
	buffers->iov = NULL;
	buffers->nr = 0;
	buffers->ring = NULL;
	return hf_native_unpin(buffers->space, buffers->addr, buffers->len,
			       HF_FOLL_WRITE | HF_FOLL_LONGTERM);
}

/* The index of the buffer that has all of [addr, addr + len), for io_uring_prep_read_fixed() and
 * its like. -EINVAL: none has; requests end where buffers do. */
static inline int hf_native_buffer_index(const struct hf_native_buffers *buffers, const void *addr,
					 size_t len)
{
	for (int i = 0; i < buffers->nr; i++) {
		const struct iovec *iov = &buffers->iov[i];
		size_t at = (size_t)((const char *)addr - (const char *)iov->iov_base);

		if ((const char *)addr >= (const char *)iov->iov_base && at <= iov->iov_len &&
		    len <= iov->iov_len - at)
			return i;
	}
	return -EINVAL;
}

#ifdef __cplusplus
}
#endif
#endif
