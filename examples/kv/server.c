/* SPDX-License-Identifier: MIT */
#include "server.h"

#include "../common/arguments.h"
#include "log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_MIN 16384UL
#define OUT_MAX (1UL << 20) /* a client that does not read its replies is not served */
#define LISTENERS 2

static bool watch(struct server *s, struct watch *w, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = w };

	if (!epoll_ctl(s->epoll, EPOLL_CTL_ADD, w->fd, &e))
		return true;
	say("epoll: %s", strerror(errno));
	return false;
}

/* ---- clients ---- */

static void listen_again(struct server *s)
{
	if (s->listens)
		return;
	s->listens = true;
	for (int i = 0; i < LISTENERS; i++)
		if (s->listener[i].ready)
			watch(s, &s->listener[i], EPOLLIN);
}

static void close_client(struct server *s, struct client *c)
{
	/* a child that saves has the socket, too: closing it alone would not end the events */
	epoll_ctl(s->epoll, EPOLL_CTL_DEL, c->watch.fd, NULL);
	close(c->watch.fd);
	buffer_free(&c->in);
	buffer_free(&c->out);
	resp_free(&c->request);
	if (c->prev)
		c->prev->next = c->next;
	else
		s->clients = c->next;
	if (c->next)
		c->next->prev = c->prev;
	free(c);
	s->nr_clients--;
	listen_again(s);
}

/* Runs the requests that are complete, as long as the replies are read. */
static void run_requests(struct server *s, struct client *c)
{
	while (!c->closing && buffer_len(&c->in) && buffer_len(&c->out) < OUT_MAX) {
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
				command_run(s, c);
			buffer_drop(&c->in, r->len);
			resp_reset(r);
		}
	}
}

/* False: the client is gone. */
static bool send_replies(struct client *c)
{
	while (buffer_len(&c->out)) {
		ssize_t n = send(c->watch.fd, c->out.data + c->out.head, buffer_len(&c->out),
				 MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		buffer_drop(&c->out, (size_t)n);
	}
	return true;
}

static bool receive(struct client *c)
{
	size_t want = resp_missing(&c->request, buffer_len(&c->in));
	ssize_t n;

	if (!buffer_reserve(&c->in, want > READ_MIN ? want : READ_MIN))
		return false;
	n = recv(c->watch.fd, c->in.data + c->in.tail, c->in.size - c->in.tail, 0);
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	c->in.tail += (size_t)n;
	return true;
}

/* Asks for what can be done next. */
static bool rearm(struct server *s, struct client *c)
{
	uint32_t events = buffer_len(&c->out) ? EPOLLOUT : EPOLLIN;
	struct epoll_event e = { .events = events, .data.ptr = c };

	if (events == c->events)
		return true;
	c->events = events;
	return !epoll_ctl(s->epoll, EPOLL_CTL_MOD, c->watch.fd, &e);
}

static void client_ready(struct server *s, struct watch *w, uint32_t events)
{
	struct client *c = (struct client *)w;
	bool open = true;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && c->events == EPOLLIN)
		open = receive(c);
	/* requests may have waited for replies to go */
	while (open && !c->out.failed) {
		size_t before = buffer_len(&c->in);

		run_requests(s, c);
		open = send_replies(c);
		if (buffer_len(&c->out) || buffer_len(&c->in) == before)
			break;
	}
	if (!open || c->out.failed || (c->closing && !buffer_len(&c->out)) || !rearm(s, c))
		close_client(s, c);
}

static struct client *new_client(struct server *s, int fd)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->watch = (struct watch){ fd, client_ready };
	c->events = EPOLLIN;
	if (!watch(s, &c->watch, EPOLLIN)) {
		free(c);
		return NULL;
	}
	c->next = s->clients;
	if (c->next)
		c->next->prev = c;
	s->clients = c;
	s->nr_clients++;
	s->connections++;
	return c;
}

