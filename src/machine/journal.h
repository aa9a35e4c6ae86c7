/* SPDX-License-Identifier: MIT */
/*
 * /run/holdfast.journal: what of this machine is changed, and what it was before. Text, a line
 * each:
 *
 *   holdfast journal 1
 *   boot 0d6ab1a2-...                 of another boot: nothing of it is changed any more
 *   owner 1234 56789 4711             pid, when it began, the inode of its life line (leftovers.h)
 *   set PATH BEFORE AFTER             written before the setting is
 *   keep PATH BEFORE                  the kernel may change it when settings are
 *   pool PATH BEFORE AFTER            pages in the pool, in a folder of /sys; may come to less
 *   zram 1                            the number that the next device will have
 *   back 2                            the second change is put back
 *
 * It has to outlive processes, not the machine, so nothing is synced. Its lock is flock(2)'s: who
 * has it may write. The owner's children inherit it, so who gets the lock is alone. The file is
 * there as long as something is changed, and no longer.
 */
#ifndef HF_MACHINE_JOURNAL_H
#define HF_MACHINE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HF_JOURNAL "/run/holdfast.journal"
#define HF_MAX_CHANGES 128

enum hf_change_kind { HF_CHANGE_SET, HF_CHANGE_KEEP, HF_CHANGE_POOL, HF_CHANGE_ZRAM };

struct hf_change {
	enum hf_change_kind kind;
	char path[112];       /* zram: the number */
	char was[32], to[32]; /* keep: no `to`; zram: neither */
	bool back;
};

struct hf_owner {
	pid_t pid;
	uint64_t began; /* clock ticks after boot */
	uint64_t line;
};

struct hf_journal {
	int fd;
	struct hf_owner owner; /* pid 0: nobody wrote in it */
	struct hf_change changes[HF_MAX_CHANGES];
	size_t nr;
};

/* Takes the lock and reads. 0; -ENOENT: there is none, and `create` is false; -EWOULDBLOCK:
 * somebody else has the lock; -EPROTO: it is of another version; -EPERM: others can
 * write it; or another negative errno. */
int hf_journal_open(struct hf_journal *j, bool create);
/* Its owner, without the lock. pid is 0 where none can be told. */
struct hf_owner hf_journal_owner(void);
/* Makes it empty, and this process its owner. 0 or negative errno. */
int hf_journal_begin(struct hf_journal *j, uint64_t line);
/* Writes a change down that is going to be made. 0 or negative errno: it must not be made. */
int hf_journal_add(struct hf_journal *j, enum hf_change_kind kind, const char *path,
		   const char *was, const char *to);
/* Writes down that a change is put back. */
int hf_journal_put_back(struct hf_journal *j, size_t change);
/* Removes the file and gives the lock up. */
void hf_journal_remove(struct hf_journal *j);
/* Gives the lock up. */
void hf_journal_close(struct hf_journal *j);

/* Is the owner's process there, and no zombie? */
bool hf_owner_lives(const struct hf_owner *owner);

#endif
