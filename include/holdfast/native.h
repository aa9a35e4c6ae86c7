/* SPDX-License-Identifier: MIT */
/*
 * Native spaces: snapshots of a program's own memory, on Linux, without fork().
 *
 * A space is an address range that the program uses through ordinary pointers. A snapshot is one
 * instant of it: all stores of all threads before it are in it, none after. The live space keeps
 * its frames, so pins, registered buffers and devices never lose theirs; the old bytes of a unit
 * (4 KiB or 2 MiB) move to a frame of the snapshot before the first store to it. Only what is
 * exclusive to the live space, because it was written since the last snapshot, has to be protected
 * for the next one.
 *
 * CAVEATS FIRST
 *  - In the default mode a thread of the library resolves faults, and whatever writes to the space
 *    succeeds: stores, system calls, io_uring, direct I/O. It needs the right to handle the
 *    kernel's faults (root, CAP_SYS_PTRACE, access to /dev/userfaultfd, or
 *    vm.unprivileged_userfaultfd=1). The exceptions are two, for there the kernel waits for no
 *    handler: futex operations that write themselves (FUTEX_WAKE_OP, FUTEX_LOCK_PI) fail with
 *    EFAULT, and ptrace() and /proc/PID/mem with EIO, when they store, or read what has not come
 *    yet of a child or a map. The two prepare calls help.
 *    Old kernels (5.10) also refuse to register buffers of io_uring there: pin them before.
 *  - With HF_NATIVE_SIGNAL the faulting thread does it itself, on a SIGBUS: several times faster,
 *    and no right is needed. But a system call that writes to a protected page fails with EFAULT,
 *    and a datagram is lost by that: hf_native_prepare_write() before it, hf_native_finish_write()
 *    after it. What has been pinned for writing needs neither, unless a snapshot is taken
 *    meanwhile; devices and registered buffers never do. And no thread that writes to the space may
 *    have SIGBUS blocked: the kernel would end the program.
 *  - What takes the range's pages away from it, or their protection, does so unseen: MADV_DONTNEED,
 *    _FREE and _GUARD_INSTALL, munmap(), mremap(), mmap() over it, KSM (MADV_MERGEABLE,
 *    PR_SET_MEMORY_MERGE). The snapshots that share such a unit have lost it, and say so: -ENODATA
 *    or -EFAULT, never other bytes. So may the next one, once; later ones have what is there. To be
 *    found it needs Linux 5.14, hugetlb 6.7: do none of it on older kernels. Nor do any of it while
 *    a snapshot is being taken. What is mprotect()ed is not lost, but where it cannot be read:
 *    -EFAULT; before Linux 5.14 do not make a part unreadable.
 *  - A program may close the library's descriptors, put files of its own there, lower its limits,
 *    drop its rights, lock its memory: docs/native.md has a table. What its filters (seccomp) deny
 *    to the caller a thread of the library does, if it started before. A filter for all threads has
 *    to allow ioctl, fcntl, futex, read, poll, mmap, munmap, mprotect and madvise: else snapshots
 *    fail with -EPERM, -EACCES or -ENOSYS, and a store to what is protected ends in SIGBUS.
 *  - Calls that take a plain reference to read from (FOLL_GET: vmsplice(), MSG_ZEROCOPY, direct
 *    writes before Linux 6.5) are not safe from Linux itself, pinned here or not: after a fork() of
 *    the program, and where the page was being swapped out to a device that wants it stable (zram)
 *    when the reference was taken, a store moves the owner to a copy, and the reader has the old
 *    bytes. Registered buffers have no such case; nor has memory that was mlock()ed before.
 *  - Bytes that a device, or a system call under hf_native_prepare_write(), writes while a
 *    snapshot is taken are in it or not, each of them; none is lost to the owner.
 *  - The program's own fork(): the child has the range as it was, as memory like any other, except
 *    children's ranges and maps of snapshots (bracketed it has both), HF_NATIVE_SHARED and
 *    HF_NATIVE_HUGETLB, which it has not. Every call for what was the parent's fails with
 *    -EOWNERDEAD there; it may make spaces of its own.
 *  - No call may be made from a signal handler, but any may be made while other threads run,
 *    write, and make calls, unless it says otherwise.
 *  - Where frames run out the writer goes on, and the snapshot loses that unit: reading it gives
 *    -ENODATA. Set pool_limit, and leave room.
 */
