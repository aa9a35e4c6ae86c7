/* SPDX-License-Identifier: MIT */
/* Mappings of the range that the program changes. */
#include <sys/mman.h>
#include <sys/syscall.h>

#include "native_ordinary.h"

static int protect_part(struct scene *s, int prot, uint8_t how)
{
	mark_block(s, PART);
	if (!mprotect(block_at(s, PART), block_size(s), prot))
		now(s, PART, how);
	return 0;
}

static int read_only(struct scene *s)
{
	return protect_part(s, PROT_READ, READ_ONLY);
}

static int not_accessible(struct scene *s)
{
	return protect_part(s, PROT_NONE, READ_ONLY | HIDDEN);
}

static int accessible_again(struct scene *s)
{
	MUST(!mprotect(block_at(s, PART), block_size(s), PROT_READ | PROT_WRITE));
	no_more(s, PART, READ_ONLY | HIDDEN);
	return 0;
}

static int read_only_and_back(struct scene *s)
{
	return read_only(s) || accessible_again(s);
}

static int not_accessible_and_back(struct scene *s)
{
	return not_accessible(s) || accessible_again(s);
}

static int executable(struct scene *s)
{
	return protect_part(s, PROT_READ | PROT_WRITE | PROT_EXEC, 0);
}

static int maps_not_accessible(struct scene *s)
{
	size_t at = page_of(s, PART) * PAGE;

	for (int i = 0; i < 2; i++)
		if (s->maps[i])
			mprotect((void *)(uintptr_t)(s->maps[i] + at), block_size(s), PROT_NONE);
	mark_block(s, PART);
	return 0;
}

static int maps_writable(struct scene *s)
{
	for (int i = 0; i < 2; i++)
		if (s->maps[i])
			mprotect((void *)(uintptr_t)s->maps[i], nr_pages(s) * PAGE,
				 PROT_READ | PROT_WRITE);
	return 0;
}

/* ---- moved, unmapped, mapped over ---- */

static int part_is_gone(struct scene *s)
{
	mark_block(s, PART);
	now(s, PART, HIDDEN);
	return 0;
}

