# SPDX-License-Identifier: MIT
"""`ctypes` as far as the frozen program uses it, on the same C module: a third of its time to import.

The freezer puts it in the place of the real one (pid1.spec), and the frozen program alone has it; the sources import `ctypes`.
What is missing here is missing on purpose: callbacks, big-endian structures, the Windows half. Names and behaviour are those of
the library reference.
"""

import _ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_c: "Any" = _ctypes
_SimpleCData, _CFuncPtr = _c._SimpleCData, _c.CFuncPtr
Array, Structure, POINTER, pointer = _c.Array, _c.Structure, _c.POINTER, _c.pointer
addressof, byref, sizeof, get_errno, set_errno = _c.addressof, _c.byref, _c.sizeof, _c.get_errno, _c.set_errno


def _simple(name: str, code: str) -> "Any":
    return type(_SimpleCData)(name, (_SimpleCData,), {"_type_": code, "__module__": "ctypes"})


c_char, c_char_p, c_void_p = _simple("c_char", "c"), _simple("c_char_p", "z"), _simple("c_void_p", "P")
c_bool, c_byte, c_ubyte = _simple("c_bool", "?"), _simple("c_byte", "b"), _simple("c_ubyte", "B")
c_short, c_ushort, c_int, c_uint = (
    _simple("c_short", "h"),
    _simple("c_ushort", "H"),
    _simple("c_int", "i"),
    _simple("c_uint", "I"),
)
c_long, c_ulong = _simple("c_long", "l"), _simple("c_ulong", "L")
c_longlong, c_ulonglong = _simple("c_longlong", "q"), _simple("c_ulonglong", "Q")
c_int8, c_uint8, c_int16, c_uint16, c_int32, c_uint32 = c_byte, c_ubyte, c_short, c_ushort, c_int, c_uint
c_int64, c_uint64 = (c_long, c_ulong) if sizeof(c_long) == 8 else (c_longlong, c_ulonglong)
c_size_t, c_ssize_t = c_ulong, c_long  # on every Linux
_c._pointer_type_cache[None] = c_void_p


class CDLL:
    """A shared library; None is the program itself."""

    _func_flags_ = _c.FUNCFLAG_CDECL
    _func_restype_ = c_int

    def __init__(self, name: str | None, mode: int = 0, handle: int | None = None, use_errno: bool = False) -> None:
        """dlopen(3). Raises OSError."""
        flags = self._func_flags_ | (_c.FUNCFLAG_USE_ERRNO if use_errno else 0)
        self._name = name
        self._handle = _c.dlopen(name, mode) if handle is None else handle
        body = {"_flags_": flags, "_restype_": self._func_restype_}
        self._FuncPtr = type(_CFuncPtr)("_FuncPtr", (_CFuncPtr,), body)

    def __getattr__(self, name: str) -> "Any":
        """A function of the library. Raises AttributeError."""
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        function = self[name]
        setattr(self, name, function)
        return function

    def __getitem__(self, name: str) -> "Any":
        """A new object for a function."""
        function = self._FuncPtr((name, self))
        function.__name__ = name
        return function


class PyDLL(CDLL):
    """One whose functions are called with the GIL held, and may raise."""

    _func_flags_ = _c.FUNCFLAG_CDECL | _c.FUNCFLAG_PYTHONAPI


class LibraryLoader:
    """`cdll` and `pydll`, which PyInstaller replaces."""

    def __init__(self, kind: "type[CDLL]") -> None:
        """Of this kind of library."""
        self._dlltype = kind


def create_string_buffer(init: "int | bytes", size: int | None = None) -> "Any":
    """An array of characters: so many, or these and a NUL."""
    if isinstance(init, int):
        return (c_char * init)()
    buffer = (c_char * (len(init) + 1 if size is None else size))()
    buffer.value = init
    return buffer


pythonapi = PyDLL(None)