#ifndef HOLDFAST_NATIVE_H
#define HOLDFAST_NATIVE_H

#include <holdfast/gup.h>

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hf_native;
struct hf_native_snapshot;

/* What the memory is made of: the unit in which it is protected and copied. */
enum hf_native_pages {
	HF_NATIVE_AUTO,    /* THP where the kernel has it for madvise(), else 4 KiB; bracketed:
			      THP_4K, which is 4 KiB where there are no THPs */
	HF_NATIVE_4K,      /* anonymous, 4 KiB */
	HF_NATIVE_THP,     /* anonymous, 2 MiB: fastest, if up to 512 pages may be copied for one */
	HF_NATIVE_HUGETLB, /* 2 MiB of the pool (vm.nr_hugepages), reserved at once, and with
			      HF_NATIVE_SIGNAL filled at once */
	HF_NATIVE_THP_4K,  /* THPs, protected and copied by 4 KiB: the kernel splits one (and never
			      moves it) where a store comes that no others are likely to follow */
};

#define HF_NATIVE_SIGNAL 0x1    /* faults are resolved in the faulting thread; see above */
#define HF_NATIVE_SHARED 0x2    /* 4 KiB pages of a memfd, which hf_native_memfd() gives */
#define HF_NATIVE_BRACKETED 0x4 /* stores are bracketed: nothing is protected. See below */
#define HF_NATIVE_CHECKED 0x8   /* and a store without a bracket is found; for tests */

/* Of each unit, the greatest number of pins for reading, for writing, and of prepared writes. */
#define HF_NATIVE_PIN_MAX ((1U << 21) - 1)

struct hf_native_config {
	size_t size;                /* bytes; rounded up to the unit */
	enum hf_native_pages pages; /* HF_NATIVE_AUTO */
	unsigned flags;             /* HF_NATIVE_SIGNAL, HF_NATIVE_SHARED */
	unsigned helpers;           /* threads that help to protect; 0: the caller alone */
	size_t pool_limit; /* bytes of frames for snapshots, of which half is never copied to
			      ahead of stores; 0: no limit */
	void (*stray)(void *arg, const void *addr); /* see HF_NATIVE_CHECKED below; or NULL */
	void *stray_arg;
};

/* What this kernel lets this process do. */
struct hf_native_support {
	bool write_protect;        /* userfaultfd write-protects anonymous memory (Linux 5.7) */
	bool write_protect_shared; /* and memfds and hugetlb (5.19) */
	bool unpopulated;          /* and what is not there yet (6.4): both THP modes need it */
	bool pagemap_scan;         /* 6.7: without it, finding new pages is slower */
	bool kernel_faults;        /* the default mode may be used */
	bool thp;                  /* /sys/kernel/mm/transparent_hugepage has 2 MiB pages on, and
				      the process has not switched them off (prctl) */
	size_t hugetlb_free;       /* bytes of the pool of 2 MiB pages that are free */
	char remedy[256]; /* what to do for the default mode, or for what is missing; may be
			     empty */
};

/* Fills *support. -ENOSYS, -EPERM: no userfaultfd here, or a filter denies it. -EMFILE, -ENOMEM.
 * Then only support->remedy has something to say. */
int hf_native_probe(struct hf_native_support *support);

