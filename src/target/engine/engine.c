/* SPDX-License-Identifier: MIT */
/* The engine as a target: one system a run, the validator after every step. */
#include "engine.h"
#include "../../core/internal.h"
#include "../../scenario/arms.h"
#include "../../scenario/oracle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct engine {
	struct hf_target t;
	const struct hf_policy *policy;
	bool lazy;
};

static void say(struct hf_obs *obs, int status, const char *reason)
{
	obs->status = status;
	snprintf(obs->reason, sizeof(obs->reason), "%s", reason);
}

/* -EBUSY: something was left. */
static int tear_down(struct hf_engine_run *r)
{
	int err = 0;

	for (size_t p = 0; p < HF_SCN_MAX_PROCS; p++)
		if (r->mm[p])
			hf_mm_put(r->mm[p]);
	hf_engine_drop_file(r);
	if (r->sys)
		err = hf_system_destroy(r->sys);
	if (r->backing_file)
		fclose(r->backing_file);
	if (r->swap.ctx)
		hf_swap_device_close(&r->swap);
	free(r);
	return err;
}

static int engine_begin(struct hf_target *t, const struct hf_scenario *scn, enum hf_kind kind,
			void **out, struct hf_obs *obs)
{
	const struct engine *e = (const struct engine *)t;
	struct hf_engine_run *r = calloc(1, sizeof(*r));
	int err = -ENOMEM;

	if (r) {
		r->scn = scn;
		r->kind = hf_kind_info(kind);
		r->lazy = e->lazy;
		err = hf_engine_set_up(r, e->policy);
		if (err)
			tear_down(r);
	}
	if (err)
		say(obs, HF_OBS_ERROR, "the engine could not be set up: out of memory");
	else
		*out = r;
	return err;
}

/* ---- memory ---- */

static int step_migrate(struct hf_mm *mm, uint64_t addr, size_t len)
{
	int64_t moved = hf_migrate_pages(mm, addr, len);

	return moved < 0 ? (int)moved : 0;
}

static int step_merge(struct hf_engine_run *r, struct hf_mm *mm, uint64_t addr, size_t len)
{
	int64_t merged = 0;
	int err = hf_madvise(mm, addr, len, HF_MADV_MERGEABLE);

	if (!err)
		merged = hf_ksm_scan(r->sys, 0);
	return err ? err : merged < 0 ? (int)merged : 0;
}

/* Of folios, userfaultfd's way shows: it watches the range from then on. */
static int step_wrprotect(const struct hf_engine_run *r, struct hf_mm *mm, uint64_t addr,
			  size_t len)
{
	int err;

	if (!r->kind->order)
		return hf_wrprotect(mm, addr, len);
	err = hf_uffd_register(mm, addr, len);
	return err ? err : hf_uffd_writeprotect(mm, addr, len, true);
}

static int step_truncate(struct hf_engine_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	if (r->file && r->kind->memory != HF_MEM_MIXED)
		return hf_file_truncate(r->file, st->lo);
	say(obs, HF_OBS_SKIP, "memory of this kind is not all of a file");
	return HF_OBS_SKIP;
}

static int step_fork(struct hf_engine_run *r, const struct hf_step *st)
{
	int err = hf_mm_fork(r->mm[st->proc], &r->mm[st->child]);

	if (!err)
		memcpy(r->place[st->child], r->place[st->proc], sizeof(r->place[0]));
	return err;
}

/* A call that goes on after what was done, and counts. */
typedef int64_t (*access_fn)(struct hf_mm *mm, const struct hf_step *st, uint64_t addr, void *bytes,
			     size_t len);

static int64_t access_cpu(struct hf_mm *mm, const struct hf_step *st, uint64_t addr, void *bytes,
			  size_t len)
{
	return st->verb == HF_V_WRITE ? hf_copy_to_user(mm, addr, bytes, len)
				      : hf_copy_from_user(mm, bytes, addr, len);
}

