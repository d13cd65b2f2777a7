# SPDX-License-Identifier: MIT
"""The API file systems, and mount options as mount(8) writes them. Tables; refuses to guess a file system's type."""

import os

from rootfall.errors import MountError
from rootfall.linux import libc
from rootfall.record import NamedTuple


class Mount(NamedTuple):
    """The arguments of mount(2)."""

    source: str
    target: str
    fstype: str
    flags: int = 0
    data: str = ""


# As the systemd INITRD_INTERFACE asks. /run is not noexec: /run/initramfs/shutdown must be executable.
API_MOUNTS = (
    Mount("proc", "/proc", "proc", libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC),
    Mount("sysfs", "/sys", "sysfs", libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC),
    Mount("devtmpfs", "/dev", "devtmpfs", libc.MS_NOSUID | libc.MS_STRICTATIME, "mode=0755"),
    Mount("tmpfs", "/run", "tmpfs", libc.MS_NOSUID | libc.MS_NODEV | libc.MS_STRICTATIME, "mode=0755"),
)

_OPTION_FLAGS = {
    "ro": libc.MS_RDONLY,
    "nosuid": libc.MS_NOSUID,
    "nodev": libc.MS_NODEV,
    "noexec": libc.MS_NOEXEC,
    "sync": libc.MS_SYNCHRONOUS,
    "dirsync": libc.MS_DIRSYNC,
    "mand": libc.MS_MANDLOCK,
    "noatime": libc.MS_NOATIME,
    "nodiratime": libc.MS_NODIRATIME,
    "relatime": libc.MS_RELATIME,
    "strictatime": libc.MS_STRICTATIME,
    "lazytime": libc.MS_LAZYTIME,
    "nosymfollow": libc.MS_NOSYMFOLLOW,
    "silent": libc.MS_SILENT,
}
# Words of fstab(5) that are the kernel's default, or none of its business.
_NO_FLAG = frozenset(
    "rw suid dev exec async defaults atime diratime nolazytime norelatime nostrictatime nomand loud "
    "symfollow auto noauto nofail user nouser users nousers owner noowner group nogroup _netdev".split()
)

_HINTS = {
    19: "the kernel has no {} file system: add its module to image.modules",  # ENODEV
    22: "the kernel's words below say what it did not accept: an option (rootflags=), or what is on the device",  # EINVAL
    117: "the file system is damaged: check it with fsck from a rescue system",  # EUCLEAN
}


def parse_options(options: tuple[str, ...]) -> tuple[int, str]:
    """mount(8)'s options as mount(2)'s flags and data: what is no flag goes to the file system."""
    flags, data = 0, []
    for option in options:
        if option in _OPTION_FLAGS:
            flags |= _OPTION_FLAGS[option]
        elif option not in _NO_FLAG and not option.startswith("x-"):
            data.append(option)
    return flags, ",".join(data)


def mount_api_file_systems() -> None:
    """Mount /proc, /sys, /dev and /run where they are not mounted yet (a boot that is tried again finds them there)."""
    here = os.stat("/").st_dev
    for mount in API_MOUNTS:
        try:
            if os.stat(mount.target).st_dev == here:
                libc.mount(mount.source, mount.target, mount.fstype, mount.flags, mount.data)
        except FileNotFoundError:
            os.mkdir(mount.target, 0o755)
            libc.mount(mount.source, mount.target, mount.fstype, mount.flags, mount.data)


def mount_root(device: str, target: str, fstypes: tuple[str, ...], options: tuple[str, ...], mode: str) -> str:
    """Mount the real root and return the type that worked; several are tried in order, as rootfstype= allows.

    Raises MountError with the last errno.
    """
    flags, data = parse_options(options)
    flags |= libc.MS_RDONLY if mode == "ro" else 0
    for fstype in fstypes:
        try:
            libc.mount(device, target, fstype, flags, data)
        except OSError as error:
            failure = error
        else:
            return fstype
    tried = ", ".join(fstypes)
    hint = _HINTS.get(failure.errno or 0, "").format(tried)
    raise MountError("mount the root", f"{device} as {tried}", errno=failure.errno or 0, hint=hint) from failure