/*
 * A space of zeros. It starts a thread that keeps its descriptors, in the default mode one that
 * resolves faults, and may install a SIGBUS handler (HF_NATIVE_SIGNAL), which hands on what is not
 * the library's; a program that installs its own afterwards calls hf_native_handle_sigbus() from
 * it.
 *
 * -EINVAL: size 0, unknown flags or pages, SHARED with other than 4 KiB or AUTO. -EPERM: the
 * default mode is not allowed, or a filter denies close_range() and unshare(). -EOPNOTSUPP: the
 * kernel cannot protect such memory. -ENOMEM: no memory (RLIMIT_AS, RLIMIT_DATA, what mlockall()
 * would lock beyond RLIMIT_MEMLOCK), or the hugetlb pool has not enough. -EAGAIN: no thread.
 * -ENOSYS: no userfaultfd. For the last five hf_native_probe() has the remedy. -EMFILE: no
 * descriptor left. -EFBIG: SHARED, and RLIMIT_FSIZE is less than the size.
 */
int hf_native_create(const struct hf_native_config *config, struct hf_native **out);

/*
 * Ends the space. Snapshots of it stay readable and children stay as they are: the memory goes when
 * the last of them does. Until then the range is read-only. The program must not use it meanwhile.
 * -EBUSY: something is pinned. -EOWNERDEAD. -EINVAL: it was destroyed, and snapshots of it or
 * children have kept its memory; every call that would change such a space says so. Once they are
 * gone too the pointer is dangling, and may be another space's.
 */
int hf_native_destroy(struct hf_native *space);

void *hf_native_base(const struct hf_native *space); /* NULL never; aligned to the unit */
size_t hf_native_size(const struct hf_native *space);
size_t hf_native_unit(const struct hf_native *space); /* 4096 or 2 MiB */
/* Stays the space's; -EBADF: not SHARED. It is sealed: it can be mapped elsewhere to read, and
 * neither be written to but through the space, nor get another size, nor holes. */
int hf_native_memfd(const struct hf_native *space);

/*
 * A child: a space of its own, elsewhere in memory, with the parent's bytes of this instant. Its
 * pages come when they are first used. Errors as hf_native_snapshot(), and -EOPNOTSUPP (SHARED);
 * -ENODATA: bracketed, and the instant was lost while it was copied.
 */
int hf_native_fork(struct hf_native *space, struct hf_native **child);

/*
 * A read-only instant of the space, cheaper than a fork. Threads that store meanwhile wait for as
 * long as the protecting takes. Units pinned for writing are copied at once. -ENOMEM. -EDEADLK: in
 * a bracket. -EAGAIN: other threads touch new memory faster than it can be found, on a kernel
 * before 6.4. -EFAULT: a part of the range has been unmapped, or something else is mapped there.
 * -EPERM, -EACCES, -ENOSYS: a filter. -EOWNERDEAD.
 */
int hf_native_snapshot(struct hf_native *space, struct hf_native_snapshot **out);

/*
 * Ends a snapshot, in any order. -EBUSY: it is mapped or pinned. -EOWNERDEAD. -EINVAL: it was
 * dropped; every call for a snapshot says so of a dropped one, as long as anything of its origin
 * exists (the space that hf_native_create() made, children, snapshots), until its memory has served
 * 4096 others.
 */
int hf_native_drop(struct hf_native_snapshot *snapshot);

/*
 * The caller is done with these bytes of the snapshot (whole units of the range): their frames are
 * there for others, and the live space copies them no more; other snapshots keep what they need.
 * Reading them gives -ENODATA, or what was there. -EINVAL: the range, or it was dropped. -EBUSY: it
 * is mapped or pinned. -EDEADLK: in a bracket. -EOWNERDEAD.
 */
int hf_native_release(struct hf_native_snapshot *snapshot, size_t offset, size_t len);

/*
 * Goes back: the live space has the snapshot's bytes again, in place, so that pins and registered
 * buffers stay as they are. It costs by what was stored to since; where only the newest snapshot
 * is gone back to, copying out is done once for each unit. Other threads must not store to the
 * space meanwhile, but in brackets, which wait; bytes of devices are the snapshot's or the
 * device's, each of them. Snapshots stay what they are. -ENODATA: the snapshot has lost what is
 * needed, and nothing was changed. -EFAULT: a part cannot be written to any more; others may have
 * been put back. -ENOMEM. -EXDEV: another space's. -EINVAL: dropped, destroyed. -EDEADLK:
 * in a bracket. -EPERM, -EACCES, -ENOSYS: a filter. -EOWNERDEAD.
 */
