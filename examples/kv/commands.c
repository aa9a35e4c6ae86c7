/* SPDX-License-Identifier: MIT */
#include "../common/arguments.h"
#include "glob.h"
#include "log.h"
#include "server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is(struct bytes arg, const char *word)
{
	return arg.len == strlen(word) && !strncasecmp(arg.data, word, arg.len);
}

static void reply_no_room(struct server *s, struct client *c)
{
	reply_error(&c->out, "OOM no room: %llu of %llu bytes are in use; start with more --memory",
		    (unsigned long long)s->heap->used, (unsigned long long)s->heap->limit);
}

/* A whole number in `text`, as Redis takes it. */
static bool to_number(struct bytes text, int64_t *out)
{
	char copy[24], *end;

	if (!text.len || text.len >= sizeof(copy) || strchr(" \t\n\v\f\r+", *text.data))
		return false;
	memcpy(copy, text.data, text.len);
	copy[text.len] = '\0';
	errno = 0;
	*out = strtoll(copy, &end, 10);
	return !errno && end == copy + text.len;
}

static bool take_integer(struct client *c, struct bytes text, int64_t *out)
{
	if (to_number(text, out))
		return true;
	reply_error(&c->out, "ERR value is not an integer or out of range");
	return false;
}

/* ---- of the connection ---- */

static void ping(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	(void)s;
	if (argc > 1)
		reply_bulk(&c->out, argv[1]);
	else
		reply_simple(&c->out, "PONG");
}

static void echo(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	(void)s;
	(void)argc;
	reply_bulk(&c->out, argv[1]);
}

static void select_db(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	(void)s;
	(void)argc;
	if (is(argv[1], "0"))
		reply_simple(&c->out, "OK");
	else
		reply_error(&c->out, "ERR DB index is out of range: there is only 0");
}

static void quit(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	(void)s;
	(void)argv;
	(void)argc;
	reply_simple(&c->out, "OK");
	c->closing = true;
}

static void command(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	(void)s;
	(void)argv;
	(void)argc;
	reply_array(&c->out, 0);
}

/* ---- strings ---- */

static void get(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	struct bytes value;

	(void)argc;
	if (table_get(s->heap, argv[1], &value))
		reply_bulk(&c->out, value);
	else
		reply_null(&c->out);
}

static void mget(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	reply_array(&c->out, argc - 1);
	for (size_t i = 1; i < argc; i++)
		get(s, c, &argv[i - 1], 2);
}

static void set(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	bool nx = argc == 4 && is(argv[3], "NX"), xx = argc == 4 && is(argv[3], "XX");
	struct bytes old;

	if (argc > 3 && !nx && !xx) {
		reply_error(&c->out, "ERR SET takes NX or XX here; '%.*s' is not supported",
			    (int)(argv[3].len < 32 ? argv[3].len : 32), argv[3].data);
		return;
	}
	if ((nx || xx) && table_get(s->heap, argv[1], &old) != xx) {
		reply_null(&c->out);
		return;
	}
	if (table_set(s->heap, argv[1], argv[2])) {
		reply_no_room(s, c);
		return;
	}
	s->saver.dirty++;
	reply_simple(&c->out, "OK");
}

static void mset(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	if (argc % 2 == 0) {
		reply_error(&c->out, "ERR wrong number of arguments for 'mset' command");
		return;
	}
	if (table_set_all(s->heap, argv + 1, argc / 2)) {
		reply_no_room(s, c);
		return;
	}
	s->saver.dirty += argc / 2;
	reply_simple(&c->out, "OK");
}

static void add(struct server *s, struct client *c, struct bytes key, int64_t by)
{
	struct bytes value;
	int64_t n = 0;
	char text[24];

	if (table_get(s->heap, key, &value) && !take_integer(c, value, &n))
		return;
	if (__builtin_add_overflow(n, by, &n)) {
		reply_error(&c->out, "ERR increment or decrement would overflow");
		return;
	}
	value = (struct bytes){ text, (size_t)snprintf(text, sizeof(text), "%ld", (long)n) };
	if (table_set(s->heap, key, value)) {
		reply_no_room(s, c);
		return;
	}
	s->saver.dirty++;
	reply_integer(&c->out, n);
}

static void incr(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	(void)argc;
	add(s, c, argv[1], 1);
}

