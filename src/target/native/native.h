/* SPDX-License-Identifier: MIT */
#ifndef HF_NATIVE_TARGET_H
#define HF_NATIVE_TARGET_H

#include "../../scenario/target.h"

/* Native spaces in the mode of the name: "native", "native-signal", "native-bracketed". NULL: err
 * says why, or is empty: it is another's name. */
struct hf_target *hf_target_native(const char *name, char *err, size_t len);

#endif
