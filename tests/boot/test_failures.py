# SPDX-License-Identifier: MIT
"""Boots that must fail: each report names its cause, and then the machine does what it was told to do."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_qemu.debian import DebianKernel, fetch_kernel
from rootfall_qemu.disk import MIB, blank
from rootfall_qemu.machine import Machine
from tests.boot import images, roots
from tests.boot.booted import Booted, snapshots
from tests.boot.failure import Report, report
from tests.boot.roots import LABEL, PARTUUID, UUID

pytestmark = pytest.mark.vm

Failed = Callable[..., Report]
QUIET = "console=ttyS0 quiet panic=-1"


@pytest.fixture
def kernel() -> DebianKernel:
    return fetch_kernel("6.1")


@pytest.fixture
def failed(
    boot: Callable[[Machine], Booted], image: Callable[..., Path], kernel: DebianKernel, witness_root: Path
) -> Failed:
    """`failed(append)` boots to a failure and returns its report, when the machine has rebooted without a panic."""

    def run(append: str, *disks: Path, initrd: Path | None = None, release: DebianKernel = kernel) -> Report:
        machine = Machine(release.image, initrd or image(release), append, disks=snapshots(*(disks or (witness_root,))))
        record = boot(machine)
        assert record.end == "guest-reset"
        assert "REAL-ROOT" not in record.console
        return report(record.console)

    return run


def not_found(seen: Report) -> str:
    """The device that was looked for; how long it took depends on what came up meanwhile."""
    found = re.fullmatch(r"cannot find the root device (.*) in \d+ s", seen["failed"][0])
    assert found, seen["failed"]
    return found[1]


def test_a_uuid_that_no_disk_has_is_reported_with_the_disks_that_are_there_and_the_near_one(failed: Failed) -> None:
    wrong = f"{UUID[:-1]}8"
    seen = failed(f"{QUIET} root=UUID={wrong} rootwait=1")
    assert seen["goal"] == (f"root UUID={wrong}, then /sbin/init",)
    assert not_found(seen) == f"UUID={wrong}"
    assert any(f"/dev/vda1 32 MiB TYPE=ext4 UUID={UUID} LABEL={LABEL}" in text for text in seen["seen"])
    assert seen["remedy"] == (f"/dev/vda1 has UUID={UUID}, which differs in one character",)
    assert [kind for kind, _ in seen.facts[:2]] == ["goal", "failed"]


def test_a_partuuid_that_is_meant_as_uuid_is_recognised(failed: Failed) -> None:
    seen = failed(f"{QUIET} root=UUID={PARTUUID} rootwait=1")
    assert seen["remedy"] == (f"/dev/vda1 has it as PARTUUID=: did you mean root=PARTUUID={PARTUUID}?",)


def test_a_root_that_is_no_device_at_all_is_reported_with_what_was_written(failed: Failed) -> None:
    seen = failed(f"{QUIET} root=UUID={UUID[:-2]}zz")
    assert seen["failed"] == (f"cannot use the kernel parameter root=UUID={UUID[:-2]}zz",)
    assert "is not a UUID" in seen["seen"][0]
    assert seen["remedy"] == ("correct root= in the boot loader",)


def test_no_root_at_all_is_reported_with_both_places_where_it_can_be_named(failed: Failed) -> None:
    seen = failed(QUIET)
    assert seen["failed"] == ("cannot plan the boot root",)
    assert seen["remedy"] == ("name it: boot.root.device in the configuration, or root=",)


def test_two_disks_with_one_uuid_are_both_named_and_neither_is_taken(failed: Failed, witness_root: Path) -> None:
    seen = failed(f"{QUIET} root=UUID={UUID}", witness_root, witness_root)
    assert seen["failed"] == (f"cannot choose the root device UUID={UUID}",)
    assert seen["seen"] in [("it is on /dev/vda1 and /dev/vdb1",), ("it is on /dev/vdb1 and /dev/vda1",)]
    assert "PARTUUID=" in seen["remedy"][0]


def test_a_root_without_an_init_is_reported_with_every_place_that_was_looked_at(failed: Failed, shared: Path) -> None:
    seen = failed(f"{QUIET} root=UUID={UUID}", roots.disk(shared, "empty", roots.nothing))
    assert seen["failed"] == ("cannot find an init in the new root /sysroot",)
    assert seen["seen"] == tuple(
        f"{place}: No such file or directory" for place in ("/sbin/init", "/etc/init", "/bin/init", "/bin/sh")
    )
    assert "is this the right partition?" in seen["remedy"][0]


def test_each_init_that_cannot_be_executed_is_reported_with_its_own_reason(failed: Failed, shared: Path) -> None:
    unusable = roots.disk(shared, "unusable-inits", roots.unusable_inits)
    seen = failed(f"{QUIET} root=UUID={UUID} init=/sbin/script", unusable)
    assert seen["failed"] == ("cannot find an init in the new root /sysroot",)
    assert seen["seen"] == (
        "/sbin/script needs /usr/bin/nowhere, which is not in the root: No such file or directory",
        "/sbin/init is a program for aarch64, this machine is x86_64",
        "/etc/init needs /lib64/ld-elsewhere.so.9, which is not in the root: No such file or directory",
        "/bin/init is not executable (mode 0644)",
        "/bin/sh: No such file or directory (a symbolic link to /usr/bin/gone)",
    )


def test_a_damaged_file_system_is_reported_with_the_errno_and_the_kernels_own_words(
    failed: Failed, shared: Path
) -> None:
    # The table of block groups, which follows the superblock: its checksums no longer fit.
    damaged = roots.disk(shared, "no-groups", roots.witness, roots.overwrite(2048, b"\xa5" * 4096))
    seen = failed(f"{QUIET} root=UUID={UUID}", damaged)
    assert seen["failed"] == ("cannot mount the root /dev/vda1 as ext4",)
    assert seen["errno"] == ("117, Structure needs cleaning",)
    assert "fsck" in seen["remedy"][0]
    assert any("EXT4-fs (vda1): group descriptors corrupted!" in line for line in seen["kernel"])


def test_a_file_system_cut_short_is_reported_with_the_kernels_own_words(failed: Failed, shared: Path) -> None:
    short = roots.disk(shared, "short", roots.witness, roots.cut_short)
    seen = failed(f"{QUIET} root=PARTUUID={PARTUUID}", short)
    assert seen["failed"] == ("cannot mount the root /dev/vda1 as ext4",)
    assert seen["errno"] == ("22, Invalid argument",)
    assert any("EXT4-fs (vda1): bad geometry" in line for line in seen["kernel"])


def test_a_disk_of_zeros_is_reported_as_holding_nothing(failed: Failed, tmp_path: Path) -> None:
    seen = failed(f"{QUIET} root=/dev/vda", blank(tmp_path / "zeros", MIB))
    assert seen["failed"] == ("cannot mount the root /dev/vda",)
    assert seen["seen"] == ("it holds nothing known",)
    assert "rootfstype=" in seen["remedy"][0]


@pytest.mark.parametrize(
    ("modules", "bus", "modalias"),
    [("ext4", "pci", "pci:v00001AF4"), ("virtio_pci, ext4", "virtio", "virtio:d00000002v")],
)
def test_an_image_without_the_disks_driver_names_the_hardware_that_has_none(
    modules: str, bus: str, modalias: str, failed: Failed, image: Callable[..., Path], kernel: DebianKernel
) -> None:
    made = image(kernel, images.PLAIN.replace("virtio_pci, virtio_blk, ext4", modules))
    seen = failed(f"{QUIET} root=UUID={UUID} rootwait=1", initrd=made)
    assert not_found(seen) == f"UUID={UUID}"
    assert seen["seen"] == ("no block device at all",)
    assert seen["remedy"] == ("no driver of the image drives a disk here: add the disk's driver to image.modules",)
    assert any(text.startswith(f"for {bus} ") and modalias in text for text in seen["no driver"])


def test_a_file_system_whose_module_is_missing_is_named(
    failed: Failed, image: Callable[..., Path], kernel: DebianKernel
) -> None:
    made = image(kernel, images.PLAIN.replace(", ext4", ""))
    seen = failed(f"{QUIET} root=UUID={UUID}", initrd=made)
    assert seen["failed"] == ("cannot mount the root /dev/vda1 as ext4",)
    assert seen["errno"] == ("19, No such device",)
    assert seen["remedy"] == ("the kernel has no ext4 file system: add its module to image.modules",)


def test_an_image_for_another_kernel_names_both_versions(
    failed: Failed, image: Callable[..., Path], kernel: DebianKernel
) -> None:
    other = fetch_kernel("6.12")
    seen = failed(f"{QUIET} root=UUID={UUID}", initrd=image(kernel), release=other)
    assert seen["failed"] == (f"cannot load modules for kernel {other.version}",)
    assert seen["seen"] == (f"the image was built for kernel {kernel.version}",)
    assert "--kernel" in seen["remedy"][0]


def test_a_broken_configuration_is_reported_line_by_line_and_panic_still_holds(
    failed: Failed, image: Callable[..., Path], kernel: DebianKernel, tmp_path: Path
) -> None:
    broken = b"version: 1\nboot:\n  root: {tiemout: 3s}\n  init: sbin/init\n"
    made = images.edited(image(kernel), tmp_path / "broken.img", {images.YAML: broken})
    seen = failed(f"{QUIET} root=UUID={UUID}", initrd=made)
    assert "/etc/rootfall/rootfall.yaml" in seen["failed"][0]
    assert 'rootfall.yaml:3:10: boot.root.tiemout: unknown key; did you mean "timeout"?' in seen["line"][0]
    assert "rootfall.yaml:4:9: boot.init: " in seen["line"][1]


def test_a_loud_boot_reboots_as_configured_and_leaves_its_report_whole(failed: Failed, kernel: DebianKernel) -> None:
    seen = failed("console=ttyS0 root=/dev/vda7 rootwait=1")
    assert not_found(seen) == "/dev/vda7"
