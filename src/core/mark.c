/* SPDX-License-Identifier: MIT */
/*
 * The exclusive mark (PageAnonExclusive): this page belongs to one address space only. The bit is
 * touched in this file and nowhere else.
 *
 * What the mark is for. Mappings and references say how many hold a page, never who: one's own
 * device counts as a stranger, and a stranger who holds without mapping counts for nobody. The mark
 * says who. Three invariants make it worth believing:
 *
 *   I1  what a writable entry maps is marked          hf_mark_allows_write()
 *   I2  what is marked is mapped at most once         hf_mark_allows_mappings()
 *   I3  what is pinned and mapped is marked           hf_mark_allows_pin()
 *
 * From them follows all of copy-on-write: a write fault keeps a marked page without a look at
 * anything else (I2), so whoever pinned it goes on seeing its owner's bytes (I3), and a store that
 * needs no fault was right all along (I1).
 *
 * Its life:
 *
 *   birth     a page that nobody had before: a first touch, any copy, a   hf_mark_new()
 *             collapsed folio (which is a copy)
 *   proof     a write or unshare fault of a page without it finds that    hf_mark_prove()
 *             nobody else has the page; which rule says so is the policy's
 *   keeping   munmap, mremap, mprotect, references and their release leave
 *             it as it is: pins outlive mappings
 *   fan-out   of a folio behind PMDs the first page's stands for all; a   hf_mark_fan_out()
 *             split of the PMD gives each page its own
 *   away      an entry that became a swap or migration entry holds it: in
 *             HF_PTE_SWP_EXCLUSIVE, HF_PTE_MIG_EXCLUSIVE
 *     leaves    the page gives it up, if there is no pin                  hf_ptep_clear_try_share()
 *     apart     a folio that is taken apart meanwhile has none left       hf_mark_drop()
 *     shared    fork takes it from the entry, the parent's too            hf_mark_share_away()
 *     returns   the page that the entry names again gets it               hf_mark_restore()
 *   sharing   fork: both map the page from now on                         hf_mark_share()
 *             KSM, and whoever takes the entry away: not if it is pinned  hf_page_try_share()
 *   death     with the page's last reference, as all of its flags (page.c)
 *
 * Nobody sets it because the last other sharer went: that would take the reverse map in each unmap,
 * and the next fault proves it for the price of one comparison.
 *
 * Locks. It changes under ptl of the one entry that maps the page (of the PMD, for the first page
 * of a folio that is behind one), so who holds that may look once and rely on it. Before the page
 * is mapped it is its maker's. GUP-fast alone looks without a lock, and the two orders that this
 * takes are at hf_mark_share() and hf_page_try_share().
 *
 * Policies without the mark are served here, not by those who call: nothing is ever set, and
 * questions have the answer that lets the policy's other rules decide.
 */
#include "internal.h"

/* ---- questions ---- */

/*
 * While only PMDs map a folio, the first page's mark is every page's. A split may be under way: it
 * sets the page's own mark before it counts the page's own mapping (hf_mark_fan_out()).
 */
bool hf_page_exclusive(const struct hf_page *page)
{
	const struct hf_page *head = hf_folio(page);
	bool by_pmd = head != page && hf_ld(&head->entire_mapcount, acquire) &&
		      !hf_ld(&page->mapcount, acquire);

	/* who looks twice holds ptl, under which alone the mark changes */
	if (hf_hint(&page->flags, relaxed) & HF_PG_EXCLUSIVE)
		return true;
	return by_pmd && hf_ld(&head->flags, relaxed) & HF_PG_EXCLUSIVE;
}

/* The first page's counts only where it is the page's own, or a PMD maps all. */
bool hf_mark_peek(const struct hf_page *page)
{
	const struct hf_page *head = hf_peek_folio(page);
	bool by_pmd = hf_peek(&head->entire_mapcount) && !hf_peek(&page->mapcount);

	return (hf_peek(&page->flags) | (by_pmd ? hf_peek(&head->flags) : 0)) & HF_PG_EXCLUSIVE;
}

