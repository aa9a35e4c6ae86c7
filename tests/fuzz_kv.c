/* SPDX-License-Identifier: MIT */
/*
 * examples/kv: any bytes as what a client sends, in pieces of any size, to a server with little
 * memory. Replies to what is simple are those of a plain list of keys; the heap is whole after each
 * command; and how the bytes were cut changes no reply.
 */
#include "../examples/kv/server.h"
#include "fuzz.h"

#include <string.h>
#include <strings.h>

#define MEMORY (64UL << 10)
#define KEYS 64

FUZZ_UNITS(0)

const char *program = "fuzz_kv";

/* ---- what would make two runs of an input differ ---- */

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);
time_t __wrap_time(time_t *t);

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
	(void)flags;
	memset(buf, 7, len);
	return (ssize_t)len;
}

time_t __wrap_time(time_t *t)
{
	(void)t;
	return 1000000000;
}

/* ---- a plain list of keys ---- */

struct text {
	char *data;
	size_t len;
};

static struct {
	struct text key, value;
	bool used;
} list[KEYS];
static bool list_full; /* then it knows nothing any more */

static bool equal(struct text a, struct bytes b)
{
	return a.len == b.len && !memcmp(a.data, b.data, b.len);
}

static void assign(struct text *t, const char *data, size_t len)
{
	char *copy = malloc(len + 1);

	memcpy(copy, data, len);
	free(t->data);
	*t = (struct text){ copy, len };
}

/* -1: it is not there. */
static int list_find(struct bytes key)
{
	for (int i = 0; i < KEYS; i++)
		if (list[i].used && equal(list[i].key, key))
			return i;
	return -1;
}

static void list_del(int i)
{
	list[i].used = false;
}

static void list_set(struct bytes key, struct bytes value)
{
	int i = list_find(key);

	for (int k = 0; k < KEYS && i < 0; k++)
		if (!list[k].used)
			i = k;
	if (i < 0) {
		list_full = true;
		return;
	}
	assign(&list[i].key, key.data, key.len);
	assign(&list[i].value, value.data, value.len);
	list[i].used = true;
}

static int64_t list_count(void)
{
	int64_t nr = 0;

	for (int i = 0; i < KEYS; i++)
		nr += list[i].used;
	return nr;
}

static void list_clear(void)
{
	for (int i = 0; i < KEYS; i++)
		list[i].used = false;
	list_full = false;
}

/* ---- replies ---- */

static bool is(struct bytes arg, const char *word)
{
	return arg.len == strlen(word) && !strncasecmp(arg.data, word, arg.len);
}

static void expect(const struct buffer *out, const struct buffer *want, struct bytes command)
{
	size_t len = buffer_len(want);

	if (buffer_len(out) != len ||
	    (len && memcmp(out->data + out->head, want->data + want->head, len)))
		fuzz_found("'%.*s' is answered '%.*s', want '%.*s'", (int)command.len, command.data,
			   (int)buffer_len(out), out->data + out->head, (int)buffer_len(want),
			   want->data + want->head);
}

static bool is_error(const struct buffer *out)
{
	return buffer_len(out) && out->data[out->head] == '-';
}

/* What the list says of commands that change nothing; false: nothing. */
static bool predict(const struct bytes *argv, size_t argc, struct buffer *want)
{
	int i = argc > 1 ? list_find(argv[1]) : -1;
	struct bytes value = { i >= 0 ? list[i].value.data : NULL, i >= 0 ? list[i].value.len : 0 };

	if (is(argv[0], "GET") && argc == 2 && i < 0)
		reply_null(want);
	else if (is(argv[0], "GET") && argc == 2)
		reply_bulk(want, value);
	else if (is(argv[0], "STRLEN") && argc == 2)
		reply_integer(want, (int64_t)value.len);
	else if (is(argv[0], "EXISTS") && argc == 2)
		reply_integer(want, i >= 0);
	else if (is(argv[0], "DBSIZE") && argc == 1)
		reply_integer(want, list_count());
	else
		return false;
	return true;
}

