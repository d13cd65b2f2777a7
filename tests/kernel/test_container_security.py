# SPDX-License-Identifier: MIT
"""What the maker of a hostile root, or a process in it, cannot do: reach the host, move mounts, use its own device nodes.

Each test ends with the comparison that `container.unchanged` makes: the host's mounts and its directory are as they were.
"""

import ctypes
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall.container.model import Mount, Root
from rootfall.linux import libc
from tests.kernel import container, namespace
from tests.kernel.container import MOUNTS, PROC, World, own_mounts, run, unchanged, without

RENAME_EXCHANGE = 2
STARTS = 20


@pytest.fixture(params=[(), container.OPENAT2], ids=["openat2", "walk"])
def before(request: pytest.FixtureRequest) -> Callable[[], None]:
    """The kernel's own look-ups, and ours."""
    return lambda: without(request.param) if request.param else None


def link(world: World, name: str, target: str) -> None:
    """Put a link in the place of a directory of the root."""
    place = world.root / name
    if place.is_dir() and not place.is_symlink():
        place.rmdir()
    place.symlink_to(target)


@pytest.mark.parametrize("target", ["/", "../../host", "{host}", "nowhere"])
@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
def test_a_link_in_the_place_of_dev_proc_or_sys_is_refused(
    world: World, before: Callable[[], None], name: str, target: str
) -> None:
    link(world, name, target.format(host=world.host))
    done = run(world, "true", before)
    assert done.status == 125
    assert f"on /{name}; seen: a symbolic link; it must be a directory" in done.err
    assert sorted(os.listdir(world.root)) == ["bin", "dev", "etc", "proc", "sys", "tmp"]


@pytest.mark.parametrize("target", ["../host", "../../../../{host}", "{host}", "/./../{host}"])
@pytest.mark.parametrize("below", ["", "/made/file"])
def test_what_is_mounted_on_a_path_with_links_is_mounted_in_the_root(
    world: World, before: Callable[[], None], target: str, below: str
) -> None:
    link(world, "a", target.format(host=str(world.host).lstrip("/") if "../" in target else world.host))
    mounts = (PROC, Mount(f"/a{below}", "tmpfs"), Mount("/b", "bind", str(world.host / "passwd")))
    link(world, "b", "a/passwd-of-mine")
    done = run(world, f"touch /a{below}/x && cat /b; ls /..", before, mounts=mounts)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("the host's\n")


@pytest.mark.parametrize("how", ["directory", "file", "chain"])
def test_a_file_bound_on_etc_passwd_never_lands_on_the_hosts(
    world: World, before: Callable[[], None], how: str
) -> None:
    match how:
        case "directory":
            link(world, "etc", "../host")
        case "file":
            link(world, "etc/passwd", "../../host/passwd")
        case _:
            link(world, "etc/passwd", "second")
            link(world, "etc/second", str(world.host / "passwd"))
    mine = world.root.parent / "mine"
    mine.write_text("mine\n")
    done = run(world, "cat /etc/passwd", before, mounts=(PROC, Mount("/etc/passwd", "bind", str(mine), ("ro",))))
    assert (done.status, done.out) == (0, "mine\n")


def test_a_magic_link_of_proc_is_not_followed(world: World) -> None:
    link(world, "a", "/proc/self/root/tmp")
    done = run(world, "true", mounts=(PROC, Mount("/a", "tmpfs")))
    assert done.status == 125
    assert "cannot mount tmpfs on /a: Too many levels of symbolic links (errno 40); too many" in done.err


def test_nothing_is_mounted_on_the_new_root_itself(world: World, before: Callable[[], None]) -> None:
    link(world, "a", "../..")
    for place in ("/a", "/", "/bin/.."):
        done = run(world, "true", before, mounts=(Mount(place, "tmpfs"),))
        assert done.status == 125
        assert f"cannot mount tmpfs on {place}; seen: the new root itself" in done.err


def test_common_links_work(world: World, before: Callable[[], None]) -> None:
    (world.root / "run").mkdir()
    (world.root / "var").mkdir()
    link(world, "var/run", "/run")
    link(world, "var/lock", "../run/lock")
    container.give(world.root, world.uid)
    mounts = (PROC, Mount("/var/run/here", "tmpfs"), Mount("/var/lock", "tmpfs"))
    done = run(world, "touch /run/here/x /var/lock/y; ls /run/here /run/lock", before, mounts=mounts)
    assert done.out == "/run/here:\nx\n\n/run/lock:\ny\n"


def swap(world: World, names: tuple[str, ...], until: int) -> None:
    """Exchange each directory for a link of the same name and back, until the pipe is closed."""
    exchange = ctypes.CDLL(None, use_errno=True).renameat2
    os.set_blocking(until, False)
    while True:
        for _ in range(200):
            for name in names:
                one, other = (os.fsencode(world.root / each) for each in (name, f"{name}.link"))
                exchange(-100, one, -100, other, RENAME_EXCHANGE)
        try:
            if os.read(until, 1) == b"":
                return
        except BlockingIOError:
            pass


