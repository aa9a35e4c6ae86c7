/* SPDX-License-Identifier: MIT */
#include "userfault.h"

#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096
#define DEVICE_NEW _IO(0xAA, 0x00) /* USERFAULTFD_IOC_NEW, Linux 6.1 */

#define POISON _IOWR(UFFDIO, 0x08, struct uffdio_zeropage) /* UFFDIO_POISON, Linux 6.6 */

static int open_by_device(int flags)
{
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd, err;

	if (dev < 0)
		return -errno;
	fd = ioctl(dev, DEVICE_NEW, flags);
	err = errno;
	close(dev);
	return fd < 0 ? -err : fd;
}

static int open_with(int flags)
{
	int fd = (int)syscall(SYS_userfaultfd, flags), err;

	if (fd >= 0)
		return fd;
	err = -errno;
	if (err == -EPERM && (fd = open_by_device(flags)) >= 0)
		return fd;
	return err;
}

/* Before Linux 5.11 there is no mode for users, and all may handle the kernel's faults. */
static int open_any(bool user_mode_only)
{
	int flags = O_CLOEXEC | O_NONBLOCK;
	int fd = open_with(flags | (user_mode_only ? UFFD_USER_MODE_ONLY : 0));

	return fd == -EINVAL && user_mode_only ? open_with(flags) : fd;
}

int hf_userfault_open(bool user_mode_only, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = open_any(user_mode_only);

	if (fd < 0)
		return fd;
	if (ioctl(fd, UFFDIO_API, &api) == 0)
		return fd;
	close(fd);
	return -EOPNOTSUPP;
}

int64_t hf_userfault_features(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = open_any(true), err = 0;

	if (fd < 0)
		return fd;
	if (ioctl(fd, UFFDIO_API, &api))
		err = -errno;
	close(fd);
	return err ? err : (int64_t)(api.features & INT64_MAX);
}

static int call(struct hf_files *files, unsigned long request, void *arg)
{
	return (int)hf_files_ioctl(files, HF_FILE_USERFAULT, request, arg);
}

int hf_userfault_register(struct hf_files *files, void *addr, size_t len, bool missing)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)addr, .len = len },
		.mode = UFFDIO_REGISTER_MODE_WP | (missing ? UFFDIO_REGISTER_MODE_MISSING : 0),
	};

	return call(files, UFFDIO_REGISTER, &reg);
}

static int writeprotect(struct hf_files *files, void *addr, size_t len, uint64_t mode)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)addr, .len = len },
		.mode = mode,
	};
	int err;

	hf_assert(len && !(((uintptr_t)addr | len) % PAGE));
	do /* again where a mapping changes elsewhere */
		err = call(files, UFFDIO_WRITEPROTECT, &wp);
	while (err == -EAGAIN);
	return err == -ENOENT ? -EFAULT : err; /* a part is not registered: not what we mapped */
}

int hf_userfault_protect(struct hf_files *files, void *addr, size_t len)
{
	return writeprotect(files, addr, len, UFFDIO_WRITEPROTECT_MODE_WP);
}

int hf_userfault_unprotect(struct hf_files *files, void *addr, size_t len)
{
	return writeprotect(files, addr, len, 0);
}

/* Bytes behind which to go on. A page that is there came from an attempt that ended half-way. */
static size_t progress(int err, int64_t bytes)
{
	if (bytes > 0)
		return (size_t)bytes;
	return err == -EEXIST ? PAGE : 0;
}

/* One call, which may end half-way. */
static int copy_some(struct hf_files *files, uintptr_t addr, uintptr_t src, size_t len,
		     int64_t *bytes)
{
	struct uffdio_copy copy = { .dst = addr, .src = src, .len = len };
	int err = call(files, UFFDIO_COPY, &copy);

	*bytes = copy.copy;
	return err;
}

int hf_userfault_copy(struct hf_files *files, void *addr, const void *src, size_t len)
{
	size_t done = 0;

	while (done < len) {
		int64_t bytes;
		int err = copy_some(files, (uintptr_t)addr + done, (uintptr_t)src + done,
				    len - done, &bytes);

		if (err != -EAGAIN && err != -EEXIST)
			return err;
		done += progress(err, bytes);
	}
	return 0;
}

int hf_userfault_fill_hole(struct hf_files *files, void *addr, const void *src, size_t len)
{
	int64_t bytes;

	return copy_some(files, (uintptr_t)addr, (uintptr_t)src, len, &bytes);
}

/* What UFFDIO_ZEROPAGE does, or a request of the same form. */
static int fill_missing(struct hf_files *files, unsigned long request, void *addr, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct uffdio_zeropage fill = {
			.range = { .start = (uintptr_t)addr + done, .len = len - done },
		};
		int err = call(files, request, &fill);

		if (err != -EAGAIN && err != -EEXIST)
			return err;
		done += progress(err, fill.zeropage);
	}
	return 0;
}

int hf_userfault_zero(struct hf_files *files, void *addr, size_t len)
{
	return fill_missing(files, UFFDIO_ZEROPAGE, addr, len);
}

int hf_userfault_poison(struct hf_files *files, void *addr, size_t len)
{
	return fill_missing(files, POISON, addr, len);
}

int hf_userfault_wake(struct hf_files *files, void *addr, size_t len)
{
	struct uffdio_range range = { .start = (uintptr_t)addr, .len = len };

	return call(files, UFFDIO_WAKE, &range);
}