int hf_native_restore(struct hf_native *space, const struct hf_native_snapshot *snapshot);

/* Copies bytes of the snapshot. Takes no lock. Bytes that are still the live space's cost some
 * calls to the kernel, which read them and find that they are protected: read much at a time.
 * -EINVAL: beyond the end. -ENODATA: these bytes are lost, for frames ran out, or by what the
 * program did to the range. -EFAULT: they are in memory that cannot be read now. -EOWNERDEAD.
 * Before an error some bytes may have been copied. */
int hf_native_read(const struct hf_native_snapshot *snapshot, size_t offset, void *buf, size_t len);

/*
 * The snapshot as a read-only range of memory, whose pages come when they are first read (each is
 * copied then: hf_native_read() of what is read once is cheaper). All callers share one range,
 * until as many unmaps. In signal mode a system call that reads from pages that have not come fails
 * with EFAULT: hf_native_prepare_read(). What is lost is not accessible: SIGBUS, or SIGSEGV in the
 * default mode before Linux 6.6. -ENOMEM, -EOWNERDEAD; -EPERM, -EACCES, -ENOSYS: a filter. unmap:
 * -EINVAL (not mapped), -EOWNERDEAD.
 */
int hf_native_map(struct hf_native_snapshot *snapshot, const void **addr);
int hf_native_unmap(struct hf_native_snapshot *snapshot);

/* Brings the pages of a map or a child in. `addr` is in it.
 * -EINVAL (range, or the owner is gone), -ENODATA, -ENOMEM. */
int hf_native_prepare_read(const void *addr, size_t len);

/* A run of bytes that differ, perhaps. */
struct hf_native_run {
	size_t offset, len; /* start with 0, 0; len 0 is the end */
};

#define HF_NATIVE_EXACT 0x1 /* compare, by 4 KiB: only what differs */

/*
 * The next run of `newer` behind *run that may differ from `older`, an earlier snapshot of the same
 * space, in order of offsets; `older` NULL: that is not all zeros, perhaps. Whole units, unless
 * HF_NATIVE_EXACT. Neither may be dropped during the walk.
 * 1: there is one. 0: the end. -EINVAL: flags, or not older. -EXDEV: of different spaces. -ENODATA:
 * units are lost, so that nobody can tell; with EXACT also as hf_native_read(). -EOWNERDEAD.
 */
int hf_native_diff(const struct hf_native_snapshot *older, const struct hf_native_snapshot *newer,
		   unsigned flags, struct hf_native_run *run);

/*
 * Pins a range of the space for a device or for I/O: until the unpin the library leaves these
 * addresses their frames, whatever snapshots are taken, and with HF_FOLL_WRITE all that the device
 * writes reaches the owner, and no snapshot of before. Linux leaves them where they are from when
 * the device's driver pins them (FOLL_PIN: registered buffers, RDMA, direct I/O since 6.5); see the
 * caveats for those that only take a reference. The pages are brought in, and what a
 * snapshot shares of them is copied, for readers too. Flags: HF_FOLL_WRITE, HF_FOLL_LONGTERM. Pins
 * count: a range is unpinned as often as it was pinned, by the same `addr`, `len` and flags, and
 * not in parts; ranges may overlap.
 *
 * Fills iov with what to hand to the device: one linear range, in pieces of at most 1 GiB (which is
 * what an io_uring buffer may have). Returns their number. -EINVAL: flags, range, nr_iov too small.
 * -EOVERFLOW: a count is full. -ENOMEM. -ENODATA: a child's, of what its parent's instant has lost.
 * -EFAULT, -ENOMEM: a part is not mapped any more, or not writable. -EPERM, -EACCES, -ENOSYS: a
 * filter.
 * -EOWNERDEAD. unpin: -EINVAL: not so pinned.
 */
