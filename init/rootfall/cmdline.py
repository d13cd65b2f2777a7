# SPDX-License-Identifier: MIT
"""The kernel command line: text -> Cmdline, by the kernel's own rules (lib/cmdline.c next_arg, init/main.c).

Double quotes protect spaces and cannot be escaped; quotes around a value or around a whole parameter are taken off; `-`
and `_` are equal in a parameter's name; the last of several wins; what follows `--` is for init alone. Reading never
fails: a number that cannot be read is left out with a warning, for a typing error in rootdelay= should not cost a boot.
Only a root= that names no device is an error, and only when it is used, in `override`.
"""

from rootfall import device_ref
from rootfall.errors import CommandLineError
from rootfall.model import Config, DeviceRef, OnFailure
from rootfall.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FOREVER = float("inf")

_SPACE = " \t\n\v\f\r"
_FLAGS = ("ro", "rw", "quiet", "debug")
_VALUES = ("root", "rootfstype", "rootflags", "rootwait", "rootdelay", "init", "panic")
_BLACKLISTS = ("modprobe.blacklist", "rd.driver.blacklist")
_MORE_MODULES = ("rd.driver.pre", "rd.driver.post")
_NOT_MODULES = ("rd", "rootfall", "modprobe")
_KERNEL_MAX_INIT_ARGUMENTS = 32


class Parameter(NamedTuple):
    """One parameter as the kernel splits it; `value` is None where there is no `=`."""

    name: str
    value: str | None

    def __str__(self) -> str:
        """As the kernel hands it on: `name` or `name=value`, its quotes gone (init/main.c repair_env_string)."""
        return self.name if self.value is None else f"{self.name}={self.value}"


class Cmdline(NamedTuple):
    """What the command line says; None, () or False where it says nothing.

    `root` is kept as it was written: `override` reads it. `rootwait` is in seconds, FOREVER without a number.
    `break_at` are the stages of rd.break ("" where none was named). `modules` are to be loaded beside those of the file.
    `blacklist` and `module_options` use `_` in module names; the options are ready for finit_module(2). `arguments` and
    `environment` are the words and name=value pairs that rootfall does not own (the kernel keeps its own from them),
    `init_arguments` is all that follows `--`.
    """

    root: str | None = None
    fstype: str | None = None
    flags: tuple[str, ...] | None = None
    mode: str | None = None
    rootwait: float | None = None
    rootdelay: float | None = None
    init: str | None = None
    panic: int | None = None
    quiet: bool = False
    debug: bool = False
    trace: bool = False
    break_at: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    blacklist: tuple[str, ...] = ()
    module_options: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    init_arguments: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def parse(text: str) -> Cmdline:
    """Read a whole command line, as /proc/cmdline has it; never raises."""
    ours, after = split(text)
    warnings: list[str] = []
    values, flags = _owned(ours, warnings)
    return Cmdline(
        root=values.get("root"),
        fstype=values.get("rootfstype"),
        flags=_commas(values["rootflags"]) if "rootflags" in values else None,
        mode=next((flag for flag in reversed(flags) if flag in ("ro", "rw")), None),
        rootwait=_rootwait(values, warnings),
        rootdelay=_number("rootdelay", values, warnings),
        init=_init(values),
        panic=_number("panic", values, warnings, least=-0x80000000),
        quiet="quiet" in flags,
        debug="debug" in flags,
        trace=any(p.name == "rootfall.trace" for p in ours),
        break_at=tuple(p.value or "" for p in ours if p.name == "rd.break"),
        modules=_modules(ours, _MORE_MODULES),
        blacklist=_modules(ours, _BLACKLISTS),
        module_options=_module_options(ours),
        arguments=tuple(p.name for p in ours if p.value is None and "." not in p.name and _name(p) not in _OWNED),
        environment=_environment(ours),
        init_arguments=tuple(map(str, after)),
        warnings=tuple(warnings),
    )


def split(text: str) -> tuple[list[Parameter], list[Parameter]]:
    """The parameters before `--` and those after it (lib/cmdline.c next_arg, kernel/params.c parse_args)."""
    before: list[Parameter] = []
    after: list[Parameter] = []
    current, dashes, rest = before, 0, text.lstrip(_SPACE)
    while rest:
        parameter, rest = _next_parameter(rest)
        if parameter != ("--", None):
            current.append(parameter)
            continue
        # The kernel reads what follows the first `--` with the same loop, which a second one stops.
        dashes += 1
        if dashes == 2:
            break
        current = after
    return before, after


