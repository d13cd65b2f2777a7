# SPDX-License-Identifier: MIT
"""Hostile and odd roots under real kernels: another /init that calls `switch-root`, consoles that are not there, bare roots.

The machines are looked at from inside, by shell scripts on a static busybox: one boot shows many things.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_qemu.debian import fetch_kernel
from rootfall_qemu.machine import Machine
from tests.boot import roots
from tests.boot.booted import Booted, snapshots
from tests.boot.images import with_programs
from tests.boot.roots import UUID
from tests.guest.material import HERE, compile_static
from tests.guest.report import parse

pytestmark = pytest.mark.vm
Boot = Callable[[Machine], Booted]

# An /init as people write them, and an old root that lays traps for whoever deletes it.
HOSTILE = r"""#!/busybox sh
PATH=/applets
/busybox mkdir -p /applets && /busybox --install -s /applets
ln -sf /usr/lib/rootfall/rootfall /applets/switch_root
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev; mount -t tmpfs tmpfs /run
exec <>/dev/console >&0 2>&0
new=/sysroot
mount -t tmpfs real $new
cd $new && mkdir -p proc sys run sbin precious elsewhere && ln -s elsewhere dev && cd /
touch $new/precious/file $new/bound-file $new/top
cp /busybox $new/busybox; cp /look $new/sbin/init
touch /run/from-the-initramfs
# Links from the old root into the new one; bind mounts of the new one inside the old one, at places where they stay.
ln -s $new/precious /planted; mkdir -p /a/b; ln -s ../..$new /a/b/link; ln -s $new/precious/file /a/file
mkdir /bound; mount --bind $new/precious /bound; touch $new/bound
mkdir /stack; mount -t tmpfs lower /stack; touch /stack/file; exec 8</stack
mount --bind $new/precious /stack; touch $new/stack
mkdir -p /deep/er; mount -t tmpfs deep /deep/er; touch /deep/er/file; touch $new/deep
exec 9</deep/er
# Names, numbers, and a file that will not go.
mkdir /names; long=$(printf '%0255d' 0)
touch "/names/two
lines" "/names/$long" "/names/ -rf *"
mkdir "/names/d$(printf '\n\033[2J')"
mkdir /many; i=0; while [ $i -lt 2000 ]; do : > /many/$i; i=$((i + 1)); done
touch /stuck; /immutable /stuck && echo ODD immutable yes
mount --make-rshared /
export kept=yes
exec 7</
exec CALL
"""
LOOK = r"""#!/busybox sh
b=/busybox
echo "ODD pid $$ argv $0 $# $1+$2 kept $kept pyi $($b env | $b grep -c PYI) cwd $($b pwd)"
echo "ODD old root: $($b ls -A /proc/self/fd/7/ | $b tr '\n' ' ')"
echo "ODD lower: $($b ls -A /proc/self/fd/8/) deep: $($b ls -A /proc/self/fd/9/)"
echo "ODD precious: $($b ls -A /precious) top: $($b ls /top) elsewhere: $($b ls -A /elsewhere | $b wc -l)"
echo "ODD run: $($b ls -A /run)"
echo "ODD mounts: $($b cut -d' ' -f5 /proc/self/mountinfo | $b sort | $b tr '\n' ' ')"
$b poweroff -f
"""
SEVENS_WAY = 7  # from this version on the kernel lets the old root go by pivot_root(2)


def scripted(image: Path, output: Path, busybox: bytes, init: str) -> Path:
    """The image with a shell script as its /init, uncompressed."""
    immutable = compile_static(HERE / "immutable.c", output.with_name("immutable")).read_bytes()
    programs = {"busybox": busybox, "init": init.encode(), "look": LOOK.encode(), "immutable": immutable}
    return with_programs(image, output, programs)


def odd(console: str) -> dict[str, str]:
    """What the scripts have said, by its first word."""
    return dict(re.findall(r"^ODD (\S+?):? (.*?) *$", console.replace("\r", ""), re.MULTILINE))


# With a root= the kernel takes a ramfs for the initramfs, and a tmpfs without.
@pytest.mark.parametrize(("series", "root"), [("6.1", ""), ("6.1", "root=/dev/none "), ("6.12", ""), ("7", "")])
def test_another_init_hands_over_by_switch_root_from_a_hostile_initramfs(
    series: str, root: str, image: Callable[..., Path], boot: Boot, busybox: bytes, tmp_path: Path
) -> None:
    kernel = fetch_kernel(series)
    name = "/applets/switch_root" if series == "6.12" else "/usr/lib/rootfall/rootfall switch-root"
    call = f"{name} -c /dev/console /sysroot /sbin/init a 'b c'"
    initrd = scripted(image(kernel), tmp_path / "initrd", busybox, HOSTILE.replace("CALL", call))
    booted = boot(Machine(kernel.image, initrd, f"{root}console=ttyS0 quiet panic=-1", memory=512))
    said = odd(booted.console)
    assert said["pid"] == "1 argv /sbin/init 2 a+b c kept yes pyi 0 cwd /"
    assert said["lower"] == "file deep: file", "mounts left below the old root keep what is on them"
    assert said["precious"] == "file top: /top elsewhere: 0", "nothing is deleted or mounted through a link"
    assert said["run"] == "from-the-initramfs"
    assert set(said["mounts"].split()) == {"/", "/proc", "/sys", "/run"}, said["mounts"]
    for path in ("/dev", "/bound", "/stack", "/deep/er"):
        assert f"switch-root: move {path}: no directory there, and no link is followed: let go" in booted.console
    assert "the streams stay: cannot open /dev/console" in booted.console
    assert booted.end == "guest-shutdown"
    if int(series.split(".")[0]) < SEVENS_WAY:
        # The lower of the two mounts on /stack could not be named, and so not be let go of.
        left = {"stack"} | ({"stuck"} if "immutable" in said else set())
        assert set(said["old"].removeprefix("root: ").split()) == left, "the rest of the old root is gone"
        assert "immutable" in said or (series == "6.1" and root), "a tmpfs knows immutable files, a ramfs does not"


REFUSALS = r"""#!/busybox sh
/busybox mount -t proc proc /proc; /busybox mount -t tmpfs real /sysroot
exec /usr/lib/rootfall/rootfall switch-root ARGUMENTS
"""


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        ("/sysroot /sbin/init", "/sbin/init: No such file or directory; nothing has been changed", 1),
        ("/tmp /init", "cannot switch root /tmp; seen: no mount there", 1),
        ("", "NEWROOT is missing", 2),
    ],
)
def test_pid_1_that_calls_it_wrongly_is_told_what_is_in_the_way(
    arguments: str,
    words: str,
    status: int,
    image: Callable[..., Path],
    boot: Boot,
    busybox: bytes,
    tmp_path: Path,
) -> None:
    kernel = fetch_kernel("6.1")
    initrd = scripted(image(kernel), tmp_path / "initrd", busybox, REFUSALS.replace("ARGUMENTS", arguments))
    booted = boot(Machine(kernel.image, initrd, "console=ttyS0 quiet panic=-1"))
    assert words in booted.console
    assert f"exitcode=0x{status << 8:08x}" in booted.end + booted.console


CONSOLE_LOOK = r"""#!/bin/busybox sh
exec 5<>/dev/ttyS0
for fd in 0 1 2; do echo "ODD fd$fd: $(/bin/busybox readlink /proc/$$/fd/$fd)" >&5; done
/bin/busybox ls -l /proc/$$/fd >&5
echo "ODD end: $$" >&5
/bin/busybox poweroff -f
"""


@pytest.mark.parametrize(("series", "console"), [("6.1", "console=ttyS7"), ("7", "console=null"), ("6.1", "console=")])
def test_a_boot_without_a_console_reaches_init(
    series: str,
    console: str,
    image: Callable[..., Path],
    boot: Boot,
    busybox: bytes,
    shared: Path,
) -> None:
    """Its standard streams are open: on whatever /dev/console is, or on /dev/null."""

    def fill(tree: Path) -> None:
        (tree / "bin/busybox").write_bytes(busybox)
        (tree / "sbin/init").write_text(CONSOLE_LOOK)
        for name in ("bin/busybox", "sbin/init"):
            (tree / name).chmod(0o755)

    kernel = fetch_kernel(series)
    disk = roots.disk(shared, "console-look", fill)
    append = f"{console} quiet panic=-1 root=UUID={UUID} ro"
    booted = boot(Machine(kernel.image, image(kernel), append, disks=snapshots(disk)))
    said = odd(booted.console)
    assert {said[f"fd{number}"] for number in (0, 1, 2)} <= {"/dev/console", "/dev/null"}
    assert said["end"] == "1"
    # The shell's own: what it was told to open, and its script.
    targets = set(re.findall(r"\d+ -> (\S+)", booted.console))
    assert targets <= {"/dev/console", "/dev/null", "/dev/ttyS0", "/sbin/init"}, "no other descriptor is left over"
    assert booted.end == "guest-shutdown"


def bare(tree: Path) -> None:
    """A static init, and no place to mount anything on: /dev is a link."""
    for name in ("dev", "proc", "sys", "run", "etc", "bin", "tmp"):
        (tree / name).rmdir()
    (tree / "elsewhere").mkdir()
    (tree / "dev").symlink_to("elsewhere")
    compile_static(HERE / "witness.c", tree / "sbin/init")


def linked(tree: Path) -> None:
    """What calls itself systemd is the witness; /dev is a link."""
    (tree / "dev").rmdir()
    (tree / "elsewhere").mkdir()
    (tree / "dev").symlink_to("/elsewhere")
    (tree / "lib/systemd").mkdir(parents=True)
    compile_static(HERE / "witness.c", tree / "lib/systemd/systemd")
    (tree / "sbin/init").symlink_to("/lib/systemd/systemd")


@pytest.mark.parametrize("series", ["6.1", "7"])
def test_a_read_only_root_without_any_mount_point_is_entered(
    series: str, image: Callable[..., Path], boot: Boot, shared: Path
) -> None:
    kernel = fetch_kernel(series)
    append = f"console=ttyS0 quiet panic=-1 root=UUID={UUID} ro -- word"
    booted = boot(
        Machine(kernel.image, image(kernel), append, disks=snapshots(roots.disk(shared, "no-mount-points", bare)))
    )
    assert "REAL-ROOT init pid=1" in booted.console, "init has its console though /dev could not move"
    seen = parse(booted.console)
    assert (seen.argv, seen.mounts) == (("/sbin/init", "word"), None)
    for path, why in (("/proc", "Read-only file system"), ("/dev", "no directory there, and no link is followed")):
        assert seen.logged(f"rootfall: switch_root: move {path}: {why}: let go"), seen.kmsg
    assert booted.end == "guest-shutdown"


@pytest.mark.parametrize("series", ["6.1", "7"])
def test_systemd_gets_its_words_and_one_descriptor_and_nothing_is_mounted_through_a_link(
    series: str, image: Callable[..., Path], boot: Boot, shared: Path
) -> None:
    kernel = fetch_kernel(series)
    append = f"console=ttyS0 quiet panic=-1 root=UUID={UUID} ro single -- last"
    booted = boot(Machine(kernel.image, image(kernel), append, disks=snapshots(roots.disk(shared, "linked", linked))))
    seen = parse(booted.console)
    *words, fd, first, last = seen.argv
    assert (words, first, last) == (["/sbin/init", "--switched-root", "--system", "--deserialize"], "single", "last")
    assert seen.fd is not None
    assert seen.fd.pop(int(fd)).startswith("/memfd:systemd-state")
    assert sorted(seen.fd) == [0, 1, 2]
    assert sorted(mount.point for mount in seen.mounts or ()) == ["/", "/proc", "/run", "/sys"]
    assert seen.logged("rootfall: switch_root: move /dev: no directory there, and no link is followed: let go")