static void *nowhere(struct scene *s)
{
	return mmap(NULL, block_size(s), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Where a part is moved away Linux never gives back what the pool has reserved for the rest
 * (docs/kernel-faults.md): nothing, where all is there. */
static void touch_all(struct scene *s)
{
	for (size_t page = 0; page < nr_pages(s); page += s->block_pages)
		*(volatile const char *)page_at(s, page);
}

static int move_part(struct scene *s, int flags)
{
	void *to = nowhere(s);

	MUST(to != MAP_FAILED);
	if (s->way->pages == HF_NATIVE_HUGETLB)
		touch_all(s);
	s->data = mremap(block_at(s, PART), block_size(s), block_size(s),
			 MREMAP_MAYMOVE | MREMAP_FIXED | flags, to);
	if (s->data == MAP_FAILED) {
		munmap(to, block_size(s));
		return skipped(s, "this memory cannot be moved");
	}
	return 0;
}

static int move_away(struct scene *s)
{
	int err = move_part(s, 0);

	return err ? err : part_is_gone(s);
}

static int unmap_what_moved(struct scene *s)
{
	MUST(!munmap(s->data, block_size(s)));
	return 0;
}

/* Nobody else shall map anything there meanwhile. */
static int move_away_for_a_while(struct scene *s)
{
	int err = move_part(s, 0);

	if (err)
		return err;
	MUST(mmap(block_at(s, PART), block_size(s), PROT_NONE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == block_at(s, PART));
	return part_is_gone(s);
}

static int move_back(struct scene *s)
{
	MUST(mremap(s->data, block_size(s), block_size(s), MREMAP_MAYMOVE | MREMAP_FIXED,
		    block_at(s, PART)) == block_at(s, PART));
	no_more(s, PART, HIDDEN);
	return 0;
}

static int move_away_and_back(struct scene *s)
{
	int err = move_away(s);

	return err ? err : move_back(s);
}

static int move_the_pages_away(struct scene *s)
{
	int err = move_part(s, 4 /* MREMAP_DONTUNMAP */);

	if (err)
		return err;
	mark_block(s, PART);
	if (!(s->way->flags & HF_NATIVE_SHARED)) /* the memfd still has them */
		now_zero(s, page_of(s, PART), s->block_pages);
	return 0;
}

static int unmap_part(struct scene *s)
{
	MUST(!munmap(block_at(s, PART), block_size(s)));
	return part_is_gone(s);
}

static int map_over_part(struct scene *s)
{
	MUST(mmap(block_at(s, PART), block_size(s), PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	mark_block(s, PART);
	now_zero(s, page_of(s, PART), s->block_pages);
	return 0;
}

static int map_nothing_over_part(struct scene *s)
{
	MUST(mmap(block_at(s, PART), block_size(s), PROT_NONE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	return part_is_gone(s);
}

static int map_over_part_of_maps(struct scene *s)
{
	size_t at = page_of(s, PART) * PAGE;

	for (int i = 0; i < 2; i++)
		if (s->maps[i])
			MUST(!munmap((void *)(uintptr_t)(s->maps[i] + at), block_size(s)));
	mark_block(s, PART);
	return 0;
}

static int bind_to_a_node(struct scene *s)
{
	unsigned long node = 1;

	if (syscall(SYS_mbind, block_at(s, PART), block_size(s), 2 /* MPOL_BIND */, &node, 64,
		    2 /* MPOL_MF_MOVE */))
		return skipped(s, "no nodes");
	return 0;
}

static int seal(struct scene *s)
{
	if (syscall(462 /* mseal() */, block_at(s, FIRST), nr_pages(s) * PAGE, 0UL))
		return skipped(s, "no mseal()");
	return 0;
}

/* Threads that were there before have no right to the new key. */
static int take_a_key(struct scene *s)
{
	int key = pkey_alloc(0, 0);

	if (key < 0)
		return skipped(s, "no protection keys");
	mark_block(s, PART);
	MUST(!pkey_mprotect(block_at(s, PART), block_size(s), PROT_READ | PROT_WRITE, key));
	return 0;
}

#define MAY (LOSE | REFUSE)

const struct row mapping_rows[] = {
	ROW("mprotect(PROT_READ) of a part, for a while", AFTER_S1, read_only, MAY,
	    .undo = accessible_again),
	ROW("mprotect(PROT_READ) of a part", AFTER_S1, read_only, MAY | FOR_GOOD),
	ROW("mprotect(PROT_READ) of a part and back", AFTER_S1, read_only_and_back, LOSE),
	ROW("mprotect(PROT_NONE) of a part, for a while", AFTER_S1, not_accessible, MAY,
	    .undo = accessible_again),
	ROW("mprotect(PROT_NONE) of a part", AFTER_S1, not_accessible, MAY | FOR_GOOD),
	ROW("mprotect(PROT_NONE) of a part before the first snapshot", BEFORE_S1, not_accessible,
	    MAY, .undo = accessible_again),
	ROW("mprotect(PROT_NONE) of a part, with maps and a child", AFTER_MAPS, not_accessible, MAY,
	    .undo = accessible_again),
	ROW("mprotect(PROT_NONE) of a part and back", AFTER_S1, not_accessible_and_back, LOSE),
	ROW("mprotect(PROT_EXEC) of a part", AFTER_S1, executable, LOSE),
	ROW("mprotect(PROT_NONE) of maps", AFTER_MAPS, maps_not_accessible, LOSE),
	ROW("mprotect(PROT_WRITE) of maps", AFTER_MAPS, maps_writable, LOSE),
	ROW("mremap() of a part away", AFTER_S1, move_away, MAY | FOR_GOOD | KEEP,
	    .finish = unmap_what_moved),
	ROW("mremap() of a part away and back", AFTER_S1, move_away_and_back, MAY | FOR_GOOD),
	ROW("mremap() of a part away, and back later", AFTER_S1, move_away_for_a_while,
	    MAY | FOR_GOOD, .undo = move_back),
	ROW("mremap(MREMAP_DONTUNMAP) of a part", AFTER_S1, move_the_pages_away, MAY | KEEP,
	    .undo = unmap_what_moved),
	ROW("munmap() of a part", AFTER_S1, unmap_part, MAY | FOR_GOOD),
	ROW("munmap() of a part before the first snapshot", BEFORE_S1, unmap_part, MAY | FOR_GOOD),
	ROW("munmap() of a part, with maps and a child", AFTER_MAPS, unmap_part, MAY | FOR_GOOD),
	ROW("munmap() of a part of maps", AFTER_MAPS, map_over_part_of_maps, MAY),
	ROW("mmap(MAP_FIXED) over a part", AFTER_S1, map_over_part, MAY | FOR_GOOD),
	ROW("mmap(MAP_FIXED) over a part before the first snapshot", BEFORE_S1, map_over_part,
	    MAY | FOR_GOOD),
	ROW("mmap(MAP_FIXED, PROT_NONE) over a part", AFTER_S1, map_nothing_over_part,
	    MAY | FOR_GOOD),
	ROW("mbind(MPOL_MF_MOVE)", AFTER_S1, bind_to_a_node, 0),
	ROW("mseal() of the range", AFTER_S1, seal, KEEP),
	ROW("pkey_mprotect() of a part", AFTER_S1, take_a_key, MAY | FOR_GOOD),
	END_OF_ROWS,
};
