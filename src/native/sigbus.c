/* SPDX-License-Identifier: MIT */
/* The handler of SIGBUS, for spaces that resolve their own faults. */
#include "internal.h"

#include <errno.h>
#include <signal.h>

static struct hf_installed installed;

/* In si_errno, where the kernel has 0: that it is in other hands, which may hand it back. No
 * variable of ours would do, for they may also jump away. */
#define HANDED_ON 0x6866

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
void hf_hand_on(const struct hf_installed *at, int sig, siginfo_t *info, void *context)
{
	bool sent = info->si_code <= 0, again = info->si_errno == HANDED_ON;
	bool simple = !(at->old.sa_flags & SA_SIGINFO);

	if (again || (simple && at->old.sa_handler == SIG_DFL) ||
	    (simple && at->old.sa_handler == SIG_IGN && !sent)) {
		signal(sig, SIG_DFL);
		if (sent)
			raise(sig);
		return;
	}
	if (simple && at->old.sa_handler == SIG_IGN)
		return;
	info->si_errno = HANDED_ON;
	if (simple)
		at->old.sa_handler(sig);
	else
		at->old.sa_sigaction(sig, info, context);
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	if (!resolve(info))
		hf_hand_on(&installed, sig, info, context);
}

int hf_install(struct hf_installed *at, int sig, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action = { .sa_sigaction = handler,
				    .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK };
	struct sigaction now;
	int err = 0;

	sigfillset(&action.sa_mask);
	hf_futex_lock(&at->lock);
	if (sigaction(sig, NULL, &now))
		err = -errno;
	if (!err && (!(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != handler)) {
		at->old = now;
		err = sigaction(sig, &action, NULL) ? -errno : 0;
	}
	hf_futex_unlock(&at->lock);
	return err;
}

int hf_sigbus_install(void)
{
	return hf_install(&installed, SIGBUS, on_sigbus);
}
