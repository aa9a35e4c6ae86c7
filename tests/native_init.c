/* SPDX-License-Identifier: MIT */
/*
 * The first program of a kernel under QEMU that runs the tests of native spaces: mounts what they
 * need, has a few huge pages, and runs each program that it finds in /tests, in order of their
 * names. What they print goes to the console, and the result of each after it.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		printf("# %s cannot be written to\n", path);
	if (fd >= 0)
		close(fd);
}

static void mount_all(void)
{
	static const char *const mounts[][2] = {
		{ "/proc", "proc" },
		{ "/sys", "sysfs" },
		{ "/dev", "devtmpfs" },
		{ "/tmp", "tmpfs" },
	};

	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++)
		mount(mounts[i][1], mounts[i][0], mounts[i][1], 0, NULL);
}

static int is_test(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static void run(const char *name)
{
	char path[300], soak[] = "2", *argv[] = { path, soak, NULL };
	int status = -1;
	pid_t pid;

	snprintf(path, sizeof(path), "/tests/%s", name);
	if (!strstr(name, "soak"))
		argv[1] = NULL;
	printf("# %s\n", name);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		dup2(1, 2);
		setenv("CMOCKA_MESSAGE_OUTPUT", "TAP", 1);
		setenv("HF_QUICK", "1", 1);
		execv(path, argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	printf("result %s %d\n", name, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	fflush(stdout);
}

int main(void)
{
	struct dirent **tests;
	int nr;

	mount_all();
	put("/proc/sys/vm/nr_hugepages", "48");
	put("/sys/kernel/mm/transparent_hugepage/enabled", "madvise");
	nr = scandir("/tests", &tests, is_test, alphasort);
	for (int i = 0; i < nr; i++)
		run(tests[i]->d_name);
	printf("the end\n");
	fflush(stdout);
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