static void listener_ready(struct server *s, struct watch *w, uint32_t events)
{
	int on = 1, fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if (!new_client(s, fd))
			close(fd);
		return;
	}
	if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
		return;
	say("accept: %s; %lu clients are connected: raise ulimit -n", strerror(errno),
	    s->nr_clients);
	s->listens = false;
	for (int i = 0; i < LISTENERS; i++)
		if (s->listener[i].ready)
			epoll_ctl(s->epoll, EPOLL_CTL_DEL, s->listener[i].fd, NULL);
}

/* ---- listeners ---- */

static bool listen_on(struct server *s, struct watch *w, const struct sockaddr *address,
		      socklen_t len)
{
	int on = 1;

	w->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (w->fd < 0)
		return false;
	setsockopt(w->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(w->fd, address, len) || listen(w->fd, 511)) {
		int err = errno;

		close(w->fd);
		errno = err;
		return false;
	}
	w->ready = listener_ready;
	return watch(s, w, EPOLLIN);
}

bool server_listen_tcp(struct server *s, const char *address, unsigned long port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	if (inet_pton(AF_INET, address, &in.sin_addr) != 1) {
		say("--bind '%s': expected an IPv4 address, such as 127.0.0.1", address);
		return false;
	}
	s->port = port;
	if (listen_on(s, &s->listener[0], (struct sockaddr *)&in, sizeof(in)))
		return true;
	say("%s port %lu: %s; take another --port, or --port 0 and --unix", address, port,
	    strerror(errno));
	return false;
}

/* A socket that a killed server left is taken over, one that is served is not. */
static bool remove_dead_socket(const struct sockaddr_un *un)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool dead = connect(fd, (const struct sockaddr *)un, sizeof(*un)) && errno == ECONNREFUSED;

	close(fd);
	return dead && !unlink(un->sun_path);
}

bool server_listen_unix(struct server *s, const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(un.sun_path)) {
		say("--unix '%s': a socket's name has less than %zu characters", path,
		    sizeof(un.sun_path));
		return false;
	}
	strcpy(un.sun_path, path);
	if (listen_on(s, &s->listener[1], (struct sockaddr *)&un, sizeof(un)) ||
	    (errno == EADDRINUSE && remove_dead_socket(&un) &&
	     listen_on(s, &s->listener[1], (struct sockaddr *)&un, sizeof(un)))) {
		s->unix_path = path;
		return true;
	}
	say("--unix %s: %s", path, strerror(errno));
	return false;
}

/* ---- the loop ---- */

static void saved_ready(struct server *s, struct watch *w, uint32_t events)
{
	(void)w;
	(void)events;
	saver_finish(&s->saver);
}

static void signals_ready(struct server *s, struct watch *w, uint32_t events)
{
	struct signalfd_siginfo info;

	(void)events;
	if (read(w->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGCHLD) {
		saver_finish(&s->saver);
		return;
	}
	say("signal %u: ending", info.ssi_signo);
	if (!server_stop(s, true))
		say("going on, for the data is not saved; SHUTDOWN NOSAVE ends without");
}

bool server_init(struct server *s)
{
	sigset_t mask;

	s->listens = true;
	s->started = time(NULL);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	s->signals =
		(struct watch){ signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC), signals_ready };
	return watch(s, &s->signals, EPOLLIN);
}

void server_run(struct server *s)
{
	struct epoll_event events[64];

	s->saved = (struct watch){ s->saver.done[0], saved_ready };
	if (!s->memory.forks && !watch(s, &s->saved, EPOLLIN))
		return;
	while (!s->stops) {
		int n = epoll_wait(s->epoll, events, 64, -1);

		for (int i = 0; i < n && !s->stops; i++) {
			struct watch *w = events[i].data.ptr;

			w->ready(s, w, events[i].events);
		}
	}
}

bool server_stop(struct server *s, bool save)
{
	saver_cancel(&s->saver);
	if (save && s->saver.path && s->saver.dirty && saver_run(&s->saver))
		return false;
	s->stops = true;
	return true;
}

void server_close(struct server *s)
{
	while (s->clients)
		close_client(s, s->clients);
	for (int i = 0; i < LISTENERS; i++)
		if (s->listener[i].ready)
			close(s->listener[i].fd);
	if (s->unix_path)
		unlink(s->unix_path);
	close(s->signals.fd);
	close(s->epoll);
}
