/* SPDX-License-Identifier: MIT */
/* Which space an address belongs to, and the handler for those that resolve their own faults. */
#include "internal.h"

#include <errno.h>
#include <signal.h>

/* Of the whole process, as the signal is. */
static struct {
	struct hf_futex writers;
	struct hf_gate gate;
	struct hf_native *spaces[4096];
	size_t nr;
	struct hf_futex install;
	struct sigaction old;
} registry;

/* Set while a fault that is not ours is in other hands: they may hand it back. */
static _Thread_local bool handed_on __attribute__((tls_model("initial-exec")));

int hf_registry_add(struct hf_native *space)
{
	int err = 0;

	hf_futex_lock(&registry.writers);
	hf_gate_close(&registry.gate);
	if (registry.nr < sizeof(registry.spaces) / sizeof(registry.spaces[0]))
		registry.spaces[registry.nr++] = space;
	else
		err = -ENOMEM;
	hf_gate_open(&registry.gate);
	hf_futex_unlock(&registry.writers);
	return err;
}

void hf_registry_remove(struct hf_native *space)
{
	size_t i = 0;

	hf_futex_lock(&registry.writers);
	hf_gate_close(&registry.gate);
	while (registry.spaces[i] != space)
		i++;
	registry.spaces[i] = registry.spaces[--registry.nr];
	hf_gate_open(&registry.gate);
	hf_futex_unlock(&registry.writers);
}

struct hf_native *hf_registry_enter(const void *addr)
{
	uintptr_t at = (uintptr_t)addr;

	hf_gate_enter(&registry.gate);
	for (size_t i = 0; i < registry.nr; i++) {
		struct hf_native *space = registry.spaces[i];

		if (at - (uintptr_t)space->window < space->tree->size)
			return space;
	}
	hf_gate_leave(&registry.gate);
	return NULL;
}

void hf_registry_leave(void)
{
	hf_gate_leave(&registry.gate);
}

bool hf_native_handle_sigbus(const siginfo_t *info)
{
	struct hf_native *space;
	int err = errno;
	bool ours;

	if (info->si_code != BUS_ADRERR)
		return false;
	space = hf_registry_enter(info->si_addr);
	if (!space)
		return false;
	ours = space->tree->signal &&
	       atomic_load_explicit(space->tree->alive, memory_order_relaxed);
	if (ours)
		hf_resolve_fault(space, info->si_addr);
	hf_registry_leave();
	errno = err;
	return ours;
}

/* What was there before us; by default the fault comes again, and ends the program. */
static void hand_on(int sig, siginfo_t *info, void *context)
{
	bool simple = !(registry.old.sa_flags & SA_SIGINFO);

	if (handed_on || (simple && (registry.old.sa_handler == SIG_DFL ||
				     registry.old.sa_handler == SIG_IGN))) {
		signal(sig, SIG_DFL);
		return;
	}
	handed_on = true;
	if (simple)
		registry.old.sa_handler(sig);
	else
		registry.old.sa_sigaction(sig, info, context);
	handed_on = false;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	if (!hf_native_handle_sigbus(info))
		hand_on(sig, info, context);
}

int hf_sigbus_install(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus,
				    .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK };
	struct sigaction now;
	int err = 0;

	sigfillset(&action.sa_mask);
	hf_futex_lock(&registry.install);
	if (sigaction(SIGBUS, NULL, &now))
		err = -errno;
	if (!err && (!(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != on_sigbus)) {
		registry.old = now;
		err = sigaction(SIGBUS, &action, NULL) ? -errno : 0;
	}
	hf_futex_unlock(&registry.install);
	return err;
}
