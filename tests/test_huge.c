/* SPDX-License-Identifier: MIT */
/* Large folios, mapped by PMDs and by leaf entries: one promise a test. */
#include "machine.h"

#define H 0x10000000ul /* where a PMD can map */
#define M (512 * P)

static int setup_huge(void **state)
{
	(void)state;
	machine("holdfast", 4096);
	return 0;
}

static void map_huge(uint64_t addr, size_t pages)
{
	map(addr, pages, RW);
	assert_int_equal(hf_madvise(mm, addr, pages * P, HF_MADV_HUGEPAGE), 0);
}

/* A folio behind a PMD, every page of it with its own first byte. */
static void fill_huge(void)
{
	map_huge(H, 512);
	for (unsigned i = 0; i < 512; i++)
		store(mm, H + i * P, (uint8_t)(i % 251));
	assert_true(info(mm, H).pmd);
}

static void check_filled(struct hf_mm *m)
{
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(load(m, H + i * P), i % 251);
}

static void sizes(uint32_t orders)
{
	assert_int_equal(hf_system_set_thp(sys, orders), 0);
}

static void one_fault_maps_a_folio(void **state)
{
	struct hf_page_info i;

	(void)state;
	map_huge(H, 512);
	store(mm, H + 5 * P, 7);
	i = info(mm, H + 5 * P);
	assert_true(i.pmd && i.writable && i.exclusive && i.anon);
	assert_int_equal(i.order, 9);
	assert_int_equal(i.refs, 1);
	assert_int_equal(i.mapcount, 1);
	assert_int_equal(info(mm, H).pfn + 5, i.pfn);
	assert_int_equal(i.pfn % 512, 5);
	assert_int_equal(load(mm, H + 511 * P), 0);
	assert_int_equal(stats().faults, 1);
	assert_int_equal(stats().thp_faults, 1);
	assert_true(sys->pages[info(mm, H).pfn].flags & HF_PG_EXCLUSIVE);
	assert_false(sys->pages[i.pfn].flags &
		     HF_PG_EXCLUSIVE); /* the first page's stands for all */
}

static void a_split_gives_every_page_the_mark(void **state)
{
	uint64_t first;

	(void)state;
	fill_huge();
	first = info(mm, H).pfn;
	assert_int_equal(hf_mprotect(mm, H + P, P, HF_PROT_READ), 0);
	for (unsigned i = 0; i < 512; i++) {
		struct hf_page_info p = info(mm, H + i * P);

		assert_true(!p.pmd && p.exclusive && p.mapcount == 1);
		assert_int_equal(p.pfn, first + i);
		assert_int_equal(p.writable, i != 1);
		assert_int_equal(p.refs, 512);
	}
	check_filled(mm);
	assert_int_equal(hf_validate(sys, NULL), 0);
	assert_int_equal(stats().cow_copies, 0);
}

static void fork_shares_a_folio_whole(void **state)
{
	struct hf_mm *child;

	(void)state;
	fill_huge();
	child = fork_mm();
	assert_true(info(mm, H).pmd && info(child, H).pmd);
	assert_true(info(mm, H + 9 * P).pfn == info(child, H + 9 * P).pfn);
	assert_false(info(mm, H).exclusive || info(mm, H).writable || info(child, H).writable);
	store(mm, H + 9 * P, 200); /* the PMD is split, and one page copied */
	assert_false(info(mm, H).pmd);
	assert_true(info(child, H).pmd);
	assert_true(info(mm, H + 8 * P).pfn == info(child, H + 8 * P).pfn);
	check_filled(child);
	assert_int_equal(hf_validate(sys, NULL), 0);
	hf_mm_put(child);
	assert_int_equal(load(mm, H + 9 * P), 200);
}

static void the_last_owner_keeps_the_folio(void **state)
{
	uint64_t first;

	(void)state;
	fill_huge();
	first = info(mm, H).pfn;
	hf_mm_put(fork_mm());
	assert_false(info(mm, H).exclusive); /* nobody has looked yet */
	store(mm, H + 3 * P, 1);
	assert_true(info(mm, H).pmd && info(mm, H).exclusive);
	assert_int_equal(info(mm, H).pfn, first);
	assert_int_equal(stats().cow_copies, 0);
}