bool hf_page_marked(const struct hf_system *sys, const struct hf_page *page)
{
	return sys->policy->has_mark && hf_page_exclusive(page);
}

bool hf_mark_allows_write(const struct hf_system *sys, const struct hf_page *page)
{
	return !sys->policy->has_mark || hf_page_exclusive(page);
}

bool hf_mark_allows_mappings(const struct hf_system *sys, const struct hf_page *page,
			     uint32_t mappings)
{
	return !hf_page_exclusive(page) || (sys->policy->has_mark && mappings <= 1);
}

/* A policy that has the mark and lets pins do without it (pins_shared) has no I3. */
bool hf_mark_allows_pin(const struct hf_system *sys, const struct hf_page *page)
{
	return !sys->policy->has_mark || sys->policy->pins_shared || !hf_page_is_anon(page) ||
	       hf_page_exclusive(page);
}

/*
 * munmap does not take the mark away, so a page that was pinned with it still has it, or somebody
 * shared what he must not: this one look covers everything above. Of a large folio the first page's
 * mark stands for all while PMDs alone have mapped it; Linux takes it for all always. Without marks
 * the nearest question is whether anybody else maps the page.
 */
bool hf_mark_stands(const struct hf_system *sys, const struct hf_page *page)
{
	const struct hf_page *head = hf_folio(page);

	if (!sys->policy->has_mark)
		return hf_page_mapcount(page) <= 1;
	if (hf_page_exclusive(page))
		return true;
	return head != page && hf_page_exclusive(head) &&
	       (sys->policy->estimates_pins ||
		hf_folio_mapcount(page) == hf_ld(&head->entire_mapcount, relaxed));
}

/* ---- it comes ---- */

/*
 * False: the policy has no marks. Relaxed, always: what makes the page known publishes the mark
 * with it. That is the release of the entry that maps the page, or makes it writable, which
 * GUP-fast reads before it looks at the mark.
 */
static bool set(const struct hf_system *sys, struct hf_page *page)
{
	if (!sys->policy->has_mark)
		return false;
	hf_assert(!(hf_peek(&page->flags) & (HF_PG_KSM | HF_PG_RESERVED | HF_PG_BUDDY)));
	hf_assert(!hf_peek(&hf_peek_folio(page)->file));
	hf_assert(hf_peek_mapcount(page) <= 1); /* I2 */
	hf_or(&page->flags, HF_PG_EXCLUSIVE, relaxed);
	return true;
}

void hf_mark_new(const struct hf_system *sys, struct hf_page *page)
{
	hf_assert(hf_peek_refs(page) && !hf_peek_mapcount(page));
	set(sys, page);
}

/*
 * The rule compares references with mappings, or counts one of them, and no reference appears
 * behind its back that it would have to know of: a pin takes only what is marked already, and a
 * plain reference that GUP-fast takes this moment may see the owner's later bytes, or not.
 */
bool hf_mark_prove(const struct hf_mm *mm, struct hf_page *page, hf_reuse_fn rule)
{
	hf_assert(hf_peek_flags(page) & HF_PG_ANON);
	hf_assert(!hf_mark_peek(page));
	hf_assert_mmap_locked(mm);
	if (!rule(mm, page))
		return false;
	set(mm->sys, page);
	return true;
}

bool hf_mark_restore(const struct hf_system *sys, struct hf_page *page)
{
	hf_assert(hf_peek_flags(page) & HF_PG_ANON);
	return set(sys, page);
}

/*
 * Each page's own mark, then its own mapping (release), then the PMD's mapping goes (release):
 * hf_page_exclusive() reads them in the opposite order and goes by the first page's mark only while
 * it sees the PMD and no mapping of the page, so at no time does a marked page seem to have none.
 */
