# SPDX-License-Identifier: MIT
"""The commands of docs/container.md are typed in, in their order, and print what it shows; its table of causes is complete."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import transcript
from tests.house.imports import HOUSE
from tests.kernel.test_container_pivot import WAYS

TEXT = (HOUSE / "docs/container.md").read_text()
SESSIONS = transcript.sessions(TEXT)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A PATH with a `rootfall` that is this one, and Debian's own Python for the examples."""
    path = [str(HOUSE), *(str(Path(each).absolute()) for each in sys.path if each)]
    program = tmp_path / "rootfall"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path[:] = {path!r}\nfrom rootfall.container import pivot_command\n"
        "if sys.argv[1] == 'container' and sys.argv[2] in ('pivot', 'explain'):\n"
        "    sys.exit(getattr(pivot_command, sys.argv[2])(sys.argv[3:]))\n"
        "from rootfall_build.cli import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


@pytest.mark.parametrize(("shell", "commands"), SESSIONS, ids=range(1, len(SESSIONS) + 1))
def test_a_session_prints_what_the_document_shows(
    shell: str, commands: list[transcript.Command], environment: dict[str, str]
) -> None:
    lack = subprocess.run([*shell.split()[:-1], "true"], capture_output=True, text=True, check=False)
    if lack.returncode:
        pytest.skip(f"no such namespaces here: {lack.stderr.strip()}")
    printed = transcript.play(shell, commands, environment)
    for command, output in zip(commands, printed, strict=True):
        assert transcript.same(command.shown, output), f"# {command.typed}\n{output}"


def test_there_are_sessions() -> None:
    assert sum(len(commands) for _, commands in SESSIONS) >= 15


def test_the_table_of_causes_is_complete() -> None:
    """Each cause that can be provoked is there, with its errno; what cannot be provoked in a namespace is two more."""
    rows = re.findall(r"^\| ([A-Z, ]+) \| `([^`]+)` \|", TEXT, re.MULTILINE)
    shown = {(code, cause) for codes, cause in rows for code in codes.split(", ")}
    provoked = {(code, cause) for _, code, cause, _ in WAYS}
    assert shown - provoked == {
        ("EACCES", "security module"),
        ("EINVAL", "initial ramfs"),
        ("EINVAL", "bottom of all mounts"),
    }
    assert provoked <= shown
