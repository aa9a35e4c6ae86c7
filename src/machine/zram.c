/* SPDX-License-Identifier: MIT */
#include "zram.h"

#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/swap.h>
#include <time.h>
#include <unistd.h>

#define CONTROL "/sys/class/zram-control/"
#define SIZE (64ul << 20)
#define PAGE 4096u

static void name_file(char path[64], int id, const char *file)
{
	snprintf(path, 64, "/sys/block/zram%d%s", id, file);
}

bool hf_zram_exists(int id)
{
	char path[64];

	name_file(path, id, "");
	return !access(path, F_OK);
}

int hf_zram_next(void)
{
	int id = 0;

	while (hf_zram_exists(id))
		id++;
	return id;
}

int hf_zram_add(void)
{
	long id;

	errno = 0;
	if (access(CONTROL "hot_add", R_OK))
		return -errno;
	id = hf_read_number(CONTROL "hot_add");
	return id < 0 ? -EIO : (int)id;
}

/* What mkswap(8) writes. */
static int make_swap(const char *path)
{
	static uint8_t header[PAGE] __attribute__((aligned(PAGE)));
	uint32_t info[] = { 1, SIZE / PAGE - 1, 0 }; /* version, last page, bad pages */
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = fd < 0 ? -errno : 0;

	memcpy(header + 1024, info, sizeof(info));
	memcpy(header + PAGE - 10, "SWAPSPACE2", 10);
	if (!err && (write(fd, header, PAGE) != PAGE || fsync(fd)))
		err = errno ? -errno : -EIO;
	if (fd >= 0)
		close(fd);
	return err;
}

int hf_zram_swap_on(int id)
{
	char path[64], size[32];
	int err;

	name_file(path, id, "/disksize");
	snprintf(size, sizeof(size), "%lu", SIZE);
	err = hf_write_text(path, size);
	snprintf(path, sizeof(path), "/dev/zram%d", id);
	if (!err)
		err = make_swap(path);
	return err ? err : swapon(path, 0) ? -errno : 0;
}

bool hf_zram_looks_like_ours(int id)
{
	char path[64];
	long size;

	name_file(path, id, "/disksize");
	size = hf_read_number(path);
	return !size || size == (long)SIZE;
}

/* Others, such as udev, look at a device that changes, and keep it for a moment. */
static int patiently(int (*attempt)(int id), int id)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	int err = attempt(id);

	for (int i = 0; i < 500 && (err == -EBUSY || err == -EINTR); i++) {
		nanosleep(&pause, NULL);
		err = attempt(id);
	}
	return err;
}

/* -EINVAL: it is not swapped to. */
static int swap_off(int id)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/zram%d", id);
	return swapoff(path) && errno != EINVAL && errno != ENOENT ? -errno : 0;
}

static int remove_device(int id)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", id);
	return hf_write_text(CONTROL "hot_remove", text);
}

int hf_zram_remove(int id)
{
	int err = patiently(swap_off, id);

	return err ? err : patiently(remove_device, id);
}
