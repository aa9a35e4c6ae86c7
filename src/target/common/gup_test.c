/* SPDX-License-Identifier: MIT */
#include "gup_test.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/mm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FILE_NAME "/sys/kernel/debug/gup_test"

/* The kernel's mm/gup_test.h, which is no header for programs. */
struct pin_longterm_test {
	uint64_t addr;
	uint64_t size;
	uint32_t flags;
};

#define FLAG_USE_WRITE 1u
#define FLAG_USE_FAST 2u
#define START _IOW('g', 7, struct pin_longterm_test)
#define STOP _IO('g', 8)
#define READ _IOW('g', 9, uint64_t)

int hf_gup_test_open(void)
{
	int fd = open(FILE_NAME, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Older ones do not know STOP, which does nothing here. */
bool hf_gup_test_there(void)
{
	int fd = hf_gup_test_open();
	bool there = fd >= 0 && !hf_gup_test_unpin(fd);

	if (fd >= 0)
		close(fd);
	return there;
}

static uint64_t first_page(uint64_t addr)
{
	return addr & HF_PAGE_MASK;
}

static size_t whole_pages(uint64_t addr, size_t len)
{
	return first_page(addr + len + HF_PAGE_SIZE - 1) - first_page(addr);
}

int hf_gup_test_pin(int fd, uint64_t addr, size_t len, bool write, bool fast)
{
	struct pin_longterm_test t = { .addr = first_page(addr),
				       .size = whole_pages(addr, len),
				       .flags = (write ? FLAG_USE_WRITE : 0) |
						(fast ? FLAG_USE_FAST : 0) };

	return ioctl(fd, START, &t) ? -errno : 0;
}

int hf_gup_test_unpin(int fd)
{
	return ioctl(fd, STOP) ? -errno : 0;
}

/* It gives all pages. */
int hf_gup_test_read(int fd, uint64_t addr, size_t len, size_t lo, size_t hi, uint8_t *data)
{
	uint8_t *pages = malloc(whole_pages(addr, len));
	uint64_t to = (uintptr_t)pages;
	int err;

	if (!pages)
		return -ENOMEM;
	err = ioctl(fd, READ, &to) ? -errno : 0;
	if (!err)
		memcpy(data, pages + (addr - first_page(addr)) + lo, hi - lo);
	free(pages);
	return err;
}
