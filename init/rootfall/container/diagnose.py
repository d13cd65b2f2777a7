# SPDX-License-Identifier: MIT
"""Why pivot_root(2) said no, or would: facts -> the kernel's checks, in its order, and what each of them finds. Pure.

The order is that of pivot_root in fs/namespace.c, the same from Linux 3.x to 7.x (but for CAP_SYS_ADMIN, which since 7.0 is
asked for after the two names are looked up): the first check that fails is the answer. The errno that the kernel answered stays
the authority: nothing may be refused because of what is found here.
"""

from errno import EACCES, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM
from os import strerror

from rootfall.container.facts import Diagnosis, Facts, Place, quote
from rootfall.container.mount_checks import CHECKS, NEW_PLAIN
from rootfall.record import NamedTuple


class Check(NamedTuple):
    """One check of the kernel, in words, and what it finds; None: it passes."""

    what: str
    found: Diagnosis | None


def checks(facts: Facts) -> tuple[Check, ...]:
    """The kernel's checks in its order, each with what it finds. The first name that leads nowhere is the last one."""
    asked: list[Check] = []
    permission = Check(
        "CAP_SYS_ADMIN over the owner of the mount namespace; no security module objects", _refused(facts)
    )
    if not facts.refused or facts.refused_first:
        asked.append(permission)
    for which, place in (("new_root", facts.new), ("put_old", facts.old)):
        asked.append(Check(f"{which} is a directory that can be reached", _lookup(which, place)))
        if place.errno:
            return tuple(asked)
    if facts.refused and not facts.refused_first:
        asked.append(permission)
    # A plain directory on the root's own mount never gets as far as "is it a mount point".
    never = NEW_PLAIN if facts.new.mount == facts.root.mount else ""
    return (*asked, *(Check(what, check(facts)) for what, check in CHECKS if what != never))


def diagnose(facts: Facts, errno: int = 0) -> Diagnosis | None:
    """The cause of `errno`, the kernel's answer; with 0 what it would be, None if pivot_root would succeed."""
    found = [check.found for check in checks(facts) if check.found]
    certain = [each for each in found if each.certain]
    if not errno:
        return certain[0] if certain else None
    for each in (*certain, *found):
        if each.errno == errno:
            return each
    if errno in (EPERM, EACCES):
        return _refused(facts._replace(refused=errno))
    sentence = "none of the causes that are known is seen; perhaps the mounts have changed meanwhile"
    return Diagnosis("unknown", facts.new.name, errno, sentence, "try again; read /proc/self/mountinfo")


def _refused(facts: Facts) -> Diagnosis | None:
    if not facts.refused:
        return None
    unshare, capability = "unshare --user --map-root-user --mount", "CAP_SYS_ADMIN"
    if not facts.capable:
        cause, sentence = capability, "this process has no CAP_SYS_ADMIN over the owner of its mount namespace"
        remedy = f"be root, or make namespaces of your own: {unshare}"
    elif not facts.owned:
        cause = capability
        sentence = (
            "this process has CAP_SYS_ADMIN in its own user namespace, but its mount namespace belongs to another one"
        )
        remedy = f"make the mount namespace together with the user namespace: {unshare}"
    elif facts.seccomp:
        cause, sentence = "seccomp", "CAP_SYS_ADMIN is there, but a seccomp filter forbids pivot_root(2)"
        remedy = "allow it in the seccomp profile of the container that this process is in (see Seccomp in /proc/self/status)"
    else:
        cause, sentence = (
            "security module",
            "CAP_SYS_ADMIN is there, but a security module (Landlock, AppArmor, …) says no",
        )
        remedy = "allow it in its policy; the kernel's log and /proc/self/attr/current say more"
    return Diagnosis(cause, facts.new.name, facts.refused, sentence, remedy)


def _lookup(which: str, place: Place) -> Diagnosis | None:
    if not place.errno:
        return None
    name, culprit = _short(place.name), _short(place.culprit)
    cause, text, remedy = {
        ENOENT: ("does not exist", "does not exist", f"mkdir -p {quote(name)}, or correct the name"),
        ENOTDIR: ("not a directory", "is not a directory", "new_root and put_old must be directories"),
        ELOOP: ("symbolic links", "leads through too many symbolic links", "look for a link that leads to itself"),
        ENAMETOOLONG: ("name too long", "is a name too long", "go nearer with cd, and give a relative name"),
        EACCES: ("no permission", "is behind a directory that may not be searched", "chmod a+x that directory"),
    }.get(place.errno, ("not reachable", f"cannot be reached ({strerror(place.errno)})", "ls -ld says more"))
    if not name:
        text, remedy = "is an empty name: it does not exist", "give a directory"
    elif place.link:
        leads = "leads to what " if place.errno in (ENOENT, ENOTDIR) else ""
        text = f": {culprit}, a symbolic link to {place.link}, {leads}{text}"
    elif culprit != name:
        text = f": {culprit} {text}"
    sentence = f"{which} {name or repr(name)}{text if text[0] == ':' else f' {text}'}"
    return Diagnosis(cause, place.name, place.errno, sentence, remedy)


def _short(name: str) -> str:
    return name if len(name) <= 200 else f"{name[:60]}… ({len(name)} characters)"
