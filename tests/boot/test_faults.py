# SPDX-License-Identifier: MIT
"""Boots into real faults: disks that cannot be read or vanish, calls that the kernel refuses, damaged files, little memory.

A fault that a boot can do without is survived, and several share a boot. Any other ends in a report that names it: never in
a kernel panic, never in silence. docs/boot-failures.md has the least memory, measured by hand.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_build import cpio
from rootfall_build.image import Directory, Entry, File
from rootfall_qemu.cache import made_once
from rootfall_qemu.debian import DebianKernel
from rootfall_qemu.disk import ALIGNMENT, SECTOR
from rootfall_qemu.errors import GuestPanic
from rootfall_qemu.machine import Disk, Machine
from rootfall_qemu.vm import VM
from tests.boot import images
from tests.boot.booted import DEADLINE, Booted, snapshots
from tests.boot.failure import HEAD, Report, report
from tests.boot.hooks import HERE
from tests.boot.roots import UUID
from tests.guest.material import compile_static
from tests.guest.report import parse

pytestmark = pytest.mark.vm

QUIET = "console=ttyS0 quiet panic=-1 no_timer_check"  # which fails on a busy host, long before us
SOURCE = Path(__file__).with_name("fault_init.c")
ROOT = f"root=UUID={UUID}"
READ_ERROR = "file.inject-error.0.event=none,file.inject-error.0.iotype=read,file.inject-error.0.errno=5"
FLAWED = images.PLAIN.replace("  on_failure", "  hooks: [flawed]\n  on_failure") + f"  hooks_from: {HERE}\n"
# The kernel alone needs nearly all of it.
ENOUGH, TOO_LITTLE = 112, 80  # MiB


def directory(kernel: DebianKernel) -> str:
    """Where an image has its modules."""
    return f"usr/lib/modules/{kernel.version}"


def module(kernel: DebianKernel, image: Path, name: str) -> tuple[str, bytes]:
    """The file of a module in an image."""
    for member in cpio.read(image.read_bytes(), str(image)):
        if member.path.startswith(directory(kernel)) and member.path.endswith(f"/{name}.ko"):
            return member.path, bytes(member.data)
    raise AssertionError(f"no {name} in {image}")


def bad_sectors(disk: Path, first: int = -1, serial: str = "bad") -> tuple[str, ...]:
    """QEMU's arguments for a disk of which one sector, or every one, gives a read error."""
    where = f",file.inject-error.0.sector={first}" if first >= 0 else ""
    drive = f"if=none,id={serial},format=raw,readonly=on,file.driver=blkdebug,file.image.filename={disk}"
    return ("-drive", f"{drive},{READ_ERROR}{where}", "-device", f"virtio-blk-pci,drive={serial},serial={serial}")


def sector(block: int) -> int:
    """The first sector of a block of the file system on the first partition: mke2fs takes blocks of 1 KiB for such a size."""
    return (ALIGNMENT + block * 1024) // SECTOR


