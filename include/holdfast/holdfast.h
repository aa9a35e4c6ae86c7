/* SPDX-License-Identifier: MIT */
/* holdfast: copy-on-write anonymous memory whose pins hold. Start with mm.h and gup.h. */
#ifndef HOLDFAST_HOLDFAST_H
#define HOLDFAST_HOLDFAST_H

#include <holdfast/file.h>
#include <holdfast/gup.h>
#include <holdfast/ksm.h>
#include <holdfast/migrate.h>
#include <holdfast/mm.h>
#include <holdfast/platform.h>
#include <holdfast/policy.h>
#include <holdfast/swap.h>
#include <holdfast/validate.h>

#define HF_VERSION_MAJOR 0
#define HF_VERSION_MINOR 1
#define HF_VERSION_PATCH 0
#define HF_VERSION "0.1.0"

#endif