/* Whatever holds it: the mark is all that counts, for a PMD too. */
static void an_exclusive_folio_is_kept_whatever_holds_it(void **state)
{
	struct hf_ref ref;
	uint64_t first;

	(void)state;
	fill_huge();
	first = info(mm, H).pfn;
	ref = pin(H + 7 * P, HF_FOLL_WRITE);
	assert_int_equal(hf_wrprotect(mm, H, M), 0);
	store(mm, H + 7 * P, 9);
	assert_true(info(mm, H).pmd && info(mm, H).writable);
	assert_int_equal(info(mm, H).pfn, first);
	assert_int_equal(stats().cow_copies, 0);
	unpin(&ref);
}

/* Counts are exact here; Linux knows of one count for the folio, and copies all of it. */
static void fork_copies_pinned_pages_of_a_folio(void **state)
{
	static const struct {
		const char *policy;
		unsigned copies;
	} want[] = { { "holdfast", 1 }, { "linux-6.12", 512 }, { "linux-5.10", 512 } };

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		struct hf_mm *child;
		struct hf_ref ref;

		restart(want[i].policy, 4096);
		fill_huge();
		ref = pin(H + 77 * P, HF_FOLL_WRITE);
		assert_int_equal(info(mm, H + 77 * P).pins, 1);
		assert_int_equal(info(mm, H + 76 * P).pins, 0);
		child = fork_mm();
		assert_int_equal(stats().fork_copies, want[i].copies);
		assert_true(info(mm, H + 77 * P).pfn == hf_ref_pfn(sys, &ref));
		assert_int_equal(hf_validate(sys, NULL), 0);
		check_filled(child);
		store(mm, H + 77 * P, 3);
		assert_true(info(mm, H + 77 * P).pfn == hf_ref_pfn(sys, &ref));
		unpin(&ref);
		hf_mm_put(child);
	}
}

static void smaller_folios_are_mapped_page_by_page(void **state)
{
	(void)state;
	sizes(1u << 4 | 1u << 2);
	map_huge(H, 24);
	store(mm, H + 3 * P, 1);
	assert_int_equal(info(mm, H + 15 * P).order, 4);
	assert_int_equal(info(mm, H).refs, 16);
	assert_true(info(mm, H + 15 * P).exclusive && info(mm, H + 15 * P).writable);
	store(mm, H + 17 * P, 1); /* 16 pages do not fit there */
	assert_int_equal(info(mm, H + 16 * P).order, 2);
	assert_false(info(mm, H + 20 * P).present);
	load(mm, H + 20 * P);
	assert_true(info(mm, H + 20 * P).zeropage); /* reads need no memory */
	store(mm, H + 21 * P, 1);
	assert_int_equal(info(mm, H + 21 * P).order, 0); /* one of its pages was taken */
	assert_int_equal(hf_madvise(mm, H, P, HF_MADV_DONTNEED), 0);
	assert_int_equal(info(mm, H + P).refs, 15);
	assert_int_equal(hf_system_set_thp(sys, 1), -EINVAL);
	assert_int_equal(hf_system_set_thp(sys, 1u << 10), -EINVAL);
}

/* What a page does that lost its mark and has no sharer any more. */
static void eras_differ_in_reusing_a_page_of_a_folio(void **state)
{
	static const struct {
		const char *policy;
		bool reused;
	} want[] = { { "linux-4.19", true },
		     { "linux-5.10", false },
		     { "linux-6.12", false },
		     { "linux-6.18", true },
		     { "holdfast", true } };

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		uint64_t before;

		restart(want[i].policy, 256);
		sizes(1u << 3);
		map_huge(H, 8);
		store(mm, H, 1);
		before = info(mm, H + 5 * P).pfn;
		hf_mm_put(fork_mm());
		store(mm, H + 5 * P, 2);
		assert_int_equal(info(mm, H + 5 * P).pfn == before, want[i].reused);
		assert_int_equal(hf_validate(sys, NULL), 0);
	}
}

