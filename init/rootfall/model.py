# SPDX-License-Identifier: MIT
"""The records that flow through a boot. Immutable; no behaviour beyond printing themselves; import nothing of ours.

Not dataclasses: those pull in inspect, about 50 modules and 20 ms of every boot; see record.py for typing.
"""

from rootfall.record import NamedTuple


class DeviceRef(NamedTuple):
    """A block device as a person names it; which device that is becomes known only when the step is performed.

    `kind` is one of UUID, LABEL, PARTUUID, PARTLABEL (libblkid's tags), PATH (a path below /dev), DEVNUM ("major:minor")
    or AUTO (by the type of its partition); where a report is to be saved, also ESP. `partnroff` counts partitions from the
    one named, as the kernel's PARTUUID=…/PARTNROFF=n does.
    """

    kind: str
    value: str
    partnroff: int = 0

    def __str__(self) -> str:
        """As it is written in the configuration and on the command line."""
        if self.kind in ("PATH", "DEVNUM", "AUTO", "ESP"):
            return self.value
        offset = f"/PARTNROFF={self.partnroff}" if self.partnroff else ""
        return f"{self.kind}={self.value}{offset}"


class Root(NamedTuple):
    """Which root to mount, how, and how long to wait for it (seconds; None waits for ever, as `rootwait`)."""

    device: DeviceRef | None
    fstype: str = "auto"
    options: tuple[str, ...] = ()
    mode: str = "ro"
    timeout: float | None = 30.0
    delay: float = 0.0


class OnFailure(NamedTuple):
    """What a failed boot does when its report is printed: shell | reboot | poweroff | halt, after so many seconds.

    `password` is the hash (crypt(5)) of what a person must type before any shell; empty asks for none. `save` is the FAT on
    which the report is kept, if any.
    """

    action: str = "shell"
    after: float = 0.0
    password: str = ""
    save: DeviceRef | None = None


class Hook(NamedTuple):
    """One use of a hook: its name, its options (name, value), and what it does and undoes, in words.

    `before` is the step that it comes before: device (the search for the root) or switch (the hand-over).
    """

    name: str
    options: tuple[tuple[str, object], ...] = ()
    does: str = ""
    undoes: str = ""
    before: str = "device"


class BootConfig(NamedTuple):
    """The `boot:` half of the configuration: what PID 1 does.

    `module_options` are words as on the kernel command line, `module.parameter=value`. `hooks` are performed in their order.
    """

    root: Root
    init: str = "/sbin/init"
    on_failure: OnFailure = OnFailure()
    module_options: tuple[str, ...] = ()
    blacklist: tuple[str, ...] = ()
    hooks: tuple[Hook, ...] = ()


class ImageConfig(NamedTuple):
    """The `image:` half of the configuration: what the builder puts in, and so what there is at boot.

    `modules` are put in with their dependencies and soft dependencies, and loaded at every boot. `drivers` are groups of
    drivers, put in and loaded where the hardware is there; so are `filesystems`, when the root turns out to be one.
    `level` None is the compressor's default. `shell` is the emergency shell's program: none | busybox. `hooks_from` is a
    directory with the site's own hooks, `programs_from` the root that hooks take programs from ("": this machine's).
    """

    modules: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    filesystems: tuple[str, ...] = ()
    compress: str = "zstd"
    level: int | None = None
    shell: str = "none"
    hooks_from: str = ""
    programs_from: str = ""


class Config(NamedTuple):
    """A whole, checked configuration file. `version` pins the defaults, so that an update cannot flip them."""

    version: int
    boot: BootConfig
    image: ImageConfig
