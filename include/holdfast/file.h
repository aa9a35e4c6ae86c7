/* SPDX-License-Identifier: MIT */
/*
 * Files: a page cache, mapped privately or shared.
 *
 * CAVEATS FIRST
 *  - A private mapping shows the file until a page is written; then that page is the process's own.
 *    A short read-only pin of a file page in a private mapping is not a window, as in Linux; a
 *    long-term one is.
 *  - Truncation takes pages away under pins: the pin keeps the old frame, which is no longer the
 *    file's.
 *  - Pages stay in memory until they are truncated or the file goes; they are not moved out.
 */
#ifndef HOLDFAST_FILE_H
#define HOLDFAST_FILE_H

#include <holdfast/mm.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where a file's pages come from and go to. 0 or negative errno; called without locks but
 * mmap_lock. `page` has HF_PAGE_SIZE bytes. */
struct hf_backing {
	void *ctx;
	int (*read)(void *ctx, uint64_t index, void *page);
	int (*write)(void *ctx, uint64_t index, const void *page);
};

/* 2 MiB pages out of the hugetlb pool; without backing; mapped privately only, so that it has no
 * pages of its own: what is touched is the process's, be it by a read, as in Linux. */
#define HF_FILE_HUGETLB (1u << 0)

struct hf_file;
/*
 * A file of `size` bytes (rounded up to its pages), with one user. backing NULL: it is in memory
 * only and full of zeros, as a memfd; otherwise stores to it are tracked and written back by
 * hf_file_sync(), and long-term write pins of shared mappings of it are refused (Linux 6.5).
 * backing must outlive the file. -EINVAL (size 0, flags), -ENOMEM.
 */
int hf_file_create(struct hf_system *sys, size_t size, const struct hf_backing *backing,
		   unsigned flags, struct hf_file **out);
/* Drops the caller's use. Mappings have their own. The last writes dirty pages back, as far as that
 * succeeds, and frees them. */
void hf_file_put(struct hf_file *file);

/*
 * As hf_mmap(), of a file from page `pgoff` on. HF_MAP_SHARED: stores are the file's;
 * HF_MAP_HUGETLB is the file's own choice and must not be given; a file of hugetlb pages becomes as
 * long as its writable mappings, as in Linux. Errors as hf_mmap(); accesses beyond the end of the
 * file fail with -EFAULT.
 */
int hf_mmap_file(struct hf_mm *mm, uint64_t *addr, size_t len, unsigned prot, unsigned flags,
		 struct hf_file *file, uint64_t pgoff);

/* Bytes of the file, by the page cache, as read(2) and write(2). -EINVAL (beyond the end), -ENOMEM,
 * or what the backing says. */
int hf_file_read(struct hf_file *file, uint64_t offset, void *to, size_t len);
int hf_file_write(struct hf_file *file, uint64_t offset, const void *from, size_t len);
/* Writes dirty pages back; the next store to each is noticed.
 * What fails stays dirty. 0 or the first error. */
int hf_file_sync(struct hf_file *file);
/* Cuts the file down to `size` bytes: the pages beyond leave every mapping, private copies too. Or
 * makes it longer again, with zeros, as far as it was when it was made. -EINVAL: longer than that,
 * or part of a hugetlb page. */
int hf_file_truncate(struct hf_file *file, size_t size);

#ifdef __cplusplus
}
#endif
#endif
