/* SPDX-License-Identifier: MIT */
/* Native spaces and what happens to a process: fork(), exec, signals, the end at any moment. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include "native_child.h"

/* ---- the program's own fork() ---- */

/* What the parent has when it forks. */
struct family {
	const struct way *way;
	struct hf_native *space, *child;
	struct hf_native_snapshot *s;
	const void *view;
	int go[2];
};

static bool absent(const void *addr)
{
	return msync((void *)((uintptr_t)addr & ~(PAGE - 1)), PAGE, MS_ASYNC) && errno == ENOMEM;
}

static int calls_say_that_the_owner_is_gone(const struct family *f)
{
	struct hf_native_run run = { 0, 0 };
	struct hf_native_snapshot *s;
	struct hf_native *space;
	struct iovec iov;
	const void *view;
	uint64_t value;
	void *base = hf_native_base(f->space);

	NEED(hf_native_snapshot(f->space, &s) == -EOWNERDEAD);
	NEED(hf_native_fork(f->space, &space) == -EOWNERDEAD);
	NEED(hf_native_destroy(f->space) == -EOWNERDEAD);
	NEED(hf_native_trim(f->space) == -EOWNERDEAD);
	NEED(hf_native_drop(f->s) == -EOWNERDEAD);
	NEED(hf_native_read(f->s, 0, &value, sizeof(value)) == -EOWNERDEAD);
	NEED(hf_native_map(f->s, &view) == -EOWNERDEAD);
	NEED(hf_native_unmap(f->s) == -EOWNERDEAD);
	NEED(hf_native_diff(NULL, f->s, 0, &run) == -EOWNERDEAD);
	NEED(hf_native_pin(f->space, base, 8, HF_FOLL_WRITE, &iov, 1) == -EOWNERDEAD);
	NEED(hf_native_unpin(f->space, base, 8, HF_FOLL_WRITE) == -EOWNERDEAD);
	NEED(hf_native_pin_snapshot(f->s, 0, 8, &iov, 1) == -EOWNERDEAD);
	NEED(hf_native_unpin_snapshot(f->s, 0, 8) == -EOWNERDEAD);
	NEED(hf_native_prepare_write(f->space, base, 8) == -EOWNERDEAD);
	NEED(hf_native_finish_write(f->space, base, 8) == -EOWNERDEAD);
	NEED(hf_native_prepare_read(f->view, 8));
	return 0;
}

/* Nothing would protect a map of a memfd; and the kernel takes huge pages away from a child. */
static bool is_a_copy(const struct hf_native *space, const struct way *way)
{
	return hf_native_memfd(space) < 0 && way->pages != HF_NATIVE_HUGETLB;
}

static int as_a_forked_process(const void *arg)
{
	const struct family *f = arg;
	size_t unit = hf_native_unit(f->space);
	char byte;

	NEED(read(f->go[0], &byte, 1) == 1); /* the parent has stored since */
	if (!is_a_copy(f->space, f->way))
		return !absent(word(f->space, 0)) || calls_say_that_the_owner_is_gone(f);
	NEED(*word(f->space, 0) == 2 && *word(f->space, unit) == 3);
	NEED(*word(f->space, 2 * unit) == 0);
	*word(f->space, 0) = 101; /* protected when it forked */
	*word(f->space, unit) = 102;
	*word(f->space, 3 * unit) = 103; /* never touched */
	NEED(*word(f->space, 0) == 101 && *word(f->space, 3 * unit) == 103);
	NEED(absent(f->view) && absent((const char *)f->view + 3 * unit));
	NEED(!f->child || (absent(word(f->child, 0)) && absent(word(f->child, 3 * unit))));
	if (calls_say_that_the_owner_is_gone(f))
		return 1;
	return all_works(f->way); /* spaces of its own are not refused */
}

static pid_t start(int (*run)(const void *arg), const void *arg)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		alarm(100);
		_exit(run(arg));
	}
	return pid;
}

static void ends_well(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("a process ended with %#x", status);
}

