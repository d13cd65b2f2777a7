# SPDX-License-Identifier: MIT
"""Every way in which pivot_root(2) fails, made to happen: what the kernel answers, what is said of it, and what --fix does.

The stage is a tmpfs that is the root of a mount namespace of its own, with its own /proc. The initial ramfs is not here: it is
this machine's own (tests/boot has it).
"""

import ctypes
import errno
import fcntl  # noqa: F401  # `observe` imports it late, and there is nothing to import from on the stage
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from rootfall.container import observe, pivot_command
from rootfall.container.diagnose import diagnose
from rootfall.container.facts import Diagnosis
from rootfall.linux import libc
from tests.kernel.namespace import CLONE_NEWNS, CLONE_NEWUSER, become_root, fork, tmpfs, unshare

Run = Callable[[Callable[[], None]], None]
Names = tuple[str, str]
_libc = ctypes.CDLL(None, use_errno=True)


def stage(tmp_path: Path) -> None:
    """A tmpfs as the root, with /proc, /dir (plain), /new (a mount, with /new/old) and /other (a mount)."""
    root = tmpfs(tmp_path / "stage")
    os.mkdir(f"{root}/proc")
    libc.mount(
        "proc", f"{root}/proc", "proc"
    )  # while the old one is there: an ordinary user may not mount the first one
    become_root(root)
    for each in ("/dir", "/dir/old"):
        os.mkdir(each)
    for each in ("/new", "/other"):
        os.mkdir(f"{tmpfs(each)}/old")
    Path("/file").touch()


def mountinfo() -> str:
    return Path("/proc/self/mountinfo").read_text()


class Told(NamedTuple):
    """What a command said, and its exit status."""

    status: int
    out: str
    err: str


def tell(command: Callable[[list[str]], int], *words: str) -> Told:
    """Run a command of ours in this process, with its standard streams caught."""
    caught, kept = [], []
    for stream in (1, 2):
        caught.append(os.memfd_create("caught"))
        kept.append(os.dup(stream))
        os.dup2(caught[-1], stream)
    try:
        status = command(list(words))
    finally:
        for stream, fd in enumerate(kept, 1):
            os.dup2(fd, stream)
    return Told(status, *(os.pread(fd, 1 << 20, 0).decode() for fd in caught))


def let_be() -> int:
    """A process that stays in the mount namespace that is now left; it ends with this one."""
    read, write = os.pipe()

    def stay() -> None:
        os.close(write)
        os.read(read, 1)  # until the other end is closed

    pid = fork(stay)
    os.close(read)
    return pid


# The ways to fail. Each sets the stage further and returns the two names.


def not_capable() -> Names:
    drop_capabilities(0)
    return "/new", "/new/old"


def user_namespace_alone() -> Names:
    unshare(CLONE_NEWUSER)
    return "/new", "/new/old"


def drop_capabilities(keep: int) -> None:
    header = struct.pack("=Ii", 0x20080522, 0)
    low, high = keep & 0xFFFFFFFF, keep >> 32
    assert _libc.capset(header, struct.pack("=6I", low, low, 0, high, high, 0)) == 0


def seccomp() -> Names:
    number = {"x86_64": 155, "aarch64": 41}.get(os.uname().machine)
    assert number
    rules = ((0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | errno.EPERM), (0x06, 0, 0, 0x7FFF0000))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
    program = struct.pack("@HP", len(rules), ctypes.addressof(code))
    assert _libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert _libc.prctl(22, 2, program) == 0  # PR_SET_SECCOMP
    return "/new", "/new/old"


def landlock() -> Names:
    ruleset = _libc.syscall(444, struct.pack("=Q", 1 << 12), ctypes.c_size_t(8), 0)  # LANDLOCK_ACCESS_FS_MAKE_SYM
    assert ruleset >= 0
    assert _libc.prctl(38, 1, 0, 0, 0) == 0
    assert _libc.syscall(446, ruleset, 0) == 0
    os.close(ruleset)
    return "/new", "/new/old"


def new_missing() -> Names:
    return "/none/root", "/new/old"


def old_missing() -> Names:
    return "/new", "/new/none"


def dangling() -> Names:
    os.symlink("/nowhere", "/link")
    return "/link", "/new/old"


def new_file() -> Names:
    return "/file", "/new/old"


def old_below_file() -> Names:
    Path("/new/file").touch()
    return "/new", "/new/file/old"


def loop() -> Names:
    os.symlink("loop", "/loop")
    return "/loop", "/new"


