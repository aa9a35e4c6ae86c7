/* SPDX-License-Identifier: MIT */
/* The scene that is played around each act: all calls, and every byte compared. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include "native_ordinary.h"

const char *const call_names[NR_CALLS] = {
	[CREATE] = "hf_native_create",
	[SNAPSHOT] = "hf_native_snapshot",
	[FORK] = "hf_native_fork",
	[READ] = "hf_native_read",
	[MAP] = "hf_native_map",
	[DIFF] = "hf_native_diff",
	[PIN] = "hf_native_pin",
	[PIN_SNAPSHOT] = "hf_native_pin_snapshot",
	[PREPARE_WRITE] = "hf_native_prepare_write",
	[PREPARE_READ] = "hf_native_prepare_read",
	[TRIM] = "hf_native_trim",
};

static const struct {
	int errors[6];
	unsigned may; /* one of these */
} listed[NR_CALLS] = {
	[SNAPSHOT] = { { ENOMEM, EFAULT, EPERM, EACCES, ENOSYS }, REFUSE },
	[FORK] = { { ENOMEM, EFAULT, EPERM, EACCES, ENOSYS }, REFUSE },
	[READ] = { { ENODATA, EFAULT }, LOSE },
	[MAP] = { { ENOMEM, EPERM, EACCES, ENOSYS }, REFUSE },
	[DIFF] = { { ENODATA, EFAULT }, LOSE },
	[PIN] = { { ENOMEM, ENODATA, EFAULT, EPERM, EACCES, ENOSYS }, REFUSE },
	[PIN_SNAPSHOT] = { { ENOMEM, ENODATA, EFAULT }, LOSE },
	[PREPARE_WRITE] = { { ENOMEM, ENODATA, EFAULT, EPERM, EACCES, ENOSYS }, REFUSE },
	[PREPARE_READ] = { { ENOMEM, ENODATA, EFAULT, EINVAL }, LOSE },
	[TRIM] = { { EBUSY, EPERM, EACCES, ENOSYS }, BUSY | REFUSE },
};

/* An error that the row may have, and the header lists: it is counted. */
static bool may_fail(struct scene *s, enum call call, int err)
{
	unsigned may = s->row->may;

	if (s->undone && !(may & FOR_GOOD) && listed[call].may == REFUSE)
		return false;
	for (int i = 0; i < 6 && may & listed[call].may; i++)
		if (err < 0 && listed[call].errors[i] == -err) {
			s->verdict->seen[call][-err] = 1;
			s->verdict->nr_errors++;
			return true;
		}
	return false;
}