@pytest.mark.parametrize("errno", [0, 38], ids=["openat2", "walk"])
def test_a_race_for_the_places_of_mounts_is_never_won(world: World, errno: int) -> None:
    names = ("a", "dev", "etc/d")
    for name in names:
        (world.root / name).mkdir(exist_ok=True)
        (world.root / f"{name}.link").symlink_to(("../" * 9 + str(world.host)[1:]) if name == "a" else str(world.host))
    container.give(world.root, world.uid)
    mounts = (
        PROC,
        Mount("/dev", "dev"),
        Mount("/a/made/here", "tmpfs"),
        Mount("/etc/d/passwd", "bind", str(world.root / "bin/busybox"), ("ro",)),
    )
    read, write = os.pipe()

    def racer() -> None:
        os.close(write)
        swap(world, names, read)

    pid = namespace.fork(racer)
    try:
        ends = [
            run(world, "echo inside", lambda: without(container.OPENAT2) if errno else None, mounts=mounts)
            for _ in range(STARTS)
        ]
    finally:
        os.close(read)
        os.close(write)
        os.waitpid(pid, 0)
    assert {(each.status, each.out) for each in ends} <= {(0, "inside\n"), (125, "")}, ends
    assert all(each.err.startswith("rootfall: cannot ") for each in ends if each.status)
    assert len({each.status for each in ends}) == 2, "the race was one: some were refused, some went well"


@pytest.mark.parametrize("overlay", ["", "volatile"])
@pytest.mark.parametrize("old", [(), container.NEW_MOUNT_API], ids=["new", "5.1"])
def test_device_nodes_of_the_root_are_inert(tmp_path: Path, overlay: str, old: tuple[int, ...]) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    world = container.make_world(tmp_path, 0)
    data = tmp_path / "data"
    (data / "below").mkdir(parents=True)
    for place in (world.root / "zero", data / "zero"):
        os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(1, 5))

    def before() -> None:
        own_mounts()
        namespace.tmpfs(data / "below")
        os.mknod(data / "below/zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        namespace.tmpfs(world.root / "tmp")
        os.mknod(world.root / "tmp/zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        if old:
            without(old)

    command = """
    mknod /own c 1 5; mknod /dev/own c 1 5; mknod /dev/shm/own c 1 5
    for each in /zero /tmp/zero /data/zero /data/below/zero /own /dev/own /dev/shm/own /dev/zero /with/zero; do
        [ -e $each ] && echo $each $(head -c 1 $each 2>&1 > /dev/null && echo works)
    done
    """
    mounts = (*MOUNTS, Mount("/data", "bind", str(data)), Mount("/with", "bind", str(data), ("dev",)))
    with unchanged(world):
        done = run(world, command, before, mounts=mounts, root=Root(str(world.root), overlay=overlay))
    seen = dict(line.split(" ", 1) for line in done.out.splitlines())
    assert {name for name, said in seen.items() if said == "works"} == {"/dev/zero", "/with/zero"}
    assert all("Permission denied" in said for said in seen.values() if said != "works"), seen
    assert {"/zero", "/data/zero", "/data/below/zero"} <= set(seen)
    assert overlay or "/tmp/zero" in seen


def test_the_kernels_own_programs_cannot_be_set(world: World) -> None:
    command = """
    for each in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sysrq-trigger \
        $(find /sys/fs/cgroup -name release_agent) $(find /sys/fs/cgroup -name notify_on_release -maxdepth 2); do
        [ -e $each ] && (echo "|/tmp/x" > $each) && echo $each
    done
    """
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    done = run(world, command, mounts=(*MOUNTS, Mount("/sys/fs/cgroup", "cgroup")))
    assert done.out == ""
    refused = [line for line in done.err.splitlines() if "can't create" in line]
    assert any("core_pattern" in line for line in refused)
    assert all(line.endswith(("Read-only file system", "Permission denied")) for line in refused)
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern


@pytest.mark.parametrize("put_old", ["", "/old"])
def test_the_old_root_is_out_of_reach(world: World, put_old: str) -> None:
    command = """
    pwd; readlink /proc/self/cwd
    cd /..; cd ../../..; pwd
    ls /.. /proc/1/root/ /proc/1/cwd/ /proc/self/root/..
    echo ---
    for each in /proc/[0-9]*/fd/* /proc/[0-9]*/cwd /proc/[0-9]*/root; do readlink $each; done
    grep -c . /proc/self/mountinfo
    """
    # What pytest itself has open is not the launcher's.
    done = run(world, command, lambda: os.closerange(3, 1024), root=Root(str(world.root), put_old=put_old))
    listed, _, links = done.out.partition("---\n")
    assert listed.split()[:3] == ["/", "/", "/"]
    shown = {line for line in listed.splitlines()[3:] if line and not line.endswith(":")}
    assert shown == {"bin", "dev", "etc", "proc", "sys", "tmp"}
    for each in links.splitlines()[:-1]:
        inside = each == "/" or each.startswith(("pipe:[", "/dev/null", "/proc/", "anon_inode:", "/memfd:"))
        assert inside, f"{each} is the host's"
    assert int(links.splitlines()[-1]) < 40, "of the host's mounts none is left"


def test_a_root_that_is_shared_with_a_racing_mount_of_the_hosts_stays_whole(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    world = container.make_world(tmp_path, 0)

    def before() -> None:
        own_mounts()
        libc.mount(str(world.root), str(world.root), None, libc.MS_BIND)
        libc.mount(None, str(world.root), None, libc.MS_SHARED)

    with unchanged(world):
        done = run(world, "grep -c shared: /proc/self/mountinfo; grep -c master: /proc/self/mountinfo", before)
    assert done.out == "0\n0\n", "a root that was shared gets nothing of the host's any more, and gives it nothing"
