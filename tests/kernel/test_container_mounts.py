# SPDX-License-Identifier: MIT
"""The root of a container and what is mounted below it, on the real kernel, as root and as an ordinary user."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rootfall.container import dev
from rootfall.container.model import Mount, Root
from rootfall.errors import MountError
from rootfall.linux import libc
from tests.kernel import container, namespace
from tests.kernel.container import MOUNTS, NOBODY, PIVOT_ROOT, PROC, World, own_mounts, run, unchanged, without


@pytest.fixture
def as_root(tmp_path: Path, in_namespace: Callable[..., None]) -> Iterator[World]:
    """The same, by root only."""
    if os.geteuid():
        pytest.skip("needs root")
    made = container.make_world(tmp_path, 0)
    with unchanged(made):
        yield made


def options(world: World, *mounts: Mount, path: str, before: Callable[[], None] | None = None) -> set[str]:
    """The options, of the mount and of its file system, that a mount point has inside."""
    done = run(world, "cat /proc/self/mountinfo", before, mounts=(*MOUNTS, *mounts))
    assert done.status == 0, done.err
    fields = next(line.split() for line in done.out.splitlines() if line.split()[4] == path)
    return {*fields[5].split(","), *fields[-1].split(",")}


def test_a_refusal_of_pivot_root_is_explained(world: World) -> None:
    done = run(world, "true", lambda: without((PIVOT_ROOT,), errno=1))
    assert done.status == 125
    assert "cannot enter the new root: Operation not permitted" in done.err
    assert "seccomp" in done.err


def test_what_is_mounted_is_what_was_asked_for_and_nothing_else(world: World) -> None:
    done = run(world, "cat /proc/self/mountinfo", masked_paths=(), readonly_paths=())
    assert (done.status, done.err) == (0, "")
    lines = [line.split() for line in done.out.splitlines()]
    nodes = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}
    assert {line[4] for line in lines} == {"/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", *nodes}
    flags = {line[4]: set(line[5].split(",")) for line in lines}
    assert {"nosuid", "nodev", "noexec"} <= flags["/proc"] & flags["/sys"] & flags["/dev"] & flags["/dev/shm"]
    assert "nodev" in flags["/"]
    assert all("nodev" not in flags[each] for each in nodes)
    assert all(line[6] == "-" for line in lines), "all are private"


def test_a_bind_is_writable_unless_it_is_read_only(world: World) -> None:
    data = world.root.parent / "data"
    data.mkdir()
    container.give(data, world.uid)
    rw, ro = Mount("/rw", "bind", str(data)), Mount("/ro", "bind", str(data), ("ro",))
    done = run(world, "echo hello > /rw/file; cat /ro/file; echo again > /ro/file", mounts=(PROC, rw, ro))
    assert (done.status, done.out) == (1, "hello\n")
    assert "/ro/file: Read-only file system" in done.err
    assert (data / "file").read_text() == "hello\n"


@pytest.mark.parametrize("old", [(), container.MOUNT_SETATTR, container.NEW_MOUNT_API], ids=["new", "5.11", "5.1"])
def test_ro_is_for_one_mount_and_rro_for_all_below_it(as_root: World, old: tuple[int, ...]) -> None:
    data = as_root.root.parent / "data"
    (data / "below/deep").mkdir(parents=True)

    def before() -> None:
        own_mounts()
        namespace.tmpfs(data / "below")
        namespace.tmpfs(data / "below/deep")
        if old:
            without(old)

    mounts = (Mount("/ro", "bind", str(data), ("ro", "rbind")), Mount("/rro", "bind", str(data), ("rro", "nosuid")))
    done = run(
        as_root, "touch /ro/x; touch /ro/below/y; touch /rro/below/y; touch /rro/below/deep/y", before, mounts=mounts
    )
    assert [line.split(":")[1].strip() for line in done.err.splitlines()] == [
        "/ro/x",
        "/rro/below/y",
        "/rro/below/deep/y",
    ]
    assert done.err.count("Read-only file system") == 3


@pytest.mark.parametrize("old", [(), container.NEW_MOUNT_API], ids=["new", "5.1"])
def test_a_user_may_bind_what_the_host_locked_and_it_keeps_the_hosts_flags(world: World, old: tuple[int, ...]) -> None:
    before = (lambda: without(old)) if old else None
    found = options(world, Mount("/hosts", "bind", "/proc", ("rro", "noexec")), path="/hosts", before=before)
    assert {"ro", "nosuid", "nodev", "noexec"} <= found


def test_a_bind_without_what_is_mounted_below_says_why_a_user_cannot_have_it(world: World) -> None:
    done = run(world, "ls /hosts/shm", mounts=(Mount("/hosts", "bind", "/dev", ("bind",)),))
    if world.uid:
        assert done.status == 125
        assert "cannot bind /dev on /hosts: Invalid argument (errno 22); in a user namespace" in done.err
    else:
        assert done.status in (0, 1)


def test_a_file_is_bound_on_a_file_and_missing_places_are_made(world: World) -> None:
    passwd = str(world.host / "passwd")
    mounts = (PROC, Mount("/a/b/passwd", "bind", passwd, ("ro",)), Mount("/c/d", "bind", str(world.host), ("rro",)))
    done = run(world, "cat /a/b/passwd /c/d/passwd; stat -c '%a' /a/b", mounts=mounts)
    assert (done.status, done.out) == (0, "the host's\nthe host's\n755\n")
    assert (world.root / "a/b/passwd").read_bytes() == b""
    wrong = run(world, "true", mounts=(Mount("/c/d", "bind", passwd),))
    assert wrong.status == 125
    assert wrong.err == "rootfall: cannot mount a file on /c/d; seen: a directory\n"


def test_in_a_read_only_root_no_place_is_made_and_the_error_says_what_to_do(world: World) -> None:
    root = Root(str(world.root), readonly=True)
    done = run(world, "true", root=root, mounts=(PROC, Mount("/new/place", "tmpfs")))
    assert done.status == 125
    assert done.err == (
        "rootfall: cannot make a place in the root for /new/place: Read-only file system (errno 30); "
        "make a directory there in the root, or lay an overlay over it (--volatile)\n"
    )
    assert not (world.root / "new").exists()


def test_a_tmpfs_has_its_options_and_the_kernels_own_words_say_which_it_does_not_have(world: World) -> None:
    words = ("size=1m", "mode=0700", "nr_inodes=77", "noexec")
    found = options(world, Mount("/mine", "tmpfs", "", words), path="/mine")
    assert {"size=1024k", "mode=700", "nr_inodes=77", "noexec", "nosuid", "nodev"} <= found
    done = run(world, "true", mounts=(Mount("/mine", "tmpfs", "", ("sizes=1m",)),))
    assert done.status == 125
    assert (
        "cannot mount tmpfs on /mine: Invalid argument (errno 22); seen: tmpfs: Unknown parameter 'sizes'" in done.err
    )
    done = run(world, "true", mounts=(Mount("/mine", "bind", "/etc", ("size=1m",)),))
    assert "cannot bind /etc on /mine: Invalid argument (errno 22); seen: a bind mount has no option size" in done.err


def test_proc_has_its_options(world: World) -> None:
    mounts = (Mount("/proc", "proc", "proc", ("subset=pid", "hidepid=invisible")),)
    done = run(
        world, "ls -d /proc/meminfo /proc/self/status; grep /proc /proc/self/mounts", mounts=mounts, masked_paths=()
    )
    assert "/proc/self/status" in done.out
    assert "hidepid=invisible" in done.out
    assert "subset=pid" in done.out
    assert "/proc/meminfo: No such file" in done.err


def test_without_a_network_namespace_sysfs_is_the_hosts_and_read_only(world: World) -> None:
    made = container.container(
        world, "grep ' /sys ' /proc/self/mounts; touch /sys/fs/cgroup/x; mkdir /sys/fs/cgroup/pids/x"
    )
    kept = tuple(each for each in made.namespaces if each != "network")
    done = container.start(made._replace(namespaces=kept), world.uid)
    assert " sysfs " in done.out
    if world.uid:
        assert "sysfs ro,nosuid,nodev,noexec" in done.out
        assert done.err.count("Read-only file system") >= 1


def test_mqueue_and_the_view_of_cgroups(world: World) -> None:
    mounts = (*MOUNTS, Mount("/sys/fs/cgroup", "cgroup"), Mount("/dev/mqueue", "mqueue"))
    command = """
    grep -c 'mqueue /dev/mqueue' /proc/mounts
    for each in $(grep -o '/sys/fs/cgroup[^ ]*' /proc/mounts); do mkdir $each/x; done
    """
    done = run(world, command, mounts=mounts)
    assert done.out == "1\n"
    refused = done.err.splitlines()
    assert refused
    assert all(line.endswith("Read-only file system") for line in refused)
    shown = run(world, "cat /proc/1/mountinfo", mounts=mounts).out.splitlines()
    views = [line.split() for line in shown if " - cgroup" in line]
    assert views
    assert {line[3] for line in views} == {"/"}, "its own cgroup is the root of what it sees"


def test_of_cgroups_of_version_2_there_is_one_view(as_root: World) -> None:
    def before() -> None:
        own_mounts()
        libc.mount("cgroup2", "/sys/fs/cgroup", "cgroup2")

    command = "grep ' /sys/fs/cgroup ' /proc/self/mountinfo; ls -d /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/x"
    done = run(as_root, command, before, mounts=(*MOUNTS, Mount("/sys/fs/cgroup", "cgroup")))
    mount, procs = done.out.splitlines()
    assert " / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 " in mount
    assert procs == "/sys/fs/cgroup/cgroup.procs"
    assert done.err.endswith("Read-only file system\n")


def test_a_user_who_may_not_mount_proc_is_told_when_one_may(as_root: World, tmp_path: Path) -> None:
    def covered() -> None:
        own_mounts()
        libc.mount("cover", "/proc/bus", "tmpfs")

    done = run(container.make_world(tmp_path / "users", NOBODY), "true", covered)
    assert done.status == 125
    assert "cannot mount proc on /proc: Operation not permitted (errno 1); " in done.err
    assert "; a user namespace may mount proc with a PID namespace of its own" in done.err


def test_the_minimal_dev_works(world: World) -> None:
    command = """
    echo lost > /dev/null && head -c 3 /dev/zero && head -c 3 /dev/urandom > /dev/null
    echo full > /dev/full
    echo through > /dev/stdout
    exec 3<>/dev/ptmx && ls /dev/pts
    touch /dev/shm/x && stat -c %a /dev/shm
    for link in fd stdin ptmx; do readlink /dev/$link; done
    """
    done = run(world, command)
    assert done.out == "\0\0\0through\n0\nptmx\n1777\n/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n"
    assert "No space left on device" in done.err


def test_a_node_of_the_hosts_that_is_another_one_is_not_bound(as_root: World) -> None:
    def before() -> None:
        own_mounts()
        libc.mount("/dev/zero", "/dev/null", None, libc.MS_BIND)

    done = run(as_root, "true", before, mounts=(PROC, Mount("/dev", "dev")), masked_paths=())
    assert done.status == 125
    assert done.err == (
        "rootfall: cannot use the host's device /dev/null; seen: something else; it must be the character device 1:3\n"
    )
    masked = run(as_root, "true", before, mounts=(PROC,), masked_paths=("/etc",))
    assert masked.status == 0, "a directory needs no device"
    masked = run(as_root, "true", before, mounts=(PROC,), masked_paths=("/bin/busybox",))
    assert masked.status == 125


@pytest.mark.parametrize("old", [(), container.NEW_MOUNT_API], ids=["new", "5.1"])
def test_the_console_is_the_pty_that_a_descriptor_is_open_on(
    in_namespace: Callable[..., None], tmp_path: Path, old: tuple[int, ...]
) -> None:
    def test() -> None:
        if old:
            without(old)
        root = os.open(namespace.tmpfs(tmp_path), os.O_PATH)
        os.mkdir(tmp_path / "dev")
        _, slave = os.openpty()
        dev.bind_console(root, slave)
        assert os.stat(tmp_path / "dev/console").st_rdev == os.fstat(slave).st_rdev
        fd = os.open(tmp_path / "dev/console", os.O_RDWR | os.O_NOCTTY)
        assert os.isatty(fd)
        null = os.open("/dev/null", os.O_RDWR)
        with pytest.raises(MountError, match="use the terminal as"):
            dev.bind_console(root, null)

    in_namespace(test)


def test_what_is_to_be_bound_and_is_not_there_is_named(world: World) -> None:
    done = run(world, "true", mounts=(Mount("/a", "bind", str(world.host / "gone")),))
    gone = f"rootfall: cannot find what is to be bound, {world.host}/gone: No such file or directory (errno 2)\n"
    assert (done.status, done.err) == (125, gone)


@pytest.mark.parametrize("old", [(), container.NEW_MOUNT_API], ids=["new", "5.1"])
def test_what_is_written_to_a_volatile_root_is_thrown_away(world: World, old: tuple[int, ...]) -> None:
    root = Root(str(world.root), overlay="volatile")
    world.root.chmod(0o751)
    before = (lambda: without(old)) if old else None
    done = run(world, "echo x > /new && rm /bin/test && ls / && stat -c %a /", before, root=root)
    assert (done.status, done.err) == (0, "")
    assert done.out.split() == ["bin", "dev", "etc", "new", "proc", "sys", "tmp", "751"]
    assert not (world.root / "new").exists()
    assert (world.root / "bin/test").is_symlink()


def test_what_is_written_to_an_overlay_is_kept_for_the_next_one(world: World) -> None:
    upper, work = (world.root.parent / name for name in ("upper", "work"))
    for each in (upper, work):
        each.mkdir()
        container.give(each, world.uid)
    root = Root(str(world.root), overlay=f"{upper}:{work}")
    assert run(world, "echo kept > /new; rm /bin/test", root=root).status == 0
    done = run(world, "cat /new; ls /bin/test", root=root)
    assert done.out == "kept\n"
    assert "/bin/test: No such file" in done.err
    assert not (world.root / "new").exists()
    assert (upper / "new").read_text() == "kept\n"


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (
            "missing",
            "cannot use the overlay's work directory {}: No such file or directory (errno 2); an overlay is kept in",
        ),
        ("upper", "cannot use the overlay's work directory {}; seen: the upper directory, or the root itself"),
        ("full", "cannot use the overlay's work directory {}; seen: precious in it; the work directory must be empty"),
        ("/dev/shm", "cannot use the overlay's work directory {}; seen: another file system than that of"),
        ("root/tmp", "cannot lay an overlay over"),
    ],
)
def test_an_overlay_that_cannot_be_says_which_directory_is_wrong(world: World, work: str, message: str) -> None:
    upper, full = (world.root.parent / name for name in ("upper", "full"))
    for each in (upper, full):
        each.mkdir()
    (full / "precious").touch()
    for each in (upper, full):
        container.give(each, world.uid)
    path = world.root.parent / work
    above = world.root if work == "root/tmp" else upper
    done = run(world, "true", root=Root(str(world.root), overlay=f"{above}:{path}"))
    assert done.status == 125
    assert message.format(path) in done.err
    assert (full / "precious").exists()


def test_the_upper_layer_cannot_be_an_overlay_and_the_error_says_so(as_root: World) -> None:
    upper = as_root.root.parent / "upper"
    upper.mkdir()

    def before() -> None:
        own_mounts()
        namespace.tmpfs(upper)
        for name in ("lower", "up", "work", "merged"):
            (upper / name).mkdir()
        layers = f"lowerdir={upper}/lower,upperdir={upper}/up,workdir={upper}/work"
        libc.mount("overlay", f"{upper}/merged", "overlay", 0, layers)
        for name in ("up", "work"):
            (upper / "merged" / name).mkdir()

    overlay = f"{upper}/merged/up:{upper}/merged/work"
    done = run(as_root, "true", before, root=Root(str(as_root.root), overlay=overlay))
    assert done.status == 125
    assert "not every file system can hold an upper layer (overlay itself" in done.err


@pytest.mark.parametrize("old", [(), container.NEW_MOUNT_API], ids=["new", "5.1"])
def test_masked_paths_are_empty_and_read_only_paths_are_read_only(world: World, old: tuple[int, ...]) -> None:
    (world.root / "etc/secret").write_text("secret\n")
    (world.root / "etc/dir").mkdir()
    (world.root / "etc/dir/file").touch()
    container.give(world.root / "etc", world.uid)
    command = """
    cat /etc/secret; ls /etc/dir /sys/firmware; touch /etc/dir/x; echo x > /proc/sys/kernel/core_pattern; touch /tmp/x
    echo x > /etc/secret; cat /proc/kcore | head -c 1
    """
    before = (lambda: without(old)) if old else None
    masked = ("/etc/secret", "/etc/dir", "/nowhere", "/proc/kcore", "/sys/firmware", "/etc/secret/below")
    done = run(world, command, before, masked_paths=masked, readonly_paths=("/tmp", "/nowhere", "/proc/sys"))
    assert done.out == "/etc/dir:\n\n/sys/firmware:\n"
    lines = done.err.splitlines()
    for name in ("/etc/dir/x", "core_pattern", "/tmp/x"):
        assert any(name in line and line.endswith("Read-only file system") for line in lines), (name, done.err)
    assert (world.root / "etc/secret").read_text() == "secret\n"


@pytest.mark.parametrize("old", [(), container.MOUNT_SETATTR, container.NEW_MOUNT_API], ids=["new", "5.11", "5.1"])
@pytest.mark.parametrize("overlay", ["", "volatile"])
def test_a_read_only_root_is_read_only_and_its_mounts_are_not(world: World, overlay: str, old: tuple[int, ...]) -> None:
    before = (lambda: without(old)) if old else None
    root = Root(str(world.root), readonly=True, overlay=overlay)
    done = run(
        world, "touch /x; touch /tmp/x && touch /dev/shm/x", before, root=root, mounts=(*MOUNTS, Mount("/tmp", "tmpfs"))
    )
    assert (done.status, done.err) == (0, "touch: /x: Read-only file system\n")


@pytest.mark.parametrize("propagation", ["private", "slave", "shared", "unbindable"])
def test_the_new_root_has_the_propagation_that_was_asked_for(as_root: World, propagation: str) -> None:
    def before() -> None:
        own_mounts()
        libc.mount(None, "/", None, libc.MS_REC | libc.MS_SHARED)

    done = run(as_root, "cat /proc/self/mountinfo", before, rootfs_propagation=propagation)
    fields = next(line.split() for line in done.out.splitlines() if line.split()[4] == "/")
    words = fields[6 : fields.index("-")]
    beginning = {"private": [], "slave": ["master"], "shared": ["shared"], "unbindable": ["unbindable"]}
    assert [each.partition(":")[0] for each in words] == beginning[propagation]


def test_nothing_that_a_container_mounts_leaves_it_where_the_host_shares_its_mounts(as_root: World) -> None:
    read, write = os.pipe()

    def host() -> None:
        own_mounts()
        libc.mount(None, "/", None, libc.MS_REC | libc.MS_SHARED)
        first = Path("/proc/self/mountinfo").read_text()
        for root in (
            Root(str(as_root.root)),
            Root(str(as_root.root), overlay="volatile"),
            Root(str(as_root.root), put_old="/old"),
        ):
            done = run(as_root, "mount -t tmpfs none /tmp; grep -c . /proc/mounts", root=root)
            assert done.status == 0, done.err
            assert Path("/proc/self/mountinfo").read_text() == first
        os.write(write, b"same")

    assert os.waitstatus_to_exitcode(os.waitpid(namespace.fork(host), 0)[1]) == 0
    os.close(write)
    assert os.read(read, 4) == b"same"
    os.close(read)


@pytest.mark.parametrize("put_old", ["/old", "/tmp/old", "/proc", "/link"])
def test_the_old_root_is_put_on_a_directory_for_a_moment_and_the_directory_removed_if_it_was_made(
    world: World, put_old: str
) -> None:
    (world.root / "link").symlink_to("/../../tmp")
    done = run(world, "ls /..; ls /tmp; pwd", root=Root(str(world.root), put_old=put_old))
    assert (done.status, done.err) == (0, "")
    assert done.out.split() == ["bin", "dev", "etc", "link", "proc", "sys", "tmp", "/"]


@pytest.mark.parametrize(
    ("put_old", "readonly", "message"),
    [
        ("/bin/busybox", False, "cannot put the old root on /bin/busybox; seen: something that is no directory"),
        ("/old", True, "cannot make the directory for the old root, /old: Read-only file system (errno 30); make it"),
        ("/up", False, "cannot put the old root on /up; seen: the new root itself"),
        ("/none/old", False, "cannot make the directory for the old root, /none/old: No such file or directory"),
    ],
)
def test_a_place_for_the_old_root_that_cannot_be_is_refused(
    world: World, put_old: str, readonly: bool, message: str
) -> None:
    (world.root / "up").symlink_to("../../..")
    done = run(world, "true", root=Root(str(world.root), readonly=readonly, put_old=put_old))
    assert done.status == 125
    assert message in done.err


def test_a_read_only_root_that_has_the_directory_is_entered_and_keeps_it(world: World) -> None:
    (world.root / "old").mkdir()
    done = run(world, "ls /old; ls -d /old", root=Root(str(world.root), readonly=True, put_old="/old"))
    assert (done.status, done.out) == (0, "/old\n")


@pytest.mark.parametrize(
    ("old", "errno"),
    [
        (container.OPENAT2, 38),
        (container.OPENAT2, 1),  # as some filters of container engines say it
        (container.NEW_MOUNT_API, 38),
        ((*container.OPENAT2, *container.NEW_MOUNT_API), 38),
    ],
)
def test_an_older_kernel_or_a_filter_of_system_calls_changes_nothing(
    world: World, old: tuple[int, ...], errno: int
) -> None:
    (world.root / "var").mkdir()
    (world.root / "var/run").symlink_to("/run")
    container.give(world.root, world.uid)
    bound = Mount("/var/run/host", "bind", str(world.host), ("rro",))
    command = """
    cat /run/host/passwd; touch /run/host/x; ls -l /dev/null | head -c 2; grep -c '' /proc/self/mountinfo
    """
    now = run(world, command, mounts=(*MOUNTS, bound))
    then = run(world, command, lambda: without(old, errno), mounts=(*MOUNTS, bound))
    assert now.status == 0
    assert now.out.startswith("the host's\ncr")
    assert then == now
