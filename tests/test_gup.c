/* SPDX-License-Identifier: MIT */
/* References, the reverse map, the validator: one promise a test. Some break things on purpose to
 * see them noticed. */
#include "machine.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- GUP ---- */

static void gup_checks_its_arguments(void **state)
{
	struct hf_ref ref[4];

	(void)state;
	map(A, 2, RW);
	assert_int_equal(hf_get_user_pages(mm, A, 1, HF_FOLL_LONGTERM, ref), -EINVAL);
	assert_int_equal(hf_get_user_pages(mm, A, 1, HF_FOLL_PIN, ref), -EINVAL);
	assert_int_equal(hf_pin_user_pages(mm, A, 1, HF_FOLL_FAST_ONLY, ref), -EINVAL);
	assert_int_equal(hf_pin_user_pages(mm, A, 1, 1u << 12, ref), -EINVAL);
	assert_int_equal(hf_pin_user_pages(mm, A, 0, 0, ref), -EINVAL);
	assert_int_equal(hf_pin_user_pages(mm, HF_TASK_SIZE - P, 2, 0, ref), -EINVAL);
	assert_int_equal(hf_pin_user_pages(mm, A + 4 * P, 1, 0, ref), -EFAULT);
	assert_int_equal(hf_pin_user_pages(mm, A, 4, HF_FOLL_WRITE, ref),
			 2); /* as far as it goes */
	assert_int_equal(hf_unpin_user_pages(sys, ref, 2), 0);
}

static void gup_respects_protection_unless_forced(void **state)
{
	struct hf_mm *child;
	struct hf_ref ref;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	assert_int_equal(hf_mprotect(mm, A, P, HF_PROT_READ), 0);
	child = fork_mm();
	assert_int_equal(hf_pin_user_pages(mm, A, 1, HF_FOLL_WRITE, &ref), -EFAULT);
	assert_int_equal(hf_pin_user_pages(mm, A, 1, HF_FOLL_WRITE | HF_FOLL_FORCE, &ref), 1);
	assert_int_equal(hf_ref_write(sys, &ref, 0, "\x09", 1), 0);
	assert_int_equal(load(mm, A), 9);
	assert_int_equal(load(child, A), 1);
	assert_false(info(mm, A).writable);
	unpin(&ref);
	assert_int_equal(hf_mprotect(mm, A, P, HF_PROT_NONE), 0);
	assert_int_equal(hf_pin_user_pages(mm, A, 1, 0, &ref), -EFAULT);
	assert_int_equal(hf_pin_user_pages(mm, A, 1, HF_FOLL_FORCE, &ref), 1);
	unpin(&ref);
	hf_mm_put(child);
}

static void nofault_and_fast_only_take_what_is_there(void **state)
{
	struct hf_ref ref[2];

	(void)state;
	map(A, 2, RW);
	store(mm, A, 1);
	assert_int_equal(hf_pin_user_pages(mm, A, 2, HF_FOLL_NOFAULT, ref), 1);
	unpin(ref);
	assert_int_equal(hf_pin_user_pages(mm, A + P, 1, HF_FOLL_NOFAULT, ref), -EFAULT);
	assert_int_equal(hf_pin_user_pages_fast(mm, A, 2, HF_FOLL_FAST_ONLY, ref), 1);
	unpin(ref);
	assert_int_equal(hf_pin_user_pages_fast(mm, A + P, 1, HF_FOLL_FAST_ONLY, ref), 0);
	assert_int_equal(stats().fast_fallbacks, 0);
	assert_int_equal(hf_pin_user_pages_fast(mm, A, 2, HF_FOLL_WRITE, ref), 2);
	assert_int_equal(stats().fast_fallbacks, 1);
	assert_int_equal(hf_unpin_user_pages(sys, ref, 2), 0);
}

