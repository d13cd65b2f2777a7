# SPDX-License-Identifier: MIT
"""The plan of a configuration: data that compares with ==, and a text for people."""

import pytest

from rootfall import plan
from rootfall.errors import DeviceError
from rootfall.model import BootConfig, Config, DeviceRef, ImageConfig, Root

DEVICE = DeviceRef("UUID", "0a1b2c3d-1111-2222-3333-444455556666")


def config(root: Root, modules: tuple[str, ...] = (), init: str = "/sbin/init") -> Config:
    return Config(1, BootConfig(root, init), ImageConfig(modules))


def test_a_plan_is_load_find_mount_switch() -> None:
    root = Root(DEVICE, "ext4,btrfs", ("noatime",), "rw", None, 2.5)
    assert plan.make_plan(config(root, ("virtio_blk", "ext4"), "/bin/busybox")) == plan.Plan(
        (
            plan.LoadModules(("virtio_blk", "ext4")),
            plan.FindRoot(DEVICE, None, 2.5),
            plan.MountRoot("/sysroot", ("ext4", "btrfs"), ("noatime",), "rw"),
        ),
        plan.SwitchRoot("/sysroot", "/bin/busybox"),
    )


def test_auto_is_no_type_at_all() -> None:
    assert plan.make_plan(config(Root(DEVICE))).steps[2] == plan.MountRoot("/sysroot", (), (), "ro")


def test_without_a_root_there_is_no_plan() -> None:
    with pytest.raises(DeviceError, match="root="):
        plan.make_plan(config(Root(None)))


def test_a_plan_reads_as_a_numbered_list() -> None:
    text = str(plan.make_plan(config(Root(DEVICE, delay=1.0), ("ext4",))))
    assert text == (
        "1. load the modules ext4, with what they need\n"
        f"2. pause for 1 s, then find the block device UUID={DEVICE.value}, waiting for up to 30 s\n"
        "3. mount it on /sysroot as the type that is on it, options ro\n"
        "4. check /sbin/init in /sysroot, move /proc /sys /dev /run over, switch root, execute /sbin/init"
    )


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (plan.LoadModules(()), "load no modules"),
        (plan.FindRoot(DEVICE, None, 0), "waiting for ever"),
        (plan.MountRoot("/m", ("a", "b"), ("x", "y=z"), "rw"), "as a or b, options rw,x,y=z"),
    ],
)
def test_each_step_says_what_it_will_do(step: plan.Step, words: str) -> None:
    assert words in str(step)
