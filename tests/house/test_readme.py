# SPDX-License-Identifier: MIT
"""Every command in the README is run, in its order and in one directory, and prints what the README shows."""

import re
from pathlib import Path

import pytest

from tests.house import readme
from tests.house.imports import HOUSE

TEXT = readme.FILE.read_text()
COMMANDS = [each for each in readme.commands(TEXT) if not each[0].startswith(readme.NOT_HERE)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    new = tmp_path_factory.mktemp("readme")
    readme.prepare(new, TEXT)
    return new


@pytest.mark.vm
@pytest.mark.frozen
@pytest.mark.parametrize(("command", "shown"), COMMANDS, ids=[command.split(" -")[0] for command, _ in COMMANDS])
def test_a_command_prints_what_the_readme_shows(directory: Path, command: str, shown: str) -> None:
    if command.startswith(readme.CONTAINER) and (lack := readme.no_container()):
        pytest.skip(lack)
    printed = readme.run(command, directory)
    assert readme.same(command, shown, printed), f"$ {command}\n{printed}"


def test_the_demo_shows_the_real_init() -> None:
    assert re.search(r"^REAL-ROOT init pid=1$", dict(COMMANDS)[readme.DEMO], re.MULTILINE)


def test_the_targets_of_make_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (HOUSE / "Makefile").read_text(), re.MULTILINE))
    texts = [TEXT, (HOUSE / "CONTRIBUTING.md").read_text()]
    assert {name for text in texts for name in re.findall(r"(?:`|\$ )make ([a-z-]+)", text)} <= targets


def test_the_files_that_the_documents_link_to_exist() -> None:
    for document in [*HOUSE.glob("*.md"), *HOUSE.glob("docs/**/*.md")]:
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
        assert [link for link in links if not (document.parent / link).exists()] == [], document