static int64_t access_remote(struct hf_mm *mm, const struct hf_step *st, uint64_t addr, void *bytes,
			     size_t len)
{
	static const enum hf_user users[] = {
		[HF_V_PROCESS_VM_READ] = HF_USER_PROCESS_VM_READ,
		[HF_V_PROCESS_VM_WRITE] = HF_USER_PROCESS_VM_WRITE,
		[HF_V_PTRACE_READ] = HF_USER_PTRACE_READ,
		[HF_V_PTRACE_WRITE] = HF_USER_PTRACE_WRITE,
	};

	return hf_access_process_vm(mm, users[st->verb], addr, bytes, len);
}

/* A short count has no reason; the call for the rest has. */
static int access_all(access_fn access, struct hf_mm *mm, const struct hf_step *st, uint64_t addr,
		      uint8_t *bytes, size_t len, struct hf_obs *obs)
{
	int64_t n = 0;

	for (obs->done = 0; obs->done < len && n >= 0; obs->done += n > 0 ? (size_t)n : 0) {
		n = access(mm, st, addr + obs->done, bytes + obs->done, len - obs->done);
		if (n == 0)
			n = -EIO;
	}
	return n < 0 ? (int)n : 0;
}

static int write_bytes(access_fn access, struct hf_mm *mm, const struct hf_step *st, uint64_t addr,
		       size_t len, struct hf_obs *obs)
{
	uint8_t *bytes = malloc(len);
	int err;

	if (!bytes)
		return -ENOMEM;
	memset(bytes, st->value, len);
	err = access_all(access, mm, st, addr, bytes, len, obs);
	free(bytes);
	return err;
}

static int step_write(struct hf_engine_run *r, const struct hf_step *st, uint64_t addr, size_t len,
		      struct hf_obs *obs)
{
	uint64_t word = 0x0101010101010101ull * st->value;
	int err;

	/* single stores where the language promises them */
	if (hf_single_access(addr, len))
		err = hf_store(r->mm[st->proc], addr, &word, len);
	else
		err = write_bytes(access_cpu, r->mm[st->proc], st, addr, len, obs);
	if (err)
		return err;
	obs->done = len;
	return hf_engine_shape(r, st, obs);
}

static int step_read(struct hf_engine_run *r, const struct hf_step *st, uint64_t addr, size_t len,
		     struct hf_obs *obs)
{
	if (hf_single_access(addr, len))
		return hf_load(r->mm[st->proc], addr, obs->data, len);
	return access_all(access_cpu, r->mm[st->proc], st, addr, obs->data, len, obs);
}

static int step_remote(struct hf_engine_run *r, const struct hf_step *st, uint64_t addr, size_t len,
		       struct hf_obs *obs)
{
	struct hf_mm *mm = r->mm[st->target];

	if (st->verb == HF_V_PROCESS_VM_READ || st->verb == HF_V_PTRACE_READ)
		return access_all(access_remote, mm, st, addr, obs->data, len, obs);
	return write_bytes(access_remote, mm, st, addr, len, obs);
}

/* ---- references ---- */

static int64_t gup(struct hf_engine_run *r, const struct hf_step *st, uint64_t addr, size_t nr,
		   struct hf_ref *refs)
{
	struct hf_mm *mm = r->mm[st->target];
	bool remote = st->target != st->proc;

	if (st->verb == HF_V_PIN)
		return remote     ? hf_pin_user_pages_remote(mm, addr, nr, st->foll, refs)
		       : st->fast ? hf_pin_user_pages_fast(mm, addr, nr, st->foll, refs)
				  : hf_pin_user_pages(mm, addr, nr, st->foll, refs);
	return remote     ? hf_get_user_pages_remote(mm, addr, nr, st->foll, refs)
	       : st->fast ? hf_get_user_pages_fast(mm, addr, nr, st->foll, refs)
			  : hf_get_user_pages(mm, addr, nr, st->foll, refs);
}

static enum hf_user user_of(const struct hf_step *maker)
{
	switch (maker->verb) {
	case HF_V_VMSPLICE:
		return HF_USER_VMSPLICE;
	case HF_V_FIXEDBUF:
		return HF_USER_FIXEDBUF;
	case HF_V_ODIRECT_READ:
		return HF_USER_ODIRECT_READ;
	default:
		return HF_USER_ODIRECT_WRITE;
	}
}

