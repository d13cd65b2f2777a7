# SPDX-License-Identifier: MIT
"""The default seccomp profile, as a BPF program for seccomp(2): pure, made without libseccomp, in a fraction of a millisecond.

What is refused with EPERM stands in DENIED, under the capability that gives it back; what is new to us (numbers beyond LAST,
among them all of x32) is answered ENOSYS, as on a kernel that does not have it, and so is clone3(2), whose flags no filter
can see: libc falls back to clone(2), whose flags one can. A filter is a search tree over the system call's number, once for the
machine's own calls and once for its 32-bit ones; other architectures' calls kill the process. linux/seccomp.h, linux/audit.h.
"""

import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LAST = 469  # file_setattr(2), Linux 6.17
MOST = 4096  # BPF_MAXINSNS

# AUDIT_ARCH_ of what a machine (uname(2)) executes, and the column of NUMBERS.
ARCHITECTURES = {
    "x86_64": ((0xC000003E, 0), (0x40000003, 1)),
    "aarch64": ((0xC00000B7, 2), (0x40000028, 3)),
    "riscv64": ((0xC00000F3, 2),),
    "i686": ((0x40000003, 1),),
    "i586": ((0x40000003, 1),),
    "armv7l": ((0x40000028, 3),),
}

# By capability: "" is refused always.
DENIED = {
    "": (
        "add_key keyctl request_key userfaultfd uselib ustat sysfs _sysctl create_module get_kernel_syms query_module "
        "nfsservctl kexec_load kexec_file_load vm86 vm86old swapon swapoff io_uring_setup io_uring_enter io_uring_register"
    ),
    "CAP_SYS_ADMIN": (
        "fanotify_init fsconfig fsmount fsopen fspick open_tree open_tree_attr move_mount mount_setattr lookup_dcookie mount "
        "umount umount2 pivot_root quotactl quotactl_fd setns"
    ),
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_MODULE": "init_module finit_module delete_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node move_pages migrate_pages",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64 clock_adjtime clock_adjtime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYSLOG": "syslog",
}

# The numbers on x86-64, i386, the generic table (aarch64, riscv64) and arm; -1 where there is no such call. From 424 on
# they are the same everywhere.
NUMBERS = {
    "add_key": (248, 286, 217, 309),
    "keyctl": (250, 288, 219, 311),
    "request_key": (249, 287, 218, 310),
    "userfaultfd": (323, 374, 282, 388),
    "uselib": (134, 86, -1, 86),
    "ustat": (136, 62, -1, 62),
    "sysfs": (139, 135, -1, 135),
    "_sysctl": (156, 149, -1, 149),
    "create_module": (174, 127, -1, -1),
    "get_kernel_syms": (177, 130, -1, -1),
    "query_module": (178, 167, -1, -1),
    "nfsservctl": (180, 169, 42, 169),
    "kexec_load": (246, 283, 104, 347),
    "kexec_file_load": (320, -1, 294, 401),
    "vm86": (-1, 166, -1, -1),
    "vm86old": (-1, 113, -1, -1),
    "swapon": (167, 87, 224, 87),
    "swapoff": (168, 115, 225, 115),
    "bpf": (321, 357, 280, 386),
    "perf_event_open": (298, 336, 241, 364),
    "fanotify_init": (300, 338, 262, 367),
    "lookup_dcookie": (212, 253, 18, 249),
    "mount": (165, 21, 40, 21),
    "umount": (-1, 22, -1, -1),
    "umount2": (166, 52, 39, 52),
    "pivot_root": (155, 217, 41, 218),
    "quotactl": (179, 131, 60, 131),
    "setns": (308, 346, 268, 375),
    "open_by_handle_at": (304, 342, 265, 371),
    "reboot": (169, 88, 142, 88),
    "init_module": (175, 128, 105, 128),
    "finit_module": (313, 350, 273, 379),
    "delete_module": (176, 129, 106, 129),
    "acct": (163, 51, 89, 51),
    "kcmp": (312, 349, 272, 378),
    "iopl": (172, 110, -1, -1),
    "ioperm": (173, 101, -1, -1),
    "settimeofday": (164, 79, 170, 79),
    "stime": (-1, 25, -1, -1),
    "clock_settime": (227, 264, 112, 262),
    "clock_adjtime": (305, 343, 266, 372),
    "vhangup": (153, 111, 58, 111),
    "get_mempolicy": (239, 275, 236, 320),
    "mbind": (237, 274, 235, 319),
    "set_mempolicy": (238, 276, 237, 321),
    "move_pages": (279, 317, 239, 344),
    "migrate_pages": (256, 294, 238, 400),
    "syslog": (103, 103, 116, 103),
    "clone": (56, 120, 220, 120),
    "unshare": (272, 310, 97, 337),
    "ioctl": (16, 54, 29, 54),
    "personality": (135, 136, 92, 136),
    "socket": (41, 359, 198, 281),
    "clock_settime64": (-1, 404, -1, 404),
    "clock_adjtime64": (-1, 405, -1, 405),
    "io_uring_setup": (425,) * 4,
    "io_uring_enter": (426,) * 4,
    "io_uring_register": (427,) * 4,
    "open_tree": (428,) * 4,
    "move_mount": (429,) * 4,
    "fsopen": (430,) * 4,
    "fsconfig": (431,) * 4,
    "fsmount": (432,) * 4,
    "fspick": (433,) * 4,
    "clone3": (435,) * 4,
    "pidfd_getfd": (438,) * 4,
    "mount_setattr": (442,) * 4,
    "quotactl_fd": (443,) * 4,
    "set_mempolicy_home_node": (450,) * 4,
    "open_tree_attr": (467,) * 4,
}

