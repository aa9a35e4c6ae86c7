/* SPDX-License-Identifier: MIT */
/* Signals that come all the time, handlers and stacks; threads that end. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>

#include "native_ordinary.h"

/* ---- signals ---- */

static void ignore(int sig)
{
	(void)sig;
}

static int storm(struct scene *s, int flags)
{
	struct sigaction action = { .sa_handler = ignore, .sa_flags = flags };
	struct itimerval every = { { 0, 100 }, { 0, 100 } };

	MUST(!sigaction(SIGALRM, &action, NULL));
	MUST(!setitimer(ITIMER_REAL, &every, NULL));
	return 0;
}

static int storm_of_signals(struct scene *s)
{
	return storm(s, 0);
}

static int storm_that_restarts(struct scene *s)
{
	return storm(s, SA_RESTART);
}

static int calm(struct scene *s)
{
	struct itimerval never = { { 0, 0 }, { 0, 0 } };

	MUST(!setitimer(ITIMER_REAL, &never, NULL));
	return 0;
}

static int block_all_signals(struct scene *s)
{
	sigset_t all;

	sigfillset(&all);
	if (s->way->flags & HF_NATIVE_SIGNAL)
		sigdelset(&all, SIGBUS);
	MUST(!sigprocmask(SIG_BLOCK, &all, NULL));
	return 0;
}

static int block_bus_errors(struct scene *s)
{
	sigset_t one;

	sigemptyset(&one);
	sigaddset(&one, SIGBUS);
	MUST(!sigprocmask(SIG_BLOCK, &one, NULL));
	return 0;
}

static int ignore_bus_errors(struct scene *s)
{
	MUST(signal(SIGBUS, SIG_IGN) != SIG_ERR);
	return 0;
}

static int default_bus_errors(struct scene *s)
{
	MUST(signal(SIGBUS, SIG_DFL) != SIG_ERR);
	return 0;
}

static void ask_the_library(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (!hf_native_handle_sigbus(info)) {
		signal(sig, SIG_DFL);
		raise(sig);
	}
}

static int own_handler(struct scene *s)
{
	struct sigaction action = { .sa_sigaction = ask_the_library, .sa_flags = SA_SIGINFO };

	MUST(!sigaction(SIGBUS, &action, NULL));
	return 0;
}

static void note_foreign(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	(void)context;
}

static int handler_before(struct scene *s)
{
	struct sigaction action = { .sa_sigaction = note_foreign, .sa_flags = SA_SIGINFO };

	MUST(!sigaction(SIGBUS, &action, NULL));
	return 0;
}

