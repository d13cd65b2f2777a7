# SPDX-License-Identifier: MIT
"""What a value may look like, on the command line and in a file alike: text into a value, or a ValueError.

Strict where laxness has cost others an escape: a number is its canonical digits ("+1", " 1", "0x1", "01" are none, runc's
CVE-2022-29162 and crun's CVE-2026-30892), a name is no path, a place below the new root has no "..".
"""

from rootfall.container.model import CAPABILITIES, NAMESPACES, RLIMITS, IdMapping, Mount, Rlimit
from rootfall.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST_ID = 0xFFFFFFFE  # (uid_t) -1 means "no id" to the kernel
AUTO = "auto"
_LARGEST = (1 << 63) - 1
_UNITS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+-")
_HOST = _NAME - frozenset("_+")

# mount(8)'s words; those that begin with r are for all that is mounted below, too. Nothing that is mounted has set-user-ID
# programs or device nodes that work, unless `suid` or `dev` says so.
_BIND = (
    "ro rw rro nosuid suid rnosuid nodev dev rnodev noexec exec rnoexec noatime nosymfollow bind rbind private rprivate slave "
    "rslave shared rshared"
).split()
_TMPFS = "ro rw nosuid suid nodev dev noexec exec noatime nosymfollow".split()
_TMPFS_VALUES = "size mode nr_inodes uid gid huge".split()
_IO = "rbps wbps riops wiops".split()


class WrongError(ValueError):
    """A mistake that has its own words, about the value: better than only what is allowed."""


class Form(NamedTuple):
    """The form of a value: its placeholder in a usage line ("" for a flag), what is allowed in words, its reader."""

    metavar: str
    allowed: str
    read: "Callable[[str], object]"
    words: tuple[str, ...] = ()  # all values there are, where they can be told one by one


def number(text: str, least: int = 0, most: int = _LARGEST) -> int:
    """A whole number in its canonical digits."""
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and str(int(text)) == text):
        raise ValueError
    if not least <= int(text) <= most:
        raise WrongError(f"must be {least} to {most}")
    return int(text)


def signed(text: str, least: int = -_LARGEST, most: int = _LARGEST) -> int:
    """A whole number that may have a minus."""
    value = -number(text[1:], 1) if text.startswith("-") else number(text)
    if not least <= value <= most:
        raise WrongError(f"must be {least} to {most}")
    return value


def size(text: str) -> int:
    """Bytes, with K, M, G or T for powers of 1024."""
    unit = text[-1:].upper() if text[-1:].isalpha() else ""
    if unit not in _UNITS:
        raise ValueError
    value = number(text[: len(text) - len(unit)]) * _UNITS[unit]
    if value > _LARGEST:
        raise WrongError("is more than any machine has")
    return value


def limit(text: str) -> int:
    """A size; max, or -1 as docker has it, is -1: no limit."""
    return -1 if text in ("max", "-1") else size(text)


def count(text: str) -> int:
    """A number of tasks; max, or -1, is -1: no limit."""
    return -1 if text in ("max", "-1") else number(text, 1, 1 << 22)


def cpus(text: str) -> int:
    """A number of processors; microseconds of each 100 ms."""
    whole, point, part = text.partition(".")
    if not whole.isdecimal() or not whole.isascii() or (point and not (part.isdecimal() and part.isascii())):
        raise ValueError
    quota = number(whole, 0, 8192) * 100_000 + int((part + "00000")[:5])
    if quota < 1000:
        raise WrongError("must be at least 0.01: the kernel gives no less than a millisecond of each 100")
    return quota


def cpu_list(text: str) -> str:
    """A list as in /sys/devices/system/cpu/online: 0-3,7."""
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if dash and number(last, 0, 8191) < number(first, 0, 8191):
            raise ValueError
        number(first, 0, 8191)
    return text


