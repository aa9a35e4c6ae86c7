/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include "../machine/leftovers.h"
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct task {
	pid_t pid;
	bool done;
	char died[64];
};

struct state {
	const struct hf_pool *pool;
	struct task *tasks;
	size_t started, running, shown;
};

static void start(struct state *s)
{
	size_t i = s->started++;
	struct task *t = &s->tasks[i];
	pid_t self = getpid();

	fflush(stdout);
	t->pid = fork();
	if (!t->pid) {
		hf_die_with(self);
		s->pool->run(i, s->pool->arg);
		fflush(stdout);
		_exit(0);
	}
	if (t->pid > 0) {
		s->running++;
		return;
	}
	t->done = true;
	snprintf(t->died, sizeof(t->died), "no process can be had: %s", strerror(errno));
}

/* Each says what it knows so far: an interrupt may have come to this process alone. */
static void stop_all(const struct state *s)
{
	for (size_t i = 0; i < s->started; i++)
		if (!s->tasks[i].done)
			kill(s->tasks[i].pid, SIGINT);
}

static void end(struct state *s)
{
	int status;
	pid_t pid = wait(&status);

	if (pid < 0)
		stop_all(s);
	for (size_t i = 0; i < s->started; i++) {
		struct task *t = &s->tasks[i];

		if (t->done || t->pid != pid)
			continue;
		t->done = true;
		s->running--;
		if (WIFSIGNALED(status))
			snprintf(t->died, sizeof(t->died), "the explorer died: %s",
				 strsignal(WTERMSIG(status)));
	}
}

static void show(struct state *s)
{
	for (; s->shown < s->started && s->tasks[s->shown].done; s->shown++) {
		struct task *t = &s->tasks[s->shown];

		s->pool->done(s->shown, t->died[0] ? t->died : NULL, s->pool->arg);
	}
}

int hf_pool_run(const struct hf_pool *pool)
{
	struct state s = { .pool = pool, .tasks = calloc(pool->nr, sizeof(*s.tasks)) };

	if (!s.tasks)
		return -ENOMEM;
	while (s.shown < pool->nr && (s.running || !hf_interrupted)) {
		while (s.running < pool->threads && s.started < pool->nr && !hf_interrupted)
			start(&s);
		if (s.running)
			end(&s);
		show(&s);
		if (isatty(STDERR_FILENO))
			fprintf(stderr, "\r\033[K%zu/%zu\r", s.shown, pool->nr);
	}
	free(s.tasks);
	return 0;
}

void *hf_shared_alloc(size_t size)
{
	void *ptr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return ptr == MAP_FAILED ? NULL : ptr;
}

void hf_shared_free(void *ptr, size_t size)
{
	if (ptr)
		munmap(ptr, size);
}
