/* SPDX-License-Identifier: MIT
 *
 * The floor that rootfall is measured against: the least a static init does to hand a machine over.
 *
 * Mounts proc, sysfs, devtmpfs and /run; loads the modules of /modules in their order (finit_module(2)); waits on the
 * uevent socket for the partition whose ext4 UUID is the command line's root=UUID=…; mounts it read-only on /root;
 * moves /dev /proc /sys /run and takes the root over: pivot_root(".", ".") where the kernel lets an initramfs do so
 * (7.0 on), else MS_MOVE + chroot with the initramfs deleted; executes /sbin/init with the kernel's argv and environ.
 * It refuses everything else: no other file system, no other device name, no recovery. A failure powers off.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char text[65536];
static int kmsg = -1;

static void say(const char *what, const char *object)
{
	char line[256];
	int length = snprintf(line, sizeof(line), "<6>control: %s%s\n", what, object);

	if (write(kmsg, line, (size_t)length) < 0)
		errno = 0;
}

static void die(const char *what, const char *object)
{
	char line[256];

	snprintf(line, sizeof(line), "FAILED %s %.100s: %s", what, object, strerror(errno));
	say(line, "");
	dprintf(STDERR_FILENO, "control: %s\n", line);
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);
}

static void mount_api(void)
{
	mkdir("/proc", 0555);
	mkdir("/sys", 0555);
	mkdir("/dev", 0755);
	mkdir("/run", 0755);
	mkdir("/root", 0700);
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL) ||
	    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL) ||
	    mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755") ||
	    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755"))
		die("mount", "the API file systems");
	kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	/* The kernel opened the initramfs's own node for us: kept open, it would pin a detached initramfs in memory. */
	int console = open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC);

	for (int fd = 0; console >= 0 && fd < 3; fd++)
		dup2(console, fd);
}

static void slurp(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (length < 0)
		die("read", path);
	text[length] = 0;
	close(fd);
}

static void load_modules(void)
{
	char *rest = text;
	char *name;
	char path[256];

	slurp("/modules");
	while ((name = strsep(&rest, "\n"))) {
		if (!*name)
			continue;
		snprintf(path, sizeof(path), "/lib/%.200s", name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
			die("load", path);
		close(fd);
	}
}

/* root=UUID=… of the command line, as the 16 bytes of a superblock. */
static void wanted_uuid(unsigned char uuid[16])
{
	slurp("/proc/cmdline");
	const char *digit = strstr(text, "root=UUID=");
	int count = 0;

	for (digit = digit ? digit + 10 : ""; *digit && count < 32; digit++) {
		if (*digit == '-')
			continue;
		int value = *digit <= '9' ? *digit - '0' : (*digit | 32) - 'a' + 10;

		uuid[count / 2] = (unsigned char)(count % 2 ? uuid[count / 2] << 4 | value : value);
		count++;
	}
	if (count != 32)
		die("read root=UUID= of", "the kernel command line");
}

static bool is_root(const char *device, const unsigned char uuid[16])
{
	unsigned char super[136];
	int fd = open(device, O_RDONLY | O_CLOEXEC);
	bool same = fd >= 0 && pread(fd, super, sizeof(super), 1024) == sizeof(super) && super[56] == 0x53 &&
		    super[57] == 0xef && !memcmp(super + 104, uuid, 16);

	close(fd);
	return same;
}

/* Looks at the virtio and SCSI disks that are there; true when `device` names the root. */
static bool look(char device[300], const unsigned char uuid[16])
{
	DIR *directory = opendir("/sys/class/block");
	struct dirent *entry;
	bool found = false;

	while (!found && directory && (entry = readdir(directory))) {
		if (strncmp(entry->d_name, "vd", 2) && strncmp(entry->d_name, "sd", 2))
			continue;
		snprintf(device, 300, "/dev/%s", entry->d_name);
		found = is_root(device, uuid);
	}
	if (directory)
		closedir(directory);
	return found;
}

static void find_root(int uevents, char device[300])
{
	unsigned char uuid[16] = { 0 };
	struct pollfd wait = { .fd = uevents, .events = POLLIN };

	wanted_uuid(uuid);
	while (!look(device, uuid)) {
		do {
			if (poll(&wait, 1, 30000) <= 0)
				die("find within 30 s", "the root");
			if (recv(uevents, text, sizeof(text), MSG_DONTWAIT) < 0)
				die("read", "the uevent socket");
		} while (!strstr(text, "/block/"));
	}
}

static int open_uevents(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)))
		die("open", "the uevent socket");
	return fd;
}

/* Deletes what is in the directory, without leaving its file system; closes `fd`. */
static void delete_below(int fd, dev_t device)
{
	DIR *directory = fdopendir(fd);
	struct dirent *entry;
	struct stat status;

	while (directory && (entry = readdir(directory))) {
		const char *name = entry->d_name;

		if (!strcmp(name, ".") || !strcmp(name, ".."))
			continue;
		if (fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW) || status.st_dev != device)
			continue;
		if (S_ISDIR(status.st_mode))
			delete_below(openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), device);
		unlinkat(fd, name, S_ISDIR(status.st_mode) ? AT_REMOVEDIR : 0);
	}
	if (directory)
		closedir(directory);
}

static void switch_root(void)
{
	static const char *const moved[][2] = {
		{ "/dev", "/root/dev" }, { "/proc", "/root/proc" }, { "/sys", "/root/sys" }, { "/run", "/root/run" },
	};
	struct stat status;
	int old = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (int i = 0; i < 4; i++)
		if (mount(moved[i][0], moved[i][1], NULL, MS_MOVE, NULL))
			die("move", moved[i][0]);
	if (chdir("/root") || fstat(old, &status))
		die("enter", "/root");
	if (!syscall(SYS_pivot_root, ".", ".")) {
		say("took the root over by ", "pivot_root");
		close(old);
		if (umount2(".", MNT_DETACH))
			die("let go of", "the old root");
		return;
	}
	if (mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		die("move to /", "the new root");
	say("took the root over by ", "MS_MOVE");
	delete_below(old, status.st_dev);
}

int main(int argc, char **argv, char **environ)
{
	char device[300];

	(void)argc;
	mount_api();
	int uevents = open_uevents();

	load_modules();
	find_root(uevents, device);
	close(uevents);
	if (mount(device, "/root", "ext4", MS_RDONLY, NULL))
		die("mount", device);
	switch_root();
	argv[0] = "/sbin/init";
	say("exec", "");
	execve("/sbin/init", argv, environ);
	die("execute", "/sbin/init");
}
