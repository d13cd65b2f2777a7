# SPDX-License-Identifier: MIT
"""Where the boot speaks: the kernel's log for the record, /dev/console for a person. No colour, no cursor movement.

One grammar for the log: `rootfall: SUBSYSTEM: VERB OBJECT: OUTCOME`, one fact a line, so that the last line on a dead
screen names the culprit. See /dev/kmsg in the kernel's Documentation/ABI/testing/dev-kmsg.
"""

import _thread
import os

from rootfall.linux import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ERROR, WARNING, INFO, DEBUG = 3, 4, 6, 7
_RECORD = 900  # bytes; the kernel refuses a record of more than 992 (kernel/printk/printk.c, devkmsg_write)
DRAIN_LIMIT = 10.0  # seconds; a page of text takes four at 9600 baud
_RATELIMIT = "/proc/sys/kernel/printk_devkmsg"


class Log:
    """Lines for the kernel's log. A line that cannot be written is lost, never an error: the boot goes on."""

    def __init__(self) -> None:
        """Open /dev/kmsg: the archive's own node works before devtmpfs is mounted."""
        try:
            self._fd = os.open("/dev/kmsg", os.O_WRONLY | os.O_CLOEXEC)
            while self._fd <= 2:  # the kernel had no console for us: those three are kept for one
                self._fd = os.dup(self._fd)
        except OSError:
            self._fd = -1

    def line(self, level: int, text: str) -> None:
        """One line at a kernel log level (syslog(2)); newlines in `text` would start records of their own."""
        if self._fd >= 0:
            record = f"<{level}>rootfall: {text}".replace("\n", " ").encode(errors="replace")[:_RECORD]
            try:
                os.write(self._fd, record + b"\n")  # without it the record waits for the next
            except OSError:
                pass

    def info(self, text: str) -> None:
        """What was done: seen on the console unless the command line says `quiet`."""
        self.line(INFO, text)

    def warning(self, text: str) -> None:
        """What went wrong and was survived."""
        self.line(WARNING, text)

    def close(self) -> None:
        """Nothing is logged after this."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def limit_rate(setting: str) -> str:
    """Set the kernel's rate limit for /dev/kmsg ("on": none; by default ten lines in five seconds); returns the old one.

    Needs /proc; empty when the kernel would not say (the command line can lock it).
    """
    try:
        with open(_RATELIMIT) as file:
            old = file.read().strip()
        with open(_RATELIMIT, "w") as file:
            file.write(f"{setting}\n")  # without the newline the kernel refuses it
    except OSError:
        return ""
    return old


def reopen_console() -> None:
    """Put /dev/console of devtmpfs on descriptors 0, 1 and 2; /dev/null where the console does not open.

    The kernel gave us the archive's node: kept open, it would pin the old root in memory after the switch.
    """
    for path in ("/dev/console", "/dev/null"):
        try:
            # A serial line without a carrier would make open(2) wait for one.
            fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.set_blocking(fd, True)
        except OSError:
            continue
        try:
            for standard in (0, 1, 2):
                os.dup2(fd, standard)
            if fd > 2:
                os.close(fd)
            else:
                os.set_inheritable(fd, True)  # dup2(2) on itself changes nothing
        except OSError:
            pass  # what the kernel gave us still speaks
        return


def say(*lines: str) -> None:
    """Print lines on the console; a console that is gone is no reason to fail."""
    try:
        os.write(2, ("\n".join(lines) + "\n").encode(errors="replace"))
    except OSError:
        pass


def drain(limit: float) -> None:
    """Wait until the console has sent what was written, `limit` seconds at most: a serial line may be held up for ever.

    A report is longer than the buffer of a serial port, and a reset would cut it off.
    """
    within(limit, lambda: libc.tcdrain(2))  # OSError: not a terminal


def within(limit: float, work: "Callable[[], object]") -> bool:
    """Whether this call came back, with an OSError or without, within so many seconds; if not, nobody waits for it."""
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            work()
        except OSError:
            pass
        done.release()

    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:  # the kernel gives no more threads
        run()
    return done.acquire(timeout=limit)


def status_line(text: str) -> None:
    """Write `text` over the last status line of the console; an empty text ends it."""
    try:
        os.write(2, f"\r{text:<78.78}".encode(errors="replace") if text else b"\r\n")
    except OSError:
        pass
