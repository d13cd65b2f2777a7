# SPDX-License-Identifier: MIT
"""The wheel is whole: installed where there is no checkout, its commands work, and it declares what it imports."""

import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.house.imports import HOUSE, ROOTS, imports, sources

EXAMPLE = HOUSE / "examples/virtual-machine.yaml"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="the build backend is not here: pip install '.[test]'")
    directory = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*pip, str(directory), str(HOUSE)], check=True)
    return next(directory.glob("rootfall-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a clean environment with the wheel; what it depends on is lent by the one that runs this."""
    directory = tmp_path_factory.mktemp("clean")
    venv.create(directory, with_pip=False)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(directory)}))
    # A .pth file inside a lent directory is not read, so an editable rootfall does not come along.
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(directory / "bin/python"), "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-index", "--ignore-installed", str(wheel)], check=True)
    return directory / "bin"


def run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd="/", env={"LANG": "C.UTF-8"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(ROOTS.values())
    assert {f"{package}/py.typed" for package in ROOTS.values()} <= set(names)
    assert "rootfall_build/pid1.spec" in names
    here = {str(path.relative_to(HOUSE / root)) for root in ROOTS for path in sources(root).values()}
    assert here <= set(names)


def test_the_commands_work_without_the_checkout(installed: Path) -> None:
    assert run(installed / "rootfall", "--version").startswith("rootfall, version ")
    assert run(installed / "rootfall", "check", EXAMPLE) == f"{EXAMPLE}: in order\n"
    assert "--config" in run(installed / "rootfall-mkinitramfs", "--help")
    assert "execute sh as PID 2" in run(installed / "rootfall", "container", "run", "--plan", "/r", "sh")
    place = run(installed / "python", "-c", "import rootfall; print(rootfall.__file__)")
    assert Path(place).is_relative_to(installed.parent)


def test_every_distribution_that_is_imported_is_a_dependency_and_the_other_way_round() -> None:
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
    declared = {normal(re.split(r"[<>=!~ ;\[]", line)[0]) for line in project["dependencies"]}
    every = {name: path for root in ROOTS for name, path in sources(root).items()}
    used = {each.split(".")[0] for path in every.values() for each in imports(path, every)}
    providers = packages_distributions()
    foreign = used - sys.stdlib_module_names - set(ROOTS.values())
    # PyInstaller is run as a program, and pid1.spec is read by it; pytest brings its own plug-ins in.
    found = {normal(next(iter(providers[name]))) for name in foreign - {"pytest"}} | {"pyinstaller"}
    if "qemu" in foreign:
        found = found - {normal(each) for each in providers["qemu"]} | {"qemu-qmp"}
    assert found == declared


def normal(name: str) -> str:
    """The name of a distribution as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
