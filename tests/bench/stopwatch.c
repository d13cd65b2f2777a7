/* SPDX-License-Identifier: MIT
 * `stopwatch FD COMMAND…` runs it and says on FD what it took: nanoseconds, the KiB of its largest process, its exit status.
 *
 * Static and small, because a child's peak memory (getrusage(2), ru_maxrss) begins with its parent's size.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
    struct rusage usage;
    int status;

    if (argc < 3)
        return 2;
    int said = atoi(argv[1]);
    fcntl(said, F_SETFD, FD_CLOEXEC);
    long long start = now();
    pid_t pid = vfork();
    if (pid == 0) {
        execv(argv[2], argv + 2);
        _exit(127);
    }
    while (wait4(pid, &status, 0, &usage) < 0 && errno == EINTR)
        ;
    long long end = now();
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    dprintf(said, "%lld %ld %d\n", end - start, usage.ru_maxrss, code);
    return 0;
}
