/* SPDX-License-Identifier: MIT */
/* Which space an address belongs to. */
#include "internal.h"

#include <errno.h>
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
	while (i < registry->nr && registry->spaces[i] != space)
		i++;
	hf_assert(i < registry->nr);
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
