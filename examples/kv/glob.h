/* SPDX-License-Identifier: MIT */
/* Patterns of KEYS and SCAN: * ? [a-z] [^a] and \ before what stands for itself. */
#ifndef KV_GLOB_H
#define KV_GLOB_H

#include "table.h"

#include <stdbool.h>

bool glob_match(struct bytes pattern, struct bytes text);

#endif