/* A reference to another page of the folio may be to this one: Linux cannot tell. */
static void a_held_folio_is_not_reused(void **state)
{
	struct hf_mm *child;
	struct hf_ref ref;

	(void)state;
	restart("linux-6.18", 256);
	sizes(1u << 3);
	map_huge(H, 8);
	store(mm, H, 1);
	child = fork_mm();
	assert_int_equal(hf_get_user_pages(child, H + 5 * P, 1, 0, &ref), 1);
	hf_mm_put(child);
	store(mm, H + 5 * P, 2);
	assert_int_equal(stats().cow_copies, 1);
	assert_int_equal(hf_put_user_pages(sys, &ref, 1), 0);
	store(mm, H + 4 * P, 2);
	assert_int_equal(stats().cow_copies, 1);
}

static void two_owners_are_known_and_a_third_is_not_forgotten(void **state)
{
	struct hf_mm *child, *grandchild;
	struct hf_page *head;

	(void)state;
	restart("linux-6.18", 256);
	sizes(1u << 3);
	map_huge(H, 8);
	store(mm, H, 1);
	head = &sys->pages[info(mm, H).pfn];
	assert_false(hf_folio_maybe_shared(head));
	child = fork_mm();
	assert_true(hf_folio_maybe_shared(head));
	assert_int_equal(hf_mm_fork(child, &grandchild), 0);
	hf_mm_put(child);
	assert_true(hf_folio_maybe_shared(head)); /* the third one is still there */
	hf_mm_put(grandchild);
	assert_false(hf_folio_maybe_shared(head));
}

static void a_pin_is_of_one_page(void **state)
{
	struct hf_ref ref;
	struct hf_mm *child;

	(void)state;
	fill_huge();
	ref = pin(H + 100 * P, 0);
	assert_int_equal(hf_munmap(mm, H, 50 * P), 0); /* splits the PMD below the pin */
	assert_true(info(mm, H + 100 * P).exclusive);
	child = fork_mm();
	assert_int_equal(stats().fork_copies, 1);
	assert_false(info(mm, H + 101 * P).exclusive);
	unpin(&ref);
	hf_mm_put(child);
}

static void pins_outlive_the_mapping(void **state)
{
	struct hf_ref ref;
	uint8_t value;

	(void)state;
	fill_huge();
	ref = pin(H + 100 * P, 0);
	assert_int_equal(hf_munmap(mm, H, M), 0);
	assert_int_equal(hf_ref_read(sys, &ref, 0, &value, 1), 0);
	assert_int_equal(value, 100);
	unpin(&ref);
	assert_int_equal(stats().nr_free, 4095);
}

static void gup_fast_goes_through_pmds(void **state)
{
	struct hf_ref refs[4];

	(void)state;
	fill_huge();
	assert_int_equal(
		hf_pin_user_pages_fast(mm, H + 510 * P, 2, HF_FOLL_WRITE | HF_FOLL_FAST_ONLY, refs),
		2);
	assert_int_equal(hf_ref_pfn(sys, &refs[1]), info(mm, H).pfn + 511);
	assert_int_equal(hf_unpin_user_pages(sys, refs, 2), 0);
	hf_mm_put(fork_mm());
	/* read-only now, and not exclusive: an unshare fault makes it so, whole */
	assert_int_equal(hf_pin_user_pages_fast(mm, H, 4, HF_FOLL_FAST_ONLY, refs), 0);
	assert_int_equal(hf_pin_user_pages_fast(mm, H, 4, 0, refs), 4);
	assert_true(info(mm, H).pmd && info(mm, H).exclusive && !info(mm, H).writable);
	assert_int_equal(hf_unpin_user_pages(sys, refs, 4), 0);
}

static void the_huge_zeropage_is_split_by_a_store(void **state)
{
	(void)state;
	map_huge(H, 512);
	assert_int_equal(load(mm, H + 7 * P), 0);
	assert_true(info(mm, H + 7 * P).zeropage && info(mm, H + 7 * P).pmd);
	store(mm, H + 7 * P, 1);
	assert_false(info(mm, H).pmd);
	assert_true(info(mm, H + 6 * P).zeropage && info(mm, H + 7 * P).exclusive);
	assert_int_equal(load(mm, H + 8 * P), 0);
}