def io_max(text: str) -> str:
    """A line of io.max: MAJOR:MINOR and rbps, wbps (bytes a second), riops, wiops."""
    device, *limits = text.replace(",", " ").split()
    major, _, minor = device.partition(":")
    line = f"{number(major, 0, 4095)}:{number(minor, 0, (1 << 20) - 1)}"
    for each in limits:
        name, _, value = each.partition("=")
        if name not in _IO:
            raise ValueError
        line += f" {name}={'max' if value == 'max' else size(value)}"
    if not limits:
        raise ValueError
    return line


def name(text: str) -> str:
    """A name of a container: it becomes that of a directory."""
    if not 0 < len(text) <= 128 or set(text) - _NAME or not text[0].isalnum():
        raise ValueError
    return text


def hostname(text: str) -> str:
    """A host name (hostname(7))."""
    if not 0 < len(text) <= 64 or set(text) - _HOST or not text[0].isalnum():
        raise ValueError
    return text


def line(text: str) -> str:
    """Any text but an empty one, without NUL."""
    if not text or "\0" in text:
        raise ValueError
    return text


def words(text: str) -> str:
    """Any text without NUL."""
    if "\0" in text:
        raise ValueError
    return text


def inside(text: str) -> str:
    """An absolute path in the new root, without "..": there is nothing above it."""
    if not text.startswith("/") or ".." in text.split("/") or "\0" in text:
        raise ValueError
    return text


def place(text: str) -> str:
    """An absolute path below the new root, where something is mounted."""
    if not inside(text).strip("/"):
        raise WrongError("is the root itself; for changes that are thrown away, there is --volatile")
    return text


def variable(text: str) -> str:
    """NAME=VALUE, or NAME alone, whose value is the caller's."""
    if not text.partition("=")[0]:
        raise ValueError
    return words(text)


def user(text: str) -> tuple[int, int]:
    """UID or UID:GID; a group that is not said is of the same number."""
    uid, colon, gid = text.partition(":")
    if text and not text[0].isdecimal():
        raise WrongError("must be numbers: a name would be looked up in the root's own /etc/passwd, which may lie")
    return number(uid, 0, LARGEST_ID), number(gid if colon else uid, 0, LARGEST_ID)


def group(text: str) -> int:
    """A GID."""
    return number(text, 0, LARGEST_ID)


def mapping(text: str) -> IdMapping | str:
    """INSIDE:OUTSIDE:COUNT; or auto: what /etc/subuid has."""
    if text == "auto":
        return AUTO
    inner, outer, size = text.split(":")
    found = IdMapping(number(inner, 0, LARGEST_ID), number(outer, 0, LARGEST_ID), number(size, 1, LARGEST_ID + 1))
    if max(found[:2]) + found.size > LARGEST_ID + 1:
        raise WrongError(f"goes beyond the last id there is, {LARGEST_ID}")
    return found


def umask(text: str) -> int:
    """A file mode creation mask, in octal digits."""
    if not 0 < len(text) <= 4 or set(text) - set("01234567") or int(text, 8) > 0o777:
        raise ValueError
    return int(text, 8)


def capability(text: str) -> str:
    """CAP_CHOWN, or chown; ALL for each there is."""
    found = text.upper() if text.upper().startswith("CAP_") or text.upper() == "ALL" else f"CAP_{text.upper()}"
    if found != "ALL" and found not in CAPABILITIES:
        raise ValueError
    return found


def rlimit(text: str) -> Rlimit:
    """NOFILE=1024, or NOFILE=SOFT:HARD; unlimited for infinity."""
    which, _, value = text.partition("=")
    found = which.upper() if which.upper().startswith("RLIMIT_") else f"RLIMIT_{which.upper()}"
    if found not in RLIMITS:
        raise ValueError
    soft, colon, hard = value.partition(":")
    low, high = (-1 if each in ("unlimited", "-1") else size(each) for each in (soft, hard if colon else soft))
    if high != -1 and (low > high or low == -1):
        raise WrongError("has a soft limit above the hard one")
    return Rlimit(found, low, high)


def shared(text: str) -> dict[str, object]:
    """Namespaces that are not made."""
    return _namespaces(text, False)


def unshared(text: str) -> dict[str, object]:
    """Namespaces that are made."""
    return _namespaces(text, True)


