/* SPDX-License-Identifier: MIT */
/* The kernel's settings that kinds of memory need, put back by src/machine. */
#ifndef HF_COMMON_SETTINGS_H
#define HF_COMMON_SETTINGS_H

#include "../../scenario/scenario.h"

/* Makes the kernel give memory of that kind. False: `why` says why it does not. */
bool hf_settings_for(const struct hf_kind_info *kind, char *why, size_t len);
/* KSM's, for steps that merge. */
bool hf_settings_for_merging(char *why, size_t len);
/* What changes pages without being asked to. */
void hf_settings_without_noise(void);

#endif
