/* SPDX-License-Identifier: MIT */
/*
 * Swap: anonymous pages on a device, so that address spaces may be larger than the machine.
 *
 * CAVEATS FIRST
 *  - Pages move out when a fault finds no frame, and on HF_MADV_PAGEOUT. Pinned pages never do;
 *    a page that a plain reference holds is unmapped, but keeps its frame.
 *  - The device is called with no lock held but the page's own, from many threads at once, for
 *    different slots.
 *  - A device error makes the faulting call fail with -EIO. Nothing is lost by a failed write: the
 *    page keeps its frame.
 */
#ifndef HOLDFAST_SWAP_H
#define HOLDFAST_SWAP_H

#include <holdfast/mm.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hf_swap_device {
	void *ctx; /* passed to both calls */
	size_t nr_slots;
	/* One page, to or from a slot. 0 or an error, which the core turns into -EIO. */
	int (*write)(void *ctx, size_t slot, const void *page);
	int (*read)(void *ctx, size_t slot, void *page);
};

/* The device must outlive the system or its swapoff.
 * -EINVAL (no slots), -EBUSY (there is one already), -ENOMEM. */
int hf_swapon(struct hf_system *sys, const struct hf_swap_device *device);
/*
 * Brings every page back and lets go of the device. Takes mmap_lock of every address space for
 * read. -EINVAL (there is none), -ENOMEM (not enough frames; what came back stays, the rest is
 * still there), -EIO, -EBUSY (pages were on their way meanwhile: call again).
 */
int hf_swapoff(struct hf_system *sys);

/* Fewer frames are free than the low watermark, a sixteenth of all. */
bool hf_low_on_frames(struct hf_system *sys);
/*
 * Frees frames until the high watermark, an eighth of all, is free, or nothing more can be moved
 * out. Returns how many it freed. For a thread in the background, so that faults find free frames:
 * hf_reclaimer_start() in holdfast/hosted.h is one.
 */
size_t hf_balance(struct hf_system *sys);

#ifdef __cplusplus
}
#endif
#endif
