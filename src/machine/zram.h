/* SPDX-License-Identifier: MIT */
/* zram by its sysfs files: hot_add, disksize, a swap header, swapon; and all of it back. */
#ifndef HF_MACHINE_ZRAM_H
#define HF_MACHINE_ZRAM_H

#include <stdbool.h>

/* The number that the next device gets: the lowest that is free. */
int hf_zram_next(void);
/* The number of a new device, or negative errno. */
int hf_zram_add(void);
/* Makes it so large, and swaps to it. 0 or negative errno. */
int hf_zram_swap_on(int id);
/* Is there such a device, and can it be what hf_zram_add() and hf_zram_swap_on() made? */
bool hf_zram_exists(int id);
bool hf_zram_looks_like_ours(int id);
/* Ends swapping to it and removes it. 0 or negative errno. */
int hf_zram_remove(int id);

#endif
