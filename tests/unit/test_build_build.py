# SPDX-License-Identifier: MIT
"""A whole build, with a small stand-in for the frozen runtime: what the image holds, and that it is always the same."""

import io
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from rootfall.errors import BuildError, ConfigError
from rootfall_build import cpio, output, rootfs
from rootfall_build.build import Request, build
from rootfall_build.cli import COMMANDS, main
from rootfall_build.progress import Lines, Silent
from tests.unit.test_build_modules import VERSION, tree

CONFIG = """\
version: 1
boot:
  root: {device: UUID=0a1b2c3d-1111-2222-3333-444455556666}
image:
  modules: [ext4, btrfs]
"""


class Runtime(NamedTuple):
    directory: Path
    digest: str


def freeze(cache: Path, progress: Callable[[str], None], hooks: Sequence[Path] = ()) -> Runtime:
    """A onedir as PyInstaller makes it, with a real program in it."""
    directory = cache / "runtime"
    if not directory.is_dir():
        (directory / "_internal").mkdir(parents=True)
        source = b"int main(void) { return 0; }"
        subprocess.run(["gcc", "-o", directory / "rootfall", "-x", "c", "-"], input=source, check=True)
        (directory / "_internal/base_library.zip").write_bytes(b"zip")
    return Runtime(directory, "0")


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    tree(tmp_path)
    (tmp_path / "rootfall.yaml").write_text(CONFIG)
    return Request(tmp_path / "rootfall.yaml", VERSION, tmp_path, tmp_path / "out.img")


def make(request: Request) -> dict[str, cpio.Member]:
    build(request, freeze, request.modules / "cache", Silent())
    return rootfs.unpack(cpio.read(request.output.read_bytes()))


def test_the_image_holds_what_pid_1_counts_on(request_: Request) -> None:
    found = make(request_)
    text = {path: f"{stat.filemode(found[path].mode)} {found[path].rdev}" for path in found if path.startswith("dev/")}
    assert text == {
        "dev/console": "crw------- (5, 1)",
        "dev/kmsg": "crw------- (1, 11)",
        "dev/null": "crw-rw-rw- (1, 3)",
        "dev/urandom": "crw-rw-rw- (1, 9)",
    }
    for path in ("proc", "sys", "dev", "run", "sysroot", "tmp", "etc"):
        assert stat.S_ISDIR(found[path].mode)
    assert {path: bytes(found[path].data).decode() for path in ("init", "bin", "sbin", "lib", "lib64")} == {
        "init": "usr/lib/rootfall/rootfall",
        "bin": "usr/bin",
        "sbin": "usr/sbin",
        "lib": "usr/lib",
        "lib64": "usr/lib64",
    }
    assert bytes(found["etc/rootfall/rootfall.yaml"].data) == CONFIG.encode()
    assert {(member.uid, member.gid, member.mtime) for member in found.values()} == {(0, 0, 0)}


def test_the_plan_in_the_image_is_the_configuration_beside_it(request_: Request) -> None:
    from rootfall import config

    found = make(request_)
    text, loaded = config.load(str(request_.config))
    assert config.read_ready(bytes(found["etc/rootfall/rootfall.plan"].data), text) == loaded


def test_init_and_its_loader_and_libraries_are_all_found_inside_the_image(request_: Request) -> None:
    found = make(request_)
    assert stat.S_IMODE(rootfs.look_up(found, "/init", "x").mode) == 0o755
    headers = subprocess.run(
        ["readelf", "-ld", request_.modules / "cache/runtime/rootfall"], capture_output=True, text=True, check=True
    ).stdout
    loader = headers.partition("interpreter: ")[2].partition("]")[0]
    assert stat.S_ISREG(rootfs.look_up(found, loader, "x").mode)
    loaders = [path for path, member in found.items() if "ld-linux" in path and stat.S_ISREG(member.mode)]
    assert len(loaders) == 1