int hf_native_pin(struct hf_native *space, void *addr, size_t len, unsigned flags,
		  struct iovec *iov, int nr_iov);
int hf_native_unpin(struct hf_native *space, void *addr, size_t len, unsigned flags);

/*
 * Pins bytes of a snapshot for reading, without a copy where it has frames of its own; what it
 * still shares with the live space is unshared first. The frames are scattered: one iovec for each
 * unit at most. Returns their number; when nr_iov is too small, or an error comes behind the first,
 * the range ends early: it holds the sum of their lengths. Unpin exactly that, as often as it was
 * pinned. -EINVAL, -ENOMEM, -EOWNERDEAD, -ENODATA, -EOVERFLOW (pinned 2^32 times). An error takes
 * nothing away from the snapshot. unpin: -EINVAL: not so pinned.
 */
int hf_native_pin_snapshot(struct hf_native_snapshot *snapshot, size_t offset, size_t len,
			   struct iovec *iov, int nr_iov);
int hf_native_unpin_snapshot(struct hf_native_snapshot *snapshot, size_t offset, size_t len);

/*
 * Brackets a system call that writes to the range, in signal mode: between the two nothing there is
 * protected. Snapshots copy it at once, and stores to it by other threads count as a device's (see
 * the caveats). Finish what was prepared: the same `addr` and `len`, as often; it is no pin, and no
 * unpin ends it. Errors as hf_native_pin() and hf_native_unpin().
 */
int hf_native_prepare_write(struct hf_native *space, void *addr, size_t len);
int hf_native_finish_write(struct hf_native *space, void *addr, size_t len);

/*
 * Bracketed spaces (HF_NATIVE_BRACKETED). The program promises that each of its stores to the space
 * lies between hf_native_begin_store() and hf_native_end_store() of the same thread, which name the
 * bytes. Then nothing has to be protected: a snapshot waits for the brackets that are open and is
 * taken, whatever the size; no right, no userfaultfd, no other thread, no signal handler is needed;
 * and system calls write as they do to any memory. A unit is copied at the first bracket that names
 * it after a snapshot; later ones cost some nanoseconds. What may take long, or is done by a device
 * or another process, is for hf_native_prepare_write() or hf_native_pin(), which snapshots do not
 * wait for; a store outside of all of these is seen by snapshots or not, and nobody is told: so are
 * madvise(), mmap() and the like on the range.
 *
 * Brackets nest, and may overlap with those of other threads. In one do not wait for another
 * thread that may be taking a snapshot, or opening a bracket, which may wait for one: a lock is
 * taken either always inside brackets or always outside. And snapshot, fork, drop, release,
 * restore, map, unmap and destroy are -EDEADLK there. A child, and a map of a snapshot, is copied
 * when it is made.
 *
 * A store without a bracket is found where HF_NATIVE_CHECKED is set, too: the memory is read-only
 * then but in brackets and pins, which costs each of them two calls to the kernel, and a handler of
 * SIGSEGV tells where it was: by config.stray(), in the thread that stored and while all signals
 * are blocked, and then lets it go on; without, on stderr with the stack, and aborts. (A system
 * call gets EFAULT.) What stores beside a bracket that another thread has open on the same unit is
 * not found.
 *
 * begin: 0, or what leaves no bracket open: -EINVAL (range, or not such a space), -ENOMEM (at the
 * first of a thread), -EOWNERDEAD. An inline call that succeeds looks at nothing but the range.
 */
static inline int hf_native_begin_store(struct hf_native *space, const void *addr, size_t len);
static inline void hf_native_end_store(struct hf_native *space, const void *addr, size_t len);

/* Live memory that is not needed: it reads as zeros, and whole pages of it go back to the kernel,
 * but not beside what is pinned (in the same 64 units); snapshots keep the bytes. It is a store,
 * and brackets itself. -EOPNOTSUPP: not a bracketed space. Else as begin. */
int hf_native_discard(struct hf_native *space, void *addr, size_t len);

/* What the two look at, for them alone: the head of a space, and of each thread the number of its
 * open brackets. */
