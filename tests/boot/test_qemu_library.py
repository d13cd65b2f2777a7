# SPDX-License-Identifier: MIT
"""The QEMU library on a real kernel with a PID 1 that obeys the console (tiny_init.c)."""

import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rootfall_qemu import disk
from rootfall_qemu.accel import VARIABLE, usable_accelerator
from rootfall_qemu.errors import ExpectError, GuestPanic, MachineError
from rootfall_qemu.machine import Disk, Firmware, Interface, Machine
from rootfall_qemu.vm import VM

if TYPE_CHECKING:
    from rootfall_qemu.debian import DebianKernel

pytestmark = pytest.mark.vm

Start = Callable[[Machine], VM]
READY = "rootfall: tiny init pid=1\n"


def test_a_guest_that_powers_off_is_clean_and_its_last_words_are_kept(vm: Start, tiny_machine: Machine) -> None:
    guest = vm(tiny_machine)
    guest.console.expect(READY, 60)
    assert guest.status == "running"
    guest.console.send("off\n")
    assert guest.wait_off(60) == "guest-shutdown"
    assert guest.status == "gone"
    assert "parting words 499\n" in guest.console.log


def test_a_guest_that_reboots_ends_and_is_told_from_one_that_powers_off(vm: Start, tiny_machine: Machine) -> None:
    guest = vm(replace(tiny_machine, append="quiet reboot=t"))
    guest.console.expect(READY, 60)
    guest.console.send("reboot\n")
    assert guest.wait_off(60) == "guest-reset"


def test_a_panic_ends_the_wait_with_the_kernels_line(vm: Start, tiny_machine: Machine) -> None:
    guest = vm(tiny_machine)
    guest.console.expect(READY, 60)
    guest.console.send("die\n")
    with pytest.raises(GuestPanic) as error:
        guest.wait_off(60)
    assert "Attempted to kill init! exitcode=0x00000700" in error.value.lines[0]
    assert any("Call Trace" in line for line in error.value.lines)


def test_a_deadline_ends_the_wait_and_the_machine_with_the_test(tiny_machine: Machine) -> None:
    with VM(tiny_machine) as guest:
        guest.console.expect(READY, 60)
        with pytest.raises(ExpectError, match=r"a login \(not within 0\.1 s\)"):
            guest.console.expect("login:", 0.1, "a login")
    assert guest.status == "gone"


def test_quit_ends_a_guest_that_does_nothing(vm: Start, tiny_machine: Machine) -> None:
    guest = vm(tiny_machine)
    guest.console.expect(READY, 60)
    guest.quit()
    assert guest.wait_off(10) == "host-qmp-quit"


def test_the_instruction_clock_runs_a_machine(vm: Start, tiny_machine: Machine) -> None:
    guest = vm(replace(tiny_machine, append="", instruction_clock=True))
    guest.console.expect(re.compile(r"Command line: .*idle=poll"), 60)
    guest.console.expect(READY, 60)


def test_the_screen_can_be_dumped(vm: Start, tiny_machine: Machine, tmp_path: Path) -> None:
    guest = vm(replace(tiny_machine, screen=True))
    guest.console.expect(READY, 60)
    assert guest.screendump(tmp_path / "screen.png").read_bytes().startswith(b"\x89PNG")
    assert guest.screendump(tmp_path / "screen.ppm").read_bytes().startswith(b"P6")


def test_a_disk_plugged_in_is_seen_by_the_guest_and_can_be_taken_out(
    vm: Start, tiny_machine: Machine, tiny_image: Callable[..., Path], tmp_path: Path
) -> None:
    guest = vm(replace(tiny_machine, initrd=tiny_image("virtio_pci", "virtio_blk"), hot_plug_slots=1))
    guest.console.expect(READY, 60)
    plugged = Disk(disk.blank(tmp_path / "disk", disk.MIB), snapshot=True)
    name = guest.hot_plug(plugged)
    guest.console.expect(re.compile(r"uevent add@/devices/pci.*/virtio\d/block/vda\n"), 60)
    with pytest.raises(MachineError, match=r"no free slot; raise Machine.hot_plug_slots"):
        guest.hot_plug(plugged)
    guest.hot_unplug(name)
    guest.console.expect(re.compile(r"uevent remove@.*/block/vda\n"), 60)
    assert guest.hot_plug(plugged) != name
    guest.console.expect(re.compile(r"uevent add@.*/block/vda\n"), 60)


