/* SPDX-License-Identifier: MIT */
/* What devices do, on the runner's side of the wires. All return 0 or negative errno. */
#ifndef HF_COMMON_DEVICE_H
#define HF_COMMON_DEVICE_H

#include "wire.h"

/* Bytes [lo, hi) from the start of the referenced range, which begins at w->addr. */
int hf_pipe_read(struct hf_wire *w, size_t lo, size_t hi, uint8_t *data); /* does not use them up */
int hf_pipe_drain(struct hf_wire *w);                                     /* drops the references */
int hf_ring_read(struct hf_wire *w, size_t lo, size_t hi, uint8_t *data);
/* *done: how much of it was written, also when it failed then. */
int hf_ring_write(struct hf_wire *w, size_t lo, size_t hi, uint8_t value, size_t *done);

#endif
