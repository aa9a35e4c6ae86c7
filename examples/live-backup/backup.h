/* SPDX-License-Identifier: MIT */
/*
 * A chain of backups of a space: runs of bytes, each behind its offset and length. The first has
 * all that is not zero, each of the others what differs from the snapshot before.
 */
#ifndef LB_BACKUP_H
#define LB_BACKUP_H

#include <holdfast/native.h>
#include <stdio.h>

struct backup {
	FILE *file; /* without a name */
	unsigned nr;
	uint64_t full_bytes, incremental_bytes;
};

/* All: 0 or -errno. */
int backup_open(struct backup *backup, const char *dir);
void backup_close(struct backup *backup);
/* Adds a snapshot to the chain; `before` is the one that was added last, NULL for the first. */
int backup_add(struct backup *backup, const struct hf_native_snapshot *before,
	       const struct hf_native_snapshot *snapshot);
/* Restores the chain, and compares it with the snapshot: -EBADMSG if a byte differs. */
int backup_compare(struct backup *backup, const struct hf_native_snapshot *snapshot, size_t size);

#endif
