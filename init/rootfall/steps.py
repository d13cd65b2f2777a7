# SPDX-License-Identifier: MIT
"""Performs the steps of a plan, one function each. Each step is timed and says its outcome in one line of the log."""

import os
import time

from rootfall import devices, modules, mounts, plan
from rootfall.cmdline import Cmdline
from rootfall.console import Log
from rootfall.devices import BlockDevice
from rootfall.errors import DeviceError, HookError, ModuleError, RootfallError
from rootfall.linux.udev import Monitor
from rootfall.model import OnFailure
from rootfall.timeline import Timeline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MODULES_DIRECTORY = "/usr/lib/modules"
_CONTENTS = {"": "nothing known", "ambivalent": "traces of more than one file system"}
_LOADING_LIMIT = 120.0  # seconds; a module that takes longer hangs in the kernel


class Boot:
    """What the steps of one boot find out, for the steps that follow and for the report."""

    def __init__(self, log: Log, timeline: Timeline) -> None:
        """Nothing is known yet."""
        self.log, self.timeline = log, timeline
        self.loader: modules.Loader | None = None
        self.by_hardware = False
        self.search: devices.Search | None = None
        self.device: BlockDevice | None = None
        self.hooks: list[plan.RunHook] = []  # those that were begun and not undone
        self.udevd = False  # whether there is one: its events come after its rules, and its links count


class Stage:
    """How far the boot came: what was decided so far, and whether there is a way back."""

    def __init__(self) -> None:
        """Nothing is decided."""
        self.parameters = Cmdline()
        self.on_failure = OnFailure()
        self.plan: plan.Plan | None = None
        self.rate = ""  # the kernel's rate limit for its log, as it was
        self.irreversible = False


def perform(step: plan.Step, boot: Boot) -> None:
    """Do one step. Raises RootfallError."""
    start = time.monotonic_ns()
    match step:
        case plan.LoadModules():
            name, outcome = "load modules", load_modules(step, boot)
        case plan.FindRoot():
            name, outcome = "find root", find_root(step, boot)
        case plan.MountRoot():
            name, outcome = "mount root", mount_root(step, boot)
        case plan.RunHook():
            name, outcome = f"hook {step.name}", run_hook(step, boot)
        case plan.UndoHook():
            name, outcome = f"undo hook {step.name}", undo_hook(step, boot)
    boot.timeline.add(name, start, outcome)
    boot.log.info(outcome)


def load_modules(step: plan.LoadModules, boot: Boot) -> str:
    """Start loading. An image for another kernel version is an error at once: nothing that follows could work."""
    if not step.names and not step.by_hardware:
        return "modules: load: none asked for"
    release = os.uname().release
    try:
        directory = f"{MODULES_DIRECTORY}/{release}"
        boot.loader = modules.Loader(directory, boot.timeline, dict(step.options), step.blacklist)
    except OSError as error:
        raise _no_modules(release, error) from error
    boot.by_hardware = step.by_hardware
    started = boot.loader.request(step.names)
    return f"modules: load {' '.join(started) or 'by hardware'}: started"


def _no_modules(release: str, error: OSError) -> ModuleError:
    try:
        kernels = sorted(os.listdir(MODULES_DIRECTORY))
    except OSError:
        kernels = []
    if release in kernels:
        hint = "the image is damaged: build it again"
        return ModuleError("load modules for kernel", release, errno=error.errno or 0, seen=str(error), hint=hint)
    there = ", ".join(kernels) or "none"
    hint = "boot that kernel, or build the image for this one (rootfall build --kernel)"
    return ModuleError("load modules for kernel", release, seen=f"the image was built for kernel {there}", hint=hint)


def find_root(step: plan.FindRoot, boot: Boot) -> str:
    """Listen, look, wait."""
    buses = boot.loader.index.patterns.buses if boot.loader and boot.by_hardware else ()
    try:
        monitor = Monitor(("block", *sorted(buses)), "udev" if boot.udevd else "kernel")
    except OSError as error:  # libudev does not say why
        hint = "is the kernel built without networking (CONFIG_NET)?"
        raise DeviceError(
            "listen to", "the kernel's uevents", errno=error.errno or 0, seen=str(error), hint=hint
        ) from error
    boot.search = devices.Search(monitor, step.ref, boot.loader, boot.by_hardware, boot.udevd)
    if step.delay:
        time.sleep(step.delay)
    boot.device = boot.search.present() or boot.search.wait(step.timeout, boot.log)
    return f"device: find {step.ref}: {boot.device.node}"


def mount_root(step: plan.MountRoot, boot: Boot) -> str:
    """Mount what was found, when all modules are in, the file system's own among them."""
    device = boot.device
    assert device is not None, "FindRoot comes before MountRoot in every plan"
    found = device.tags.get("TYPE", "")
    fstypes = step.fstypes or ((found,) if device.tags.get("USAGE") == "filesystem" else ())
    if not fstypes:
        from rootfall import near_miss

        unknown = "give rootfstype= (or boot.root.fstype) if it is a file system that libblkid does not know"
        hint = near_miss.container(device) or unknown
        holds = f"it holds {_CONTENTS.get(found, found)}"
        if device.fault:
            holds, hint = (
                device.fault,
                "the kernel's log may say why; is the disk, its cable or its controller failing?",
            )
        raise DeviceError("mount the root", device.node, seen=holds, hint=hint)
    if boot.loader is not None:
        boot.loader.request(f"fs-{each}" for each in fstypes)
        # All of them: a driver that is still being loaded must not be cut short by the hand-over.
        if not boot.loader.wait_for(boot.loader.pending, _LOADING_LIMIT):
            names = ", ".join(boot.loader.pending)
            hint = "the kernel's log may say why it hangs; boot.blacklist leaves it out"
            raise ModuleError("load the module", f"{names} in {_LOADING_LIMIT:g} s", hint=hint)
    if boot.search is not None:
        boot.search.confirm()  # the driver of the root is in, and with it every disk that it drives
    mode = "ro" if boot.search and boot.search.read_only(device) else step.mode
    fstype = mounts.mount_root(device.node, step.target, fstypes, step.options, mode)
    return f"mount: mount {device.node} on {step.target}: {fstype}, {mode}"


def run_hook(step: plan.RunHook, boot: Boot) -> str:
    """Perform a hook; whatever it raises is an error that names it."""
    from rootfall import hook  # an image without hooks does without it

    boot.hooks.append(step)  # begun: it may leave something to undo even if it fails
    try:
        found = hook.Hooks().load(step.name)
        outcome = found.module.perform(found.made(dict(step.options)), boot)
    except RootfallError:
        raise
    except Exception as error:
        raise HookError("perform the hook", step.name, **_said(error)) from error
    return f"hook: perform {step.name}: {outcome or 'done'}"


def undo_hook(step: plan.UndoHook, boot: Boot) -> str:
    """Undo what a hook did, if it was begun."""
    from rootfall import hook

    begun = [each for each in boot.hooks if (each.name, each.options) == step[:2]]
    if not begun:
        return f"hook: undo {step.name}: it was not begun"
    try:
        found = hook.Hooks().load(step.name)
        outcome = found.module.undo(found.made(dict(step.options)), boot)
    except RootfallError:
        raise
    except Exception as error:
        raise HookError("undo the hook", step.name, **_said(error)) from error
    boot.hooks.remove(begun[-1])
    return f"hook: undo {step.name}: {outcome or 'done'}"


def undo_hooks(wanted: plan.Plan, boot: Boot) -> None:
    """Undo what is not undone yet: whoever goes on from the emergency shell has left out those steps."""
    for step in wanted.steps:
        if isinstance(step, plan.UndoHook) and boot.hooks:
            perform(step, boot)


def _said(error: Exception) -> "dict[str, Any]":
    """What RootfallError has of an error of Python's."""
    if isinstance(error, OSError):
        return {"errno": error.errno or 0, "seen": str(error)}
    return {"seen": repr(error)}