static void set_up(struct family *f)
{
	size_t unit = hf_native_unit(f->space);

	*word(f->space, 0) = 1;
	f->s = snapshot(f->space);
	*word(f->space, 0) = 2;
	*word(f->space, unit) = 3;
	assert_int_equal(hf_native_map(f->s, &f->view), 0);
	assert_int_equal(*(const uint64_t *)f->view, 1);
	if (hf_native_memfd(f->space) < 0) {
		assert_int_equal(hf_native_fork(f->space, &f->child), 0);
		*word(f->child, unit) = 33;
	}
	assert_int_equal(pipe2(f->go, O_CLOEXEC), 0);
}

static void a_forked_process_has_the_bytes_and_no_more(void **state)
{
	(void)state;
	EACH_WAY(space, 4)
	{
		struct family f = { .way = &ways[w_], .space = space };
		size_t unit = hf_native_unit(space);
		struct hf_native_snapshot *after;
		pid_t pid;

		set_up(&f);
		pid = start(as_a_forked_process, &f);
		*word(space, 0) = 4;
		*word(space, 2 * unit) = 5;
		after = snapshot(space);
		*word(space, unit) = 6;
		assert_int_equal(write(f.go[1], "", 1), 1);
		ends_well(pid);
		assert_int_equal(get(f.s, 0), 1);
		assert_int_equal(get(f.s, unit), 0);
		assert_int_equal(get(after, 0), 4);
		assert_int_equal(get(after, unit), 3);
		assert_int_equal(get(after, 3 * unit), 0);
		assert_int_equal(*word(space, 0), 4);
		assert_int_equal(*word(space, 3 * unit), 0);
		if (f.child) {
			assert_int_equal(*word(f.child, 0), 2);
			assert_int_equal(*word(f.child, unit), 33);
			assert_int_equal(hf_native_destroy(f.child), 0);
		}
		assert_int_equal(hf_native_unmap(f.s), 0);
		assert_int_equal(hf_native_drop(f.s), 0);
		assert_int_equal(hf_native_drop(after), 0);
		assert_int_equal(hf_native_destroy(space), 0);
		close(f.go[0]);
		close(f.go[1]);
	}
}

/* ---- fork() while other threads fault ---- */

struct writer {
	pthread_t thread;
	const struct way *way;
	struct hf_native *space;
	_Atomic bool stop;
};

#define NR_WORDS 16

/* Word i is n before word i + 1 is. */
static void *write_in_order(void *arg)
{
	struct writer *writer = arg;
	size_t stride = hf_native_unit(writer->space);

	for (uint64_t n = 1; !atomic_load(&writer->stop); n++)
		for (size_t i = 0; i < NR_WORDS; i++)
			__atomic_store_n(word(writer->space, i * stride), n, __ATOMIC_RELEASE);
	return NULL;
}

static int see_and_write(const void *arg)
{
	const struct writer *writer = arg;
	size_t stride = hf_native_unit(writer->space);
	uint64_t first, before;

	if (!is_a_copy(writer->space, writer->way))
		return 0;
	first = before = *word(writer->space, 0);
	for (size_t i = 1; i < NR_WORDS; i++) {
		uint64_t n = *word(writer->space, i * stride);

		NEED(n <= before && n + 1 >= first);
		before = n;
	}
	for (size_t i = 0; i < NR_WORDS; i++)
		*word(writer->space, i * stride) = 0;
	for (size_t i = 0; i < NR_WORDS; i++)
		NEED(*word(writer->space, i * stride) == 0);
	return 0;
}

