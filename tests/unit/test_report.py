# SPDX-License-Identifier: MIT
"""The report of a boot that failed: one screen, the cause on top, nothing invented, and never an error of its own."""

import ast
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootfall import findings, hardware, near_miss, report
from rootfall.devices import BlockDevice
from rootfall.errors import (
    CommandLineError,
    ConfigError,
    DeviceError,
    ModuleError,
    MountError,
    Problem,
    RootfallError,
    SwitchRootError,
)
from rootfall.hardware import Unclaimed
from rootfall.model import DeviceRef
from rootfall.steps import Boot, Stage
from tests.unit.failed_boot import boot, stage

HOUSE = Path(__file__).parents[2]
ANY = st.text(st.characters(codec=None))
COMPLAINTS = findings._kernel_complaints
UUID = "0a1b2c3d-1111-2222-3333-444455556666"


@pytest.fixture(autouse=True)
def _no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "unclaimed", lambda: ())
    monkeypatch.setattr(findings, "_kernel_complaints", list)


def screen(error: BaseException, this: Boot, the_stage: Stage) -> list[str]:
    return report.screen(report.facts(findings.gather(error, this, the_stage)))


@settings(max_examples=100, deadline=None)
@given(ANY, ANY, ANY, ANY, ANY, ANY, st.integers(0, 200))
def test_it_fits_on_one_screen_and_the_files_are_whole_whatever_is_in_it(
    attempted: str, subject: str, seen: str, hint: str, device: str, name: str, errno: int
) -> None:
    error = DeviceError(attempted, subject, errno=errno, seen=seen, hint=hint)
    disk = BlockDevice("/dev/a", "8:0", 512, {"TYPE": name, "LABEL": device})
    found = findings.gather(error, boot(DeviceRef("LABEL", subject), disk, **{name: hint}), stage(device))
    facts = report.facts(found)
    lines = report.screen(facts)
    assert len(lines) <= report.LINES
    for line in (*lines, *report.whole(facts, found).splitlines()):
        assert report.columns(line) <= report.COLUMNS
        assert all(character.isprintable() for character in line)
    assert json.loads(report.to_json(found))["error"]["kind"] == "DeviceError"


PLAIN = st.text(st.characters(codec="utf-8"))
LEAVES = st.none() | st.booleans() | st.integers() | PLAIN


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(PLAIN, inner)))
def test_the_json_is_json(value: object) -> None:
    assert json.loads(report.to_json(value)) == value


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), max_size=300))
def test_no_printable_character_is_lost_by_the_wrapping(text: str) -> None:
    lines = report.wrap("failed    ", text)
    assert "".join(line[10:].strip() for line in lines) == "".join(c if c.isprintable() else "?" for c in text)


def test_words_are_not_broken_where_they_need_not_be() -> None:
    lines = report.wrap("failed    ", "word " * 40)
    assert {word for line in lines for word in line[10:].split()} == {"word"}
    assert all(line.startswith(" " * 10) for line in lines[1:])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleError("load modules for kernel", "6.1", seen="the image was built for kernel 6.12"), ["6.1", "6.12"]),
        (DeviceError("find the root device", "UUID=x in 3 s", seen="/dev/a; /dev/b"), ["/dev/a", "/dev/b"]),
        (MountError("mount the root", "/dev/x as ext4", errno=22, hint="fsck it"), ["22, Invalid argument", "fsck it"]),
        (SwitchRootError("find an init in the new root", "/sysroot", seen="/sbin/init: no"), ["/sbin/init: no"]),
        (CommandLineError("use the kernel parameter", "root=7", seen="no device", hint="correct root="), ["root=7"]),
        (
            ConfigError("/etc/x.yaml", (Problem(3, 4, "boot.rot", "unknown key"), Problem(9, 1, "", "second"))),
            ["/etc/x.yaml:3:4: boot.rot: unknown key", "/etc/x.yaml:9:1: second"],
        ),
        (FileNotFoundError(2, "No such file or directory", "/proc/cmdline"), ["/proc/cmdline"]),
        (ZeroDivisionError("a bug"), ["internal error: ZeroDivisionError('a bug')"]),
        (SystemExit(3), ["internal error: SystemExit(3)"]),
        (KeyboardInterrupt(), ["internal error: KeyboardInterrupt()"]),
    ],
)
def test_the_cause_of_every_kind_of_error_is_within_the_first_ten_lines(error: BaseException, words: list[str]) -> None:
    lines = [" ".join(line.split()) for line in screen(error, boot(), stage())[1:11]]
    for each in words:
        assert any(each in line for line in lines), lines
    assert lines[2] == "goal root LABEL=root, then /sbin/init"


def test_an_internal_error_says_where() -> None:
    try:
        _ = 1 // 0
    except ZeroDivisionError as error:
        text = "".join(line[10:] for line in screen(error, boot(), Stage()))
    assert "test_an_internal_error_says_where" in text


def test_what_cannot_be_looked_at_is_a_gap_and_not_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> tuple[Unclaimed, ...]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(hardware, "unclaimed", broken)
    found = findings.gather(OSError(5, "x"), boot(), stage())
    assert found["gaps"] == ["no_driver: OSError(5, 'Input/output error')"]
    assert "gap       no_driver: OSError" in report.whole(report.facts(found), found)


def test_a_module_that_failed_is_in_the_report_of_any_failure() -> None:
    lines = screen(OSError(5, "x"), boot(None, ext4="failed: Exec format error (errno 8)"), Stage())
    assert "module    ext4 failed: Exec format error (errno 8)" in lines


HINTS = """\
pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci
pci:v*d*sv*sd*bc01sc08i02* nvme
virtio:d00000002v* virtio_blk
"""