def first_block(disk: Path, path: str) -> int:
    """The first block of a file in that file system."""
    command = ["/usr/sbin/debugfs", "-R", f"bmap {path} 0", f"{disk}?offset={ALIGNMENT}"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.fixture(scope="session")
def faulty(shared: Path) -> Callable[..., Path]:
    """`faulty(image, *entries)` is the image and, over it, these, and `/fault` for `rdinit=/fault fault=A,B`."""

    def add(image: Path, *entries: Entry) -> Path:
        def make(place: Path) -> dict[str, object]:
            program = File("fault", 0o755, compile_static(SOURCE, place / "fault").read_bytes())
            data = image.read_bytes()
            more = b"".join(cpio.archive([program, *entries], 0))
            (place / "image").write_bytes(data + bytes(-len(data) % 512) + more)
            return {"image": str(image)}

        return made_once(shared / f"faulty-{images.digest(image, entries)}", make) / "image"

    return add


@pytest.fixture
def plain(kernel: DebianKernel, image: Callable[..., Path]) -> Path:
    return image(kernel)


Run = Callable[..., Booted]


@pytest.fixture
def run(boot: Callable[[Machine], Booted], kernel: DebianKernel, witness_root: Path, plain: Path) -> Run:
    """`run(append)` boots the image that is `plain` or given from the witness's disk, until the machine is off."""

    def start(append: str, initrd: Path = plain, *, disk: bool = True, extra: tuple[str, ...] = ()) -> Booted:
        disks = snapshots(witness_root) if disk else ()
        return boot(Machine(kernel.image, initrd, f"{QUIET} {append}", disks=disks, extra=extra))

    return start


def failed(booted: Booted) -> Report:
    """The report of a boot that failed and then rebooted, without a panic."""
    assert booted.end == "guest-reset"
    assert "REAL-ROOT" not in booted.console
    return report(booted.console)


def test_damaged_ready_forms_and_a_damaged_module_that_is_not_needed_are_survived(
    run: Run, kernel: DebianKernel, image: Callable[..., Path], faulty: Callable[..., Path]
) -> None:
    made = image(kernel, images.PLAIN.replace("ext4]", "ext4, loop, dummy]"))
    loop, code = module(kernel, made, "loop")
    dummy, _ = module(kernel, made, "dummy")
    names = {images.READY: b"\xff" * 600, f"{directory(kernel)}/modules.rootfall": b"", loop: code[:4000], dummy: b""}
    booted = run(ROOT, faulty(made, *(File(name, 0o644, content) for name, content in names.items())))
    witness = parse(booted.console)
    spans = {span["name"]: span["detail"] for span in json.loads(witness.files["timeline.json"] or "")["spans"]}
    assert spans["make the plan"] == "YAML"
    assert spans["module loop"] == "failed: Exec format error (errno 8)"
    assert spans["module dummy"].startswith("failed: ")
    assert spans["module ext4"] == "loaded"


def test_a_boot_does_without_a_log_room_in_run_threads_and_new_calls(
    run: Run, plain: Path, faulty: Callable[..., Path]
) -> None:
    booted = run(f"{ROOT} rdinit=/fault fault=full-run,no-kmsg,no-threads,old-kernel,no-unlink", faulty(plain))
    assert booted.end == "guest-shutdown"
    assert parse(booted.console).mounted("/run") == "tmpfs"
    assert HEAD not in booted.console


def test_a_boot_does_without_a_console(run: Run, plain: Path, faulty: Callable[..., Path]) -> None:
    assert run(f"{ROOT} rdinit=/fault fault=no-console", faulty(plain)).end == "guest-shutdown"


def test_without_memory_for_modules_each_is_reported(run: Run, plain: Path, faulty: Callable[..., Path]) -> None:
    seen = failed(run(f"{ROOT} rootwait=1 rdinit=/fault fault=no-module-memory", faulty(plain)))
    assert seen["failed"][0].startswith(f"cannot find the root device UUID={UUID}")
    assert {text.partition(" ")[2] for text in seen["module"]} == {"failed: Cannot allocate memory (errno 12)"}


def test_a_kernel_without_uevents_is_reported(run: Run, plain: Path, faulty: Callable[..., Path]) -> None:
    seen = failed(run(f"{ROOT} rdinit=/fault fault=no-uevents", faulty(plain)))
    assert seen["failed"] == ("cannot listen to the kernel's uevents",)


def test_a_switch_that_the_kernel_refuses_half_way_is_reported(
    run: Run, plain: Path, faulty: Callable[..., Path]
) -> None:
    seen = failed(run(f"{ROOT} rdinit=/fault fault=no-chroot", faulty(plain)))
    assert "Operation not permitted" in "".join(text for _, text in seen.facts)


def test_a_proc_that_cannot_be_mounted_is_reported_and_the_machine_can_be_rebooted(
    vm: Callable[[Machine], VM], kernel: DebianKernel, plain: Path, faulty: Callable[..., Path]
) -> None:
    machine = vm(
        Machine(kernel.image, faulty(plain), f"console=ttyS0 quiet no_timer_check {ROOT} rdinit=/fault fault=proc-file")
    )
    machine.console.expect("rootfall> ", DEADLINE)
    seen = report(machine.console.log)
    assert seen["failed"] == ("cannot mount proc on /proc",)
    assert seen["errno"] == ("20, Not a directory",)
    machine.console.send("reboot\n")
    assert machine.wait_off(DEADLINE) == "guest-reset"


def test_a_damaged_driver_is_reported_by_name_and_errno(
    run: Run, kernel: DebianKernel, plain: Path, faulty: Callable[..., Path]
) -> None:
    driver, code = module(kernel, plain, "virtio_blk")
    seen = failed(run(f"{ROOT} rootwait=1", faulty(plain, File(driver, 0o644, code[:4000]))))
    assert "virtio_blk failed: Exec format error (errno 8)" in seen["module"]


def test_an_image_whose_list_of_modules_cannot_be_read_is_reported_as_damaged(
    run: Run, kernel: DebianKernel, plain: Path, faulty: Callable[..., Path]
) -> None:
    seen = failed(run(ROOT, faulty(plain, Directory(f"{directory(kernel)}/modules.dep", 0o755))))
    assert seen["failed"] == (f"cannot load modules for kernel {kernel.version}",)
    assert seen["errno"] == ("21, Is a directory",)
    assert seen["remedy"] == ("the image is damaged: build it again",)


def test_disks_that_cannot_be_read_are_listed_as_such(run: Run, witness_root: Path) -> None:
    superblock = bad_sectors(witness_root, sector(1), "superblock")
    extra = (*bad_sectors(witness_root, serial="all"), *superblock)
    seen = failed(run(f"{ROOT} rootwait=5", disk=False, extra=extra))
    assert seen["failed"][0].startswith(f"cannot find the root device UUID={UUID}")
    assert "/dev/vda 34 MiB cannot be read: Input/output error" in seen["seen"]
    assert "/dev/vdb1 32 MiB PARTLABEL=first partition cannot be read: Input/output error" in seen["seen"]
    assert any("I/O error, dev vd" in text for text in seen["kernel"])


def test_a_disk_that_cannot_be_read_at_the_mount_is_reported_with_the_errno(run: Run, witness_root: Path) -> None:
    groups = bad_sectors(witness_root, sector(2))
    seen = failed(run("root=/dev/vda1 rootfstype=ext4", disk=False, extra=groups))
    assert seen["failed"] == ("cannot mount the root /dev/vda1 as ext4",)
    assert seen["errno"] == ("5, Input/output error",)
    assert any("EXT4-fs (vda1): can't read group descriptor 0" in line for line in seen["kernel"])


def test_an_init_that_cannot_be_read_is_reported_before_the_switch(run: Run, witness_root: Path) -> None:
    extra = bad_sectors(witness_root, sector(first_block(witness_root, "/sbin/init")))
    seen = failed(run(ROOT, disk=False, extra=extra))
    assert seen["failed"] == ("cannot find an init in the new root /sysroot",)
    assert "/sbin/init cannot be read: Input/output error" in seen["seen"]


@pytest.fixture
def flawed(run: Run, kernel: DebianKernel, image: Callable[..., Path]) -> Callable[..., Report]:
    """`flawed(target, first, count)` is the report of a boot from /dev/mapper/flawed, with these sectors as such a target."""

    def fails(target: str, first: int, count: int, append: str = "") -> Report:
        append = f"root=/dev/mapper/flawed flaw={target},{first},{count} {append}"
        return failed(run(append, image(kernel, FLAWED)))

    return fails


def test_a_device_of_device_mapper_that_gives_errors_at_the_mount_is_reported_with_the_errno(
    flawed: Callable[..., Report],
) -> None:
    seen = flawed("error", 4, 2, "rootfstype=ext4")  # the KiB after the superblock: the groups' descriptors
    assert seen["failed"] == ("cannot mount the root /dev/dm-0 as ext4",)
    assert seen["errno"] == ("5, Input/output error",)
    assert any("EXT4-fs (dm-0): can't read group descriptor 0" in line for line in seen["kernel"])


def test_a_flakey_device_under_the_init_is_reported_before_the_switch(
    flawed: Callable[..., Report], witness_root: Path
) -> None:
    seen = flawed("flakey", 2 * first_block(witness_root, "/sbin/init"), 2)
    assert seen["failed"] == ("cannot find an init in the new root /sysroot",)
    assert "/sbin/init cannot be read: Input/output error" in seen["seen"]


def test_a_device_of_device_mapper_that_is_down_altogether_is_reported_as_unreadable(
    flawed: Callable[..., Report],
) -> None:
    seen = flawed("flakey", 0, 32768)
    assert seen["failed"] == ("cannot mount the root /dev/dm-0",)
    assert seen["seen"] == ("cannot be read: Input/output error",)
    assert any("I/O error on dev dm-0" in line for line in seen["kernel"])


def test_a_disk_that_vanishes_after_it_was_found_is_reported(
    vm: Callable[[Machine], VM], kernel: DebianKernel, image: Callable[..., Path], witness_root: Path
) -> None:
    # btrfs measures its checksums for a second while the disk is found: the mount waits for it, as for all modules.
    made = image(kernel, images.PLAIN.replace("virtio_blk, ext4", "virtio_scsi, sd_mod, ext4, btrfs"))
    disk = Disk(witness_root, interface="virtio-scsi", snapshot=True)
    machine = vm(Machine(kernel.image, made, f"console=ttyS0 panic=-1 no_timer_check {ROOT}", disks=(disk,)))
    machine.console.expect(f"device: find UUID={UUID}: /dev/sda1", DEADLINE)
    machine.hot_unplug("disk0")
    assert machine.wait_off(DEADLINE) == "guest-reset"
    seen = report(machine.console.log)
    assert seen["failed"] == ("cannot mount the root /dev/sda1 as ext4",)
    assert seen["errno"]


def test_the_least_memory_that_boots_does_and_with_less_it_is_the_kernel_that_gives_up(
    vm: Callable[[Machine], VM], kernel: DebianKernel, plain: Path, witness_root: Path
) -> None:
    append = f"{QUIET} {ROOT}"
    enough = vm(Machine(kernel.image, plain, append, memory=ENOUGH, disks=snapshots(witness_root)))
    assert enough.wait_off(DEADLINE) == "guest-shutdown"
    assert "REAL-ROOT" in enough.console.log
    little = vm(Machine(kernel.image, plain, append, memory=TOO_LITTLE, disks=snapshots(witness_root)))
    with pytest.raises(GuestPanic):
        little.wait_off(DEADLINE)
    assert "rootfall" not in little.console.log, "PID 1 had not begun"
