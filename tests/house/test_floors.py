# SPDX-License-Identifier: MIT
"""Imports go down only (docs/architecture.md): lazy ones, and those for type checkers, count too."""

import graphlib

import pytest

from rootfall_build.build import cache_directory
from rootfall_build.freeze import freeze
from tests.house.imports import ROOTS, imports, sources

# From the top. A module may import what is on its own floor, without circles, and what is below.
FLOORS = (
    "__main__ frozen_import frozen_encodings",
    "main",
    "plan steps emergency findings report save shell stops prove switch_root_command container.command container.launch "
    "container.pivot_command container.run_command container.boot_command",
    "devices near_miss block_links dps progress hardware modules mounts new_root switch_root pivot_root systemd console "
    "timeline "
    "container.cgroups container.cgroup_events container.cgroup_files container.cgroup_keeper container.cgroup_v1 "
    "container.cgroup_v2 container.config container.failure container.id_maps container.namespaces "
    "container.privileges container.process container.profile container.program container.reaper container.refusal "
    "container.subordinate container.terminal container.wait "
    "container.attach container.attributes container.cgroup_view container.dev container.enter container.hide "
    "container.in_root container.mount_walk container.mounts container.observe container.overlay container.ramfs "
    "container.boot container.shutdown",
    "cmdline config check schema similar hook hook_list yaml_tree device_ref modalias mountinfo ready "
    "linux linux.blkid linux.kernel linux.libc linux.process linux.signals linux.standins linux.seccomp linux.tty linux.udev "
    "linux.capabilities linux.mount_api linux.namespaces linux.statx password "
    "container container.model container.plan container.defaults container.forms container.option_table container.options "
    "container.seccomp container.diagnose container.facts container.mount_checks",
    "model errors record frozen_abc",
)
PURE = (
    "cmdline config check schema similar hook hook_list yaml_tree device_ref modalias mountinfo ready model errors record "
    "container container.model container.plan container.defaults container.forms container.option_table container.options "
    "container.seccomp container.diagnose container.facts container.mount_checks"
).split()
# What each import root may use of the others. The builder reads configurations and prints plans; it performs nothing. Of
# `mounts` it takes the table, of `modules` the index and its ready form; `rootfall switch-root` is PID 1's own, and so is
# `rootfall container`.
ALLOWED = {
    "init": {"rootfall"},
    "hooks": {"rootfall", "rootfall_hooks"},
    "build": {"rootfall", "rootfall_hooks", "rootfall_build", "rootfall_qemu"},
    "qemu": {"rootfall", "rootfall_qemu"},
}
OF_ROOTFALL = {
    "build": {*PURE, "plan", "mounts", "modules", "switch_root_command", "container.command", "container.config"},
    "qemu": {"errors"},
}

EVERY = {name: path for root in ROOTS for name, path in sources(root).items()}
PID1 = sources("init")
HEIGHT = {name: -depth for depth, floor in enumerate(FLOORS) for name in floor.split()}


def ours(root: str) -> dict[str, set[str]]:
    """Each module of an import root, and what it imports of the four."""
    found = {name: imports(path, EVERY) for name, path in sources(root).items()}
    return {name: {each for each in names if each.split(".")[0] in ROOTS.values()} for name, names in found.items()}


def short(name: str) -> str:
    return name.removeprefix("rootfall.")


def test_each_module_of_pid_1_has_its_floor() -> None:
    assert {short(name) for name in PID1} - {"rootfall"} == set(HEIGHT)


@pytest.mark.parametrize("module", sorted(set(PID1) - {"rootfall"}))
def test_a_module_of_pid_1_imports_its_own_floor_and_what_is_below(module: str) -> None:
    wanted = ours("init")[module] - {"rootfall"}
    assert {each for each in wanted if HEIGHT[short(each)] > HEIGHT[short(module)]} == set()


def test_there_is_no_circle_of_imports() -> None:
    # In qemu/ there is one, on purpose: a machine asks for the accelerator, and that is found by starting a machine.
    graph = {name: names - {name} for root in ROOTS if root != "qemu" for name, names in ours(root).items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_the_pure_wing_does_not_touch_the_world() -> None:
    found = ours("init")
    assert {name: found[f"rootfall.{name}"] for name in PURE} == {
        name: {each for each in found[f"rootfall.{name}"] if short(each) in {*PURE, "rootfall"}} for name in PURE
    }


@pytest.mark.parametrize("root", ROOTS)
def test_an_import_root_uses_only_the_others_that_it_may(root: str) -> None:
    used = {each.split(".")[0] for names in ours(root).values() for each in names}
    assert used <= ALLOWED[root]


@pytest.mark.parametrize("root", OF_ROOTFALL)
def test_outside_of_pid_1_only_its_pure_parts_are_used(root: str) -> None:
    used = {each for names in ours(root).values() for each in names if each.split(".")[0] == "rootfall"}
    assert {short(each) for each in used} - {"rootfall"} <= OF_ROOTFALL[root]


def test_the_door_leads_to_the_builder_alone() -> None:
    door = sources("build")["rootfall_build"].parents[1] / "mkinitramfs.py"
    assert imports(door, EVERY) == {"sys", "pathlib", "rootfall_build.cli"}


@pytest.mark.frozen
def test_nothing_of_the_builder_is_frozen() -> None:
    held = (freeze(cache_directory()).directory.parent / "modules").read_text().split()
    assert {name.split(".")[0] for name in held} & set(ROOTS.values()) <= {"rootfall", "rootfall_hooks"}
    assert "rootfall.main" in held