def long_name() -> Names:
    return "/new", "/new/" + "x" * 256


def behind_a_closed_door() -> Names:
    os.makedirs("/closed/new", 0o755)
    os.chmod("/closed", 0)
    drop_capabilities(1 << 21)
    return "/closed/new", "/new"


def old_deleted() -> Names:
    os.chdir("/new/old")
    os.rmdir("/new/old")
    return "/new", "."


def old_let_go() -> Names:
    os.chdir("/other")
    libc.umount2("/other", libc.MNT_DETACH)
    return "/new", "."


def old_shared() -> Names:
    tmpfs("/new/old")
    libc.mount(None, "/new/old", None, libc.MS_SHARED)
    return "/new", "/new/old"


def both_dots_shared() -> Names:
    libc.mount(None, "/new", None, libc.MS_SHARED)
    os.chdir("/new")
    return ".", "."


def parent_shared() -> Names:
    libc.mount(None, "/", None, libc.MS_SHARED)
    return "/new", "/new/old"


def root_parent_shared() -> Names:
    libc.mount(None, "/", None, libc.MS_SHARED)
    for each in ("/other/proc", "/other/new"):
        os.mkdir(each)
    libc.mount("proc", "/other/proc", "proc")
    tmpfs("/other/new")
    for each in ("/other", "/other/new"):
        libc.mount(None, each, None, libc.MS_PRIVATE)
    os.chroot("/other")
    os.chdir("/")
    return "/new", "/new"


def abroad(name: str) -> str:
    """A path to this directory in the mount namespace that is now left, where a process stays."""
    let_be()
    fd = os.open(name, os.O_PATH)
    unshare(CLONE_NEWNS)
    return f"/proc/self/fd/{fd}"


def root_abroad() -> Names:
    door = abroad("/")
    os.chroot(door)
    return "/new", "/new/old"


def new_abroad() -> Names:
    return abroad("/new"), "/new/old"


def old_abroad() -> Names:
    return "/new", abroad("/new/old")


def old_abroad_shared() -> Names:
    libc.mount(None, "/other", None, libc.MS_SHARED)
    door = abroad("/other")
    libc.mount(None, "/other", None, libc.MS_PRIVATE)
    return "/dir", door


def new_let_go() -> Names:
    os.chdir("/new")
    libc.umount2("/new", libc.MNT_DETACH)
    return ".", "/other"


def locked() -> Names:
    unshare(CLONE_NEWUSER | CLONE_NEWNS)
    return "/new", "/new/old"


def locked_directory() -> Names:
    unshare(CLONE_NEWUSER | CLONE_NEWNS)
    return "/dir", "/dir/old"


def new_deleted() -> Names:
    os.mkdir("/source")
    os.mkdir("/place")
    libc.mount("/source", "/place", None, libc.MS_BIND)
    os.rmdir("/source")
    return "/place", "/other"


def plain() -> Names:
    return "/dir", "/dir/old"


def root_itself() -> Names:
    return "/", "/"


def old_on_root() -> Names:
    return "/new", "/dir"


def chroot() -> Names:
    for each in ("/dir/proc", "/dir/new"):
        os.mkdir(each)
    libc.mount("proc", "/dir/proc", "proc")
    tmpfs("/dir/new")
    os.chroot("/dir")
    os.chdir("/")
    return "/new", "/new"


def plain_elsewhere() -> Names:
    os.makedirs("/other/dir/old")
    return "/other/dir", "/other/dir/old"


def plain_on_a_child_of_shared() -> Names:
    libc.mount(None, "/", None, libc.MS_SHARED)
    return plain_elsewhere()


def old_elsewhere() -> Names:
    return "/new", "/other"


def outside() -> Names:
    os.mkdir("/other/proc")
    libc.mount("proc", "/other/proc", "proc")
    os.chdir("/new")
    os.chroot("/other")
    return ".", "."


def has_landlock() -> bool:
    return bool(_libc.syscall(444, None, ctypes.c_size_t(0), 1) > 0)