/* Linux counts pins on it, like on any folio, but not on the small one. */
static void the_huge_zeropage_can_be_pinned_on_linux(void **state)
{
	struct hf_ref ref;
	uint64_t zero;

	(void)state;
	restart("linux-6.12", 4096);
	map_huge(H, 512);
	load(mm, H);
	zero = info(mm, H).pfn;
	ref = pin(H + 3 * P, 0);
	assert_int_equal(hf_ref_pfn(sys, &ref), zero + 3);
	assert_int_equal(hf_folio_pins(&sys->pages[zero]), 1);
	assert_int_equal(hf_system_destroy(sys), -EBUSY);
	unpin(&ref);
	ref = pin(H + 3 * P, HF_FOLL_LONGTERM); /* not for long */
	assert_int_not_equal(hf_ref_pfn(sys, &ref), zero + 3);
	assert_true(info(mm, H + 3 * P).exclusive);
	unpin(&ref);
}

static void going_out_takes_a_folio_apart(void **state)
{
	struct hf_swap_device swap;

	(void)state;
	assert_int_equal(hf_swap_device_open(NULL, 1024, &swap), 0);
	assert_int_equal(hf_swapon(sys, &swap), 0);
	fill_huge();
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_PAGEOUT), 0);
	assert_true(info(mm, H).swapped && info(mm, H + 511 * P).swapped);
	assert_int_equal(stats().nr_free, 4095);
	check_filled(mm);
	assert_int_equal(info(mm, H).order, 0);
	assert_true(info(mm, H).exclusive);
	assert_int_equal(hf_swapoff(sys), 0);
	hf_swap_device_close(&swap);
}

static void a_held_folio_stays_whole(void **state)
{
	struct hf_swap_device swap;
	struct hf_ref ref;

	(void)state;
	assert_int_equal(hf_swap_device_open(NULL, 1024, &swap), 0);
	assert_int_equal(hf_swapon(sys, &swap), 0);
	fill_huge();
	assert_int_equal(hf_get_user_pages(mm, H + 9 * P, 1, 0, &ref), 1);
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_PAGEOUT), 0);
	assert_int_equal(info(mm, H).order, 9);
	assert_int_equal(stats().swap_outs, 0);
	assert_int_equal(hf_migrate_pages(mm, H, M), 0);
	assert_int_equal(hf_put_user_pages(sys, &ref, 1), 0);
	check_filled(mm);
	assert_int_equal(hf_swapoff(sys), 0);
	hf_swap_device_close(&swap);
}

static void a_folio_migrates_whole(void **state)
{
	uint64_t before;
	struct hf_mm *child;

	(void)state;
	fill_huge();
	before = info(mm, H).pfn;
	child = fork_mm();
	store(mm, H, 100);
	store(mm, H, 0);
	assert_true(hf_migrate_pages(child, H, M) > 0);
	assert_int_not_equal(info(child, H + P).pfn, before + 1);
	assert_true(info(child, H + P).pfn == info(mm, H + P).pfn);
	assert_int_equal(info(child, H + P).order, 9);
	check_filled(child);
	check_filled(mm);
	hf_mm_put(child);
}

static void half_of_a_folio_moves_away(void **state)
{
	uint64_t to = H + 2 * M, pfn;

	(void)state;
	fill_huge();
	pfn = info(mm, H + 300 * P).pfn;
	assert_int_equal(hf_mremap(mm, H + 256 * P, 256 * P, 256 * P,
				   HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &to),
			 0);
	assert_int_equal(info(mm, to + 44 * P).pfn, pfn);
	assert_true(info(mm, to).exclusive && info(mm, H).exclusive);
	assert_int_equal(load(mm, to + 44 * P), 300 % 251);
	assert_int_equal(hf_validate(sys, NULL), 0);
}

static void a_folio_moves_whole(void **state)
{
	uint64_t to = H + 4 * M;
	struct hf_mm *child;

	(void)state;
	map_huge(H, 512);
	store(mm, H + 3 * P, 3);
	child = fork_mm();
	assert_int_equal(hf_mremap(mm, H, M, M, HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &to), 0);
	assert_true(info(mm, to).pmd && info(child, H).pmd);
	assert_true(info(mm, to).pfn == info(child, H).pfn);
	assert_int_equal(stats().thp_splits, 0);
	assert_int_equal(hf_validate(sys, NULL), 0);
	store(mm, to, 4); /* which splits it: the table for that came along */
	assert_int_equal(load(mm, to + 3 * P), 3);
	assert_int_equal(hf_validate(sys, NULL), 0);
	/* to where a PMD cannot map it */
	to = H + 8 * M + P;
	assert_int_equal(hf_mremap(child, H, M, M, HF_MREMAP_MAYMOVE | HF_MREMAP_FIXED, &to), 0);
	assert_false(info(child, to).pmd);
	assert_int_equal(load(child, to + 3 * P), 3);
	hf_mm_put(child);
}