static void gup_fast_gives_way_while_fork_is_under_way(void **state)
{
	struct hf_ref ref;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	mm->write_protect_seq++; /* as fork does */
	assert_int_equal(hf_pin_user_pages_fast(mm, A, 1, HF_FOLL_FAST_ONLY, &ref), 0);
	assert_int_equal(hf_get_user_pages_fast(mm, A, 1, HF_FOLL_FAST_ONLY, &ref),
			 1); /* GET does not care */
	assert_int_equal(hf_put_user_pages(sys, &ref, 1), 0);
	mm->write_protect_seq++;
	assert_int_equal(hf_pin_user_pages_fast(mm, A, 1, HF_FOLL_FAST_ONLY, &ref), 1);
	unpin(&ref);
}

static void handles_know_their_kind(void **state)
{
	struct hf_ref get, pinned, copy, refs[2];

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	assert_int_equal(hf_get_user_pages(mm, A, 1, 0, &get), 1);
	pinned = pin(A, 0);
	assert_int_equal(hf_unpin_user_pages(sys, &get, 1), -EINVAL);
	assert_int_equal(hf_put_user_pages(sys, &pinned, 1), -EINVAL);
	/* one bad handle, and none is released */
	refs[0] = get;
	refs[1] = pinned;
	assert_int_equal(hf_put_user_pages(sys, refs, 2), -EINVAL);
	assert_int_equal(info(mm, A).refs, 3);
	assert_int_equal(hf_ref_write(sys, &get, 0, "x", 1), -EPERM);
	assert_int_equal(hf_ref_read(sys, &get, P - 1, &copy, 2), -EINVAL);
	copy = get;
	assert_int_equal(hf_put_user_pages(sys, &get, 1), 0);
	assert_int_equal(hf_put_user_pages(sys, &get, 1), -EINVAL); /* twice */
	unpin(&pinned);
	assert_int_equal(hf_munmap(mm, A, P), 0);
	assert_int_equal(hf_put_user_pages(sys, &copy, 1), -EINVAL); /* its frame is free */
	map(A, 1, RW);
	store(mm, A, 1);
	assert_int_equal(hf_put_user_pages(sys, &copy, 1),
			 -EINVAL); /* its frame is somebody else's */
}

/* Neither the page's life nor what others hold of it makes a released handle good again. */
static void copies_are_stale_once_one_is_released(void **state)
{
	struct hf_ref get, stale_get, pinned, stale, again, twice[2];
	char byte;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	assert_int_equal(hf_get_user_pages(mm, A, 1, HF_FOLL_WRITE, &get), 1);
	stale_get = get;
	pinned = pin(A, HF_FOLL_WRITE);
	stale = pinned;
	assert_int_equal(hf_put_user_pages(sys, &get, 1), 0);
	unpin(&pinned);
	/* the frame is mapped, and held by another pin, of the same slot perhaps */
	again = pin(A, HF_FOLL_WRITE);
	assert_int_equal(hf_put_user_pages(sys, &stale_get, 1), -EINVAL);
	assert_int_equal(hf_unpin_user_pages(sys, &stale, 1), -EINVAL);
	assert_int_equal(hf_unpin_user_pages_dirty(sys, &stale, 1), -EINVAL);
	assert_int_equal(hf_unpin_user_page_range_dirty(sys, &stale, 1, false), -EINVAL);
	assert_int_equal(hf_user_release(sys, HF_USER_ODIRECT_READ, &stale, 1), -EINVAL);
	assert_int_equal(hf_ref_read(sys, &stale, 0, &byte, 1), -EINVAL);
	assert_int_equal(hf_ref_write(sys, &stale, 0, "x", 1), -EINVAL);
	assert_true(hf_ref_pfn(sys, &stale) == HF_PFN_NONE);
	assert_int_equal(info(mm, A).refs, 2);
	assert_int_equal(info(mm, A).pins, 1);
	assert_int_equal(load(mm, A), 1);
	/* one handle twice in a call, and a stale one beside a good one */
	twice[0] = twice[1] = again;
	assert_int_equal(hf_unpin_user_pages(sys, twice, 2), -EINVAL);
	twice[1] = stale;
	assert_int_equal(hf_unpin_user_pages(sys, twice, 2), -EINVAL);
	assert_int_equal(info(mm, A).pins, 1);
	assert_int_equal(hf_ref_read(sys, &again, 0, &byte, 1), 0);
	unpin(&again);
}