WAYS: list[tuple[Callable[[], Names], str, str, list[str]]] = [
    (
        not_capable,
        "EPERM",
        "CAP_SYS_ADMIN",
        ["no CAP_SYS_ADMIN over the owner of its mount namespace", "unshare --user"],
    ),
    (user_namespace_alone, "EPERM", "CAP_SYS_ADMIN", ["its mount namespace belongs to another one", "together with"]),
    (seccomp, "EPERM", "seccomp", ["a seccomp filter forbids"]),
    (landlock, "EPERM", "security module", ["Landlock"]),
    (new_missing, "ENOENT", "does not exist", ["new_root /none/root: /none does not exist", "mkdir -p /none/root"]),
    (old_missing, "ENOENT", "does not exist", ["put_old /new/none does not exist"]),
    (dangling, "ENOENT", "does not exist", ["/link, a symbolic link to /nowhere, leads to what does not exist"]),
    (new_file, "ENOTDIR", "not a directory", ["new_root /file is not a directory"]),
    (old_below_file, "ENOTDIR", "not a directory", ["put_old /new/file/old: /new/file is not a directory"]),
    (loop, "ELOOP", "symbolic links", ["/loop, a symbolic link to loop, leads through too many symbolic links"]),
    (long_name, "ENAMETOOLONG", "name too long", ["(261 characters) is a name too long"]),
    (behind_a_closed_door, "EACCES", "no permission", ["/closed/new is behind a directory that may not be searched"]),
    (old_deleted, "ENOENT", "deleted", ["put_old . was deleted"]),
    (old_let_go, "ENOENT", "not mounted", ["put_old . is on a mount that is not mounted any more"]),
    (old_shared, "EINVAL", "shared", ["put_old /new/old is on a mount with shared", "mount --make-slave /new/old"]),
    (both_dots_shared, "EINVAL", "shared", ["put_old . is on a mount with shared", "mount --make-slave /new"]),
    (
        parent_shared,
        "EINVAL",
        "shared",
        ["new_root /new is on mount", "whose parent has shared", "mount --make-slave /\n"],
    ),
    (root_parent_shared, "EINVAL", "shared", ["the parent of the current root's mount has shared propagation"]),
    (root_abroad, "EINVAL", "another mount namespace", ["the current root / is in another mount namespace", "nsenter"]),
    (new_abroad, "EINVAL", "another mount namespace", ["new_root /proc/self/fd/", "that of process "]),
    (old_abroad, "EINVAL", "another mount namespace", ["put_old /proc/self/fd/", "that of process "]),
    (old_abroad_shared, "EINVAL", "shared", ["put_old /proc/self/fd/", "with shared propagation"]),
    (new_let_go, "EINVAL", "not mounted", ["new_root . is on a mount that is not mounted in this mount namespace"]),
    (locked, "EINVAL", "locked", ["new_root /new is on a mount that is locked", "mount --rbind /new /new"]),
    (locked_directory, "EINVAL", "locked", ["new_root /dir is on a mount that is locked", "mount --rbind /dir /dir"]),
    (new_deleted, "ENOENT", "deleted", ["new_root /place was deleted", "the directory that was bound there was"]),
    (
        plain,
        "EBUSY",
        "not a mount point",
        ["plain directory on the same mount as the current root", "mount --rbind /dir /dir"],
    ),
    (root_itself, "EBUSY", "same mount", ["new_root / is the current root itself"]),
    (old_on_root, "EBUSY", "same mount", ["put_old /dir is on the same mount", "not at or underneath new_root /new"]),
    (chroot, "EINVAL", "chroot", ["the current root is not a mount point", "a chroot into a plain directory"]),
    (
        plain_elsewhere,
        "EINVAL",
        "not a mount point",
        ["/other/dir is not a mount point: it is a plain directory on mount"],
    ),
    (plain_on_a_child_of_shared, "EINVAL", "shared", ["/other/dir is not a mount point", "mount --rbind /other/dir"]),
    (old_elsewhere, "EINVAL", "not at or underneath", ["put_old /other is not at or underneath new_root /new"]),
    (outside, "EINVAL", "outside of the current root", ["new_root . is outside of the current root"]),
]


# What only statmount(2) shows: it came with Linux 6.8.
HIDDEN = (root_parent_shared, new_let_go, outside)


