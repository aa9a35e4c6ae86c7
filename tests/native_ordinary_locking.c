/* SPDX-License-Identifier: MIT */
/* Memory that is locked. */
#include <sys/mman.h>
#include <sys/resource.h>

#include "native_ordinary.h"

static int lock_all(struct scene *s, int flags)
{
	if (mlockall(flags))
		return skipped(s, "memory cannot be locked");
	(void)s;
	return 0;
}

static int lock_what_is(struct scene *s)
{
	return lock_all(s, MCL_CURRENT);
}

static int lock_what_comes(struct scene *s)
{
	return lock_all(s, MCL_FUTURE);
}

static int lock_all_and_what_comes(struct scene *s)
{
	return lock_all(s, MCL_CURRENT | MCL_FUTURE);
}

static int lock_on_fault(struct scene *s)
{
	return lock_all(s, MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

static int lock_and_unlock(struct scene *s)
{
	if (lock_all(s, MCL_CURRENT | MCL_FUTURE))
		return 1;
	MUST(!munlockall());
	return 0;
}

static int unlock(struct scene *s)
{
	MUST(!munlockall());
	return 0;
}

/* Either answer will do: in signal mode the kernel cannot touch what is protected. */
static int lock_the_range(struct scene *s)
{
	mlock(block_at(s, FIRST), nr_pages(s) * PAGE);
	return 0;
}

static int lock_a_page(struct scene *s)
{
	mlock(page_at(s, page_of(s, PART) + 1), PAGE);
	mlock(page_at(s, page_of(s, LATE) + 3), PAGE);
	return 0;
}

static int lock_the_range_on_fault(struct scene *s)
{
	/* huge pages of the pool it brings in all the same, which a signal's handler could not */
	MUST(!mlock2(block_at(s, FIRST), nr_pages(s) * PAGE, MLOCK_ONFAULT) ||
	     (s->way->pages == HF_NATIVE_HUGETLB && s->way->flags & HF_NATIVE_SIGNAL));
	return 0;
}

static int lock_maps_and_children(struct scene *s)
{
	for (int i = 0; i < 2; i++)
		if (s->maps[i])
			mlock(s->maps[i], nr_pages(s) * PAGE);
	if (s->child)
		mlock(hf_native_base(s->child), nr_pages(s) * PAGE);
	return 0;
}

static int lock_maps_on_fault(struct scene *s)
{
	for (int i = 0; i < 2; i++)
		if (s->maps[i])
			mlock2(s->maps[i], nr_pages(s) * PAGE, MLOCK_ONFAULT);
	if (s->child)
		mlock2(hf_native_base(s->child), nr_pages(s) * PAGE, MLOCK_ONFAULT);
	return 0;
}

/* Then every new mapping of more than that fails. */
static int lock_with_a_limit(struct scene *s)
{
	struct rlimit limit = { 64 << 10, 64 << 10 };

	MUST(!setrlimit(RLIMIT_MEMLOCK, &limit));
	if (setresuid(65534, 65534, 65534))
		return skipped(s, "only root becomes somebody else");
	return lock_all(s, MCL_FUTURE);
}

static int lock_with_a_limit_later(struct scene *s)
{
	mark_all(s);
	return lock_with_a_limit(s);
}

const struct row locking_rows[] = {
	ROW("mlockall(MCL_CURRENT) before create", BEFORE_CREATE, lock_what_is, BUSY),
	ROW("mlockall(MCL_FUTURE) before create", BEFORE_CREATE, lock_what_comes, BUSY),
	ROW("mlockall(MCL_CURRENT | MCL_FUTURE) before create", BEFORE_CREATE,
	    lock_all_and_what_comes, BUSY),
	ROW("mlockall(... | MCL_ONFAULT) before create", BEFORE_CREATE, lock_on_fault, BUSY),
	ROW("mlockall(MCL_CURRENT) after create", AFTER_CREATE, lock_what_is, BUSY),
	ROW("mlockall(MCL_CURRENT | MCL_FUTURE) after create", AFTER_CREATE,
	    lock_all_and_what_comes, BUSY),
	ROW("mlockall(MCL_CURRENT) after a snapshot", AFTER_S1, lock_what_is, BUSY),
	ROW("mlockall(MCL_CURRENT | MCL_FUTURE) after a snapshot", AFTER_S1,
	    lock_all_and_what_comes, BUSY),
	ROW("mlockall(MCL_FUTURE) with maps and a child, then munlockall()", AFTER_MAPS,
	    lock_what_comes, BUSY, .undo = unlock),
	ROW("mlockall(... | MCL_ONFAULT) after create", AFTER_CREATE, lock_on_fault, BUSY),
	ROW("mlockall() and munlockall() after a snapshot", AFTER_S1, lock_and_unlock, BUSY),
	ROW("mlockall(), and munlockall() later", AFTER_S1, lock_all_and_what_comes, BUSY,
	    .undo = unlock),
	ROW("mlock() of the range after a snapshot", AFTER_S1, lock_the_range, BUSY),
	ROW("mlock() of pages of the range", AFTER_S1, lock_a_page, BUSY),
	ROW("mlock2(MLOCK_ONFAULT) of the range", AFTER_S1, lock_the_range_on_fault, BUSY),
	ROW("mlock() of maps and of a child", AFTER_MAPS, lock_maps_and_children, BUSY),
	ROW("mlock2(MLOCK_ONFAULT) of maps and of a child", AFTER_MAPS, lock_maps_on_fault, BUSY),
	ROW("MCL_FUTURE with a small RLIMIT_MEMLOCK before create", BEFORE_CREATE,
	    lock_with_a_limit, LOSE | REFUSE | FOR_GOOD | BUSY,
	    .create_errors = { ENOMEM, EAGAIN, EPERM }),
	ROW("MCL_FUTURE with a small RLIMIT_MEMLOCK after a snapshot", AFTER_S1,
	    lock_with_a_limit_later, LOSE | REFUSE | FOR_GOOD | BUSY),
	END_OF_ROWS,
};
