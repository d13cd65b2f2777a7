/* SPDX-License-Identifier: MIT
 *
 * The real init of a boot in namespaces: prints what it was given, one fact a line, and ends with status 7.
 * Reads only (proc(5)): unlike tests/guest/witness.c it runs on the machine of the tests.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
	struct dirent *entry;
	char target[4096], name[64];
	sigset_t mask;
	DIR *fds = opendir("/proc/self/fd");

	printf("REAL-ROOT init pid=%d\n", getpid());
	for (int i = 0; i < argc; i++)
		printf("argv: %s\n", argv[i]);
	for (char **each = environ; *each; each++)
		printf("env: %s\n", *each);
	while (fds && (entry = readdir(fds))) {
		snprintf(name, sizeof(name), "/proc/self/fd/%.16s", entry->d_name);
		ssize_t length = readlink(name, target, sizeof(target) - 1);

		if (length < 0 || atoi(entry->d_name) == dirfd(fds))
			continue;
		target[length] = 0;
		printf("fd: %s %s\n", entry->d_name, target);
	}
	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int number = 1; number < 32; number++)
		if (sigismember(&mask, number) || signal(number, SIG_DFL) == SIG_IGN)
			printf("signal: %d is blocked or ignored\n", number);
	for (FILE *file = fopen("/run/rootfall/timeline.json", "re"); file && fgets(target, sizeof(target), file);)
		printf("timeline: %s", target);
	for (FILE *file = fopen("/proc/self/mountinfo", "re"); file && fgets(target, sizeof(target), file);)
		printf("mount: %s", target);
	printf("END\n");
	fflush(stdout);
	_exit(7);
}