static bool is_raw(const struct hf_step *maker)
{
	return maker->verb == HF_V_PIN || maker->verb == HF_V_GET;
}

static int64_t acquire(struct hf_engine_run *r, const struct hf_step *st, uint64_t addr, size_t nr,
		       struct hf_ref *refs)
{
	return is_raw(st) ? gup(r, st, addr, nr, refs)
			  : hf_user_acquire(r->mm[st->proc], user_of(st), addr, nr, refs);
}

/* By copies: another arm may be at the handles, and what is stale is the library's to say. */
static int let_go(struct hf_engine_run *r, const struct hf_engine_held *h, enum hf_verb by,
		  bool dirty)
{
	struct hf_ref *refs = malloc((h->nr + 1) * sizeof(*refs));
	int err;

	if (!refs)
		return -ENOMEM;
	memcpy(refs, h->refs, h->nr * sizeof(*refs));
	if (!is_raw(h->maker))
		err = hf_user_release(r->sys, user_of(h->maker), refs, h->nr);
	else if (by == HF_V_PUT)
		err = hf_put_user_pages(r->sys, refs, h->nr);
	else if (dirty)
		err = hf_unpin_user_pages_dirty(r->sys, refs, h->nr);
	else
		err = hf_unpin_user_pages(r->sys, refs, h->nr);
	free(refs);
	return err;
}

bool hf_engine_holds(const struct hf_engine_run *r, size_t ref)
{
	return r->held[ref].refs && hf_ref_is_held(r->sys, &r->held[ref].refs[0]);
}

static int step_release(struct hf_engine_run *r, const struct hf_step *st)
{
	const struct hf_engine_held *h = &r->held[st->ref];

	if (!h->refs || (is_raw(h->maker) && st->proc != h->maker->proc))
		return -EINVAL;
	return let_go(r, h, st->verb, st->dirty);
}

static enum hf_verb own_release(const struct hf_step *maker)
{
	return maker->verb == HF_V_GET ? HF_V_PUT : HF_V_UNPIN;
}

static int step_take(struct hf_engine_run *r, const struct hf_step *st)
{
	const struct hf_engine_place *p = &r->place[st->target][st->buf];
	uint64_t first = (p->addr + st->lo) & HF_PAGE_MASK;
	size_t nr = (p->addr + st->hi - first + HF_PAGE_SIZE - 1) >> HF_PAGE_SHIFT;
	unsigned times = st->times ? st->times : 1;
	struct hf_engine_held *h = &r->held[st->ref];
	int64_t got = 0;

	*h = (struct hf_engine_held){ .refs = calloc(nr * times, sizeof(*h->refs)), .maker = st };
	if (!h->refs)
		return -ENOMEM;
	/* what comes after fewer than asked says why */
	while (h->nr < nr * times && got >= 0) {
		size_t at = h->nr % nr;

		got = acquire(r, st, first + at * HF_PAGE_SIZE, nr - at, h->refs + h->nr);
		h->nr += got > 0 ? (size_t)got : 0;
		if (got == 0)
			got = -EFAULT;
	}
	if (got < 0)
		let_go(r, h, own_release(st), false);
	return got < 0 ? (int)got : 0;
}

/* Bytes [lo, hi) from the start of the referenced range. */
static int through_ref(struct hf_engine_run *r, const struct hf_engine_held *h, size_t lo,
		       size_t hi, uint8_t *to, int value, struct hf_obs *obs)
{
	size_t base = h->maker->lo & (HF_PAGE_SIZE - 1);
	uint8_t bytes[HF_PAGE_SIZE];
	int err = 0;

	memset(bytes, value, sizeof(bytes));
	for (size_t at = lo, n; at < hi && !err; at += n) {
		size_t off = (base + at) & (HF_PAGE_SIZE - 1);
		const struct hf_ref *ref = &h->refs[(base + at) >> HF_PAGE_SHIFT];

		n = HF_PAGE_SIZE - off < hi - at ? HF_PAGE_SIZE - off : hi - at;
		err = to ? hf_ref_read(r->sys, ref, off, to + (at - lo), n)
			 : hf_ref_write(r->sys, ref, off, bytes, n);
		obs->done += err ? 0 : n;
	}
	return err;
}

