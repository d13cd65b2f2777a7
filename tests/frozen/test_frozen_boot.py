# SPDX-License-Identifier: MIT
"""The frozen program boots, in namespaces, from the files of its image alone; see booting.py for what is real in it."""

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

from rootfall.linux import libc
from rootfall_build.freeze import FrozenRuntime
from tests.frozen.booting import Booted, boot, run
from tests.frozen.conftest import UUID
from tests.kernel import namespace

BUDGET = Path(__file__).with_name("budget.json")
CMDLINE = 'console=ttyS0 two="2 and" one quiet -- three'
# What the kernel hands to /init for that command line.
GIVEN, ARGV = {"HOME": "/", "TERM": "linux", "two": "2 and"}, ("one", "three")


# What makes the program say each import, as python -v does: in a bootloader of ours, and in PyInstaller's archive, where an
# option of the same length takes the place of another.
LOUD = {b"bootloader verbose=0": b"bootloader verbose=1", b"hash_seed=0": b"verbose\0\0\0\0"}


def loud(tree: Path) -> Path:
    """Make the program say each import."""
    program = tree / "usr/lib/rootfall/rootfall"
    data = program.read_bytes()
    quiet, said = next((quiet, said) for quiet, said in LOUD.items() if data.count(quiet) == 1)
    program.write_bytes(data.replace(quiet, said))
    return tree


def imported(booted: Booted) -> list[str]:
    """The modules that a loud program imported, builtin and frozen ones of the interpreter included."""
    return re.findall(r"^import '([\w.]+)' #", booted.console.replace("\r", ""), re.MULTILINE)


def test_as_another_process_than_pid_1_it_says_what_it_is(runtime: FrozenRuntime) -> None:
    done = subprocess.run([runtime.directory / "rootfall"], env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("rootfall: this is the frozen PID 1 of an initramfs")


def test_what_was_ignored_when_it_started_is_not_ignored_in_init(tree: Path, tmp_path: Path, disk: str) -> None:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGUSR1)}
    try:
        booted = boot(tree, tmp_path, disk, CMDLINE, GIVEN, *ARGV)
    finally:
        for number, disposition in before.items():
            signal.signal(number, disposition)
    assert booted.status == 7, booted.console
    assert booted.facts("signal") == []


def test_asked_to_prove_itself_it_does_so_but_never_as_pid_1(
    runtime: FrozenRuntime, tree: Path, tmp_path: Path, disk: str
) -> None:
    command = [str(runtime.directory / "rootfall"), "--prove"]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=True)
    assert done.stdout.endswith(": in order\n")
    booted = boot(tree, tmp_path, disk, "-- --prove", {}, "--prove")
    assert booted.facts("argv") == ["/sbin/init", "--prove"]


def test_the_real_init_runs_with_what_the_kernel_gave(tree: Path, tmp_path: Path, disk: str) -> None:
    booted = boot(tree, tmp_path, disk, CMDLINE, GIVEN, *ARGV)
    assert booted.status == 7, booted.console
    assert "REAL-ROOT init pid=1" in booted.console
    assert booted.facts("argv") == ["/sbin/init", "one", "three"]
    assert booted.facts("env") == [f"{name}={value}" for name, value in GIVEN.items()]
    assert booted.facts("fd") == ["0 /dev/console", "1 /dev/console", "2 /dev/console"]
    assert booted.facts("signal") == []
    assert re.search(
        r"rootfall: timeline: mount /proc /sys /dev /run [\d.]+-[\d.]+, make the plan [\d.]+-", booted.console
    )
    points = [line.split()[4] for line in booted.facts("mount")]
    assert {"/", "/proc", "/sys", "/dev", "/run"} <= set(points)
    assert points.count("/") == 1, "nothing of the initramfs is mounted any more"


def timeline(booted: Booted) -> dict[str, str]:
    spans = json.loads("\n".join(booted.facts("timeline")))["spans"]
    return {span["name"]: span["detail"] for span in spans}


def test_the_ready_form_is_used_and_after_a_change_the_yaml(tree: Path, tmp_path: Path, disk: str) -> None:
    """A root= that nobody gave: the UUID comes from the configuration, by one way or the other."""
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    assert "ready" in timeline(boot(tree, tmp_path / "1", disk, "quiet", {})).values()
    with (tree / "etc/rootfall/rootfall.yaml").open("a") as file:
        file.write("# a person was here\n")
    second = boot(tree, tmp_path / "2", disk, "quiet", {})
    assert second.status == 7, second.console
    assert "YAML" in timeline(second).values()