static void append(struct bytes key, struct bytes more)
{
	int i = list_find(key);
	struct text *t = i >= 0 ? &list[i].value : NULL;

	if (!t) {
		list_set(key, more);
		return;
	}
	t->data = realloc(t->data, t->len + more.len + 1);
	memcpy(t->data + t->len, more.data, more.len);
	t->len += more.len;
}

/* What a command that did not fail has changed. */
static void follow(const struct server *s, const struct bytes *argv, size_t argc)
{
	struct bytes value;

	if (is(argv[0], "SET") && argc == 3)
		list_set(argv[1], argv[2]);
	else if (is(argv[0], "MSET"))
		for (size_t i = 1; i + 1 < argc; i += 2)
			list_set(argv[i], argv[i + 1]);
	else if (is(argv[0], "APPEND"))
		append(argv[1], argv[2]);
	else if (is(argv[0], "DEL"))
		for (size_t i = 1; i < argc; i++) {
			if (list_find(argv[i]) >= 0)
				list_del(list_find(argv[i]));
		}
	else if (is(argv[0], "FLUSHALL"))
		list_clear();
	else if ((is(argv[0], "SET") || is(argv[0], "INCR") || is(argv[0], "DECR") ||
		  is(argv[0], "INCRBY") || is(argv[0], "DECRBY")) &&
		 table_get(s->heap, argv[1], &value))
		list_set(argv[1], value);
}

/* ---- the server ---- */

static void run_command(struct server *s, struct client *c)
{
	const struct bytes *argv = c->request.argv;
	size_t argc = c->request.argc, before = buffer_len(&c->out);
	struct buffer want = { 0 }, out;
	bool known = !list_full && predict(argv, argc, &want);

	command_run(s, c);
	out = c->out;
	out.head += before;
	if (known)
		expect(&out, &want, argv[0]);
	if (!is_error(&out))
		follow(s, argv, argc);
	buffer_free(&want);
	if (!heap_valid(s->heap))
		fuzz_found("the heap is not whole after '%.*s'", (int)argv[0].len, argv[0].data);
	if (!list_full && table_count(s->heap) != (uint64_t)list_count())
		fuzz_found("%llu keys after '%.*s', want %lld",
			   (unsigned long long)table_count(s->heap), (int)argv[0].len, argv[0].data,
			   (long long)list_count());
}

static void run_requests(struct server *s, struct client *c)
{
	while (!c->closing && buffer_len(&c->in)) {
		struct request *r = &c->request;

		switch (resp_parse(r, c->in.data + c->in.head, buffer_len(&c->in))) {
		case RESP_MORE:
			return;
		case RESP_BAD:
			reply_error(&c->out, "ERR Protocol error: %s", r->error);
			c->closing = true;
			return;
		case RESP_COMPLETE:
			if (r->argc)
				run_command(s, c);
			buffer_drop(&c->in, r->len);
			resp_reset(r);
		}
	}
}

/* All replies to the input, which comes in pieces of `piece` bytes at most. */
static struct buffer serve(const uint8_t *data, size_t size, size_t piece, size_t room)
{
	static _Alignas(4096) char memory[MEMORY];
	struct server s = { .memory = { .forks = true, .base = memory, .size = room } };
	struct client c = { .closing = false };
	int pipes;

	s.heap = (struct heap *)memory;
	pipes = saver_init(&s.saver, &s.memory, NULL, 0);
	heap_init(s.heap, room);
	if (pipes || table_init(s.heap))
		fuzz_found("there is no table");
	list_clear();
	for (size_t at = 0; at < size && !c.closing; at += piece) {
		buffer_add(&c.in, data + at, piece < size - at ? piece : size - at);
		run_requests(&s, &c);
	}
	buffer_free(&c.in);
	resp_free(&c.request);
	saver_close(&s.saver);
	return c.out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t rooms[] = { 10240, 12288, 16384, MEMORY }; /* most are soon full */
	struct buffer whole, pieces;
	size_t room;

	if (size < 2)
		return 0;
	room = rooms[data[0] >> 6];
	whole = serve(data + 1, size - 1, size, room);
	pieces = serve(data + 1, size - 1, 1 + data[0] % 64, room);
	expect(&pieces, &whole, (struct bytes){ "the same in pieces", 18 });
	buffer_free(&whole);
	buffer_free(&pieces);
	return 0;
}
