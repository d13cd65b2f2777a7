/* SPDX-License-Identifier: MIT
 *
 * A PID 1 for tests of the QEMU library: it loads /0.ko, /1.ko, … and obeys the lines it reads from the console,
 * and prints the uevents of block devices.
 */
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

static void load_modules(void)
{
	char name[16];

	for (int number = 0;; number++) {
		snprintf(name, sizeof name, "/%d.ko", number);
		int file = open(name, O_RDONLY | O_CLOEXEC);
		if (file < 0)
			return;
		if (syscall(SYS_finit_module, file, "", 0))
			perror(name);
		close(file);
	}
}

int main(void)
{
	char text[8192];
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
	int uevents = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	struct pollfd wanted[] = {{.fd = 0, .events = POLLIN}, {.fd = uevents, .events = POLLIN}};

	setvbuf(stdout, NULL, _IOLBF, 0);
	bind(uevents, (struct sockaddr *)&address, sizeof address);
	load_modules();
	printf("rootfall: tiny init pid=%d\n", getpid());
	while (poll(wanted, 2, -1) > 0) {
		if (wanted[1].revents) {
			ssize_t length = recv(uevents, text, sizeof text - 1, 0);
			text[length > 0 ? length : 0] = 0;
			if (strstr(text, "/block/"))
				printf("uevent %s\n", text);
		}
		if (!wanted[0].revents)
			continue;
		ssize_t length = read(0, text, sizeof text - 1);
		text[length > 0 ? length : 0] = 0;
		if (!strcmp(text, "off\n")) {
			for (int line = 0; line < 500; line++)
				printf("parting words %d\n", line);
			tcdrain(1); /* what the guest's own driver still holds is not the library's to keep */
			reboot(RB_POWER_OFF);
		} else if (!strcmp(text, "reboot\n")) {
			reboot(RB_AUTOBOOT);
		} else if (!strcmp(text, "die\n")) {
			return 7;
		}
		printf("unknown: %s", text);
	}
	return 1;
}
