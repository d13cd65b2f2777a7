# SPDX-License-Identifier: MIT
"""Keeps the report of a failed boot on the EFI system partition, or on another FAT, where boot.on_failure.save asks for it.

Imported only then. A child of PID 1 does it, so that a disk that hangs holds nobody up. Refuses to guess between two system
partitions, to repair anything, and to write on a FAT that was not unmounted cleanly: its tables may call a cluster free that
holds a part of a kernel. Rules: UEFI 13.3; the kernel's Documentation/filesystems/vfat.rst and linux/msdos_fs.h.
"""

import os
import select

from rootfall import devices, dps, hardware, shell
from rootfall.devices import BlockDevice
from rootfall.errors import DeviceError, MountError, RootfallError
from rootfall.linux import libc, udev
from rootfall.model import DeviceRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootfall.steps import Boot

SYSTEM_PARTITION = ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef")  # the type's name in a GPT, in an MBR
# vfat reads its file names with a code page and a character set that the kernel's configuration names (CONFIG_FAT_DEFAULT_*);
# the kernel would ask modprobe for them.
MODULES = ("vfat", "nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8")
KEPT = 5  # reports; an older one goes when a new one is safe
_DIRECTORY, _NAME = "rootfall", "report-"
_MOUNT_POINT = "/run/rootfall/save"
_FLAGS = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
_LIMIT = 30.0  # seconds; a stick of flash memory may need some
_LOADING = 10.0
_DIRTY, _FAT16_STATE, _FAT32_STATE = 3, 0x25, 0x41  # bits 0 and 1: not unmounted, errors seen


def save(ref: DeviceRef, files: dict[str, str], boot: "Boot") -> tuple[str, str]:
    """Write the files, named by their ending; what to say of it in a report: kind and text. Never raises an Exception."""
    try:
        esp = _prepare(ref, boot)
    except Exception as error:
        return "not saved", _sentence(error)
    return _in_a_child(ref, esp, files)


def _prepare(ref: DeviceRef, boot: "Boot") -> str:
    """Have every driver in that the place needs; the PARTUUID of the system partition, where the boot loader has told it."""
    shell.load_drivers(boot)
    loader = shell.loader(boot)
    if loader is not None:
        loader.request(MODULES)
        loader.wait_for(loader.pending, _LOADING)
    return dps.active_esp(loader) if ref.kind == "ESP" else ""


def _sentence(error: Exception) -> str:
    if isinstance(error, RootfallError):
        reason = os.strerror(error.errno) if error.errno else error.seen
        return f"on {error.subject}: {reason}{'; ' if error.hint else ''}{error.hint}"
    return str(error) if isinstance(error, OSError) else repr(error)


def _in_a_child(ref: DeviceRef, esp: str, files: dict[str, str]) -> tuple[str, str]:
    try:
        read, write = os.pipe()
        pid = os.fork()
    except OSError as error:
        return "not saved", str(error)
    if pid == 0:
        try:
            os.write(write, "\n".join(_attempt(ref, esp, files)).encode(errors="replace"))
        finally:
            os._exit(0)
    os.close(write)
    poll = select.poll()
    poll.register(read, select.POLLIN)
    answered = poll.poll(_LIMIT * 1000)
    kind, _, text = (os.read(read, 4096) if answered else b"").decode(errors="replace").partition("\n")
    os.close(read)
    if not answered:
        os.kill(pid, 9)  # a call that hangs in the kernel survives even this: nobody waits for it
        return "not saved", f"the disk did not answer in {_LIMIT:g} s"
    os.waitpid(pid, 0)
    return (kind, text) if kind else ("not saved", "the process that should do it ended without a word")


def _attempt(ref: DeviceRef, esp: str, files: dict[str, str]) -> tuple[str, str]:
    try:
        node = place(ref, esp)
        check(node)
        return "saved", f"{_DIRECTORY}/{_write_on(node, files)} on {node}, for the next good boot"
    except Exception as error:
        return "not saved", _sentence(error)


