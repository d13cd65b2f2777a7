# SPDX-License-Identifier: MIT
"""Execute a program of the new root as execvp(3) would, and say why it cannot be (execve(2)).

The root is another one by now, and perhaps a hostile one: nothing is imported here, nor is os.execvpe used, which imports. A
script whose interpreter is /proc/self/exe would make of our own executable, the host's, the command's (CVE-2019-5736): it is
refused.
"""

import os

from rootfall.container import privileges
from rootfall.errors import ContainerError
from rootfall.linux import capabilities, libc
from rootfall.new_root import elf_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

NOT_EXECUTABLE, NOT_FOUND = 126, 127
_ENOENT, _ENOEXEC, _EACCES, _ENOTDIR = 2, 8, 13, 20
_SCRIPTS = 5  # a script's interpreter may be a script: the kernel follows so many
_TYPE, _REGULAR = 0o170000, 0o100000  # of a mode


def ourselves() -> os.stat_result:
    """The executable that runs: to be asked while /proc is the host's."""
    return os.stat("/proc/self/exe")


def execute(
    args: tuple[str, ...], environment: dict[str, str], own: os.stat_result, bpf: bytes | None = None
) -> "NoReturn":
    """Execute the command, looked for in the environment's PATH. Raises ContainerError with status 126 or 127.

    `bpf` is a seccomp program; what is done before execve(2) need not be allowed by it.
    """
    refused, refusal = "", _ENOENT
    for path in candidates(args[0], environment.get("PATH", "")):
        try:
            refuse_ourselves(path, own)
            privileges.confine(bpf)
            bpf = None
            os.execve(path, args, environment)
        except OSError as error:
            if error.errno not in (_ENOENT, _ENOTDIR) or os.path.lexists(path):
                refused, refusal = path, error.errno or 0
                if error.errno not in (_EACCES, _ENOENT, _ENOTDIR):
                    break
    raise _explain(args[0], refused, refusal, environment.get("PATH", ""))


def candidates(name: str, path: str) -> tuple[str, ...]:
    """The files that execvp(3) would try."""
    return (name,) if "/" in name else tuple(f"{each or '.'}/{name}" for each in path.split(":")) if name else ()


def refuse_ourselves(path: str, own: os.stat_result) -> None:
    """Raise ContainerError if the kernel would execute our own executable for `path`, reached through a link of /proc."""
    for _ in range(_SCRIPTS):
        if by_magic(path) and os.path.samestat(os.stat(path), own):
            raise _refusal(path, "rootfall's own executable, by a link of /proc")
        try:
            path = interpreter(path)
        except PermissionError:
            # The kernel may execute what we may not read. It is let through where it could do no harm with our executable.
            if own.st_uid == os.getuid() or own.st_mode & 0o022 or capabilities.get()[0]:
                raise _refusal(
                    path, "a program that may be executed but not read, with who knows what interpreter"
                ) from None
            return
        if not path:
            return


def _refusal(path: str, seen: str) -> ContainerError:
    fault = ContainerError("execute", path, seen=seen)
    fault.status = NOT_EXECUTABLE
    return fault


def by_magic(path: str) -> bool:
    """Whether a magic link (of /proc/PID/exe, fd, root …) is on the way; on kernels before 5.6, perhaps."""
    here = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        where = path if path.startswith("/") else f"{os.getcwd()}/{path}"
        os.close(libc.openat2(here, where, os.O_PATH, libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS))
    except OSError as error:
        return error.errno not in (_ENOENT, _ENOTDIR, _EACCES)
    finally:
        os.close(here)
    return False


def interpreter(path: str) -> str:
    """What the kernel starts for a program: a script's interpreter, an ELF file's loader, or "". Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        regular = os.fstat(fd).st_mode & _TYPE == _REGULAR
        head = os.read(fd, 256) if regular else b""
        if head[:2] == b"#!":
            words = head[2:].split(b"\n")[0].split()
            return os.fsdecode(words[0]) if words else ""
        elf = elf_of(fd) if regular else None
        return elf.interpreter if elf else ""
    finally:
        os.close(fd)


def _explain(name: str, path: str, errno: int, search: str) -> ContainerError:
    fault = ContainerError("execute", path or name, errno=errno)
    fault.status = NOT_FOUND if errno in (_ENOENT, _ENOTDIR) else NOT_EXECUTABLE
    if not path:
        fault.seen = "" if "/" in name else f"no such file in {search or 'an empty PATH'}"
        fault.hint = "the path is looked up in the container's root"
    elif errno in (_ENOENT, _ENOTDIR):
        fault.seen, fault.hint = _missing(path)
    elif errno == _ENOEXEC:
        fault.seen = "neither a program for this machine nor a script that begins with #!"
        fault.hint = f"is it for {os.uname().machine}? a script without #! runs as: sh {path}"
    elif errno == _EACCES:
        fault.seen, fault.hint = _forbidden(path)
    return fault


def _missing(path: str) -> tuple[str, str]:
    """Why a file that is there is not found."""
    try:
        wanted = interpreter(path)
    except FileNotFoundError:
        return "a symbolic link to nothing", "links are followed in the container's root"
    except OSError:
        wanted = ""
    return (
        (f"its interpreter {wanted} is not in the root", "copy it there, with the libraries that it needs")
        if wanted
        else ("", "")
    )


def _forbidden(path: str) -> tuple[str, str]:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return "", f"user {os.getuid()} of the container may not search a directory of this path"
    if mode & _TYPE != _REGULAR:
        return "no regular file", ""
    if not mode & 0o111:
        return f"mode {mode & 0o7777:04o}", f"chmod +x {path}"
    return f"mode {mode & 0o7777:04o}, as user {os.getuid()}", "or it, or its interpreter, is on a mount with noexec"