void hf_mark_fan_out(const struct hf_system *sys, struct hf_page *head)
{
	bool exclusive = hf_page_exclusive(head);

	hf_assert(hf_peek_folio(head) == head && hf_peek(&head->entire_mapcount));
	for (unsigned i = 0; i < HF_PMD_PAGES; i++) {
		if (exclusive)
			set(sys, head + i);
		hf_ref_add(&head[i].mapcount, 1, release);
	}
}

/* ---- it goes ---- */

static void clear(struct hf_page *page)
{
	hf_and(&page->flags, ~HF_PG_EXCLUSIVE, relaxed);
}

/*
 * fork: the policy has looked at the pins and shares the page. Nothing here keeps GUP-fast from
 * pinning it this moment, and where the entry is read-only already no change of the entry tells it.
 * So fork makes write_protect_seq odd, by a seq_cst operation, before it reads the first pin count,
 * and even when it is through; GUP-fast throws away a pin that began or ended in between. Of the
 * two one sees the other: fork the pin, and copies, or GUP-fast the sequence.
 */
void hf_mark_share(const struct hf_mm *parent, struct hf_page *page)
{
	(void)parent;
	hf_assert_mmap_write_locked(parent);
	hf_assert(hf_peek(&parent->write_protect_seq) & 1);
	hf_assert(hf_peek_flags(page) & HF_PG_ANON);
	clear(page);
}

/* The parent's entry changes, too: where the page is away, the entry is all that has the mark. */
hf_pte hf_mark_share_away(hf_pte pte)
{
	hf_assert(!hf_pte_present(pte) && !hf_pte_none(pte));
	if (hf_pte_swap(pte))
		return pte & ~HF_PTE_SWP_EXCLUSIVE;
	if (hf_pte_migration(pte))
		return pte & ~(HF_PTE_MIG_WRITE | HF_PTE_MIG_EXCLUSIVE);
	return pte;
}

/*
 * The contract with GUP-fast, which has no lock:
 *
 *   who shares                        GUP-fast
 *   1 clears the entry, seq_cst       1 reads the entry
 *   2 reads the pins, seq_cst         2 counts the pin, seq_cst
 *   3 clears the mark                 3 reads the entry again, seq_cst
 *   4 puts an entry back, release     4 reads the mark
 *
 * In the one order of all seq_cst operations either the pin is counted before it is read (2), and
 * the page stays as it was, or the entry is cleared before it is read again (3), and the pin is
 * given back: never do both miss each other. And if GUP-fast reads the very same entry that was put
 * back (4, which happens where it was read-only before), it then sees that the mark is gone, since
 * the mark goes before that entry comes. With no entry there no pin can begin, so the pins may be
 * read before the mark is cleared.
 *
 * Plain references do not matter: what they may see is not promised to be anybody's later bytes.
 */
int hf_page_try_share(const struct hf_system *sys, struct hf_page *page)
{
	const struct hf_policy *policy = sys->policy;

	hf_assert(hf_mark_peek(page));
	if (!policy->pins_shared && hf_page_looks_pinned(sys, page))
		return -HF_EBUSY;
	clear(page);
	return 0;
}

int hf_ptep_clear_try_share(struct hf_mm *mm, _Atomic uint64_t *ptep, struct hf_page *page,
			    hf_pte *pte, bool *exclusive)
{
	hf_assert_page_locked(page);
	*exclusive = hf_page_marked(mm->sys, page);
	*pte = hf_xchg(ptep, 0, seq_cst);
	hf_tlb_flush(mm);
	if (!*exclusive || !hf_page_try_share(mm->sys, page))
		return 0;
	/* relaxed: a translation of it begins after the flush, and who takes a reference counts it
	 * after the one that is in the way, whose holder came by the entry as it was */
	hf_st(ptep, *pte, relaxed);
	return -HF_EBUSY;
}

void hf_mark_drop(struct hf_page *head)
{
	hf_assert(!hf_peek_refs(head) && !hf_peek(&head->large_mapcount));
	clear(head);
}
