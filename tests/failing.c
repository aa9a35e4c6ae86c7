/* SPDX-License-Identifier: MIT */
#include "failing.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define PAGE 4096UL

static _Atomic bool on, lasts, failed;
static _Atomic int left, each; /* each: 0, or how many are left again after one has failed */
static _Atomic long mapped, blocks;

void failing_on(int n, bool lasting)
{
	atomic_store(&left, n);
	atomic_store(&each, 0);
	atomic_store(&lasts, lasting);
	atomic_store(&failed, false);
	atomic_store(&on, true);
}

void failing_each(int n)
{
	failing_on(n, false);
	atomic_store(&each, n);
}

bool failing_off(void)
{
	atomic_store(&on, false);
	return atomic_load(&failed);
}

struct had failing_had(void)
{
	return (struct had){ atomic_load(&mapped), atomic_load(&blocks) };
}

static bool fails(void)
{
	int now;

	if (!atomic_load(&on))
		return false;
	now = atomic_fetch_sub(&left, 1);
	if (now != 1 && (now > 1 || !atomic_load(&lasts)))
		return false;
	if (atomic_load(&each))
		atomic_store(&left, atomic_load(&each));
	atomic_store(&failed, true);
	errno = ENOMEM;
	return true;
}

static long pages(size_t len)
{
	return (long)((len + PAGE - 1) & ~(PAGE - 1));
}

/* ---- memory of the kernel's ---- */

void *__real_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);

void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	void *p = fails() ? MAP_FAILED : __real_mmap(addr, len, prot, flags, fd, offset);

	if (p != MAP_FAILED)
		atomic_fetch_add(&mapped, pages(len));
	return p;
}

int __real_munmap(void *addr, size_t len);
int __wrap_munmap(void *addr, size_t len);

int __wrap_munmap(void *addr, size_t len)
{
	int err = __real_munmap(addr, len);

	if (!err)
		atomic_fetch_sub(&mapped, pages(len));
	return err;
}

void *__real_mremap(void *old, size_t old_len, size_t len, int flags, ...);
void *__wrap_mremap(void *old, size_t old_len, size_t len, int flags, ...);

void *__wrap_mremap(void *old, size_t old_len, size_t len, int flags, ...)
{
	void *p = fails() ? MAP_FAILED : __real_mremap(old, old_len, len, flags);

	if (p != MAP_FAILED)
		atomic_fetch_add(&mapped, pages(len) - pages(old_len));
	return p;
}

int __real_madvise(void *addr, size_t len, int advice);
int __wrap_madvise(void *addr, size_t len, int advice);

int __wrap_madvise(void *addr, size_t len, int advice)
{
	return fails() ? -1 : __real_madvise(addr, len, advice);
}

int __real_mprotect(void *addr, size_t len, int prot);
int __wrap_mprotect(void *addr, size_t len, int prot);

int __wrap_mprotect(void *addr, size_t len, int prot)
{
	return fails() ? -1 : __real_mprotect(addr, len, prot);
}

/* ---- descriptors ---- */

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
	va_list args;
	int mode;

	va_start(args, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, int) : 0;
	va_end(args);
	return fails() ? -1 : __real_open(path, flags, mode);
}

int __real_memfd_create(const char *name, unsigned flags);
int __wrap_memfd_create(const char *name, unsigned flags);

int __wrap_memfd_create(const char *name, unsigned flags)
{
	return fails() ? -1 : __real_memfd_create(name, flags);
}

int __real_ftruncate(int fd, off_t len);
int __wrap_ftruncate(int fd, off_t len);

int __wrap_ftruncate(int fd, off_t len)
{
	return fails() ? -1 : __real_ftruncate(fd, len);
}

int __real_eventfd(unsigned value, int flags);
int __wrap_eventfd(unsigned value, int flags);

int __wrap_eventfd(unsigned value, int flags)
{
	return fails() ? -1 : __real_eventfd(value, flags);
}

