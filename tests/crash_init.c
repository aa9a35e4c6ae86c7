/* SPDX-License-Identifier: MIT */
/* Wraps hf_run_cell() in an init of the tests' own: scenarios that say so do to the kernel what no
 * scenario can. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "scenario/target.h"

void __real_hf_run_cell(struct hf_target *t, const struct hf_scenario *scn, enum hf_kind kind,
			bool trace, const volatile sig_atomic_t *stop, struct hf_cell *cell);
void __wrap_hf_run_cell(struct hf_target *t, const struct hf_scenario *scn, enum hf_kind kind,
			bool trace, const volatile sig_atomic_t *stop, struct hf_cell *cell);

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (write(fd, text, strlen(text)) > 0)
		close(fd);
}

void __wrap_hf_run_cell(struct hf_target *t, const struct hf_scenario *scn, enum hf_kind kind,
			bool trace, const volatile sig_atomic_t *stop, struct hf_cell *cell)
{
	if (!strcmp(scn->about, "crash"))
		put("/proc/sysrq-trigger", "c");
	if (!strcmp(scn->about, "hang"))
		for (;;)
			;
	if (!strcmp(scn->about, "warn"))
		put("/dev/kmsg", "<4>WARNING: CPU: 0 PID: 1 at mm/gup.c:75\n");
	if (!strcmp(scn->about, "segfault"))
		*(volatile int *)NULL = 0; // NOLINT(clang-analyzer-core.NullDereference)
	__real_hf_run_cell(t, scn, kind, trace, stop, cell);
}
