/* SPDX-License-Identifier: MIT */
#include "userfault.h"

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

int hf_userfault_register(int fd, void *addr, size_t len, bool missing)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)addr, .len = len },
		.mode = UFFDIO_REGISTER_MODE_WP | (missing ? UFFDIO_REGISTER_MODE_MISSING : 0),
	};

	return ioctl(fd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

static int writeprotect(int fd, void *addr, size_t len, uint64_t mode)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)addr, .len = len },
		.mode = mode,
	};

	while (ioctl(fd, UFFDIO_WRITEPROTECT, &wp)) {
		if (errno != EAGAIN) /* that is a mapping that changes elsewhere */
			return -errno;
	}
	return 0;
}

int hf_userfault_protect(int fd, void *addr, size_t len)
{
	return writeprotect(fd, addr, len, UFFDIO_WRITEPROTECT_MODE_WP);
}

int hf_userfault_unprotect(int fd, void *addr, size_t len)
{
	return writeprotect(fd, addr, len, 0);
}

/* Bytes behind which to go on. A page that is there came from an attempt that ended half-way. */
static size_t progress(int err, int64_t bytes)
{
	if (bytes > 0)
		return (size_t)bytes;
	return err == EEXIST ? PAGE : 0;
}

int hf_userfault_copy(int fd, void *addr, const void *src, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct uffdio_copy copy = {
			.dst = (uintptr_t)addr + done,
			.src = (uintptr_t)src + done,
			.len = len - done,
		};

		if (ioctl(fd, UFFDIO_COPY, &copy) == 0)
			return 0;
		if (errno != EAGAIN && errno != EEXIST)
			return -errno;
		done += progress(errno, copy.copy);
	}
	return 0;
}

/* What UFFDIO_ZEROPAGE does, or a request of the same form. */
static int fill_missing(int fd, unsigned long request, void *addr, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct uffdio_zeropage fill = {
			.range = { .start = (uintptr_t)addr + done, .len = len - done },
		};

		if (ioctl(fd, request, &fill) == 0)
			return 0;
		if (errno != EAGAIN && errno != EEXIST)
			return -errno;
		done += progress(errno, fill.zeropage);
	}
	return 0;
}

int hf_userfault_zero(int fd, void *addr, size_t len)
{
	return fill_missing(fd, UFFDIO_ZEROPAGE, addr, len);
}

int hf_userfault_poison(int fd, void *addr, size_t len)
{
	return fill_missing(fd, POISON, addr, len);
}

int hf_userfault_wake(int fd, void *addr, size_t len)
{
	struct uffdio_range range = { .start = (uintptr_t)addr, .len = len };

	return ioctl(fd, UFFDIO_WAKE, &range) ? -errno : 0;
}
