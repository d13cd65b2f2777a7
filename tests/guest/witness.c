/* SPDX-License-Identifier: MIT
 *
 * The init of a test root: says what the machine looks like to the program that took over, then powers off.
 *
 * Prints to /dev/console "REAL-ROOT init pid=N", then lines `witness: {"key": value}` (JSON; each byte above 0x7e is
 * written \u00xx, so that any argv or file name survives: tests/guest/report.py decodes latin-1), last {"end": true}.
 * What cannot be read is null; without /proc nothing crashes. It changes the machine as little as it can: what it
 * reports of descriptors and mounts was read before it opened anything. Kernel documents: proc(5), syslog(2).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

extern char **environ;

static char out[4 << 20];
static size_t used;
static char text[1 << 20]; /* the file being read; one at a time */

static void put(char c)
{
	if (used < sizeof(out))
		out[used++] = c;
}

static void raw(const char *s)
{
	while (*s)
		put(*s++);
}

static void string_n(const char *s, size_t length)
{
	char escape[8];

	put('"');
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c == '"' || c == '\\') {
			put('\\');
			put((char)c);
		} else if (c < 0x20 || c > 0x7e) {
			snprintf(escape, sizeof(escape), "\\u%04x", c);
			raw(escape);
		} else {
			put((char)c);
		}
	}
	put('"');
}

static void string(const char *s)
{
	string_n(s, strlen(s));
}

static void key(const char *name)
{
	raw("witness: {");
	string(name);
	raw(": ");
}

static void end(void)
{
	raw("}\n");
}

static void integer(const char *name, long long value)
{
	char digits[32];

	key(name);
	snprintf(digits, sizeof(digits), "%lld", value);
	raw(digits);
	end();
}

static void strings(const char *name, char **list)
{
	key(name);
	put('[');
	for (char **s = list; *s; s++) {
		if (s != list)
			raw(", ");
		string(*s);
	}
	put(']');
	end();
}

/* The file in `text`, with a NUL after it; its length, or -1. */
static ssize_t slurp(const char *path)
{
	size_t length = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -1;
	while ((got = read(fd, text + length, sizeof(text) - 1 - length)) > 0)
		length += (size_t)got;
	close(fd);
	text[length] = 0;
	return got < 0 ? -1 : (ssize_t)length;
}

static void file(const char *name, const char *path)
{
	ssize_t length = slurp(path);

	key(name);
	if (length < 0)
		raw("null");
	else
		string_n(text, (size_t)length);
	end();
}

static void target(const char *path)
{
	static char name[4096];
	ssize_t length = readlink(path, name, sizeof(name));

	if (length < 0)
		raw("null");
	else
		string_n(name, (size_t)length);
}

static void link_to(const char *name, const char *path)
{
	key(name);
	target(path);
	end();
}

static void descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;
	bool first = true;
	char path[64];

	key("fd");
	if (!directory) {
		raw("null");
		end();
		return;
	}
	put('{');
	while ((entry = readdir(directory))) {
		if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(directory))
			continue;
		if (!first)
			raw(", ");
		first = false;
		string(entry->d_name);
		raw(": ");
		snprintf(path, sizeof(path), "/proc/self/fd/%.20s", entry->d_name);
		target(path);
	}
	put('}');
	end();
	closedir(directory);
}

/* The number after `field` in /proc/meminfo, in KiB; -1 when there is none. */
static long long meminfo(const char *field)
{
	const char *found = slurp("/proc/meminfo") < 0 ? NULL : strstr(text, field);

	return found ? atoll(found + strlen(field)) : -1;
}

/* Free pages that wait on per-CPU lists, in KiB: they are free, but no counter of /proc/meminfo holds them. */
static long long per_cpu_free(void)
{
	const char *rest = slurp("/proc/zoneinfo") < 0 ? "" : text;
	long long pages = 0;

	while ((rest = strstr(rest, " count:"))) {
		rest += strlen(" count:");
		pages += atoll(rest);
	}
	return pages * (getpagesize() / 1024);
}

static void command(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	/* A kernel without this knob answers EINVAL: the figure is then only less exact. */
	if (write(fd, value, strlen(value)) < 0)
		errno = 0;
	close(fd);
}

/*
 * What the kernel could give, once all that is only late is done: caches dropped, an RCU grace period passed (freed
 * inodes, detached mounts), per-CPU pages and counters folded in. The largest of a bounded number of readings. "Reclaimable" is MemAvailable
 * with the per-CPU free pages: the figure to compare two boots by.
 */
static void memory(void)
{
	static const char *const fields[] = { "MemAvailable:", "MemFree:", "Shmem:", "Slab:", "VmallocUsed:", "MemTotal:" };
	long long best[COUNT(fields)] = { -1, -1, -1, -1, -1, -1 };
	const struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
	long long most = -1;
	int idle = 0;

	for (int round = 0; round < 40 && idle < 5; round++) {
		sync();
		command("/proc/sys/vm/drop_caches", "3");
		syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
		command("/proc/sys/vm/compact_memory", "1");
		command("/proc/sys/vm/stat_refresh", "1");
		long long reclaimable = meminfo(fields[0]) + per_cpu_free();

		idle = reclaimable > most ? 0 : idle + 1;
		if (reclaimable > most) {
			most = reclaimable;
			for (size_t i = 0; i < COUNT(fields); i++)
				best[i] = meminfo(fields[i]);
		}
		nanosleep(&pause, NULL);
	}
	integer("Reclaimable", most);
	for (size_t i = 0; i < COUNT(fields); i++) {
		char name[32];

		snprintf(name, sizeof(name), "%.*s", (int)strlen(fields[i]) - 1, fields[i]);
		integer(name, best[i]);
	}
}

