/* SPDX-License-Identifier: MIT */
/* Spaces as processes, and what processes do to memory by themselves: real loads, stores and system
 * calls. In the other modes than the default one system calls are prepared, as native.h tells. */
#include "../../native/internal.h"
#include "run.h"

#include "../common/pages.h"

#include <errno.h>
#include <holdfast/mm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

/* Newer than Debian 12's headers. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define PMD_SIZE (512 * HF_PAGE_SIZE)

/* ---- processes ---- */

static enum hf_native_pages pages_of(const struct hf_kind_info *kind)
{
	if (kind->memory == HF_MEM_HUGETLB)
		return HF_NATIVE_HUGETLB;
	return kind->order ? HF_NATIVE_THP : HF_NATIVE_4K;
}

int hf_nat_create(struct hf_nat_run *r, int proc)
{
	struct hf_native_config config = {
		.pages = pages_of(r->kind),
		.flags = r->mode,
	};
	size_t unit = config.pages == HF_NATIVE_4K ? HF_PAGE_SIZE : PMD_SIZE, bytes = 0;

	for (size_t i = 0; i < r->scn->nr_bufs; i++)
		if (r->scn->bufs[i].max_pages * HF_PAGE_SIZE > bytes)
			bytes = r->scn->bufs[i].max_pages * HF_PAGE_SIZE;
	r->slot = bytes ? (bytes + unit - 1) & ~(unit - 1) : unit;
	config.size = r->slot * (r->scn->nr_bufs ? r->scn->nr_bufs : 1);
	return hf_native_create(&config, &r->proc[proc].space);
}

static int drop_protection(struct hf_nat_proc *p)
{
	int err = p->protected ? hf_native_drop(p->protected) : 0;

	p->protected = NULL;
	return err;
}

int hf_nat_exit(struct hf_nat_run *r, int proc)
{
	struct hf_nat_proc *p = &r->proc[proc];
	int err = drop_protection(p);

	if (!err)
		err = hf_native_destroy(p->space);
	if (!err)
		p->space = NULL;
	return err;
}

static int step_fork(struct hf_nat_run *r, const struct hf_step *st)
{
	const struct hf_nat_proc *parent = &r->proc[st->proc];
	struct hf_nat_proc *child = &r->proc[st->child];
	int err = hf_native_fork(parent->space, &child->space);

	if (err)
		return err;
	child->is_child = true;
	for (size_t i = 0; i < r->scn->nr_bufs; i++) {
		child->place[i].size = parent->place[i].size;
		child->place[i].shaped = parent->place[i].shaped;
	}
	return 0;
}

/* ---- where buffers are ---- */

char *hf_nat_addr(const struct hf_nat_run *r, int proc, const struct hf_step *st)
{
	return (char *)hf_native_base(r->proc[proc].space) + (size_t)st->buf * r->slot + st->lo;
}

/* How many bytes a step acts on: a whole buffer is its whole units. */
static size_t reach(const struct hf_nat_run *r, const struct hf_step *st)
{
	const struct hf_nat_proc *p = &r->proc[st->target];
	size_t size = p->place[st->buf].size, unit = hf_native_unit(p->space);

	return st->lo == 0 && st->hi == size ? (size + unit - 1) & ~(unit - 1) : st->hi - st->lo;
}

/* ---- loads and stores ---- */

static void load(uint8_t *to, const char *from, size_t len)
{
	if (hf_single_access((uintptr_t)from, len))
		hf_access_single(to, from, len);
	else
		memcpy(to, from, len);
}

static void store(char *to, uint8_t value, size_t len)
{
	uint64_t word = 0x0101010101010101ull * value;

	if (hf_single_access((uintptr_t)to, len))
		hf_access_single(to, &word, len);
	else
		memset(to, value, len);
}

/* ---- kinds ---- */

/* Some kernels are built or booted without the shared zeropage. */
static int map_zeropage(const char *addr, size_t size, struct hf_obs *obs)
{
	struct hf_page_state state;

	for (size_t at = 0; at < size; at += HF_PAGE_SIZE)
		(void)*(volatile const char *)(addr + at);
	if (!hf_kernel_page(getpid(), (uintptr_t)addr, &state) && state.present &&
	    state.zeropage == 0)
		hf_nat_say(obs, HF_OBS_SKIP, "this kernel maps no shared zeropage");
	return obs->status;
}

