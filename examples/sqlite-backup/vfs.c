/* SPDX-License-Identifier: MIT */
#include "vfs.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

/* Of a file, by all connections: how many read, and who is about to write. */
struct locks {
	unsigned shared;
	const void *reserved, *pending, *exclusive;
};

struct open_file {
	sqlite3_file base;
	int number;
	int level; /* SQLITE_LOCK_* */
};

static struct hf_native *space;
static struct vfs_head *head;
static struct locks locks[VFS_FILES];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of the head and the locks */

size_t vfs_start(size_t space_size, int file)
{
	size_t part = (space_size - 4096) / VFS_FILES / 4096 * 4096;

	return 4096 + (size_t)file * part;
}

static size_t room(void)
{
	return vfs_start(hf_native_size(space), 1) - vfs_start(hf_native_size(space), 0);
}

static char *bytes_of(int file)
{
	return (char *)hf_native_base(space) + vfs_start(hf_native_size(space), file);
}

/* All stores to the space are these two. */
static int store(void *to, const void *from, size_t len)
{
	if (hf_native_begin_store(space, to, len))
		return SQLITE_IOERR_WRITE;
	memcpy(to, from, len);
	hf_native_end_store(space, to, len);
	return SQLITE_OK;
}

static int store_zeros(void *to, size_t len)
{
	if (!len)
		return SQLITE_OK;
	if (hf_native_begin_store(space, to, len))
		return SQLITE_IOERR_WRITE;
	memset(to, 0, len);
	hf_native_end_store(space, to, len);
	return SQLITE_OK;
}

static int set_size(int file, uint64_t size)
{
	return store(&head->file[file].size, &size, sizeof(size));
}

/* ---- a file ---- */

static int file_close(sqlite3_file *f)
{
	f->pMethods = NULL;
	return SQLITE_OK;
}

static int file_read(sqlite3_file *f, void *to, int len, sqlite3_int64 at)
{
	int n = ((struct open_file *)f)->number;
	uint64_t size = head->file[n].size;
	size_t there = (uint64_t)at < size ? size - (uint64_t)at : 0;

	there = there < (size_t)len ? there : (size_t)len;
	memcpy(to, bytes_of(n) + at, there);
	memset((char *)to + there, 0, (size_t)len - there);
	return there == (size_t)len ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

/* The bytes first, then the size that has them. */
static int file_write(sqlite3_file *f, const void *from, int len, sqlite3_int64 at)
{
	int n = ((struct open_file *)f)->number, err = SQLITE_OK;
	uint64_t size = head->file[n].size, end = (uint64_t)at + (uint64_t)len;

	if (end > room())
		return SQLITE_FULL;
	if ((uint64_t)at > size)
		err = store_zeros(bytes_of(n) + size, (uint64_t)at - size);
	if (!err)
		err = store(bytes_of(n) + at, from, (size_t)len);
	return !err && end > size ? set_size(n, end) : err;
}

static int file_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	return set_size(((struct open_file *)f)->number, (uint64_t)size);
}

/* A snapshot is of all memory at one instant: nothing is in some cache still. */
static int file_sync(sqlite3_file *f, int flags)
{
	(void)f;
	(void)flags;
	return SQLITE_OK;
}

static int file_size(sqlite3_file *f, sqlite3_int64 *size)
{
	*size = (sqlite3_int64)head->file[((struct open_file *)f)->number].size;
	return SQLITE_OK;
}

/* ---- locks, as SQLite's manual has them ---- */

static bool free_for(const void *holder, const void *self)
{
	return !holder || holder == self;
}

static int take(struct locks *l, struct open_file *f, int level)
{
	if (level == SQLITE_LOCK_SHARED) {
		if (l->pending || l->exclusive)
			return SQLITE_BUSY;
		l->shared++;
	} else if (level == SQLITE_LOCK_RESERVED) {
		if (!free_for(l->reserved, f))
			return SQLITE_BUSY;
		l->reserved = f;
	} else {
		if (!free_for(l->reserved, f) || !free_for(l->pending, f))
			return SQLITE_BUSY;
		l->pending = f; /* no reader comes any more */
		if (l->shared > 1)
			return SQLITE_BUSY;
		l->exclusive = f;
	}
	f->level = level;
	return SQLITE_OK;
}

static int file_lock(sqlite3_file *file, int level)
{
	struct open_file *f = (struct open_file *)file;
	int err = SQLITE_OK;

	pthread_mutex_lock(&mutex);
	if (level > f->level)
		err = take(&locks[f->number], f, level);
	pthread_mutex_unlock(&mutex);
	return err;
}

