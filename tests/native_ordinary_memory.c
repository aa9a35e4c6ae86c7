/* SPDX-License-Identifier: MIT */
/* What allocators and balloons do to memory: madvise(), the memfd's holes, other writers. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "native_ordinary.h"

#define GUARD_INSTALL 102 /* Linux 6.13 */
#define GUARD_REMOVE 103
#define DONTNEED_LOCKED 24
#define COLLAPSE 25
#define POPULATE_READ 22
#define POPULATE_WRITE 23

/* ---- thrown away ---- */

/* What the kernel refuses changes nothing; of a memfd only MADV_REMOVE takes bytes away. */
static void throw_away(struct scene *s, size_t page, size_t nr, int advice)
{
	if (madvise(page_at(s, page), nr * PAGE, advice))
		return;
	mark(s, page, nr);
	if (!(s->way->flags & HF_NATIVE_SHARED) || advice == MADV_REMOVE)
		now_zero(s, page, nr);
}

static int throw_a_block_away(struct scene *s)
{
	s->leave_part = true;
	throw_away(s, page_of(s, PART), s->block_pages, MADV_DONTNEED);
	return 0;
}

static int throw_a_block_away_and_store(struct scene *s)
{
	throw_away(s, page_of(s, PART), s->block_pages, MADV_DONTNEED);
	for (size_t i = 0; i < s->block_pages; i += 2)
		store_page(s, page_of(s, PART) + i);
	return 0;
}

static int throw_a_page_away(struct scene *s)
{
	throw_away(s, page_of(s, PART) + 1, 1, MADV_DONTNEED);
	return 0;
}

/* The first snapshot has its own bytes of that. */
static int throw_away_what_was_stored(struct scene *s)
{
	throw_away(s, page_of(s, FIRST) + 1, 1, MADV_DONTNEED);
	for (size_t i = 0; i < s->block_pages; i++)
		s->of[0].how[page_of(s, FIRST) + i] &= ~LOST_OK;
	return 0;
}

static int throw_all_away(struct scene *s)
{
	throw_away(s, 0, nr_pages(s), MADV_DONTNEED);
	return 0;
}

static int throw_away_what_is_not_there(struct scene *s)
{
	throw_away(s, page_of(s, NEVER), s->block_pages, MADV_DONTNEED);
	return 0;
}

static int throw_locked_away(struct scene *s)
{
	char *at = block_at(s, PART);

	mlock(at, block_size(s));
	throw_away(s, page_of(s, PART), s->block_pages, DONTNEED_LOCKED);
	munlock(at, block_size(s));
	return 0;
}

static int free_lazily(struct scene *s)
{
	char *at = block_at(s, PART);

	s->leave_part = true;
	if (madvise(at, block_size(s), MADV_FREE))
		return 0;
	mark_block(s, PART);
	now(s, PART, OR_ZERO);
	madvise(at, block_size(s), MADV_PAGEOUT);
	return 0;
}

static int free_lazily_and_store(struct scene *s)
{
	if (free_lazily(s))
		return 1;
	for (size_t i = 0; i < s->block_pages; i += 3)
		store_page(s, page_of(s, PART) + i);
	return 0;
}

/* A snapshot's pages come again; a child's are zeros, or those of its first instant. */
static int throw_away_of_maps_and_children(struct scene *s)
{
	size_t at = page_of(s, PART) * PAGE;

	for (int i = 0; i < 2; i++)
		if (s->maps[i])
			madvise((void *)(uintptr_t)(s->maps[i] + at), block_size(s), MADV_DONTNEED);
	if (s->child &&
	    !madvise((char *)hf_native_base(s->child) + at, block_size(s), MADV_DONTNEED))
		for (size_t i = 0; i < s->block_pages; i++)
			s->of_child.how[page_of(s, PART) + i] |= OR_ZERO | LOST_OK;
	return 0;
}

/* ---- the memfd ---- */

static int a_memfd(struct scene *s)
{
	if (hf_native_memfd(s->space) < 0)
		return skipped(s, "only SHARED has a memfd");
	return 0;
}

static int remove_a_block(struct scene *s)
{
	if (a_memfd(s))
		return 1;
	throw_away(s, page_of(s, PART), s->block_pages, MADV_REMOVE);
	return 0;
}