def _namespaces(text: str, made: bool) -> dict[str, object]:
    short = {"net": "network", "mnt": "mount"}
    names = [short.get(each, each) for each in text.split(",")]
    if set(names) - set(NAMESPACES):
        raise ValueError
    if "mount" in names and not made:
        raise WrongError("the mount namespace is always made: without it the host's own root would be switched")
    return {f"namespaces.{each}": made for each in names}


def time_offset(text: str) -> dict[str, object]:
    """boottime=SECONDS or monotonic=SECONDS (time_namespaces(7))."""
    clock, _, seconds = text.partition("=")
    if clock not in ("boottime", "monotonic"):
        raise ValueError
    return {f"time_offsets.{clock}": signed(seconds)}


def overlay(text: str) -> str:
    """UPPER:WORK, two directories of one file system; volatile for a tmpfs."""
    upper, _, work = text.partition(":")
    if text != "volatile" and (not upper or not work or ":" in work):
        raise ValueError
    return words(text)


def _destination(text: str) -> str:
    try:
        return place(text)
    except WrongError:
        raise
    except ValueError:
        raise WrongError(f'{text!r} is no destination: an absolute path in the new root, without ".."') from None


def bind(text: str) -> Mount:
    """SOURCE[:DESTINATION[:OPTIONS]]."""
    parts = text.split(":")
    if len(parts) > 3:
        raise WrongError("has more than two colons: a path with a colon in it can be said in a file (--config)")
    source, destination, options = (*parts, "", "")[:3]
    if not source:
        raise ValueError
    return bound(source, destination or source, tuple(options.split(",")) if options else ())


def read_only_bind(text: str) -> Mount:
    """As `bind`, read-only."""
    return _more(bind(text), "ro")


def recursive_bind(text: str) -> Mount:
    """As `bind`, read-only with all that is mounted below."""
    return _more(bind(text), "rro")


def _more(mount: Mount, option: str) -> Mount:
    options = tuple(each for each in mount.options if each not in ("ro", "rw", "rro"))
    return mount._replace(options=(*options, option))


def bound(source: str, destination: str, options: tuple[str, ...]) -> Mount:
    """A bind mount of a file or a tree."""
    if wrong := [each for each in options if each not in _BIND]:
        raise WrongError(f"{wrong[0]!r} is no option of a bind; there are {', '.join(_BIND)}")
    return Mount(_destination(destination), "bind", words(source), options)


def tmpfs(text: str) -> Mount:
    """DESTINATION[:OPTIONS]."""
    destination, _, options = text.partition(":")
    return fresh_tmpfs(destination, tuple(options.split(",")) if options else ())


def fresh_tmpfs(destination: str, options: tuple[str, ...]) -> Mount:
    """A new, empty tmpfs."""
    for each in options:
        key, equals, value = each.partition("=")
        if key not in (_TMPFS_VALUES if equals else _TMPFS):
            raise WrongError(
                f"{each!r} is no option of a tmpfs; there are {', '.join(_TMPFS)}, {'=, '.join(_TMPFS_VALUES)}="
            )
        if key == "size" and not (value.endswith("%") and value[:-1].isdecimal()):
            size(value)
    return Mount(_destination(destination), "tmpfs", "tmpfs", options)


def api_mount(destination: str, kind: str, options: tuple[str, ...]) -> Mount:
    """A file system of the kernel's own, or a minimal /dev."""
    own = {"proc": ("hidepid", "subset"), "dev": ("size", "mode")}.get(kind, ())
    for each in options:
        if each not in _TMPFS and each.partition("=")[0] not in own and (kind, each) != ("dev", "mqueue"):
            raise WrongError(f"{each!r} is no option of {kind}; there are {', '.join(_TMPFS)}")
    return Mount(_destination(destination), kind, kind, options)


