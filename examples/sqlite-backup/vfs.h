/* SPDX-License-Identifier: MIT */
/*
 * A VFS for SQLite whose files are in a bracketed space: a database and its journal, for all
 * connections of this process. SQLite is as Debian has it.
 */
#ifndef SQLITE_BACKUP_VFS_H
#define SQLITE_BACKUP_VFS_H

#include <holdfast/native.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VFS_NAME "space"
#define VFS_FILES 2
#define VFS_NAME_MAX 64

/* The head of the space. File i has the i-th of the equal parts behind it. */
struct vfs_file {
	char name[VFS_NAME_MAX]; /* empty: there is none */
	uint64_t size;
};

struct vfs_head {
	struct vfs_file file[VFS_FILES];
};

/* SQLite's error code. */
int vfs_register(struct hf_native *space);
/* Where a file's bytes begin in a space of so many bytes. */
size_t vfs_start(size_t space_size, int file);

#endif