static int punch_a_hole(struct scene *s)
{
	if (a_memfd(s))
		return 1;
	if (fallocate(hf_native_memfd(s->space), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(page_of(s, PART) * PAGE), (off_t)block_size(s)))
		return 0;
	mark_block(s, PART);
	now_zero(s, page_of(s, PART), s->block_pages);
	return 0;
}

static int allocate_a_block(struct scene *s)
{
	if (a_memfd(s))
		return 1;
	fallocate(hf_native_memfd(s->space), 0, (off_t)(page_of(s, LATE) * PAGE),
		  (off_t)block_size(s));
	return 0;
}

static int make_it_longer(struct scene *s)
{
	if (a_memfd(s))
		return 1;
	if (!ftruncate(hf_native_memfd(s->space), (off_t)(2 * nr_pages(s) * PAGE)))
		MUST(!ftruncate(hf_native_memfd(s->space), (off_t)(nr_pages(s) * PAGE)));
	return 0;
}

static int make_it_shorter(struct scene *s)
{
	size_t keep = page_of(s, PINNED);

	if (a_memfd(s))
		return 1;
	if (ftruncate(hf_native_memfd(s->space), (off_t)(keep * PAGE)))
		return 0;
	for (int block = PINNED; block <= NEVER; block++) {
		mark_block(s, block);
		now(s, block, HIDDEN);
	}
	return 0;
}

static int make_it_as_long_again(struct scene *s)
{
	ftruncate(hf_native_memfd(s->space), (off_t)(nr_pages(s) * PAGE));
	for (int block = PINNED; block <= NEVER; block++)
		if (s->live.how[page_of(s, block)] & HIDDEN) {
			no_more(s, block, HIDDEN);
			now_zero(s, page_of(s, block), s->block_pages);
		}
	return 0;
}

/* Bytes that come from behind: the snapshot may lose them, never have them. */
static int write_to_the_memfd(struct scene *s)
{
	size_t page = page_of(s, PART) + 4;
	uint64_t word = 0x1234567890abcdef;

	if (a_memfd(s))
		return 1;
	if (pwrite(hf_native_memfd(s->space), &word, 8, (off_t)(page * PAGE)) != 8)
		return 0;
	mark(s, page, 1);
	stored_bytes(s, &s->live, page, 0, &word, 8);
	return 0;
}

static int map_the_memfd(struct scene *s)
{
	if (a_memfd(s))
		return 1;
	s->data =
		mmap(NULL, nr_pages(s) * PAGE, PROT_READ, MAP_SHARED, hf_native_memfd(s->space), 0);
	MUST(s->data != MAP_FAILED);
	return 0;
}

static int the_map_has_the_bytes(struct scene *s)
{
	const char *at = s->data;

	for (size_t page = 0; page < nr_pages(s); page++)
		if (!is_right(&s->live, page, at + page * PAGE))
			return wrong(s, "a map of the memfd", page);
	MUST(!munmap(s->data, nr_pages(s) * PAGE));
	return 0;
}

/* ---- advice that changes no bytes ---- */

/* To all of the range, maps and children; it may be refused. */
static void advise(struct scene *s, int advice)
{
	size_t size = nr_pages(s) * PAGE;

	madvise(block_at(s, FIRST), size, advice);
	for (int i = 0; i < 2; i++)
		if (s->maps[i])
			madvise((void *)(uintptr_t)s->maps[i], size, advice);
	if (s->child)
		madvise(hf_native_base(s->child), size, advice);
}

#define ADVISE(name, advice)                                                                       \
	static int name(struct scene *s)                                                           \
	{                                                                                          \
		advise(s, advice);                                                                 \
		return 0;                                                                          \
	}

ADVISE(page_out, MADV_PAGEOUT)
ADVISE(make_cold, MADV_COLD)
ADVISE(collapse, COLLAPSE)
ADVISE(take_huge_pages, MADV_HUGEPAGE)
ADVISE(take_no_huge_pages, MADV_NOHUGEPAGE)
ADVISE(populate_for_reads, POPULATE_READ)
ADVISE(populate_for_writes, POPULATE_WRITE)
ADVISE(dont_dump, MADV_DONTDUMP)
ADVISE(will_need, MADV_WILLNEED)
ADVISE(expect_random, MADV_RANDOM)

