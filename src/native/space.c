/* SPDX-License-Identifier: MIT */
/* Spaces, children and maps of snapshots: ranges of memory, made and taken away. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* mmap() says -EAGAIN for what mlockall() would lock beyond RLIMIT_MEMLOCK. */
static int no_map(void)
{
	return errno == EAGAIN ? -ENOMEM : -errno;
}

static int map_shared(struct hf_native *space, size_t size)
{
	struct rlimit limit;

	/* the kernel would send a signal */
	if (!getrlimit(RLIMIT_FSIZE, &limit) && size > limit.rlim_cur)
		return -EFBIG;
	space->memfd = memfd_create("holdfast", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (space->memfd < 0)
		return -errno;
	hf_files_mark(&space->tree->files, space->memfd);
	if (ftruncate(space->memfd, (off_t)size))
		return -errno;
	space->window = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, space->memfd, 0);
	if (space->window == MAP_FAILED)
		return no_map();
	/* what changes the file other than by this map is seen by nobody */
	if (fcntl(space->memfd, F_ADD_SEALS,
		  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL))
		return -errno;
	/* a child's stores would reach snapshots: nothing protects its map */
	return madvise(space->window, size, MADV_DONTFORK) ? -errno : 0;
}

static int map_hugetlb(struct hf_native *space, size_t size)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | 21 << MAP_HUGE_SHIFT;

	space->window = mmap(NULL, size, hf_brings(space) ? PROT_NONE : PROT_READ | PROT_WRITE,
			     flags, -1, 0);
	if (space->window == MAP_FAILED)
		return no_map();
	/* the kernel takes pages away from a child when the pool is empty; and before Linux 6.4 it
	 * leaves them protected there, where nobody resolves faults */
	return madvise(space->window, size, MADV_DONTFORK) ? -errno : 0;
}

/* What comes page by page from a base is made of small pages, and has no meaning in a process that
 * does not bring them. */
static int map_anonymous(struct hf_native *space, size_t size)
{
	struct hf_tree *tree = space->tree;
	bool brought = hf_brings(space), huge = hf_is_thp(tree) && !brought;

	space->window = hf_map_aligned((size + (1UL << 21) - 1) & ~((1UL << 21) - 1),
				       brought ? PROT_NONE : PROT_READ | PROT_WRITE);
	if (!space->window) {
		space->window = MAP_FAILED;
		return -ENOMEM;
	}
	munmap(space->window + size, -size & ((1UL << 21) - 1));
	if (madvise(space->window, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) &&
	    errno != EINVAL) /* a kernel without THP */
		return -errno;
	if (!brought)
		return 0;
	if (madvise(space->window, size, MADV_DONTFORK))
		return -errno;
	return munlock(space->window, size) ? -errno : 0; /* else mprotect() would bring it in */
}

/* All of it: where faults are signals, a system call would find it missing. */
static int fill_window(struct hf_native *space)
{
	int err = 0;

	hf_gate_enter(&space->tree->gate);
	for (size_t word = 0; word < space->tree->nr_words && !err; word++)
		err = hf_populate(space, word, ~0ULL);
	hf_gate_leave(&space->tree->gate);
	return err;
}

/* What we bring must be missing when it is registered: where mlockall() brings in all that is
 * mapped, it brings no pages that nobody may use. */
static int open_window(struct hf_native *space)
{
	int prot = space->view ? PROT_READ : PROT_READ | PROT_WRITE;

	if (!hf_brings(space))
		return 0;
	if (mprotect(space->window, space->tree->size, prot))
		return -errno;
	return space->tree->signal && hf_brings_zeros(space) ? fill_window(space) : 0;
}

static int map_window(struct hf_native *space, bool shared)
{
	struct hf_tree *tree = space->tree;

	if (shared)
		return map_shared(space, tree->size);
	if (tree->pages == HF_NATIVE_HUGETLB && !space->base)
		return map_hugetlb(space, tree->size);
	return map_anonymous(space, tree->size);
}

