# SPDX-License-Identifier: MIT
"""What the kernel command line and the configuration ask for is what the real init finds: root, options, mode, init."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_qemu.debian import fetch_kernel
from tests.boot import images
from tests.boot.roots import LABEL, PARTLABEL, PARTUUID, UUID
from tests.guest.report import Witness

pytestmark = pytest.mark.vm

Witnessed = Callable[..., Witness]


def root_options(seen: Witness) -> set[str]:
    return {option for mount in seen.mounts or () if mount.point == "/" for option in mount.options.split(",")}


@pytest.mark.parametrize(
    ("series", "root"),
    [
        ("6.1", f"PARTUUID={PARTUUID.upper()}"),
        ("6.12", f"PARTLABEL={PARTLABEL}"),
        ("6.12", f"/dev/disk/by-uuid/{UUID}"),
        ("6.1", "254:1"),
        ("7", "/dev/vda1"),
    ],
)
def test_the_root_may_be_named_in_any_of_these_ways(series: str, root: str, witnessed: Witnessed) -> None:
    seen = witnessed(fetch_kernel(series), f'"root={root}"')
    assert [mount.source for mount in seen.mounts or () if mount.point == "/"] == ["/dev/vda1"]
    assert seen.argv == ("/sbin/init",)
    assert "ro" in root_options(seen)


def test_a_label_with_spaces_rw_and_rootflags_are_heard(witnessed: Witnessed) -> None:
    seen = witnessed(
        fetch_kernel("6.1"), f'ro "root=LABEL={LABEL}" rw rootfstype=ext3,ext4 rootflags=noatime,commit=30'
    )
    assert {"rw", "noatime"} <= root_options(seen)
    assert seen.logged("rootfall: mount: mount /dev/vda1 on /sysroot: ext4, rw")


def test_another_init_gets_the_arguments_that_follow_it_and_no_others(witnessed: Witnessed) -> None:
    seen = witnessed(fetch_kernel("7"), f"root=UUID={UUID} before init=/sbin/other after 'x y' -- -z")
    assert seen.argv == ("/sbin/other", "after", "'x", "y'", "-z")
    assert seen.exe == "/sbin/init"
    assert set(seen.environ) == {"HOME=/", "TERM=linux"}


def test_an_init_that_is_not_there_is_passed_over_aloud_for_the_kernels_own_list(witnessed: Witnessed) -> None:
    seen = witnessed(fetch_kernel("6.12"), f"root=UUID={UUID} init=/nonexistent word")
    assert seen.argv == ("/sbin/init", "word")
    assert seen.logged("rootfall: init: pass over: /nonexistent: No such file or directory")


def test_the_configuration_alone_is_enough_and_an_edited_one_is_parsed_though_the_plan_is_stale(
    image: Callable[..., Path], witnessed: Witnessed, tmp_path: Path
) -> None:
    kernel = fetch_kernel("6.1")
    wrong = UUID.replace("5", "6")
    made = image(kernel, config(f"{{device: UUID={wrong}}}"))
    right = config(f"{{device: UUID={UUID}, mode: rw, options: [noatime]}}").replace("/sbin/init", "/sbin/other")
    seen = witnessed(kernel, "word", images.edited(made, tmp_path / "edited.img", {images.YAML: right.encode()}))
    assert seen.argv == ("/sbin/other", "word")
    assert {"rw", "noatime"} <= root_options(seen)
    timeline = json.loads(seen.files["timeline.json"] or "")
    assert [span["detail"] for span in timeline["spans"] if span["name"] == "make the plan"] == ["YAML"]


def config(root: str) -> str:
    return (
        f"version: 1\nboot:\n  root: {root}\n  init: /sbin/init\nimage: {{modules: [virtio_pci, virtio_blk, ext4]}}\n"
    )
