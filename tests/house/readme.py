# SPDX-License-Identifier: MIT
"""The commands of the README and what it shows of their output; `python -m tests.house.readme` writes new output into it.

A block ```console holds commands (`$ …`) and their output. Numbers and UUIDs are not compared (they differ between
machines), nor white space, nor the bars of a chart; a line `...` stands for any lines. `make` is not run inside itself:
the program behind `make demo` is run instead. All run in one directory, in the order of the README.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rootfall_qemu.debian import fetch_kernel
from tests.guest import demo
from tests.house.imports import HOUSE
from tests.kernel import namespace

FILE = HOUSE / "README.md"
DEMO = "make demo"
NOT_HERE = ("make test", "git clone")
CONTAINER = "rootfall container run"
# Only the first time: later PID 1 and the kernel come from the cache.
ONCE = ("freeze PID 1 with PyInstaller", "link PID 1 with its interpreter", "demo: fetch Debian's kernel")
TIMEOUT = 300


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command with the output that is shown."""
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def prepare(directory: Path, text: str) -> None:
    """Put the README's boot.yaml into `directory`, and a `rootfall` that is this one."""
    configuration = re.search(r"`boot\.yaml`.*?^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert configuration, "the README shows no boot.yaml"
    (directory / "boot.yaml").write_text(configuration[1])
    program = directory / "bin/rootfall"
    program.parent.mkdir()
    start = f"import sys\nsys.path[:] = {_path()!r}\nfrom rootfall_build.cli import main\nsys.exit(main())\n"
    program.write_text(f"#!{sys.executable}\n{start}")
    program.chmod(0o755)


def _path() -> list[str]:
    return [str(HOUSE), *(str(Path(each).absolute()) for each in sys.path if each)]


def no_container() -> str:
    """Why this machine's root cannot be a container's; empty where it can."""
    if os.geteuid():
        return "an overlay over the machine's own root needs root"
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    if not any(line.split()[4] == "/" for line in mounts):
        return "the root of this machine is no mount: it was entered with chroot"
    lack = namespace.why_not()
    return f"no mount and PID namespaces here: {lack}" if lack else ""


def run(command: str, directory: Path) -> str:
    """What a command prints, both streams; line ends are those of a terminal."""
    # The newest 6.1 may be newer than the README's.
    command = re.sub(r"\b6\.1\.0-\d+-amd64\b", fetch_kernel(demo.SERIES).version, command)
    command = command.replace(DEMO, f"{sys.executable} -m tests.guest.demo")
    path = {"PATH": f"{directory / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(_path())}
    done = subprocess.run(
        command,
        shell=True,
        cwd=directory,
        env={**os.environ, **path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT,
    )
    text = re.sub(r"\r+\n", "\n", done.stdout.decode()).replace("\r", "\n")
    return text.strip("\n") + "\n" * bool(text)


def compared(output: str) -> list[str]:
    """What is compared of an output."""
    output = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID", output)
    plain = (" ".join(re.sub("[━…]", " ", line).split()) for line in output.splitlines())
    return [re.sub(r"\d+", "0", line) for line in plain if line and not line.startswith(ONCE)]


def fits(shown: list[str], printed: list[str]) -> bool:
    """Whether `printed` is what is shown, `...` being any number of lines."""
    if not shown:
        return not printed
    if shown[0] == "...":
        return any(fits(shown[1:], printed[start:]) for start in range(len(printed) + 1))
    return bool(printed) and shown[0] == printed[0] and fits(shown[1:], printed[1:])


def same(command: str, shown: str, printed: str) -> bool:
    """Whether the README tells the truth about a command."""
    left, right = compared(shown), compared(printed)
    # Modules load in parallel: the demo's chart has not the same order twice.
    return sorted(left) == sorted(right) if command == DEMO else fits(left, right)


def main() -> int:
    """Write what is printed now where it is not what is shown; the README is read over by a person after that."""
    text = FILE.read_text()
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), text)
        for command, shown in commands(text):
            if command.startswith(NOT_HERE):
                continue
            printed = run(command, Path(name))
            if not same(command, shown, printed):
                print(f"$ {command}")
                text = text.replace(f"$ {command}\n{shown}", f"$ {command}\n{printed}")
    FILE.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
