/* SPDX-License-Identifier: MIT */
#ifndef HF_SITE_H
#define HF_SITE_H

#include <stdint.h>

enum hf_site_kind {
	HF_SITE_LOAD,
	HF_SITE_HINT, /* a load that may give what was there before */
	HF_SITE_STORE,
	HF_SITE_RMW,
	HF_SITE_LOCK,
	HF_SITE_FLUSH,
	HF_SITE_SECTION, /* of RCU readers */
};

/* A place where the core uses an atomic, a lock, the TLB or RCU. */
struct hf_site {
	const char *file, *function, *text;
	int line;
	uint8_t kind, order; /* enum hf_site_kind; a memory_order */
};

#endif