static void zeropage_handles_are_released_once(void **state)
{
	struct hf_ref ref, copy;

	(void)state;
	map(A, 1, RW);
	load(mm, A);
	assert_int_equal(hf_get_user_pages(mm, A, 1, 0, &ref), 1);
	assert_true(info(mm, A).zeropage);
	copy = ref;
	assert_int_equal(hf_put_user_pages(sys, &ref, 1), 0);
	assert_int_equal(hf_put_user_pages(sys, &copy, 1), -EINVAL);
}

static void another_systems_handles_are_refused(void **state)
{
	struct hf_system_config config = { .platform = hf_platform_hosted(), .nr_frames = 64 };
	struct hf_ref ref, theirs, mixed;
	struct hf_system *other;
	struct hf_mm *their_mm;
	uint64_t at = A;

	(void)state;
	assert_int_equal(hf_system_create(&config, &other), 0);
	assert_int_equal(hf_mm_create(other, &their_mm), 0);
	assert_int_equal(hf_mmap(their_mm, &at, P, RW, HF_MAP_FIXED_NOREPLACE), 0);
	assert_int_equal(hf_pin_user_pages(their_mm, at, 1, 0, &theirs), 1);
	map(A, 1, RW);
	ref = pin(A, 0);
	/* also where slot and use are those of a handle that is held there */
	mixed = theirs;
	mixed.page = ref.page;
	assert_int_equal(hf_unpin_user_pages(other, &ref, 1), -EINVAL);
	assert_int_equal(hf_unpin_user_pages(other, &mixed, 1), -EINVAL);
	assert_true(hf_ref_pfn(other, &mixed) == HF_PFN_NONE);
	unpin(&ref);
	assert_int_equal(hf_unpin_user_pages(other, &theirs, 1), 0);
	hf_mm_put(their_mm);
	assert_int_equal(hf_system_destroy(other), 0);
}

/* Many more handles than a shard begins with, released in another order than taken. */
static void handles_stay_apart(void **state)
{
	enum { N = 3000, STEP = 7 };
	static struct hf_ref refs[N], copies[N];

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	for (size_t round = 0; round < 3; round++) {
		for (size_t i = 0; i < N; i++) {
			if (!refs[i].page)
				refs[i] = pin(A, 0);
			copies[i] = refs[i];
		}
		for (size_t i = 0; i < N; i += 1 + round)
			assert_int_equal(hf_unpin_user_pages(sys, &refs[i * STEP % N], 1), 0);
		for (size_t i = 0; i < N; i++) {
			char byte;
			int want = refs[i].page ? 0 : -EINVAL;

			assert_int_equal(hf_ref_read(sys, &copies[i], 0, &byte, 1), want);
		}
		assert_int_equal(info(mm, A).pins, N - (N + round) / (1 + round));
	}
	for (size_t i = 0; i < N; i++)
		assert_int_equal(hf_unpin_user_pages(sys, &copies[i], 1),
				 refs[i].page ? 0 : -EINVAL);
	assert_int_equal(info(mm, A).pins, 0);
}

struct copies {
	pthread_barrier_t start;
	struct hf_ref ref[2];
	atomic_int released;
};

#define COPY_ROUNDS 2000

static void *release_copies(void *arg)
{
	struct copies *c = ((struct copies **)arg)[0];
	struct hf_ref *mine = ((struct hf_ref **)arg)[1];

	for (int i = 0; i < COPY_ROUNDS; i++) {
		pthread_barrier_wait(&c->start);
		if (!hf_unpin_user_pages(sys, mine, 1))
			atomic_fetch_add(&c->released, 1);
		pthread_barrier_wait(&c->start);
	}
	return NULL;
}