#define WORKS_OR(call, err)                                                                        \
	do {                                                                                       \
		int err_ = (err);                                                                  \
		errno = -err_;                                                                     \
		if (err_ < 0 && !may_fail(s, call, err_))                                          \
			return failed(s, __FILE__, __LINE__, #err);                                \
	} while (0)

/* ---- reading what may not be there ---- */

static _Thread_local sigjmp_buf *volatile guarded;

static void on_fault(int sig)
{
	if (guarded)
		siglongjmp(*guarded, 1);
	signal(sig, SIG_DFL); /* what has faulted will do so again */
}

static bool copied(void *to, const void *from, size_t len)
{
	sigjmp_buf here;

	if (sigsetjmp(here, 1)) {
		guarded = NULL;
		return false;
	}
	guarded = &here;
	memcpy(to, from, len);
	guarded = NULL;
	return true;
}

/* ---- comparing ---- */

static _Alignas(64) char buffer[512 * PAGE];

static int compare(struct scene *s, const struct image *image, size_t page, size_t nr,
		   const char *bytes, const char *of)
{
	for (size_t i = 0; i < nr; i++)
		if (!is_right(image, page + i, bytes + i * PAGE))
			return wrong(s, of, page + i);
	return 0;
}

/* Of units of 2 MiB all pages are looked at only once: that takes a while. */
static size_t pages_to_see(const struct scene *s)
{
	return s->unit == PAGE || s->thorough ? s->block_pages : 16;
}

/* Tells of an error; it may be one where some page of these is marked. */
static int lost(struct scene *s, const struct image *image, size_t page, enum call call, int err,
		const char *of)
{
	if (image->how[page] & LOST_OK && may_fail(s, call, err))
		return 0;
	errno = -err;
	return failed(s, __FILE__, __LINE__, of);
}

static const char *const names[] = { "the first snapshot", "the second snapshot",
				     "the third snapshot", "the fourth snapshot" };
static const char *const map_names[] = { "the map of the first snapshot",
					 "the map of the second snapshot" };

static int check_by_read(struct scene *s, int nr)
{
	const struct image *image = &s->of[nr];
	size_t see = pages_to_see(s);

	for (size_t page = 0; page < nr_pages(s); page += s->block_pages) {
		int err = hf_native_read(s->snapshots[nr], page * PAGE, buffer, see * PAGE);

		if (!err && compare(s, image, page, see, buffer, names[nr]))
			return 1;
		for (size_t i = page; err && i < page + see; i++) {
			int of_page = hf_native_read(s->snapshots[nr], i * PAGE, buffer, PAGE);

			if (of_page ? lost(s, image, i, READ, of_page, names[nr])
				    : compare(s, image, i, 1, buffer, names[nr]))
				return 1;
		}
	}
	return 0;
}

static int check_by_pointer(struct scene *s, const struct image *image, const char *at,
			    const char *of)
{
	size_t see = pages_to_see(s);

	for (size_t page = 0; page < nr_pages(s); page += s->block_pages) {
		if (copied(buffer, at + page * PAGE, see * PAGE)) {
			if (compare(s, image, page, see, buffer, of))
				return 1;
			continue;
		}
		for (size_t i = page; i < page + see; i++)
			if (!copied(buffer, at + i * PAGE, PAGE)
				    ? lost(s, image, i, READ, -EFAULT, of)
				    : compare(s, image, i, 1, buffer, of))
				return 1;
	}
	return 0;
}

static int check_live(struct scene *s)
{
	size_t see = pages_to_see(s);

	for (size_t page = 0; page < nr_pages(s); page++)
		if (page % s->block_pages < see && !(s->live.how[page] & HIDDEN) &&
		    !is_right(&s->live, page, page_at(s, page)))
			return wrong(s, "the live space", page);
	return 0;
}

static bool reported[MAX_PAGES];

static int walk(struct scene *s, int older, int newer, unsigned flags)
{
	struct hf_native_run run = { 0, 0 };
	int err;

	memset(reported, 0, sizeof(reported));
	while ((err = hf_native_diff(s->snapshots[older], s->snapshots[newer], flags, &run)) > 0) {
		MUST(run.len && run.offset + run.len <= nr_pages(s) * PAGE);
		for (size_t i = run.offset / PAGE; i < (run.offset + run.len) / PAGE; i++)
			reported[i] = true;
	}
	WORKS_OR(DIFF, err);
	return err;
}

static int check_diff(struct scene *s, int older, int newer, unsigned flags)
{
	const uint8_t vague = OR_ZERO | UNKNOWN;
	int err = walk(s, older, newer, flags);

	for (size_t page = 0; !err && page < nr_pages(s); page++) {
		bool same = are_equal(&s->of[older], &s->of[newer], page);

		if ((s->of[older].how[page] | s->of[newer].how[page]) & vague)
			continue;
		if (same ? reported[page] && flags & HF_NATIVE_EXACT : !reported[page])
			return wrong(s, "the difference of two snapshots", page);
	}
	return s->verdict->kind != NOTHING;
}

static int check_pinned(struct scene *s, int nr, enum block block)
{
	static struct iovec iov[512];
	size_t page = page_of(s, block), done = 0;
	int pieces = hf_native_pin_snapshot(s->snapshots[nr], page * PAGE, block_size(s), iov, 512);

	WORKS_OR(PIN_SNAPSHOT, pieces);
	for (int i = 0; i < pieces; i++, page += iov[i - 1].iov_len / PAGE) {
		if (compare(s, &s->of[nr], page, iov[i].iov_len / PAGE, iov[i].iov_base,
			    "a pinned snapshot"))
			return 1;
		done += iov[i].iov_len;
	}
	if (!done)
		return 0;
	MUST(s->row->may & LOSE || done == block_size(s));
	MUST(!hf_native_unpin_snapshot(s->snapshots[nr], page_of(s, block) * PAGE, done));
	return 0;
}

/* ---- the steps ---- */

static int act_at(struct scene *s, enum when when)
{
	if (s->row->when != when || !s->row->act)
		return 0;
	return s->row->act(s);
}

static void fill_all(struct scene *s)
{
	for (size_t page = 0; page < nr_pages(s); page++) {
		size_t block = page / s->block_pages;

		if (block == LATE || block == NEVER)
			continue;
		if (block == TWINS && page % s->block_pages) {
			s->live.what[page] = s->next;
			fill(page_at(s, page), s->next);
		} else {
			store_page(s, page);
		}
	}
}

/* A system call writes 16 bytes that are known. In signal mode it has to be told. */
static int store_by_the_kernel(struct scene *s, size_t page)
{
	char name[16] = "hf000000", *at = page_at(s, page) + 512;
	bool bracket = s->way->flags & HF_NATIVE_SIGNAL;
	int err = 0;

	snprintf(name, sizeof(name), "hf%06u", ++s->next % 1000000);
	prctl(PR_SET_NAME, name);
	if (bracket)
		err = hf_native_prepare_write(s->space, at, sizeof(name));
	WORKS_OR(PREPARE_WRITE, err);
	if (prctl(PR_GET_NAME, at))
		MUST(s->row->may & (LOSE | REFUSE));
	else
		stored_bytes(s, &s->live, page, 512, name, sizeof(name));
	if (bracket && !err)
		MUST(!hf_native_finish_write(s->space, at, sizeof(name)));
	return 0;
}

static int store_here_and_there(struct scene *s)
{
	size_t dense = s->block_pages < 64 ? s->block_pages : 64, beside = page_of(s, BESIDE);
	uint64_t value = ++s->next;

	store_page(s, page_of(s, FIRST));
	if (!s->leave_part)
		store_page(s, page_of(s, PART) + 2);
	*(volatile uint64_t *)(page_at(s, beside + 3) + 64) = value;
	stored_bytes(s, &s->live, beside + 3, 64, &value, sizeof(value));
	store_page(s, beside + s->block_pages - 1);
	store_page(s, beside);
	for (size_t i = 0; i < dense; i++)
		store_page(s, page_of(s, DENSE) + i);
	store_page(s, page_of(s, TWINS) + 2);
	store_page(s, page_of(s, LATE) + 1);
	store_page(s, page_of(s, PINNED) + 1);
	return store_by_the_kernel(s, beside + 5);
}

static int take(struct scene *s, int nr)
{
	s->of[nr] = s->live;
	WORKS_OR(SNAPSHOT, hf_native_snapshot(s->space, &s->snapshots[nr]));
	return 0;
}

static int take_pinned(struct scene *s, int nr)
{
	struct iovec iov;
	char *at = block_at(s, PINNED);
	int pieces = hf_native_pin(s->space, at, 2 * PAGE, HF_FOLL_WRITE, &iov, 1);

	WORKS_OR(PIN, pieces);
	MUST(pieces < 0 || (pieces == 1 && iov.iov_base == at && iov.iov_len == 2 * PAGE));
	if (take(s, nr))
		return 1;
	store_page(s, page_of(s, PINNED));
	if (pieces == 1)
		MUST(!hf_native_unpin(s->space, at, 2 * PAGE, HF_FOLL_WRITE));
	return 0;
}

static int bear(struct scene *s)
{
	static const enum block blocks[] = { FIRST, BESIDE, LATE, NEVER };

	if (s->way->flags & HF_NATIVE_SHARED)
		return 0;
	s->of_child = s->live;
	WORKS_OR(FORK, hf_native_fork(s->space, &s->child));
	for (int i = 0; s->child && i < 4; i++) {
		size_t page = page_of(s, blocks[i]);
		char *at = (char *)hf_native_base(s->child) + page * PAGE;

		fill(buffer, ++s->next);
		if (copied(at, buffer, PAGE))
			s->of_child.what[page] = s->next;
		else if (lost(s, &s->of_child, page, READ, -EFAULT, "a store to the child"))
			return 1;
	}
	return 0;
}

static int map(struct scene *s, int nr)
{
	const void *at = NULL;

	if (!s->snapshots[nr])
		return 0;
	WORKS_OR(MAP, hf_native_map(s->snapshots[nr], &at));
	s->maps[nr] = at;
	if (at)
		WORKS_OR(PREPARE_READ,
			 hf_native_prepare_read(s->maps[nr] + page_of(s, DENSE) * PAGE, PAGE));
	return 0;
}

static int check_all(struct scene *s)
{
	for (int i = 0; i < NR_SNAPSHOTS; i++)
		if (s->snapshots[i] && check_by_read(s, i))
			return 1;
	for (int i = 0; i < 2; i++)
		if (s->maps[i] && check_by_pointer(s, &s->of[i], s->maps[i], map_names[i]))
			return 1;
	if (s->child && check_by_pointer(s, &s->of_child, hf_native_base(s->child), "the child"))
		return 1;
	return check_live(s);
}

static int check_in_other_ways(struct scene *s)
{
	if (s->snapshots[0] && s->snapshots[1] &&
	    (check_diff(s, 0, 1, 0) || check_diff(s, 0, 1, HF_NATIVE_EXACT)))
		return 1;
	if (!s->snapshots[0])
		return 0;
	return check_pinned(s, 0, PART) || check_pinned(s, 0, TWINS);
}

static int first_half(struct scene *s)
{
	fill_all(s);
	if (act_at(s, BEFORE_S1) || take(s, 0))
		return 1;
	store_page(s, page_of(s, FIRST) + 1);
	store_page(s, page_of(s, BESIDE) + 1);
	if (act_at(s, AFTER_S1) || store_here_and_there(s) || take_pinned(s, 1))
		return 1;
	if (store_here_and_there(s) || bear(s) || map(s, 0) || map(s, 1))
		return 1;
	if (act_at(s, AFTER_MAPS) || store_here_and_there(s))
		return 1;
	s->thorough = true;
	if (check_all(s) || check_in_other_ways(s))
		return 1;
	s->thorough = false;
	return 0;
}

/* What has been noticed is in order again: later snapshots lose nothing. */
static void settle(struct scene *s)
{
	for (size_t i = 0; !(s->row->may & FOR_GOOD) && i < nr_pages(s); i++)
		s->live.how[i] &= ~LOST_OK;
}

/* Reads, and a snapshot, have noticed the act; only a snapshot notices the undo. */
static int second_half(struct scene *s)
{
	if (!s->row->undo)
		settle(s);
	else if (s->row->undo(s))
		return 1;
	s->undone = true;
	WORKS_OR(TRIM, hf_native_trim(s->space));
	if (take(s, 2) || store_here_and_there(s) || check_all(s))
		return 1;
	settle(s);
	if (take(s, 3) || store_here_and_there(s) || check_all(s))
		return 1;
	if (s->snapshots[2] && s->snapshots[3])
		return check_diff(s, 2, 3, HF_NATIVE_EXACT);
	return 0;
}

static int drop(struct scene *s, int nr)
{
	if (s->snapshots[nr])
		MUST(!hf_native_drop(s->snapshots[nr]));
	s->snapshots[nr] = NULL;
	return 0;
}

static int unmap(struct scene *s, int nr)
{
	if (!s->maps[nr])
		return 0;
	MUST(hf_native_drop(s->snapshots[nr]) == -EBUSY);
	MUST(!hf_native_unmap(s->snapshots[nr]));
	s->maps[nr] = NULL;
	return 0;
}

static int end(struct scene *s)
{
	if (act_at(s, BEFORE_END) || unmap(s, 0) || drop(s, 2) || drop(s, 0) || check_all(s))
		return 1;
	if (unmap(s, 1) || drop(s, 1))
		return 1;
	if (s->child)
		MUST(!hf_native_destroy(s->child));
	s->child = NULL;
	if (s->snapshots[3] && check_by_read(s, 3))
		return 1;
	MUST(!hf_native_destroy(s->space));
	return (s->snapshots[3] && check_by_read(s, 3)) || drop(s, 3);
}

/* ---- descriptors, threads and memory that are left ---- */

bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

bool is_stranger(const struct scene *s, int fd)
{
	for (unsigned i = 0; i < s->nr_owned; i++)
		if (s->owned[i].fd == fd)
			return false;
	return is_open(fd) && (fd >= 1024 || !s->before[fd]);
}

int own(struct scene *s, int fd)
{
	struct owned *owned = &s->owned[s->nr_owned];

	MUST(fd >= 0 && s->nr_owned < MAX_OWNED && !fstat(fd, &owned->stat));
	owned->fd = fd;
	owned->at = lseek(fd, 0, SEEK_CUR);
	s->nr_owned++;
	return 0;
}

static int check_descriptors(struct scene *s)
{
	struct stat stat;

	for (unsigned i = 0; i < s->nr_owned; i++) {
		const struct owned *owned = &s->owned[i];

		MUST(!fstat(owned->fd, &stat) && stat.st_ino == owned->stat.st_ino &&
		     stat.st_dev == owned->stat.st_dev && stat.st_size == owned->stat.st_size);
		MUST(lseek(owned->fd, 0, SEEK_CUR) == owned->at);
	}
	for (int fd = 3; fd < 20000; fd++)
		MUST(!is_stranger(s, fd));
	return 0;
}

/* A thread that has been joined may still be seen for an instant. */
static int check_threads(struct scene *s)
{
	int nr = 0;

	for (int i = 0; i < 1000 && (nr = entries_of("/proc/self/task")) > 3; i++)
		usleep(1000);
	MUST(nr <= 3); /* ".", ".." and this one; 0: no /proc */
	return 0;
}

#define SLACK (512UL << 10) /* malloc()'s */

static size_t mapped(void)
{
	long kib = figure_of("/proc/self/status", "VmSize:");

	return kib < 0 ? 0 : (size_t)kib << 10;
}

static int check_memory(struct scene *s)
{
	if (!SANITIZED && s->mapped && !(s->row->may & KEEP))
		MUST(mapped() <= s->mapped + SLACK);
	return 0;
}

/* ---- helpers of acts ---- */

pid_t helper(struct scene *s, int (*run)(struct scene *s))
{
	pid_t parent = getpid();

	s->helper = fork();
	if (s->helper)
		return s->helper;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == parent && !s->verdict->stop)
		if (run(s))
			_exit(1);
	_exit(0);
}

