/* SPDX-License-Identifier: MIT */
/* The kernel's log, searched for its complaints about itself. */
#ifndef HF_KMSG_H
#define HF_KMSG_H

/* From here on. */
void hf_kmsg_open(void);
/* Writes to the log, and so to the console. */
void hf_kmsg_say(const char *text);
/* What was logged since the last call, from the first complaint on; NULL: no complaint. The
 * caller's to free. */
char *hf_kmsg_splat(void);

#endif
