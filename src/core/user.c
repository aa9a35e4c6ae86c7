/* SPDX-License-Identifier: MIT */
/* Those who take references: which kind each takes is the policy's. */
#include "internal.h"

static bool is_remote(enum hf_user user)
{
	return user >= HF_USER_PROCESS_VM_READ;
}

static bool writes_memory(enum hf_user user)
{
	return user == HF_USER_PROCESS_VM_WRITE || user == HF_USER_PTRACE_WRITE;
}

int64_t hf_user_acquire(struct hf_mm *mm, enum hf_user user, uint64_t addr, size_t nr,
			struct hf_ref *refs)
{
	unsigned flags, kind;

	if (user >= HF_NR_USERS)
		return -HF_EINVAL;
	flags = mm->sys->policy->users[user];
	kind = flags & (HF_FOLL_GET | HF_FOLL_PIN);
	flags &= ~kind;
	if (is_remote(user))
		return kind == HF_FOLL_PIN ? hf_pin_user_pages_remote(mm, addr, nr, flags, refs)
					   : hf_get_user_pages_remote(mm, addr, nr, flags, refs);
	return kind == HF_FOLL_PIN ? hf_pin_user_pages_fast(mm, addr, nr, flags, refs)
				   : hf_get_user_pages_fast(mm, addr, nr, flags, refs);
}

int hf_user_release(struct hf_system *sys, enum hf_user user, struct hf_ref *refs, size_t nr)
{
	unsigned flags;

	if (user >= HF_NR_USERS)
		return -HF_EINVAL;
	flags = sys->policy->users[user];
	for (size_t i = 0; i < nr; i++)
		if (refs[i].flags != flags)
			return -HF_EINVAL;
	if (!(flags & HF_FOLL_PIN))
		return hf_put_user_pages(sys, refs, nr);
	return flags & HF_FOLL_WRITE ? hf_unpin_user_pages_dirty(sys, refs, nr)
				     : hf_unpin_user_pages(sys, refs, nr);
}

static int access_one(struct hf_mm *mm, enum hf_user user, uint64_t addr, void *buf, size_t len)
{
	struct hf_ref ref;
	size_t offset = addr & ~HF_PAGE_MASK;
	int64_t got = hf_user_acquire(mm, user, addr, 1, &ref);
	int err, released;

	if (got < 0)
		return (int)got;
	if (writes_memory(user))
		err = hf_ref_write(mm->sys, &ref, offset, buf, len);
	else
		err = hf_ref_read(mm->sys, &ref, offset, buf, len);
	released = hf_user_release(mm->sys, user, &ref, 1);
	return err ? err : released;
}

int64_t hf_access_process_vm(struct hf_mm *mm, enum hf_user user, uint64_t addr, void *buf,
			     size_t len)
{
	size_t done = 0;

	if (!is_remote(user) || user >= HF_NR_USERS)
		return -HF_EINVAL;
	if (addr >= HF_TASK_SIZE || len > HF_TASK_SIZE - addr)
		return -HF_EFAULT;
	while (done < len) {
		size_t in_page = HF_PAGE_SIZE - ((addr + done) & ~HF_PAGE_MASK);
		size_t n = in_page < len - done ? in_page : len - done;
		int err = access_one(mm, user, addr + done, (char *)buf + done, n);

		if (err)
			return done ? (int64_t)done : err;
		done += n;
	}
	return (int64_t)done;
}
