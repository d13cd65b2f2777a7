# SPDX-License-Identifier: MIT
"""What can be found out about a boot that failed, as plain data: the error, the disks, the hardware, the kernel's words.

Imported only when a boot has failed. Looks, and changes nothing; a place that cannot be looked at is left out, and named.
"""

import os

import rootfall
from rootfall import hardware, near_miss
from rootfall.devices import BlockDevice
from rootfall.errors import DeviceError, RootfallError
from rootfall.modalias import Patterns, collect
from rootfall.plan import FindRoot
from rootfall.steps import MODULES_DIRECTORY, Boot, Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

_VIRTIO_PCI = "pci:v00001AF4d0000"
_OLD_VIRTIO = {0x1001: 2, 0x1004: 8}  # before virtio 1.0 the PCI device numbers did not follow the virtio ones
_VIRTIO_DISKS = (2, 8)  # block, SCSI host


def gather(error: BaseException, boot: Boot, stage: Stage) -> "dict[str, Any]":
    """All there is to know, in the order in which a person would ask. Never raises an Exception."""
    look: dict[str, Callable[[], Any]] = {
        "kernel": _kernel_complaints,  # first: reading the disks for what follows may make the kernel complain again
        "goal": lambda: _goal(stage),
        "error": lambda: _error(error),
        "near_misses": lambda: _near_misses(boot),
        "devices": lambda: [_device(each) for each in _seen(boot)],
        "modules_failed": lambda: dict(boot.loader.failed if boot.loader else {}),
        "no_driver": lambda: _no_driver(boot) if boot.device is None else [],
        "uevents": lambda: _uevents(boot),
        "timeline": lambda: [list(span) for span in tuple(boot.timeline.spans)],
    }
    found: dict[str, Any] = {"rootfall": rootfall.__version__, "kernel_release": os.uname().release}
    found["command_line"] = hardware.read("/proc/cmdline")
    for name, ask in look.items():
        try:
            found[name] = ask()
        except Exception as second:  # a report with a gap is better than none
            found[name] = {} if name in ("goal", "modules_failed") else []
            found.setdefault("gaps", []).append(f"{name}: {second!r}")
    found["remedy"] = _remedy(error, found)
    return found


def _goal(stage: Stage) -> "dict[str, Any]":
    if stage.plan is None:
        return {}
    root = next((str(step.ref) for step in stage.plan.steps if isinstance(step, FindRoot)), "")
    return {"root": root, "init": stage.plan.handover.init, "plan": str(stage.plan).splitlines()}


def _error(error: BaseException) -> "dict[str, Any]":
    kind = type(error).__name__
    if isinstance(error, RootfallError):
        seen = [] if getattr(error, "problems", ()) or not error.seen else error.seen.split("; ")
        lines = str(error).splitlines() if getattr(error, "problems", ()) else []
        text = f"cannot {error.attempted} {error.subject}"
        errno = [error.errno, os.strerror(error.errno)] if error.errno else []
        return {"kind": kind, "text": text, "errno": errno, "seen": seen, "lines": lines, "hint": error.hint}
    text = str(error) if isinstance(error, OSError) else f"internal error: {error!r}"
    return {"kind": kind, "text": text, "errno": [], "seen": [], "lines": [], "hint": "", "at": _where(error)}


def _where(error: BaseException) -> str:
    places = []
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{code.co_filename}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return ", ".join(places[-4:])


def _seen(boot: Boot) -> list[BlockDevice]:
    if boot.search is None:
        return []
    boot.search.read_all()  # a search reads only what could be the root
    return list(boot.search.seen.values())


def _device(device: BlockDevice) -> "dict[str, Any]":
    return {
        "node": device.node,
        "devnum": device.devnum,
        "size": device.size,
        "tags": device.tags,
        "fault": device.fault,
    }


def _near_misses(boot: Boot) -> list[str]:
    return list(near_miss.sentences(boot.search.ref, _seen(boot))) if boot.search and boot.device is None else []


def _uevents(boot: Boot) -> list[str]:
    return [f"{event.action} {event.sys_path}" for event in boot.search.recent] if boot.search else []


