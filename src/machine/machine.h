/* SPDX-License-Identifier: MIT */
/*
 * What is changed of the machine that we run on, and put back however we end.
 *
 * Who changes a setting holds the lock on /run/holdfast.journal (journal.h) and writes there what
 * was before. A guardian, a process of its own (src/guardian), puts that back when the runner is
 * gone, kill -9 or not; where it is gone, too, the next runner does, or `holdfast restore`.
 *
 * One for a process; not for several threads at once.
 */
#ifndef HF_MACHINE_H
#define HF_MACHINE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

/* Where the pool of 2 MiB pages is. */
#define HF_HUGETLB "/sys/kernel/mm/hugepages/hugepages-2048kB"

/* `say` gets what a user should know, a line without its end; `*stop` ends a wait for the lock.
 * Either may be NULL. */
void hf_machine_user(void (*say)(const char *text), const volatile sig_atomic_t *stop);
/* The machine is thrown away: settings are changed, and nothing is written down or put back. */
void hf_machine_expendable(void);

/* Those who may change something join before and leave afterwards; joining puts back what a dead
 * runner has left, and the last one to leave what was changed meanwhile. */
void hf_machine_join(void);
void hf_machine_leave(void);

/*
 * Takes the lock, if it is not ours yet; as long as another runner has it, waits. Whoever relies on
 * a setting needs it, even if there is nothing to change: another runner would put it back. 0 or
 * negative errno, and `why`: -EACCES, -EROFS: not for us; -EINTR: stopped; -ENOENT and others:
 * there is no guardian; -EBUSY: what a dead runner left cannot be put back.
 */
int hf_machine_hold(char *why, size_t len);
/* The value of a file of /sys or /proc; of a choice, what is chosen. Values have no blanks. Needs
 * no lock where the file has that value. 0 or negative errno, and `why`. */
int hf_machine_set(const char *path, const char *value, char *why, size_t len);
/* Of a file that the kernel changes by itself when others are set:
 * it is to be put back, too. 0 or negative errno. */
int hf_machine_keep(const char *path);
/* So many pages of 2 MiB more, as far as the kernel finds them. 0 or negative errno, and `why`. */
int hf_machine_enlarge_pool(size_t pages, char *why, size_t len);
/* A zram device of 64 MiB that is swapped to. 0 or negative errno, and `why`. */
int hf_machine_add_swap(char *why, size_t len);

#endif
