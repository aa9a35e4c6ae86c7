/* SPDX-License-Identifier: MIT */
/*
 * GUP: references to the pages behind user addresses, and what devices do through them.
 *
 * CAVEATS FIRST
 *  - A reference outlives munmap, exit and mm_put. It must be released, once, by the call of
 *    its own kind.
 *  - A FOLL_GET reference keeps a frame alive. It does not keep the mapping: after a fork, the
 *    next store may move the owner away from it (holdfast counts write GETs as pins, so it
 *    keeps them).
 *  - A FOLL_PIN reference of anonymous memory is a window on the owner's bytes until the owner
 *    itself unmaps them.
 *  - The shared zeropage can be referenced; such a reference is pretended: no counter moves.
 */
#ifndef HOLDFAST_GUP_H
#define HOLDFAST_GUP_H

#include <holdfast/mm.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A reference to one page. It belongs to the caller, may be moved and copied, and is void once
 * released: the release clears it, and all its copies are stale from then on. Every call refuses
 * them with -EINVAL, whatever has become of the frame meanwhile, and of two threads that release
 * copies at the same time one succeeds. Its members are to be read, not written.
 */
struct hf_ref {
	struct hf_page *page; /* NULL: void */
	unsigned flags;       /* HF_FOLL_* as asked: GET or PIN says which call releases it */
	unsigned taken;       /* HF_FOLL_* as the policy took it */
	uint32_t slot;        /* of the system's table of what is held */
	uint64_t use;         /* of the slot, so far: its generation */
};

/*
 * References `nr` consecutive pages from the page of `addr` on.
 *
 * Flags: HF_FOLL_WRITE, HF_FOLL_FORCE, HF_FOLL_NOFAULT, and for pins HF_FOLL_LONGTERM; the call
 * adds GET or PIN. The plain calls take mmap_lock for read and fault as needed. The _fast calls
 * first walk the tables without locks and fall back to the plain call, or with HF_FOLL_FAST_ONLY
 * return what they got, perhaps 0. The _remote calls are for another process's mm (the caller holds
 * a user of it); they never take the fast path.
 *
 * Returns how many pages were referenced, fewer than `nr` when a later page failed, or the error
 * when the first did: -EINVAL (flags, range, nr 0), -EFAULT (no mapping, protection, NOFAULT would
 * have to fault, the policy fails the pin), -ENOMEM (of handles, too), -EOVERFLOW (the page's
 * counters are full), -EBUSY (LONGTERM: the page is in the movable zone and somebody holds it
 * there). A long-term pin may move the page inside the call; after it, the page is where it is.
 */
int64_t hf_get_user_pages(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned flags,
			  struct hf_ref *refs);
int64_t hf_get_user_pages_fast(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned flags,
			       struct hf_ref *refs);
int64_t hf_get_user_pages_remote(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned flags,
				 struct hf_ref *refs);
int64_t hf_pin_user_pages(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned flags,
			  struct hf_ref *refs);
int64_t hf_pin_user_pages_fast(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned flags,
			       struct hf_ref *refs);
int64_t hf_pin_user_pages_remote(struct hf_mm *mm, uint64_t addr, size_t nr, unsigned flags,
				 struct hf_ref *refs);

/*
 * Releases. All `nr` references are looked at before any is released: -EINVAL, and nothing is
 * released, if one is void, stale, of the other kind, of another system, or there twice. A policy
 * that turned a pin into a GET (ro-short-get, linux-4.19) turned its release too: release what was
 * asked for, a pin by hf_unpin_user_pages().
 *
 * -EUCLEAN: the unpin check failed, a pinned page had lost its mark. Everything is released all the
 * same; the system's statistics count it. The check runs in debug systems (policies with
 * unpin_check) and with HF_SYSTEM_UNPIN_CHECK.
 */
int hf_put_user_pages(struct hf_system *sys, struct hf_ref *refs, size_t nr);
int hf_unpin_user_pages(struct hf_system *sys, struct hf_ref *refs, size_t nr);
/* Marks the pages dirty first. */
int hf_unpin_user_pages_dirty(struct hf_system *sys, struct hf_ref *refs, size_t nr);
/* As hf_unpin_user_pages(), for references to consecutive
 * frames taken in one call; never runs the unpin check. */
int hf_unpin_user_page_range_dirty(struct hf_system *sys, struct hf_ref *refs, size_t nr,
				   bool dirty);

/*
 * What a device does: reads or writes the frame itself, no page table involved. `offset` + `len`
 * must lie inside the page. Errors: -EINVAL (range, void or stale reference), -EPERM (write through
 * a reference without HF_FOLL_WRITE).
 */
int hf_ref_read(struct hf_system *sys, const struct hf_ref *ref, size_t offset, void *to,
		size_t len);
int hf_ref_write(struct hf_system *sys, const struct hf_ref *ref, size_t offset, const void *from,
		 size_t len);
/* The frame number behind a reference, HF_PFN_NONE for a void or stale one. */
uint64_t hf_ref_pfn(struct hf_system *sys, const struct hf_ref *ref);

/*
 * References as a given user takes them under the system's policy (O_DIRECT by GET before Linux
 * 6.5, by PIN after, and so on): flags, fast path and kind come from hf_policy.users. Release with
 * hf_user_release() for the same user: -EINVAL if one was taken with other flags than this user's.
 * Errors as above; -EOPNOTSUPP: the policy registers no buffers in mappings of that kind of file.
 */
int64_t hf_user_acquire(struct hf_mm *mm, enum hf_user user, uint64_t addr, size_t nr,
			struct hf_ref *refs);
int hf_user_release(struct hf_system *sys, enum hf_user user, struct hf_ref *refs, size_t nr);

/*
 * process_vm_readv/writev and ptrace: bytes of another process through short references. `user` is
 * one of the PROCESS_VM and PTRACE users and gives the direction. Returns bytes moved, short after
 * a later page failed; errors as above, but that ptrace has -EIO for -EFAULT.
 */
int64_t hf_access_process_vm(struct hf_mm *mm, enum hf_user user, uint64_t addr, void *buf,
			     size_t len);

#ifdef __cplusplus
}
#endif
#endif
