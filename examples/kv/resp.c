/* SPDX-License-Identifier: MIT */
#include "resp.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- requests ---- */

static enum resp_parse bad(struct request *r, const char *why)
{
	r->error = why;
	return RESP_BAD;
}

/* The next line without its end; NULL: it is not all there, or error is set. */
static const char *line(struct request *r, const char *data, size_t len, size_t *line_len)
{
	const char *begin = data + r->len, *end = memchr(begin, '\n', len - r->len);

	if (!end) {
		if (len - r->len > RESP_LINE_MAX)
			r->error = "a line is longer than 64 KiB";
		return NULL;
	}
	r->len = (size_t)(end + 1 - data);
	*line_len = (size_t)(end - begin);
	if (*line_len && begin[*line_len - 1] == '\r')
		--*line_len;
	return begin;
}

/* The number behind the first character of a line. */
static bool number(const char *text, size_t len, long max, long *out)
{
	long n = 0;

	if (len < 2 || len > 12)
		return false;
	for (size_t i = 1; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		n = n * 10 + text[i] - '0';
	}
	*out = n;
	return n <= max;
}

static bool add_argument(struct request *r, size_t offset, size_t len)
{
	if (r->argc == r->room) {
		size_t room = r->room ? 2 * r->room : 8;
		struct bytes *argv = realloc(r->argv, room * sizeof(*argv));
		size_t *offsets = argv ? realloc(r->offset, room * sizeof(*offsets)) : NULL;

		if (argv)
			r->argv = argv;
		if (!offsets) {
			r->error = "no memory for so many arguments";
			return false;
		}
		r->offset = offsets;
		r->room = room;
	}
	r->offset[r->argc] = offset;
	r->argv[r->argc++].len = len;
	return true;
}

/* "SET a b": words between blanks, for telnet. */
static bool inline_words(struct request *r, const char *data, const char *text, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t word = i;

		if (text[i] == ' ' || text[i] == '\t') {
			i++;
			continue;
		}
		while (i < len && text[i] != ' ' && text[i] != '\t')
			i++;
		if (memchr(text + word, '"', i - word) || memchr(text + word, '\'', i - word)) {
			r->error = "inline commands take no quotes here";
			return false;
		}
		if (!add_argument(r, (size_t)(text + word - data), i - word))
			return false;
	}
	return true;
}

static enum resp_parse first_line(struct request *r, const char *data, size_t len)
{
	size_t n;
	const char *text = line(r, data, len, &n);

	if (!text)
		return r->error ? RESP_BAD : RESP_MORE;
	r->begun = true;
	r->bulk = -1;
	r->missing = -1;
	if (n && *text == '*') {
		/* "*-1" is as good as nothing */
		if (n == 3 && !memcmp(text, "*-1", 3))
			return RESP_COMPLETE;
		if (!number(text, n, RESP_ARGS_MAX, &r->missing))
			return bad(r, "invalid multibulk length");
		return r->missing ? RESP_MORE : RESP_COMPLETE;
	}
	return inline_words(r, data, text, n) ? RESP_COMPLETE : RESP_BAD;
}

/* One argument, if it is there. */
static enum resp_parse argument(struct request *r, const char *data, size_t len)
{
	if (r->bulk < 0) {
		size_t n;
		const char *text = line(r, data, len, &n);

		if (!text)
			return r->error ? RESP_BAD : RESP_MORE;
		if (!n || *text != '$')
			return bad(r, "expected '$'");
		if (!number(text, n, RESP_BULK_MAX, &r->bulk)) {
			r->bulk = -1;
			return bad(r, "invalid bulk length");
		}
	}
	if (len - r->len < (size_t)r->bulk + 2)
		return RESP_MORE;
	if (memcmp(data + r->len + r->bulk, "\r\n", 2))
		return bad(r, "a bulk does not end with CR LF");
	if (!add_argument(r, r->len, (size_t)r->bulk))
		return RESP_BAD;
	r->len += (size_t)r->bulk + 2;
	r->bulk = -1;
	r->missing--;
	return RESP_COMPLETE;
}

enum resp_parse resp_parse(struct request *r, const char *data, size_t len)
{
	enum resp_parse got = RESP_COMPLETE;

	if (!r->begun) {
		got = first_line(r, data, len);
		if (got == RESP_BAD || !r->begun)
			return got;
	}
	while (r->missing > 0) {
		got = argument(r, data, len);
		if (got != RESP_COMPLETE)
			return got;
	}
	for (size_t i = 0; i < r->argc; i++)
		r->argv[i].data = data + r->offset[i];
	return RESP_COMPLETE;
}

size_t resp_missing(const struct request *r, size_t have)
{
	size_t want = r->len + (size_t)r->bulk + 2;

	return r->begun && r->bulk >= 0 && want > have ? want - have : 0;
}

void resp_reset(struct request *r)
{
	r->argc = r->len = 0;
	r->begun = false;
}

void resp_free(struct request *r)
{
	free(r->argv);
	free(r->offset);
}

/* ---- replies ---- */

static void reply_line(struct buffer *out, char kind, const char *text, size_t len)
{
	buffer_add(out, &kind, 1);
	buffer_add(out, text, len);
	buffer_add(out, "\r\n", 2);
}

static void reply_number(struct buffer *out, char kind, int64_t n)
{
	char text[24];

	reply_line(out, kind, text, (size_t)snprintf(text, sizeof(text), "%ld", (long)n));
}

void reply_simple(struct buffer *out, const char *text)
{
	reply_line(out, '+', text, strlen(text));
}

void reply_error(struct buffer *out, const char *format, ...)
{
	char text[512];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (len >= (int)sizeof(text))
		len = sizeof(text) - 1;
	for (int i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ')
			text[i] = ' ';
	reply_line(out, '-', text, (size_t)len);
}

void reply_integer(struct buffer *out, int64_t n)
{
	reply_number(out, ':', n);
}

void reply_bulk(struct buffer *out, struct bytes value)
{
	reply_number(out, '$', (int64_t)value.len);
	buffer_add(out, value.data, value.len);
	buffer_add(out, "\r\n", 2);
}

void reply_null(struct buffer *out)
{
	buffer_add(out, "$-1\r\n", 5);
}

void reply_array(struct buffer *out, size_t nr)
{
	reply_number(out, '*', (int64_t)nr);
}

void reply_text(struct buffer *out, const char *text)
{
	reply_bulk(out, (struct bytes){ text, strlen(text) });
}