int end_helper(struct scene *s)
{
	int status = 0;

	s->verdict->stop = 1;
	if (s->helper > 0)
		MUST(waitpid(s->helper, &status, 0) == s->helper && !status);
	s->helper = 0;
	return 0;
}

/* ---- all of it ---- */

static int create_it(struct scene *s)
{
	int err = create(s->way,
			 s->way->pages == HF_NATIVE_4K       ? 32 * NR_BLOCKS
			 : s->way->pages == HF_NATIVE_THP_4K ? 128 * NR_BLOCKS
							     : NR_BLOCKS,
			 &s->space);

	for (int i = 0; err && i < 4; i++)
		if (s->row->create_errors[i] == -err) {
			s->verdict->seen[CREATE][-err] = 1;
			s->verdict->nr_errors++;
			s->space = NULL;
			return 0;
		}
	errno = -err;
	MUST(!err);
	s->unit = hf_native_unit(s->space);
	s->block_pages = hf_native_size(s->space) / PAGE / NR_BLOCKS;
	MUST(s->block_pages * NR_BLOCKS <= MAX_PAGES);
	return 0;
}

static void note_what_is_there(struct scene *s)
{
	for (int fd = 0; fd < 1024; fd++)
		s->before[fd] = is_open(fd);
	/* stacks and buffers that the C library keeps are no leak */
	if (s->row->when != BEFORE_CREATE && way_unit(s->way) == PAGE && !all_works(s->way))
		s->mapped = mapped();
}

static int play_all(struct scene *s)
{
	note_what_is_there(s);
	if (act_at(s, BEFORE_CREATE) || create_it(s))
		return 1;
	if (s->space && (act_at(s, AFTER_CREATE) || first_half(s) || second_half(s) || end(s)))
		return 1;
	if (s->row->finish && s->row->finish(s))
		return 1;
	return check_descriptors(s) || check_threads(s) || check_memory(s);
}

void play(struct scene *s)
{
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_ONSTACK | SA_NODEFER };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	if (!play_all(s))
		s->verdict->kind = RIGHT;
	_exit(0);
}
