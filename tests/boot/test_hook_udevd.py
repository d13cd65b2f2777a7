# SPDX-License-Identifier: MIT
"""The hook udevd: a site's names boot, drivers come, no process of it is left, and a rule that hangs strands nobody."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall.errors import BuildError
from rootfall_build import cpio, symbol_versions
from rootfall_build.build import Request, build, cache_directory
from rootfall_build.freeze import freeze
from rootfall_build.progress import Silent
from rootfall_qemu.debian import fetch_kernel
from rootfall_qemu.machine import Machine
from rootfall_qemu.vm import VM
from tests.boot import images, roots, udev_root
from tests.boot.booted import DEADLINE, Booted, snapshots
from tests.boot.failure import report
from tests.boot.matrix import DISCOVERY
from tests.guest.report import parse

pytestmark = pytest.mark.vm

Start = Callable[..., Booted]
Image = Callable[..., Path]

IS_ROOT = f'SUBSYSTEM=="block", ENV{{ID_FS_UUID}}=="{roots.UUID}"'
# A name that only this site knows, made by a program of the site.
NAMER = {
    "etc/udev/rules.d/90-site.rules": f'{IS_ROOT}, PROGRAM="/usr/local/bin/namer %k", SYMLINK+="disk/by-site/$result"\n',
    "usr/local/bin/namer": '#!/bin/sh\n[ "$1" = vda1 ] && echo root\n',
}
# A program that stops itself and never ends, for a disk that is not the root.
HANGS = {
    "etc/udev/rules.d/90-site.rules": 'KERNEL=="vdb", PROGRAM="/usr/local/bin/hang"\n',
    "usr/local/bin/hang": "#!/bin/sh\nkill -STOP $$\n",
}


@pytest.fixture
def start(boot: Callable[[Machine], Booted], image: Image, witness_root: Path) -> Start:
    """`start(series, config, append, disks=1)` is the record of a boot; the first disk holds the witness."""

    def run(series: str, config: str, append: str, disks: int = 1, initrd: Path | None = None) -> Booted:
        kernel = fetch_kernel(series)
        append = f"console=ttyS0 panic=-1 {append}"
        machine = Machine(
            kernel.image, initrd or image(kernel, config), append, memory=384, disks=snapshots(*[witness_root] * disks)
        )
        return boot(machine)

    return run


@pytest.mark.parametrize("series", ["6.1", "7"])
def test_a_name_that_the_rules_of_the_site_make_is_a_root(series: str, start: Start, shared: Path) -> None:
    config = udev_root.with_hook(DISCOVERY, udev_root.made(shared, more=NAMER), site_rules="true")
    record = start(series, config, "root=/dev/disk/by-site/root")
    seen = parse(record.console)
    assert record.end == "guest-shutdown"
    assert [mount.source for mount in seen.mounts or () if mount.point == "/"] == ["/dev/vda1"]
    database = next(
        text or "" for name, text in seen.files.items() if name.startswith("udev/b") and "by-site" in str(text)
    )
    assert {"S:disk/by-site/root", f"E:ID_FS_UUID={roots.UUID}"} <= set(database.splitlines())
    assert seen.processes == ("1 (init) R",)
    assert not [name for name in seen.files if "udevd" in name], "the number of its process is of no use to anybody now"


def test_the_newest_udevd_does_it_with_the_libraries_that_it_opens_by_itself(
    boot: Callable[[Machine], Booted], shared: Path, tmp_path: Path, witness_root: Path
) -> None:
    # All of the system is the newest, but for what this machine's Python needs and a small Debian has not.
    root, kernel = udev_root.made(shared, "sid"), fetch_kernel("7")
    for library in Path("/usr/lib").glob("*-linux-gnu/libffi.so.*"):
        shutil.copy(library, root / library.relative_to("/"))
    (tmp_path / "rootfall.yaml").write_text(DISCOVERY.replace("boot:\n", "boot:\n  hooks: [udevd]\n"))
    made = tmp_path / "rootfall.img"
    request = Request(tmp_path / "rootfall.yaml", kernel.version, kernel.modules, made, sysroot=root)
    build(request, freeze, cache_directory(), Silent())
    assert b"/libsystemd-shared-" in b"".join(member.path.encode() for member in cpio.read(made.read_bytes()))
    append = f"console=ttyS0 panic=-1 root=/dev/disk/by-uuid/{roots.UUID}"
    record = boot(Machine(kernel.image, made, append, memory=512, disks=snapshots(witness_root)))
    assert "hook: undo udevd: stopped" in record.console
    assert parse(record.console).processes == ("1 (init) R",)


def test_newer_programs_than_this_machine_s_libraries_can_carry_are_refused(shared: Path, tmp_path: Path) -> None:
    root, kernel = udev_root.made(shared, "sid"), fetch_kernel("6.1")
    libc = next(Path("/usr/lib").glob("*-linux-gnu/libc.so.6"))
    if not symbol_versions.lacking(libc, [*root.glob("usr/lib/*/libkmod.so.2.*")]):
        pytest.skip("this machine's C library is new enough for the newest udevd")
    (tmp_path / "rootfall.yaml").write_text(udev_root.with_hook(DISCOVERY, root))
    request = Request(tmp_path / "rootfall.yaml", kernel.version, kernel.modules, tmp_path / "out.img")
    with pytest.raises(BuildError, match=r"libc\.so\.6 of this machine, which PID 1 needs, has no GLIBC_") as caught:
        build(request, freeze, cache_directory(), Silent())
    assert "not newer than this one" in caught.value.hint
    assert not (tmp_path / "out.img").exists()


def test_a_disk_that_is_plugged_in_late_is_found_by_the_name_that_the_rules_give_it(
    vm: Callable[[Machine], VM], image: Image, shared: Path, witness_root: Path
) -> None:
    kernel = fetch_kernel("6.12")
    config = udev_root.with_hook(DISCOVERY, udev_root.made(shared, more=NAMER), site_rules="true")
    append = "console=ttyS0 panic=-1 root=/dev/disk/by-site/root"
    guest = vm(Machine(kernel.image, image(kernel, config), append, memory=384, hot_plug_slots=1))
    guest.console.expect(re.compile(r"waiting for /dev/disk/by-site/root: [2-9] s"), DEADLINE, "the status line")
    guest.hot_plug(*snapshots(witness_root))
    guest.console.expect("REAL-ROOT init pid=1", DEADLINE, "the real init")
    assert guest.wait_off(DEADLINE) == "guest-shutdown"
    assert parse(guest.console.log).processes == ("1 (init) R",)


def test_udevd_loads_the_drivers_of_what_is_there_and_heeds_the_blacklist(start: Start, shared: Path) -> None:
    config = udev_root.with_hook(DISCOVERY, udev_root.made(shared)).replace("boot:\n", "boot:\n  blacklist: [ahci]\n")
    record = start("6.12", config, f"root=UUID={roots.UUID}")
    seen = parse(record.console)
    spans = json.loads(seen.files["timeline.json"] or "")["spans"]
    ours = {span["name"] for span in spans if span["detail"] == "loaded"}
    assert "hook udevd" in {span["name"] for span in spans}
    assert "module virtio_blk" not in ours, "udevd was first"
    assert re.search(r"virtio_blk virtio\d: ", record.console)
    assert "ahci 0000:" not in record.console


def test_a_rule_that_hangs_delays_the_boot_and_is_gone_after_it(start: Start, shared: Path) -> None:
    config = udev_root.with_hook(DISCOVERY, udev_root.made(shared, more=HANGS), site_rules="true", settle="3s")
    record = start("6.1", config, "root=/dev/vda1", disks=2)
    assert "hook: udevd: settle: some rules had not ended after" in record.console
    assert "hook: undo udevd: killed after" in record.console
    assert parse(record.console).processes == ("1 (init) R",)
    assert record.end == "guest-shutdown"


def test_an_image_whose_udevd_is_damaged_says_so(start: Start, image: Image, shared: Path, tmp_path: Path) -> None:
    config = udev_root.with_hook(DISCOVERY, udev_root.made(shared))
    made = image(fetch_kernel("6.1"), config)
    damaged = images.with_programs(made, tmp_path / "damaged.img", {"usr/bin/udevadm": b"#!/gone\n"})
    record = start("6.1", config, f"root=UUID={roots.UUID}", initrd=damaged)
    said = report(record.console)
    assert said["failed"] == ("cannot start /usr/lib/systemd/systemd-udevd",)
    assert said["errno"] == ("2, No such file or directory",)
    assert said["remedy"] == ("the image is damaged: build it again",)
    assert record.end == "guest-reset"


def test_who_goes_on_by_hand_has_no_udevd_left_and_who_tries_again_has_one(
    vm: Callable[[Machine], VM], image: Image, shared: Path, witness_root: Path
) -> None:
    kernel = fetch_kernel("6.1")
    config = udev_root.with_hook(DISCOVERY, udev_root.made(shared)).replace("{action: reboot}", "{action: shell}")
    append = "console=ttyS0 quiet root=/dev/disk/by-site/none rootwait=1"
    guest = vm(Machine(kernel.image, image(kernel, config), append, memory=384, disks=snapshots(witness_root)))
    for word in ("retry", "mount /dev/vda1"):
        guest.console.expect("rootfall> ", DEADLINE, "the built-in console")
        guest.console.send(f"{word}\n")
    guest.console.expect("is mounted on /sysroot", DEADLINE, "the root to be mounted")
    guest.console.expect("rootfall> ", DEADLINE, "the built-in console")
    guest.console.send("switch\n")
    guest.console.expect('"end": true', DEADLINE, "the witness")
    assert guest.wait_off(DEADLINE) == "guest-shutdown"
    seen = parse(guest.console.log)
    assert seen.processes == ("1 (init) R",)
    assert any(name.startswith("udev/b") for name in seen.files)