static int file_unlock(sqlite3_file *file, int level)
{
	struct open_file *f = (struct open_file *)file;
	struct locks *l = &locks[f->number];

	pthread_mutex_lock(&mutex);
	if (level < SQLITE_LOCK_RESERVED) {
		l->reserved = l->reserved == f ? NULL : l->reserved;
		l->pending = l->pending == f ? NULL : l->pending;
		l->exclusive = l->exclusive == f ? NULL : l->exclusive;
	}
	if (level == SQLITE_LOCK_NONE && f->level >= SQLITE_LOCK_SHARED)
		l->shared--;
	if (level < f->level)
		f->level = level;
	pthread_mutex_unlock(&mutex);
	return SQLITE_OK;
}

static int file_is_reserved(sqlite3_file *file, int *out)
{
	const struct locks *l = &locks[((struct open_file *)file)->number];

	pthread_mutex_lock(&mutex);
	*out = l->reserved || l->pending || l->exclusive;
	pthread_mutex_unlock(&mutex);
	return SQLITE_OK;
}

static int file_control(sqlite3_file *f, int op, void *arg)
{
	(void)f;
	(void)op;
	(void)arg;
	return SQLITE_NOTFOUND;
}

static int file_sector(sqlite3_file *f)
{
	(void)f;
	return 4096;
}

static int file_character(sqlite3_file *f)
{
	(void)f;
	return SQLITE_IOCAP_SEQUENTIAL;
}

static const sqlite3_io_methods methods = {
	.iVersion = 1,
	.xClose = file_close,
	.xRead = file_read,
	.xWrite = file_write,
	.xTruncate = file_truncate,
	.xSync = file_sync,
	.xFileSize = file_size,
	.xLock = file_lock,
	.xUnlock = file_unlock,
	.xCheckReservedLock = file_is_reserved,
	.xFileControl = file_control,
	.xSectorSize = file_sector,
	.xDeviceCharacteristics = file_character,
};

/* ---- names ---- */

/* -1: there is none. */
static int find(const char *name)
{
	for (int i = 0; i < VFS_FILES; i++)
		if (!strcmp(head->file[i].name, name))
			return i;
	return -1;
}

static int create(const char *name)
{
	struct vfs_file file = { .size = 0 };
	int n = find("");

	if (n < 0 || strlen(name) >= VFS_NAME_MAX)
		return -1;
	strcpy(file.name, name);
	return store(&head->file[n], &file, sizeof(file)) ? -1 : n;
}

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
	struct open_file *f = (struct open_file *)file;

	(void)vfs;
	pthread_mutex_lock(&mutex);
	f->level = SQLITE_LOCK_NONE;
	f->number = name ? find(name) : -1;
	if (name && f->number < 0 && flags & SQLITE_OPEN_CREATE)
		f->number = create(name);
	pthread_mutex_unlock(&mutex);
	f->base.pMethods = f->number < 0 ? NULL : &methods;
	if (out)
		*out = flags;
	return f->number < 0 ? SQLITE_CANTOPEN : SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
	static const struct vfs_file none;
	int n, err = SQLITE_IOERR_DELETE_NOENT;

	(void)vfs;
	(void)sync;
	pthread_mutex_lock(&mutex);
	n = find(name);
	if (n >= 0)
		err = store(&head->file[n], &none, sizeof(none));
	pthread_mutex_unlock(&mutex);
	return err;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
	(void)vfs;
	(void)flags;
	pthread_mutex_lock(&mutex);
	*out = find(name) >= 0;
	pthread_mutex_unlock(&mutex);
	return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *name, int len, char *out)
{
	(void)vfs;
	snprintf(out, (size_t)len, "%s", name);
	return SQLITE_OK;
}

int vfs_register(struct hf_native *of)
{
	static sqlite3_vfs vfs;

	space = of;
	head = hf_native_base(of);
	vfs = *sqlite3_vfs_find(NULL); /* time, randomness */
	vfs.szOsFile = sizeof(struct open_file);
	vfs.zName = VFS_NAME;
	vfs.pNext = NULL;
	vfs.xOpen = vfs_open;
	vfs.xDelete = vfs_delete;
	vfs.xAccess = vfs_access;
	vfs.xFullPathname = vfs_full_path;
	return sqlite3_vfs_register(&vfs, 0);
}
