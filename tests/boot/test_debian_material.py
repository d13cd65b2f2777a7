# SPDX-License-Identifier: MIT
"""The material that the boot tests are made of is real: kernels, a witness that reports, a control that works."""

import subprocess
import sys
from pathlib import Path

import pytest

from rootfall.errors import RootfallError
from rootfall_qemu.apt import dependencies
from rootfall_qemu.cache import STAMP, made_once
from rootfall_qemu.debian import fetch_kernel
from tests.bench.clock import boot, measure
from tests.bench.control import MODULES, build_control_image
from tests.guest.material import UUID, compile_static, witness_disk
from tests.guest.report import Witness, parse

EXT4 = 0xEF53


@pytest.fixture(scope="module", params=["6.1", "7"])
def handed_over(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Witness:
    """The witness's report after the control handed over, one boot a kernel series."""
    work = tmp_path_factory.mktemp("material")
    kernel = fetch_kernel(request.param)
    image = build_control_image(kernel, MODULES, "lz4", work / "control.img")
    disk = witness_disk(work / "root.img")
    append = f"console=ttyS0 quiet idle=poll panic=-1 root=UUID={UUID} ro word name=value -- argument"
    witness = boot(kernel.image, image, disk, append)
    assert witness.release == kernel.version
    return witness


@pytest.mark.parametrize("series", ["6.1", "6.12", "7"])
def test_a_kernel_is_fetched_with_an_image_and_an_index_of_its_modules(series: str) -> None:
    kernel = fetch_kernel(series)
    assert kernel.version.startswith(f"{series}.")
    assert kernel.image.read_bytes()[0x202:0x206] != b"\0" * 4  # the boot protocol's version: a bzImage
    assert "/ext4.ko" in (kernel.modules / "modules.dep").read_text()
    assert (kernel.modules / "modules.builtin").stat().st_size


def test_a_full_cache_needs_no_network() -> None:
    here = fetch_kernel("6.1")
    script = "from rootfall_qemu.debian import fetch_kernel; print(fetch_kernel('6.1').image)"
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == here.image


def test_an_unknown_series_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(RootfallError, match=r"known series: 6\.1, 6\.12, 7"):
        fetch_kernel("2.4", tmp_path)


def test_a_half_made_directory_is_made_again_and_a_whole_one_is_not(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    target.mkdir()
    (target / "rubbish").touch()
    made: list[str] = []

    def make(directory: Path) -> dict[str, object]:
        made.append(directory.name)
        (directory / "content").touch()
        return {"made": len(made)}

    for _ in range(2):
        made_once(target, make)
    assert made == ["thing"]
    assert sorted(path.name for path in target.iterdir()) == [STAMP, "content"]


def test_a_failed_making_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(directory: Path) -> dict[str, object]:
        (directory / "half").touch()
        raise RootfallError("fetch", "half")

    with pytest.raises(RootfallError):
        made_once(tmp_path / "thing", fail)
    assert [path.name for path in tmp_path.iterdir()] == [".thing.lock"]


def test_dependencies_are_read_with_the_first_alternative_only() -> None:
    assert dependencies("kmod, dracut | initramfs-tools (>= 0.120), linux-base-7 (= 7.3)") == (
        "kmod",
        "dracut",
        "linux-base-7",
    )


@pytest.mark.vm
def test_the_control_hands_over_to_the_root_that_has_the_uuid(handed_over: Witness) -> None:
    assert handed_over.pid == 1
    assert handed_over.root_fstype == EXT4
    assert handed_over.root == handed_over.cwd == "/"
    assert {point: handed_over.mounted(point) for point in ("/proc", "/sys", "/dev", "/run", "/")} == {
        "/proc": "proc",
        "/sys": "sysfs",
        "/dev": "devtmpfs",
        "/run": "tmpfs",
        "/": "ext4",
    }


@pytest.mark.vm
def test_the_kernel_version_decides_how_the_root_is_taken_over(handed_over: Witness) -> None:
    way = "pivot_root" if int(handed_over.release.split(".")[0]) >= 7 else "MS_MOVE"
    assert handed_over.logged(f"control: took the root over by {way}") is not None


@pytest.mark.vm
def test_the_witness_reports_arguments_environment_descriptors_and_signals(handed_over: Witness) -> None:
    assert handed_over.argv == ("/sbin/init", "word", "argument")
    assert set(handed_over.environ) == {"HOME=/", "TERM=linux", "name=value"}
    assert handed_over.fd is not None
    assert sorted(handed_over.fd) == [0, 1, 2]
    assert [handed_over.signals(mask) for mask in ("SigBlk", "SigIgn", "SigCgt")] == [0, 0, 0]
    assert handed_over.memory["MemTotal"] > handed_over.memory["Reclaimable"] > 400_000


@pytest.mark.vm
def test_two_boots_of_one_image_agree_in_time_and_memory(tmp_path: Path) -> None:
    kernel = fetch_kernel("6.1")
    image = build_control_image(kernel, MODULES, "lz4", tmp_path / "control.img")
    disk = witness_disk(tmp_path / "root.img")
    first, second = (measure("control", kernel.image, image, disk) for _ in range(2))
    assert first.init_ms == pytest.approx(second.init_ms, rel=0.005)
    assert first.total_ms == pytest.approx(second.total_ms, rel=0.005)
    assert first.memory_kib == pytest.approx(second.memory_kib, abs=100)


def test_the_witness_survives_without_proc_and_with_odd_bytes(tmp_path: Path) -> None:
    witness = compile_static(Path(__file__).parents[1] / "guest/witness.c", tmp_path / "init")
    odd = [b"init", b'b\xff"\\\n', b""]
    command = ["unshare", "--user", "--map-root-user", "--root", str(tmp_path), "/init"]
    done = subprocess.run([*command, *odd[1:]], env={"ODD": "\udcfe"}, capture_output=True, check=True)
    report = parse(done.stdout.decode())
    assert [text.encode("latin-1") for text in report.argv[1:]] == odd[1:]
    assert report.environ == ("ODD=\xfe",)
    assert (report.fd, report.mounts, report.cmdline, report.cwd) == (None, None, None, None)
    assert witness.exists()


def test_a_report_that_was_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="no whole witness report"):
        parse('REAL-ROOT init pid=1\nwitness: {"pid": 1}\nKernel panic')