/* What was left for us in a directory, one line a file whose name begins so. */
static void left_behind(const char *where, const char *prefix, const char *beginning)
{
	DIR *directory = opendir(where);
	struct dirent *entry;
	char path[512];

	while (directory && (entry = readdir(directory))) {
		if (entry->d_name[0] == '.' || strncmp(entry->d_name, beginning, strlen(beginning)))
			continue;
		snprintf(path, sizeof(path), "%s/%.300s", where, entry->d_name);
		ssize_t length = slurp(path);

		key("file");
		put('[');
		snprintf(path, sizeof(path), "%s%.300s", prefix, entry->d_name);
		string(path);
		raw(", ");
		if (length < 0)
			raw("null");
		else
			string_n(text, (size_t)length);
		put(']');
		end();
	}
	if (directory)
		closedir(directory);
}

/* The processes that there are, zombies too, but for the kernel's own (children of kthreadd, which is 2). */
static void processes(void)
{
	DIR *directory = opendir("/proc");
	struct dirent *entry;
	bool first = true;
	char path[64];

	key("processes");
	put('[');
	while (directory && (entry = readdir(directory))) {
		snprintf(path, sizeof(path), "/proc/%.20s/stat", entry->d_name);
		if (atoi(entry->d_name) <= 0 || atoi(entry->d_name) == 2 || slurp(path) < 0)
			continue;
		char *after = strrchr(text, ')');

		if (!after || strlen(after) < 5 || atoi(after + 4) == 2)
			continue;
		if (!first)
			raw(", ");
		first = false;
		string_n(text, (size_t)(after + 3 - text));
	}
	put(']');
	end();
	if (directory)
		closedir(directory);
}

/* The kernel log's lines that tell this story; syslog(2) needs neither /dev nor /proc. */
static void kernel_log(void)
{
	static const char *const marks[] = { " rootfall:", " control:", " witness:", " Run /" };
	int length = klogctl(3, text, sizeof(text) - 1);
	bool first = true;
	char *rest = text;
	char *line;

	key("kmsg");
	put('[');
	text[length < 0 ? 0 : length] = 0;
	while ((line = strsep(&rest, "\n"))) {
		bool wanted = false;

		for (size_t i = 0; i < COUNT(marks); i++)
			wanted |= strstr(line, marks[i]) != NULL;
		if (!wanted)
			continue;
		if (!first)
			raw(", ");
		first = false;
		string(line);
	}
	put(']');
	end();
}

static void identity(void)
{
	struct utsname name;
	struct statfs fs;
	struct stat root;
	mode_t mask = umask(0);

	umask(mask);
	uname(&name);
	key("release");
	string(name.release);
	end();
	integer("pid", getpid());
	integer("sid", getsid(0));
	integer("umask", mask);
	integer("root_fstype", statfs("/", &fs) < 0 ? -1 : (long long)fs.f_type);
	integer("root_inode", stat("/", &root) < 0 ? -1 : (long long)root.st_ino);
}

static void say(int fd)
{
	for (size_t done = 0; done < used;) {
		ssize_t wrote = write(fd, out + done, used - done);

		if (wrote < 0 && errno != EINTR && errno != EAGAIN)
			return;
		done += wrote > 0 ? (size_t)wrote : 0;
	}
	used = 0;
	tcdrain(fd);
}

static long long nanoseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char **argv)
{
	long long monotonic = nanoseconds(CLOCK_MONOTONIC);
	long long boottime = nanoseconds(CLOCK_BOOTTIME);
	char greeting[64];

	(void)argc;
	/* Without the newline the kernel keeps the record open for a continuation: nobody sees it before the next one. */
	command("/dev/kmsg", "<6>witness: entered\n");
	klogctl(8, NULL, 1); /* kernel messages would cut our lines in two */
	snprintf(greeting, sizeof(greeting), "\nREAL-ROOT init pid=%d\n", getpid());
	raw(greeting);
	descriptors();
	file("mountinfo", "/proc/self/mountinfo");
	file("status", "/proc/self/status");
	file("cmdline", "/proc/cmdline");
	link_to("cwd", "/proc/self/cwd");
	link_to("root", "/proc/self/root");
	link_to("exe", "/proc/self/exe");
	strings("argv", argv);
	strings("environ", environ);
	identity();
	integer("monotonic_ns", monotonic);
	integer("boottime_ns", boottime);
	kernel_log();
	left_behind("/run/rootfall", "", "");
	left_behind("/run/udev/data", "udev/", "b");
	processes();

	int fd = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);

	say(fd < 0 ? STDOUT_FILENO : fd);
	memory();
	raw("witness: {\"end\": true}\n");
	say(fd < 0 ? STDOUT_FILENO : fd);
	if (getpid() != 1)
		return 0;
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
