/* SPDX-License-Identifier: MIT */
#include "table.h"

#include "siphash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define FIRST_BUCKETS 256UL
#define SEGMENTS 40 /* each as large as all before it, so that none ever moves */

struct table {
	uint64_t count;
	uint64_t buckets;
	uint64_t seed[2];
	uint64_t segment[SEGMENTS];
};

struct entry {
	uint64_t next;
	uint32_t hash, key_len, value_len;
	char bytes[]; /* the key, then the value */
};

static struct table *table_of(const struct heap *heap)
{
	return heap_at(heap, heap->root);
}

static struct entry *entry_at(const struct heap *heap, uint64_t at)
{
	return heap_at(heap, at);
}

static size_t entry_len(size_t key_len, size_t value_len)
{
	return offsetof(struct entry, bytes) + key_len + value_len;
}

/* Bucket i is in segment 0, or in the one that begins at the power of two below it. */
static unsigned segment_of(uint64_t i)
{
	return i < FIRST_BUCKETS ? 0 : 63 - 7 - (unsigned)__builtin_clzl(i);
}

static uint64_t *bucket(const struct heap *heap, uint64_t i)
{
	unsigned s = segment_of(i);
	uint64_t *segment = heap_at(heap, table_of(heap)->segment[s]);

	return &segment[s ? i - (FIRST_BUCKETS << (s - 1)) : i];
}

static uint64_t top_bit(uint64_t n)
{
	return 1UL << (63 - __builtin_clzl(n));
}

/* Buckets behind the last power of two have been split off those below it. */
static uint64_t bucket_of(const struct table *t, uint64_t hash)
{
	uint64_t low = top_bit(t->buckets), i = hash & (2 * low - 1);

	return i < t->buckets ? i : hash & (low - 1);
}

int table_init(struct heap *heap)
{
	uint64_t at = heap_alloc(heap, sizeof(struct table));
	struct table t = { .buckets = FIRST_BUCKETS };

	if (!at)
		return -ENOMEM;
	t.segment[0] = heap_alloc(heap, FIRST_BUCKETS * 8);
	if (!t.segment[0]) {
		heap_free(heap, at);
		return -ENOMEM;
	}
	heap_clear(heap_at(heap, t.segment[0]), FIRST_BUCKETS * 8);
	if (getrandom(t.seed, sizeof(t.seed), 0) != sizeof(t.seed))
		t.seed[0] = (uintptr_t)&at; /* not before the kernel has random numbers */
	heap_copy(heap_at(heap, at), &t, sizeof(t));
	HEAP_STORE(heap->root, at);
	return 0;
}

uint64_t table_count(const struct heap *heap)
{
	return table_of(heap)->count;
}

/* ---- growth ---- */

/* Splits one bucket. Without room for a new segment the chains just get longer. */
static void grow(struct heap *heap)
{
	struct table *t = table_of(heap);
	uint64_t new = t->buckets, low = top_bit(new), *from, *to, at;
	unsigned s = segment_of(new);

	if (new == low) {
		uint64_t segment = s < SEGMENTS ? heap_alloc(heap, new * 8) : 0;

		if (!segment)
			return;
		HEAP_STORE(t->segment[s], segment);
	}
	HEAP_STORE(t->buckets, new + 1);
	from = bucket(heap, new - low);
	to = bucket(heap, new);
	at = *from;
	while (at) {
		struct entry *e = entry_at(heap, at);
		uint64_t **tail = e->hash & low ? &to : &from;

		HEAP_STORE(**tail, at);
		*tail = &e->next;
		at = e->next;
	}
	HEAP_STORE(*from, 0);
	HEAP_STORE(*to, 0);
}

/* ---- entries ---- */

static uint32_t hash_of(const struct heap *heap, struct bytes key)
{
	return (uint32_t)siphash(table_of(heap)->seed, key.data, key.len);
}

/* The link that leads to the key's entry, or to nothing at the end of its chain. */
static uint64_t *link_of(const struct heap *heap, struct bytes key, uint32_t hash)
{
	uint64_t *link = bucket(heap, bucket_of(table_of(heap), hash));

	while (*link) {
		struct entry *e = entry_at(heap, *link);

		if (e->hash == hash && e->key_len == key.len &&
		    !memcmp(e->bytes, key.data, key.len))
			break;
		link = &e->next;
	}
	return link;
}

static uint64_t new_entry(struct heap *heap, struct bytes key, uint32_t hash, size_t value_len,
			  size_t room)
{
	uint64_t at = heap_alloc(heap, entry_len(key.len, room));
	struct entry e = { .hash = hash,
			   .key_len = (uint32_t)key.len,
			   .value_len = (uint32_t)value_len };

	if (!at)
		return 0;
	heap_copy(entry_at(heap, at), &e, sizeof(e));
	heap_copy(entry_at(heap, at)->bytes, key.data, key.len);
	return at;
}

static bool fits(const struct heap *heap, uint64_t at, size_t value_len)
{
	return at && entry_len(entry_at(heap, at)->key_len, value_len) <= heap_usable(heap, at);
}

