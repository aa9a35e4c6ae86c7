/* SPDX-License-Identifier: MIT */
/* RESP2, the protocol of Redis: requests taken apart as they arrive, replies. */
#ifndef KV_RESP_H
#define KV_RESP_H

#include "buffer.h"
#include "table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESP_BULK_MAX (512L << 20)
#define RESP_ARGS_MAX (1L << 20)
#define RESP_LINE_MAX (64UL << 10)

/*
 * A request that is being read. What has been taken apart is not looked at again when more bytes
 * come. Zero is the beginning.
 */
struct request {
	struct bytes
		*argv; /* valid when it is complete, as long as the bytes stay where they are */
	size_t argc;
	size_t len;   /* bytes taken apart, and in the end of all of it */
	long missing; /* arguments still to come; -1: the line is complete in itself */
	long bulk;    /* the length of the next argument; -1: not known yet */
	bool begun;
	size_t *offset; /* of the arguments */
	size_t room;
	const char *error;
};

enum resp_parse { RESP_MORE, RESP_COMPLETE, RESP_BAD };

/* `data` begins with the request. BAD: request->error says why, the stream is of no use. */
enum resp_parse resp_parse(struct request *r, const char *data, size_t len);
/* How many bytes at least have to come yet, as far as is known. */
size_t resp_missing(const struct request *r, size_t have);
/* To the next one. */
void resp_reset(struct request *r);
void resp_free(struct request *r);

void reply_simple(struct buffer *out, const char *text);
/* "ERR ..." or another code; control characters become spaces. */
void reply_error(struct buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void reply_integer(struct buffer *out, int64_t n);
void reply_bulk(struct buffer *out, struct bytes value);
void reply_null(struct buffer *out);
void reply_array(struct buffer *out, size_t nr);
void reply_text(struct buffer *out, const char *text); /* a bulk */

#endif