static int alloc_tables(struct hf_native *space)
{
	struct hf_tree *tree = space->tree;
	size_t bytes = tree->nr_words * sizeof(hf_bits);

	space->populated = hf_zalloc(bytes);
	space->exclusive = hf_zalloc(bytes);
	space->held = hf_zalloc(bytes);
	space->begun = hf_zalloc(bytes);
	space->todo = hf_zalloc(bytes);
	space->pins = hf_zalloc(tree->nr_units * sizeof(space->pins[0]));
	space->density = hf_zalloc(hf_density_bytes(tree));
	if (!space->populated || !space->exclusive || !space->held || !space->begun ||
	    !space->todo || !space->pins || !space->density)
		return -ENOMEM;
	if (space->base)
		return 0;
	/* what the first snapshot needs not wait for */
	memset((void *)space->populated, 0, bytes);
	memset((void *)space->exclusive, 0, bytes);
	memset(space->todo, 0, bytes);
	return 0;
}

/* Where the kernel remembers protection without memory, or nothing tells what there is. */
static void take_as_populated(struct hf_native *space)
{
	struct hf_tree *tree = space->tree;

	for (size_t word = 0; word < tree->nr_words; word++) {
		atomic_store(&space->populated[word], hf_word_mask(tree, word));
		atomic_store(&space->exclusive[word], hf_word_mask(tree, word));
	}
	space->all_populated = true;
}

static void unmap(char *addr, size_t len)
{
	munmap(addr, len);
}

static void make_read_only(char *addr, size_t len)
{
	mprotect(addr, len, PROT_READ);
}

struct act {
	struct hf_native *space;
	void (*on)(char *addr, size_t len);
};

/* What is not registered somebody else has mapped there. */
static void act_if_ours(void *arg, char *addr, size_t len)
{
	const struct act *act = arg;
	size_t unit = 1UL << act->space->tree->unit_shift;

	if (hf_userfault_protect(&act->space->tree->files, addr, len < unit ? len : unit) !=
	    -EFAULT)
		act->on(addr, len);
}

/* On the window; but not where the program has unmapped a part of it. */
static void on_window(struct hf_native *space, void (*on)(char *addr, size_t len))
{
	struct hf_tree *tree = space->tree;
	struct act act = { space, on };

	if (space->registered && tree->files.query)
		hf_pagemap_mappings(&tree->files, space->window, tree->size, act_if_ours, &act);
	else
		on(space->window, tree->size);
}

static void free_space(struct hf_native *space)
{
	struct hf_tree *tree = space->tree;
	size_t bytes = tree->nr_words * sizeof(hf_bits);

	if (space->window != MAP_FAILED)
		on_window(space, unmap);
	hf_files_close(&tree->files, space->memfd);
	hf_zfree(space->populated, bytes);
	hf_zfree(space->exclusive, bytes);
	hf_zfree(space->held, bytes);
	hf_zfree(space->begun, bytes);
	hf_zfree(space->todo, bytes);
	hf_zfree(space->density, hf_density_bytes(tree));
	hf_zfree(space->open, tree->nr_units * sizeof(space->open[0]));
	hf_zfree((void *)space->pins, tree->nr_units * sizeof(space->pins[0]));
	hf_ranges_free(&space->pinned);
	hf_zfree(space, sizeof(*space));
}

static int start_protecting(struct hf_native *space, bool shared)
{
	struct hf_tree *tree = space->tree;
	int err = hf_userfault_register(&tree->files, space->window, tree->size, hf_brings(space));

	space->registered = !err;
	if (!err)
		err = open_window(space);
	if (!err && hf_brings(space))
		space->all_populated = true; /* nothing comes unknown */
	else if (!err && (shared || tree->files.fd[HF_FILE_PAGEMAP] < 0))
		take_as_populated(space);
	return err;
}

static void mark_copied(struct hf_native *space, size_t first, size_t nr)
{
	atomic_fetch_or_explicit(&space->populated[first / HF_WORD_UNITS],
				 hf_units_mask(first % HF_WORD_UNITS, nr), memory_order_relaxed);
}

/* Units of one word. A view does without what is lost. */
static int copy_run(struct hf_native *space, size_t first, size_t nr)
{
	unsigned shift = space->tree->unit_shift;
	int err = hf_snapshot_read(space->base, first << shift, hf_unit_addr(space, first),
				   nr << shift);

	if (!err)
		mark_copied(space, first, nr);
	if (err != -ENODATA || !space->view)
		return err;
	if (nr == 1)
		return 0;
	err = copy_run(space, first, nr / 2);
	return err ? err : copy_run(space, first + nr / 2, nr - nr / 2);
}

static bool base_has(const struct hf_native *space, size_t unit)
{
	return hf_stable_source(space->base, unit).kind != HF_SOURCE_ZERO;
}