/* As large as old programs have it, with nothing below. */
static int small_signal_stack(struct scene *s)
{
	size_t least = (size_t)sysconf(_SC_MINSIGSTKSZ) + 4096,
	       size = least > 8192 ? (least + PAGE - 1) & ~(PAGE - 1) : 8192;
	char *at =
		mmap(NULL, size + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t stack = { .ss_sp = at + PAGE, .ss_size = size };

	MUST(at != MAP_FAILED && !mprotect(at, PAGE, PROT_NONE));
	MUST(!sigaltstack(&stack, NULL));
	return 0;
}

/* ---- threads ---- */

static void drop_it(void *arg)
{
	hf_native_drop(arg);
}

static atomic_int rounds;

static void *take_and_drop(void *arg)
{
	struct scene *s = arg;
	uint64_t value;

	for (;;) {
		struct hf_native_snapshot *taken;

		if (hf_native_snapshot(s->space, &taken))
			return arg;
		pthread_cleanup_push(drop_it, taken);
		hf_native_read(taken, 0, &value, sizeof(value));
		pthread_cleanup_pop(1);
		rounds++;
		pthread_testcancel();
	}
}

static void *take_and_drop_for_a_while(void *arg)
{
	struct scene *s = arg;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	for (int i = 0; i < 20; i++) {
		struct hf_native_snapshot *taken;

		if (hf_native_snapshot(s->space, &taken) || hf_native_drop(taken))
			return arg;
	}
	return NULL;
}

static uint64_t count(const struct scene *s)
{
	struct hf_native_stats stats;

	hf_native_stats(s->space, &stats);
	return stats.snapshots;
}

/* A call that is in the middle of it ends first: no lock stays held, no snapshot is lost. */
static int cancel(struct scene *s)
{
	uint64_t before = count(s);
	pthread_t thread;
	void *result;

	for (int i = 0; i < 5; i++) {
		int from = rounds;

		MUST(!pthread_create(&thread, NULL, take_and_drop, s));
		while (rounds < from + 3)
			store_page(s, page_of(s, FIRST) + 3);
		MUST(!pthread_cancel(thread) && !pthread_join(thread, &result));
		MUST(result == PTHREAD_CANCELED && count(s) == before);
	}
	return 0;
}

static int cancel_in_vain(struct scene *s)
{
	pthread_t thread;
	void *result;

	MUST(!pthread_create(&thread, NULL, take_and_drop_for_a_while, s));
	pthread_cancel(thread);
	MUST(!pthread_join(thread, &result) && (!result || result == PTHREAD_CANCELED));
	return 0;
}

static void *store_and_end(void *arg)
{
	struct scene *s = arg;

	store_page(s, page_of(s, FIRST) + 4);
	store_page(s, page_of(s, LATE) + 4);
	store_page(s, page_of(s, DENSE) + 9);
	return NULL;
}

static int threads_end(struct scene *s)
{
	pthread_t thread;

	for (int i = 0; i < 8; i++)
		MUST(!pthread_create(&thread, NULL, store_and_end, s) &&
		     !pthread_join(thread, NULL));
	return 0;
}

static atomic_int in_space;

static void *live_in_the_space(void *arg)
{
	struct scene *s = arg;
	volatile uint64_t mine[64];
	char *stack = malloc(65536);
	stack_t other = { .ss_sp = stack, .ss_size = 65536 };

	sigaltstack(&other, NULL);
	for (uint64_t n = 1; !s->verdict->stop; n++) {
		for (size_t i = 0; i < 64; i++)
			mine[i] = n;
		for (size_t i = 0; i < 64; i++)
			if (mine[i] != n)
				return arg;
		in_space = 1;
	}
	other.ss_flags = SS_DISABLE;
	sigaltstack(&other, NULL);
	free(stack);
	return NULL;
}

static pthread_t resident;

/* The kernel writes to what the C library has there (rseq), so in signal mode it cannot be. */
static int stack_in_the_space(struct scene *s)
{
	pthread_attr_t attr;

	if (s->way->flags & HF_NATIVE_SIGNAL)
		return skipped(s, "not in signal mode");
	now(s, NEVER, UNKNOWN);
	pthread_attr_init(&attr);
	MUST(!pthread_attr_setstack(&attr, block_at(s, NEVER), block_size(s)));
	MUST(!pthread_create(&resident, &attr, live_in_the_space, s));
	pthread_attr_destroy(&attr);
	while (!in_space)
		sched_yield();
	return 0;
}

static int stack_ends(struct scene *s)
{
	void *result;

	s->verdict->stop = 1;
	MUST(!pthread_join(resident, &result) && !result);
	return 0;
}

/* A coroutine has a stack and nothing else. In signal mode signals need another one. */
static ucontext_t coroutine, caller;
static struct scene *volatile its_scene;

static void run_in_the_space(void)
{
	volatile uint64_t mine[64];
	struct scene *s = its_scene;

	for (uint64_t n = 1;; n++) {
		for (size_t i = 0; i < 64; i++)
			mine[i] = n;
		swapcontext(&coroutine, &caller);
		for (size_t i = 0; i < 64; i++)
			if (mine[i] != n)
				failed(s, __FILE__, __LINE__, "a coroutine's stack");
	}
}

static int go_on(struct scene *s)
{
	for (int i = 0; i < 3; i++)
		MUST(!swapcontext(&caller, &coroutine));
	return s->verdict->kind != NOTHING;
}

static int coroutine_in_the_space(struct scene *s)
{
	if (small_signal_stack(s))
		return 1;
	now(s, NEVER, UNKNOWN);
	its_scene = s;
	MUST(!getcontext(&coroutine));
	coroutine.uc_stack.ss_sp = block_at(s, NEVER);
	coroutine.uc_stack.ss_size = block_size(s);
	makecontext(&coroutine, run_in_the_space, 0);
	return go_on(s);
}

const struct row thread_rows[] = {
	ROW("SIGALRM every 100 us", AFTER_CREATE, storm_of_signals, 0, .finish = calm),
	ROW("SIGALRM every 100 us, SA_RESTART", BEFORE_CREATE, storm_that_restarts, 0,
	    .finish = calm),
	ROW("all signals are blocked, in signal mode but for SIGBUS", AFTER_CREATE,
	    block_all_signals, 0),
	ROW("SIGBUS is blocked", AFTER_CREATE, block_bus_errors, 0, .dies_of = SIGBUS),
	ROW("SIGBUS is ignored before create", BEFORE_CREATE, ignore_bus_errors, 0),
	ROW("SIGBUS is ignored after create", AFTER_CREATE, ignore_bus_errors, 0,
	    .dies_of = SIGBUS),
	ROW("SIGBUS is the default's before create", BEFORE_CREATE, default_bus_errors, 0),
	ROW("SIGBUS is the default's after create", AFTER_CREATE, default_bus_errors, 0,
	    .dies_of = SIGBUS),
	ROW("a SIGBUS handler of the program's before create", BEFORE_CREATE, handler_before, 0),
	ROW("a SIGBUS handler that asks the library", AFTER_CREATE, own_handler, 0),
	ROW("a small stack for signals", AFTER_CREATE, small_signal_stack, KEEP),
	ROW("a thread that takes snapshots is cancelled", AFTER_S1, cancel, KEEP),
	ROW("a thread that cannot be cancelled is", AFTER_S1, cancel_in_vain, KEEP),
	ROW("threads store and end", AFTER_S1, threads_end, KEEP),
	ROW("a thread's stack is in the space", AFTER_CREATE, stack_in_the_space, KEEP,
	    .undo = stack_ends),
	ROW("a thread's stack is in the space since a snapshot", AFTER_S1, stack_in_the_space, KEEP,
	    .undo = stack_ends),
	ROW("a coroutine's stack is in the space", AFTER_CREATE, coroutine_in_the_space, KEEP,
	    .undo = go_on),
	ROW("a coroutine's stack is in the space since a snapshot", AFTER_S1,
	    coroutine_in_the_space, KEEP, .undo = go_on),
	END_OF_ROWS,
};
