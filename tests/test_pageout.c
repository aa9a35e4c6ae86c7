/* SPDX-License-Identifier: MIT */
/* Large folios that go out and come back, and zeros among them, by era: what holdfast equiv found
 * kernels to do. */
#include "machine.h"

#define H 0x10000000ul /* where a PMD can map */
#define M (512 * P)

static struct hf_swap_device swap;

static void begin(const char *policy, unsigned order)
{
	machine(policy, 4096);
	assert_int_equal(hf_swap_device_open(NULL, 2048, &swap), 0);
	assert_int_equal(hf_swapon(sys, &swap), 0);
	assert_int_equal(hf_system_set_thp(sys, 1u << order), 0);
	map(H, 1u << order, RW);
	assert_int_equal(hf_madvise(mm, H, P << order, HF_MADV_HUGEPAGE), 0);
}

static void end(void)
{
	finish();
	hf_swap_device_close(&swap);
}

static void pageout(struct hf_mm *m, uint64_t addr, size_t len)
{
	assert_int_equal(hf_madvise(m, addr, len, HF_MADV_PAGEOUT), 0);
}

/* A child has copied one page of its parent's folio, and the parent wants another to go. Or that
 * one: nobody else has it. */
static void eras_differ_in_whose_folio_they_take_apart(void **state)
{
	static const struct {
		const char *policy;
		unsigned copied;
		bool out;
	} want[] = {
		{ "linux-6.1", 0, true },   { "linux-6.1", 1, true },   { "linux-6.12", 0, false },
		{ "linux-6.12", 1, false }, { "linux-6.18", 0, false }, { "holdfast", 0, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		uint64_t addr = H + want[i].copied * P;
		struct hf_mm *child;

		begin(want[i].policy, 4);
		store(mm, H, 1);
		child = fork_mm();
		store(child, addr, 2);
		pageout(mm, addr, P);
		assert_int_equal(info(mm, addr).swapped, want[i].out);
		assert_false(info(mm, H + 2 * P).swapped);
		hf_mm_put(child);
		end();
	}
}

/* 6.12 guesses by the first page: who unmapped it is not seen. */
static void on_6_12_the_first_page_speaks_for_the_folio(void **state)
{
	struct hf_mm *child;

	(void)state;
	begin("linux-6.12", 4);
	store(mm, H, 1);
	child = fork_mm();
	assert_int_equal(hf_munmap(child, H, 15 * P), 0);
	assert_int_equal(hf_munmap(mm, H + 5 * P, P), 0);
	pageout(mm, H, P);
	assert_true(info(mm, H).swapped);
	hf_mm_put(child);
	end();
}

/* Up to 6.1 what others used of a folio keeps all that a PMD maps in memory. */
static void use_by_others_keeps_a_whole_folio_on_6_1(void **state)
{
	static const char *const policies[] = { "linux-6.1", "holdfast" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct hf_mm *child;

		begin(policies[i], 9);
		store(mm, H, 1);
		child = fork_mm();
		store(mm, H, 2); /* the rest of it is the parent's by leaf entries, and used */
		pageout(child, H, M);
		assert_int_equal(info(child, H).swapped, i);
		pageout(child, H, M); /* it was not used again meanwhile */
		assert_true(info(child, H).swapped);
		hf_mm_put(child);
		end();
	}
}

static void what_left_whole_comes_back_whole_since_6_12(void **state)
{
	static const struct {
		const char *policy;
		unsigned order;
	} want[] = {
		{ "linux-6.1", 0 }, { "linux-6.12", 4 }, { "linux-6.19", 4 }, { "holdfast", 0 }
	};

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		begin(want[i].policy, 4);
		for (unsigned page = 0; page < 16; page++)
			store(mm, H + page * P, (uint8_t)(page + 1));
		pageout(mm, H, 16 * P);
		assert_true(info(mm, H).swapped && info(mm, H + 15 * P).swapped);
		assert_int_equal(load(mm, H + 9 * P), 10);
		assert_int_equal(info(mm, H + 9 * P).order, want[i].order);
		assert_true(info(mm, H + 9 * P).exclusive);
		assert_int_equal(!info(mm, H).swapped, want[i].order != 0);
		for (unsigned page = 0; page < 16; page++)
			assert_int_equal(load(mm, H + page * P), page + 1);
		end();
	}
}

