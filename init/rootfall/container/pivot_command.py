# SPDX-License-Identifier: MIT
"""`rootfall container pivot` and `explain`: pivot_root(2) itself, for scripts and for learning, and why it fails.

`pivot` does in the caller's mount namespace what pivot_root(8) does. The kernel moves every process whose root or working
directory is the old root, the shell that called us too: on a machine's own mount namespace that is the whole machine. Where
the kernel refuses, nothing is changed; with --fix what is missing is done first, but never in that namespace.
"""

import os
from errno import EACCES, ENOENT, ENOTDIR, errorcode

from rootfall.container.diagnose import checks, diagnose
from rootfall.container.facts import Act, Diagnosis
from rootfall.linux import libc, signals
from rootfall.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PIVOT_USAGE = """\
Usage: rootfall container pivot [--fix] NEW_ROOT PUT_OLD [-- COMMAND [ARG]...]
Make the mount NEW_ROOT the root of this mount namespace and mount the old root on PUT_OLD (pivot_root(2)); both may be ".".
Every process whose root or working directory is the old root gets the new one. Then execute COMMAND in "/".

  --fix       where the kernel refuses: bind NEW_ROOT onto itself, make mounts slaves, as needed, saying so; then try again.
              Refused in the mount namespace that the machine was booted with: use it under `unshare --mount`
  -h, --help  show this text

Exit status: that of COMMAND; 0 done, 1 the kernel refused (the cause is on standard error), 2 wrong usage,
126 COMMAND cannot be executed, 127 it is not there.
"""
EXPLAIN_USAGE = """\
Usage: rootfall container explain NEW_ROOT PUT_OLD
Say what pivot_root(NEW_ROOT, PUT_OLD) would answer here and why: the kernel's checks, in its order. Changes nothing.

  -h, --help  show this text

Exit status: 0 it would succeed, 1 it would fail, 2 wrong usage.
"""
_NOT_HERE = (
    "--fix does not change the mounts that this machine was booted with; nothing was changed: "
    "run it under `unshare --mount`"
)
_MARKS = {True: "fails  ", False: "perhaps"}


class UsageError(Exception):
    """The command line is wrong; the text says how."""


class Request(NamedTuple):
    """What the command line asks for."""

    new_root: str
    put_old: str
    command: tuple[str, ...] = ()
    fix: bool = False


def pivot(argv: list[str]) -> int:
    """`rootfall container pivot ARGV…`; returns the exit status, if no COMMAND was executed."""
    if argv[:1] in (["-h"], ["--help"]):
        _say(1, PIVOT_USAGE)
        return 0
    try:
        request = parse(argv)
    except UsageError as error:
        _say(2, f"rootfall: {error}\n{PIVOT_USAGE}")
        return 2
    environment = _environment() if request.command else {}
    if not (_mended if request.fix else _pivoted)(request):
        return 1
    return _execute(request.command, environment) if request.command else 0


def explain(argv: list[str]) -> int:
    """`rootfall container explain ARGV…`; returns the exit status."""
    if argv[:1] in (["-h"], ["--help"]):
        _say(1, EXPLAIN_USAGE)
        return 0
    try:
        request = parse(argv)
        if request.command or request.fix:
            raise UsageError("explain takes NEW_ROOT and PUT_OLD alone")
    except UsageError as error:
        _say(2, f"rootfall: {error}\n{EXPLAIN_USAGE}")
        return 2
    return _explain(request)


def parse(argv: list[str]) -> Request:
    """The words of either command. Raises UsageError."""
    words, fix = list(argv), False
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word == "--":
            break
        if word != "--fix":
            raise UsageError(f"unknown option {word}")
        fix = True
    if len(words) < 2:
        raise UsageError("NEW_ROOT and PUT_OLD are missing" if not words else "PUT_OLD is missing")
    new_root, put_old, *rest = words
    if rest and (rest[0] != "--" or len(rest) == 1):
        raise UsageError(
            "-- is not followed by a COMMAND" if rest == ["--"] else f"{rest[0]}: a COMMAND comes after --"
        )
    return Request(new_root, put_old, tuple(rest[1:]), fix)


def _pivoted(request: Request) -> bool:
    """pivot_root(2); a refusal is explained."""
    if not (errno := _try(request)):
        return True
    from rootfall.container import observe

    cause = diagnose(observe.read(request.new_root, request.put_old), errno)
    assert cause is not None  # for an errno there always is one
    _complain(request, errno, cause)
    if cause.fix and not request.fix:
        _say(2, "rootfall: --fix would do that\n")
    _say(2, "rootfall: nothing was changed\n")
    return False


