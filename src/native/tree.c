/* SPDX-License-Identifier: MIT */
/* What the spaces and snapshots of one origin share. */
#include "internal.h"

#include <errno.h>
#include <sys/mman.h>

int hf_tree_enter(struct hf_tree *tree, struct hf_undisturbed *old)
{
	if (!atomic_load_explicit(tree->alive, memory_order_relaxed))
		return -EOWNERDEAD;
	hf_enter(old);
	hf_files_look(&tree->files);
	return 0;
}

int hf_tree_lock(struct hf_tree *tree, struct hf_undisturbed *old)
{
	int err = tree->bracketed && hf_in_bracket() ? -EDEADLK : hf_tree_enter(tree, old);

	if (!err)
		hf_futex_lock(&tree->lock);
	return err;
}

void hf_tree_unlock(struct hf_tree *tree, const struct hf_undisturbed *old)
{
	hf_futex_unlock(&tree->lock);
	hf_leave(old);
}

static void choose_pages(struct hf_tree *tree, const struct hf_native_config *config,
			 const struct hf_native_support *support)
{
	tree->pages = config->pages;
	if (tree->bracketed && config->pages == HF_NATIVE_AUTO)
		tree->pages = HF_NATIVE_THP_4K;
	else if (config->flags & HF_NATIVE_SHARED)
		tree->pages = HF_NATIVE_4K;
	else if (config->pages == HF_NATIVE_AUTO)
		tree->pages = support->thp && support->unpopulated ? HF_NATIVE_THP : HF_NATIVE_4K;
	tree->unit_shift = tree->pages == HF_NATIVE_4K || tree->pages == HF_NATIVE_THP_4K ? 12 : 21;
}

static int check_config(const struct hf_native_config *config)
{
	if (!config->size || config->size > 1UL << 46 ||
	    config->flags & ~(unsigned)(HF_NATIVE_SIGNAL | HF_NATIVE_SHARED | HF_NATIVE_BRACKETED |
					HF_NATIVE_CHECKED))
		return -EINVAL;
	if (config->flags & HF_NATIVE_BRACKETED &&
	    config->flags & ~(unsigned)(HF_NATIVE_BRACKETED | HF_NATIVE_CHECKED))
		return -EINVAL;
	if (config->flags & HF_NATIVE_CHECKED && !(config->flags & HF_NATIVE_BRACKETED))
		return -EINVAL;
	if ((unsigned)config->pages > HF_NATIVE_THP_4K)
		return -EINVAL;
	if (config->flags & HF_NATIVE_SHARED && config->pages > HF_NATIVE_4K)
		return -EINVAL;
	return 0;
}

static int check_support(const struct hf_tree *tree, const struct hf_native_config *config,
			 const struct hf_native_support *support)
{
	bool shared = config->flags & HF_NATIVE_SHARED || tree->pages == HF_NATIVE_HUGETLB;

	if (tree->bracketed)
		return 0;
	if (!support->write_protect || (shared && !support->write_protect_shared))
		return -EOPNOTSUPP;
	return hf_is_thp(tree) && !support->unpopulated ? -EOPNOTSUPP : 0;
}

static int start_files(struct hf_tree *tree, const struct hf_native_support *support,
		       unsigned helpers)
{
	uint64_t features = HF_UFFD_WP;
	int err;

	if (tree->signal)
		features |= HF_UFFD_SIGBUS;
	if (support->unpopulated)
		features |= HF_UFFD_WP_UNPOPULATED;
	if (support->write_protect_shared)
		features |= HF_UFFD_WP_HUGETLBFS_SHMEM;
	tree->unpopulated = support->unpopulated;
	err = hf_files_start(&tree->files, tree->signal, features, helpers + 1);
	return err ? err : hf_pagemap_probe(&tree->files);
}

/* A byte that fork() takes away. */
static int mark_alive(struct hf_tree *tree)
{
	tree->alive = hf_zalloc(1);
	if (!tree->alive)
		return -ENOMEM;
	if (madvise((void *)tree->alive, 1, MADV_WIPEONFORK))
		return -errno;
	atomic_store(tree->alive, 1);
	return 0;
}

/* Who protects memory, and resolves faults. */
static int start_protecting(struct hf_tree *tree, const struct hf_native_support *support,
			    unsigned helpers)
{
	int err = start_files(tree, support, helpers);

	if (!err && tree->files.fd[HF_FILE_PAGEMAP] < 0 && !tree->unpopulated)
		err = -EOPNOTSUPP;
	if (!err)
		err = hf_helpers_start(tree, helpers);
	if (!err)
		err = tree->signal ? hf_sigbus_install() : hf_handler_start(tree);
	return err;
}

