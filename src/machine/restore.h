/* SPDX-License-Identifier: MIT */
/* Puts back what a journal has. */
#ifndef HF_MACHINE_RESTORE_H
#define HF_MACHINE_RESTORE_H

#include "journal.h"

enum hf_outcome {
	HF_PUT_BACK,
	HF_NOT_OURS, /* somebody else has changed it since: it is left as it is */
	HF_STUCK,    /* it cannot be put back now */
};

typedef void (*hf_told_fn)(void *arg, enum hf_outcome outcome, const char *text);

/*
 * The last change first; where one is put back already, it is not touched. `told`, which may be
 * NULL, hears of each. With nothing stuck the journal is removed, else closed, for another attempt.
 * How many are stuck.
 */
unsigned hf_restore(struct hf_journal *j, hf_told_fn told, void *arg);

/* `holdfast restore`: what a dead runner has left. A guardian that is at it is waited for. -ENOENT:
 * there is nothing to put back; -EBUSY: its owner, *owner, is alive; else how many are stuck, or
 * negative errno. */
int hf_restore_now(struct hf_owner *owner, hf_told_fn told, void *arg);

#endif
