/* SPDX-License-Identifier: MIT */
/* What happens inside the processes. */
#include "actor.h"

#include "../../scenario/oracle.h"
#include "../common/gup_test.h"
#include "wrprotect.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/gup.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Newer than Debian 12's headers. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* ---- accesses that may fault ---- */

static _Thread_local sigjmp_buf fault_escape;
static _Thread_local volatile sig_atomic_t fault_expected;

static void on_fault(int sig)
{
	if (fault_expected)
		siglongjmp(fault_escape, 1);
	signal(sig, SIG_DFL); /* our own mistake: die of it */
}

static void catch_faults(void)
{
	struct sigaction sa = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

static int try_access(void *to, const void *from, size_t len, bool single)
{
	if (sigsetjmp(fault_escape, 0)) {
		fault_expected = 0;
		return -EFAULT;
	}
	fault_expected = 1;
	atomic_signal_fence(memory_order_seq_cst);
	if (single)
		hf_access_single(to, from, len);
	else
		memcpy(to, from, len);
	atomic_signal_fence(memory_order_seq_cst);
	fault_expected = 0;
	return 0;
}

static void *pointer(uint64_t addr)
{
	return (void *)(uintptr_t)addr; // NOLINT(performance-no-int-to-ptr)
}

/* Page by page, so that what comes before a fault is done and no more; *done counts it. */
static int do_access(const struct hf_step *st, uint64_t addr, uint8_t *data, size_t *done)
{
	static _Thread_local _Alignas(8) uint8_t bytes[4096];
	size_t len = st->hi - st->lo;
	bool write = st->verb == HF_V_WRITE, single = hf_single_access(addr, len);
	int err = 0;

	memset(bytes, st->value, sizeof(bytes));
	for (*done = 0; *done < len && !err;) {
		size_t in_page = HF_PAGE_SIZE - (addr + *done) % HF_PAGE_SIZE;
		size_t n = in_page < len - *done ? in_page : len - *done;

		if (write)
			err = try_access(pointer(addr + *done), bytes, n, single);
		else
			err = try_access(data + *done, pointer(addr + *done), n, single);
		*done += err ? 0 : n;
	}
	return err;
}

/* ---- mappings ---- */

static int result(long ret)
{
	return ret < 0 ? -errno : 0;
}

static int host_prot(unsigned prot)
{
	return (prot & HF_PROT_READ ? PROT_READ : 0) | (prot & HF_PROT_WRITE ? PROT_WRITE : 0);
}

/* The zeropage, or the file's page, is to be there when it is first written. */
static bool is_read_first(const struct hf_stage *stage, const struct hf_step *st)
{
	return st->prot && (stage->kind->memory == HF_MEM_ZEROPAGE || stage->file >= 0);
}

static int no_memory(const struct hf_kind_info *kind, char *reason)
{
	if (errno != ENOMEM || !hf_is_hugetlb(kind))
		return -errno;
	snprintf(reason, HF_REASON_LEN, "the hugetlb pool is empty");
	return HF_OBS_SKIP;
}

static int map_every_second(const struct hf_stage *stage, char *start, size_t size, int prot)
{
	for (size_t at = HF_PAGE_SIZE; at < size; at += 2 * HF_PAGE_SIZE)
		if (mmap(start + at, HF_PAGE_SIZE, prot, MAP_PRIVATE | MAP_FIXED, stage->file,
			 (off_t)at) == MAP_FAILED)
			return -errno;
	return 0;
}

static int do_map(const struct hf_stage *stage, struct hf_call_box *box)
{
	const struct hf_kind_info *kind = stage->kind;
	bool mixed = kind->memory == HF_MEM_MIXED;
	int file = mixed ? -1 : stage->file;
	int flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE | (file < 0 ? MAP_ANONYMOUS : 0) |
		    (kind->memory == HF_MEM_HUGETLB ? MAP_HUGETLB : 0);
	uint8_t byte;
	void *want = pointer(box->addr);
	void *got = mmap(want, box->size, host_prot(box->step->prot), flags, file, 0);

	if (got == MAP_FAILED)
		return no_memory(kind, box->reason);
	if (got != want) { /* a kernel that takes the address as a hint */
		munmap(got, box->size);
		return -EEXIST;
	}
	if (mixed && map_every_second(stage, got, box->size, host_prot(box->step->prot)))
		return -errno;
	/* fails where there are no huge pages to avoid */
	madvise(got, box->size,
		kind->order && !hf_is_hugetlb(kind) ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	for (size_t at = 0; is_read_first(stage, box->step) && at < box->step->pages * HF_PAGE_SIZE;
	     at += HF_PAGE_SIZE)
		if (try_access(&byte, (char *)got + at, 1, true)) {
			munmap(got, box->size);
			return -EFAULT;
		}
	return 0;
}

static int do_remap(const struct hf_call_box *box)
{
	size_t size = box->step->pages ? box->step->pages * HF_PAGE_SIZE : box->size;

	return mremap(pointer(box->addr), box->size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
		      pointer(box->to)) == MAP_FAILED
		       ? -errno
		       : 0;
}

static int do_advise(const struct hf_step *st, uint64_t addr, size_t len, char *reason)
{
	static const int advice[] = {
		[HF_MADV_DONTNEED] = MADV_DONTNEED,
		[HF_MADV_FREE] = MADV_FREE,
		[HF_MADV_DONTFORK] = MADV_DONTFORK,
		[HF_MADV_DOFORK] = MADV_DOFORK,
		[HF_MADV_WIPEONFORK] = MADV_WIPEONFORK,
		[HF_MADV_KEEPONFORK] = MADV_KEEPONFORK,
		[HF_MADV_POPULATE_READ] = MADV_POPULATE_READ,
		[HF_MADV_POPULATE_WRITE] = MADV_POPULATE_WRITE,
		[HF_MADV_COLLAPSE] = MADV_COLLAPSE,
	};
	int err = result(madvise(pointer(addr), len, advice[st->advice]));

	/* does the kernel know it at all? */
	if (err == -EINVAL && madvise(NULL, 0, advice[st->advice])) {
		snprintf(reason, HF_REASON_LEN,
			 st->advice == HF_MADV_COLLAPSE ? "MADV_COLLAPSE needs Linux 6.1"
							: "MADV_POPULATE_* needs Linux 5.14");
		return HF_OBS_SKIP;
	}
	return err;
}

/* A flag that one page of each PMD has for a while, and that nothing here looks at. */
static int do_split(uint64_t addr, size_t len)
{
	const uint64_t pmd = 512 * HF_PAGE_SIZE, end = addr + len;
	int err = 0;

	for (; addr < end && !err; addr = (addr + pmd) & ~(pmd - 1)) {
		err = result(madvise(pointer(addr), HF_PAGE_SIZE, MADV_DONTDUMP));
		if (!err)
			err = result(madvise(pointer(addr), HF_PAGE_SIZE, MADV_DODUMP));
	}
	return err;
}

static int do_truncate(const struct hf_stage *stage, const struct hf_step *st, char *reason)
{
	if (stage->file >= 0 && stage->kind->memory != HF_MEM_MIXED)
		return result(ftruncate(stage->file, (off_t)st->lo));
	snprintf(reason, HF_REASON_LEN, "memory of this kind is not all of a file");
	return HF_OBS_SKIP;
}

/* ---- shapes of folios ---- */

/* A hole that the scenario has made has split the PMD. */
static int map_by_leaf_entries(const struct hf_stage *stage, const struct hf_call_box *box)
{
	int err = stage->kind->order < 9 ? 0 : do_split(box->addr, box->size);

	return err == -ENOMEM ? 0 : err;
}

static int move_half(struct hf_call_box *box)
{
	size_t half = box->size / 2;

	if (box->buffer > half) {
		snprintf(box->reason, HF_REASON_LEN,
			 "the buffer needs more than half of its folio");
		return HF_OBS_SKIP;
	}
	return mremap(pointer(box->addr + half), half, half, MREMAP_MAYMOVE | MREMAP_FIXED,
		      pointer(box->to)) == MAP_FAILED
		       ? -errno
		       : 0;
}

static int share_partly(char *rest, size_t len)
{
	pid_t pid;

	if (len && madvise(rest, len, MADV_DONTFORK))
		return -errno;
	pid = fork();
	if (pid == 0)
		_exit(0);
	if (pid < 0 || waitpid(pid, NULL, 0) < 0)
		return -errno;
	return len && madvise(rest, len, MADV_DOFORK) ? -errno : 0;
}

static int do_shape(const struct hf_stage *stage, struct hf_call_box *box)
{
	enum hf_shape shape = stage->kind->shape;
	char *start = pointer(box->addr), *rest = start + box->buffer;
	size_t len = box->size - box->buffer, size = box->size;
	int err = shape == HF_SHAPE_WHOLE ? 0 : map_by_leaf_entries(stage, box);

	if (!err && shape == HF_SHAPE_SINGLE && len)
		err = result(madvise(rest, len, MADV_DONTNEED));
	if (!err && shape == HF_SHAPE_HALF) {
		err = move_half(box);
		size /= 2;
	}
	if (!err && shape == HF_SHAPE_PARTLY)
		err = share_partly(rest, len);
	if (err || !stage->kind->swapped)
		return err;
	err = result(madvise(start, size, MADV_PAGEOUT));
	return err == -ENOMEM ? 0 : err; /* all but a hole of the buffer went out */
}

/* ---- other processes' memory ---- */

/* A short count has no reason; the call for the rest has. */
static int count(struct hf_call_box *box, ssize_t n)
{
	if (n < 0)
		return -errno;
	box->done += (size_t)n;
	return n ? 0 : -EIO;
}

static int do_process_vm(struct hf_call_box *box)
{
	const struct hf_step *st = box->step;
	size_t len = st->hi - st->lo;
	bool write = st->verb == HF_V_PROCESS_VM_WRITE;
	int err = 0;

	if (write)
		memset(box->data, st->value, len);
	while (box->done < len && !err) {
		struct iovec local = { box->data + box->done, len - box->done };
		struct iovec remote = { pointer(box->addr + box->done), len - box->done };

		err = count(box,
			    write ? process_vm_writev(box->target_pid, &local, 1, &remote, 1, 0)
				  : process_vm_readv(box->target_pid, &local, 1, &remote, 1, 0));
	}
	return err;
}

static int access_mem(struct hf_call_box *box, int fd)
{
	const struct hf_step *st = box->step;
	size_t len = st->hi - st->lo;
	bool write = st->verb == HF_V_PTRACE_WRITE;
	int err = 0;

	if (write)
		memset(box->data, st->value, len);
	while (box->done < len && !err) {
		uint8_t *data = box->data + box->done;
		off_t at = (off_t)(box->addr + box->done);

		err = count(box, write ? pwrite(fd, data, len - box->done, at)
				       : pread(fd, data, len - box->done, at));
	}
	return err;
}

/* Since Linux 6.12, kernels may keep FOLL_FORCE for those that trace the process. */
static int access_mem_as_tracer(struct hf_call_box *box, int fd)
{
	int err;

	if (ptrace(PTRACE_SEIZE, box->target_pid, NULL, NULL))
		return -errno;
	if (ptrace(PTRACE_INTERRUPT, box->target_pid, NULL, NULL) ||
	    waitpid(box->target_pid, NULL, __WALL) < 0)
		return -errno;
	err = access_mem(box, fd);
	ptrace(PTRACE_DETACH, box->target_pid, NULL, NULL);
	return err;
}

static int do_ptrace(struct hf_call_box *box)
{
	char path[40];
	int fd, err;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)box->target_pid);
	fd = open(path, (box->step->verb == HF_V_PTRACE_READ ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = access_mem(box, fd);
	if (err == -EIO)
		err = access_mem_as_tracer(box, fd);
	close(fd);
	return err;
}

/* ---- references ---- */

static int do_splice(const struct hf_wire *w, const struct hf_step *st, uint64_t addr)
{
	struct iovec iov = { pointer(addr), st->hi - st->lo };
	ssize_t n;

	while (iov.iov_len) {
		n = vmsplice(w->pipe[1], &iov, 1, SPLICE_F_NONBLOCK);
		if (n <= 0)
			return n ? -errno : -EIO;
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
	}
	return 0;
}

static int do_register(struct hf_wire *w, const struct hf_step *st, uint64_t addr, char *reason)
{
	struct iovec iov = { pointer(addr), st->hi - st->lo };
	int err = io_uring_register_buffers(&w->ring, &iov, 1);

	if (err == -ENOMEM) {
		snprintf(reason, HF_REASON_LEN,
			 "registering a buffer: RLIMIT_MEMLOCK is too low; raise it (ulimit -l)");
		return HF_OBS_SKIP;
	}
	return err;
}

static int open_file(struct hf_wire *w)
{
	w->file = hf_wire_open_file(w);
	return w->file < 0 ? w->file : 0;
}

struct direct_io {
	const struct hf_wire *wire;
	void *range;
	size_t len;
	sem_t alone, go;
};

/* By reference: each is made once. */
static struct direct_io direct_ios[HF_SCN_MAX_REFS];

/* The file is the thread's alone: whoever closes it,
 * such as a child that exits, would wait for the I/O. */
static void *direct_io_thread(void *arg)
{
	struct direct_io *io = arg;
	const struct hf_wire *w = io->wire;
	long done;

	unshare(CLONE_FILES);
	sem_post(&io->alone);
	while (sem_wait(&io->go))
		;
	done = w->means == HF_MEANS_READ ? pread(w->file, io->range, io->len, 0)
					 : pwrite(w->file, io->range, io->len, 0);
	if (done < 0)
		done = -errno;
	/* a pipe of our own takes eight bytes at once */
	return write(w->done[1], &done, sizeof(done)) == sizeof(done) ? NULL : arg;
}

/* Of a range with a hole, direct I/O takes what lies before it, and of a write nobody tells how
 * much that is before it ends. */
static int touch(uint64_t addr, size_t len)
{
	uint8_t byte;
	int err = 0;

	for (uint64_t at = addr; at < addr + len && !err; at = (at | (HF_PAGE_SIZE - 1)) + 1)
		err = try_access(&byte, pointer(at), 1, true);
	return err;
}

static int start_direct_io(const struct hf_wire *w, const struct hf_step *st, uint64_t addr)
{
	struct direct_io *io = &direct_ios[st->ref];
	pthread_t thread;
	int err = w->means == HF_MEANS_WRITE ? touch(addr, st->hi - st->lo) : 0;

	if (err)
		return err;
	*io = (struct direct_io){ .wire = w, .range = pointer(addr), .len = st->hi - st->lo };
	sem_init(&io->alone, 0, 0);
	sem_init(&io->go, 0, 0);
	err = pthread_create(&thread, NULL, direct_io_thread, io);
	if (err)
		return -err;
	while (sem_wait(&io->alone))
		;
	close(w->file);
	sem_post(&io->go);
	return -pthread_detach(thread);
}

static int take_reference(struct hf_stage *stage, const struct hf_step *st, uint64_t addr,
			  char *reason)
{
	struct hf_wire *w = &stage->wire[st->ref];

	switch (w->means) {
	case HF_MEANS_PIPE:
		return do_splice(w, st, addr);
	case HF_MEANS_RING:
		return do_register(w, st, addr, reason);
	case HF_MEANS_TEST:
		return hf_gup_test_pin(w->file, addr, st->hi - st->lo, st->foll & HF_FOLL_WRITE,
				       st->fast);
	default:
		return start_direct_io(w, st, addr);
	}
}

/* In a par block. */
static int release(struct hf_stage *stage, const struct hf_step *st)
{
	struct hf_wire *w = &stage->wire[st->ref];

	if (!hf_step_fits_ref(st, hf_ref_maker(stage->scn, st->ref)) ||
	    atomic_exchange(&stage->shared->let_go[st->ref], true))
		return -EINVAL;
	return w->means == HF_MEANS_TEST ? hf_gup_test_unpin(w->file)
					 : io_uring_unregister_buffers(&w->ring);
}

/* ---- steps ---- */

int hf_actor_step(struct hf_stage *stage, const struct hf_step *st, uint64_t addr, size_t len,
		  uint8_t *data, size_t *done, char *reason)
{
	switch (st->verb) {
	case HF_V_UNMAP:
		return result(munmap(pointer(addr), len));
	case HF_V_PROTECT:
		return result(mprotect(pointer(addr), len, host_prot(st->prot)));
	case HF_V_ADVISE:
		return do_advise(st, addr, len, reason);
	case HF_V_WRPROTECT:
		return hf_kernel_wrprotect(addr, len, reason);
	case HF_V_MERGE:
		return result(madvise(pointer(addr), len, MADV_MERGEABLE));
	case HF_V_SPLIT:
		return do_split(addr, len);
	case HF_V_TRUNCATE:
		return do_truncate(stage, st, reason);
	case HF_V_SWAPOUT:
		return result(madvise(pointer(addr), len, MADV_PAGEOUT));
	case HF_V_READ:
	case HF_V_CHECK:
	case HF_V_WRITE:
		return do_access(st, addr, data, done);
	case HF_V_UNPIN:
	case HF_V_PUT:
		return release(stage, st);
	default:
		return take_reference(stage, st, addr, reason);
	}
}

/* In the child it never returns. */
static pid_t do_fork(struct hf_stage *stage, const struct hf_step *st)
{
	pid_t pid = fork();

	if (pid == 0)
		hf_actor_main(stage, st->child);
	return pid < 0 ? -errno : pid;
}

static int do_step(struct hf_stage *stage, struct hf_call_box *box)
{
	const struct hf_step *st = box->step;

	switch (st->verb) {
	case HF_V_MAP:
		return do_map(stage, box);
	case HF_V_REMAP:
		return do_remap(box);
	case HF_V_FORK:
		box->child = do_fork(stage, st);
		return box->child < 0 ? box->child : 0;
	case HF_V_EXIT:
		_exit(0);
	case HF_V_PROCESS_VM_READ:
	case HF_V_PROCESS_VM_WRITE:
		return do_process_vm(box);
	case HF_V_PTRACE_READ:
	case HF_V_PTRACE_WRITE:
		return do_ptrace(box);
	default:
		return hf_actor_step(stage, st, box->addr, box->size, box->data, &box->done,
				     box->reason);
	}
}

/* ---- par blocks ---- */

bool hf_par_meet(struct hf_shared *shared)
{
	atomic_fetch_add(&shared->arrived, 1);
	for (unsigned i = 1; atomic_load(&shared->arrived) < shared->nr_runners; i++)
		/* who is not woken any more when the runner is killed will not come either */
		if (atomic_load(&shared->stop) || (!(i % 65536) && kill(shared->runner, 0)))
			return false;
	return true;
}

struct arm_thread {
	struct hf_stage *stage;
	const struct hf_arm *arm;
	struct hf_arm_step *step; /* the arm's first */
	pthread_t thread;
};

static void *run_arm(void *arg)
{
	struct arm_thread *t = arg;
	size_t i = 0;

	sched_setaffinity(0, sizeof(cpu_set_t), &t->stage->all_cpus);
	if (hf_par_meet(t->stage->shared))
		for (; i < t->arm->nr_steps; i++) {
			const struct hf_step *st = &t->arm->steps[i];
			struct hf_arm_step *s = &t->step[i];
			size_t done; /* of one access: all or nothing */

			if (s->left_out)
				continue;
			if (st->verb == HF_V_FORK) {
				s->child = do_fork(t->stage, st);
				s->status = s->child < 0 ? s->child : 0;
			} else {
				s->status = hf_actor_step(t->stage, st, s->addr, s->size, s->data,
							  &done, s->reason);
			}
			if (s->status)
				break;
		}
	for (i++; i < t->arm->nr_steps; i++)
		t->step[i].status = -ECANCELED;
	sched_setaffinity(0, sizeof(cpu_set_t), &t->stage->one_cpu);
	return NULL;
}

/* The main thread takes its own arm, if it has one: only it may fork. */
static int run_arms(struct hf_stage *stage, int me)
{
	const struct hf_par *par = stage->shared->par;
	struct arm_thread t[HF_SCN_MAX_ARMS], *own = NULL;
	size_t nr = 0, n = 0;
	int err = 0;

	for (size_t a = 0; a < par->nr_arms && !err; n += par->arms[a].nr_steps, a++) {
		const struct hf_arm *arm = &par->arms[a];

		if (arm->steps[0].proc != me)
			continue;
		t[nr] = (struct arm_thread){ .stage = stage,
					     .arm = arm,
					     .step = &stage->shared->arm_step[n] };
		if (arm->steps[0].thread == 0 && !own)
			own = &t[nr++];
		else
			err = -pthread_create(&t[nr].thread, NULL, run_arm, &t[nr]), nr += !err;
	}
	if (err)
		atomic_store(&stage->shared->stop, true);
	if (own)
		run_arm(own);
	for (size_t i = 0; i < nr; i++)
		if (&t[i] != own)
			pthread_join(t[i].thread, NULL);
	return err;
}

/* ---- the process ---- */

static void serve(struct hf_stage *stage, int me)
{
	struct hf_call_box *box = &stage->shared->box[me];

	switch (box->call) {
	case HF_CALL_STEP:
		box->status = do_step(stage, box);
		break;
	case HF_CALL_SHAPE:
		box->status = do_shape(stage, box);
		break;
	case HF_CALL_OPEN_FILE:
		box->status = open_file(&stage->wire[box->step->ref]);
		break;
	case HF_CALL_ARMS:
		box->status = run_arms(stage, me);
		break;
	}
}

_Noreturn void hf_actor_main(struct hf_stage *stage, int me)
{
	int control = stage->control[me][1];
	char token;

	signal(SIGINT, SIG_IGN); /* the runner decides */
	signal(SIGTERM, SIG_IGN);
	catch_faults();
	prctl(PR_SET_PTRACER,
	      PR_SET_PTRACER_ANY); /* EINVAL without Yama, where nothing stands in the way */
	sched_setaffinity(0, sizeof(cpu_set_t), &stage->one_cpu);
	while (read(control, &token, 1) == 1) {
		serve(stage, me);
		if (send(control, &token, 1, MSG_NOSIGNAL) != 1)
			break;
	}
	_exit(0);
}