static void fork_is_one_instant_too(void **state)
{
	(void)state;
	EACH_WAY(space, NR_WORDS)
	{
		struct writer writer = { .way = &ways[w_], .space = space };

		assert_int_equal(pthread_create(&writer.thread, NULL, write_in_order, &writer), 0);
		for (int i = 0; i < times(20); i++) {
			struct hf_native_snapshot *s = snapshot(space);
			uint64_t first = get(s, 0), last;

			in_child(see_and_write, &writer);
			assert_int_equal(get(s, 0), first);
			last = get(s, (NR_WORDS - 1) * hf_native_unit(space));
			assert_true(last <= first && last + 1 >= first);
			assert_int_equal(hf_native_drop(s), 0);
		}
		atomic_store(&writer.stop, true);
		pthread_join(writer.thread, NULL);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* ---- exec ---- */

/* In the new program: descriptors that it was not meant to have. */
static int count_strangers(void)
{
	DIR *folder = opendir("/proc/self/fd");
	char link[320], target[256];
	struct dirent *e;
	int nr = 0;

	while (folder && (e = readdir(folder))) {
		ssize_t len;

		snprintf(link, sizeof(link), "/proc/self/fd/%s", e->d_name);
		len = readlink(link, target, sizeof(target) - 1);
		if (len < 0)
			continue;
		target[len] = '\0';
		nr += strstr(target, "userfault") || strstr(target, "memfd") ||
		      strstr(target, "pagemap") || strstr(target, "eventfd") ||
		      strstr(target, "/proc/");
	}
	if (folder)
		closedir(folder);
	return nr - 1; /* the folder itself */
}

static char *const strangers[] = { "test_native_process", "--strangers", NULL };

static int by_exec(const void *arg)
{
	(void)arg;
	execv("/proc/self/exe", strangers);
	return 1;
}

static __attribute__((noinline)) pid_t by_vfork(void)
{
	pid_t pid = vfork();

	if (!pid) {
		execv("/proc/self/exe", strangers);
		_exit(1);
	}
	return pid;
}

static void nothing_is_inherited_by_exec(void **state)
{
	extern char **environ;

	(void)state;
	EACH_WAY(space, 4)
	{
		struct hf_native_snapshot *s;
		pid_t pid;

		*word(space, 0) = 1;
		s = snapshot(space);
		in_child(by_exec, NULL);
		assert_int_equal(
			posix_spawn(&pid, "/proc/self/exe", NULL, NULL, strangers, environ), 0);
		*word(space, 0) = 2;
		ends_well(pid);
		ends_well(by_vfork());
		*word(space, 8) = 3;
		assert_int_equal(get(s, 0), 1);
		assert_int_equal(hf_native_drop(s), 0);
		assert_int_equal(hf_native_destroy(space), 0);
	}
}

/* ---- signals that are not the library's ---- */

static volatile sig_atomic_t heard;
static void *volatile heard_at;
static sigjmp_buf escape;

static void note_and_jump(int sig, siginfo_t *info, void *context)
{
	(void)context;
	heard = sig;
	heard_at = info->si_addr;
	siglongjmp(escape, 1);
}

static void note_plainly(int sig)
{
	heard = sig;
	siglongjmp(escape, 1);
}

/* Which signal a store there is answered with. */
static __attribute__((noinline)) int answer(volatile char *at)
{
	heard = 0;
	if (!sigsetjmp(escape, 1))
		*at = 1;
	return heard;
}

/* A page of a file beyond its end. */
static volatile char *beyond_the_end(void)
{
	int fd = memfd_create("short", MFD_CLOEXEC);
	void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	return at == MAP_FAILED ? NULL : at;
}

static int with_protected_pages(struct hf_native **space, struct hf_native_snapshot **s)
{
	NEED(!create(&ways[1], 4, space));
	*word(*space, 0) = 1;
	NEED(!hf_native_snapshot(*space, s));
	return 0;
}

static int still_protects(struct hf_native *space, struct hf_native_snapshot *s)
{
	*word(space, 0) = 2;
	NEED(*word(space, 0) == 2 && peek(s, 0) == 1);
	return 0;
}

static int a_null_pointer(const void *arg)
{
	struct hf_native_snapshot *s;
	struct hf_native *space;
	volatile char *null = (volatile char *)(uintptr_t)arg;

	signal(SIGSEGV, SIG_DFL); /* a sanitizer's would only report */
	if (with_protected_pages(&space, &s) || still_protects(space, s))
		return 1;
	*null = 1;
	return 1;
}

static int a_caught_null_pointer(const void *arg)
{
	struct sigaction action = { .sa_sigaction = note_and_jump, .sa_flags = SA_SIGINFO };
	struct hf_native_snapshot *s;
	struct hf_native *space;
	volatile char *null = (volatile char *)(uintptr_t)arg;

	sigaction(SIGSEGV, &action, NULL);
	if (with_protected_pages(&space, &s))
		return 1;
	NEED(answer(null) == SIGSEGV);
	return still_protects(space, s);
}

static int a_foreign_bus_error(const void *arg)
{
	volatile char *const at = beyond_the_end();
	struct hf_native_snapshot *s;
	struct hf_native *space;

	NEED(at && signal(SIGBUS, *(const sighandler_t *)arg) != SIG_ERR);
	if (with_protected_pages(&space, &s) || still_protects(space, s))
		return 1;
	*at = 1;
	return 1;
}

static int a_caught_bus_error(const void *arg)
{
	struct sigaction action = { .sa_sigaction = note_and_jump, .sa_flags = SA_SIGINFO };
	volatile char *at = beyond_the_end();
	struct hf_native_snapshot *s;
	struct hf_native *space;

	if (arg)
		NEED(signal(SIGBUS, note_plainly) != SIG_ERR);
	else
		NEED(!sigaction(SIGBUS, &action, NULL));
	if (with_protected_pages(&space, &s))
		return 1;
	for (int i = 0; i < 3; i++)
		NEED(answer(at) == SIGBUS && (arg || heard_at == at));
	return still_protects(space, s);
}

static const sighandler_t by_default = SIG_DFL, ignored = SIG_IGN;

static void foreign_signals_arrive(void **state)
{
	int status;

	(void)state;
	status = status_of(a_null_pointer, NULL);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	in_child(a_caught_null_pointer, NULL);
	status = status_of(a_foreign_bus_error, &by_default);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	status = status_of(a_foreign_bus_error, &ignored); /* of one's own making, it cannot be */
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	in_child(a_caught_bus_error, NULL);
	in_child(a_caught_bus_error, "by a handler of the old kind");
}

static __attribute__((noinline)) void send_bus_error(void)
{
	if (!sigsetjmp(escape, 1))
		raise(SIGBUS);
}

static int sent_bus_error(const void *arg)
{
	struct hf_native_snapshot *s;
	struct hf_native *space;

	NEED(signal(SIGBUS, *(const sighandler_t *)arg) != SIG_ERR);
	if (with_protected_pages(&space, &s))
		return 1;
	send_bus_error();
	NEED(*(const sighandler_t *)arg != SIG_DFL);
	return still_protects(space, s);
}

/* One that kill() sends has no address. */
static void a_signal_that_is_sent_arrives(void **state)
{
	sighandler_t caught = note_plainly;
	int status = status_of(sent_bus_error, &by_default);

	(void)state;
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	in_child(sent_bus_error, &caught);
	in_child(sent_bus_error, &ignored);
}

static volatile sig_atomic_t resolved, not_ours;

static void ask_the_library(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	if (hf_native_handle_sigbus(info)) {
		resolved++;
		return;
	}
	not_ours++;
	siglongjmp(escape, 1);
}

static int with_a_handler_of_its_own(const void *arg)
{
	struct sigaction action = { .sa_sigaction = ask_the_library, .sa_flags = SA_SIGINFO };
	volatile char *const at = beyond_the_end();
	struct hf_native_snapshot *s;
	struct hf_native *space;

	(void)arg;
	if (with_protected_pages(&space, &s))
		return 1;
	NEED(!sigaction(SIGBUS, &action, NULL));
	if (still_protects(space, s))
		return 1;
	NEED(resolved == 1 && not_ours == 0);
	answer(at);
	NEED(not_ours == 1);
	NEED(!hf_native_drop(s) && !hf_native_snapshot(space, &s));
	*word(space, 0) = 3;
	NEED(peek(s, 0) == 2 && resolved == 2);
	return 0;
}

static void a_program_may_have_its_own_handler(void **state)
{
	(void)state;
	in_child(with_a_handler_of_its_own, NULL);
}

/* ---- the end at any moment ---- */

static void *store_for_ever(void *arg)
{
	struct hf_native *space = arg;

	for (uint64_t n = 1;; n++)
		*word(space, (n * 7 % 64) * hf_native_unit(space)) = n;
	return NULL;
}

static int for_ever(const void *arg)
{
	const struct way *way = arg;
	struct hf_native *space, *child;
	struct hf_native_snapshot *s;
	pthread_t thread;

	NEED(!create(way, 64, &space));
	NEED(!pthread_create(&thread, NULL, store_for_ever, space));
	for (;;) {
		const void *view;

		NEED(!hf_native_snapshot(space, &s));
		NEED(!hf_native_map(s, &view));
		(void)*(const volatile char *)view;
		if (hf_native_memfd(space) < 0) {
			NEED(!hf_native_fork(space, &child));
			*word(child, 0) = 1;
			NEED(!hf_native_destroy(child));
		}
		NEED(!hf_native_unmap(s) && !hf_native_drop(s));
	}
}

static int files_in(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *e;
	int nr = 0;

	while (folder && (e = readdir(folder)))
		nr += strstr(e->d_name, "holdfast") || !strncmp(e->d_name, "hf", 2);
	if (folder)
		closedir(folder);
	return nr;
}

/* Nothing outlives the process: 64 MiB a time would show. */
static void killed_at_any_moment(const struct way *way)
{
	long shmem = figure_of("/proc/meminfo", "Shmem:"),
	     huge = figure_of("/proc/meminfo", "HugePages_Free:"), wait = 0;
	int files = files_in("/dev/shm");

	for (int i = 0; i < times(12); i++) {
		struct timespec moment = { .tv_nsec = rand() % 20000000 };
		pid_t pid = start(for_ever, way);
		int status;

		nanosleep(&moment, NULL);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	}
	/* the kernel may still be at it, and others use the pool */
	for (; figure_of("/proc/meminfo", "HugePages_Free:") + 64 <= huge && wait < 100; wait++)
		usleep(50000);
	assert_true(figure_of("/proc/meminfo", "HugePages_Free:") + 64 > huge);
	assert_int_equal(files_in("/dev/shm"), files);
	assert_true(figure_of("/proc/meminfo", "Shmem:") < shmem + (400 << 10));
}

/* The handler has let the store go on, and is not done with the units around. */
static int destroyed_after_a_store(const void *arg)
{
	const struct way *way = arg;

	for (int i = times(way->pages == HF_NATIVE_4K ? 4000 : 100); i--;) {
		struct hf_native_snapshot *s;
		struct hf_native *space;

		NEED(!create(way, 8, &space));
		for (size_t unit = 0; unit < 8; unit++)
			*word(space, unit * hf_native_unit(space)) = 1;
		NEED(!hf_native_snapshot(space, &s) && !hf_native_drop(s));
		*word(space, hf_native_unit(space)) = 2;
		NEED(!hf_native_destroy(space));
	}
	return 0;
}

static void the_end_comes_right_after_a_store(void **state)
{
	(void)state;
	for (size_t w = 0; w < NR_WAYS; w++)
		if (way_exists(&ways[w]))
			in_child(destroyed_after_a_store, &ways[w]);
}

static void nothing_is_left_behind(void **state)
{
	(void)state;
	for (size_t w = 0; w < NR_WAYS; w++) {
		struct hf_native *space = make(&ways[w], 64);

		if (!space)
			continue;
		assert_int_equal(hf_native_destroy(space), 0);
		killed_at_any_moment(&ways[w]);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(foreign_signals_arrive),
		cmocka_unit_test(a_signal_that_is_sent_arrives),
		cmocka_unit_test(a_program_may_have_its_own_handler),
		cmocka_unit_test(a_forked_process_has_the_bytes_and_no_more),
		cmocka_unit_test(fork_is_one_instant_too),
		cmocka_unit_test(nothing_is_inherited_by_exec),
		cmocka_unit_test(the_end_comes_right_after_a_store),
		cmocka_unit_test(nothing_is_left_behind),
	};

	if (argc == 2 && !strcmp(argv[1], "--strangers"))
		return count_strangers();
	return cmocka_run_group_tests_name("native processes", tests, NULL, NULL);
}
