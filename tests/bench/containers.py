# SPDX-License-Identifier: MIT
"""What /bin/true in a container takes: the frozen program beside runc, crun, bubblewrap and unshare(1).

`make bench-container`. They start in turns, in one run, on one root, with the same namespaces, a /proc and a small /dev
(unshare(1) makes no /dev and its chroot is no pivot_root). The time is that from a program's start to its end, the memory that
of its largest process. root measures twice: as root, and as an ordinary user.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rootfall.container.model import MASKED, READ_ONLY
from rootfall_build.build import cache_directory
from rootfall_build.freeze import freeze
from tests.guest.material import compile_static

OURS, RUNC, BUBBLEWRAP = "rootfall", "runc", "bubblewrap"
NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
# crun refuses a machine that has cgroups of both versions: it is shown version 2 alone, before the clock starts.
CGROUP2 = 'mount -t cgroup2 none /mnt && umount -l /sys/fs/cgroup && mount --move /mnt /sys/fs/cgroup && exec "$@"'
ONLY_CGROUP2 = ("unshare", "--mount", "sh", "-c", CGROUP2, "sh")
MOUNTS = (
    ("/proc", "proc", "nosuid nodev noexec"),
    ("/dev", "tmpfs", "nosuid mode=755"),
    ("/dev/pts", "devpts", "newinstance ptmxmode=0666"),
    ("/dev/shm", "tmpfs", "nodev nosuid"),
)
# The bars: below runc, and 15 ms on a machine where bubblewrap takes 3.
BARS = {RUNC: 1.0, BUBBLEWRAP: 15 / 3}


@dataclass
class Tool:
    """A program, what it is started under before the clock starts, and what was measured."""

    name: str
    command: tuple[str, ...]
    under: tuple[str, ...] = ()
    milliseconds: list[float] = field(default_factory=list)
    memory_mib: float = 0.0

    def row(self) -> str:
        """Median, minimum, peak memory."""
        return f"{self.name:28}{statistics.median(self.milliseconds):8.1f}{min(self.milliseconds):8.1f}{self.memory_mib:8.1f}"


def bundle(directory: Path, root: Path, *, rootless: bool) -> Path:
    """An OCI bundle that asks runc and crun for what ours does by itself."""
    directory.mkdir()
    namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup", *(["user"] if rootless else [])]
    mapping = [{"containerID": 0, "hostID": NOBODY if os.geteuid() == 0 else os.geteuid(), "size": 1}]
    config = {
        "ociVersion": "1.0.2",
        "process": {"args": ["/bin/true"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "noNewPrivileges": True},
        "root": {"path": str(root)},
        "mounts": [{"destination": d, "type": t, "source": t, "options": o.split()} for d, t, o in MOUNTS],
        "linux": {
            "namespaces": [{"type": each} for each in namespaces],
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
            **({"uidMappings": mapping, "gidMappings": mapping} if rootless else {}),
        },
    }
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def tools(program: Path, root: Path, scratch: Path, *, rootless: bool) -> list[Tool]:
    """What there is to measure, for root or for an ordinary user."""
    under = AS_NOBODY if rootless and os.geteuid() == 0 else ()
    oci, true = str(bundle(scratch / "bundle", root, rootless=rootless)), "/bin/true"
    names = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    bwrap = ["bwrap", *(["--unshare-user", "--uid", "0"] if rootless else []), *names, "--bind", str(root), "/"]
    unshare = ["unshare", *(["--map-root-user"] if rootless else []), *"-f -p -m -n -u -i -C --mount-proc".split()]
    state = str(scratch / "state")
    found = [
        Tool(OURS, (str(program), "container", "run", str(root), true), under),
        Tool(RUNC, ("runc", "--root", state, "run", "--bundle", oci, "true"), under),
        Tool(BUBBLEWRAP, (*bwrap, "--proc", "/proc", "--dev", "/dev", true), under),
        Tool("unshare --root", (*unshare, "--root", str(root), true), under),
    ]
    if os.geteuid() == 0:
        crun = ("crun", "--root", state, "--cgroup-manager=disabled", "run", "--bundle", oci, "true")
        found.insert(2, Tool("crun, no cgroup", crun, (*ONLY_CGROUP2, *under)))
    if not rootless:
        limited = (str(program), "container", "run", "--pids-limit", "100", str(root), true)
        found.insert(1, Tool("rootfall, with a cgroup", limited))
    return found


def start(tool: Tool, stopwatch: Path) -> None:
    """Start a tool once and note what it took. Raises RuntimeError when the container failed."""
    program = shutil.which(tool.command[0], path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or tool.command[0]
    read, write = os.pipe()
    command = [*tool.under, str(stopwatch), str(write), program, *tool.command[1:]]
    done = subprocess.run(command, pass_fds=[write], capture_output=True, text=True, check=False)
    os.close(write)
    said = os.read(read, 100).split()
    os.close(read)
    if done.returncode or len(said) != 3 or said[2] != b"0":
        raise RuntimeError(f"{tool.name}: exit status {said[2:] or done.returncode}: {done.stderr.strip()}")
    tool.milliseconds.append(int(said[0]) / 1e6)
    tool.memory_mib = max(tool.memory_mib, int(said[1]) / 1024)


def measure(found: list[Tool], stopwatch: Path, rounds: int) -> list[Tool]:
    """All of them in turns; those that fail at the first try are told of and left out."""
    able = []
    for tool in found:
        try:
            start(tool, stopwatch)
        except (RuntimeError, OSError) as error:
            print(f"left out: {error}", file=sys.stderr)
        else:
            able.append(tool)
            tool.milliseconds.clear()  # the first start fills the page cache
    for _ in range(rounds):
        for tool in able:
            start(tool, stopwatch)
    return able


def within(measured: list[Tool]) -> bool:
    """Whether ours is within the bars; says by how much."""
    medians = {tool.name: statistics.median(tool.milliseconds) for tool in measured}
    if OURS not in medians:
        return False
    good = True
    for name, bar in BARS.items():
        if name in medians:
            ratio = medians[OURS] / medians[name]
            good = good and ratio <= bar
            print(f"{OURS} / {name} = {ratio:.2f}, at most {bar:.2f}{'' if ratio <= bar else ': BROKEN'}")
    return good


def prepare(place: Path) -> tuple[Path, Path, Path]:
    """The frozen program, a root with /bin/true, and the stopwatch, where an ordinary user can read them."""
    place.chmod(0o755)
    runtime = shutil.copytree(freeze(cache_directory(), print).directory, place / "runtime")
    root = place / "root"
    for name in ("bin", "dev", "proc", "sys", "etc", "tmp"):
        (root / name).mkdir(parents=True)
    compile_static(Path(__file__).with_name("true.c"), root / "bin/true")
    return runtime / "rootfall", root, compile_static(Path(__file__).with_name("stopwatch.c"), place / "stopwatch")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status is 1 where a bar is broken."""
    parser = argparse.ArgumentParser(description="containers: ours beside others")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args(arguments)
    good = True
    with tempfile.TemporaryDirectory() as directory:
        program, root, stopwatch = prepare(Path(directory))
        for rootless in (False, True) if os.geteuid() == 0 else (True,):
            scratch = Path(directory, "as-user" if rootless else "as-root")
            scratch.mkdir()
            found = tools(program, root, scratch, rootless=rootless)
            if os.geteuid() == 0 and rootless:
                os.chown(scratch, NOBODY, NOBODY)
                os.chown(root, NOBODY, NOBODY)
            print(f"{'as an ordinary user' if rootless else 'as root':28}{'median':>8}{'min ms':>8}{'MiB':>8}")
            measured = measure(found, stopwatch, options.rounds)
            print("\n".join(tool.row() for tool in measured))
            good = within(measured) and good
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