_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_EPERM, _ENOSYS = 0x00050000 | 1, 0x00050000 | 38
_LOAD, _JUMP, _IF_EQUAL, _IF_AT_LEAST, _IF_BITS, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # where they stand in struct seccomp_data
_ARM_PRIVATE = (0xF0001, 0xF0007)  # breakpoint, cacheflush, set_tls …: part of the architecture, not of the table

# The namespaces of clone(2); unshare(2) takes time's as well, which clone reads as a part of the signal.
_CLONE_NEW, _UNSHARE_NEW = 0x7E020000, 0x7E020080
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_AF_VSOCK = 40  # reaches the hypervisor, whatever the network namespace
_PERSONALITIES = (0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)  # PER_LINUX, PER_LINUX32, UNAME26 with either, only asking

_Code = list[tuple[int, int, int, int]]
_Span = tuple[int, _Code]  # system calls from a number on, up to the next span, and what becomes of them


def program(machine: str, capabilities: "Sequence[str]") -> bytes | None:
    """The filter for a command that keeps these capabilities; None for a machine whose numbers are not known here."""
    sections = [(audit, _section(column, capabilities)) for audit, column in ARCHITECTURES.get(machine, ())]
    if not sections:
        return None
    code: _Code = [(_LOAD, 0, 0, _ARCHITECTURE)]
    for audit, section in sections:
        # A section may be longer than a conditional jump is wide.
        code += [(_IF_EQUAL, 1, 0, audit), (_JUMP, 0, 0, len(section)), *section]
    return assemble([*code, (_RETURN, 0, 0, _KILL)])


def assemble(code: _Code) -> bytes:
    """Instructions as an array of struct sock_filter."""
    return struct.pack("=" + "HBBI" * len(code), *[number for instruction in code for number in instruction])


def denied(capabilities: "Sequence[str]") -> list[str]:
    """The names of the calls that are refused whatever their arguments."""
    return " ".join([names for capability, names in DENIED.items() if capability not in capabilities]).split()


def _section(column: int, capabilities: "Sequence[str]") -> _Code:
    special = _by_argument()
    eperm: _Code = [(_RETURN, 0, 0, _EPERM)]
    special.update(dict.fromkeys(denied(capabilities), eperm))
    if "CAP_SYS_ADMIN" in capabilities:
        for name in ("clone", "clone3", "unshare"):
            del special[name]
    found = {NUMBERS[name][column]: code for name, code in special.items() if NUMBERS[name][column] >= 0}
    allow: _Code = [(_RETURN, 0, 0, _ALLOW)]
    enosys: _Code = [(_RETURN, 0, 0, _ENOSYS)]
    spans: list[_Span] = [(0, allow)]
    for number in sorted(found):
        if spans[-1][0] == number:  # it follows upon another of the list
            spans.pop()
        if not spans or spans[-1][1] is not found[number]:
            spans.append((number, found[number]))
        spans.append((number + 1, allow))
    spans.append((LAST + 1, enosys))
    if column == 3:
        spans += [(_ARM_PRIVATE[0], allow), (_ARM_PRIVATE[1], enosys)]
    return [(_LOAD, 0, 0, _NUMBER), *_tree(spans)]


def _tree(spans: list[_Span]) -> _Code:
    """Binary search for the number in the accumulator."""
    if len(spans) == 1:
        return spans[0][1]
    half = len(spans) // 2
    below, above = _tree(spans[:half]), _tree(spans[half:])
    return [(_IF_AT_LEAST, len(below), 0, spans[half][0]), *below, *above]


def _by_argument() -> dict[str, _Code]:
    """The calls whose arguments decide. Only the lower half of one is looked at: these are ints to the kernel."""
    return {
        "clone": _argument(0, [(_IF_BITS, 0, 1, _CLONE_NEW)]),
        "unshare": _argument(0, [(_IF_BITS, 0, 1, _UNSHARE_NEW)]),
        "clone3": [(_RETURN, 0, 0, _ENOSYS)],
        "ioctl": _argument(1, [(_IF_EQUAL, 1, 0, _TIOCSTI), (_IF_EQUAL, 0, 1, _TIOCLINUX)]),
        "socket": _argument(0, [(_IF_EQUAL, 0, 1, _AF_VSOCK)]),
        "personality": _argument(
            0, [(_IF_EQUAL, len(_PERSONALITIES) - n, 0, value) for n, value in enumerate(_PERSONALITIES)]
        ),
    }


def _argument(index: int, tests: _Code) -> _Code:
    """Load an argument, test it: the end of the tests is EPERM, one beyond it lets the call through."""
    low = 16 + 8 * index + (4 if sys.byteorder == "big" else 0)
    return [(_LOAD, 0, 0, low), *tests, (_RETURN, 0, 0, _EPERM), (_RETURN, 0, 0, _ALLOW)]
