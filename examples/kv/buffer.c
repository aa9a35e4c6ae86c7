/* SPDX-License-Identifier: MIT */
#include "buffer.h"

#include <stdlib.h>
#include <string.h>

#define KEPT (256UL << 10) /* that an idle client may have */

bool buffer_reserve(struct buffer *b, size_t len)
{
	size_t have = buffer_len(b), size = b->size;
	char *data;

	if (b->failed)
		return false;
	if (len <= size - b->tail)
		return true;
	if (b->head) {
		memmove(b->data, b->data + b->head, have);
		b->head = 0;
		b->tail = have;
		if (len <= size - have)
			return true;
	}
	size = 2 * have > have + len ? 2 * have : have + len;
	if (size < 16384)
		size = 16384;
	data = realloc(b->data, size);
	if (!data) {
		b->failed = true;
		return false;
	}
	b->data = data;
	b->size = size;
	return true;
}

void buffer_add(struct buffer *b, const void *data, size_t len)
{
	if (!len || !buffer_reserve(b, len))
		return;
	memcpy(b->data + b->tail, data, len);
	b->tail += len;
}

void buffer_drop(struct buffer *b, size_t len)
{
	b->head += len;
	if (b->head < b->tail)
		return;
	b->head = b->tail = 0;
	if (b->size > KEPT) {
		free(b->data);
		b->data = NULL;
		b->size = 0;
	}
}

void buffer_free(struct buffer *b)
{
	free(b->data);
	*b = (struct buffer){ 0 };
}
