/* SPDX-License-Identifier: MIT */
#ifndef HF_SITE_H
#define HF_SITE_H

#include <stdint.h>
#include <string.h>

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

/* Its file, without folders. */
static inline const char *hf_site_file(const struct hf_site *site)
{
	const char *slash = strrchr(site->file, '/');

	return slash ? slash + 1 : site->file;
}

/* "seq_cst", of a memory_order. */
static inline const char *hf_order_name(int order)
{
	static const char *const names[] = { "relaxed", "consume", "acquire",
					     "release", "acq_rel", "seq_cst" };

	return names[order];
}

#endif