static int fill_tree(struct hf_tree *tree, const struct hf_native_config *config,
		     const struct hf_native_support *support)
{
	size_t unit = 1UL << tree->unit_shift;
	int err;

	tree->size = (config->size + unit - 1) & ~(unit - 1);
	tree->nr_units = tree->size >> tree->unit_shift;
	tree->nr_words = (tree->nr_units + HF_WORD_UNITS - 1) / HF_WORD_UNITS;
	err = mark_alive(tree);
	if (!err)
		err = hf_frames_init(&tree->frames, tree->unit_shift, config->pool_limit);
	if (!err) {
		tree->zeros = hf_zalloc(unit);
		err = tree->zeros ? 0 : -ENOMEM;
	}
	if (!err)
		err = hf_snapshot_reserve(tree);
	if (!err && !tree->bracketed)
		err = start_protecting(tree, support, config->helpers);
	if (!err && tree->checked)
		err = hf_stray_install();
	return err;
}

int hf_tree_create(const struct hf_native_config *config, struct hf_tree **out)
{
	struct hf_native_support support = { .write_protect = false };
	struct hf_tree *tree;
	int err = check_config(config);

	if (!err && !(config->flags & HF_NATIVE_BRACKETED))
		err = hf_native_probe(&support);
	if (err)
		return err;
	tree = hf_zalloc(sizeof(*tree));
	if (!tree)
		return -ENOMEM;
	for (int i = 0; i < HF_FILES; i++)
		tree->files.fd[i] = -1;
	tree->signal = config->flags & HF_NATIVE_SIGNAL;
	tree->bracketed = config->flags & HF_NATIVE_BRACKETED;
	tree->checked = config->flags & HF_NATIVE_CHECKED;
	tree->stray = config->stray;
	tree->stray_arg = config->stray_arg;
	choose_pages(tree, config, &support);
	err = check_support(tree, config, &support);
	if (!err)
		err = fill_tree(tree, config, &support);
	if (err) {
		hf_tree_destroy(tree);
		return err;
	}
	*out = tree;
	return 0;
}

void hf_tree_destroy(struct hf_tree *tree)
{
	struct hf_native_snapshot *s;

	hf_assert(!tree->spaces && !hf_has(&tree->lock));
	hf_handler_stop(tree);
	hf_helpers_stop(&tree->helpers);
	while ((s = tree->free_snapshots)) {
		tree->free_snapshots = s->next_free;
		hf_snapshot_free(tree, s);
	}
	hf_frames_destroy(&tree->frames);
	hf_zfree(tree->zeros, 1UL << tree->unit_shift);
	hf_zfree((void *)tree->alive, 1);
	hf_files_stop(&tree->files);
	hf_zfree(tree, sizeof(*tree));
}

void hf_native_stats(const struct hf_native *space, struct hf_native_stats *stats)
{
	const struct hf_tree *tree = space->tree;
	const struct hf_frames *frames = &tree->frames;

	*stats = (struct hf_native_stats){
		.faults = atomic_load_explicit(&tree->faults, memory_order_relaxed),
		.copied = atomic_load_explicit(&tree->copied, memory_order_relaxed),
		.copied_eager = atomic_load_explicit(&tree->copied_eager, memory_order_relaxed),
		.lost = atomic_load_explicit(&tree->lost, memory_order_relaxed),
		.protect_calls = atomic_load_explicit(&tree->protect_calls, memory_order_relaxed),
		.protected_units =
			atomic_load_explicit(&tree->protected_units, memory_order_relaxed),
		.last_snapshot_ns =
			atomic_load_explicit(&tree->last_snapshot_ns, memory_order_relaxed),
		.snapshots = atomic_load_explicit(&tree->nr_snapshots, memory_order_relaxed),
		.frames_free = atomic_load_explicit(&frames->nr_free, memory_order_relaxed)
			       << tree->unit_shift,
	};
	stats->frames_used =
		(atomic_load_explicit(&frames->nr, memory_order_relaxed) << tree->unit_shift) -
		stats->frames_free;
}

static long trim(void *arg)
{
	return hf_frames_trim(arg);
}

int hf_native_trim(struct hf_native *space)
{
	struct hf_undisturbed old;
	int err = hf_tree_enter(space->tree, &old);

	if (err)
		return err;
	/* by the keeper, to whom a filter of the caller denies nothing */
	err = (int)hf_files_call(&space->tree->files, trim, &space->tree->frames);
	hf_leave(&old);
	return err;
}