def test_qemu_accepts_every_interface(vm: Start, tiny_machine: Machine, tmp_path: Path) -> None:
    kinds: tuple[Interface, ...] = ("virtio-blk", "virtio-scsi", "nvme", "ahci", "usb", "usb-ehci", "sd")
    image = disk.blank(tmp_path / "disk", 4 * disk.MIB)
    disks = tuple(Disk(image, interface=kind, snapshot=True) for kind in kinds for _ in range(2))
    large = Disk(image, snapshot=True, serial="a b", logical_block_size=4096, physical_block_size=4096)
    guest = vm(replace(tiny_machine, disks=(*disks, large), memory=512))
    guest.console.expect(READY, 60)
    blocks = guest.qmp.execute("query-block")
    assert isinstance(blocks, list)
    assert sum("inserted" in block for block in blocks) == 2 * len(kinds) + 1


def test_uefi_starts_the_kernel(vm: Start, tiny_machine: Machine) -> None:
    code, variables = (Path(f"/usr/share/OVMF/OVMF_{part}_4M.fd") for part in ("CODE", "VARS"))
    if not code.exists():
        pytest.skip("no UEFI firmware (Debian: apt install ovmf)")
    guest = vm(replace(tiny_machine, append="", firmware=Firmware(code, variables)))
    guest.console.expect("efi: EFI v", 120)
    guest.console.expect(READY, 60)


def test_a_machine_that_qemu_refuses_is_reported_in_its_words(tiny_machine: Machine) -> None:
    with pytest.raises(MachineError, match=r"(?s)No machine|unsupported machine type.*-machine pdp11"):
        VM(replace(tiny_machine, machine_type="pdp11")).__enter__()


def test_the_accelerator_is_found_by_trying_and_remembered(
    kernel: "DebianKernel", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    first = usable_accelerator(kernel.image, tmp_path)
    notes = list(tmp_path.rglob("*.json"))
    assert len(notes) == Path("/dev/kvm").exists()
    assert all(json.loads(note.read_text())["accelerator"] == first for note in notes)
    assert usable_accelerator(Path("/no/kernel"), tmp_path) == first


def rootfall_boot(machine: Machine, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from rootfall_qemu.cli import boot; boot()", str(machine.initrd)]
    command += ["--kernel-image", str(machine.kernel), "--append", "quiet", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_rootfall_boot_ends_when_the_text_appears(tiny_machine: Machine) -> None:
    done = rootfall_boot(tiny_machine, "--until", "tiny init pid=1", "--timeout", "60")
    assert (done.returncode, done.stderr) == (0, "")
    assert "rootfall: tiny init pid=1" in done.stdout


def test_rootfall_boot_prints_one_json_object_and_shows_the_console_beside_it(tiny_machine: Machine) -> None:
    done = rootfall_boot(tiny_machine, "--until", "pid=1\n", "--timeout", "60", "--json")
    result = json.loads(done.stdout)
    assert (done.returncode, result["outcome"], result["message"]) == (0, "seen", "")
    assert result["rootfall"] == [{"time": None, "text": "tiny init pid=1"}]
    assert "rootfall: tiny init pid=1" in done.stderr


def test_rootfall_boot_names_what_it_waited_for_at_the_deadline(tiny_machine: Machine) -> None:
    done = rootfall_boot(tiny_machine, "--timeout", "0.5")
    assert done.returncode == 1
    assert "rootfall boot: cannot see the guest's power-off (not within 0.5 s)" in done.stderr


def test_rootfall_boot_reports_the_panic_of_an_image_without_init(
    tiny_machine: Machine, tiny_image: Callable[..., Path]
) -> None:
    done = rootfall_boot(replace(tiny_machine, initrd=tiny_image(init=False)), "--json", "--timeout", "60")
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert result["outcome"] == "panic"
    assert "Unable to mount root fs" in result["panic"]
    assert result["message"].startswith("waited for the guest's power-off; the kernel panicked: ")
    assert f"rootfall boot: {result['message']}" in done.stderr


ABANDONED = """
import sys
from pathlib import Path
from rootfall_qemu.machine import Machine
from rootfall_qemu.vm import VM
with VM(Machine(Path(sys.argv[1]), accel="tcg")) as vm:
    print(vm.pid, flush=True)
    sys.stdin.read()
"""


def test_no_machine_outlives_a_killed_test_run(tiny_machine: Machine) -> None:
    command = [sys.executable, "-c", ABANDONED, str(tiny_machine.kernel)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        qemu = os.pidfd_open(int(owner.stdout.readline()))
        owner.kill()
        assert select.select([qemu], [], [], 30)[0], "QEMU still runs"
        os.close(qemu)
