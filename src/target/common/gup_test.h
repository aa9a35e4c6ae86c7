/* SPDX-License-Identifier: MIT */
/*
 * The kernel's gup_test (CONFIG_GUP_TEST, in debugfs, root only): long-term pins for reading or
 * writing, by either way of GUP, and what a device sees through them. The kernel holds one such pin
 * at a time, whoever asked for it, and drops it when anybody closes the file.
 */
#ifndef HF_COMMON_GUP_TEST_H
#define HF_COMMON_GUP_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is it there, and does it take long-term pins (Linux 6.2)? */
bool hf_gup_test_there(void);
/* A descriptor or negative errno; the others 0 or negative errno. */
int hf_gup_test_open(void);
/* Pins the pages of the caller's memory that [addr, addr + len) touches. */
int hf_gup_test_pin(int fd, uint64_t addr, size_t len, bool write, bool fast);
int hf_gup_test_unpin(int fd);
/* Bytes [lo, hi) from addr on, through the pin of [addr, addr + len). */
int hf_gup_test_read(int fd, uint64_t addr, size_t len, size_t lo, size_t hi, uint8_t *data);

#endif