def test_a_broken_configuration_is_reported_with_its_line(tree: Path, tmp_path: Path) -> None:
    with (tree / "etc/rootfall/rootfall.yaml").open("a") as file:
        file.write("bot: {}\n")
    booted = boot(tree, tmp_path, "", "panic=5", {})
    assert "THIS BOOT FAILED" in booted.console
    assert re.search(r"rootfall\.yaml:\d+:1: bot", " ".join(booted.console.split()))
    assert booted.status == -signal.SIGHUP, "reboot(2) in a PID namespace; panic=5 holds without a configuration"


def test_no_such_device_ends_in_a_report_and_the_action(tree: Path, tmp_path: Path, disk: str) -> None:
    booted = boot(tree, tmp_path, disk, f"root=UUID={UUID[:-1]}8", {})
    text = " ".join(booted.console.split())
    assert f"{disk} 16 MiB TYPE=ext4 UUID={UUID}" in text
    assert "differs in one character" in text
    assert booted.status == -signal.SIGINT, "halt, in a PID namespace"


def test_an_init_that_the_kernel_refuses_is_reported_without_any_file_of_ours(
    tree: Path, tmp_path: Path, disk: str
) -> None:
    """After the point of no return: the program's own files are out of reach when the report is made.

    ELF, for this machine, static, and yet ENOEXEC: the preflight cannot know, so this is the one way to get there.
    """
    root = tmp_path / "root"
    root.mkdir()

    def spoil() -> None:
        libc.mount(disk, str(root), "ext4")
        header = bytearray((root / "sbin/init").read_bytes()[:4096])
        header[54:58] = bytes(4)  # e_phentsize, e_phnum: no program header
        (root / "sbin/broken").write_bytes(header)
        (root / "sbin/broken").chmod(0o755)

    namespace.run(spoil)
    booted = boot(loud(tree), tmp_path, disk, "init=/sbin/broken", {})
    after = booted.console.partition(": now")[2]
    assert "cannot execute init /sbin/broken" in after
    assert "Exec format error" in after
    assert "import '" not in after
    assert booted.status == -signal.SIGINT


def test_after_the_point_of_no_return_nothing_is_imported(tree: Path, tmp_path: Path, disk: str) -> None:
    booted = boot(loud(tree), tmp_path, disk, "", {})
    assert booted.status == 7, booted.console
    before, _, after = booted.console.partition(": now")
    assert "import 'rootfall.main'" in before
    assert "REAL-ROOT" in after
    assert "import '" not in after.partition("REAL-ROOT")[0]


def test_a_boot_imports_no_more_modules_than_its_budget(tree: Path, tmp_path: Path, disk: str) -> None:
    """A new import is a decision: about one millisecond of every boot for two. `budget.json` says what is allowed."""
    budget = json.loads(BUDGET.read_text())
    (tmp_path / "ready").mkdir()
    (tmp_path / "yaml").mkdir()
    found = {"ready": imported(boot(loud(tree), tmp_path / "ready", disk, "", {}))}
    with (tree / "etc/rootfall/rootfall.yaml").open("a") as file:
        file.write("# a person was here\n")
    found["yaml"] = imported(boot(tree, tmp_path / "yaml", disk, "", {}))
    for form, names in found.items():
        assert len(names) <= budget[form], f"{form}: {len(names)} imports: {' '.join(sorted(names))}"
        assert len(names) > budget[form] - 8, f"{form} needs {len(names)} only: lower it in {BUDGET.name}"
        unwanted = set(
            "re enum typing inspect dataclasses subprocess threading random tempfile logging pathlib".split()
        )
        assert not unwanted & set(names) - ({"re", "enum"} if form == "yaml" else set())


def test_it_starts_with_nothing_but_the_files_of_its_image(tree: Path, tmp_path: Path) -> None:
    """No /proc, no /dev, no environment: what there is when the kernel has unpacked an image without nodes."""

    def setup(terminal: str) -> None:
        root = namespace.tmpfs(tmp_path / "root")
        shutil.copytree(tree, root, symlinks=True, dirs_exist_ok=True)
        for name in ("proc", "sys", "dev", "run"):
            libc.mount("none", f"{root}/{name}", "tmpfs", libc.MS_RDONLY)
        namespace.become_root(root)

    booted = run(setup, ["/init"], {}, b"plan\nsh\nhalt\n")
    assert "THIS BOOT FAILED" in booted.console
    assert "/proc/cmdline" in booted.console
    assert "no plan was made" in booted.console
    assert "sh: not to be had here" in booted.console
    assert booted.status == -signal.SIGINT
