/* SPDX-License-Identifier: MIT */
#ifndef HF_NATIVE_TARGET_H
#define HF_NATIVE_TARGET_H

#include "../../scenario/target.h"

/* Native spaces whose faults a thread, or else a signal handler resolves. NULL: err says why. */
struct hf_target *hf_target_native(bool signal, char *err, size_t len);

#endif