static int dont_dump_a_part(struct scene *s)
{
	MUST(!madvise(block_at(s, PART), block_size(s), MADV_DONTDUMP));
	return 0;
}

static int fork_with(struct scene *s, int advice)
{
	int status;
	pid_t pid;

	madvise(block_at(s, PART), block_size(s), advice);
	pid = fork();
	if (!pid)
		_exit(0);
	MUST(pid > 0 && waitpid(pid, &status, 0) == pid && !status);
	return 0;
}

static int wipe_on_fork(struct scene *s)
{
	return fork_with(s, MADV_WIPEONFORK);
}

static int dont_fork(struct scene *s)
{
	return fork_with(s, MADV_DONTFORK);
}

/* ---- guards ---- */

static int guard_a_page(struct scene *s)
{
	size_t page = page_of(s, PART) + 1;

	if (s->way->flags &
	    HF_NATIVE_SHARED) /* it zaps, finds the protection's marker, zaps, ... */
		return skipped(s, "Linux 6.18 never comes back from it where a file is protected");
	if (madvise(page_at(s, page), PAGE, GUARD_INSTALL))
		return errno == EINVAL ? skipped(s, "no MADV_GUARD_INSTALL for this memory") : 0;
	mark(s, page, 1);
	s->live.how[page] |= HIDDEN;
	return 0;
}

static int guard_no_more(struct scene *s)
{
	size_t page = page_of(s, PART) + 1;

	if (!(s->live.how[page] & HIDDEN))
		return 0;
	MUST(!madvise(page_at(s, page), PAGE, GUARD_REMOVE));
	s->live.how[page] &= ~HIDDEN;
	now_zero(s, page, 1);
	return 0;
}

/* ---- others that write ---- */

static const uint64_t sent[4] = { 0x1111, 0x2222, 0x3333, 0x4444 };

/* In signal mode it may be refused: then nothing has changed. */
static int write_by_process_vm(struct scene *s)
{
	size_t page = page_of(s, PART) + 3;
	struct iovec from = { (void *)(uintptr_t)sent, sizeof(sent) },
		     to = { page_at(s, page), sizeof(sent) };
	ssize_t len = process_vm_writev(getpid(), &from, 1, &to, 1, 0);

	if (len < 0) {
		MUST(s->way->flags & HF_NATIVE_SIGNAL && errno == EFAULT);
		return 0;
	}
	MUST(len == sizeof(sent));
	stored_bytes(s, &s->live, page, 0, sent, sizeof(sent));
	return 0;
}

/* EIO, as the header has it, or it works. */
static int write_by_proc_mem(struct scene *s)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	size_t page = page_of(s, PART) + 3;
	ssize_t len;

	if (fd < 0)
		return skipped(s, "no /proc/self/mem");
	len = pwrite(fd, sent, sizeof(sent), (off_t)(uintptr_t)page_at(s, page));
	MUST(len == sizeof(sent) || (len < 0 && (errno == EIO || errno == EFAULT)));
	if (len > 0)
		stored_bytes(s, &s->live, page, 0, sent, sizeof(sent));
	close(fd);
	return 0;
}

/* ---- a userfaultfd of the program's own ---- */

static int register_a_block(struct scene *s)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { (uintptr_t)block_at(s, PART), block_size(s) },
				       .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1 /* user mode */);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return skipped(s, "no userfaultfd");
	MUST(ioctl(fd, UFFDIO_REGISTER, &reg) && errno == EBUSY);
	ioctl(fd, UFFDIO_UNREGISTER, &reg.range);
	close(fd);
	return 0;
}