@pytest.mark.parametrize(
    ("modalias", "said"),
    [
        ("pci:v00001AF4d00001042sv00001AF4sd00001100bc01sc80i00", ["virtio_pci", "virtio_blk"]),
        ("pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", ["nvme"]),
        ("pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00", []),  # a network card
    ],
)
def test_storage_without_a_driver_is_named_with_the_modules_that_would_drive_it(
    modalias: str, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "unclaimed", lambda: (Unclaimed("pci", "0000:00:04.0", modalias),))
    monkeypatch.setattr(hardware, "read", lambda path: HINTS if path.endswith("modules.hints") else "")
    error = DeviceError("find the root device", "UUID=x", seen="no block device at all", hint="look")
    found = findings.gather(error, boot(DeviceRef("UUID", "x")), stage())
    if not said:
        assert found["no_driver"] == []
        return
    assert found["no_driver"][0]["modules"] == dict.fromkeys(said, "is not in the image")
    assert f"add {', '.join(said)} to image.modules" in found["remedy"]


@pytest.mark.parametrize(
    ("ref", "device", "sentence"),
    [
        (DeviceRef("UUID", UUID), {"UUID": "f" + UUID[1:]}, "differs in one character"),
        (DeviceRef("UUID", UUID), {"PARTUUID": UUID}, f"did you mean root=PARTUUID={UUID}?"),
        (DeviceRef("UUID", "data"), {"LABEL": "data"}, "did you mean root=LABEL=data?"),
        (DeviceRef("LABEL", "root"), {"LABEL": "Root"}, "capital letters count"),
        (DeviceRef("UUID", UUID), {"TYPE": "crypto_LUKS", "USAGE": "crypto"}, "/dev/a is a locked LUKS container"),
        (DeviceRef("UUID", UUID), {"TYPE": "LVM2_member", "USAGE": "raid"}, "/dev/a is a part of an LVM volume group"),
        (DeviceRef("UUID", UUID), {"TYPE": "isw_raid_member", "USAGE": "raid"}, "/dev/a is isw_raid_member"),
        (
            DeviceRef("UUID", UUID),
            {"PTTYPE": "gpt"},
            "has a partition table (gpt) in which the kernel found no partition",
        ),
    ],
)
def test_what_is_almost_the_root_is_the_remedy(ref: DeviceRef, device: dict[str, str], sentence: str) -> None:
    disk = BlockDevice("/dev/a", "999:999", 1 << 30, device)
    assert any(sentence in each for each in near_miss.sentences(ref, [disk]))
    error = DeviceError("find the root device", str(ref), seen=str(disk), hint="look")
    assert sentence in findings.gather(error, boot(ref, disk), stage())["remedy"]


def test_a_disk_that_does_not_answer_may_hold_the_root() -> None:
    disk = BlockDevice("/dev/a", "8:0", 512, {}, "cannot be read: Input/output error")
    assert list(near_miss.sentences(DeviceRef("UUID", UUID), [disk])) == [
        "/dev/a cannot be read: Input/output error: the root may be on it"
    ]


@pytest.mark.parametrize("tags", [{}, {"TYPE": "ext4", "UUID": "f" * 36}, {"PTTYPE": "dos", "PARTN": "2"}])
def test_nothing_is_made_up_about_other_disks(tags: dict[str, str]) -> None:
    assert list(near_miss.sentences(DeviceRef("UUID", UUID), [BlockDevice("/dev/a", "8:0", 512, tags)])) == []


def test_a_terminal_gets_the_report_whole_even_when_its_buffer_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.openpty()
    os.set_blocking(read, False)
    monkeypatch.setattr(report, "_consoles", lambda: [os.ttyname(write).removeprefix("/dev/"), "no/such"])
    report.show(["first", "last"])
    assert os.read(read, 4096) == b"first\r\nlast\r\n"


def test_a_console_that_is_stuck_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    _, write = os.openpty()
    monkeypatch.setattr(report, "_PATIENCE", 0.05)
    assert report._write(os.ttyname(write), b"x" * (1 << 20))  # nobody reads


def attempts(path: Path) -> set[str]:
    """The first argument of each error that a module makes: what was attempted."""
    own = {each.__name__ for each in RootfallError.__subclasses__()} - {"ConfigError", "BuildError"}
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in own:
            assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: not a text: the table cannot name it"
            found.add(str(node.args[0].value))
    return found


def test_the_table_of_errors_is_complete_and_holds_nothing_else() -> None:
    sources = [*(HOUSE / "init/rootfall").rglob("*.py"), *(HOUSE / "hooks/rootfall_hooks").glob("*.py")]
    # What goes wrong with a container goes wrong in no boot.
    made = {each for path in sources if path.parent.name != "container" for each in attempts(path)}
    rows = [line for line in (HOUSE / "docs/boot-failures.md").read_text().splitlines() if line.startswith("| `")]
    named = {line.split("`")[1] for line in rows if line.count("|") == 4 and not line.startswith("| `r")}
    assert named == made | {ConfigError("x", (Problem(0, 0, "", ""),)).attempted}


def test_of_a_kernel_log_that_was_overwritten_while_it_was_read_the_rest_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records: list[bytes | OSError] = [b"4,1,1,-;lost soon\n", BrokenPipeError(32, "Broken pipe"), b"3,9,9,-;kept\n"]

    def read(fd: int, size: int) -> bytes:
        record = records.pop(0) if records else BlockingIOError(11, "Resource temporarily unavailable")
        if isinstance(record, OSError):
            raise record
        return record

    null = os.open("/dev/null", os.O_RDONLY)
    monkeypatch.setattr("os.open", lambda *arguments: null)
    monkeypatch.setattr("os.read", read)
    assert COMPLAINTS() == ["lost soon", "kept"]