def _try(request: Request) -> int:
    """pivot_root(2); the errno, 0 if it succeeded."""
    try:
        libc.pivot_root(request.new_root, request.put_old)
    except OSError as error:
        return error.errno or -1
    return 0


def _complain(request: Request, errno: int, cause: Diagnosis) -> None:
    what = f"pivot_root {request.new_root or repr('')} {request.put_old or repr('')}"
    kernel = f"{os.strerror(errno)} ({errorcode.get(errno, errno)})"
    _say(2, f"rootfall: {what}: {kernel}; {'' if cause.certain else 'perhaps '}{cause.sentence}\n")
    _say(2, f"rootfall: what helps: {cause.remedy}\n")


def _mended(request: Request) -> bool:
    """pivot_root(2), after doing what is missing; nothing is done if it would not be enough."""
    from rootfall.container import observe

    done: set[tuple[Act, ...]] = set()
    while errno := _try(request):
        facts = observe.read(request.new_root, request.put_old)
        cause = diagnose(facts, errno)
        assert cause is not None  # for an errno there always is one
        others = (check.found for check in checks(facts))
        hopeless = [each for each in others if each and each.certain and not each.fix]
        if not cause.fix or hopeless or cause.fix in done:
            _complain(request, errno, cause)
            if hopeless and hopeless[0] != cause:
                _say(2, f"rootfall: then this would be in the way: {hopeless[0].sentence}\n")
            _say(2, "rootfall: --fix cannot mend that" + ("\n" if done else "; nothing was changed\n"))
            return False
        if observe.initial_namespace():
            _complain(request, errno, cause)
            _say(2, f"rootfall: {_NOT_HERE}\n")
            return False
        for act in cause.fix:
            if not _perform(act):
                return False
        done.add(cause.fix)
    return True


def _perform(act: Act) -> bool:
    _say(2, f"rootfall: fix: {act}\n")
    try:
        here = os.getcwd() if act.source else ""
        libc.mount(act.source, act.target, None, act.flags)
        if act.source and f"{here}/".startswith(act.target + "/"):
            os.chdir(here)  # the same directory, on the new mount: what "." means
    except OSError as error:
        _say(2, f"rootfall: fix: {error.strerror} ({errorcode.get(error.errno or 0, error.errno)})\n")
        return False
    return True


def _explain(request: Request) -> int:
    from rootfall.container import observe

    found = observe.read(request.new_root, request.put_old)
    lines = [f"pivot_root {request.new_root or repr('')} {request.put_old or repr('')}, as the kernel checks it:\n"]
    for check in checks(found):
        mark = _MARKS[check.found.certain] if check.found else "passes "
        lines.append(f"  {mark} {check.what}\n")
        if check.found:
            name = errorcode.get(check.found.errno, str(check.found.errno))
            lines.append(f"            {name}: {check.found.sentence}\n            what helps: {check.found.remedy}\n")
    cause = diagnose(found)
    if cause:
        name = errorcode.get(cause.errno, str(cause.errno))
        lines.append(f"It would fail: {os.strerror(cause.errno)} ({name}): {cause.cause}.\n")
    else:
        hidden = any(check.found for check in checks(found))
        lines.append(f"It would succeed{', unless what is hidden here is in the way' if hidden else ''}.\n")
    _say(1, "".join(lines))
    return 1 if cause else 0


def _environment() -> dict[str, str]:
    """The caller's, without what the frozen program's bootloader has put in."""
    from rootfall import switch_root_command

    return switch_root_command.environment(os.environ)


def _execute(command: tuple[str, ...], environment: dict[str, str]) -> int:
    """Execute the command in the new root; returns 126 or 127 if that fails. Nothing can be imported here."""
    try:
        os.chdir("/")
        signals.reset()
        _exec(command, environment)
    except OSError as error:
        _say(2, f"rootfall: the root was changed, but {command[0]} cannot be executed: {error.strerror}\n")
        return 127 if error.errno == ENOENT else 126


def _exec(command: tuple[str, ...], environment: dict[str, str]) -> "NoReturn":
    """execvp(3): of several failures the one that says most. Raises OSError."""
    if "/" in command[0]:
        os.execve(command[0], command, environment)
    failure = FileNotFoundError(ENOENT, os.strerror(ENOENT), command[0])
    denied: OSError | None = None
    for directory in environment.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").split(":"):
        try:
            os.execve(f"{directory or '.'}/{command[0]}", command, environment)
        except OSError as error:
            if error.errno == EACCES:
                denied = error
            elif error.errno not in (ENOENT, ENOTDIR):
                raise
    raise denied or failure


def _say(fd: int, text: str) -> None:
    try:
        os.write(fd, text.encode(errors="surrogateescape"))
    except OSError:
        pass
