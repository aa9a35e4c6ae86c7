/* SPDX-License-Identifier: MIT */
/* What prctl(), /sys and /proc set. The machine's settings are put back. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "native_ordinary.h"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif

/* ---- settings of the machine ---- */

static struct {
	const char *path;
	char value[64];
} saved[8];
static int nr_saved;

static int write_text(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	size_t len = strlen(value);
	int err = fd < 0 || write(fd, value, len) != (ssize_t)len;

	if (fd >= 0)
		close(fd);
	return err;
}

/* Of "always [madvise] never" the word in brackets. */
static int save(const char *path)
{
	char text[128] = "", *from = text, *to;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (len <= 0)
		return 1;
	if (strchr(text, '['))
		from = strchr(text, '[') + 1;
	to = from + strcspn(from, "]\n");
	snprintf(saved[nr_saved].value, sizeof(saved[0].value), "%.*s", (int)(to - from), from);
	saved[nr_saved++].path = path;
	return 0;
}

/* Also from a signal handler. */
void put_back_settings(void)
{
	while (nr_saved) {
		nr_saved--;
		write_text(saved[nr_saved].path, saved[nr_saved].value);
	}
}

static int set_here(const char *path, const char *value)
{
	if (save(path) || write_text(path, value)) {
		put_back_settings();
		return not_here("settings of the machine are not this user's");
	}
	return 0;
}

/* ---- THP ---- */

#define THP "/sys/kernel/mm/transparent_hugepage/"

static int no_thp_of_this_process(struct scene *s)
{
	(void)s;
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		return skipped(s, "no PR_SET_THP_DISABLE");
	return 0;
}

/* Then AUTO has nothing to take but pages of 4 KiB. */
static int auto_takes_small_pages(struct scene *s)
{
	static const struct way any[] = { { "auto", HF_NATIVE_AUTO, 0 },
					  { "auto signal", HF_NATIVE_AUTO, HF_NATIVE_SIGNAL } };
	const struct way *way = &any[!!(s->way->flags & HF_NATIVE_SIGNAL)];
	struct hf_native *space;

	MUST(!create(way, 2, &space));
	MUST(hf_native_unit(space) == PAGE);
	MUST(!hf_native_destroy(space));
	MUST(!all_works(way));
	return 0;
}

static int auto_without_thp(struct scene *s)
{
	return no_thp_of_this_process(s) || auto_takes_small_pages(s);
}

static int thp_is_off(void)
{
	return set_here(THP "hugepages-2048kB/enabled", "never");
}

static int all_thp_is_off(void)
{
	return set_here(THP "enabled", "never");
}

static int thp_is_always(void)
{
	return set_here(THP "enabled", "always");
}

static int khugepaged_is_busy(void)
{
	return set_here(THP "khugepaged/pages_to_scan", "65536") ||
	       set_here(THP "khugepaged/scan_sleep_millisecs", "1") ||
	       set_here(THP "khugepaged/alloc_sleep_millisecs", "1") ||
	       set_here(THP "enabled", "always");
}

/* In little memory it has been everywhere after some rounds. */
static int let_it_collapse(struct scene *s)
{
	long from = figure_of(THP "khugepaged/full_scans", "");

	(void)s;
	for (int i = 0; i < 1000 && figure_of(THP "khugepaged/full_scans", "") < from + 3; i++)
		usleep(1000);
	return 0;
}

/* ---- KSM ---- */

#define KSM "/sys/kernel/mm/ksm/"

static int ksm_is_on(void)
{
	return set_here(KSM "sleep_millisecs", "1") || set_here(KSM "pages_to_scan", "100000") ||
	       set_here(KSM "run", "1");
}

static long scans(void)
{
	return figure_of(KSM "full_scans", "");
}

static void let_it_merge(void)
{
	long from = scans();

	for (int i = 0; i < 2000 && scans() < from + 4; i++)
		usleep(1000);
}

static int no_more_merging(struct scene *s)
{
	prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0);
	madvise(block_at(s, FIRST), nr_pages(s) * PAGE, MADV_UNMERGEABLE);
	return 0;
}

/* What has merged has no protection any more. */
static int wait_and_store(struct scene *s)
{
	let_it_merge();
	for (size_t i = 3; i < s->block_pages && i < 16; i++)
		store_page(s, page_of(s, TWINS) + i);
	return 0;
}

static int merge_all_of_this_process(struct scene *s)
{
	mark_all(s);
	if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0))
		return skipped(s, "no PR_SET_MEMORY_MERGE");
	return 0;
}

static int merge_all_and_wait(struct scene *s)
{
	return merge_all_of_this_process(s) || wait_and_store(s);
}

static int wait_and_merge_no_more(struct scene *s)
{
	return wait_and_store(s) || no_more_merging(s);
}

static int merge_a_block(struct scene *s)
{
	if (madvise(block_at(s, TWINS), block_size(s), MADV_MERGEABLE))
		return 0; /* it is refused */
	mark_block(s, TWINS);
	return wait_and_store(s);
}