@pytest.mark.parametrize(("way", "code", "cause", "words"), WAYS, ids=[way.__name__ for way, *_ in WAYS])
def test_a_failure_is_explained_before_and_after_and_changes_nothing(
    way: Callable[[], Names], code: str, cause: str, words: list[str], in_namespace: Run, tmp_path: Path
) -> None:
    if way is landlock and not has_landlock():
        pytest.skip("this kernel has no Landlock")
    if way is old_let_go and observe.release() < (6, 15):
        pytest.skip("before Linux 6.15 it depends on the stable release")

    if way in (plain, root_itself) and os.geteuid():
        # A user's first root is locked on what it covers, and hands that on to the next one: that is checked earlier.
        code, cause, words = "EINVAL", "locked", ["is locked"]

    def test() -> None:
        stage(tmp_path)
        names = way()
        if way in HIDDEN and observe.release() < (6, 8):
            assert "; perhaps " in tell(pivot_command.pivot, *names).err
            return
        before = mountinfo() if way is not root_abroad else ""
        found = diagnose(observe.read(*names))
        explained = tell(pivot_command.explain, *names)
        with pytest.raises(OSError) as refusal:  # noqa: PT011 # the errno is what this is about
            libc.pivot_root(*names)
        told = tell(pivot_command.pivot, *names)
        assert (mountinfo() if way is not root_abroad else "") == before
        assert errno.errorcode[refusal.value.errno or 0] == code
        assert isinstance(found, Diagnosis)
        assert (found.cause, errno.errorcode[found.errno]) == (cause, code)
        assert explained.status == told.status == 1
        assert f"({code}): {cause}." in explained.out
        assert f"({code}); " in told.err
        assert told.err.endswith("rootfall: nothing was changed\n")
        for each in words:
            assert each.strip() in explained.out
            assert each in told.err

    in_namespace(test)


def test_nothing_is_wrong_and_the_kernel_agrees(in_namespace: Run, tmp_path: Path) -> None:
    def test() -> None:
        stage(tmp_path)
        told = tell(pivot_command.explain, "/new", "/new/old")
        assert told == (0, told.out, "")
        assert "\nIt would succeed" in told.out
        assert ("perhaps" in told.out) == (observe.release() < (6, 8))  # the parent of the root's mount is out of sight
        assert "fails" not in told.out
        assert tell(pivot_command.pivot, "/new", "/new/old") == (0, "", "")
        assert os.path.exists("/old/file")

    in_namespace(test)


FIXES: list[tuple[Callable[[], Names], list[str]]] = [
    (plain, ["mount --rbind /dir /dir"]),
    (plain_elsewhere, ["mount --rbind /other/dir /other/dir"]),
    (plain_on_a_child_of_shared, ["mount --rbind /other/dir /other/dir"]),
    (parent_shared, ["mount --make-slave /"]),
    (old_shared, ["mount --make-slave /new/old"]),
    (both_dots_shared, ["mount --make-slave /new"]),
    (locked, ["mount --rbind /new /new"]),
    (locked_directory, ["mount --rbind /dir /dir"]),
]


@pytest.mark.parametrize(("way", "acts"), FIXES, ids=[way.__name__ for way, _ in FIXES])
def test_fix_does_what_is_missing_says_so_and_succeeds(
    way: Callable[[], Names], acts: list[str], in_namespace: Run, tmp_path: Path
) -> None:
    def test() -> None:
        stage(tmp_path)
        names = way()
        inode = os.stat(names[0]).st_ino
        told = tell(pivot_command.pivot, "--fix", *names)
        assert told.err == "".join(f"rootfall: fix: {act}\n" for act in acts)
        assert told.status == 0
        assert os.stat("/").st_ino == inode

    in_namespace(test)


def test_fix_of_a_plain_directory_on_a_shared_root_is_seen_by_nobody_else(in_namespace: Run, tmp_path: Path) -> None:
    """Out of the peer group first, then the bind: in the other order the bind would be made in each peer, too."""

    def test() -> None:
        stage(tmp_path)
        libc.mount(None, "/", None, libc.MS_SHARED)
        outside = let_be()
        proc = os.open("/proc", os.O_PATH)
        unshare(CLONE_NEWNS)
        os.chdir("/dir")
        before = Path(f"/proc/{outside}/mountinfo").read_text()
        told = tell(pivot_command.pivot, "--fix", ".", ".")
        assert told == (0, "", "rootfall: fix: mount --make-slave /\nrootfall: fix: mount --rbind /dir /dir\n")
        libc.umount2(".", libc.MNT_DETACH)
        assert os.listdir("/") == ["old"]
        with open(os.open(f"{outside}/mountinfo", os.O_RDONLY, dir_fd=proc)) as seen:
            assert seen.read() == before

    in_namespace(test)


@pytest.mark.parametrize("way", [chroot, old_on_root, old_elsewhere, new_deleted, root_parent_shared, root_itself])
def test_fix_leaves_alone_what_it_cannot_mend(way: Callable[[], Names], in_namespace: Run, tmp_path: Path) -> None:
    def test() -> None:
        stage(tmp_path)
        names = way()
        before = mountinfo()
        told = tell(pivot_command.pivot, "--fix", *names)
        assert told.status == 1
        assert told.err.endswith("rootfall: --fix cannot mend that; nothing was changed\n")
        assert mountinfo() == before

    in_namespace(test)


