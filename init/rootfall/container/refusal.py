# SPDX-License-Identifier: MIT
"""Why the kernel makes no namespaces, and what to do about it: asked after it refused, and only then.

The causes are those of namespaces(7), user_namespaces(7) and of distributions' switches in /proc/sys. Refuses nothing itself:
the errno stays the authority, the cause is the best that can be seen from here.
"""

import os

from rootfall import mountinfo
from rootfall.errors import ContainerError
from rootfall.linux.kernel import Kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_EPERM, _EINVAL, _ENOSPC, _EUSERS = 1, 22, 28, 87
_CAP_SYS_ADMIN = 21
_FILES = {
    "user": "user", "mount": "mnt", "pid": "pid", "network": "net", "uts": "uts", "ipc": "ipc", "cgroup": "cgroup",
    "time": "time",
}  # fmt: skip
_DEEPEST = 32  # levels of user and of PID namespaces
_APPARMOR = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"


def explain(names: "Sequence[str]", error: OSError) -> ContainerError:
    """The error to raise for an OSError of clone(2) or unshare(2) with these namespaces."""
    errno = error.errno or 0
    seen, hint = _cause(names, errno)
    return ContainerError("make the namespaces", " ".join(names), errno=errno, seen=seen, hint=hint)


def _cause(names: "Sequence[str]", errno: int) -> tuple[str, str]:
    for name in names:
        if not os.path.exists(f"/proc/self/ns/{_FILES[name]}"):
            return (
                f"no /proc/self/ns/{_FILES[name]}",
                f"this kernel was built without {name} namespaces, or /proc is not mounted",
            )
    if errno in (_ENOSPC, _EUSERS):
        return _no_space(names)
    if errno == _EPERM and "user" in names:
        return _no_user_namespace()
    if errno == _EPERM and not _may_administer():
        return "no CAP_SYS_ADMIN", "an ordinary user needs a user namespace as well: add user to the namespaces"
    if errno == _EPERM:
        return "CAP_SYS_ADMIN is there", "a seccomp filter or security module of who started us forbids it"
    return "", ""


def _no_space(names: "Sequence[str]") -> tuple[str, str]:
    limits = {name: _read(f"/proc/sys/user/max_{_FILES[name]}_namespaces") for name in names}
    if forbidden := [name for name, limit in limits.items() if limit == "0"]:
        path = f"/proc/sys/user/max_{_FILES[forbidden[0]]}_namespaces"
        return f"{path} is 0", f"{forbidden[0]} namespaces are forbidden here; as root: echo 10000 > {path}"
    return (
        ", ".join(f"max_{_FILES[name]}_namespaces is {limit}" for name, limit in limits.items() if limit),
        f"this user has as many as /proc/sys/user allows, or namespaces are nested more than {_DEEPEST} deep",
    )


def _no_user_namespace() -> tuple[str, str]:
    if _read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return (
            "kernel.unprivileged_userns_clone is 0",
            "user namespaces are for root alone here; as root: sysctl kernel.unprivileged_userns_clone=1",
        )
    if chrooted():
        return (
            "a caller in a chroot, where nobody may make a user namespace",
            "enter the directory with pivot_root instead, or run rootfall outside of it",
        )
    if unmapped():
        return (
            f"user {os.geteuid()} or group {os.getegid()} is not mapped in the user namespace that this runs in",
            "run it as a user who is mapped: /proc/self/uid_map, /proc/self/gid_map",
        )
    return (
        "",
        "a seccomp filter or security module of who started us forbids user namespaces; in docker, see its seccomp profile",
    )


def add_cause(fault: ContainerError, names: "Sequence[str]") -> ContainerError:
    """For a refusal in a user namespace that was made but is powerless: AppArmor's switch, where it is on."""
    if fault.errno in (_EPERM, 13) and "user" in names and not fault.hint and _read(_APPARMOR) == "1":
        fault.hint = (
            f"AppArmor takes all power from user namespaces of programs without a profile ({_APPARMOR} is 1): as root, write 0 "
            "there, or give rootfall a profile with the rule userns"
        )
    return fault


def chrooted() -> bool:
    """Whether our root is not the root of our mount namespace, as far as can be seen: no mount is on "/"."""
    try:
        return not any(each.path == "/" for each in mountinfo.parse(Kernel().read_mountinfo()))
    except OSError:
        return True  # no /proc: few roots but those have none


def unmapped() -> bool:
    """Whether one of our effective ids does not exist in our user namespace."""
    return not (_is_mapped("uid_map", os.geteuid()) and _is_mapped("gid_map", os.getegid()))


def _is_mapped(name: str, number: int) -> bool:
    ranges = [list(map(int, line.split())) for line in _read(f"/proc/self/{name}").splitlines()]
    return any(first <= number < first + size for first, _, size in ranges)


def _may_administer() -> bool:
    from rootfall.linux import capabilities

    return bool(capabilities.get()[0] >> _CAP_SYS_ADMIN & 1)


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
