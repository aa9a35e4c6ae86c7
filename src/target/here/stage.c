/* SPDX-License-Identifier: MIT */
/* Sets up and takes down what the processes of a run share. */
#include "stage.h"

#include "../../scenario/oracle.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static void choose_cpus(struct hf_stage *stage)
{
	int cpu = 0;

	sched_getaffinity(0, sizeof(cpu_set_t), &stage->all_cpus);
	while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &stage->all_cpus))
		cpu++;
	CPU_ZERO(&stage->one_cpu);
	CPU_SET(cpu, &stage->one_cpu);
}

/* The file of a kind; -1: it has none, or none can be had, which its mappings will say. */
static int open_file_of(const struct hf_kind_info *kind)
{
	bool memory = kind->memory == HF_MEM_MEMFD || kind->memory == HF_MEM_MEMFD_HUGETLB ||
		      kind->memory == HF_MEM_MIXED;
	int fd = -1;

	if (memory)
		fd = memfd_create("holdfast", MFD_CLOEXEC | (kind->order ? MFD_HUGETLB : 0));
	else if (kind->memory == HF_MEM_TMPFILE)
		fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	else
		return -1;
	if (fd >= 0 && !ftruncate(fd, HF_SCN_MAX_PAGES * 4096))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

int hf_stage_open(struct hf_stage *stage, const struct hf_scenario *scn,
		  const struct hf_kind_info *kind, const struct hf_powers *powers)
{
	char why[HF_REASON_LEN];

	*stage = (struct hf_stage){ .scn = scn, .kind = kind, .file = open_file_of(kind) };
	memset(stage->control, 0xff, sizeof(stage->control));
	for (size_t i = 0; i < HF_SCN_MAX_REFS; i++)
		hf_wire_init(&stage->wire[i]);
	choose_cpus(stage);
	stage->shared = mmap(NULL, sizeof(*stage->shared), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (stage->shared == MAP_FAILED) {
		stage->shared = NULL;
		return -ENOMEM;
	}
	for (size_t p = 0; p < scn->nr_procs; p++)
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stage->control[p])) {
			int err = -errno;

			hf_stage_close(stage);
			return err;
		}
	for (size_t i = 0; i < scn->nr_refs; i++) {
		stage->wire[i].means = hf_means_of(scn, (int)i, powers, why);
		hf_wire_open(&stage->wire[i], hf_ref_maker(scn, (int)i));
	}
	return 0;
}

void hf_stage_close(struct hf_stage *stage)
{
	for (size_t i = 0; i < HF_SCN_MAX_REFS; i++)
		hf_wire_close(&stage->wire[i]);
	for (size_t p = 0; p < HF_SCN_MAX_PROCS; p++) {
		hf_close_fd(&stage->control[p][0]);
		hf_close_fd(&stage->control[p][1]);
	}
	hf_close_fd(&stage->file);
	if (stage->shared)
		munmap(stage->shared, sizeof(*stage->shared));
	stage->shared = NULL;
}

void hf_stage_leave_runner(struct hf_stage *stage)
{
	for (size_t p = 0; p < stage->scn->nr_procs; p++)
		hf_close_fd(&stage->control[p][0]);
	for (size_t i = 0; i < stage->scn->nr_refs; i++) {
		hf_close_fd(&stage->wire[i].fuse.dev);
		hf_close_fd(&stage->wire[i].pipe[0]);
		hf_close_fd(&stage->wire[i].done[0]);
	}
}
