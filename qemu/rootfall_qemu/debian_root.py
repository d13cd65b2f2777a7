# SPDX-License-Identifier: MIT
"""A small real Debian as a root file system: an init, a login prompt on the serial line, root without a password.

The init is systemd (with udev) or one of its four elders, each with what it alone needs to show that prompt.

Made once by mmdebstrap(1), as root or not, and kept in the cache under a digest of what was asked for. Its first boot
does what every boot does: the machine-id is fixed (machine-id(5)), nothing needs an update
(systemd-update-done.service(8)), fstab is empty. It has no kernel, no modules, no network; it is no system to install.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rootfall.errors import RootfallError
from rootfall_qemu.apt import machine_options, open_suites, run
from rootfall_qemu.cache import default_cache, made_once, scratch
from rootfall_qemu.disk import MIB, Partition, ext4, gpt

SUITES = ("bookworm", "sid")
DISK_UUID = "b1d4f7a2-3c58-4e96-8d07-6a2e91c5f430"
# login and util-linux are no longer in every suite's minimal set.
PACKAGES = ("kmod", "login", "util-linux")
EXCLUDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/i18n/*")
CUSTOMIZE = (
    'sed -i "s/^root:[^:]*:/root::/" "$1/etc/shadow"',
    'echo debian > "$1/etc/hostname"',
    'echo "127.0.0.1 localhost debian" > "$1/etc/hosts"',
    ': > "$1/etc/fstab"',
    'echo 726f6f7466616c6c2d64656269616e00 > "$1/etc/machine-id"',
    'rm -rf "$1/var/lib/apt/lists" "$1/var/cache/apt" "$1/var/log"/*.log',
    'touch "$1/etc/.updated" "$1/var/.updated"',
)


@dataclass(frozen=True)
class Init:
    """What makes a root start with one init: its packages, and what a hook does to the root in `$1` afterwards."""

    packages: tuple[str, ...]
    customize: tuple[str, ...] = ()


# A console with no screen has nobody at tty1 to tty6: their gettys would only cost time.
_GETTY = "T0:23:respawn:/sbin/agetty -L ttyS0 115200 vt100"
_INITTAB = (f'sed -i "/^[1-6]:/d" "$1/etc/inittab" && echo "{_GETTY}" >> "$1/etc/inittab"',)
_RUNIT = (
    'rm -f "$1"/etc/runit/runsvdir/default/getty-tty*',
    'ln -s ../../../sv/getty-ttyS0 "$1/etc/runit/runsvdir/default/getty-ttyS0"',
)
_BUSYBOX_INITTAB = """::sysinit:/bin/busybox hostname -F /etc/hostname
ttyS0::respawn:/bin/busybox getty -L ttyS0 115200 vt100
::shutdown:/bin/busybox sync
"""
_BUSYBOX = (
    f'printf "%s" "{_BUSYBOX_INITTAB}" > "$1/etc/inittab"',
    'for each in init poweroff reboot halt; do ln -sf /bin/busybox "$1/sbin/$each"; done',
)
INITS = {
    "systemd": Init(("systemd-sysv", "udev")),
    "sysvinit": Init(("sysvinit-core", "initscripts", "sysv-rc"), _INITTAB),
    "runit": Init(("runit-init", "sysv-rc"), _RUNIT),
    "openrc": Init(("openrc", "sysvinit-core", "initscripts"), _INITTAB),
    "busybox": Init(("busybox",), _BUSYBOX),
}
# All times in the tarball are at most this, so that /usr is never newer than /etc/.updated.
EPOCH = "1735689600"


def debian_root(suite: str, packages: Sequence[str] = (), cache: Path | None = None, *, init: str = "systemd") -> Path:
    """A tarball of a Debian root of this suite with this init and these packages; root logs in without a password."""
    if suite not in SUITES:
        raise RootfallError("make", f"a Debian root of {suite}", hint=f"known suites: {', '.join(SUITES)}")
    if init not in INITS:
        raise RootfallError("make", f"a Debian root with {init}", hint=f"known inits: {', '.join(INITS)}")
    wanted = tuple(sorted({*PACKAGES, *INITS[init].packages, *packages}))
    customize = (*CUSTOMIZE, *INITS[init].customize)

    def make(directory: Path) -> dict[str, object]:
        _bootstrap(suite, wanted, customize, directory / "root.tar")
        return {"suite": suite, "packages": wanted}

    name = f"{suite}-{_digest(suite, wanted, EXCLUDED, customize, EPOCH)}"
    return made_once((cache or default_cache()) / "roots" / name, make) / "root.tar"


def debian_disk(
    suite: str,
    packages: Sequence[str] = (),
    cache: Path | None = None,
    *,
    init: str = "systemd",
    uuid: str = DISK_UUID,
    size_mib: int = 1024,
) -> Path:
    """A sparse GPT disk with `debian_root` on one ext4 that has this UUID; boot it with a snapshot, it is shared."""
    root = debian_root(suite, packages, cache, init=init)

    def make(directory: Path) -> dict[str, object]:
        with scratch(directory.parent) as work:
            content = ext4(work / "root.ext4", size_mib * MIB, uuid=uuid, label="rootfall-debian", tree=root)
            gpt(directory / "disk.img", (Partition(content, uuid=uuid, label="root"),), uuid=uuid)
        return {"root": root.parent.name, "uuid": uuid, "size_mib": size_mib}

    name = f"{suite}-{_digest(root.parent.name, uuid, size_mib)}"
    return made_once((cache or default_cache()) / "disks" / name, make) / "disk.img"


def _digest(*arguments: object) -> str:
    return hashlib.sha256(repr(arguments).encode()).hexdigest()[:16]


def _bootstrap(suite: str, packages: Sequence[str], customize: Sequence[str], tarball: Path) -> None:
    with scratch(tarball.parent) as state:
        apt = open_suites((suite,), state)
        options = [f"--aptopt={line}" for line in machine_options()]
        options += [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED]
        options += [f"--customize-hook={command}" for command in customize]
        command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}", f"--keyring={apt.keyring}"]
        source = f"deb [signed-by={apt.keyring}] {apt.sources[0].uri} {suite} main"
        words = [*command, *options, suite, str(tarball), source]
        run(words, "make", f"a Debian root of {suite}", "mmdebstrap", environment={"SOURCE_DATE_EPOCH": EPOCH})
