/* SPDX-License-Identifier: MIT */
/* The kernel's settings that kinds of memory need, put back as they were. */
#ifndef HF_KERNEL_SETTINGS_H
#define HF_KERNEL_SETTINGS_H

#include "../scenario/scenario.h"

struct hf_setting {
	char path[96];
	char was[32];
};

struct hf_settings {
	struct hf_setting saved[24];
	size_t nr;
	bool quiet;
};

/* Makes the kernel give memory of that kind. False: `why` says why it does not. */
bool hf_settings_for(struct hf_settings *s, const struct hf_kind_info *kind, char *why, size_t len);
/* KSM's, for steps that merge. */
bool hf_settings_for_merging(struct hf_settings *s, char *why, size_t len);
/* What changes pages without being asked to. */
void hf_settings_without_noise(struct hf_settings *s);
void hf_settings_restore(struct hf_settings *s);

/* A number out of a file of /sys or /proc; -1: there is none. */
long hf_read_number(const char *path);
bool hf_write_text(const char *path, const char *text);

#endif
