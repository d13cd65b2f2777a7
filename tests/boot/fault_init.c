/* SPDX-License-Identifier: MIT
 *
 * Started by rdinit=/fault: makes the faults that `fault=A,B` on the kernel command line names, then executes /init.
 * A refused system call is refused by the kernel itself, by a seccomp filter (seccomp(2)), to all that follows.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
}

/* Refuse one system call; with `first` >= 0 only when that is its first argument. */
static void refuse(int number, int first, int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, first, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_filter always[] = {
		code[0],
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		code[4],
		code[5],
	};
	struct sock_fprog program = { first < 0 ? 4 : 6, first < 0 ? always : code };

	must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "seccomp");
}

static void full_run(void)
{
	char page[4096] = "";
	int fd;

	must(mount("tmpfs", "/run", "tmpfs", 0, "size=8k,mode=0755"), "mount /run");
	fd = open("/run/full", O_WRONLY | O_CREAT, 0600);
	must(fd, "open /run/full");
	while (write(fd, page, sizeof(page)) > 0)
		;
	close(fd);
}

static void proc_is_a_file(void)
{
	must(rmdir("/proc"), "rmdir /proc");
	must(open("/proc", O_WRONLY | O_CREAT | O_CLOEXEC, 0644), "open /proc");
}

static void without_node(const char *path)
{
	struct stat dev, root;

	must(stat("/dev", &dev), "stat /dev");
	must(stat("/", &root), "stat /");
	if (dev.st_dev == root.st_dev)
		must(mount("devtmpfs", "/dev", "devtmpfs", 0, "mode=0755"), "mount /dev");
	must(unlink(path), path);
}

static void make(const char *fault)
{
	if (!strcmp(fault, "full-run"))
		full_run();
	else if (!strcmp(fault, "proc-file"))
		proc_is_a_file();
	else if (!strcmp(fault, "no-kmsg"))
		without_node("/dev/kmsg");
	else if (!strcmp(fault, "no-console")) {
		without_node("/dev/console");
		for (int fd = 0; fd < 3; fd++)
			close(fd);
	} else if (!strcmp(fault, "no-threads")) {
		refuse(SYS_clone3, -1, EAGAIN);
		refuse(SYS_clone, -1, EAGAIN);
	} else if (!strcmp(fault, "no-uevents"))
		refuse(SYS_socket, AF_NETLINK, EAFNOSUPPORT);
	else if (!strcmp(fault, "no-module-memory"))
		refuse(SYS_finit_module, -1, ENOMEM);
	else if (!strcmp(fault, "old-kernel")) {
		refuse(SYS_openat2, -1, ENOSYS);
		refuse(SYS_pivot_root, -1, EINVAL);
	} else if (!strcmp(fault, "no-unlink")) {
		refuse(SYS_unlinkat, -1, EACCES);
		refuse(SYS_unlink, -1, EACCES);
	} else if (!strcmp(fault, "no-chroot")) {
		refuse(SYS_pivot_root, -1, EINVAL);
		refuse(SYS_chroot, -1, EPERM);
	} else {
		fprintf(stderr, "fault: no such fault: %s\n", fault);
		exit(1);
	}
}

int main(int argc, char **argv, char **environment)
{
	char *faults = getenv("fault");

	(void)argc;
	faults = strdup(faults ? faults : "");
	for (char *each = strtok(faults, ","); each; each = strtok(NULL, ","))
		make(each);
	argv[0] = "/init";
	execve("/init", argv, environment);
	perror("/init");
	return 1;
}
