# SPDX-License-Identifier: MIT
"""The console as a terminal: which tty it really is, making it a session's own, echo (termios(3), tty_ioctl(2)).

/dev/console itself can be nobody's controlling terminal: without the tty behind it there is no job control and no ^C.
"""

import ctypes
import os

_ACTIVE = "/sys/class/tty/{}/active"
_TIOCSCTTY = 0x540E  # the same on all architectures of Linux but alpha, mips, parisc and sparc
_TCSAFLUSH = 2
_ECHO, _LFLAG = 0o10, 3  # the fourth word of struct termios

_TIOCGWINSZ, _TIOCSWINSZ, _TIOCGPTPEER, _TIOCSPTLCK = 0x5413, 0x5414, 0x5441, 0x40045431
_TCSADRAIN = 1

_libc = ctypes.CDLL(None, use_errno=True)


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
    _libc.ioctl(fd, ctypes.c_ulong(_TIOCSCTTY), 1)


def echo(fd: int, on: bool) -> None:
    """Whether the tty shows what is typed; what was typed before is thrown away. No tty: nothing happens."""
    settings = (ctypes.c_uint32 * 32)()
    if _libc.tcgetattr(fd, settings) == 0:
        settings[_LFLAG] = settings[_LFLAG] | _ECHO if on else settings[_LFLAG] & ~_ECHO
        _libc.tcsetattr(fd, _TCSAFLUSH, settings)


def open_peer(master: int) -> int:
    """Unlock a pseudoterminal and open its other end from the descriptor, whatever its name is here (TIOCGPTPEER)."""
    unlocked = ctypes.c_int(0)
    flags = ctypes.c_int(os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if _libc.ioctl(master, ctypes.c_ulong(_TIOCSPTLCK), ctypes.byref(unlocked)) == 0:
        peer: int = _libc.ioctl(master, ctypes.c_ulong(_TIOCGPTPEER), flags)
        if peer >= 0:
            return peer
    errno = ctypes.get_errno()
    raise OSError(errno, os.strerror(errno), "TIOCGPTPEER")


def copy_size(source: int, target: int) -> None:
    """Give a tty the window size of another; the kernel tells those who use it (SIGWINCH). No tty: nothing happens."""
    size = (ctypes.c_uint16 * 4)()
    if _libc.ioctl(source, ctypes.c_ulong(_TIOCGWINSZ), size) == 0:
        _libc.ioctl(target, ctypes.c_ulong(_TIOCSWINSZ), size)


class Raw:
    """A tty that hands over every key as it is (cfmakeraw(3)) between `enter` and `leave`; of no tty, nothing changes."""

    def __init__(self, fd: int) -> None:
        """Remember the tty as it is now."""
        self.fd = fd
        self._before = (ctypes.c_uint32 * 32)()
        self._is_tty = _libc.tcgetattr(fd, self._before) == 0

    def enter(self) -> None:
        """Make it raw."""
        if self._is_tty:
            settings = (ctypes.c_uint32 * 32)(*self._before)
            _libc.cfmakeraw(settings)
            _libc.tcsetattr(self.fd, _TCSADRAIN, settings)

    def leave(self) -> None:
        """As it was."""
        if self._is_tty:
            _libc.tcsetattr(self.fd, _TCSADRAIN, self._before)
