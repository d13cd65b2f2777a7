# SPDX-License-Identifier: MIT
"""The part of ctypes that our system calls take, under its names and with its rules, from the C module that it is made of.

`import ctypes` makes 44 classes, and a container pays for each: 0.7 ms in all. Here are four (an integer's has a twin for the
other byte order), and one more for PyDLL. Type checkers see ctypes itself: a name that is not here is an error to them. Both
may be in one process: errno is the C module's, one for both, and so is what looks at an argument, whichever made it. Other
types and structures are for those who import ctypes anyway; memory is a bytearray (`libc.pointer`).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import CDLL, PyDLL, addressof, c_ulong, get_errno, sizeof
else:
    import _ctypes
    from _ctypes import addressof, get_errno, sizeof

    class c_ulong(_ctypes._SimpleCData):  # noqa: N801
        """An unsigned long: as wide as a size_t and a pointer wherever Linux runs, so they are passed as one, too."""

        _type_ = "L"

    class _Library:
        """Its attributes are functions; their result is an int, as long as nobody sets their `restype`."""

        def __init__(self, name, flags):
            class _FuncPtr(_ctypes.CFuncPtr):
                _flags_ = flags

            self._handle = _ctypes.dlopen(name, 0)
            self._FuncPtr = _FuncPtr

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            function = self.__dict__[name] = self._FuncPtr((name, self))
            return function

    def CDLL(name, *, use_errno=False):  # noqa: N802
        """A shared library by its name, None for what is loaded already; its functions run without the GIL."""
        return _Library(name, _ctypes.FUNCFLAG_CDECL | (_ctypes.FUNCFLAG_USE_ERRNO if use_errno else 0))

    def PyDLL(name):  # noqa: N802
        """The same for functions of Python's own C API, which need the GIL."""
        return _Library(name, _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI)


__all__ = ("CDLL", "PyDLL", "addressof", "c_ulong", "get_errno", "sizeof")
