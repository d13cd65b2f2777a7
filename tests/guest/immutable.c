/* SPDX-License-Identifier: MIT
 *
 * Makes a file immutable, as `chattr +i` does (ioctl_iflags(2)); exits 1 where the file system does not know that.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	int flags = FS_IMMUTABLE_FL;
	int fd = argc > 1 ? open(argv[1], O_RDONLY) : -1;

	return fd < 0 || ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0;
}
