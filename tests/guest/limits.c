/* SPDX-License-Identifier: MIT */
/* What a limit does to a program: eats memory, forks, spins, reads, and says in one line how far it got. Static: all of a root. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static int eat(long mib)
{
	for (long i = 0; i < mib; i++) {
		char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			break;
		memset(p, 1, 1 << 20);
		printf("ate %ld\n", i + 1);
	}
	return 0;
}

static int forks(long most)
{
	long made = 0;
	int error = 0;
	for (; made < most; made++) {
		pid_t pid = fork();
		if (pid < 0) {
			error = errno;
			break;
		}
		if (pid == 0) {
			pause();
			_exit(0);
		}
	}
	printf("forked %ld, then %s\n", made, error ? strerror(error) : "no more");
	return 0;
}

/* So many ms of the clock on the wall: how many us of the processor's came of it. */
static int spin(long ms)
{
	long long start = now(CLOCK_MONOTONIC), used = now(CLOCK_PROCESS_CPUTIME_ID);
	while (now(CLOCK_MONOTONIC) - start < ms * 1000)
		;
	printf("spun %lld of %lld\n", now(CLOCK_PROCESS_CPUTIME_ID) - used, now(CLOCK_MONOTONIC) - start);
	return 0;
}

static int affinity(void)
{
	cpu_set_t set;
	sched_getaffinity(0, sizeof set, &set);
	printf("processors");
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set))
			printf(" %d", i);
	printf("\n");
	return 0;
}

/* Past the page cache, so that each read is one of the disk's. */
static int reads(const char *path)
{
	long long start = now(CLOCK_MONOTONIC), bytes = 0;
	int fd = open(path, O_RDONLY | O_DIRECT);
	void *buffer;
	ssize_t got;
	if (fd < 0 || posix_memalign(&buffer, 4096, 65536))
		return 1;
	while ((got = read(fd, buffer, 65536)) > 0)
		bytes += got;
	printf("read %lld in %lld us\n", bytes, now(CLOCK_MONOTONIC) - start);
	return got < 0;
}

static int show(const char *path)
{
	char buffer[4096];
	ssize_t got;
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return 1;
	while ((got = read(fd, buffer, sizeof buffer)) > 0)
		fwrite(buffer, 1, got, stdout);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	const char *word = argc > 2 ? argv[2] : "";
	int status = 2;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(what, "eat"))
		status = eat(atol(word));
	else if (!strcmp(what, "fork"))
		status = forks(atol(word));
	else if (!strcmp(what, "spin"))
		status = spin(atol(word));
	else if (!strcmp(what, "affinity"))
		status = affinity();
	else if (!strcmp(what, "read"))
		status = reads(word);
	else if (!strcmp(what, "show"))
		status = show(word);
	/* Somebody wants to look at the cgroup: stay until the end of standard input. */
	if (argc > 1 && !strcmp(argv[argc - 1], "stay")) {
		char end;
		while (read(0, &end, 1) > 0)
			;
	}
	return status;
}