struct hf_native_brackets {
	const char *base;
	size_t size;
	const uint64_t *exclusive; /* bits of units that may be stored to */
	uint32_t unit_shift;
	uint32_t barred; /* a snapshot is being taken */
	uint16_t fences; /* the kernel has no membarrier() */
	uint16_t checked;
};
struct hf_native_thread {
	uint32_t open; /* and HF_NATIVE_KNOWN_THREAD, when snapshots know of it */
	struct hf_native_thread *next;
	uint64_t outside; /* the round in which a snapshot has found none open */
};
#define HF_NATIVE_KNOWN_THREAD 0x80000000U
extern __thread struct hf_native_thread hf_native_this_thread
	__attribute__((tls_model("initial-exec")));
/* All other cases. `open` counts the bracket already. */
int hf_native_begin_store_slowly(struct hf_native *space, const void *addr, size_t len);
void hf_native_end_checked_store(struct hf_native *space, const void *addr, size_t len);

static inline int hf_native_begin_store(struct hf_native *space, const void *addr, size_t len)
{
	const struct hf_native_brackets *b = (const struct hf_native_brackets *)(const void *)space;
	size_t offset = (size_t)((const char *)addr - b->base);
	size_t first = offset >> b->unit_shift, last = (offset + len - 1) >> b->unit_shift;
	uint32_t open = hf_native_this_thread.open + 1;
	uint64_t units;

	__atomic_store_n(&hf_native_this_thread.open, open, __ATOMIC_RELAXED);
	if (__builtin_expect(b->fences, 0))
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	else
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (__builtin_expect(open & HF_NATIVE_KNOWN_THREAD && first / 64 == last / 64 &&
				     offset < b->size && len - 1 < b->size - offset &&
				     !__atomic_load_n(&b->barred, __ATOMIC_ACQUIRE),
			     1)) {
		units = (~(uint64_t)0 >> (63 - (last - first))) << first % 64;
		units &= ~__atomic_load_n(&b->exclusive[first / 64], __ATOMIC_ACQUIRE);
		/* release: a reader who sees the store sees the frame, too */
		__atomic_thread_fence(__ATOMIC_RELEASE);
		if (__builtin_expect(!units, 1))
			return 0;
	}
	return hf_native_begin_store_slowly(space, addr, len);
}

static inline void hf_native_end_store(struct hf_native *space, const void *addr, size_t len)
{
	const struct hf_native_brackets *b = (const struct hf_native_brackets *)(const void *)space;

	if (__builtin_expect(b->checked, 0))
		hf_native_end_checked_store(space, addr, len);
	else
		__atomic_store_n(&hf_native_this_thread.open, hf_native_this_thread.open - 1,
				 __ATOMIC_RELEASE);
}

/* To be called from a SIGBUS handler that the program installed after the first hf_native_create()
 * with HF_NATIVE_SIGNAL. True: it was the library's, and is resolved. */
bool hf_native_handle_sigbus(const siginfo_t *info);

struct hf_native_stats {
	uint64_t faults;       /* that were resolved */
	uint64_t copied;       /* units that moved to a snapshot */
	uint64_t copied_eager; /* of these, at the instant itself, for they were pinned */
	uint64_t lost;         /* units that no frame was left for */
	uint64_t protect_calls, protected_units; /* with what lay between runs */
	uint64_t last_snapshot_ns;               /* for which stores waited */
	uint64_t snapshots;                      /* that exist, hidden ones of children included */
	uint64_t frames_used, frames_free;       /* bytes */
};

/* Counts of the space and its relatives together. */
void hf_native_stats(const struct hf_native *space, struct hf_native_stats *stats);

/* Gives free frames back to the system; they are kept, because fresh ones cost. -EBUSY: they are
 * locked (mlockall()), and the kernel is older than 5.18. -EPERM, -EACCES, -ENOSYS: a filter denies
 * madvise(). -EOWNERDEAD. */
int hf_native_trim(struct hf_native *space);

#ifdef __cplusplus
}
#endif
#endif