/* No fault would tell when they are needed. */
static int copy_base(struct hf_native *space)
{
	size_t unit = 0, nr_units = space->tree->nr_units;
	int err = 0;

	while (unit < nr_units && !err) {
		size_t first = unit, end = (unit / HF_WORD_UNITS + 1) * HF_WORD_UNITS;

		while (unit < end && unit < nr_units && base_has(space, unit))
			unit++;
		if (unit > first)
			err = copy_run(space, first, unit - first);
		else
			unit++;
	}
	return err;
}

/* Nobody writes to a view; what is lost nobody reads. */
static int close_view(struct hf_native *space)
{
	struct hf_tree *tree = space->tree;

	if (mprotect(space->window, tree->size, PROT_READ))
		return -errno;
	for (size_t unit = 0; unit < tree->nr_units; unit++) {
		uint64_t copied = atomic_load_explicit(&space->populated[unit / HF_WORD_UNITS],
						       memory_order_relaxed);

		if (!(copied >> unit % HF_WORD_UNITS & 1) && base_has(space, unit) &&
		    mprotect(hf_unit_addr(space, unit), 1UL << tree->unit_shift, PROT_NONE))
			return -errno;
	}
	return 0;
}

static int start_checking(struct hf_native *space)
{
	struct hf_tree *tree = space->tree;

	space->open = hf_zalloc(tree->nr_units * sizeof(space->open[0]));
	if (!space->open)
		return -ENOMEM;
	return mprotect(space->window, tree->size, PROT_READ) ? -errno : 0;
}

static int start_brackets(struct hf_native *space)
{
	struct hf_tree *tree = space->tree;
	int err = space->base ? copy_base(space) : 0;

	space->brackets = (struct hf_native_brackets){
		.base = space->window,
		.size = space->view || tree->checked ? 0 : tree->size,
		.exclusive = (const uint64_t *)space->exclusive,
		.unit_shift = tree->unit_shift,
		.fences = hf_brackets_need_fences(),
		.checked = tree->checked,
	};
	if (!err && space->view)
		return close_view(space);
	return !err && tree->checked ? start_checking(space) : err;
}

int hf_space_create(struct hf_tree *tree, struct hf_native_snapshot *base, bool view, bool shared,
		    struct hf_native **out)
{
	struct hf_native *space = hf_zalloc(sizeof(*space));
	int err;

	hf_assert(!base || hf_has(&tree->lock));
	hf_assert(base || (!view && !tree->spaces));
	if (!space)
		return -ENOMEM;
	*space = (struct hf_native){
		.tree = tree,
		.window = MAP_FAILED,
		.memfd = -1,
		.base = base,
		.view = view,
	};
	space->refs = 1;
	space->owned = true;
	err = alloc_tables(space);
	if (!err)
		err = map_window(space, shared);
	if (!err)
		err = tree->bracketed ? start_brackets(space) : start_protecting(space, shared);
	if (!err)
		err = hf_registry_add(space);
	if (err) {
		free_space(space);
		return err;
	}
	space->next = tree->spaces;
	tree->spaces = space;
	*out = space;
	return 0;
}

/* The tree's lock is held. Gives the base that goes with it, or NULL. */
static struct hf_native_snapshot *remove_space(struct hf_native *space)
{
	struct hf_tree *tree = space->tree;
	struct hf_native_snapshot *base = space->view ? NULL : space->base;
	struct hf_native **link = &tree->spaces;

	hf_assert_held(&tree->lock);
	while (*link != space)
		link = &(*link)->next;
	*link = space->next;
	hf_registry_remove(space);
	hf_gate_close(&tree->gate); /* a fault of before may be on its way out */
	free_space(space);
	if (base)
		hf_snapshot_unlink(base);
	hf_gate_open(&tree->gate);
	return base;
}

void hf_space_put(struct hf_native *space)
{
	struct hf_tree *tree = space->tree;
	bool last;

	hf_futex_lock(&tree->lock);
	hf_assert(space->refs);
	while (space && --space->refs == 0) {
		struct hf_native *parent = space->base && !space->view ? space->base->space : NULL;

		remove_space(space);
		space = parent;
	}
	last = !tree->spaces;
	hf_futex_unlock(&tree->lock);
	if (last)
		hf_tree_destroy(tree);
}

