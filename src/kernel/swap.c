/* SPDX-License-Identifier: MIT */
/* zram by its sysfs files: hot_add, disksize, a swap header, swapon; and all of it back. */
#include "swap.h"

#include "settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>
#include <unistd.h>

#define CONTROL "/sys/class/zram-control/"
#define SIZE (64ul << 20)
#define PAGE 4096u

static bool system_has_swap(void)
{
	FILE *f = fopen("/proc/swaps", "re");
	int lines = 0, c;

	while (f && (c = fgetc(f)) != EOF)
		lines += c == '\n';
	if (f)
		fclose(f);
	return lines > 1;
}

static int add_device(void)
{
	FILE *f = fopen(CONTROL "hot_add", "re");
	int id = -1;

	if (f && fscanf(f, "%d", &id) != 1)
		id = -1;
	if (f)
		fclose(f);
	return id;
}

static void remove_device(int id)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", id);
	hf_write_text(CONTROL "hot_remove", text);
}

/* What mkswap(8) writes. */
static bool make_swap(const char *path)
{
	static uint8_t header[PAGE] __attribute__((aligned(PAGE)));
	uint32_t info[] = { 1, SIZE / PAGE - 1, 0 }; /* version, last page, bad pages */
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done;

	memcpy(header + 1024, info, sizeof(info));
	memcpy(header + PAGE - 10, "SWAPSPACE2", 10);
	done = fd >= 0 && write(fd, header, PAGE) == PAGE && !fsync(fd);
	if (fd >= 0)
		close(fd);
	return done;
}

static bool turn_on(int id)
{
	char path[64], size[32];

	snprintf(path, sizeof(path), "/sys/block/zram%d/disksize", id);
	snprintf(size, sizeof(size), "%lu", SIZE);
	if (!hf_write_text(path, size))
		return false;
	snprintf(path, sizeof(path), "/dev/zram%d", id);
	return make_swap(path) && !swapon(path, 0);
}

bool hf_kernel_swap_on(struct hf_kernel_swap *swap)
{
	if (swap->tried)
		return swap->on;
	swap->tried = true;
	swap->zram = -1;
	swap->on = system_has_swap();
	if (swap->on)
		return true;
	swap->zram = add_device();
	if (swap->zram >= 0) {
		swap->on = turn_on(swap->zram);
		if (!swap->on) {
			remove_device(swap->zram);
			swap->zram = -1;
		}
	}
	if (!swap->on)
		snprintf(swap->why, sizeof(swap->why),
			 "there is no swap, and none can be made (needs root and zram; or turn "
			 "swap on)");
	return swap->on;
}

void hf_kernel_swap_off(struct hf_kernel_swap *swap)
{
	char path[64];

	if (!swap->tried || swap->zram < 0)
		return;
	snprintf(path, sizeof(path), "/dev/zram%d", swap->zram);
	swapoff(path);
	remove_device(swap->zram);
	*swap = (struct hf_kernel_swap){ .zram = -1 };
}