static void decr(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	(void)argc;
	add(s, c, argv[1], -1);
}

static void incrby(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	int64_t by;

	(void)argc;
	if (take_integer(c, argv[2], &by))
		add(s, c, argv[1], by);
}

static void decrby(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	int64_t by;

	(void)argc;
	if (!take_integer(c, argv[2], &by))
		return;
	if (by == INT64_MIN)
		reply_error(&c->out, "ERR decrement would overflow");
	else
		add(s, c, argv[1], -by);
}

static void append(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	struct bytes value = { NULL, 0 };
	size_t len;

	(void)argc;
	table_get(s->heap, argv[1], &value);
	if (value.len + argv[2].len > RESP_BULK_MAX)
		reply_error(&c->out, "ERR string exceeds maximum allowed size (512 MiB)");
	else if (table_append(s->heap, argv[1], argv[2], &len))
		reply_no_room(s, c);
	else {
		s->saver.dirty++;
		reply_integer(&c->out, (int64_t)len);
	}
}

static void strlen_of(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	struct bytes value = { NULL, 0 };

	(void)argc;
	table_get(s->heap, argv[1], &value);
	reply_integer(&c->out, (int64_t)value.len);
}

/* ---- keys ---- */

static void del(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	int64_t n = 0;

	for (size_t i = 1; i < argc; i++)
		n += table_del(s->heap, argv[i]);
	s->saver.dirty += (uint64_t)n;
	reply_integer(&c->out, n);
}

static void exists(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	struct bytes value;
	int64_t n = 0;

	for (size_t i = 1; i < argc; i++)
		n += table_get(s->heap, argv[i], &value);
	reply_integer(&c->out, n);
}

static void dbsize(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	(void)argv;
	(void)argc;
	reply_integer(&c->out, (int64_t)table_count(s->heap));
}

static void flushall(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	(void)argv;
	(void)argc;
	s->saver.dirty += table_count(s->heap) + 1;
	heap_init(s->heap, s->memory.size);
	if (table_init(s->heap))
		reply_no_room(s, c);
	else
		reply_simple(&c->out, "OK");
}

/* Keys that match, as bulks. */
struct matches {
	struct bytes pattern;
	struct buffer found;
	size_t nr;
};

static void match(void *arg, struct bytes key)
{
	struct matches *m = arg;

	if (!glob_match(m->pattern, key))
		return;
	reply_bulk(&m->found, key);
	m->nr++;
}

static void reply_matches(struct client *c, struct matches *m)
{
	reply_array(&c->out, m->nr);
	buffer_add(&c->out, m->found.data, buffer_len(&m->found));
	c->out.failed |= m->found.failed;
	buffer_free(&m->found);
}

static void keys(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	struct matches m = { .pattern = argv[1] };
	uint64_t cursor = 0;

	(void)argc;
	table_scan(s->heap, &cursor, SIZE_MAX, match, &m);
	reply_matches(c, &m);
}

static void scan(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	struct matches m = { .pattern = { "*", 1 } };
	int64_t cursor, count = 10;
	uint64_t at;
	char text[24];

	if (!to_number(argv[1], &cursor) || cursor < 0) {
		reply_error(&c->out, "ERR invalid cursor");
		return;
	}
	for (size_t i = 2; i < argc; i += 2)
		if (i + 1 < argc && is(argv[i], "MATCH"))
			m.pattern = argv[i + 1];
		else if (i + 1 == argc || !is(argv[i], "COUNT") ||
			 !to_number(argv[i + 1], &count) || count < 1) {
			reply_error(&c->out, "ERR SCAN takes MATCH pattern and COUNT number here");
			return;
		}
	at = (uint64_t)cursor;
	table_scan(s->heap, &at, (size_t)count, match, &m);
	reply_array(&c->out, 2);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)at);
	reply_text(&c->out, text);
	reply_matches(c, &m);
}

/* ---- saving, and the server ---- */

static void reply_not_saved(struct server *s, struct client *c, int err)
{
	if (err == -EALREADY)
		reply_error(&c->out, "ERR Background save already in progress");
	else if (err == -ENODEV)
		reply_error(&c->out, "ERR there is no file to save to; start with --file PATH");
	else
		reply_error(&c->out, "ERR not saved: %s: %s", s->saver.result.what, strerror(-err));
}

