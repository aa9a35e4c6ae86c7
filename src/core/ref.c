/* SPDX-License-Identifier: MIT */
/* References once they are held: what devices do through them, and their release. */
#include "internal.h"

static bool is_zeropage(const struct hf_system *sys, const struct hf_ref *ref)
{
	return ref->page == sys->zeropage;
}

uint64_t hf_ref_pfn(struct hf_system *sys, const struct hf_ref *ref)
{
	return hf_ref_is_held(sys, ref) ? hf_page_pfn(sys, ref->page) : HF_PFN_NONE;
}

static bool span_ok(size_t offset, size_t len)
{
	return offset <= HF_PAGE_SIZE && len <= HF_PAGE_SIZE - offset;
}

int hf_ref_read(struct hf_system *sys, const struct hf_ref *ref, size_t offset, void *to,
		size_t len)
{
	if (!hf_ref_is_held(sys, ref) || !span_ok(offset, len))
		return -HF_EINVAL;
	sys->pf->copy(sys->pf->ctx, to, hf_page_data(sys, ref->page) + offset, len);
	return 0;
}

int hf_ref_write(struct hf_system *sys, const struct hf_ref *ref, size_t offset, const void *from,
		 size_t len)
{
	if (!hf_ref_is_held(sys, ref) || !span_ok(offset, len))
		return -HF_EINVAL;
	if (!(ref->flags & HF_FOLL_WRITE))
		return -HF_EPERM;
	sys->pf->copy(sys->pf->ctx, hf_page_data(sys, ref->page) + offset, from, len);
	hf_page_set_dirty(ref->page);
	return 0;
}

/* The unpin check: a pinned anonymous page still carries its mark. */
static bool check_fails(struct hf_system *sys, const struct hf_ref *ref)
{
	bool wanted = sys->flags & HF_SYSTEM_UNPIN_CHECK ||
		      (sys->flags & HF_SYSTEM_DEBUG && sys->policy->unpin_check);
	bool stands;

	if (!wanted || !(ref->taken & HF_FOLL_PIN) || is_zeropage(sys, ref) ||
	    !hf_page_is_anon(ref->page))
		return false;
	stands = hf_mark_stands(sys, ref->page);
	if (!stands)
		hf_count(sys, HF_STAT_UNPIN_CHECK_FAILURES, 1);
	return !stands;
}

uint64_t hf_refs_drop(struct hf_system *sys, struct hf_ref *refs, size_t nr)
{
	uint64_t pins = 0;

	for (size_t i = 0; i < nr; i++) {
		struct hf_ref held = refs[i];
		int err = 0;

		refs[i] = (struct hf_ref){ .page = NULL };
		if (is_zeropage(sys, &held))
			continue;
		pins += (held.taken & HF_FOLL_PIN) != 0;
		err = hf_page_release(sys, held.page, hf_gup_delta(sys, held.taken));
		hf_assert(!err); /* who is here was counted */
		(void)err;
	}
	return pins;
}

struct release {
	unsigned kind; /* HF_FOLL_GET or HF_FOLL_PIN */
	bool dirty;
	bool check;
};

static int release(struct hf_system *sys, struct hf_ref *refs, size_t nr, const struct release *r)
{
	uint64_t pins;
	int err = 0;

	if (!hf_refs_leave(sys, refs, nr, r->kind))
		return -HF_EINVAL;
	for (size_t i = 0; i < nr; i++) {
		if (r->check && check_fails(sys, &refs[i]))
			err = -HF_EUCLEAN;
		if (r->dirty && !is_zeropage(sys, &refs[i]))
			hf_page_set_dirty(refs[i].page);
	}
	hf_refs_left(sys, refs, nr);
	pins = hf_refs_drop(sys, refs, nr);
	if (pins)
		hf_count(sys, HF_STAT_PINS_RELEASED, pins);
	return err;
}

int hf_put_user_pages(struct hf_system *sys, struct hf_ref *refs, size_t nr)
{
	return release(sys, refs, nr, &(struct release){ .kind = HF_FOLL_GET });
}

int hf_unpin_user_pages(struct hf_system *sys, struct hf_ref *refs, size_t nr)
{
	return release(sys, refs, nr, &(struct release){ .kind = HF_FOLL_PIN, .check = true });
}

int hf_unpin_user_pages_dirty(struct hf_system *sys, struct hf_ref *refs, size_t nr)
{
	return release(sys, refs, nr,
		       &(struct release){ .kind = HF_FOLL_PIN, .check = true, .dirty = true });
}

int hf_unpin_user_page_range_dirty(struct hf_system *sys, struct hf_ref *refs, size_t nr,
				   bool dirty)
{
	for (size_t i = 1; i < nr; i++)
		if (refs[i].page != refs[0].page + i)
			return -HF_EINVAL;
	return release(sys, refs, nr, &(struct release){ .kind = HF_FOLL_PIN, .dirty = dirty });
}
