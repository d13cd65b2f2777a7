# SPDX-License-Identifier: MIT
"""`make fresh`: the commands that the README promises, in a pristine minimal Debian that holds git, make and apt only.

    python -m tests.house.fresh SUITE TARGET…

Makes the root with mmdebstrap(1), clones what is committed into it, runs `make TARGET` there. It gets this machine's way to
the mirrors and to Python's packages (apt's and pip's settings, certificates, proxies) and the kernels in the cache, and
nothing else. The mounts live in a mount namespace of their own, the processes in a PID namespace: both end with it,
whatever happens (unshare(1)). Needs root.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rootfall.errors import RootfallError
from rootfall_qemu.apt import KEYRING, Apt, machine_sources, open_suites, run
from rootfall_qemu.cache import default_cache, scratch

HOUSE = Path(__file__).parents[2]
SOURCE = "root/rootfall"
INCLUDED = ("make", "git", "ca-certificates")
# Made from packages alone, and verified when they were: what is made from this repository is made anew.
SHARED_CACHE = ("kernels", "roots", "disks")
ENVIRONMENT = re.compile(
    r"TESTS|WORKERS|PIP_\w+|(https?|ftp|all|no)_proxy|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CI|TERM", re.IGNORECASE
)
PIP_FILES = ("/etc/pip.conf", "/etc/xdg/pip", "~/.config/pip", "~/.pip")
CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/usr/local/share/ca-certificates")
IN_THE_ROOT = """
set -eu
root=$1; shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do
    mount --bind "$1" "$2"
    shift 2
done
shift
# Not chroot: who lives in a chroot may make no user namespaces, and some tests do.
cd "$root"
pivot_root . .
umount -l .
exec "$@"
"""


def say(text: str) -> None:
    """One line of progress, at once."""
    print(f"fresh: {text}", flush=True)


def make_root(root: Path, suite: str) -> None:
    """A minimal Debian of `suite` in the directory `root`, with INCLUDED, from the mirrors of this machine."""
    known = {source.release for source in machine_sources()}
    suites = [suite, *(s for s in (f"{suite}-updates", f"{suite}-security") if s in known)]
    with scratch(root.parent) as state:
        apt = open_suites(suites, state)
        settings = state / "settings"
        settings.write_text("".join(apt_settings()))
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(INCLUDED)}"]
        command += [f"--keyring={apt.keyring}", f"--aptopt={settings}", suite, str(root), *lines(apt, apt.keyring)]
        run(command, "make", f"a pristine Debian {suite}", "mmdebstrap")
    # The root has a keyring of its own.
    (root / "etc/apt/sources.list").write_text("".join(f"{line}\n" for line in lines(apt, KEYRING)))


def lines(apt: Apt, keyring: Path) -> list[str]:
    """The sources as sources.list(5) has them."""
    return [f"deb [signed-by={keyring}] {source.uri} {source.release} main" for source in apt.sources]


def apt_settings() -> Iterator[str]:
    """How this machine's apt downloads: proxies, time-outs, what it does not check."""
    for line in run(["apt-config", "dump", "Acquire"], "read", "apt's settings", "apt").splitlines(keepends=True):
        if not line.startswith(("Acquire::IndexTargets", "Acquire::Changelogs", 'Acquire "";')):
            yield line


def copy_in(root: Path, names: Iterable[str]) -> None:
    """Files and directories of this machine at the same place in the root; those of the home in root's."""
    for name in names:
        source = Path(name).expanduser()
        target = root / name.replace("~", "/root").removeprefix("/")
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def package_directories(environment: Mapping[str, str]) -> Iterator[Path]:
    """Directories of this machine that pip's settings name: find-links, an index in files."""
    settings = [value for name, value in environment.items() if name.startswith("PIP_")]
    for name in PIP_FILES:
        path = Path(name).expanduser()
        files = path.rglob("*") if path.is_dir() else [path]
        settings += [file.read_text() for file in files if file.is_file()]
    for found in sorted(set(re.findall(r"(?<![\w:/])(?:file://)?(/\w[\w./+-]*)", "\n".join(settings)))):
        path = Path(found)
        # The pages of an index link to files beside it.
        path = path.parent if path.name == "simple" else path
        if path.is_dir() and not path.is_relative_to("/etc"):
            yield path


def mounts(root: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Pairs of directories to bind: the first on the second, which is made."""
    pairs = [(path, root / path.relative_to("/")) for path in package_directories(environment)]
    pairs += [(default_cache() / name, root / "root/.cache/rootfall" / name) for name in SHARED_CACHE]
    for source, target in pairs:
        source.mkdir(parents=True, exist_ok=True)
        target.mkdir(parents=True, exist_ok=True)
        yield from (str(source), str(target))


def make(root: Path, target: str, environment: Mapping[str, str]) -> int:
    """`make TARGET` of the clone in the root; its exit status."""
    inside = {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **environment}
    words = [f"{name}={value}" for name, value in inside.items()]
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    command += ["sh", "-c", IN_THE_ROOT, "sh", str(root), *mounts(root, environment), "--"]
    command += ["env", "-i", *words, "make", "-C", f"/{SOURCE}", target]
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode


def clone(root: Path) -> None:
    """What is committed here, as a newcomer gets it."""
    git = ["git", "-c", "safe.directory=*"]
    if run([*git, "-C", str(HOUSE), "status", "--porcelain"], "read", str(HOUSE), "git"):
        say("there are changes here that are not committed: they are not in the clone")
    run([*git, "clone", "--quiet", str(HOUSE), str(root / SOURCE)], "clone", str(HOUSE), "git")


def main(suite: str, targets: Sequence[str]) -> int:
    """All of it; the exit status of the first `make` that fails."""
    if os.geteuid():
        print("fresh: only root can mount and chroot: run it with sudo", file=sys.stderr)
        return 1
    environment = {name: value for name, value in os.environ.items() if ENVIRONMENT.fullmatch(name)}
    with tempfile.TemporaryDirectory(prefix="rootfall-fresh-") as directory:
        root = Path(directory) / "root"
        say(f"make a pristine Debian {suite} with {', '.join(INCLUDED)}")
        try:
            make_root(root, suite)
            copy_in(root, [*PIP_FILES, *CERTIFICATES, "/etc/hosts", "/etc/resolv.conf"])
            clone(root)
        except RootfallError as error:
            print(f"fresh: {error}", file=sys.stderr)
            return 1
        for target in targets:
            begin = time.monotonic()
            say(f"make {target}, in there")
            if status := make(root, target, environment):
                say(f"make {target} ended with status {status}")
                return status
            say(f"make {target} took {time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    # What was made is deleted by an exception on its way out.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    raise SystemExit(main(sys.argv[1], sys.argv[2:]))