static void save(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	int err = saver_run(&s->saver);

	(void)argv;
	(void)argc;
	if (err)
		reply_not_saved(s, c, err);
	else
		reply_simple(&c->out, "OK");
}

static void bgsave(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	int err = saver_start(&s->saver);

	(void)argv;
	(void)argc;
	if (err)
		reply_not_saved(s, c, err);
	else
		reply_simple(&c->out, "Background saving started");
}

static void lastsave(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	(void)argv;
	(void)argc;
	reply_integer(&c->out, s->saver.last);
}

static void shut_down(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	bool nosave = argc > 1 && is(argv[1], "NOSAVE");

	if (argc > 1 && !nosave && !is(argv[1], "SAVE")) {
		reply_error(&c->out, "ERR SHUTDOWN takes SAVE or NOSAVE");
		return;
	}
	c->closing = true;
	if (server_stop(s, !nosave))
		return;
	c->closing = false;
	reply_not_saved(s, c, s->saver.result.err);
}

/* redis-benchmark asks for two, which have fixed values here. */
static void config(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	static const char *const known[][2] = { { "save", "" }, { "appendonly", "no" } };
	size_t nr = 0, n = sizeof(known) / sizeof(known[0]);

	(void)s;
	if (!is(argv[1], "GET") || argc < 3) {
		reply_error(&c->out,
			    "ERR only CONFIG GET is supported; options are given at start");
		return;
	}
	for (size_t k = 0; k < n; k++)
		for (size_t i = 2; i < argc; i++)
			nr += is(argv[i], known[k][0]);
	reply_array(&c->out, 2 * nr);
	for (size_t k = 0; k < n; k++)
		for (size_t i = 2; i < argc; i++)
			if (is(argv[i], known[k][0])) {
				reply_text(&c->out, known[k][0]);
				reply_text(&c->out, known[k][1]);
			}
}

static void info(struct server *s, struct client *c, const struct bytes *argv, size_t argc)
{
	(void)argv;
	(void)argc;
	info_run(s, c);
}

/* ---- all of them ---- */

static const struct command {
	const char *name;
	size_t min, max; /* arguments, the name included */
	void (*run)(struct server *s, struct client *c, const struct bytes *argv, size_t argc);
} commands[] = {
	{ "GET", 2, 2, get },
	{ "SET", 3, SIZE_MAX, set },
	{ "INCR", 2, 2, incr },
	{ "MSET", 3, SIZE_MAX, mset },
	{ "MGET", 2, SIZE_MAX, mget },
	{ "DEL", 2, SIZE_MAX, del },
	{ "EXISTS", 2, SIZE_MAX, exists },
	{ "DECR", 2, 2, decr },
	{ "INCRBY", 3, 3, incrby },
	{ "DECRBY", 3, 3, decrby },
	{ "APPEND", 3, 3, append },
	{ "STRLEN", 2, 2, strlen_of },
	{ "PING", 1, 2, ping },
	{ "ECHO", 2, 2, echo },
	{ "DBSIZE", 1, 1, dbsize },
	{ "FLUSHALL", 1, 2, flushall },
	{ "KEYS", 2, 2, keys },
	{ "SCAN", 2, SIZE_MAX, scan },
	{ "SAVE", 1, 1, save },
	{ "BGSAVE", 1, 2, bgsave },
	{ "LASTSAVE", 1, 1, lastsave },
	{ "INFO", 1, SIZE_MAX, info },
	{ "CONFIG", 2, SIZE_MAX, config },
	{ "COMMAND", 1, SIZE_MAX, command },
	{ "SELECT", 2, 2, select_db },
	{ "QUIT", 1, SIZE_MAX, quit },
	{ "SHUTDOWN", 1, 2, shut_down },
};

void command_run(struct server *s, struct client *c)
{
	const struct bytes *argv = c->request.argv;
	size_t argc = c->request.argc;

	s->commands++;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const struct command *known = &commands[i];

		if (!is(argv[0], known->name))
			continue;
		if (argc < known->min || argc > known->max)
			reply_error(&c->out, "ERR wrong number of arguments for '%s' command",
				    known->name);
		else
			known->run(s, c, argv, argc);
		return;
	}
	reply_error(&c->out, "ERR unknown command '%.*s'",
		    (int)(argv[0].len < 64 ? argv[0].len : 64), argv[0].data);
}
