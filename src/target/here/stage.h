/* SPDX-License-Identifier: MIT */
/*
 * What the runner sets up before the first process and every process inherits by fork: control
 * sockets, memory that all share, pipes, rings, FUSE mounts. Descriptors have the same numbers
 * everywhere, so none is ever passed on.
 */
#ifndef HF_HERE_STAGE_H
#define HF_HERE_STAGE_H

#include "../../scenario/scenario.h"
#include "../common/fuse.h"

#include <liburing.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/types.h>

#define HF_REASON_LEN 200

/* How a reference is made on a real kernel. */
enum hf_means {
	HF_MEANS_NONE,
	HF_MEANS_PIPE,  /* vmsplice: FOLL_GET, read */
	HF_MEANS_RING,  /* registered buffer: FOLL_PIN, long term, write */
	HF_MEANS_TEST,  /* gup_test: FOLL_PIN, long term; its device reads */
	HF_MEANS_READ,  /* direct read in flight: FOLL_PIN, short, write (FOLL_GET before 6.5) */
	HF_MEANS_WRITE, /* direct write in flight: FOLL_PIN, short, read (FOLL_GET before 6.5) */
};

/* What kernels differ in. */
struct hf_powers {
	bool direct_io_pins; /* Linux 6.5 */
	bool gup_test;
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

enum hf_call {
	HF_CALL_STEP,
	HF_CALL_SHAPE,     /* what the kind makes of a buffer at addr, buffer, size */
	HF_CALL_OPEN_FILE, /* of the step's reference */
	HF_CALL_ARMS,      /* of a par block: all that belong to the process */
};

/* The request to a process and its answer. */
struct hf_call_box {
	enum hf_call call;
	const struct hf_step *step;
	uint64_t addr;    /* of the step's range; map, remap, shape: of the buffer */
	uint64_t to;      /* remap, shape: where to */
	size_t size;      /* of the range; map, remap, shape: of the mapping */
	size_t buffer;    /* shape: bytes of the buffer */
	pid_t target_pid; /* process_vm, ptrace */
	int status;       /* 0, negative errno, or HF_OBS_SKIP with a reason */
	size_t done;      /* bytes that were read or written, also when it failed then */
	pid_t child;      /* fork */
	char reason[HF_REASON_LEN];
	_Alignas(64) uint8_t data[HF_SCN_MAX_PAGES * 4096];
};

struct hf_arm_step {
	uint64_t addr;
	size_t size;
	int status;
	bool left_out; /* by the runner: the arm passes it by */
	pid_t child;
	_Alignas(8) uint8_t data[8];
	char reason[HF_REASON_LEN];
};

struct hf_shared {
	struct hf_call_box box[HF_SCN_MAX_PROCS];
	const struct hf_par *par;
	pid_t runner;
	unsigned nr_runners; /* who meet at the start of the par block */
	atomic_uint arrived;
	atomic_bool stop;                    /* somebody will not come */
	atomic_bool let_go[HF_SCN_MAX_REFS]; /* in the par block, or before */
	struct hf_arm_step arm_step[HF_SCN_MAX_PAR_STEPS];
};

struct hf_stage {
	const struct hf_scenario *scn;
	struct hf_shared *shared;
	int control[HF_SCN_MAX_PROCS][2]; /* [0] the runner's end, [1] the process's; -1 none */
	struct hf_wire wire[HF_SCN_MAX_REFS];
	cpu_set_t all_cpus, one_cpu;
	const struct hf_kind_info *kind;
	int file; /* that all buffers map, if the kind is of files; else -1 */
};

/* What a system call makes; HF_MEANS_NONE: the step names a kind of reference, not a call. */
enum hf_means hf_means_of_call(enum hf_verb verb);
/* How this kernel can make the reference; HF_MEANS_NONE: `why` says why not. */
enum hf_means hf_means_of(const struct hf_scenario *scn, int ref, const struct hf_powers *powers,
			  char *why);
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
/* 0 or negative errno. Wires that cannot be had are no failure: their `error` says so. */
int hf_stage_open(struct hf_stage *stage, const struct hf_scenario *scn,
		  const struct hf_kind_info *kind, const struct hf_powers *powers);
void hf_stage_close(struct hf_stage *stage);
/* In a process: lets go of what only the runner may hold. */
void hf_stage_leave_runner(struct hf_stage *stage);

/* Waits until all runners of the par block are there. False: given up. */
bool hf_par_meet(struct hf_shared *shared);

#endif