/* Page by page; a watched range; what a child names, too, where the cache is between. */
static void otherwise_it_comes_back_page_by_page(void **state)
{
	struct hf_mm *child;

	(void)state;
	begin("linux-6.12", 4);
	store(mm, H, 1);
	for (unsigned page = 0; page < 16; page++)
		pageout(mm, H + page * P, P);
	assert_int_equal(load(mm, H), 1);
	assert_int_equal(info(mm, H).order, 0);
	end();

	begin("linux-6.12", 4);
	store(mm, H, 1);
	assert_int_equal(hf_uffd_register(mm, H, 16 * P), 0);
	pageout(mm, H, 16 * P);
	child = fork_mm();
	assert_int_equal(load(mm, H), 1);
	assert_int_equal(info(mm, H).order, 0);
	hf_mm_put(child);
	end();

	begin("linux-6.12", 4);
	assert_int_equal(hf_uffd_register(mm, H, 16 * P), 0);
	child = fork_mm();
	store(mm, H, 1);
	store(child, H, 2); /* children are not watched */
	assert_int_equal(info(mm, H).order, 0);
	assert_int_equal(info(child, H).order, 4);
	hf_mm_put(child);
	end();
}

/* Write-protection by userfaultfd is lifted page by page: the store finds a page of a PTE-mapped
 * folio that lost its mark to a child. Who is not watched finds a PMD. */
static void a_watched_folio_is_split_by_a_store(void **state)
{
	struct hf_mm *child;
	uint64_t pfn;

	(void)state;
	begin("linux-6.12", 9);
	store(mm, H, 1);
	assert_int_equal(hf_uffd_register(mm, H, M), 0);
	assert_int_equal(hf_uffd_writeprotect(mm, H, M, true), 0);
	child = fork_mm();
	assert_true(info(mm, H).uffd_wp && !info(child, H).uffd_wp);
	assert_int_equal(hf_munmap(child, H, M), 0);
	pfn = info(mm, H).pfn;
	store(mm, H, 2);
	assert_false(info(mm, H).pmd);
	assert_true(info(mm, H).pfn != pfn);
	hf_mm_put(child);
	end();
}

/* Zeros become the zeropage when a folio is taken apart, not when it leaves whole. */
static void zeros_of_a_folio_become_the_zeropage(void **state)
{
	static const char *const policies[] = { "linux-6.1", "linux-6.12" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		begin(policies[i], 9);
		store(mm, H + P, 1);
		pageout(mm, H + P, P);
		assert_true(info(mm, H + P).swapped);
		assert_int_equal(info(mm, H + 2 * P).zeropage, i);
		pageout(mm, H + 3 * P, P);
		assert_int_equal(info(mm, H + 3 * P).swapped, !i);
		assert_int_equal(load(mm, H + 2 * P), 0);
		store(mm, H + 2 * P, 3);
		assert_int_equal(load(mm, H + 2 * P), 3);
		end();
	}
	begin("linux-6.12", 9);
	store(mm, H, 1);
	pageout(mm, H, M);
	assert_true(info(mm, H + 2 * P).swapped);
	end();
}

static void a_write_to_the_huge_zeropage_by_era(void **state)
{
	static const struct {
		const char *policy;
		bool whole;
	} want[] = { { "linux-6.12", false }, { "linux-6.18", true }, { "holdfast", false } };

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		begin(want[i].policy, 9);
		assert_int_equal(load(mm, H), 0);
		assert_true(info(mm, H).zeropage);
		store(mm, H + 7 * P, 1);
		assert_int_equal(info(mm, H + 7 * P).pmd, want[i].whole);
		assert_true(info(mm, H + 7 * P).exclusive);
		assert_int_equal(info(mm, H).zeropage, !want[i].whole);
		assert_int_equal(load(mm, H + 8 * P), 0);
		end();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(eras_differ_in_whose_folio_they_take_apart),
		cmocka_unit_test(on_6_12_the_first_page_speaks_for_the_folio),
		cmocka_unit_test(use_by_others_keeps_a_whole_folio_on_6_1),
		cmocka_unit_test(what_left_whole_comes_back_whole_since_6_12),
		cmocka_unit_test(otherwise_it_comes_back_page_by_page),
		cmocka_unit_test(a_watched_folio_is_split_by_a_store),
		cmocka_unit_test(zeros_of_a_folio_become_the_zeropage),
		cmocka_unit_test(a_write_to_the_huge_zeropage_by_era),
	};

	return cmocka_run_group_tests_name("pageout", tests, NULL, NULL);
}