const struct row memory_rows[] = {
	ROW("MADV_DONTNEED of shared units", AFTER_S1, throw_a_block_away, LOSE),
	ROW("MADV_DONTNEED of shared units, then stores", AFTER_S1, throw_a_block_away_and_store,
	    LOSE),
	ROW("MADV_DONTNEED of shared units before the first snapshot", BEFORE_S1,
	    throw_a_block_away, 0),
	ROW("MADV_DONTNEED before the first snapshot, then stores", BEFORE_S1,
	    throw_a_block_away_and_store, 0),
	ROW("MADV_DONTNEED of a page", AFTER_S1, throw_a_page_away, LOSE),
	ROW("MADV_DONTNEED of what was stored since", AFTER_S1, throw_away_what_was_stored, LOSE),
	ROW("MADV_DONTNEED of everything", AFTER_S1, throw_all_away, LOSE),
	ROW("MADV_DONTNEED of everything, with maps and a child", AFTER_MAPS, throw_all_away, LOSE),
	ROW("MADV_DONTNEED of what was never touched", AFTER_S1, throw_away_what_is_not_there,
	    LOSE),
	ROW("MADV_DONTNEED of maps and of a child", AFTER_MAPS, throw_away_of_maps_and_children,
	    LOSE),
	ROW("MADV_DONTNEED_LOCKED of locked memory", AFTER_S1, throw_locked_away, LOSE | BUSY),
	ROW("MADV_FREE and MADV_PAGEOUT", AFTER_S1, free_lazily, LOSE),
	ROW("MADV_FREE and MADV_PAGEOUT, then stores", AFTER_S1, free_lazily_and_store, LOSE),
	ROW("MADV_FREE before the first snapshot", BEFORE_S1, free_lazily, LOSE),
	ROW("MADV_REMOVE", AFTER_S1, remove_a_block, LOSE),
	ROW("a hole in the memfd", AFTER_S1, punch_a_hole, LOSE),
	ROW("fallocate() of the memfd", AFTER_S1, allocate_a_block, 0),
	ROW("the memfd is made longer", AFTER_S1, make_it_longer, 0),
	ROW("the memfd is made shorter", AFTER_S1, make_it_shorter, LOSE | REFUSE,
	    .undo = make_it_as_long_again),
	ROW("the memfd is made shorter, with maps", AFTER_MAPS, make_it_shorter, LOSE | REFUSE,
	    .undo = make_it_as_long_again),
	ROW("write() to the memfd", AFTER_S1, write_to_the_memfd, LOSE),
	ROW("a map of the memfd for reads", AFTER_S1, map_the_memfd, 0,
	    .undo = the_map_has_the_bytes),
	ROW("MADV_PAGEOUT", AFTER_S1, page_out, 0),
	ROW("MADV_PAGEOUT with maps and a child", AFTER_MAPS, page_out, 0),
	ROW("MADV_COLD", AFTER_S1, make_cold, 0),
	ROW("MADV_COLLAPSE", AFTER_S1, collapse, 0),
	ROW("MADV_COLLAPSE with maps and a child", AFTER_MAPS, collapse, 0),
	ROW("MADV_HUGEPAGE", AFTER_S1, take_huge_pages, 0),
	ROW("MADV_NOHUGEPAGE", AFTER_CREATE, take_no_huge_pages, 0),
	ROW("MADV_NOHUGEPAGE after a snapshot", AFTER_S1, take_no_huge_pages, 0),
	ROW("MADV_POPULATE_READ", AFTER_S1, populate_for_reads, 0),
	ROW("MADV_POPULATE_READ with maps and a child", AFTER_MAPS, populate_for_reads, 0),
	ROW("MADV_POPULATE_WRITE", AFTER_S1, populate_for_writes, 0),
	ROW("MADV_POPULATE_WRITE with maps and a child", AFTER_MAPS, populate_for_writes, 0),
	ROW("MADV_DONTDUMP", AFTER_S1, dont_dump, 0),
	ROW("MADV_DONTDUMP of a part", AFTER_S1, dont_dump_a_part, 0),
	ROW("MADV_WILLNEED", AFTER_S1, will_need, 0),
	ROW("MADV_RANDOM", AFTER_S1, expect_random, 0),
	ROW("MADV_WIPEONFORK and fork()", AFTER_S1, wipe_on_fork, 0),
	ROW("MADV_DONTFORK and fork()", AFTER_S1, dont_fork, 0),
	ROW("MADV_GUARD_INSTALL of a page, for a while", AFTER_S1, guard_a_page, LOSE | REFUSE,
	    .undo = guard_no_more),
	ROW("MADV_GUARD_INSTALL of a page", AFTER_S1, guard_a_page, LOSE | REFUSE | FOR_GOOD),
	ROW("process_vm_writev()", AFTER_S1, write_by_process_vm, 0),
	ROW("stores by /proc/self/mem", AFTER_S1, write_by_proc_mem, 0),
	ROW("a userfaultfd of the program's own for the range", AFTER_CREATE, register_a_block, 0),
	END_OF_ROWS,
};
