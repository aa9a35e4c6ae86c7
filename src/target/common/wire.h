/* SPDX-License-Identifier: MIT */
/*
 * The wire between a reference and its device: whatever of the kernel's holds the pages (a pipe, a
 * ring, direct I/O in flight, gup_test) and lets the runner see and change them. device.c is what
 * devices do there.
 */
#ifndef HF_COMMON_WIRE_H
#define HF_COMMON_WIRE_H

#include "../../scenario/scenario.h"
#include "fuse.h"

#include <liburing.h>

/* How a reference is made on a real kernel. */
enum hf_means {
	HF_MEANS_NONE,
	HF_MEANS_PIPE,  /* vmsplice: FOLL_GET, read */
	HF_MEANS_RING,  /* registered buffer: FOLL_PIN, long term, write */
	HF_MEANS_TEST,  /* gup_test: FOLL_PIN, long term; its device reads */
	HF_MEANS_READ,  /* direct read in flight: FOLL_PIN, short, write (FOLL_GET before 6.5) */
	HF_MEANS_WRITE, /* direct write in flight: FOLL_PIN, short, read (FOLL_GET before 6.5) */
};

struct hf_wire {
	enum hf_means means;
	int pipe[2];
	struct io_uring ring;
	bool ring_up;
	int file; /* what the ring copies from and to; the direct I/O's; gup_test */
	struct hf_fuse fuse;
	int done[2]; /* a pipe: the direct I/O's result, a long */
	int error;   /* positive errno: what could not be set up */
	/* the runner's alone */
	const struct hf_step *maker; /* while the reference is held */
	uint64_t addr;               /* of its range */
	bool ended;                  /* the device's access has ended it, and no release yet */
};

/* What a system call makes; HF_MEANS_NONE: the step names a kind of reference, not a call. */
enum hf_means hf_means_of_call(enum hf_verb verb);
/* A wire that is not there yet. */
void hf_wire_init(struct hf_wire *wire);
/* By wire->means, for the reference that `maker` makes; wire->error says what cannot be had. */
void hf_wire_open(struct hf_wire *wire, const struct hf_step *maker);
void hf_wire_close(struct hf_wire *wire);
/* Opens the file of a direct I/O and gets over with the requests that a server may refuse once and
 * for all, so that the next one in the queue is the I/O and nobody's exit waits behind it. The
 * descriptor, or negative errno. */
int hf_wire_open_file(const struct hf_wire *wire);
/* What a user is to do about wire->error. */
const char *hf_wire_remedy(const struct hf_wire *wire);
/* Unless it is -1, which it then is. */
void hf_close_fd(int *fd);

#endif