def choice(*choices: str) -> Form:
    """One of these words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return Form("|".join(choices), f"{', '.join(choices[:-1])} or {choices[-1]}", read, choices)


def _flag(when_yes: object, when_no: object) -> Form:
    def read(text: str) -> object:
        if text not in ("yes", "no", "true", "false"):
            raise ValueError
        return when_yes if text in ("yes", "true") else when_no

    return Form("", "yes or no", read)


FLAG, INVERTED, VOLATILE = _flag(True, False), _flag(False, True), _flag("volatile", "")
NAME = Form("NAME", "letters, digits and _ . + -, at most 128, a letter or digit first", name)
HOSTNAME = Form("NAME", "letters, digits, dots and hyphens, at most 64", hostname)
TEXT = Form("TEXT", "a text, not an empty one", line)
WORD = Form("WORD", "a text", words)
DIRECTORY = Form("DIR", "a directory", line)
INSIDE = Form("DIR", 'an absolute path in the new root, without ".."', inside)
PLACE = Form("PATH", 'an absolute path in the new root, without ".."', place)
UNMASKED = Form(
    "PATH|ALL", 'an absolute path in the new root, without "..", or ALL', lambda t: t if t == "ALL" else place(t)
)
PROPAGATION = choice("private", "slave", "shared", "unbindable")
OVERLAY = Form("UPPER:WORK", "two directories of one file system, UPPER:WORK; or volatile", overlay)
BIND = Form("SRC[:DEST[:OPTS]]", "SOURCE[:DESTINATION[:OPTION,…]], the destination absolute", bind)
RO_BIND = BIND._replace(read=read_only_bind)
RRO_BIND = BIND._replace(read=recursive_bind)
TMPFS = Form("DEST[:OPTS]", "DESTINATION[:OPTION,…], such as /tmp:size=64M", tmpfs)
USER = Form("UID[:GID]", "UID or UID:GID (in a file in quotes), each a number without sign or zeros before it", user)
GROUP = Form("GID", "a number without sign or zeros before it", group)
MAPPING = Form("IN:OUT:COUNT", "INSIDE:OUTSIDE:COUNT, such as 0:100000:65536, or auto", mapping)
VARIABLE = Form("NAME[=VALUE]", "NAME=VALUE, or NAME alone for the caller's value", variable)
UMASK = Form("MASK", 'an octal number such as 022 (in a file: "022")', umask)
CAPABILITY = Form("CAP", "a capability such as CAP_CHOWN (capabilities(7)), or ALL", capability)
RLIMIT = Form(
    "TYPE=SOFT[:HARD]", f"TYPE=SOFT[:HARD], the type one of {' '.join(e[7:] for e in RLIMITS)}, or unlimited", rlimit
)
SIZE = Form("BYTES", "a number of bytes, with K, M, G or T, such as 64M; or max", limit)
COUNT = Form("N", "a number of tasks; or max", count)
CPUS = Form("N", "a number of processors, such as 0.5", cpus)
CPU_LIST = Form("LIST", "a list such as 0-3,7", cpu_list)
WEIGHT = Form("N", "a number from 1 to 10000", lambda text: number(text, 1, 10000))
IO_MAX = Form("DEVICE,LIMITS", "MAJOR:MINOR,LIMIT=N,… with rbps, wbps, riops, wiops, such as 8:0,wbps=1M", io_max)
SECCOMP = choice("default", "unconfined")
DESCRIPTOR = Form("FD", "the number of an open file descriptor", lambda text: f"fd:{number(text, 0, 1 << 20)}")
FEW = Form("N", "a number from 0 to 1000", lambda text: number(text, 0, 1000))
OOM = Form("N", "a number from -1000 to 1000", lambda text: signed(text, -1000, 1000))
OFFSET = Form("CLOCK=SECONDS", "boottime=SECONDS or monotonic=SECONDS", time_offset)
SECONDS = Form("SECONDS", "a number of seconds, with a minus for the past", signed)
_NS = "{}, by commas: " + ", ".join(NAMESPACES)
SHARE, UNSHARE = Form("NS,…", _NS.format("namespaces"), shared), Form("NS,…", _NS.format("namespaces"), unshared)
NETWORK = Form(
    "none|host",
    "none (a network of its own, with lo alone) or host",
    {"none": True, "host": False}.get,
    ("none", "host"),
)
