/* SPDX-License-Identifier: MIT */
/*
 * What the runner sets up before the first process and every process inherits by fork: control
 * sockets, memory that all share, pipes, rings, FUSE mounts. Descriptors have the same numbers
 * everywhere, so none is ever passed on.
 */
#ifndef HF_HERE_STAGE_H
#define HF_HERE_STAGE_H

#include "../../scenario/target.h"
#include "../common/wire.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/types.h>

/* What kernels differ in. */
struct hf_powers {
	bool direct_io_pins; /* Linux 6.5 */
	bool gup_test;
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

/* ---- means.c ---- */

/* How this kernel can make the reference; HF_MEANS_NONE: `why` says why not. */
enum hf_means hf_means_of(const struct hf_scenario *scn, int ref, const struct hf_powers *powers,
			  char *why);

/* ---- stage.c ---- */

/* 0 or negative errno. Wires that cannot be had are no failure: their `error` says so. */
int hf_stage_open(struct hf_stage *stage, const struct hf_scenario *scn,
		  const struct hf_kind_info *kind, const struct hf_powers *powers);
void hf_stage_close(struct hf_stage *stage);
/* In a process: lets go of what only the runner may hold. */
void hf_stage_leave_runner(struct hf_stage *stage);

/* ---- actor.c ---- */

/* Waits until all runners of the par block are there. False: given up. */
bool hf_par_meet(struct hf_shared *shared);

#endif