static void collapse_copies_to_a_folio(void **state)
{
	(void)state;
	map(H, 512, RW);
	for (unsigned i = 0; i < 512; i += 2)
		store(mm, H + i * P, (uint8_t)(i % 251));
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_COLLAPSE), 0);
	assert_true(info(mm, H).pmd && info(mm, H).exclusive && info(mm, H).writable);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(load(mm, H + i * P), i % 2 ? 0 : i % 251);
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_COLLAPSE), 0); /* already */
	assert_int_equal(stats().nr_free, 4095 - 512);
	assert_int_equal(hf_madvise(mm, H + P, P, HF_MADV_COLLAPSE), -EINVAL);
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_NOHUGEPAGE), 0);
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_COLLAPSE), -EINVAL);
}

static void collapse_leaves_held_pages_alone(void **state)
{
	struct hf_ref ref;
	uint64_t pfn;

	(void)state;
	map(H, 512, RW);
	store(mm, H + 3 * P, 5);
	pfn = info(mm, H + 3 * P).pfn;
	assert_int_equal(hf_get_user_pages(mm, H + 3 * P, 1, 0, &ref), 1);
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_COLLAPSE), -EAGAIN);
	assert_int_equal(info(mm, H + 3 * P).pfn, pfn);
	assert_int_equal(hf_put_user_pages(sys, &ref, 1), 0);
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_COLLAPSE), 0);
	assert_int_equal(load(mm, H + 3 * P), 5);
}

static void collapse_after_a_fork_is_the_callers_copy(void **state)
{
	struct hf_mm *child;

	(void)state;
	fill_huge();
	assert_int_equal(hf_mprotect(mm, H + P, P, HF_PROT_READ), 0);
	assert_int_equal(hf_mprotect(mm, H + P, P, RW), 0);
	child = fork_mm();
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_COLLAPSE), 0);
	assert_true(info(mm, H).pmd && !info(child, H).pmd);
	store(mm, H, 99);
	check_filled(child);
	hf_mm_put(child);
	restart("linux-6.12", 4096);
	fill_huge();
	assert_int_equal(hf_mprotect(mm, H + P, P, HF_PROT_READ), 0);
	assert_int_equal(hf_mprotect(mm, H + P, P, RW), 0);
	child = fork_mm();
	assert_int_equal(hf_madvise(mm, H, M, HF_MADV_COLLAPSE), -EINVAL); /* SCAN_PAGE_RO */
	hf_mm_put(child);
}

#define h(test) cmocka_unit_test_setup_teardown(test, setup_huge, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		h(one_fault_maps_a_folio),
		h(a_split_gives_every_page_the_mark),
		h(fork_shares_a_folio_whole),
		h(the_last_owner_keeps_the_folio),
		h(an_exclusive_folio_is_kept_whatever_holds_it),
		h(fork_copies_pinned_pages_of_a_folio),
		h(smaller_folios_are_mapped_page_by_page),
		h(eras_differ_in_reusing_a_page_of_a_folio),
		h(a_held_folio_is_not_reused),
		h(two_owners_are_known_and_a_third_is_not_forgotten),
		h(a_pin_is_of_one_page),
		h(pins_outlive_the_mapping),
		h(gup_fast_goes_through_pmds),
		h(the_huge_zeropage_is_split_by_a_store),
		h(the_huge_zeropage_can_be_pinned_on_linux),
		h(going_out_takes_a_folio_apart),
		h(a_held_folio_stays_whole),
		h(a_folio_migrates_whole),
		h(half_of_a_folio_moves_away),
		h(a_folio_moves_whole),
		h(collapse_copies_to_a_folio),
		h(collapse_leaves_held_pages_alone),
		h(collapse_after_a_fork_is_the_callers_copy),
	};

	return cmocka_run_group_tests_name("huge", tests, NULL, NULL);
}