static void one_of_two_releases_at_once_wins(void **state)
{
	struct copies c;
	void *args[2][2];
	pthread_t thread[2];
	struct hf_ref other;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	other = pin(A, 0);
	atomic_init(&c.released, 0);
	pthread_barrier_init(&c.start, NULL, 3);
	for (int t = 0; t < 2; t++) {
		args[t][0] = &c;
		args[t][1] = &c.ref[t];
		assert_int_equal(pthread_create(&thread[t], NULL, release_copies, args[t]), 0);
	}
	for (int i = 0; i < COPY_ROUNDS; i++) {
		c.ref[0] = c.ref[1] = pin(A, 0);
		pthread_barrier_wait(&c.start);
		pthread_barrier_wait(&c.start);
		assert_int_equal(info(mm, A).pins, 1);
	}
	for (int t = 0; t < 2; t++)
		pthread_join(thread[t], NULL);
	pthread_barrier_destroy(&c.start);
	assert_int_equal(atomic_load(&c.released), COPY_ROUNDS);
	unpin(&other);
}

static void users_release_what_they_took(void **state)
{
	struct hf_ref ref;

	(void)state;
	restart("linux-6.12", 64);
	map(A, 1, RW);
	store(mm, A, 1);
	assert_int_equal(hf_user_acquire(mm, HF_USER_ODIRECT_WRITE, A, 1, &ref), 1);
	assert_int_equal(hf_user_release(sys, HF_USER_ODIRECT_READ, &ref, 1), -EINVAL); /* writes */
	assert_int_equal(hf_user_release(sys, HF_USER_FIXEDBUF, &ref, 1), -EINVAL); /* long-term */
	assert_int_equal(hf_user_release(sys, HF_USER_VMSPLICE, &ref, 1), -EINVAL); /* a GET */
	assert_int_equal(info(mm, A).pins, 1);
	assert_int_equal(hf_user_release(sys, HF_USER_ODIRECT_WRITE, &ref, 1), 0);
}

static void pins_are_counted_exactly(void **state)
{
	struct hf_ref ref[3];

	(void)state;
	map(A, 3, RW);
	assert_int_equal(hf_pin_user_pages(mm, A, 3, HF_FOLL_WRITE, ref), 3);
	assert_int_equal(info(mm, A).pins, 1);
	assert_int_equal(info(mm, A).refs, 2);
	assert_int_equal(stats().pins_acquired, 3);
	assert_int_equal(hf_unpin_user_pages_dirty(sys, ref, 2), 0);
	assert_int_equal(hf_unpin_user_page_range_dirty(sys, ref + 2, 1, true), 0);
	assert_int_equal(stats().pins_released, 3);
	assert_int_equal(info(mm, A).pins, 0);
}

static void counters_refuse_to_overflow(void **state)
{
	struct hf_ref ref, *more = malloc((HF_PINS_MAX + 1) * sizeof(*more));
	size_t taken = 1;
	int64_t got;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	ref = pin(A, 0);
	while ((got = hf_pin_user_pages_fast(mm, A, 1, 0, &more[taken - 1])) == 1)
		taken++;
	assert_int_equal(got, -EOVERFLOW);
	assert_int_equal(taken, HF_PINS_MAX);
	/* the books still balance, and fork still works */
	hf_mm_put(fork_mm());
	unpin(&ref);
	assert_int_equal(hf_unpin_user_pages(sys, more, taken - 1), 0);
	free(more);
}

static void zeropage_is_pinned_in_pretence_only(void **state)
{
	struct hf_ref ref;

	(void)state;
	restart("linux-6.12", 64);
	map(A, 1, RW);
	load(mm, A);
	assert_int_equal(hf_pin_user_pages(mm, A, 1, 0, &ref), 1);
	assert_true(info(mm, A).zeropage);
	assert_int_equal(stats().pins_acquired, 0);
	unpin(&ref);
	/* long-term: a page of its own */
	assert_int_equal(hf_pin_user_pages(mm, A, 1, HF_FOLL_LONGTERM, &ref), 1);
	assert_false(info(mm, A).zeropage);
	assert_int_equal(stats().pins_acquired, 1);
	unpin(&ref);
}