def test_the_same_image_from_everywhere(request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = []
    for place, mask in (("a", 0o077), ("b", 0o000)):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        monkeypatch.setenv("HOME", str(tmp_path / place))
        before = os.umask(mask)
        try:
            make(_with(request_, Path("x.img")))
        finally:
            os.umask(before)
        images.append(Path("x.img").read_bytes())
        assert stat.S_IMODE(Path("x.img").stat().st_mode) == 0o600
    assert images[0] == images[1]
    assert str(tmp_path).encode() not in b"".join(cpio_bytes(images[0]))


def _with(request: Request, where: Path) -> Request:
    return Request(request.config, request.kernel, request.modules, where, request.compress)


def cpio_bytes(image: bytes) -> Iterator[bytes]:
    for member in cpio.read(image):
        yield member.path.encode()
        # gcc writes no build path into this program; the kernel modules are ours.
        yield bytes(member.data)


def test_source_date_epoch_is_the_time_of_everything(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert {member.mtime for member in make(request_).values()} == {1700000000}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(BuildError, match="SOURCE_DATE_EPOCH 'yesterday'"):
        make(request_)


def test_a_build_says_its_steps_and_its_weights_in_plain_lines(request_: Request) -> None:
    stream = io.StringIO()
    with Lines(stream) as progress:
        made = build(request_, freeze, request_.modules / "cache", progress)
    assert "Choosing kernel modules ...\n  btrfs is built into kernel 9.9.9-test\n" in stream.getvalue()
    text = "\n".join(made.lines())
    assert made.packed == request_.output.stat().st_size
    assert "zstd -3" in text
    assert {group.name for group in made.groups} == {"python runtime", "libraries", "kernel modules", "configuration"}


@contextmanager
def nothing_written(request: Request) -> Iterator[None]:
    def seen() -> tuple[list[str], bytes]:
        names = (path.name for path in request.output.parent.iterdir())
        return sorted(name for name in names if name != "cache"), request.output.read_bytes()

    before = seen()
    yield
    assert seen() == before


def test_a_failed_build_leaves_what_was_there(request_: Request) -> None:
    request_.output.write_bytes(b"the old one")
    with nothing_written(request_):
        request_.config.write_text(CONFIG.replace("ext4", "ext5"))
        with pytest.raises(BuildError, match="did you mean ext4"):
            make(request_)
        request_.config.write_text(CONFIG.replace("root:", "rot:"))
        with pytest.raises(ConfigError):
            make(request_)


def test_an_interrupt_while_writing_leaves_what_was_there(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    request_.output.write_bytes(b"the old one")

    def interrupted(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with nothing_written(request_), pytest.raises(KeyboardInterrupt):
        make(request_)


def test_an_output_that_cannot_be_is_refused_before_any_work(request_: Request, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for path, said in ((tmp_path / "none/x", "no directory .*mkdir -p"), (tmp_path / "d", "no regular file")):
        with pytest.raises(BuildError, match=said):
            output.check(path)


def run(*argv: object) -> int:
    return main([str(word) for word in argv])


def test_list_and_cat_read_what_was_built(request_: Request, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    make(request_)
    assert run("list", request_.output) == 0
    assert b"\nlib64\n" in capsysbinary.readouterr().out
    assert run("list", "-l", request_.output) == 0
    assert b"crw-------     0:0       5, 1 1970-01-01 00:00 dev/console\n" in capsysbinary.readouterr().out
    assert run("list", "--json", request_.output) == 0
    records = {record["path"]: record for record in json.loads(capsysbinary.readouterr().out)}
    assert records["init"]["target"] == "usr/lib/rootfall/rootfall"
    assert run("cat", request_.output, "/etc/rootfall/rootfall.yaml") == 0
    assert capsysbinary.readouterr().out == CONFIG.encode()


def test_errors_are_one_message_and_a_status(request_: Request, capsys: pytest.CaptureFixture[str]) -> None:
    request_.output.write_bytes(b"hello")
    assert run("list", request_.output) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert run("cat", request_.output, "x") == 1
    assert run("check", request_.config) == 0
    request_.config.write_text("version: 1\nbot: {}\n")
    assert run("check", request_.config) == 2
    assert "rootfall.yaml:2:1" in capsys.readouterr().err
    assert run("check") == 2
    assert run("bild") == 2
    words = ("--config", "x", "--kernel", "x", "--modules", "x", "--output", "x")
    assert run("build", *words, "--compress", "zstd:99") == 2
    assert "1 to 22" in capsys.readouterr().err


def test_help_and_version_import_no_command() -> None:
    code = "import sys; from rootfall_build.cli import main; main(['--help']); main(['--version'])"
    code += (
        "; print(sorted(n for n in sys.modules if n.split('.')[0] in ('rich', 'yaml', 'elftools', 'rootfall_qemu')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


def test_a_reader_that_goes_away_is_no_error(request_: Request) -> None:
    make(request_)
    code = "import sys; from rootfall_build.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "cat", str(request_.output), "/lib/x86_64-linux-gnu/libc.so.6"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE
