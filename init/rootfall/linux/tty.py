# SPDX-License-Identifier: MIT
"""The console as a terminal: which tty it really is, making it a session's own, echo (termios(3), tty_ioctl(2)).

/dev/console itself can be nobody's controlling terminal: without the tty behind it there is no job control and no ^C.
"""

import os

from rootfall.linux.libc import check, library, pointer
from rootfall.linux.small_ctypes import c_ulong

_ACTIVE = "/sys/class/tty/{}/active"
_TIOCSCTTY = 0x540E  # the same on all architectures of Linux but alpha, mips, parisc and sparc
_TCSAFLUSH = 2
_ECHO, _LFLAG = 0o10, 3  # the fourth unsigned int of struct termios
_TERMIOS = 128  # more bytes than it has anywhere

_TIOCGWINSZ, _TIOCSWINSZ, _TIOCGPTPEER, _TIOCSPTLCK = 0x5413, 0x5414, 0x5441, 0x40045431
_TCSADRAIN = 1


def console_name() -> str:
    """The tty that /dev/console is: the last one that the kernel writes to; of virtual terminals, the one in view."""
    name = "console"
    while True:
        try:
            with open(_ACTIVE.format(name)) as file:
                behind = file.read().split()
        except OSError:
            return name
        if not behind or behind[-1] == name:
            return name
        name = behind[-1]


def open_console() -> int:
    """The console's tty, open for both ways; /dev/console itself where there is no such node. Raises OSError."""
    for name in (console_name(), "console"):
        try:
            return os.open(f"/dev/{name}", os.O_RDWR | os.O_NOCTTY)
        except OSError as error:
            failure = error
    raise failure


def control(fd: int) -> None:
    """Make the tty the controlling terminal of this session, whose leader the caller is; a failure costs job control."""
    library.ioctl(fd, c_ulong(_TIOCSCTTY), 1)


def echo(fd: int, on: bool) -> None:
    """Whether the tty shows what is typed; what was typed before is thrown away. No tty: nothing happens."""
    settings = bytearray(_TERMIOS)
    if library.tcgetattr(fd, pointer(settings)) == 0:
        flags = memoryview(settings).cast("I")
        flags[_LFLAG] = flags[_LFLAG] | _ECHO if on else flags[_LFLAG] & ~_ECHO
        library.tcsetattr(fd, _TCSAFLUSH, pointer(settings))


def open_peer(master: int) -> int:
    """Unlock a pseudoterminal and open its other end from the descriptor, whatever its name is here (TIOCGPTPEER)."""
    unlocked = bytes(4)  # an int, 0
    check(library.ioctl(master, c_ulong(_TIOCSPTLCK), unlocked), "TIOCSPTLCK")
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    return check(library.ioctl(master, c_ulong(_TIOCGPTPEER), c_ulong(flags)), "TIOCGPTPEER")


def copy_size(source: int, target: int) -> None:
    """Give a tty the window size of another; the kernel tells those who use it (SIGWINCH). No tty: nothing happens."""
    winsize = bytearray(8)  # four shorts
    if library.ioctl(source, c_ulong(_TIOCGWINSZ), pointer(winsize)) == 0:
        library.ioctl(target, c_ulong(_TIOCSWINSZ), pointer(winsize))


class Raw:
    """A tty that hands over every key as it is (cfmakeraw(3)) between `enter` and `leave`; of no tty, nothing changes."""

    def __init__(self, fd: int) -> None:
        """Remember the tty as it is now."""
        self.fd = fd
        self._before = bytearray(_TERMIOS)
        self._is_tty = library.tcgetattr(fd, pointer(self._before)) == 0

    def enter(self) -> None:
        """Make it raw."""
        if self._is_tty:
            settings = bytearray(self._before)
            library.cfmakeraw(pointer(settings))
            library.tcsetattr(self.fd, _TCSADRAIN, pointer(settings))

    def leave(self) -> None:
        """As it was."""
        if self._is_tty:
            library.tcsetattr(self.fd, _TCSADRAIN, pointer(self._before))