static int merge_maps_and_children(struct scene *s)
{
	mark_block(s, TWINS);
	for (int i = 0; i < 2; i++)
		if (s->maps[i])
			madvise((void *)(uintptr_t)(s->maps[i] + page_of(s, TWINS) * PAGE),
				block_size(s), MADV_MERGEABLE);
	if (s->child)
		madvise((char *)hf_native_base(s->child) + page_of(s, TWINS) * PAGE, block_size(s),
			MADV_MERGEABLE);
	let_it_merge();
	return 0;
}

/* ---- others ---- */

static int compact(struct scene *s)
{
	(void)s;
	if (write_text("/proc/sys/vm/compact_memory", "1"))
		return skipped(s, "no compaction");
	return 0;
}

static int clear_soft_dirty(struct scene *s)
{
	(void)s;
	if (write_text("/proc/self/clear_refs", "4"))
		return skipped(s, "no soft-dirty bits");
	return 0;
}

static int clear_referenced(struct scene *s)
{
	(void)s;
	if (write_text("/proc/self/clear_refs", "1"))
		return skipped(s, "no /proc/self/clear_refs");
	return 0;
}

static int give_it_a_name(struct scene *s)
{
	if (prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, block_at(s, PART), block_size(s), "part"))
		return skipped(s, "memory has no names");
	return 0;
}

static int be_killed_first(struct scene *s)
{
	(void)s;
	if (write_text("/proc/self/oom_score_adj", "1000"))
		return skipped(s, "no /proc/self/oom_score_adj");
	return 0;
}

static int lazy_timers(struct scene *s)
{
	MUST(!prctl(PR_SET_TIMERSLACK, 100000000UL));
	return 0;
}

const struct row setting_rows[] = {
	ROW("PR_SET_THP_DISABLE before create", BEFORE_CREATE, auto_without_thp, 0,
	    .create_errors = { EOPNOTSUPP }),
	ROW("PR_SET_THP_DISABLE after create", AFTER_CREATE, no_thp_of_this_process, 0),
	ROW("PR_SET_THP_DISABLE after a snapshot", AFTER_S1, no_thp_of_this_process, 0),
	ROW("hugepages-2048kB/enabled is never", BEFORE_CREATE, auto_takes_small_pages, 0,
	    .create_errors = { EOPNOTSUPP }, .enter = thp_is_off, .leave = put_back_settings),
	ROW("transparent_hugepage/enabled is never", BEFORE_CREATE, NULL, 0,
	    .create_errors = { EOPNOTSUPP }, .enter = all_thp_is_off, .leave = put_back_settings),
	ROW("transparent_hugepage/enabled is always", BEFORE_CREATE, NULL, 0,
	    .enter = thp_is_always, .leave = put_back_settings),
	ROW("khugepaged all the time", AFTER_S1, let_it_collapse, 0, .undo = let_it_collapse,
	    .enter = khugepaged_is_busy, .leave = put_back_settings),
	ROW("PR_SET_MEMORY_MERGE before create", BEFORE_CREATE, merge_all_of_this_process,
	    LOSE | REFUSE, .undo = wait_and_merge_no_more, .enter = ksm_is_on,
	    .leave = put_back_settings),
	ROW("PR_SET_MEMORY_MERGE after a snapshot", AFTER_S1, merge_all_and_wait, LOSE | REFUSE,
	    .undo = no_more_merging, .enter = ksm_is_on, .leave = put_back_settings),
	ROW("PR_SET_MEMORY_MERGE after a snapshot, and it stays", AFTER_S1, merge_all_and_wait,
	    LOSE | REFUSE | FOR_GOOD, .enter = ksm_is_on, .leave = put_back_settings),
	ROW("MADV_MERGEABLE before a snapshot", BEFORE_S1, merge_a_block, LOSE | REFUSE,
	    .undo = no_more_merging, .enter = ksm_is_on, .leave = put_back_settings),
	ROW("MADV_MERGEABLE after a snapshot", AFTER_S1, merge_a_block, LOSE | REFUSE,
	    .undo = no_more_merging, .enter = ksm_is_on, .leave = put_back_settings),
	ROW("MADV_MERGEABLE of maps and of a child", AFTER_MAPS, merge_maps_and_children,
	    LOSE | REFUSE, .undo = no_more_merging, .enter = ksm_is_on, .leave = put_back_settings),
	ROW("memory is compacted", AFTER_S1, compact, 0),
	ROW("/proc/self/clear_refs 4", AFTER_S1, clear_soft_dirty, 0),
	ROW("/proc/self/clear_refs 1", AFTER_S1, clear_referenced, 0),
	ROW("PR_SET_VMA names a part", AFTER_S1, give_it_a_name, 0),
	ROW("oom_score_adj 1000", AFTER_CREATE, be_killed_first, 0),
	ROW("PR_SET_TIMERSLACK of 100 ms", AFTER_CREATE, lazy_timers, 0),
	END_OF_ROWS,
};
