# SPDX-License-Identifier: MIT
"""What systemd asks of an initramfs that hands over to it (systemd(1), INITRD_INTERFACE): its state, in a file without a name.

The state is one line, when the initramfs began, and is what makes systemd-analyze show an initrd phase. What a version of
systemd may not know is not in it, and all else it finds out as on any boot. Imported only when init is systemd.
"""

import os
import time

_NO_EXEC_SEAL = 8  # MFD_NOEXEC_SEAL: without it Linux 6.3 and later complain in the log; those before do not know it


def state(started: int) -> str:
    """The serialised state; `started` is when the initramfs began, on CLOCK_MONOTONIC, in nanoseconds."""
    monotonic = max(started // 1000, 1)
    realtime = time.time_ns() // 1000 - (time.monotonic_ns() // 1000 - monotonic)
    return f"initrd-timestamp={max(realtime, 1)} {monotonic}\n"


def hand_over_words(started: int) -> tuple[str, ...]:
    """The arguments that tell systemd where it comes from. They name a descriptor that execve(2) keeps. Raises OSError."""
    fd = _memory_file()
    os.write(fd, state(started).encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return ("--switched-root", "--system", "--deserialize", str(fd))


def _memory_file() -> int:
    try:
        fd = os.memfd_create("systemd-state", _NO_EXEC_SEAL)
    except OSError:
        fd = os.memfd_create("systemd-state", 0)
    os.set_inheritable(fd, True)
    return fd
