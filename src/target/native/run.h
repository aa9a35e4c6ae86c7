/* SPDX-License-Identifier: MIT */
/*
 * A run of a scenario on native spaces, between the files that share the work: memory.c (spaces,
 * loads and stores, advice), reference.c (pins and what devices do through them), flight.c (direct
 * I/O in flight), native.c (the target). Every process is a space of the runner's own process, and
 * every buffer a range of it that starts on a unit.
 */
#ifndef HF_NATIVE_TARGET_RUN_H
#define HF_NATIVE_TARGET_RUN_H

#include "../../scenario/target.h"
#include "../common/settings.h"
#include "../common/swap.h"
#include "../common/wire.h"

#include <holdfast/native.h>
#include <pthread.h>
#include <semaphore.h>

struct hf_nat_place {
	size_t size;        /* the buffer's; 0: never mapped */
	atomic_bool shaped; /* what the kind does after the first write was done */
};

struct hf_nat_proc {
	struct hf_native *space;              /* NULL: not there */
	struct hf_native_snapshot *protected; /* by the last wrprotect; or NULL */
	bool is_child;                        /* made of small pages, whatever the kind */
	struct hf_nat_place place[HF_SCN_MAX_BUFS];
};

/* A direct I/O that waits for its device. */
struct hf_flight {
	struct hf_wire *wire;
	void *addr;
	size_t len;
	pthread_t thread;
	sem_t go;
	bool under_way;
};

struct hf_nat_ref {
	_Atomic(const struct hf_step *) maker; /* NULL: nothing is held */
	struct hf_native *space;
	char *addr;
	size_t len;
	unsigned pins, flags; /* so many of hf_native_pin(); 0: a plain reference */
	uint64_t *frames;     /* that the pages were in when they were pinned; 0: not known */
	struct hf_wire wire;  /* to the device */
	struct hf_flight flight;
};

struct hf_nat_run {
	const struct hf_scenario *scn;
	const struct hf_kind_info *kind;
	unsigned mode;               /* flags of the spaces; 0: a thread resolves faults */
	struct hf_kernel_swap *swap; /* the target's */
	size_t slot;                 /* bytes that a buffer's range may have: whole units */
	int mem;                     /* /proc/self/mem */
	struct hf_nat_proc proc[HF_SCN_MAX_PROCS];
	struct hf_nat_ref ref[HF_SCN_MAX_REFS];
};

/* Fills obs with a status of the harness and words for it. */
void hf_nat_say(struct hf_obs *obs, int status, const char *reason);

/* ---- memory.c ---- */

/* A first process. 0 or negative errno. */
int hf_nat_create(struct hf_nat_run *r, int proc);
int hf_nat_exit(struct hf_nat_run *r, int proc);
char *hf_nat_addr(const struct hf_nat_run *r, int proc, const struct hf_step *st);
/* A step on memory. 0, negative errno, or a status of the harness with words in obs. */
int hf_nat_memory(struct hf_nat_run *r, const struct hf_step *st, struct hf_obs *obs);

/* ---- reference.c ---- */

int hf_nat_take(struct hf_nat_run *r, const struct hf_step *st, struct hf_obs *obs);
int hf_nat_release(struct hf_nat_ref *ref, struct hf_obs *obs);
int hf_nat_device(struct hf_nat_run *r, const struct hf_step *st, struct hf_obs *obs);

/* ---- flight.c ---- */

/* Starts the I/O that ref->wire is for; when it returns 0, its pages are referenced. */
int hf_flight_start(struct hf_nat_ref *ref);
/* Ends it: the device delivers `value`, or gives all bytes that it has read in data. */
int hf_flight_finish_read(struct hf_nat_ref *ref, uint8_t value);
int hf_flight_finish_write(struct hf_nat_ref *ref, uint8_t *data);
/* Ends it as a device does that fails. */
void hf_flight_abandon(struct hf_nat_ref *ref);

#endif
