# SPDX-License-Identifier: MIT
"""The report of real failures: the root that is locked away, the hardware without a driver, and what the files hold."""

import json
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from rootfall_build import cpio
from rootfall_qemu.debian import DebianKernel, fetch_kernel
from rootfall_qemu.disk import MIB, blank
from rootfall_qemu.machine import Disk, Machine
from rootfall_qemu.vm import VM
from tests.boot import images
from tests.boot.booted import Booted, snapshots
from tests.boot.failure import HEAD, report
from tests.boot.roots import UUID

pytestmark = pytest.mark.vm

LIMIT = 180.0
QUIET = "console=ttyS0 quiet panic=-1"


@pytest.fixture
def kernel() -> DebianKernel:
    return fetch_kernel("6.1")


def luks(path: Path) -> Path:
    """A disk that is a LUKS container as far as its header goes (LUKS1 on-disk format, 5.1)."""
    blank(path, 2 * MIB)
    header = b"LUKS\xba\xbe" + struct.pack(">H32s32s32sII", 1, b"aes", b"xts-plain64", b"sha256", 4096, 32)
    with path.open("r+b") as file:
        file.write(header.ljust(168, b"\0") + UUID.encode())
    return path


def first_screen(console: str) -> list[str]:
    """The lines from the head of the report on, as they stood on the console."""
    return [HEAD, *console.rpartition(HEAD + "\n")[2].splitlines()]


@pytest.mark.parametrize(
    ("uuid", "failed"), [(UUID, "mount the root /dev/vda"), (f"{UUID[:-2]}00", "find the root device")]
)
def test_a_root_in_a_locked_container_is_told_from_one_that_is_not_there(
    uuid: str,
    failed: str,
    boot: Callable[[Machine], Booted],
    image: Callable[..., Path],
    kernel: DebianKernel,
    tmp_path: Path,
) -> None:
    append = f"{QUIET} root=UUID={uuid} rootwait=1"
    record = boot(Machine(kernel.image, image(kernel), append, disks=snapshots(luks(tmp_path / "luks"))))
    assert record.end == "guest-reset"
    seen = report(record.console)
    assert seen["failed"][0].startswith(f"cannot {failed}")
    said = "/dev/vda is a locked LUKS container: the root may be inside it, and this image does not open it"
    assert seen["remedy"] == (said,)
    lines = first_screen(record.console)
    assert lines.index("-" * 76, 2) < 24
    assert "locked LUKS container" in " ".join(lines[:10])


def test_disks_that_no_driver_of_the_image_drives_are_named_with_their_modules_and_the_file_has_it_all(
    vm: Callable[[Machine], VM], image: Callable[..., Path], kernel: DebianKernel, tmp_path: Path
) -> None:
    config = images.PLAIN.replace("action: reboot", "action: shell").replace("virtio_pci, virtio_blk, ext4", "ext4")
    disks = tuple(Disk(blank(tmp_path / kind, MIB), interface=kind) for kind in ("virtio-blk", "nvme", "usb", "ahci"))
    append = f"console=ttyS0 quiet root=UUID={UUID} rootwait=1"
    made = image(kernel, f"{config}  shell: busybox\n")
    guest = vm(replace(Machine(kernel.image, made, append, memory=768), disks=disks))
    guest.console.expect("rootfall# ", LIMIT)
    lines = first_screen(guest.console.log)
    assert "image.modules" in " ".join(lines[:10])
    seen = report(guest.console.log)
    for name in ("ahci", "nvme", "virtio_pci", "xhci_pci"):
        assert name in seen["remedy"][0]
    guest.console.send("cat /run/rootfall/report.json; echo the end\n")
    whole = guest.console.expect(re.compile(r"\n(\{\n.*\n\})\nthe end\n", re.DOTALL), LIMIT)[1]
    found = json.loads(whole)
    modules = {name: state for device in found["no_driver"] for name, state in device["modules"].items()}
    assert {"ahci", "nvme", "virtio_pci", "virtio_blk", "xhci_pci"} <= set(modules)
    assert set(modules.values()) == {"is not in the image"}
    assert found["goal"]["root"] == f"UUID={UUID}"
    assert found["command_line"].removeprefix("no_timer_check ") == append  # rootfall_qemu's, under TCG
    assert [name for name, *_ in found["timeline"]][:2] == ["mount /proc /sys /dev /run", "make the plan"]
    assert "gaps" not in found


