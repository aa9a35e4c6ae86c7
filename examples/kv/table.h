/* SPDX-License-Identifier: MIT */
/*
 * A hash table of byte strings, all of it in a heap. It grows by one bucket at a time (linear
 * hashing), so that no command ever waits for a table to be moved. One thread.
 */
#ifndef KV_TABLE_H
#define KV_TABLE_H

#include "heap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
	const char *data;
	size_t len;
};

/* Makes an empty table at the heap's root. -ENOMEM. */
int table_init(struct heap *heap);
uint64_t table_count(const struct heap *heap);

/* The value; false: no such key. It moves at the next change of the table. */
bool table_get(const struct heap *heap, struct bytes key, struct bytes *value);
/* -ENOMEM: there is no room, and nothing has changed. */
int table_set(struct heap *heap, struct bytes key, struct bytes value);
/* All of them or none: `pairs` are key, value, key, value. */
int table_set_all(struct heap *heap, const struct bytes *pairs, size_t nr_pairs);
/* To a value that may not be there yet; `len` is its new length. */
int table_append(struct heap *heap, struct bytes key, struct bytes more, size_t *len);
bool table_del(struct heap *heap, struct bytes key);

/*
 * Calls `each` for the keys of some buckets from *cursor on, about `count` keys, and moves the
 * cursor; 0 is the end. Keys that stay in the table from the first call to the last are all met,
 * some perhaps twice.
 */
void table_scan(const struct heap *heap, uint64_t *cursor, size_t count,
		void (*each)(void *arg, struct bytes key), void *arg);

#endif
