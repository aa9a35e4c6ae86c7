/* SPDX-License-Identifier: MIT */
/* One start of a kernel under QEMU, and what its two serial lines say. */
#ifndef HF_BOOT_H
#define HF_BOOT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum hf_boot_end {
	HF_BOOT_RUNS,
	HF_BOOT_DIED,   /* QEMU ended: a panic, or it could not start */
	HF_BOOT_SILENT, /* for as long as patience lasts */
	HF_BOOT_STOPPED,
};

struct hf_boot {
	pid_t pid;
	int results, console;      /* ends of pipes */
	char *line;                /* what is there of the next line */
	size_t line_len, line_cap; /* bytes of it; room */
	size_t taken;              /* bytes that the caller has had */
	char tail[16384];          /* the console's last words, and QEMU's */
	size_t tail_len;
};

/* Starts `image` with an initramfs in memory. 0 or negative errno: QEMU cannot be run. */
int hf_boot_start(struct hf_boot *b, const char *image, int initramfs);
/*
 * Waits for a line of results, for at most `patience` seconds in which nothing is said on either
 * line. HF_BOOT_RUNS: *line is it, until the next call.
 */
enum hf_boot_end hf_boot_next(struct hf_boot *b, unsigned patience,
			      const volatile sig_atomic_t *stop, char **line);
/* Ends QEMU, whatever it does. */
void hf_boot_stop(struct hf_boot *b);
/* What the console said since the last line with HF_BOOT_MARK in it: from the first line that tells
 * of a crash on, or else the last line. `crash`, which may be NULL, says which. */
const char *hf_boot_last_words(struct hf_boot *b, bool *crash);

/* The runner says it on the console when a cell begins: the two lines come by two ways. */
#define HF_BOOT_MARK "holdfast: a cell begins"

#endif