static int step_map(struct hf_nat_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_nat_place *place = &r->proc[st->proc].place[st->buf];

	place->size = st->pages * HF_PAGE_SIZE;
	if (r->kind->memory != HF_MEM_ZEROPAGE)
		return 0;
	return map_zeropage(hf_nat_addr(r, st->proc, st), place->size, obs);
}

static int move_out(char *addr, size_t len, struct hf_obs *obs)
{
	struct hf_page_state state;

	if (madvise(addr, len, MADV_PAGEOUT))
		return -errno;
	for (size_t at = 0; at < len && !obs->status; at += HF_PAGE_SIZE)
		if (!hf_kernel_page(getpid(), (uintptr_t)addr + at, &state) && state.present)
			hf_nat_say(obs, HF_OBS_SKIP, "the kernel did not move the pages out");
	return obs->status;
}

/* After the first write to a buffer: makes the memory what the kind says, and sees that it is. */
static int shape(struct hf_nat_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	const struct hf_nat_proc *p = &r->proc[st->proc];
	size_t size = p->place[st->buf].size, unit = hf_native_unit(p->space);
	char *addr = hf_nat_addr(r, st->proc, st) - st->lo;
	int order = hf_kernel_folio_order(getpid(), (uintptr_t)addr);

	if (pages_of(r->kind) == HF_NATIVE_THP && !p->is_child && order != (int)r->kind->order) {
		hf_nat_say(obs, HF_OBS_SKIP,
			   order < 0
				   ? "folios can be seen by root only (/proc/kpageflags)"
				   : "the kernel gave no folio of 2 MiB, but one of another size");
		return HF_OBS_SKIP;
	}
	return r->kind->swapped ? move_out(addr, (size + unit - 1) & ~(unit - 1), obs) : 0;
}

static int bracketed_store(const struct hf_nat_run *r, const struct hf_step *st)
{
	struct hf_native *space = r->proc[st->proc].space;
	char *addr = hf_nat_addr(r, st->proc, st);
	size_t len = st->hi - st->lo;
	bool bracketed = r->mode & HF_NATIVE_BRACKETED;
	int err = bracketed ? hf_native_begin_store(space, addr, len) : 0;

	if (err)
		return err;
	store(addr, st->value, len);
	if (bracketed)
		hf_native_end_store(space, addr, len);
	return 0;
}

static int step_write(struct hf_nat_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_nat_place *place = &r->proc[st->proc].place[st->buf];
	int err = bracketed_store(r, st);

	if (err)
		return err;
	if (atomic_exchange(&place->shaped, true) || !(r->kind->order || r->kind->swapped))
		return 0;
	return shape(r, st, obs);
}

/* ---- system calls ---- */

/* Lets the kernel read or write the range, whatever the mode. */
static int prepare(struct hf_native *space, char *addr, size_t len, bool write)
{
	return write ? hf_native_prepare_write(space, addr, len)
		     : hf_native_prepare_read(addr, len);
}

static void finish(struct hf_native *space, char *addr, size_t len, bool write)
{
	if (write)
		hf_native_finish_write(space, addr, len);
}

static int step_populate(const struct hf_nat_run *r, const struct hf_step *st)
{
	struct hf_native *space = r->proc[st->proc].space;
	bool write = st->advice == HF_MADV_POPULATE_WRITE;
	char *addr = hf_nat_addr(r, st->proc, st);
	size_t len = reach(r, st);
	int err = r->mode ? prepare(space, addr, len, write) : 0;

	if (err)
		return err;
	if (madvise(addr, len, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ))
		err = -errno;
	if (r->mode)
		finish(space, addr, len, write);
	return err;
}

static int step_discard(const struct hf_nat_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_native *space = r->proc[st->proc].space;

	if (!atomic_load(&space->nr_pins))
		return hf_native_discard(space, hf_nat_addr(r, st->proc, st), reach(r, st));
	hf_nat_say(obs, HF_OBS_SKIP,
		   "native pins are of addresses: what is discarded there stays the device's");
	return HF_OBS_SKIP;
}

static int step_advise(const struct hf_nat_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	if (st->advice == HF_MADV_DONTNEED || st->advice == HF_MADV_FREE)
		return step_discard(r, st, obs);
	if (st->advice != HF_MADV_COLLAPSE)
		return step_populate(r, st);
	return madvise(hf_nat_addr(r, st->proc, st), reach(r, st), MADV_COLLAPSE) ? -errno : 0;
}

