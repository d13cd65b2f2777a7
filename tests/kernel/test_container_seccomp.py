# SPDX-License-Identifier: MIT
"""The seccomp filter of a container in effect: a static program in it makes the calls and says what came of them."""

import errno
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guest.material import HERE, compile_static
from tests.kernel import namespace

START = "import sys; from rootfall.container.command import main; sys.exit(main(sys.argv[1:]))"
REFUSED = (
    "clone-user clone-mount unshare-user unshare-time setns mount open_tree pivot_root keyctl add_key bpf perf_event_open "
    "userfaultfd io_uring_setup kexec_load init_module open_by_handle_at tiocsti tiocsti-high tioclinux "
    "personality-no-randomize socket-vsock i386-unshare-user i386-mount"
).split()
ALLOWED = "fork unshare-fs personality-ask socket-unix i386-getpid".split()

pytestmark = pytest.mark.skipif(bool(why := namespace.why_not()), reason=f"no mount and PID namespaces here: {why}")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("no gcc here")
    made = tmp_path_factory.mktemp("seccomp") / "root"
    for name in ("bin", "dev", "proc", "sys"):
        (made / name).mkdir(parents=True)
    compile_static(HERE / "syscalls.c", made / "bin/syscalls")
    shutil.copy("/bin/busybox", made / "bin/busybox")
    return made


def run(root: Path, *words: str | Path, pass_fds: tuple[int, ...] = ()) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join(each for each in sys.path if each)
    return subprocess.run(
        [sys.executable, "-c", START, "run", *words],
        env={**os.environ, "PYTHONPATH": path},
        pass_fds=pass_fds,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def calls(root: Path, *options: str, pass_fds: tuple[int, ...] = ()) -> dict[str, int]:
    """What came of each system call, by its name: an errno."""
    done = run(root, *options, root, "/bin/syscalls", pass_fds=pass_fds)
    assert done.returncode == 0, done.stderr
    return {name: int(number) for name, number in map(str.split, done.stdout.splitlines())}


def status(root: Path, *options: str) -> dict[str, str]:
    done = run(root, *options, root, "/bin/busybox", "cat", "/proc/self/status")
    assert done.returncode == 0, done.stderr
    return {name: value.strip() for name, _, value in (line.partition(":") for line in done.stdout.splitlines())}


def test_the_default_profile_refuses_what_it_should_and_nothing_else(root: Path) -> None:
    found = calls(root)
    assert {name: found.get(name, errno.EPERM) for name in REFUSED} == dict.fromkeys(REFUSED, errno.EPERM)
    assert {name: found.get(name, 0) for name in ALLOWED} == dict.fromkeys(ALLOWED, 0)
    assert found["clone3"] == found["unknown"] == errno.ENOSYS, "libc must fall back to clone"
    assert found["ioctl"] == errno.EBADF, "that one reached the kernel"
    if "x32-getpid" in found:
        assert found["x32-getpid"] == errno.ENOSYS


def test_a_capability_gives_its_calls_back(root: Path) -> None:
    found = calls(root, "--cap-add", "SYS_ADMIN")
    assert found["unshare-fs"] == 0
    assert found["mount"] == errno.ENOENT, "the kernel itself looked at the arguments"
    assert found["clone3"] == errno.EINVAL
    assert (found["keyctl"], found["tiocsti"]) == (errno.EPERM, errno.EPERM)


def test_the_kernel_says_that_there_is_one_filter_or_none(root: Path) -> None:
    assert status(root)["Seccomp"] == "2"
    assert status(root)["NoNewPrivs"] == "1"
    host = Path("/proc/self/status").read_text()
    if "\nSeccomp:\t0" in host:
        assert status(root, "--seccomp", "unconfined")["Seccomp"] == "0"


def test_unconfined_calls_reach_the_kernel(root: Path) -> None:
    found = calls(root, "--seccomp", "unconfined")
    assert found["clone3"] == errno.EINVAL
    assert found["setns"] == errno.EBADF


def instructions(*code: tuple[int, int, int, int]) -> int:
    """A descriptor of a BPF program."""
    fd = os.memfd_create("filter", 0)
    os.write(fd, b"".join(struct.pack("=HBBI", *each) for each in code))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def test_a_program_of_ones_own_is_handed_over_by_a_descriptor(root: Path) -> None:
    """It answers EXDEV to personality(2), by any table, and lets all else through."""
    number = 135 if os.uname().machine == "x86_64" else 92
    fd = instructions(
        (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | errno.EXDEV), (0x06, 0, 0, 0x7FFF0000)
    )
    try:
        found = calls(root, "--seccomp-fd", str(fd), pass_fds=(fd,))
    finally:
        os.close(fd)
    assert found["personality-ask"] == found["personality-no-randomize"] == errno.EXDEV
    assert found["clone3"] == errno.EINVAL


def test_a_program_that_the_kernel_refuses_is_an_error_and_nothing_runs(root: Path) -> None:
    fd = instructions((0x06, 0, 0, 0x7FFF0000), (0xFFFF, 0, 0, 0))
    try:
        done = run(root, "--seccomp-fd", str(fd), root, "/bin/busybox", "echo", "ran", pass_fds=(fd,))
    finally:
        os.close(fd)
    assert (done.returncode, done.stdout) == (125, "")
    assert "Invalid argument" in done.stderr
    done = run(root, "--seccomp-fd", "77", root, "/bin/busybox", "echo", "ran")
    assert (done.returncode, done.stdout) == (125, "")
    assert "cannot read the seccomp program from file descriptor 77: Bad file descriptor" in done.stderr
