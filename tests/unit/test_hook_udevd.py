# SPDX-License-Identifier: MIT
"""What the hook udevd puts into an image: the daemon, the rules that were asked for, what they run, whom they name."""

import re
import subprocess
from pathlib import Path

import pytest

from rootfall.errors import BuildError
from rootfall_build.hooks import HookImage, Wants
from rootfall_build.image import File, Image, Symlink
from rootfall_hooks import udevd
from rootfall_hooks.udevd import Options, install

RULES = "usr/lib/udev/rules.d"
FILES = {
    f"{RULES}/50-udev-default.rules": 'SUBSYSTEM=="block", GROUP="disk"\nKERNEL=="x", GROUP="$result"\n',
    f"{RULES}/60-persistent-storage.rules": (
        'KERNEL=="sd*", IMPORT{program}="ata_id --export $devnode"\n'
        'KERNEL=="sd*", IMPORT{program}="scsi_id"\n# RUN+="commented_out"\n'
    ),
    f"{RULES}/70-more.rules": 'KERNEL=="y", RUN+="helper"\n',
    "etc/udev/rules.d/90-site.rules": 'KERNEL=="vda", \\\n  PROGRAM="/opt/namer %k", SYMLINK+="x"\n',
    "etc/udev/rules.d/70-more.rules": "# the site's own\n",
    "etc/udev/udev.conf": "",
    "etc/group": "root:x:0:\ndisk:x:6:somebody\nsecret:x:7:\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nsomebody:x:1000:1000::/home:/bin/sh\n",
    "usr/lib/udev/hwdb.bin": "hwdb",
    "opt/namer": "#!/bin/sh\n",
    "usr/bin/sh": "",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "program"
    code = "int main(void) { return 0; }"
    subprocess.run(["gcc", "-static", "-s", "-o", path, "-x", "c", "-"], input=code, text=True, check=True)
    return path


@pytest.fixture
def root(tmp_path: Path, program: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "usr/lib/systemd").mkdir()
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "usr/lib/systemd/systemd-udevd").symlink_to("/bin/udevadm")
    for name in ("usr/bin/udevadm", "usr/lib/udev/ata_id", "usr/lib/udev/helper"):
        (tmp_path / name).write_bytes(program.read_bytes())
    (tmp_path / "etc/udev/rules.d/80-net-setup-link.rules").symlink_to("/dev/null")
    return tmp_path


class Built:
    """What was installed."""

    def __init__(self, root: Path, options: Options) -> None:
        self.image, self.wants, self.notes = Image(), Wants(), list[str]()
        install(HookImage(self.image, "udevd", options, root, self.wants, self.notes.append))
        self.paths = {placed.entry.path for placed in self.image}

    def text(self, path: str) -> str:
        entry = self.image[path].entry
        assert isinstance(entry, File)
        return entry.read().decode()


def test_the_daemon_is_there_under_its_name_and_the_index_for_its_kmod(root: Path) -> None:
    built = Built(root, Options())
    assert built.image["usr/lib/systemd/systemd-udevd"].entry == Symlink(
        "usr/lib/systemd/systemd-udevd", "/bin/udevadm"
    )
    assert isinstance(built.image["usr/bin/udevadm"].entry, File)
    assert built.wants.index


def test_without_options_there_are_the_rules_for_disks_and_what_they_run_and_no_more(root: Path) -> None:
    built = Built(root, Options())
    assert {path for path in built.paths if path.endswith(".rules")} == {
        f"{RULES}/50-udev-default.rules",
        f"{RULES}/60-persistent-storage.rules",
    }
    assert "usr/lib/udev/ata_id" in built.paths
    assert {"usr/lib/udev/scsi_id", "usr/lib/udev/helper", "usr/lib/udev/hwdb.bin"}.isdisjoint(built.paths)


def test_of_users_and_groups_those_that_the_rules_name_are_there_by_their_numbers(root: Path) -> None:
    built = Built(root, Options())
    assert built.text("etc/group") == "root:x:0:\ndisk:x:6:\n"
    assert built.text("etc/passwd") == "root:x:0:0::/:/usr/sbin/nologin\n"


def test_the_rules_of_the_site_come_with_their_programs_and_hide_those_of_their_name(root: Path) -> None:
    built = Built(root, Options(site_rules=True, rules=("70-more.rules",)))
    assert {
        "etc/udev/rules.d/90-site.rules",
        "etc/udev/rules.d/70-more.rules",
        "opt/namer",
        "usr/bin/sh",
    } <= built.paths
    assert f"{RULES}/70-more.rules" not in built.paths
    masked = "etc/udev/rules.d/80-net-setup-link.rules"
    assert built.image[masked].entry == Symlink(masked, "/dev/null")


def test_more_rules_are_taken_by_name_the_site_s_first(root: Path) -> None:
    (root / "etc/udev/rules.d/70-more.rules").unlink()
    built = Built(root, Options(rules=("70-more.rules", "90-site.rules")))
    assert {
        f"{RULES}/70-more.rules",
        "usr/lib/udev/helper",
        "etc/udev/rules.d/90-site.rules",
        "opt/namer",
    } <= built.paths


def test_programs_and_the_hardware_database_come_when_asked_for(root: Path, program: Path) -> None:
    (root / "usr/bin/tool").write_bytes(program.read_bytes())
    built = Built(root, Options(programs=("/usr/bin/tool",), hwdb=True))
    assert {"usr/bin/tool", "usr/lib/udev/hwdb.bin"} <= built.paths


def test_without_udev_the_build_ends_and_names_the_package(root: Path) -> None:
    (root / "usr/lib/systemd/systemd-udevd").unlink()
    with pytest.raises(BuildError, match="install the Debian package udev") as caught:
        Built(root, Options())
    assert str(root) in caught.value.seen


@pytest.mark.parametrize(
    ("options", "removed", "said"),
    [
        (Options(rules=("99-none.rules",)), "", "99-none.rules"),
        (Options(site_rules=True), "opt/namer", "/opt/namer"),
        (Options(programs=("/usr/bin/none",)), "", "/usr/bin/none"),
    ],
)
def test_what_the_site_asks_for_and_is_not_there_ends_the_build(
    root: Path, options: Options, removed: str, said: str
) -> None:
    if removed:
        (root / removed).unlink()
    with pytest.raises(BuildError, match=re.escape(said)):
        Built(root, options)


def test_a_program_that_a_rule_of_the_site_would_only_run_is_told_and_left_out(root: Path) -> None:
    (root / "etc/udev/rules.d/90-site.rules").write_text('RUN+="/usr/bin/gone --now"\n')
    assert ["/usr/bin/gone" in each for each in Built(root, Options(site_rules=True)).notes] == [True]


def test_every_rule_file_that_is_put_in_by_itself_is_one_of_udev_s_own() -> None:
    assert all(re.fullmatch(r"\d\d-[a-z_-]+\.rules", name) for name in udevd.RULES)