def place(ref: DeviceRef, esp: str) -> str:
    """The node to write on: what `ref` names; of the system partitions the one that was booted from, else the only one."""
    monitor = udev.Monitor(("block",))
    if ref.kind == "ESP" and not esp:
        listed = (devices.glance(each) for each in monitor.present())
        return choose(devices.read(each, False) for each in listed if each is not None and "PARTN" in each.tags)
    wanted = DeviceRef("PARTUUID", esp) if esp else ref
    try:
        found = devices.Search(monitor, wanted).present()
    except DeviceError as error:
        raise DeviceError("save the report on", str(wanted), seen=error.seen) from error
    if found is None:
        raise DeviceError("save the report on", str(wanted), seen="no such device is here")
    return found.node


def choose(partitions: "Iterable[BlockDevice]") -> str:
    """The only EFI system partition among these; DeviceError when there is none, or more than one."""
    nodes = [each.node for each in partitions if each.tags.get("PARTTYPE", "").lower() in SYSTEM_PARTITION]
    if len(nodes) == 1:
        return nodes[0]
    seen = f"{' and '.join(nodes)} are two" if nodes else "no partition has its type"
    hint = "name one in boot.on_failure.save" if nodes else ""
    raise DeviceError("save the report on", "the EFI system partition", seen=seen, hint=hint)


def check(node: str) -> None:
    """Refuse what must not be written to: no FAT, a read-only disk, a FAT that was not unmounted cleanly."""
    kind = devices.read(BlockDevice(node, "", 0, {})).tags.get("TYPE", "nothing known")
    if kind != "vfat":
        raise MountError("save the report on", node, seen=f"it holds {kind}, not a FAT")
    if hardware.read(f"/sys/class/block/{os.path.basename(node)}/ro") == "1":
        raise MountError("save the report on", node, seen="it is read-only")
    with open(node, "rb", buffering=0) as file:
        if is_dirty(file.read(512)):
            raise MountError("save the report on", node, seen="it was not unmounted cleanly", hint="fsck.vfat mends it")


def is_dirty(sector: bytes) -> bool:
    """Whether the boot sector of a FAT says that its tables may be wrong. FAT32 has no table length where FAT16 has it."""
    state = _FAT16_STATE if any(sector[22:24]) else _FAT32_STATE
    return bool(sector[state] & _DIRTY)


def _write_on(node: str, files: dict[str, str]) -> str:
    os.makedirs(_MOUNT_POINT, exist_ok=True)
    try:
        libc.mount(node, _MOUNT_POINT, "vfat", _FLAGS, "flush,umask=0077")
        try:
            return write_in(f"{_MOUNT_POINT}/{_DIRECTORY}", files)
        finally:
            libc.umount2(_MOUNT_POINT)
    except OSError as error:
        raise MountError("save the report on", node, errno=error.errno or 0, seen=str(error)) from error


def write_in(directory: str, files: dict[str, str]) -> str:
    """Write report-N.ENDING, whole or not at all, N one more than any there; returns its name. Then the oldest go."""
    os.makedirs(directory, exist_ok=True)
    number = max(_numbers(directory), default=0) + 1
    name = f"{_NAME}{number:04}"
    for ending, text in files.items():
        _write_whole(f"{directory}/{name}.{ending}", text.encode(errors="replace"))
    for old in sorted(_numbers(directory))[:-KEPT]:
        for each in os.listdir(directory):
            if each.startswith(f"{_NAME}{old:04}."):
                os.unlink(f"{directory}/{each}")
    _sync(directory, os.O_RDONLY)
    return " and .".join((f"{name}.{next(iter(files))}", *list(files)[1:]))


def _numbers(directory: str) -> set[int]:
    words = (each.removeprefix(_NAME).partition(".")[0] for each in os.listdir(directory) if each.startswith(_NAME))
    return {int(word) for word in words if word.isascii() and word.isdecimal()}


def _write_whole(path: str, data: bytes) -> None:
    """Under another name until it is safe: a report that was cut off would be taken for one."""
    unfinished = f"{path}.new"
    try:
        with open(unfinished, "wb") as file:
            file.write(data)
        _sync(unfinished, os.O_RDWR)
        os.rename(unfinished, path)
    except OSError:
        try:
            os.unlink(unfinished)
        except OSError:
            pass  # the first error is the one to tell
        raise


def _sync(path: str, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
