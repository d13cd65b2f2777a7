# SPDX-License-Identifier: MIT
"""The small ctypes against the real one: what each test says holds for both, side by side in one process."""

import ast
import ctypes
import errno
import inspect
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import rootfall
from rootfall.linux import libc, small_ctypes

BOTH = pytest.mark.parametrize("module", [small_ctypes, ctypes], ids=["small", "real"])
INIT = str(Path(rootfall.__file__).parents[1])


def printed(module: ModuleType, form: bytes, *values: Any) -> bytes:
    """What printf(3) makes of these arguments."""
    memory = bytearray(64)
    size = module.CDLL(None).snprintf(libc.pointer(memory), module.c_ulong(64), form, *values)
    return bytes(memory[:size])


def test_type_checkers_see_the_names_that_are_there_and_no_others() -> None:
    tree = ast.parse(inspect.getsource(small_ctypes))
    seen = next(node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "ctypes")
    assert [alias.name for alias in seen.names] == list(small_ctypes.__all__)
    assert all(hasattr(small_ctypes, name) and hasattr(ctypes, name) for name in small_ctypes.__all__)


@BOTH
def test_a_long_is_the_machines(module: ModuleType) -> None:
    assert module.sizeof(module.c_ulong) == struct.calcsize("L") == libc.LONG
    assert libc.LONG == struct.calcsize("P") == struct.calcsize("N")  # a pointer and a size_t may be passed as one
    assert bytes(module.c_ulong(0x1234)) == struct.pack("L", 0x1234)
    assert module.c_ulong(-1).value == (1 << 8 * libc.LONG) - 1
    assert module.c_ulong().value == 0


@BOTH
def test_memory_is_seen_in_its_place(module: ModuleType) -> None:
    memory = bytearray(struct.pack("LL", 3, 4))
    first = module.c_ulong.from_buffer(memory)
    first.value = 5
    assert memory == struct.pack("LL", 5, 4)
    assert ctypes.string_at(module.addressof(first), len(memory)) == memory
    with pytest.raises(ValueError, match="too small"):
        module.c_ulong.from_buffer(bytearray(1))


@BOTH
def test_arguments_are_passed_as_c_has_them(module: ModuleType) -> None:
    assert printed(module, b"%s %d %x", b"text", -7, 0xCDEF0123) == b"text -7 cdef0123"
    assert printed(module, b"%p", None) == b"(nil)"
    assert printed(module, b"%lu", module.c_ulong(-1)) == str((1 << 8 * libc.LONG) - 1).encode()
    assert printed(module, b"%d%d%d%d%d %lx", 1, 2, 3, 4, 5, module.c_ulong(1 << 31)) == b"12345 80000000"
    with pytest.raises((TypeError, ctypes.ArgumentError)):
        printed(module, b"%f", 1.5)


@BOTH
def test_a_result_is_an_int_unless_said_otherwise(module: ModuleType) -> None:
    library = module.CDLL(None)
    assert library.getpid() == os.getpid()
    assert library.abs(-5) == 5
    assert library.atoi(b"-6") == -6
    library.strchr.restype = ctypes.c_char_p  # a type of the other one: it is the same C module that looks at it
    assert library.strchr(b"a=b", ord("=")) == b"=b"


@BOTH
def test_a_function_is_looked_up_once_and_one_that_is_not_there_is_an_attribute_error(module: ModuleType) -> None:
    library = module.CDLL(None)
    assert library.getppid is library.getppid
    with pytest.raises(AttributeError, match="no_such_function"):
        _ = library.no_such_function
    with pytest.raises(AttributeError, match="__wrapped__"):
        _ = library.__wrapped__
    with pytest.raises(OSError, match=r"no-such-library"):
        module.CDLL("no-such-library.so.1")


@BOTH
def test_errno_is_kept_from_call_to_call(module: ModuleType) -> None:
    library = module.CDLL(None, use_errno=True)
    assert library.close(-1) == -1
    with pytest.raises(FileNotFoundError):  # the C library's own is another one by now
        Path("/absent").stat()
    assert module.get_errno() == errno.EBADF
    assert module.CDLL(None).rmdir(b"/absent") == -1  # without use_errno nothing is kept
    assert module.get_errno() == errno.EBADF


@BOTH
def test_errno_is_each_threads_own(module: ModuleType) -> None:
    library = module.CDLL(None, use_errno=True)
    assert library.close(-1) == -1
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append((library.rmdir(b"/absent"), module.get_errno())))
    thread.start()
    thread.join()
    assert elsewhere == [(-1, errno.ENOENT)]
    assert module.get_errno() == errno.EBADF


@BOTH
def test_errno_is_one_for_both(module: ModuleType) -> None:
    assert module.CDLL(None, use_errno=True).close(-1) == -1
    assert small_ctypes.get_errno() == ctypes.get_errno() == errno.EBADF


@BOTH
def test_python_s_own_functions_are_called_with_the_gil_and_all_others_without(module: ModuleType) -> None:
    assert module.PyDLL(None).PyGILState_Check() == 1
    assert module.CDLL(None).PyGILState_Check() == 0


def test_a_structure_is_laid_out_as_the_machine_has_it() -> None:
    assert libc.fields(8, 1, 2, 1 << 63) == struct.pack("=QQQ", 1, 2, 1 << 63)
    assert libc.fields(4, 3) + libc.fields(2, 4) == struct.pack("=IH", 3, 4)
    with pytest.raises(OverflowError):
        libc.fields(4, 1 << 32)


def test_the_kernel_writes_where_a_pointer_leads() -> None:
    read, write = os.pipe()
    os.write(write, b"twelve bytes")
    memory = bytearray(16)
    assert libc.library.read(read, libc.pointer(memory), small_ctypes.c_ulong(16)) == 12
    assert memory == b"twelve bytes\0\0\0\0"
    os.close(read)
    os.close(write)


def test_a_container_is_started_without_ctypes_itself() -> None:
    """What the frozen program imports is counted in tests/frozen; this says it where that is not made."""
    program = (
        f"import sys; sys.path.insert(0, {INIT!r}); import rootfall.container.launch, rootfall.container.terminal, "
        "rootfall.container.dev, rootfall.container.hide; print([n for n in sys.modules if n.startswith('ctypes')])"
    )
    done = subprocess.run([sys.executable, "-IS", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