def test_fix_begins_nothing_that_it_cannot_end(in_namespace: Run, tmp_path: Path) -> None:
    """The new root could be bound onto itself, but the chroot would stay in the way; so would a put_old elsewhere."""

    def test() -> None:
        stage(tmp_path)
        os.makedirs("/dir/new/old")
        os.mkdir("/dir/proc")
        libc.mount("proc", "/dir/proc", "proc")
        told = tell(pivot_command.pivot, "--fix", "/dir/new", "/dir/old")
        assert "put_old /dir/old is on the same mount as the current root" in told.err
        os.chroot("/dir")
        before = mountinfo()
        told = tell(pivot_command.pivot, "--fix", "/new", "/new/old")
        assert "a chroot into a plain directory" in told.err
        assert mountinfo() == before

    in_namespace(test)


def test_fix_is_refused_in_the_mount_namespace_of_the_machine(
    in_namespace: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def test() -> None:
        assert not observe.initial_namespace()
        stage(tmp_path)
        assert not observe.initial_namespace()
        monkeypatch.setattr(observe, "initial_namespace", lambda: True)
        before = mountinfo()
        told = tell(pivot_command.pivot, "--fix", "/dir", "/dir/old")
        assert told.status == 1
        assert "--fix does not change the mounts that this machine was booted with; nothing was changed" in told.err
        assert mountinfo() == before

    in_namespace(test)


def test_the_mount_namespace_of_the_machine_is_known() -> None:
    if os.stat("/proc/self/ns/pid").st_ino != 0xEFFFFFFC or os.stat("/proc/self/ns/mnt").st_ino > 0xF0000001:
        pytest.skip("these tests are run in a container")
    assert observe.initial_namespace()


@pytest.mark.skipif(observe.release() < (6, 8), reason="without /proc it takes statmount(2), which came with Linux 6.8")
def test_without_proc_the_cause_is_still_found(in_namespace: Run, tmp_path: Path) -> None:
    def test() -> None:
        stage(tmp_path)
        libc.umount2("/proc", libc.MNT_DETACH)
        for names, cause in ((plain(), "not a mount point"), (old_elsewhere(), "not at or underneath")):
            found = diagnose(observe.read(*names))
            assert found
            assert found.cause == cause

    in_namespace(test)


@pytest.mark.parametrize("name", ["/o'\r\n\f \\040", "/gone (deleted)"], ids=["odd", "deleted"])
def test_an_odd_name_is_read_as_it_is_and_shown_as_a_shell_takes_it(
    name: str, in_namespace: Run, tmp_path: Path
) -> None:
    def test() -> None:
        stage(tmp_path)
        tmpfs(name)
        libc.mount(None, name, None, libc.MS_SHARED)
        new = f"{name}/new (deleted)"
        os.mkdir(new)
        told = tell(pivot_command.explain, new, new)
        assert told.out.endswith("(EINVAL): shared.\n")
        quoted = name.replace("'", "'\\''")
        assert f"what helps: mount --make-slave '{quoted}' && mount --rbind '{quoted}/new (deleted)'" in told.out
        assert tell(pivot_command.pivot, "--fix", new, new).status == 0
        os.chdir("/")
        libc.umount2(".", libc.MNT_DETACH)
        assert os.listdir("/") == []

    in_namespace(test)


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (["sh", "-c", "pwd; exit 7"], 7 << 8, "/\n"),
        (["/bin/sh", "-c", "kill -9 $$"], 9, ""),
        (["no-such-command"], 127 << 8, "rootfall: the root was changed, but no-such-command cannot be executed: "),
        (["/usr"], 126 << 8, "rootfall: the root was changed, but /usr cannot be executed: Permission"),
    ],
)
def test_a_command_is_executed_in_the_new_root_and_its_status_is_ours(
    command: list[str], status: int, said: str, in_namespace: Run, tmp_path: Path
) -> None:
    def test() -> None:
        root = str(tmp_path)
        libc.mount("/", root, None, libc.MS_BIND | libc.MS_REC)
        os.chdir(root)
        streams = os.memfd_create("streams")

        def go() -> None:
            os.dup2(streams, 1)
            os.dup2(streams, 2)
            os.environ["PATH"] = "/usr/bin:/bin"
            os._exit(pivot_command.pivot([".", ".", "--", *command]))

        assert os.waitpid(fork(go), 0)[1] == status
        assert os.pread(streams, 4096, 0).decode().startswith(said)

    in_namespace(test)
