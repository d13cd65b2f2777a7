// SPDX-License-Identifier: MIT
// Makes system calls that a seccomp profile should refuse, or not, and prints what came of each: "NAME ERRNO".
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *name, long result)
{
	printf("%s %d\n", name, result == -1 ? errno : 0);
}

// A child ends at once, so that only its parent goes on.
static void cloned(const char *name, long result)
{
	if (result == 0)
		_exit(0);
	say(name, result);
	if (result > 0)
		waitpid((pid_t)result, NULL, 0);
}

#ifdef __x86_64__
static sigjmp_buf back;

static void no_such_instruction(int signal)
{
	siglongjmp(back, signal);
}

// A system call of the 32-bit table; -1000 where the kernel has none.
static long call32(long number, long first)
{
	long result = -1000;
	signal(SIGSEGV, no_such_instruction);
	signal(SIGILL, no_such_instruction);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(0), "d"(0) : "memory", "r8", "r9", "r10", "r11");
	return result;
}
#endif

int main(void)
{
	long big[11] = {0}; // too small for clone3(2), by its size

	cloned("fork", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
	cloned("clone-user", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
	cloned("clone-mount", syscall(SYS_clone, CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0));
	say("clone3", syscall(435, big, 8));
	say("unshare-fs", unshare(CLONE_FS));
	say("unshare-user", unshare(CLONE_NEWUSER));
	say("unshare-time", unshare(0x80));
	say("setns", syscall(SYS_setns, -1, 0));
	say("mount", syscall(SYS_mount, "", "", "", 0, 0));
	say("open_tree", syscall(428, -1, "", 0));
	say("pivot_root", syscall(SYS_pivot_root, "", ""));
	say("keyctl", syscall(SYS_keyctl, 0, -3, 0));
	say("add_key", syscall(SYS_add_key, 0, 0, 0, 0, 0));
	say("bpf", syscall(SYS_bpf, 0, 0, 0));
	say("perf_event_open", syscall(SYS_perf_event_open, 0, 0, -1, -1, 0));
	say("userfaultfd", syscall(SYS_userfaultfd, 1));
	say("io_uring_setup", syscall(425, 1, 0));
	say("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
	say("init_module", syscall(SYS_init_module, 0, 0, ""));
	say("open_by_handle_at", syscall(SYS_open_by_handle_at, -1, 0, 0));
	say("ioctl", syscall(SYS_ioctl, -1, 0x5413, 0));
	say("tiocsti", syscall(SYS_ioctl, -1, 0x5412, "x"));
	say("tiocsti-high", syscall(SYS_ioctl, -1, 0x5412 | 1UL << 32, "x"));
	say("tioclinux", syscall(SYS_ioctl, -1, 0x541C, "x"));
	say("personality-ask", syscall(SYS_personality, 0xFFFFFFFF));
	say("personality-no-randomize", syscall(SYS_personality, 0x40000));
	say("socket-unix", socket(AF_UNIX, SOCK_STREAM, 0));
	say("socket-vsock", socket(40, SOCK_STREAM, 0));
	say("unknown", syscall(9999));
#ifdef __x86_64__
	say("x32-getpid", syscall(0x40000000 | 39));
	long result = call32(20, 0);
	if (result != -1000) {
		printf("i386-getpid %ld\n", result < 0 ? -result : 0);
		result = call32(310, CLONE_NEWUSER);
		printf("i386-unshare-user %ld\n", -result);
		result = call32(21, 0);
		printf("i386-mount %ld\n", -result);
	}
#endif
	return 0;
}