def override(config: Config, cmdline: Cmdline) -> Config:
    """The configuration with all that the command line says otherwise; raises CommandLineError for a bad root=."""
    boot = config.boot
    root = boot.root._replace(
        device=boot.root.device if cmdline.root is None else _root_device(cmdline.root),
        fstype=boot.root.fstype if cmdline.fstype is None else cmdline.fstype,
        options=boot.root.options if cmdline.flags is None else cmdline.flags,
        mode=boot.root.mode if cmdline.mode is None else cmdline.mode,
        delay=boot.root.delay if cmdline.rootdelay is None else cmdline.rootdelay,
    )
    if cmdline.rootwait is not None:
        root = root._replace(timeout=None if cmdline.rootwait == FOREVER else cmdline.rootwait)
    boot = boot._replace(
        root=root,
        init=boot.init if cmdline.init is None else cmdline.init,
        on_failure=on_failure(boot.on_failure, cmdline),
        module_options=(*boot.module_options, *(f"{module}.{words}" for module, words in cmdline.module_options)),
        blacklist=(*(name.replace("-", "_") for name in boot.blacklist), *cmdline.blacklist),
    )
    modules = (*cmdline.modules, *config.image.modules)
    return config._replace(boot=boot, image=config.image._replace(modules=modules))


def on_failure(configured: OnFailure, cmdline: Cmdline) -> OnFailure:
    """What a failure does: panic=N reboots after N seconds, panic=-N at once; panic=0 leaves what is configured."""
    if not cmdline.panic:
        return configured
    return configured._replace(action="reboot", after=float(max(cmdline.panic, 0)))


def init_argv(init: str, argv: list[str]) -> tuple[str, ...]:
    """The argument vector of the real init: what /init was given, under the name of the real init.

    The kernel has already chosen the words (init/main.c unknown_bootoption, set_init_arg) and, when there is an init=,
    dropped those before it, so there is nothing to leave out.
    """
    return (init, *argv[1:])


def init_environment(environ: "Mapping[str, str]", cmdline: Cmdline) -> dict[str, str]:
    """The environment of the real init: what the kernel gave /init, less what is ours and what PyInstaller added."""
    # PyInstaller's bootloader changes LD_LIBRARY_PATH and keeps the kernel's value, if there was one, beside it.
    given = {name for name, _ in cmdline.environment}
    kept = {name: value for name, value in environ.items() if _passes(name, given)}
    original = environ.get("LD_LIBRARY_PATH_ORIG")
    if original is not None:
        kept["LD_LIBRARY_PATH"] = original
    return kept


