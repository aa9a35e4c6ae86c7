/* SPDX-License-Identifier: MIT */
/* Bytes on their way in or out, in private memory: system calls never meet protected pages here. */
#ifndef KV_BUFFER_H
#define KV_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

struct buffer {
	char *data;
	size_t head, tail; /* data[head..tail) is there */
	size_t size;
	bool failed; /* no memory: something is missing from here on */
};

/* Room for `len` bytes behind the tail. False: there is none, and the buffer has failed. */
bool buffer_reserve(struct buffer *b, size_t len);
void buffer_add(struct buffer *b, const void *data, size_t len);
/* Takes bytes off the head; gives back memory that only large values needed. */
void buffer_drop(struct buffer *b, size_t len);
void buffer_free(struct buffer *b);

static inline size_t buffer_len(const struct buffer *b)
{
	return b->tail - b->head;
}

#endif
