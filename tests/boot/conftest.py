# SPDX-License-Identifier: MIT
"""What the boot tests share: places, images, disks and whole boots, each made once in a run of several workers.

And a machine whose PID 1 obeys the console: tiny_init.c in an archive written here, in the kernel's own format.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rootfall_qemu.cache import made_once
from rootfall_qemu.machine import Machine
from tests.bench import control
from tests.boot import booted, images, roots
from tests.guest.report import Witness, parse

if TYPE_CHECKING:
    from rootfall_qemu.debian import DebianKernel

SOURCE = Path(__file__).with_name("tiny_init.c")


def newc(entries: Iterable[tuple[str, bytes]]) -> bytes:
    """A newc archive of executable files (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst)."""
    archive = bytearray()
    for name, data in (*entries, ("TRAILER!!!", b"")):
        fields = (0, 0o100755, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        archive += bytes(-len(archive) % 4) + data
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


def modules_for(kernel: "DebianKernel", *names: str) -> Iterator[Path]:
    """The module files of `names` in the order in which they can be loaded; a module that is built in has none."""
    table = (kernel.modules / "modules.dep").read_text().splitlines()
    dependencies = {file: wanted.split() for file, _, wanted in (line.partition(":") for line in table)}
    found: dict[str, None] = {}
    for name in names:
        for file, wanted in dependencies.items():
            if Path(file).name.split(".")[0] == name:
                found |= dict.fromkeys([*reversed(wanted), file])
    return (kernel.modules / file for file in found)


@pytest.fixture(scope="session")
def tiny_init(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    program = tmp_path_factory.mktemp("tiny") / "init"
    subprocess.run(["gcc", "-static", "-Os", "-Wall", "-Werror", "-s", "-o", program, SOURCE], check=True)
    return program.read_bytes()


@pytest.fixture(scope="session")
def tiny_image(
    kernel: "DebianKernel", tiny_init: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """`tiny_image("virtio_pci", …)` is an image whose init loads these modules; `init=False` leaves the init out."""

    def make(*modules: str, init: bool = True) -> Path:
        files = [(f"{number}.ko", file.read_bytes()) for number, file in enumerate(modules_for(kernel, *modules))]
        path = tmp_path_factory.mktemp("tiny") / "initrd"
        path.write_bytes(newc([*([("init", tiny_init)] if init else []), *files]))
        return path

    return make


@pytest.fixture(scope="session")
def tiny_machine(kernel: "DebianKernel", tiny_image: Callable[..., Path]) -> Machine:
    """A machine that says `rootfall: tiny init` and then does as it is told: off, reboot or die."""
    return Machine(kernel.image, tiny_image(), append="quiet", memory=256)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that all workers of this run have in common."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    place.mkdir(exist_ok=True)
    return place


@pytest.fixture(scope="session")
def image(shared: Path) -> Callable[..., Path]:
    """`image(kernel, config)` is the image of that configuration, or of the plain one."""
    return lambda kernel, config=images.PLAIN: images.built(shared, kernel, config)


@pytest.fixture(scope="session")
def control_image(shared: Path) -> Callable[..., Path]:
    """`control_image(kernel)` is the C control with the modules of the plain image."""

    def make(kernel: "DebianKernel") -> Path:
        def build(place: Path) -> dict[str, object]:
            control.build_control_image(kernel, control.MODULES, "zstd", place / "control.img")
            return {"kernel": kernel.version}

        return made_once(shared / f"control-{kernel.version}", build) / "control.img"

    return make


@pytest.fixture(scope="session")
def witness_root(shared: Path) -> Path:
    """A disk on which the witness is /sbin/init, and /sbin/other through a link."""
    return roots.disk(shared, "witness", roots.witness)


@pytest.fixture
def witnessed(
    boot: Callable[[Machine], booted.Booted], image: Callable[..., Path], witness_root: Path
) -> Callable[..., Witness]:
    """`witnessed(kernel, append)` boots the plain image, or `initrd`, to the witness: what that saw."""

    def run(kernel: "DebianKernel", append: str, initrd: Path | None = None) -> Witness:
        append = f"console=ttyS0 quiet panic=-1 {append}"
        machine = Machine(kernel.image, initrd or image(kernel), append, disks=booted.snapshots(witness_root))
        return parse(boot(machine).console)

    return run


@pytest.fixture
def boot(shared: Path, request: pytest.FixtureRequest) -> Callable[[Machine], booted.Booted]:
    """`boot(machine)` is the record of its whole life; a test that fails shows the console."""

    def run(machine: Machine) -> booted.Booted:
        record = booted.boot_once(shared, machine)
        request.node.add_report_section("call", "console", record.console)
        return record

    return run


@pytest.fixture(scope="session")
def busybox() -> bytes:
    """A static busybox."""
    path = shutil.which("busybox")
    if path is None or subprocess.run(["ldd", path], capture_output=True).returncode == 0:
        pytest.skip("needs a static busybox (Debian package busybox-static)")
    return Path(path).read_bytes()