long __real_syscall(long nr, ...);
long __wrap_syscall(long nr, ...);

/* userfaultfd() alone: sleeping on a futex takes nothing. The last of six arguments is on the
 * stack, where callers have put less than six, perhaps. */
__attribute__((no_sanitize("address"))) long __wrap_syscall(long nr, ...)
{
	long a[6];
	va_list args;

	va_start(args, nr);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (nr == SYS_userfaultfd && fails())
		return -1;
	return __real_syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

/* Half of it, as when the kernel is interrupted; but a page of the pool comes whole. */
static int copy_half(int fd, struct uffdio_copy *copy)
{
	struct uffdio_copy half = *copy;

	half.len = copy->len / 2 & ~(PAGE - 1);
	if (__real_ioctl(fd, UFFDIO_COPY, &half)) {
		if (errno == EINVAL)
			return __real_ioctl(fd, UFFDIO_COPY, copy);
		copy->copy = half.copy;
		return -1;
	}
	copy->copy = (int64_t)half.len;
	errno = EAGAIN;
	return -1;
}

static int zero_half(int fd, struct uffdio_zeropage *zero)
{
	struct uffdio_zeropage half = *zero;

	half.range.len = zero->range.len / 2 & ~(PAGE - 1);
	if (__real_ioctl(fd, UFFDIO_ZEROPAGE, &half)) {
		zero->zeropage = half.zeropage;
		return -1;
	}
	zero->zeropage = (int64_t)half.range.len;
	errno = EAGAIN;
	return -1;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (fails())
		return -1;
	if (request == UFFDIO_COPY && atomic_load(&on) &&
	    ((struct uffdio_copy *)arg)->len > 256 * PAGE)
		return copy_half(fd, arg);
	if (request == UFFDIO_ZEROPAGE && atomic_load(&on) &&
	    ((struct uffdio_zeropage *)arg)->range.len > 256 * PAGE)
		return zero_half(fd, arg);
	return __real_ioctl(fd, request, arg);
}

/* ---- threads, and what the io_uring helper calls ---- */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
			  void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
			  void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
			  void *arg)
{
	return fails() ? EAGAIN : __real_pthread_create(thread, attr, start, arg);
}

int __real_io_uring_register_buffers(struct io_uring *ring, const struct iovec *iov, unsigned nr);
int __wrap_io_uring_register_buffers(struct io_uring *ring, const struct iovec *iov, unsigned nr);

int __wrap_io_uring_register_buffers(struct io_uring *ring, const struct iovec *iov, unsigned nr)
{
	return fails() ? -ENOMEM : __real_io_uring_register_buffers(ring, iov, nr);
}

int __real_io_uring_unregister_buffers(struct io_uring *ring);
int __wrap_io_uring_unregister_buffers(struct io_uring *ring);

int __wrap_io_uring_unregister_buffers(struct io_uring *ring)
{
	return fails() ? -ENOMEM : __real_io_uring_unregister_buffers(ring);
}

/* ---- malloc() ---- */

static void *counted(void *p)
{
	if (p)
		atomic_fetch_add(&blocks, 1);
	return p;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : counted(__real_malloc(size));
}

void *__real_calloc(size_t nr, size_t size);
void *__wrap_calloc(size_t nr, size_t size);

void *__wrap_calloc(size_t nr, size_t size)
{
	return fails() ? NULL : counted(__real_calloc(nr, size));
}

void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_realloc(void *p, size_t size)
{
	if (fails())
		return NULL;
	return p ? __real_realloc(p, size) : counted(__real_realloc(p, size));
}

void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return fails() ? NULL : counted(__real_aligned_alloc(alignment, size));
}

void __real_free(void *p);
void __wrap_free(void *p);

void __wrap_free(void *p)
{
	if (p)
		atomic_fetch_sub(&blocks, 1);
	__real_free(p);
}
