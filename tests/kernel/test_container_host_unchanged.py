# SPDX-License-Identifier: MIT
"""After a container, however it ended, the host is what it was: mounts, cgroups, processes, interfaces, files.

ROOTFALL_RUNS=500 makes that many runs, and a fifth as many that are killed; ROOTFALL_SEED chooses other moments.
"""

import itertools
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.kernel import container_host
from tests.kernel.container_host import Host, wait_for_end

RUNS = int(os.environ.get("ROOTFALL_RUNS", "100"))
SEED = os.environ.get("ROOTFALL_SEED", "rootfall")
KILLED = RUNS // 5
ENDLESS = ("/tmp/root", "sleep", "100000")

# Options, command, exit status.
GOOD: tuple[tuple[tuple[str, ...], tuple[str, ...], int], ...] = (
    ((), ("true",), 0),
    ((), ("sh", "-c", "exit 7"), 7),
    ((), ("nowhere",), 127),
    ((), ("/etc/passwd",), 126),
    ((), ("sh", "-c", "kill -9 $$"), 137),
    (("--read-only",), ("sh", "-c", "! touch /x"), 0),
    (("--volatile",), ("sh", "-c", "rm -r /etc /mnt && touch /x && mkdir /y"), 0),
    (("--volatile", "--bind", "/tmp/data:/new/place"), ("cat", "/new/place/file"), 0),
    (("--ro-bind", "/tmp/data:/mnt"), ("sh", "-c", "cat /mnt/file && ! touch /mnt/x"), 0),
    (("--tmpfs", "/mnt:size=1M"), ("touch", "/mnt/x"), 0),
    (("--hostname", "elsewhere"), ("true",), 0),
    (("--propagation", "shared"), ("true",), 0),
    (("--as-pid1",), ("true",), 0),
    (("--tty",), ("sh", "-c", "test -t 0 && exit 9"), 9),
    (("--put-old", "/mnt"), ("true",), 0),
    (("--unshare", "time", "--hostname", "x"), ("true",), 0),
    (("--network", "host"), ("true",), 0),
    # What it leaves running, it does not leave.
    ((), ("sh", "-c", "sleep 1000 & sleep 1000 & exit 3"), 3),
    (("--bind", "/nowhere:/mnt"), ("true",), 125),
    (("--tmpfs", "/bin/busybox"), ("true",), 125),
)
AS_ROOT: tuple[tuple[tuple[str, ...], tuple[str, ...], int], ...] = (
    (("--pids-limit", "20"), ("true",), 0),
    (("--memory", "64M"), ("sh", "-c", "sleep 1000 & exit 3"), 3),
    (("--pids-limit", "20", "--bind", "/nowhere:/mnt"), ("true",), 125),
)


@pytest.fixture(params=container_host.users(), ids=lambda uid: "as root" if uid == 0 else "as an ordinary user")
def uid(request: pytest.FixtureRequest) -> int:
    container_host.check_machine()
    value: int = request.param
    return value


def test_the_host_is_the_same_after_each_run(uid: int, tmp_path: Path) -> None:
    cases = GOOD + (AS_ROOT if uid == 0 else ())

    def test(host: Host) -> None:
        before = host.look()
        for options, command, wanted in itertools.islice(itertools.cycle(cases), max(RUNS, len(cases))):
            status, out, error = host.run(*options, "/tmp/root", *command)
            assert status == wanted, f"{options} {command}: {status}, {out!r}, {error!r}"
            assert b"Traceback" not in error, error.decode()
            after = host.look()
            assert before == after, f"{options} {command}:\n{before.difference(after)}"

    container_host.run(tmp_path, uid, test)


def interrupted_python(error: bytes) -> bool:
    """Whether SIGINT came while the interpreter was not yet at the first line of ours, which sees to that."""
    return b"KeyboardInterrupt" in error and b"/rootfall/" not in error


def test_the_host_is_the_same_after_a_launcher_was_killed_at_any_moment(uid: int, tmp_path: Path) -> None:
    """By signals that end it, at moments from its start to long after the command's; nothing outlives it."""
    chosen = random.Random(SEED)
    cases = [options for options, _, wanted in GOOD + (AS_ROOT if uid == 0 else ()) if wanted != 125]
    signals = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def test(host: Host) -> None:
        before = host.look()
        start = time.monotonic()
        host.run("/tmp/root", "true")
        longest = 1.5 * (time.monotonic() - start)
        for _ in range(KILLED):
            options, number, moment = chosen.choice(cases), chosen.choice(signals), chosen.uniform(0, longest)
            if "--as-pid1" in options:
                number = signal.SIGKILL  # of a PID 1 that has no handler the kernel takes no other
            launcher = host.start(*options, *ENDLESS)
            early = wait_for_end(launcher, moment)
            launcher.send_signal(number)
            status, _, error = host.end(launcher)
            what = f"{options}, {number.name} after {1000 * moment:.1f} ms: status {status}, {error.decode()}"
            assert not early, what
            if number == signal.SIGKILL:
                assert status == -number, what
            elif not interrupted_python(error):
                assert b"Traceback" not in error, what
                assert status in (-number, 128 + number), what
            after = host.look()
            assert before == after, f"{what}\n{before.difference(after)}"

    container_host.run(tmp_path, uid, test)
