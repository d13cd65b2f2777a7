# SPDX-License-Identifier: MIT
"""Hooks at build time: those of the site are found, what they install is in the image, and only their boot half is frozen."""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import jsonschema
import pytest
import yaml

from rootfall import config
from rootfall.errors import BuildError, ConfigError
from rootfall_build import boot_half, cpio, freeze, rootfs, symbol_versions
from rootfall_build.build import Request, build
from rootfall_build.cli import main
from rootfall_build.hooks import Available, HookImage, Wants, install
from rootfall_build.image import File, Image, Symlink
from rootfall_build.progress import Silent
from tests.unit.test_build_build import Runtime
from tests.unit.test_build_build import freeze as stand_in
from tests.unit.test_build_modules import VERSION, tree

SITE = '''\
"""A hook of a site."""
from pathlib import PurePosixPath
from rootfall.hook import Option
from rootfall.record import NamedTuple

DOES = "say hello"
OPTIONS = (Option("name", "text", "Who."),)
_WHERE = PurePosixPath("/etc/hello")

class Options(NamedTuple):
    name: str = "you"

def _path():
    return str(_WHERE)

def install(image):
    image.add_file(_path(), image.options.name.encode())
    image.add_modules("jbd2")

def perform(options, boot):
    return "hello " + options.name
'''


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory with a configuration that uses a hook of its own."""
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks/hello.py").write_text(SITE)
    text = "version: 1\nboot: {hooks: [hello: {name: Zoë}]}\nimage: {hooks_from: hooks}\n"
    (tmp_path / "rootfall.yaml").write_text(text)
    return tmp_path


def test_a_hook_of_the_site_is_found_beside_the_configuration(site: Path) -> None:
    _, loaded = config.load(str(site / "rootfall.yaml"), Available(site))
    assert [(each.name, each.options) for each in loaded.boot.hooks] == [("hello", (("name", "Zoë"),))]
    assert Available(site).files(loaded) == (site / "hooks/hello.py",)
    assert not (site / "hooks/__pycache__").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("perform = 1 +", "hello.py: SyntaxError"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("DOES = 'x'", "it has no `perform`"),
    ],
)
def test_a_hook_of_the_site_that_is_none_is_named_with_the_reason(site: Path, text: str, said: str) -> None:
    (site / "hooks/hello.py").write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(str(site / "rootfall.yaml"), Available(site))
    assert "rootfall.yaml:2:16: boot.hooks[0]: the hook hello is not usable: " in str(caught.value)
    assert said in str(caught.value)


def test_a_hook_of_the_site_cannot_take_the_name_of_one_of_ours(site: Path) -> None:
    (site / "hooks/udevd.py").write_text(SITE)
    with pytest.raises(ValueError, match=r"udevd\.py has the name of a hook of rootfall's"):
        Available(site).load("udevd", "hooks")


def test_the_schema_for_editors_knows_the_hooks_of_the_site(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site)
    assert main(["check", "--schema", "--hooks-from", "hooks"]) == 0
    validator = jsonschema.Draft202012Validator(json.loads(capsys.readouterr().out))
    assert validator.is_valid(yaml.safe_load((site / "rootfall.yaml").read_text()))
    assert not validator.is_valid({"version": 1, "boot": {"hooks": [{"hello": {"nam": "x"}}]}})
    assert main(["check", "rootfall.yaml"]) == 0
    assert main(["check", "rootfall.yaml", "--hooks-from", "hooks"]) == 2


def test_the_plan_on_a_laptop_shows_the_hooks_of_the_site(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(site / "rootfall.yaml"), "--append", "root=/dev/vda"]) == 0
    printed = capsys.readouterr().out
    assert "2. hook hello: say hello\n" in printed
    assert "rd.break= stops before: modules, hook, device, mount, switch\n" in printed


def test_an_image_holds_what_a_hook_installs_and_the_modules_that_it_wants(site: Path) -> None:
    tree(site)
    frozen: list[Path] = []

    def freeze(cache: Path, progress: Callable[[str], None], hooks: Sequence[Path] = ()) -> Runtime:
        frozen.extend(hooks)
        return stand_in(cache, progress)

    request = Request(site / "rootfall.yaml", VERSION, site, site / "out.img", ("none", None))
    build(request, freeze, site / "cache", Silent())
    found = rootfs.unpack(cpio.read(request.output.read_bytes()))
    assert bytes(found["etc/hello"].data).decode() == "Zoë"
    assert [path for path in found if path.endswith("jbd2.ko")]
    assert frozen == [site / "hooks/hello.py"]


def image_of(root: Path) -> tuple[Image, HookImage, list[str]]:
    image, notes = Image(), list[str]()
    return image, HookImage(image, "test", (), root, Wants(), notes.append), notes


def test_a_program_comes_with_its_libraries_and_the_links_that_name_it(tmp_path: Path) -> None:
    shutil.copy("/bin/true", tmp_path / "true")
    image, hook, _ = image_of(Path("/"))
    (tmp_path / "name").symlink_to("true")
    hook.add_program(str(tmp_path / "name"))
    below = str(tmp_path).lstrip("/")
    assert image[f"{below}/name"].entry == Symlink(f"{below}/name", "true")
    assert image[f"{below}/true"].entry == File(f"{below}/true", 0o755, tmp_path / "true")
    assert {placed.why for placed in image if placed.group == "libraries"} >= {f"interpreter of {tmp_path}/true"}


def test_a_script_comes_with_its_interpreter(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "usr/bin/tool").write_text("#!/bin/mysh -e\n")
    (tmp_path / "usr/bin/mysh").write_text("no program at all")
    image, hook, _ = image_of(tmp_path)
    hook.add_program("/bin/tool")
    assert {placed.entry.path for placed in image} >= {"usr/bin/tool", "usr/bin/mysh"}


def test_what_a_hook_cannot_find_ends_the_build_and_says_where_it_was_looked_for(tmp_path: Path) -> None:
    _, hook, _ = image_of(tmp_path)
    for ask, path in ((hook.add_program, "/usr/sbin/lvm"), (hook.add_file, "/etc/lvm.conf")):
        with pytest.raises(BuildError) as caught:
            ask(path)
        assert "(hook test)" in caught.value.subject
        assert str(tmp_path) in caught.value.seen


def test_a_link_to_dev_null_is_put_in_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/masked").symlink_to("/dev/null")
    image, hook, _ = image_of(tmp_path)
    hook.add_file("/etc/masked")
    assert image["etc/masked"].entry == Symlink("etc/masked", "/dev/null")
    assert "dev/null" not in image


def test_programs_from_a_place_that_is_none_are_refused(site: Path) -> None:
    text = (
        (site / "rootfall.yaml").read_text().replace("hooks_from: hooks", "hooks_from: hooks, programs_from: nowhere")
    )
    made = config.parse(text.encode(), "f", Available(site))
    with pytest.raises(BuildError, match="nowhere"):
        install(Image(), made, Available(site), Path("/"), print)


def library(place: Path, name: str, versions: str) -> Path:
    """A shared library that defines these versions, each with a function of its name."""
    script = "".join(f"{version} {{ global: f_{version}; }};\n" for version in versions.split())
    (place / "map").write_text(script)
    code = "".join(f"int f_{version}(void) {{ return 0; }}\n" for version in versions.split())
    place.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-shared", "-fPIC", "-nostdlib", f"-Wl,--version-script={place / 'map'},-soname,libv.so"]
    subprocess.run([*command, "-o", place / name, "-x", "c", "-"], input=code, text=True, check=True)
    return place / name


def test_a_library_stands_in_for_another_if_it_has_the_versions_that_are_asked_for(tmp_path: Path) -> None:
    both = library(tmp_path, "new/libv.so.2.0", "V1 V2")
    old = library(tmp_path, "old/libv.so", "V1")
    code = "int f_V1(void), f_V2(void); int main(void) { return f_V1() + f_V2(); }"
    user = tmp_path / "user"
    subprocess.run(["gcc", "-o", user, "-x", "c", "-", "-x", "none", both], input=code, text=True, check=True)
    assert symbol_versions.lacking(both, [user]) == []
    assert symbol_versions.lacking(old, [user]) == ["V2"]


def test_the_boot_half_has_no_install_nor_what_only_that_needs_and_keeps_its_lines() -> None:
    half = boot_half.of(SITE, "hello.py")
    assert "pathlib" not in half
    assert "install" not in half
    assert "_path" not in half
    assert "_WHERE" not in half
    lines = SITE.splitlines()
    assert [line for line in half.splitlines() if line and line not in lines] == []
    assert half.splitlines().index("def perform(options, boot):") == lines.index("def perform(options, boot):")


def test_the_boot_half_of_our_own_hooks_uses_nothing_that_pid_1_has_not() -> None:
    for name in Available(Path()).names(""):
        source = Path(freeze.__file__).parents[2] / "hooks/rootfall_hooks" / f"{name}.py"
        half = boot_half.of(source.read_text(), str(source))
        assert "def install" not in half
        assert "import re\n" not in half


def test_the_key_of_the_frozen_program_depends_on_the_chosen_hooks_alone(site: Path) -> None:
    plain, one = freeze._digest(), freeze._digest([site / "hooks/hello.py"])
    assert plain != one
    (site / "hooks/other.py").write_text(SITE)
    assert freeze._digest([site / "hooks/hello.py"]) == one
    (site / "hooks/hello.py").write_text(SITE + "# changed\n")
    assert freeze._digest([site / "hooks/hello.py"]) != one
