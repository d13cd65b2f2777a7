# SPDX-License-Identifier: MIT
"""What a boot will do, as data: pure, made before anything is done, so that `rootfall plan` prints it on a laptop.

A plan is a list in the order of the acts. What is not known yet (which disk has that UUID) is a reference in it.
"""

from rootfall.errors import DeviceError
from rootfall.model import Config, DeviceRef
from rootfall.record import NamedTuple

NEW_ROOT = "/sysroot"


class LoadModules(NamedTuple):
    """Start loading these modules, their dependencies first; what follows goes on meanwhile.

    With `by_hardware`, also what the image has for the hardware that is there, or that appears later.
    """

    names: tuple[str, ...]
    by_hardware: bool = False
    options: tuple[tuple[str, str], ...] = ()
    blacklist: tuple[str, ...] = ()

    def __str__(self) -> str:
        """For people."""
        named = f"the modules {' '.join(self.names)}, with what they need" if self.names else ""
        hardware = "the drivers of the hardware that is there" if self.by_hardware else ""
        return f"load {' and '.join(filter(None, (named, hardware))) or 'no modules'}"


class FindRoot(NamedTuple):
    """Wait for the device, `timeout` seconds (None: for ever), after a pause of `delay` seconds."""

    ref: DeviceRef
    timeout: float | None
    delay: float

    def __str__(self) -> str:
        """For people."""
        pause = f"pause for {self.delay:g} s, then " if self.delay else ""
        limit = "for ever" if self.timeout is None else f"for up to {self.timeout:g} s"
        return f"{pause}find the block device {self.ref}, waiting {limit}"


class MountRoot(NamedTuple):
    """Mount the device that was found; `fstypes` empty: the type that is on it."""

    target: str
    fstypes: tuple[str, ...]
    options: tuple[str, ...]
    mode: str

    def __str__(self) -> str:
        """For people."""
        types = " or ".join(self.fstypes) or "the type that is on it"
        return f"mount it on {self.target} as {types}, options {','.join((self.mode, *self.options))}"


class RunHook(NamedTuple):
    """Perform a hook; its options, by name, are as the configuration has them."""

    name: str
    options: tuple[tuple[str, object], ...] = ()
    does: str = ""

    def __str__(self) -> str:
        """For people."""
        return f"hook {self.name}: {self.does}"


class UndoHook(NamedTuple):
    """Undo what a hook did, where it was performed: what the real root must not meet."""

    name: str
    options: tuple[tuple[str, object], ...] = ()
    undoes: str = ""

    def __str__(self) -> str:
        """For people."""
        return f"hook {self.name}: {self.undoes}"


class SwitchRoot(NamedTuple):
    """Check the new root and its init, move the mounts over, make it /, delete the initramfs, execute init."""

    new_root: str
    init: str

    def __str__(self) -> str:
        """For people."""
        return f"check {self.init} in {self.new_root}, move /proc /sys /dev /run over, switch root, execute {self.init}"


Step = LoadModules | RunHook | FindRoot | MountRoot | UndoHook

# What rd.break= calls the steps.
STAGES = {
    LoadModules: "modules",
    RunHook: "hook",
    FindRoot: "device",
    MountRoot: "mount",
    UndoHook: "undo",
    SwitchRoot: "switch",
}


class Plan(NamedTuple):
    """The steps in order, and the hand-over that ends them."""

    steps: tuple[Step, ...]
    handover: SwitchRoot

    def __str__(self) -> str:
        """A numbered list, for people."""
        return "\n".join(f"{n}. {step}" for n, step in enumerate((*self.steps, self.handover), 1))


def stages(plan: Plan) -> tuple[str, ...]:
    """What rd.break= can stop before in this plan, in its order."""
    return tuple(dict.fromkeys(STAGES[type(step)] for step in (*plan.steps, plan.handover)))


def _load_modules(config: Config) -> LoadModules:
    """Those that are named, and the root's file system if it is known now: it need not wait for the device then."""
    image, fstype = config.image, config.boot.root.fstype
    known: tuple[str, ...] = image.filesystems if len(image.filesystems) == 1 else ()
    if fstype != "auto":
        known = tuple(each for each in fstype.split(",") if each in image.filesystems)
    options: dict[str, str] = {}
    for word in config.boot.module_options:
        module, _, parameter = word.partition(".")
        name = module.replace("-", "_")
        options[name] = f"{options[name]} {parameter}" if name in options else parameter
    blacklist = tuple(name.replace("-", "_") for name in config.boot.blacklist)
    return LoadModules((*image.modules, *known), bool(image.drivers), tuple(options.items()), blacklist)


def make_plan(config: Config) -> Plan:
    """The plan of a configuration that the command line has already been applied to. Raises DeviceError without a root."""
    root = config.boot.root
    if root.device is None:
        raise DeviceError("plan the boot", "root", hint="name it: boot.root.device in the configuration, or root=")
    fstypes = () if root.fstype == "auto" else tuple(root.fstype.split(","))
    steps: tuple[Step, ...] = (
        _load_modules(config),
        *_hooks(config, "device"),
        FindRoot(root.device, root.timeout, root.delay),
        MountRoot(NEW_ROOT, fstypes, root.options, root.mode),
        *_hooks(config, "switch"),
        *(UndoHook(each.name, each.options, each.undoes) for each in reversed(config.boot.hooks) if each.undoes),
    )
    return Plan(steps, SwitchRoot(NEW_ROOT, config.boot.init))


def _hooks(config: Config, before: str) -> tuple[RunHook, ...]:
    """Those that come before a step, in the order of the configuration."""
    return tuple(RunHook(each.name, each.options, each.does) for each in config.boot.hooks if each.before == before)