static int step_device(struct hf_engine_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_engine_held *h = &r->held[st->ref];
	size_t hi = st->hi ? st->hi : h->refs ? h->maker->hi - h->maker->lo : 0;
	int err;

	if (!h->refs)
		return -EINVAL;
	if (st->verb == HF_V_DEV_WRITE)
		return through_ref(r, h, st->lo, hi, NULL, st->value, obs);
	if (st->verb != HF_V_DEV_FINISH)
		return through_ref(r, h, st->lo, hi, obs->data, 0, obs);
	if (h->maker->verb == HF_V_ODIRECT_READ)
		err = through_ref(r, h, 0, hi, NULL, h->maker->value, obs);
	else
		err = through_ref(r, h, 0, hi, obs->data, 0, obs);
	return err ? err : let_go(r, h, HF_V_DEV_FINISH, false);
}

/* ---- steps ---- */

static int do_step(struct hf_engine_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	int owner = st->proc == HF_SCN_DEVICE ? 0 : st->target;
	struct hf_mm *mm = r->mm[owner];
	uint64_t addr = st->buf >= 0 ? r->place[owner][st->buf].addr + st->lo : 0;
	size_t len = st->hi - st->lo, reach = st->buf >= 0 ? hf_engine_reach(r, st) : 0;

	if (st->proc != HF_SCN_DEVICE && !mm)
		return -ESRCH;
	switch (st->verb) {
	case HF_V_MAP:
		return hf_engine_map(r, st);
	case HF_V_UNMAP:
		return hf_munmap(mm, addr, reach);
	case HF_V_PROTECT:
		return hf_mprotect(mm, addr, reach, st->prot);
	case HF_V_ADVISE:
		return hf_madvise(mm, addr, reach, (enum hf_advice)st->advice);
	case HF_V_REMAP:
		return hf_engine_remap(r, st, obs);
	case HF_V_WRPROTECT:
		return step_wrprotect(r, mm, addr, reach);
	case HF_V_SWAPOUT:
		return hf_madvise(mm, addr, reach, HF_MADV_PAGEOUT);
	case HF_V_MIGRATE:
		return step_migrate(mm, addr, reach);
	case HF_V_MERGE:
		return step_merge(r, mm, addr, reach);
	case HF_V_SPLIT:
		return hf_engine_split(r, mm, addr, reach);
	case HF_V_TRUNCATE:
		return step_truncate(r, st, obs);
	case HF_V_FORK:
		return step_fork(r, st);
	case HF_V_EXIT:
		hf_mm_put(mm);
		r->mm[owner] = NULL;
		return 0;
	case HF_V_READ:
	case HF_V_CHECK:
		return step_read(r, st, addr, len, obs);
	case HF_V_WRITE:
		return step_write(r, st, addr, len, obs);
	case HF_V_PROCESS_VM_READ:
	case HF_V_PROCESS_VM_WRITE:
	case HF_V_PTRACE_READ:
	case HF_V_PTRACE_WRITE:
		return step_remote(r, st, addr, len, obs);
	case HF_V_UNPIN:
	case HF_V_PUT:
	case HF_V_RELEASE:
		return step_release(r, st);
	case HF_V_DEV_READ:
	case HF_V_DEV_WRITE:
	case HF_V_DEV_CHECK:
	case HF_V_DEV_FINISH:
		return step_device(r, st, obs);
	default:
		return step_take(r, st);
	}
}

static void run_one(struct hf_engine_run *r, const struct hf_step *st, struct hf_obs *obs)
{
	obs->status = do_step(r, st, obs);
	if (obs->status == -EUCLEAN)
		say(obs, HF_OBS_BUG, "the unpin check: a pinned page had lost its mark");
}

/* Free frames are looked at when they are used again, and on small machines at the end. */
static void validate(struct hf_engine_run *r, struct hf_obs *obs, bool junk)
{
	struct hf_violation v;

	if (r->lazy || hf_validate_books(r->sys, &v, junk) != -EUCLEAN)
		return;
	obs->status = HF_OBS_BUG;
	snprintf(obs->reason, sizeof(obs->reason),
		 "broken invariant: %s (frame %lld, address 0x%llx)",
		 hf_invariant_text(v.invariant), (long long)v.pfn, (unsigned long long)v.addr);
}