/* Puts an entry in the place of the one that the link leads to, if any. */
static void put(struct heap *heap, uint64_t *link, uint64_t at)
{
	uint64_t old = *link;

	HEAP_STORE(entry_at(heap, at)->next, old ? entry_at(heap, old)->next : 0);
	HEAP_STORE(*link, at);
	if (old) {
		heap_free(heap, old);
		return;
	}
	HEAP_STORE(table_of(heap)->count, table_of(heap)->count + 1);
	if (table_of(heap)->count > table_of(heap)->buckets)
		grow(heap);
}

bool table_get(const struct heap *heap, struct bytes key, struct bytes *value)
{
	uint64_t at = *link_of(heap, key, hash_of(heap, key));
	const struct entry *e = entry_at(heap, at);

	if (!at)
		return false;
	*value = (struct bytes){ e->bytes + e->key_len, e->value_len };
	return true;
}

static void store_value(struct heap *heap, uint64_t at, struct bytes value)
{
	struct entry *e = entry_at(heap, at);

	heap_copy(e->bytes + e->key_len, value.data, value.len);
	HEAP_STORE(e->value_len, (uint32_t)value.len);
}

int table_set(struct heap *heap, struct bytes key, struct bytes value)
{
	uint32_t hash = hash_of(heap, key);
	uint64_t *link = link_of(heap, key, hash), at;
	size_t room;

	if (fits(heap, *link, value.len)) {
		/* a block four times too large is given back, if there is another */
		room = heap_usable(heap, *link);
		if (room < 256 || entry_len(key.len, value.len) > room / 4 ||
		    !(at = new_entry(heap, key, hash, value.len, value.len))) {
			store_value(heap, *link, value);
			return 0;
		}
	} else if (!(at = new_entry(heap, key, hash, value.len, value.len)))
		return -ENOMEM;
	store_value(heap, at, value);
	put(heap, link, at);
	return 0;
}

/* Entries are made first, then put: what has been put cannot be taken back. */
int table_set_all(struct heap *heap, const struct bytes *pairs, size_t nr_pairs)
{
	uint64_t *made = calloc(nr_pairs, sizeof(*made));
	int err = made ? 0 : -ENOMEM;

	for (size_t i = 0; i < nr_pairs && !err; i++) {
		struct bytes key = pairs[2 * i], value = pairs[2 * i + 1];
		uint32_t hash = hash_of(heap, key);

		if (fits(heap, *link_of(heap, key, hash), value.len))
			continue;
		made[i] = new_entry(heap, key, hash, value.len, value.len);
		if (made[i])
			store_value(heap, made[i], value);
		else
			err = -ENOMEM;
	}
	for (size_t i = 0; i < nr_pairs && made; i++) {
		struct bytes key = pairs[2 * i];

		if (err && made[i])
			heap_free(heap, made[i]);
		else if (made[i])
			put(heap, link_of(heap, key, hash_of(heap, key)), made[i]);
		else if (!err)
			store_value(heap, *link_of(heap, key, hash_of(heap, key)),
				    pairs[2 * i + 1]);
	}
	free(made);
	return err;
}

int table_append(struct heap *heap, struct bytes key, struct bytes more, size_t *len)
{
	uint32_t hash = hash_of(heap, key);
	uint64_t *link = link_of(heap, key, hash), at = *link;
	struct entry *e = entry_at(heap, at);
	size_t old = at ? e->value_len : 0;

	*len = old + more.len;
	if (!fits(heap, at, *len)) {
		/* room for as much again, so that many appends do not copy each time */
		at = old ? new_entry(heap, key, hash, old, 2 * *len) : 0;
		if (!at)
			at = new_entry(heap, key, hash, old, *len);
		if (!at)
			return -ENOMEM;
		if (old)
			store_value(heap, at, (struct bytes){ e->bytes + e->key_len, old });
		put(heap, link, at);
	}
	e = entry_at(heap, at);
	heap_copy(e->bytes + e->key_len + old, more.data, more.len);
	HEAP_STORE(e->value_len, (uint32_t)*len);
	return 0;
}

bool table_del(struct heap *heap, struct bytes key)
{
	uint64_t *link = link_of(heap, key, hash_of(heap, key)), at = *link;

	if (!at)
		return false;
	HEAP_STORE(*link, entry_at(heap, at)->next);
	heap_free(heap, at);
	HEAP_STORE(table_of(heap)->count, table_of(heap)->count - 1);
	return true;
}

/* New buckets come behind all others: a key never moves to one that has been passed. */
void table_scan(const struct heap *heap, uint64_t *cursor, size_t count,
		void (*each)(void *arg, struct bytes key), void *arg)
{
	const struct table *t = table_of(heap);
	uint64_t i = *cursor;

	for (size_t met = 0; i < t->buckets && met < count; i++)
		for (uint64_t at = *bucket(heap, i); at; met++) {
			const struct entry *e = entry_at(heap, at);

			at = e->next;
			each(arg, (struct bytes){ e->bytes, e->key_len });
		}
	*cursor = i < t->buckets ? i : 0;
}
