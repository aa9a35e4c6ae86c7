/* SPDX-License-Identifier: MIT */
/* Those who take references: which kind each takes is the policy's. */
#include "internal.h"

static bool is_remote(enum hf_user user)
{
	return user >= HF_USER_PROCESS_VM_READ;
}

static bool is_ptrace(enum hf_user user)
{
	return user == HF_USER_PTRACE_READ || user == HF_USER_PTRACE_WRITE;
}

static bool writes_memory(enum hf_user user)
{
	return user == HF_USER_PROCESS_VM_WRITE || user == HF_USER_PTRACE_WRITE;
}

/* Whether the mappings of a registered buffer allow it.
 * Linux asks when it has the pages already. */
static int check_registered(struct hf_mm *mm, uint64_t addr, size_t nr)
{
	uint64_t end = addr + nr * HF_PAGE_SIZE;
	const struct hf_vma *first;
	int err = 0;

	if (mm->sys->policy->registers_files)
		return 0;
	hf_mmap_read_lock(mm);
	first = hf_vma_find(mm, addr);
	for (size_t i = hf_vma_index(mm, addr);
	     first && i < mm->nr_vmas && mm->vmas[i]->start < end && !err; i++) {
		const struct hf_file *file = mm->vmas[i]->file;

		if (file != first->file)
			err = -HF_EINVAL;
		else if (file && file->backing)
			err = -HF_EOPNOTSUPP;
	}
	hf_mmap_read_unlock(mm);
	return err;
}

static int64_t acquire(struct hf_mm *mm, enum hf_user user, uint64_t addr, size_t nr,
		       struct hf_ref *refs)
{
	unsigned flags = mm->sys->policy->users[user], kind = flags & (HF_FOLL_GET | HF_FOLL_PIN);

	flags &= ~kind;
	if (is_remote(user))
		return kind == HF_FOLL_PIN ? hf_pin_user_pages_remote(mm, addr, nr, flags, refs)
					   : hf_get_user_pages_remote(mm, addr, nr, flags, refs);
	return kind == HF_FOLL_PIN ? hf_pin_user_pages_fast(mm, addr, nr, flags, refs)
				   : hf_get_user_pages_fast(mm, addr, nr, flags, refs);
}

int64_t hf_user_acquire(struct hf_mm *mm, enum hf_user user, uint64_t addr, size_t nr,
			struct hf_ref *refs)
{
	int64_t got;
	int err;

	if (user >= HF_NR_USERS)
		return -HF_EINVAL;
	got = acquire(mm, user, addr, nr, refs);
	if (got <= 0 || user != HF_USER_FIXEDBUF)
		return got;
	err = check_registered(mm, addr & HF_PAGE_MASK, nr);
	if (!err)
		return got;
	hf_user_release(mm->sys, user, refs, (size_t)got);
	return err;
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

		/* ptrace has one word for all that cannot be reached */
		if (err == -HF_EFAULT && is_ptrace(user))
			err = -HF_EIO;
		if (err)
			return done ? (int64_t)done : err;
		done += n;
	}
	return (int64_t)done;
}