static void engine_step(void *run, const struct hf_step *st, struct hf_obs *obs)
{
	struct hf_engine_run *r = run;

	run_one(r, st, obs);
	if (obs->status <= 0)
		validate(r, obs, false);
}

struct arm_run {
	struct hf_engine_run *r;
	const struct hf_arm *arm;
	struct hf_obs *obs;
};

static void run_arm(void *arg)
{
	struct arm_run *a = arg;
	size_t i = 0;

	for (; i < a->arm->nr_steps; i++) {
		if (a->obs[i].left_out)
			continue;
		run_one(a->r, &a->arm->steps[i], &a->obs[i]);
		if (a->obs[i].status)
			break;
	}
	for (i++; i < a->arm->nr_steps; i++)
		a->obs[i].status = -ECANCELED;
}

static void engine_par(void *run, const struct hf_par *par, struct hf_obs *obs)
{
	struct hf_engine_run *r = run;
	struct arm_run arms[HF_SCN_MAX_ARMS];
	void *args[HF_SCN_MAX_ARMS];
	size_t n = 0;

	for (size_t i = 0; i < par->nr_arms; i++) {
		arms[i] = (struct arm_run){ .r = r, .arm = &par->arms[i], .obs = &obs[n] };
		args[i] = &arms[i];
		n += par->arms[i].nr_steps;
	}
	if (hf_run_arms(par->nr_arms, run_arm, args))
		say(&obs[0], HF_OBS_ERROR, "no thread can be had for an arm");
	else if (obs[n - 1].status <= 0)
		validate(r, &obs[n - 1], false);
}

static int engine_page(void *run, int proc, int buf, unsigned page, struct hf_page_state *state)
{
	struct hf_engine_run *r = run;
	const struct hf_engine_place *p = &r->place[proc][buf];
	struct hf_page_info info;

	if (!r->mm[proc] || page >= p->size >> HF_PAGE_SHIFT ||
	    hf_mm_page_info(r->mm[proc], p->addr + page * HF_PAGE_SIZE, &info))
		return -1;
	*state = (struct hf_page_state){
		.pfn = info.pfn,
		.present = info.present,
		.swapped = info.swapped,
		.writable = info.writable,
		.exclusive = info.exclusive,
		.zeropage = info.zeropage,
		.file = info.present && !info.anon && !info.zeropage,
		.refs = (int)info.refs,
		.pins = (int)info.pins,
		.mapcount = (int)info.mapcount,
	};
	return 0;
}

static void engine_settle(void *run)
{
	hf_lru_drain_all(((struct hf_engine_run *)run)->sys);
}

static void engine_end(void *run, struct hf_obs *obs)
{
	struct hf_engine_run *r = run;

	for (size_t i = 0; i < HF_SCN_MAX_REFS; i++) {
		if (hf_engine_holds(r, i) &&
		    let_go(r, &r->held[i], own_release(r->held[i].maker), false) == -EUCLEAN)
			say(obs, HF_OBS_BUG,
			    "the unpin check at the end: a pinned page had lost its mark");
		free(r->held[i].refs);
	}
	if (!obs->status)
		validate(r, obs, r->kind->order < 9);
	if (tear_down(r) && !obs->status)
		say(obs, HF_OBS_BUG, "frames or address spaces were left at the end");
}

static void engine_free(struct hf_target *t)
{
	free(t);
}

static const struct hf_target_ops engine_ops = {
	.begin = engine_begin,
	.step = engine_step,
	.par = engine_par,
	.page = engine_page,
	.settle = engine_settle,
	.end = engine_end,
	.free = engine_free,
};

void hf_target_engine_lazy(struct hf_target *t)
{
	((struct engine *)t)->lazy = true;
}

struct hf_target *hf_target_engine(const char *policy)
{
	const struct hf_policy *found = hf_policy_find(policy);
	struct engine *e = found ? calloc(1, sizeof(*e)) : NULL;

	if (!e)
		return NULL;
	e->policy = found;
	e->t.ops = &engine_ops;
	e->t.name = found->name;
	return &e->t;
}
