# SPDX-License-Identifier: MIT
"""`rootfall switch-root`: what switch_root(8) of util-linux and busybox does, for an /init that is not rootfall's.

The same hand-over as at the end of our own boot, and so the same checks before it: refuses when it is not PID 1, when the
current root is no initramfs, when the new root is no mount, when init is not there or could not run. Descriptors and
environment are passed on as they came. Everything is imported here: after the switch there is nothing to import from.
"""

import os
import sys

from rootfall import __version__, new_root, switch_root
from rootfall.errors import RootfallError, SwitchRootError
from rootfall.linux import signals
from rootfall.linux.kernel import Kernel
from rootfall.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

USAGE = """\
Usage: switch-root [-c CONSOLE] NEWROOT [INIT [ARG]...]
Move the mounts over to NEWROOT, make it the root, delete this initramfs, execute INIT (/sbin/init) as PID 1.

  -c CONSOLE  connect INIT's standard streams to this device of NEWROOT
  -h, --help  show this text; -V, --version that of rootfall
"""
_BY_PYINSTALLER = ("_PYI_", "_MEIPASS", "PYINSTALLER_")


class UsageError(Exception):
    """The command line is wrong; the text says how."""


class Request(NamedTuple):
    """What the command line asks for; `init` empty: the first that there is."""

    new_root: str
    init: str = ""
    arguments: tuple[str, ...] = ()
    console: str = ""


class CallersKernel(Kernel):
    """The kernel for a caller who may have moved /proc over already, as scripts for busybox do."""

    def __init__(self, new_root: str) -> None:
        """`new_root` is where else a /proc may be."""
        self._new_root = new_root

    def read_mountinfo(self) -> str:
        """/proc/self/mountinfo, or that of the new root's /proc."""
        try:
            return super().read_mountinfo()
        except OSError:
            path = f"{self._new_root}/proc/self/mountinfo"
            with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                return file.read()


def main(argv: list[str]) -> int:
    """Hand over, or say what is in the way: 1 for a refusal, 2 for a wrong command line. argv[0] is a program's name."""
    words = argv[2:] if argv[1:2] == ["switch-root"] else argv[1:]
    if words[:1] in (["-h"], ["--help"]):
        _say(1, USAGE)
        return 0
    if words[:1] in (["-V"], ["--version"]):
        _say(1, f"switch-root of rootfall {__version__}\n")
        return 0
    try:
        hand_over(parse(words))
    except UsageError as error:
        _say(2, f"switch-root: {error}\n{USAGE}")
        return 2
    except RootfallError as error:
        _say(2, f"switch-root: {error}\n")
    except OSError as error:
        _say(2, f"switch-root: cannot switch root: {error}\n")
    return 1


def parse(words: list[str]) -> Request:
    """The command line of either peer. Raises UsageError."""
    console, words = "", list(words)
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option == "--":
            break
        if not option.startswith("-c") or (option == "-c" and not words):
            raise UsageError(f"unknown option {option}" if option != "-c" else "-c needs a device")
        console = option[2:] or words.pop(0)
    if not words or "" in words[:2]:
        raise UsageError("NEWROOT is missing" if not words else "NEWROOT and INIT must not be empty")
    return Request(words[0], words[1] if len(words) > 1 else "", tuple(words[2:]), console)


def hand_over(request: Request, kernel: Kernel | None = None) -> None:
    """Check all, then switch and execute. Returns only by raising RootfallError or OSError."""
    root = os.path.realpath(request.new_root)
    kernel = kernel or CallersKernel(root)
    try:
        switch_root.preflight(kernel, root)
    except FileNotFoundError as error:
        hint = "mount proc on /proc first: it says what is mounted where"
        raise SwitchRootError("switch root", root, seen=str(error), hint=hint) from error
    init = _init(root, request.init)
    for each in switch_root.move_mounts(kernel, root):
        _say(2, f"switch-root: move {each}: let go\n")
    switch_root.switch(kernel, root)
    if request.console:
        _connect(request.console)
    signals.reset()
    try:
        kernel.execve(init, (init, *request.arguments), environment(os.environ))
    except OSError as error:
        raise SwitchRootError("execute init", init, errno=error.errno or 0) from error


def _init(root: str, wanted: str) -> str:
    """What was asked for must be there; what was not asked for is looked for as the kernel does."""
    if not wanted:
        init, passed_over = new_root.choose_init(root, "/sbin/init")
        for fault in passed_over:
            _say(2, f"switch-root: pass over {fault}\n")
        return init
    init = wanted if wanted.startswith("/") else f"/{wanted}"  # we will be in "/"
    fault = new_root.check(root, init, new_root.own_program())
    if fault:
        hint = "nothing has been changed; is this the right root?"
        raise SwitchRootError("switch root", root, seen=fault, hint=hint)
    return init


def environment(given: "Mapping[str, str]") -> dict[str, str]:
    """The caller's environment, less what PyInstaller's bootloader has put in."""
    kept = {name: value for name, value in given.items() if not name.startswith(_BY_PYINSTALLER)}
    if "LD_LIBRARY_PATH_ORIG" in kept:
        kept["LD_LIBRARY_PATH"] = kept.pop("LD_LIBRARY_PATH_ORIG")
    elif getattr(sys, "frozen", False):
        kept.pop("LD_LIBRARY_PATH", None)
    return kept


def _connect(console: str) -> None:
    """A console that does not open is no reason to die: the streams stay as they are."""
    try:
        fd = os.open(console, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        _say(2, f"switch-root: the streams stay: cannot open {console}: {error.strerror}\n")
        return
    os.set_blocking(fd, True)
    for standard in (0, 1, 2):
        os.dup2(fd, standard)
    if fd > 2:
        os.close(fd)


def _say(fd: int, text: str) -> None:
    try:
        os.write(fd, text.encode(errors="surrogateescape"))
    except OSError:
        pass