static void unpin_check_finds_a_lost_mark(void **state)
{
	struct hf_ref ref[2];
	struct hf_page *page;

	(void)state;
	map(A, 2, RW);
	assert_int_equal(hf_pin_user_pages(mm, A, 2, HF_FOLL_WRITE, ref), 2);
	page = &sys->pages[info(mm, A + P).pfn];
	page->flags &= ~HF_PG_EXCLUSIVE; /* somebody's mistake */
	assert_int_equal(hf_unpin_user_pages(sys, ref, 2), -EUCLEAN);
	assert_int_equal(stats().unpin_check_failures, 1);
	assert_int_equal(info(mm, A).pins + info(mm, A + P).pins, 0); /* released all the same */
	page->flags |= HF_PG_EXCLUSIVE;
}

static void users_take_what_their_era_takes(void **state)
{
	static const struct {
		const char *policy;
		enum hf_user user;
		bool pin, write;
	} want[] = {
		{ "linux-4.19", HF_USER_FIXEDBUF, false, true },
		{ "linux-6.1", HF_USER_ODIRECT_READ, false, true },
		{ "linux-6.1", HF_USER_FIXEDBUF, true, true },
		{ "linux-6.12", HF_USER_ODIRECT_READ, true, true },
		{ "linux-6.12", HF_USER_ODIRECT_WRITE, true, false },
		{ "linux-6.12", HF_USER_VMSPLICE, false, false },
		{ "linux-6.18", HF_USER_PTRACE_WRITE, false, true },
		{ "holdfast", HF_USER_PROCESS_VM_READ, true, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		struct hf_ref ref;

		restart(want[i].policy, 64);
		map(A, 1, RW);
		store(mm, A, 1);
		assert_int_equal(hf_user_acquire(mm, want[i].user, A, 1, &ref), 1);
		assert_int_equal(info(mm, A).pins, want[i].pin);
		assert_int_equal(!!(ref.flags & HF_FOLL_WRITE), want[i].write);
		assert_int_equal(hf_user_release(sys, want[i].user, &ref, 1), 0);
	}
	assert_int_equal(hf_user_acquire(mm, HF_NR_USERS, A, 1, NULL), -EINVAL);
}

static void remote_access_reaches_other_processes(void **state)
{
	char out[2 * P], in[2 * P];

	(void)state;
	map(A, 2, RW);
	memset(out, 'y', sizeof(out));
	assert_int_equal(hf_access_process_vm(mm, HF_USER_PROCESS_VM_WRITE, A + 7, out, 2 * P - 7),
			 2 * P - 7);
	assert_int_equal(hf_access_process_vm(mm, HF_USER_PROCESS_VM_READ, A + 7, in, 2 * P - 7),
			 2 * P - 7);
	assert_memory_equal(in, out, 2 * P - 7);
	assert_int_equal(hf_access_process_vm(mm, HF_USER_PROCESS_VM_READ, A + P, in, 2 * P),
			 P); /* short */
	assert_int_equal(hf_access_process_vm(mm, HF_USER_ODIRECT_READ, A, in, 1), -EINVAL);
	assert_int_equal(hf_mprotect(mm, A, P, HF_PROT_READ), 0);
	assert_int_equal(hf_access_process_vm(mm, HF_USER_PROCESS_VM_WRITE, A, out, 1), -EFAULT);
	assert_int_equal(hf_access_process_vm(mm, HF_USER_PTRACE_WRITE, A, "z", 1), 1);
	assert_int_equal(load(mm, A), 'z');
}

/* ---- the reverse map ---- */

struct found {
	struct hf_mm *mm[8];
	uint64_t addr[8];
	size_t nr;
};

static int note_mapping(struct hf_mm *m, uint64_t addr, void *arg)
{
	struct found *f = arg;

	f->mm[f->nr] = m;
	f->addr[f->nr++] = addr;
	return 0;
}

static int stop_walk(struct hf_mm *m, uint64_t addr, void *arg)
{
	(void)m;
	(void)addr;
	(void)arg;
	return 42;
}

static void rmap_finds_every_mapping(void **state)
{
	struct found f = { .nr = 0 };
	struct hf_mm *c1, *c2;
	uint64_t to = A + 99 * P, pfn;

	(void)state;
	map(A, 3, RW);
	store(mm, A + P, 1);
	pfn = info(mm, A + P).pfn;
	c1 = fork_mm();
	assert_int_equal(hf_mm_fork(c1, &c2), 0);
	assert_int_equal(hf_mremap(c2, A + P, P, P, HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &to), 0);
	assert_int_equal(hf_rmap_walk(sys, pfn, note_mapping, &f), 0);
	assert_int_equal(f.nr, 3);
	/* parents before children: a fork under way cannot carry an entry past the walk */
	assert_ptr_equal(f.mm[0], mm);
	assert_ptr_equal(f.mm[1], c1);
	for (size_t i = 0; i < f.nr; i++)
		assert_int_equal(f.addr[i], f.mm[i] == c2 ? to : A + P);
	assert_int_equal(hf_rmap_walk(sys, pfn, stop_walk, NULL), 42);
	assert_int_equal(hf_rmap_walk(sys, 1u << 30, note_mapping, &f), -EINVAL);
	hf_mm_put(c1);
	hf_mm_put(c2);
}

/* ---- the validator sees what is broken ---- */

static enum hf_invariant verdict(void)
{
	struct hf_violation v;

	hf_validate(sys, &v);
	return v.invariant;
}

static _Atomic uint64_t *entry(struct hf_mm *m, uint64_t addr)
{
	return &hf_leaf(m, addr)->entry[hf_pte_index(addr)];
}

static void validator_names_what_is_broken(void **state)
{
	struct hf_page *page, *lone;
	struct hf_mm *child;
	struct hf_ref ref;

	(void)state;
	map(A, 3, RW);
	store(mm, A, 1);
	child = fork_mm();
	store(mm, A + P, 2);
	load(mm, A + 2 * P);
	page = &sys->pages[info(mm, A).pfn];
	lone = &sys->pages[info(mm, A + P).pfn];
	assert_int_equal(verdict(), HF_INV_NONE);

	lone->flags &= ~HF_PG_EXCLUSIVE;
	assert_int_equal(verdict(), HF_I1_WRITABLE_IS_EXCLUSIVE);
	lone->flags |= HF_PG_EXCLUSIVE;
	page->flags |= HF_PG_EXCLUSIVE;
	assert_int_equal(verdict(), HF_I2_EXCLUSIVE_MAPPED_ONCE);
	page->flags &= ~HF_PG_EXCLUSIVE;
	ref = pin(A + P, 0);
	*entry(mm, A + P) &= ~HF_PTE_WRITE;
	lone->flags &= ~HF_PG_EXCLUSIVE;
	assert_int_equal(verdict(), HF_I3_PINNED_IS_EXCLUSIVE);
	lone->flags |= HF_PG_EXCLUSIVE;
	unpin(&ref);
	*entry(mm, A + 2 * P) |= HF_PTE_WRITE;
	assert_int_equal(verdict(), HF_I7_ZEROPAGE_UNTOUCHED);
	*entry(mm, A + 2 * P) &= ~HF_PTE_WRITE;
	sys->frames[17] = 1;
	assert_int_equal(verdict(), HF_I7_ZEROPAGE_UNTOUCHED);
	sys->frames[17] = 0;
	page->mapcount++;
	assert_int_equal(verdict(), HF_INV_MAPCOUNT);
	page->mapcount--;
	page->counts -= HF_COUNT_REF;
	assert_int_equal(verdict(), HF_INV_REFCOUNT);
	page->counts += HF_COUNT_REF;
	page->index++;
	assert_int_equal(verdict(), HF_INV_RMAP);
	page->index--;
	*entry(mm, A + 2 * P) = HF_PTE_PRESENT | 0x999999000ull;
	assert_int_equal(verdict(), HF_INV_TABLE);
	*entry(mm, A + 2 * P) = 0;
	mm->vmas[0]->end += 1;
	assert_int_equal(verdict(), HF_INV_VMA);
	mm->vmas[0]->end -= 1;
	assert_int_equal(verdict(), HF_INV_NONE);
	hf_mm_put(child);
}

static void validator_sees_writes_to_free_frames(void **state)
{
	uint64_t pfn;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	pfn = info(mm, A).pfn;
	assert_int_equal(hf_munmap(mm, A, P), 0);
	sys->frames[pfn * P + 100] ^= 1;
	assert_int_equal(verdict(), HF_INV_FREE_PAGE);
	sys->frames[pfn * P + 100] ^= 1;
}

static void validator_needs_a_writable_shared_page_to_be_wrong_without_marks(void **state)
{
	struct hf_mm *child;

	(void)state;
	restart("linux-4.19", 64);
	map(A, 1, RW);
	store(mm, A, 1);
	child = fork_mm();
	*entry(mm, A) |= HF_PTE_WRITE;
	assert_int_equal(verdict(), HF_I8_SHARED_IS_READ_ONLY);
	*entry(mm, A) &= ~HF_PTE_WRITE;
	hf_mm_put(child);
}

static void policies_are_listed_and_found(void **state)
{
	const struct hf_policy *p;

	(void)state;
	for (size_t i = 0; (p = hf_policy_at(i)); i++) {
		assert_ptr_equal(hf_policy_find(p->name), p);
		assert_true(strlen(p->summary) > 10);
	}
	assert_null(hf_policy_find("linux"));
	assert_null(hf_policy_find(""));
	assert_string_equal(hf_policy_default()->name, "holdfast");
}

static void (*real_unlock)(void *ctx);

/* The walk is over, and before GUP-fast looks at the sequence again, a fork has shared the page. */
static void fork_comes_between(void *ctx)
{
	real_unlock(ctx);
	hf_add(&mm->write_protect_seq, 2, seq_cst);
	hf_and(&sys->pages[info(mm, A).pfn].flags, ~HF_PG_EXCLUSIVE, seq_cst);
}

/* What is undone may well be shared by then: that is no failure of anybody's. */
static void the_undo_runs_no_check(void **state)
{
	static struct hf_platform meddled;
	struct hf_ref ref;

	(void)state;
	map(A, 1, RW);
	store(mm, A, 1);
	assert_int_equal(hf_wrprotect(mm, A, P), 0);
	meddled = *hf_platform_hosted();
	real_unlock = meddled.rcu_read_unlock;
	meddled.rcu_read_unlock = fork_comes_between;
	sys->pf = &meddled;
	assert_int_equal(hf_pin_user_pages_fast(mm, A, 1, HF_FOLL_FAST_ONLY, &ref), 0);
	sys->pf = hf_platform_hosted();
	assert_int_equal(stats().unpin_check_failures, 0);
	assert_int_equal(info(mm, A).pins, 0);
	store(mm, A, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(gup_checks_its_arguments),
		t(gup_respects_protection_unless_forced),
		t(nofault_and_fast_only_take_what_is_there),
		t(gup_fast_gives_way_while_fork_is_under_way),
		t(handles_know_their_kind),
		t(copies_are_stale_once_one_is_released),
		t(zeropage_handles_are_released_once),
		t(another_systems_handles_are_refused),
		t(handles_stay_apart),
		t(one_of_two_releases_at_once_wins),
		t(users_release_what_they_took),
		t(pins_are_counted_exactly),
		t(counters_refuse_to_overflow),
		t(zeropage_is_pinned_in_pretence_only),
		t(unpin_check_finds_a_lost_mark),
		t(users_take_what_their_era_takes),
		t(remote_access_reaches_other_processes),
		t(rmap_finds_every_mapping),
		t(validator_names_what_is_broken),
		t(validator_sees_writes_to_free_frames),
		t(validator_needs_a_writable_shared_page_to_be_wrong_without_marks),
		t(policies_are_listed_and_found),
		t(the_undo_runs_no_check),
	};

	return cmocka_run_group_tests_name("gup", tests, NULL, NULL);
}
