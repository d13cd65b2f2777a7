# SPDX-License-Identifier: MIT
"""What goes wrong around a virtual machine, as branches of the one error tree (rootfall.errors). Nothing prints here.

RootfallError
└── MachineError       a machine or a disk that cannot be made, or QEMU itself failed
    ├── ExpectError    the deadline passed, or the guest was gone, before what was waited for was seen
    └── GuestPanic     the guest's kernel said "Kernel panic"; `lines` holds what it said
"""

from rootfall.errors import RootfallError


class MachineError(RootfallError):
    """A machine or a disk cannot be made as asked, or QEMU refused or failed."""


class ExpectError(MachineError):
    """What was waited for did not come: `timed_out`, or QEMU was gone first; `seen` ends with the last lines."""

    def __init__(self, subject: str, *, seen: str, timed_out: bool) -> None:
        """`subject` names what was waited for and how long."""
        super().__init__("see", subject, seen=seen)
        self.timed_out = timed_out


class GuestPanic(MachineError):  # noqa: N818 - the kernel calls it a panic
    """The guest's kernel panicked while something else was waited for."""

    def __init__(self, subject: str, lines: tuple[str, ...]) -> None:
        """`lines` begin with the line that says "Kernel panic"."""
        super().__init__("see", subject, seen="\n".join(lines))
        self.lines = lines