def test_the_hints_cost_an_image_no_more_than_20_kilobytes(image: Callable[..., Path], kernel: DebianKernel) -> None:
    made = image(kernel)
    hints = next(each for each in cpio.read(made.read_bytes(), str(made)) if each.path.endswith("/modules.hints"))
    assert len(zstandard.compress(bytes(hints.data), 3)) <= 20_000


def test_the_report_is_in_pstore_at_the_next_boot(
    vm: Callable[[Machine], VM], image: Callable[..., Path], kernel: DebianKernel, tmp_path: Path
) -> None:
    code, variables = (Path(f"/usr/share/OVMF/OVMF_{part}_4M.fd") for part in ("CODE", "VARS"))
    if not code.exists():
        pytest.skip("no UEFI firmware (Debian: apt install ovmf)")
    kept = tmp_path / "variables"
    kept.write_bytes(variables.read_bytes())
    flash = [
        ("-drive", f"if=pflash,format=raw,readonly=on,file={code}"),
        ("-drive", f"if=pflash,format=raw,file={kept}"),
    ]
    config = images.PLAIN.replace("action: reboot", "action: shell").replace("virtio_pci, virtio_blk", "efi_pstore")
    made = image(kernel, f"{config}  shell: busybox\n")
    first = f"{QUIET} root=LABEL=lost rootwait=1"
    machine = Machine(kernel.image, made, first, extra=tuple(word for pair in flash for word in pair))
    assert vm(machine).wait_off(LIMIT) == "guest-reset"
    guest = vm(replace(machine, append="console=ttyS0 quiet root=LABEL=second rootwait=1"))
    guest.console.expect("rootfall# ", LIMIT)
    guest.console.send(
        "mount -t pstore pstore /sys/fs/pstore; cat /sys/fs/pstore/dmesg-* | grep -A1 'report: failed'\n"
    )
    guest.console.expect("report: failed    cannot find the root device LABEL=lost in ", LIMIT)


def test_the_report_is_in_memory_that_survives_a_reset_and_the_next_boot_is_good(
    vm: Callable[[Machine], VM], image: Callable[..., Path], kernel: DebianKernel, witness_root: Path
) -> None:
    config = images.PLAIN.replace("[virtio_pci", "[ramoops, virtio_pci").replace(
        "  on_failure:", "  module_options: [ramoops.max_reason=4]\n  on_failure:"
    )
    # A megabyte in the middle, where neither the kernel nor the image is put; one command line for both boots.
    memory = "memmap=1M$256M ramoops.mem_address=0x10000000 ramoops.mem_size=0x100000 ramoops.record_size=0x20000"
    append = f"console=ttyS0 quiet root=UUID={UUID} rootwait=5 rd.break {memory}"
    made = image(kernel, f"{config}  shell: busybox\n")
    guest = vm(Machine(kernel.image, made, append, hot_plug_slots=1))
    guest.qmp.execute("set-action", {"reboot": "reset"})
    guest.console.expect("rootfall: THIS BOOT FAILED", LIMIT)
    guest.qmp.wait_event("RESET", LIMIT)
    guest.hot_plug(snapshots(witness_root)[0])
    guest.console.expect("rootfall: stopped before switch", LIMIT)
    guest.console.expect("rootfall# ", LIMIT)
    guest.console.send(
        "mount -t pstore pstore /sys/fs/pstore; cat /sys/fs/pstore/dmesg-ramoops-* | grep -A2 'report: f'\n"
    )
    guest.console.expect("report: failed    cannot find the root device", LIMIT)
    guest.console.expect(f"UUID={UUID} in ", LIMIT)
    guest.console.expect("rootfall# ", LIMIT)
    guest.console.send("exit\n")
    guest.console.expect("REAL-ROOT init pid=1", LIMIT)
