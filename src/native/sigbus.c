/* SPDX-License-Identifier: MIT */
/* Which space an address belongs to, and the handler for those that resolve their own faults. */
#include "internal.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

/* Of the whole process. It is in memory that fork() empties: the new process has none of the
 * spaces, and no thread that would leave the gate. */
struct registry {
	struct hf_futex writers;
	struct hf_gate gate;
	size_t nr;
	struct hf_native *spaces[4096];
};

static _Atomic(struct registry *) the_registry;

static struct {
	struct hf_futex lock;
	struct sigaction old; /* what was there before us */
} installed;

/* In si_errno, where the kernel has 0: that it is in other hands, which may hand it back. No
 * variable of ours would do, for they may also jump away. */
#define HANDED_ON 0x6866

static struct registry *get_registry(void)
{
	struct registry *none = NULL, *made = atomic_load(&the_registry);

	if (made)
		return made;
	made = hf_zalloc(sizeof(*made));
	if (made && madvise(made, sizeof(*made), MADV_WIPEONFORK)) {
		hf_zfree(made, sizeof(*made));
		made = NULL;
	}
	if (made && !atomic_compare_exchange_strong(&the_registry, &none, made)) {
		hf_zfree(made, sizeof(*made));
		made = none;
	}
	return made;
}

int hf_registry_add(struct hf_native *space)
{
	struct registry *registry = get_registry();
	int err = 0;

	if (!registry)
		return -ENOMEM;
	hf_futex_lock(&registry->writers);
	hf_gate_close(&registry->gate);
	if (registry->nr < sizeof(registry->spaces) / sizeof(registry->spaces[0]))
		registry->spaces[registry->nr++] = space;
	else
		err = -ENOMEM;
	hf_gate_open(&registry->gate);
	hf_futex_unlock(&registry->writers);
	return err;
}

void hf_registry_remove(struct hf_native *space)
{
	struct registry *registry = atomic_load(&the_registry);
	size_t i = 0;

	hf_futex_lock(&registry->writers);
	hf_gate_close(&registry->gate);
	while (registry->spaces[i] != space)
		i++;
	registry->spaces[i] = registry->spaces[--registry->nr];
	hf_gate_open(&registry->gate);
	hf_futex_unlock(&registry->writers);
}

struct hf_native *hf_registry_enter(const void *addr)
{
	struct registry *registry = atomic_load(&the_registry);
	uintptr_t at = (uintptr_t)addr;

	if (!registry)
		return NULL;
	hf_gate_enter(&registry->gate);
	for (size_t i = 0; i < registry->nr; i++) {
		struct hf_native *space = registry->spaces[i];

		if (at - (uintptr_t)space->window < space->tree->size)
			return space;
	}
	hf_gate_leave(&registry->gate);
	return NULL;
}

void hf_registry_leave(void)
{
	hf_gate_leave(&atomic_load(&the_registry)->gate);
}

/* All signals are blocked. */
static bool resolve(const siginfo_t *info)
{
	struct hf_native *space;
	struct hf_ahead next;
	int err = errno;
	bool ours;

	if (info->si_code != BUS_ADRERR)
		return false;
	space = hf_registry_enter(info->si_addr);
	if (!space)
		return false;
	hf_files_look(&space->tree->files);
	ours = space->tree->signal && !hf_resolve_fault(space, info->si_addr, &next);
	hf_registry_leave();
	errno = err;
	return ours;
}

bool hf_native_handle_sigbus(const siginfo_t *info)
{
	struct hf_undisturbed old;
	bool ours;

	hf_enter(&old);
	ours = resolve(info);
	hf_leave(&old);
	return ours;
}

/* To what was there before us. By default a fault comes again, and ends the program; a signal that
 * somebody sent does not come again. */
static void hand_on(int sig, siginfo_t *info, void *context)
{
	bool sent = info->si_code <= 0, again = info->si_errno == HANDED_ON;
	bool simple = !(installed.old.sa_flags & SA_SIGINFO);

	if (again || (simple && installed.old.sa_handler == SIG_DFL) ||
	    (simple && installed.old.sa_handler == SIG_IGN && !sent)) {
		signal(sig, SIG_DFL);
		if (sent)
			raise(sig);
		return;
	}
	if (simple && installed.old.sa_handler == SIG_IGN)
		return;
	info->si_errno = HANDED_ON;
	if (simple)
		installed.old.sa_handler(sig);
	else
		installed.old.sa_sigaction(sig, info, context);
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	if (!resolve(info))
		hand_on(sig, info, context);
}

int hf_sigbus_install(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus,
				    .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK };
	struct sigaction now;
	int err = 0;

	sigfillset(&action.sa_mask);
	hf_futex_lock(&installed.lock);
	if (sigaction(SIGBUS, NULL, &now))
		err = -errno;
	if (!err && (!(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != on_sigbus)) {
		installed.old = now;
		err = sigaction(SIGBUS, &action, NULL) ? -errno : 0;
	}
	hf_futex_unlock(&installed.lock);
	return err;
}
