# SPDX-License-Identifier: MIT
"""The frozen program, an image with it, and a disk for it to boot from; made once."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootfall_build.build import Request, build, cache_directory
from rootfall_build.freeze import FrozenRuntime, freeze
from rootfall_build.progress import Silent
from rootfall_qemu.disk import MIB, ext4
from tests.frozen import booting
from tests.guest.material import compile_static
from tests.kernel import namespace

UUID = "5d0c3f0e-7a52-4b8e-9e0b-2f1d6c3a9b47"
CONFIG = f"""\
version: 1
boot:
  root: {{device: UUID={UUID}, timeout: 3s}}
  on_failure: {{action: halt}}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these need the frozen program."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.frozen)


@pytest.fixture(scope="session")
def runtime() -> FrozenRuntime:
    """PID 1 as it goes into an image."""
    return freeze(cache_directory())


@pytest.fixture(scope="session")
def image(runtime: FrozenRuntime, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An image without compression and without kernel modules."""
    directory = tmp_path_factory.mktemp("image")
    modules = directory / "lib/modules/6.0-none"
    modules.mkdir(parents=True)
    for name in ("modules.dep", "modules.softdep", "modules.alias", "modules.builtin", "modules.builtin.modinfo"):
        (modules / name).touch()
    (directory / "rootfall.yaml").write_text(CONFIG)
    request = Request(directory / "rootfall.yaml", "6.0-none", directory, directory / "out.img", ("none", None))
    build(request, freeze, cache_directory(), Silent())
    return request.output.read_bytes()


@pytest.fixture
def tree(image: bytes, tmp_path: Path) -> Path:
    """The files of the image, for a test to change and to boot: needs root, for device nodes and loop devices."""
    if os.geteuid():
        pytest.skip("a boot in namespaces needs root: device nodes, loop devices")
    if lack := namespace.why_not():
        pytest.skip(f"no mount and PID namespaces here: {lack}")
    (tmp_path / "tree").mkdir()
    return booting.unpack(image, tmp_path / "tree")


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A loop device with an ext4 that has UUID and in which /sbin/init tells what it was given."""
    directory = tmp_path_factory.mktemp("disk")
    for name in ("dev", "proc", "sys", "run", "sbin"):
        (directory / "root" / name).mkdir(parents=True)
    compile_static(Path(__file__).with_name("init.c"), directory / "root/sbin/init")
    path = ext4(directory / "ext4", 16 * MIB, uuid=UUID, tree=directory / "root")
    done = subprocess.run(["losetup", "-f", "--show", path], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device here: {done.stderr.strip()}")
    yield done.stdout.strip()
    subprocess.run(["losetup", "-d", done.stdout.strip()], check=True)