int hf_native_create(const struct hf_native_config *config, struct hf_native **out)
{
	struct hf_native *space;
	struct hf_tree *tree;
	struct hf_undisturbed old;
	int err;

	hf_enter(&old);
	err = hf_tree_create(config, &tree);
	if (!err) {
		err = hf_space_create(tree, NULL, false, config->flags & HF_NATIVE_SHARED, &space);
		if (err)
			hf_tree_destroy(tree);
	}
	hf_leave(&old);
	if (!err)
		*out = space;
	return err;
}

/* Faults are kept out: the handler of one, which may be of before, would wait for itself at what is
 * protected here. */
static void close_window(struct hf_native *space)
{
	struct hf_tree *tree = space->tree;

	hf_futex_lock(&tree->lock);
	hf_gate_close(&tree->gate);
	on_window(space, make_read_only);
	hf_gate_open(&tree->gate);
	hf_futex_unlock(&tree->lock);
	space->owned = false;
}

int hf_native_destroy(struct hf_native *space)
{
	struct hf_undisturbed old;
	int err = hf_tree_enter(space->tree, &old);

	if (err)
		return err;
	if (!space->owned) {
		err = -EINVAL;
	} else if (space->tree->bracketed && hf_in_bracket()) {
		err = -EDEADLK;
	} else if (atomic_load(&space->nr_pins)) {
		err = -EBUSY;
	} else {
		close_window(space);
		hf_space_put(space);
	}
	hf_leave(&old);
	return err;
}

static int fork_locked(struct hf_native *space, struct hf_native **child)
{
	struct hf_native_snapshot *base;
	int err = hf_snapshot_take(space, &base);

	hf_assert_held(&space->tree->lock);
	if (err)
		return err;
	err = hf_space_create(space->tree, base, false, false, child);
	if (err) {
		hf_gate_close(&space->tree->gate);
		hf_snapshot_unlink(base);
		hf_gate_open(&space->tree->gate);
		space->refs--;
	}
	return err;
}

int hf_native_fork(struct hf_native *space, struct hf_native **child)
{
	struct hf_tree *tree = space->tree;
	struct hf_native *made;
	struct hf_undisturbed old;
	int err = hf_tree_lock(tree, &old);

	if (err)
		return err;
	if (!space->owned)
		err = -EINVAL;
	else
		err = space->memfd >= 0 ? -EOPNOTSUPP : fork_locked(space, &made);
	hf_tree_unlock(tree, &old);
	if (!err)
		*child = made;
	return err;
}

static int map_locked(struct hf_native_snapshot *snapshot)
{
	int err = 0;

	hf_assert_held(&snapshot->tree->lock);
	hf_assert(!snapshot->view_users == !snapshot->view);
	if (!snapshot->view_users)
		err = hf_space_create(snapshot->space->tree, snapshot, true, false,
				      &snapshot->view);
	if (!err)
		snapshot->view_users++;
	return err;
}

int hf_native_map(struct hf_native_snapshot *handle, const void **addr)
{
	struct hf_tree *tree = hf_snapshot_memory(handle)->tree;
	struct hf_native_snapshot *snapshot;
	const void *window = NULL;
	struct hf_undisturbed old;
	int err = hf_tree_lock(tree, &old);

	if (err)
		return err;
	snapshot = hf_snapshot_of(handle);
	err = snapshot ? map_locked(snapshot) : -EINVAL;
	if (!err)
		window = snapshot->view->window;
	hf_tree_unlock(tree, &old);
	if (!err)
		*addr = window;
	return err;
}

int hf_native_unmap(struct hf_native_snapshot *handle)
{
	struct hf_tree *tree = hf_snapshot_memory(handle)->tree;
	struct hf_native_snapshot *snapshot;
	struct hf_undisturbed old;
	int err = hf_tree_lock(tree, &old);

	if (err)
		return err;
	snapshot = hf_snapshot_of(handle);
	if (!snapshot || !snapshot->view_users) {
		err = -EINVAL;
	} else if (--snapshot->view_users == 0) {
		remove_space(snapshot->view);
		snapshot->view = NULL;
	}
	hf_tree_unlock(tree, &old);
	return err;
}

void *hf_native_base(const struct hf_native *space)
{
	return space->window;
}

size_t hf_native_size(const struct hf_native *space)
{
	return space->tree->size;
}

size_t hf_native_unit(const struct hf_native *space)
{
	return 1UL << space->tree->unit_shift;
}

int hf_native_memfd(const struct hf_native *space)
{
	return space->memfd >= 0 ? space->memfd : -EBADF;
}