def _no_driver(boot: Boot) -> "list[dict[str, Any]]":
    """The storage that nothing drives, each with the modules that would, and whether the image or the kernel has them."""
    directory = f"{MODULES_DIRECTORY}/{os.uname().release}"
    own = boot.loader.index.patterns if boot.loader else Patterns({}, (), ())
    there = set(boot.loader.index.modules) if boot.loader else set()
    held = boot.loader.blacklist if boot.loader else frozenset()
    hints = _hints(f"{directory}/modules.hints")
    builtin = {_name(line) for line in hardware.read(f"{directory}/modules.builtin").splitlines()}
    found = []
    for device in hardware.unclaimed():
        chain = _chain(device.modalias)
        if chain:
            names = dict.fromkeys(name for each in chain for name in (*own.look_up(each), *hints.look_up(each)))
            states = {name: _state(name, there, builtin, held) for name in names}
            found.append({"bus": device.bus, "name": device.name, "modalias": device.modalias, "modules": states})
    return found


def _state(name: str, there: set[str], builtin: set[str], held: frozenset[str]) -> str:
    if name in builtin:
        return "is built into the kernel"
    if name not in there:
        return "is not in the image"
    return "is in the image, but blacklisted" if name in held else "is in the image"


def _chain(modalias: str) -> tuple[str, ...]:
    """The modalias, and that of the virtio device which a virtio PCI device will turn into; () for what is no disk."""
    if not modalias.startswith(_VIRTIO_PCI):
        return (modalias,)
    number = int(modalias[len(_VIRTIO_PCI) : len(_VIRTIO_PCI) + 4], 16)
    kind = _OLD_VIRTIO.get(number, number - 0x1040)
    return (modalias, f"virtio:d{kind:08X}v00001AF4") if kind in _VIRTIO_DISKS else ()


def _name(line: str) -> str:
    return line[line.rfind("/") + 1 :].partition(".")[0].replace("-", "_")


def _hints(path: str) -> Patterns:
    """Which module drives what, of all storage drivers that the kernel was built with: lines `pattern module`."""
    pairs = (line.split() for line in hardware.read(path).splitlines())
    return collect((pattern, name) for pattern, name in pairs)


def _kernel_complaints() -> list[str]:
    """The last errors and warnings in the kernel's log: its side of the story."""
    found: list[str] = []
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while True:
            try:
                head, _, text = os.read(fd, 8192).decode(errors="replace").partition(";")
            except BrokenPipeError:  # EPIPE: records were overwritten before they were read; the next is there
                continue
            level = int(head.split(",")[0])
            if level < 8 and level & 7 <= 4 and "rootfall:" not in text:  # facility 0: the kernel itself
                found.append(text.partition("\n")[0])
    except BlockingIOError:
        pass  # the end of the log
    finally:
        os.close(fd)
    return found[-8:]


def _drivers(found: "dict[str, Any]", state: str) -> str:
    """The first modules of this state that would drive hardware here."""
    states = (pair for device in found["no_driver"] for pair in device["modules"].items())
    return ", ".join(tuple(dict.fromkeys(name for name, each in states if state in each))[:6])


def _remedy(error: BaseException, found: "dict[str, Any]") -> str:
    """One sentence: what was nearly right, else the driver that is missing, else what the error itself advises."""
    hint = error.hint if isinstance(error, RootfallError) else ""
    if found["near_misses"]:
        return str(found["near_misses"][0])
    searched = isinstance(error, DeviceError) and error.attempted == "find the root device"
    no_disk = searched and not found["devices"]
    if no_disk and (names := _drivers(found, "blacklisted")):
        return f"{names} would drive a disk here, but is blacklisted: see boot.blacklist, or modprobe.blacklist="
    if no_disk and (names := _drivers(found, "not in")):
        return (
            f"no driver of the image drives a disk here: add {names} to image.modules, or their group to image.drivers"
        )
    if found["error"]["seen"] == ["no block device at all"] and not found["no_driver"]:
        return (
            "no disk is there, and no hardware that lacks a driver: is it plugged in, and switched on in the firmware?"
        )
    return hint
