/* SPDX-License-Identifier: MIT */
/* Read-only GUP of pages that a store could still move away from;
 * and what requests are taken as. */
#include "rules.h"

enum hf_gup_action hf_gup_take(const struct hf_gup_view *view)
{
	(void)view;
	return HF_GUP_TAKE;
}

/* 5.8: break COW before the reference is taken, for every kind of reference. */
enum hf_gup_action hf_gup_force_write(const struct hf_gup_view *view)
{
	(void)view;
	return HF_GUP_WRITE_FAULT;
}

static bool must_unshare_anon(const struct hf_gup_view *view)
{
	return view->flags & HF_FOLL_PIN && view->anon && !view->exclusive;
}

/* 5.19: pins of anonymous pages without the mark. */
enum hf_gup_action hf_gup_unshare_anon(const struct hf_gup_view *view)
{
	return must_unshare_anon(view) ? HF_GUP_UNSHARE : HF_GUP_TAKE;
}

/* 6.2: and long-term pins of the zeropage. */
enum hf_gup_action hf_gup_unshare_longterm(const struct hf_gup_view *view)
{
	bool zeropage = view->flags & HF_FOLL_LONGTERM && !view->anon;

	return must_unshare_anon(view) || zeropage ? HF_GUP_UNSHARE : HF_GUP_TAKE;
}

/* Every pin, however short. */
enum hf_gup_action hf_gup_unshare_all(const struct hf_gup_view *view)
{
	bool zeropage = view->flags & HF_FOLL_PIN && !view->anon;

	return must_unshare_anon(view) || zeropage ? HF_GUP_UNSHARE : HF_GUP_TAKE;
}

/* FreeBSD: wiring breaks COW, a short hold does not.
 * There is no mark: the write-fault logic finds the owner. */
enum hf_gup_action hf_gup_wire_longterm(const struct hf_gup_view *view)
{
	return view->flags & HF_FOLL_LONGTERM ? HF_GUP_WRITE_FAULT : HF_GUP_TAKE;
}

/* The thread's option 1. */
enum hf_gup_action hf_gup_fail_shared(const struct hf_gup_view *view)
{
	return hf_gup_unshare_all(view) == HF_GUP_UNSHARE ? HF_GUP_FAIL : HF_GUP_TAKE;
}

/* Before FOLL_PIN there were only references. */
unsigned hf_take_get_only(unsigned foll_flags)
{
	return (foll_flags & ~(HF_FOLL_PIN | HF_FOLL_LONGTERM)) | HF_FOLL_GET;
}

/* A reference that will be written through is a pin, whatever it is called. */
unsigned hf_take_write_get_as_pin(unsigned foll_flags)
{
	if (foll_flags & HF_FOLL_GET && foll_flags & HF_FOLL_WRITE)
		foll_flags ^= HF_FOLL_GET | HF_FOLL_PIN;
	return foll_flags;
}

unsigned hf_take_short_read_as_get(unsigned foll_flags)
{
	if (foll_flags & HF_FOLL_PIN && !(foll_flags & (HF_FOLL_WRITE | HF_FOLL_LONGTERM)))
		return foll_flags ^ (HF_FOLL_GET | HF_FOLL_PIN);
	return hf_take_write_get_as_pin(foll_flags);
}

unsigned hf_class_write(unsigned foll_flags)
{
	return foll_flags & HF_FOLL_WRITE ? 1 : 0;
}

unsigned hf_class_longterm(unsigned foll_flags)
{
	return foll_flags & HF_FOLL_LONGTERM ? 1 : 0;
}
