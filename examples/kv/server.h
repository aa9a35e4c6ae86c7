/* SPDX-License-Identifier: MIT */
/* One thread serves all clients. Commands run to their end, so between two all data is whole. */
#ifndef KV_SERVER_H
#define KV_SERVER_H

#include "buffer.h"
#include "memory.h"
#include "resp.h"
#include "saver.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct server;

/* Something that epoll watches. */
struct watch {
	int fd;
	void (*ready)(struct server *server, struct watch *watch, uint32_t events);
};

struct client {
	struct watch watch; /* first */
	struct client *prev, *next;
	struct buffer in, out;
	struct request request;
	bool closing; /* when the replies are out */
	uint32_t events;
};

struct server {
	struct memory memory;
	struct heap *heap;
	struct saver saver;
	int epoll;
	struct watch listener[2], signals, saved; /* TCP and Unix */
	const char *unix_path;
	struct client *clients;
	unsigned long port, nr_clients;
	bool listens; /* not while there are no descriptors left */
	bool stops;
	time_t started;
	uint64_t commands, connections;
};

/* Each but the last: false, and it has been said why. NULL and 0: not there. */
bool server_listen_tcp(struct server *server, const char *address, unsigned long port);
bool server_listen_unix(struct server *server, const char *path);
bool server_init(struct server *server);
void server_run(struct server *server);
void server_close(struct server *server);

/* Ends it, after a save if there is something to save. False: that failed, and it goes on. */
bool server_stop(struct server *server, bool save);

/* commands.c: replies to one request. */
void command_run(struct server *server, struct client *client);
/* info.c */
void info_run(struct server *server, struct client *client);

#endif