/* A flag that one page of each PMD has for a while, and that nothing here looks at. */
static int step_split(const struct hf_nat_run *r, const struct hf_step *st)
{
	char *addr = hf_nat_addr(r, st->proc, st), *end = addr + reach(r, st);

	for (; addr < end; addr += PMD_SIZE)
		if (madvise(addr, HF_PAGE_SIZE, MADV_DONTDUMP) ||
		    madvise(addr, HF_PAGE_SIZE, MADV_DODUMP))
			return -errno;
	return 0;
}

static int step_swapout(const struct hf_nat_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	if (!hf_kernel_swap_on(r->swap)) {
		hf_nat_say(obs, HF_OBS_SKIP, r->swap->why);
		return HF_OBS_SKIP;
	}
	return madvise(hf_nat_addr(r, st->proc, st), reach(r, st), MADV_PAGEOUT) ? -errno : 0;
}

/* A checkpoint, which protects all that it shares and stays until the next. */
static int step_wrprotect(struct hf_nat_run *r, const struct hf_step *st)
{
	struct hf_nat_proc *p = &r->proc[st->proc];
	struct hf_native_snapshot *s;
	int err = hf_native_snapshot(p->space, &s);

	if (err)
		return err;
	err = drop_protection(p);
	p->protected = s;
	return err;
}

static ssize_t access_rest(const struct hf_nat_run *r, const struct hf_step *st, char *addr,
			   uint8_t *bytes, size_t len)
{
	struct iovec local = { bytes, len }, remote = { addr, len };

	switch (st->verb) {
	case HF_V_PROCESS_VM_READ:
		return process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	case HF_V_PROCESS_VM_WRITE:
		return process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
	case HF_V_PTRACE_READ:
		return pread(r->mem, bytes, len, (off_t)(uintptr_t)addr);
	default:
		return pwrite(r->mem, bytes, len, (off_t)(uintptr_t)addr);
	}
}

/* A short count has no reason; the call for the rest has. */
static int access_remote(const struct hf_nat_run *r, const struct hf_step *st, char *addr,
			 uint8_t *bytes, struct hf_obs *obs)
{
	size_t len = st->hi - st->lo;
	ssize_t n = 0;

	for (obs->done = 0; obs->done < len; obs->done += (size_t)n) {
		n = access_rest(r, st, addr + obs->done, bytes + obs->done, len - obs->done);
		if (n <= 0)
			return n ? -errno : -EIO;
	}
	return 0;
}

/* Accesses by /proc/PID/mem do not wait for who resolves faults, so they are always prepared. */
static int step_remote(const struct hf_nat_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	bool write = st->verb == HF_V_PROCESS_VM_WRITE || st->verb == HF_V_PTRACE_WRITE;
	bool ptrace = st->verb == HF_V_PTRACE_READ || st->verb == HF_V_PTRACE_WRITE;
	struct hf_native *space = r->proc[st->target].space;
	char *addr = hf_nat_addr(r, st->target, st);
	size_t len = st->hi - st->lo;
	uint8_t *bytes = write ? malloc(len) : obs->data;
	int err = bytes ? 0 : -ENOMEM;

	if (!err && (ptrace || r->mode))
		err = prepare(space, addr, len, write);
	if (!err) {
		if (write)
			memset(bytes, st->value, len);
		err = access_remote(r, st, addr, bytes, obs);
		if (ptrace || r->mode)
			finish(space, addr, len, write);
	}
	if (write)
		free(bytes);
	return err;
}

int hf_nat_memory(struct hf_nat_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	switch (st->verb) {
	case HF_V_MAP:
		return step_map(r, st, obs);
	case HF_V_FORK:
		return step_fork(r, st);
	case HF_V_EXIT:
		return hf_nat_exit(r, st->proc);
	case HF_V_READ:
	case HF_V_CHECK:
		load(obs->data, hf_nat_addr(r, st->proc, st), st->hi - st->lo);
		return 0;
	case HF_V_WRITE:
		return step_write(r, st, obs);
	case HF_V_ADVISE:
		return step_advise(r, st, obs);
	case HF_V_SPLIT:
		return step_split(r, st);
	case HF_V_SWAPOUT:
		return step_swapout(r, st, obs);
	case HF_V_WRPROTECT:
		return step_wrprotect(r, st);
	default:
		return step_remote(r, st, obs);
	}
}