def from_text(text: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The arguments and the environment that the kernel would hand to init, from the text alone: for a laptop.

    An approximation: only the running kernel knows which parameters it owns (it depends on how it was built), so
    a short list of common ones stands in for it. At boot nothing is computed: the kernel has already said.
    """
    cmdline = parse(text)
    before, _ = split(text)
    kernels = _OWNED.union(_KERNEL_PARAMETERS.split())
    last_init = max((i for i, p in enumerate(before) if _name(p) == "init" and p.value is not None), default=-1)
    words = tuple(
        p.name for p in before[last_init + 1 :] if p.value is None and "." not in p.name and _name(p) not in kernels
    )
    pairs = {name: value for name, value in cmdline.environment if name.replace("-", "_") not in kernels}
    arguments = (words + cmdline.init_arguments)[:_KERNEL_MAX_INIT_ARGUMENTS]
    return arguments, {"HOME": "/", "TERM": "linux", **pairs}


# A string, split only when it is wanted: a boot never does.
_KERNEL_PARAMETERS = (
    "acpi apm audit bootconfig cma console crashkernel devtmpfs earlycon earlyprintk edd efi elevator fb fsck hashdist "
    "hugepages hugepagesz ignore_loglevel initcall_debug initrd intel_iommu amd_iommu iommu isolcpus keepinitrd kgdboc "
    "lapic log_buf_len loglevel lpj lsm maxcpus mem memmap mitigations nfsroot nmi_watchdog no_console_suspend noapic "
    "noinitrd nokaslr nolapic nomodeset nosmp nosmt notsc nr_cpus numa oops panic_on_oops pci pcie_aspm possible_cpus "
    "psi pti ramdisk_size rcu_nocbs rdinit reboot resume resume_offset security selinux spectre_v2 swapaccount swiotlb "
    "sysrq threadirqs transparent_hugepage tsc vga video vmalloc vt watchdog"
)

_OWNED = frozenset(_FLAGS + _VALUES)


def _next_parameter(text: str) -> tuple[Parameter, str]:
    quoted = text.startswith('"')
    text = text[1:] if quoted else text
    end = _end(text, quoted)
    word, rest = text[:end], text[end + 1 :].lstrip(_SPACE)
    # The kernel keeps the place of the `=` in an index where 0 means "none yet", so a leading `=` is part of the name.
    equals = word.find("=", 1)
    if quoted and word.endswith('"') and (equals < 0 or word[equals + 1 : equals + 2] != '"'):
        word = word[:-1]
    if equals < 0:
        return Parameter(word, None), rest
    value = word[equals + 1 :]
    if value.startswith('"'):
        value = value[1:].removesuffix('"')
    return Parameter(word[:equals], value), rest


def _end(text: str, in_quotes: bool) -> int:
    for index, character in enumerate(text):
        if character in _SPACE and not in_quotes:
            return index
        if character == '"':
            in_quotes = not in_quotes
    return len(text)


def _owned(parameters: list[Parameter], warnings: list[str]) -> tuple[dict[str, str], list[str]]:
    """The last value of each parameter with a value that rootfall owns, and its flags in order."""
    values: dict[str, str] = {}
    flags: list[str] = []
    for parameter in parameters:
        name, value = _name(parameter), parameter.value
        if name == "rootwait" and value is None:
            values[name] = ""
        elif name in _FLAGS and value is None:
            flags.append(name)
        elif name in _VALUES and value:
            values[name] = value
        elif name in _OWNED:
            warnings.append(f"{parameter}: ignored: " + ("it takes no value" if name in _FLAGS else "it has no value"))
    return values, flags


def _name(parameter: Parameter) -> str:
    return parameter.name.replace("-", "_")


def _commas(value: str) -> tuple[str, ...]:
    """A list of mount options or module names; double quotes protect commas, as SELinux contexts need."""
    items: list[str] = [""]
    in_quotes = False
    for character in value:
        in_quotes ^= character == '"'
        if character == "," and not in_quotes:
            items.append("")
        else:
            items[-1] += character
    return tuple(item for item in items if item)


def _rootwait(values: dict[str, str], warnings: list[str]) -> float | None:
    return FOREVER if values.get("rootwait") == "" else _number("rootwait", values, warnings)


def _number(name: str, values: dict[str, str], warnings: list[str], least: int = 0) -> int | None:
    """A C int in the three bases of kstrtoint: decimal, 0x hexadecimal, 0 octal."""
    text = values.get(name)
    if text is None:
        return None
    digits = text.removeprefix("-").lower()
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") and digits != "0" else 10
    try:
        number = int(text, base) if digits.isascii() and digits.isalnum() and len(digits) < 16 else None
    except ValueError:
        number = None
    if number is None or not least <= number <= 0x7FFFFFFF:
        warnings.append(f"{name}={text}: ignored: it is not a number of seconds")
        return None
    return number


def _init(values: dict[str, str]) -> str | None:
    # The kernel executes a relative init= from its working directory, which is /.
    path = values.get("init")
    return path if path is None or path.startswith("/") else f"/{path}"


def _modules(parameters: list[Parameter], names: tuple[str, ...]) -> tuple[str, ...]:
    lists = (p.value for p in parameters if p.name.replace("-", "_") in names and p.value)
    return tuple(module.replace("-", "_") for value in lists for module in _commas(value))


def _module_options(parameters: list[Parameter]) -> tuple[tuple[str, str], ...]:
    options: dict[str, str] = {}
    for name, value in parameters:
        module, dot, option = name.partition(".")
        module = module.replace("-", "_")
        if not dot or not option or module in _NOT_MODULES or not module.replace("_", "").isalnum():
            continue
        quoted = f'"{value}"' if value and any(space in value for space in _SPACE) else value
        options[module] = f"{options.get(module, '')} {option if value is None else f'{option}={quoted}'}".lstrip()
    return tuple(options.items())


def _environment(parameters: list[Parameter]) -> tuple[tuple[str, str], ...]:
    found = {
        p.name: p.value for p in parameters if p.value is not None and "." not in p.name and _name(p) not in _OWNED
    }
    return tuple(found.items())


def _passes(name: str, given: set[str]) -> bool:
    if name in given:
        return not name.startswith(("LD_LIBRARY_PATH", "rootfall_"))
    if name.startswith(("_PYI_", "_MEIPASS", "PYINSTALLER_", "PYTHON", "LD_LIBRARY_PATH")):
        return False
    return name.replace("-", "_") not in _OWNED


def _root_device(text: str) -> DeviceRef:
    tag, equals, value = text.partition("=")
    # root=LABEL="my disk": the kernel takes off only the quotes that begin a value, libblkid takes off these.
    if equals and len(value) > 1 and value[0] == value[-1] == '"':
        text = f"{tag}={value[1:-1]}"
    try:
        return _old_number(text) or device_ref.parse(text)
    except ValueError as error:
        raise CommandLineError(
            "use the kernel parameter", f"root={text}", seen=str(error), hint="correct root= in the boot loader"
        ) from None


def _old_number(text: str) -> DeviceRef | None:
    """root=0801: the device number in hexadecimal, as old boot loaders write it (include/linux/kdev_t.h)."""
    if not 3 <= len(text) <= 8 or not set("0123456789abcdefABCDEF").issuperset(text):
        return None
    number = int(text, 16)
    major, minor = (number & 0xFFF00) >> 8, (number & 0xFF) | ((number >> 12) & 0xFFF00)
    return DeviceRef("DEVNUM", f"{major}:{minor}")
