# SPDX-License-Identifier: MIT
"""Give up what the command is not to have, in the one order that works (capabilities(7), credentials(7)).

Groups and bounding set need privileges, so they come first; the change of ids would clear what is kept but for
PR_SET_KEEPCAPS; the ambient set comes last, for it must be permitted and inheritable. Inheritable is empty for root, who needs
none (CVE-2022-29162), and just the ambient set for anybody else. Only ever takes away.
"""

import os

from rootfall.container.model import CAPABILITIES, RLIMITS, Process
from rootfall.errors import ContainerError
from rootfall.linux import capabilities, namespaces, seccomp

_EPERM, _EINVAL, _ENOSYS = 1, 22, 38
_CAP_KILL = 1 << 5


def give_up(process: Process, bpf: bytes | None = None) -> None:
    """Become the command's user, with its groups, limits and capabilities and no others. Raises ContainerError.

    `bpf` is a seccomp program that is installed on the way: without no_new_privs that takes a capability.
    """
    leave_session_keyring()
    set_rlimits(process)
    kept = bits(process.capabilities)
    if lacking := kept & ~capabilities.get()[1]:
        names = " ".join(name for number, name in enumerate(CAPABILITIES) if lacking >> number & 1)
        raise ContainerError("keep", names, seen="a caller without it", hint="nobody can give what he does not have")
    _set_groups(process.user.additional_gids)
    confine(bpf)
    capabilities.bound(kept)
    _set_ids(process.user.uid, process.user.gid)
    inheritable = kept if process.user.uid else 0
    capabilities.set_all(kept, kept, inheritable)
    capabilities.set_ambient(inheritable)
    if process.user.umask is not None:
        os.umask(process.user.umask)
    if process.no_new_privileges:
        namespaces.prctl(namespaces.PR_SET_NO_NEW_PRIVS, 1)


def confine(bpf: bytes | None) -> None:
    """Have system calls filtered from here on, where there is a program for it (seccomp(2)). Raises ContainerError."""
    if bpf is None:
        return
    try:
        seccomp.install(bpf)
    except OSError as error:
        hint = "the kernel's checker refuses it" if error.errno == _EINVAL else ""
        raise ContainerError("use", "the seccomp program", errno=error.errno or 0, hint=hint) from error


def give_up_all_but_kill() -> None:
    """For the reaper, which signals a command that may be another user."""
    capabilities.set_all(*(capabilities.get()[1] & _CAP_KILL,) * 2, 0)
    namespaces.prctl(namespaces.PR_SET_NO_NEW_PRIVS, 1)


def bits(names: tuple[str, ...]) -> int:
    """Capabilities as the kernel counts them. Raises ContainerError for a name that is none."""
    sum_ = 0
    for name in names:
        if name not in CAPABILITIES:
            raise ContainerError("keep", name, hint=f"a capability is one of {' '.join(CAPABILITIES)}")
        sum_ |= 1 << CAPABILITIES.index(name)
    return sum_


def leave_session_keyring() -> None:
    """Keyrings are in no namespace: the caller's keys would be readable inside."""
    try:
        namespaces.join_new_session_keyring()
    except OSError as error:
        if error.errno not in (_ENOSYS, _EPERM):  # no keyrings here; or a filter of who started us lets nobody at them
            raise ContainerError("make", "a session keyring", errno=error.errno or 0) from error


def set_rlimits(process: Process) -> None:
    """The limits of setrlimit(2)."""
    for limit in process.rlimits:
        if limit.type not in RLIMITS:
            raise ContainerError("set the limit", limit.type, hint=f"a limit is one of {' '.join(RLIMITS)}")
        try:
            namespaces.set_rlimit(RLIMITS.index(limit.type), limit.soft, limit.hard)
        except OSError as error:
            hint = "raising a hard limit takes root outside of any user namespace" if error.errno == _EPERM else ""
            wanted = f"soft {limit.soft}, hard {limit.hard}"
            raise ContainerError("set the limit", limit.type, errno=error.errno or 0, seen=wanted, hint=hint) from error


def _set_groups(gids: tuple[int, ...]) -> None:
    try:
        os.setgroups(gids)
    except OSError as error:
        if error.errno == _EPERM and not gids:
            return  # an ordinary user's namespace with one id: nobody in it may leave a group (user_namespaces(7))
        hint = (
            "an ordinary user needs a range of group ids for this, with a line in /etc/subgid"
            if error.errno == _EPERM
            else "each must be mapped in the container's user namespace"
        )
        raise ContainerError("join the groups", " ".join(map(str, gids)), errno=error.errno or 0, hint=hint) from error


def _set_ids(uid: int, gid: int) -> None:
    namespaces.prctl(namespaces.PR_SET_KEEPCAPS, 1)
    for kind, number, change in (("group", gid, os.setresgid), ("user", uid, os.setresuid)):
        try:
            change(number, number, number)
        except OSError as error:
            hint = f"map it: the container's user namespace has no {kind} {number}" if error.errno == _EINVAL else ""
            raise ContainerError("become", f"{kind} {number}", errno=error.errno or 0, hint=hint) from error
    namespaces.prctl(namespaces.PR_SET_KEEPCAPS, 0)
