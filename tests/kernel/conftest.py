# SPDX-License-Identifier: MIT
"""What these tests need of the machine, and why they are skipped where it is not there."""

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernel import contained, container, namespace


@functools.cache
def _why_not() -> str:
    return namespace.why_not()


@pytest.fixture
def in_namespace() -> Callable[[Callable[[], None]], None]:
    """`namespace.run`, where the machine has namespaces."""
    if lack := _why_not():
        pytest.skip(f"no mount and PID namespaces here: {lack}")
    return namespace.run


@pytest.fixture
def loop() -> Iterator[Callable[[Path], str]]:
    """Puts an image file on a loop device and returns the device."""
    if os.geteuid():
        pytest.skip("loop devices need root")
    devices: list[str] = []

    def attach(image: Path) -> str:
        done = subprocess.run(["losetup", "-Pf", "--show", image], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no loop device here: {done.stderr.strip()}")
        devices.append(done.stdout.strip())
        return devices[-1]

    yield attach
    for each in devices:
        subprocess.run(["losetup", "-d", each], check=True)


@pytest.fixture(scope="session")
def container_root() -> Iterator[Path]:
    """A root in a place that every user may reach."""
    if lack := contained.why_not():
        pytest.skip(lack)
    place = Path(tempfile.mkdtemp(prefix="rootfall-test-"))
    place.chmod(0o755)
    yield contained.make_root(place / "root")
    shutil.rmtree(place)


@pytest.fixture(params=[0, contained.NOBODY], ids=["root", "user"])
def uid(request: pytest.FixtureRequest) -> int:
    """Who starts the container."""
    number: int = request.param
    if number and (lack := contained.why_not_as(number)):
        pytest.skip(lack)
    return number


@pytest.fixture(params=[0, container.NOBODY], ids=["root", "user"])
def world(
    request: pytest.FixtureRequest, tmp_path: Path, in_namespace: Callable[..., None]
) -> Iterator[container.World]:
    """A root, run by root or by an ordinary user; the machine's mounts and the host's directory are the same afterwards."""
    if os.geteuid() and not request.param:
        pytest.skip("to be root needs root")
    made = container.make_world(tmp_path, request.param or os.geteuid())
    with container.unchanged(made):
        yield made
