# SPDX-License-Identifier: MIT
"""How the first process of a container starts: older ways of clone, ranges of ids, and each refusal explained."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from rootfall.container import id_maps, privileges, subordinate
from rootfall.container.model import Container, IdMapping, Mount, User
from tests.kernel import contained, namespace

NOBODY = contained.NOBODY
# Before the launcher: what a filter of docker or systemd did, clone3 is as if the kernel did not have it.
NO_CLONE3 = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
code = b"".join(a.to_bytes(2, "little") + bytes((b, c)) + d.to_bytes(4, "little") for a, b, c, d in (
    (0x20, 0, 0, 0), (0x15, 0, 1, 435), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7FFF0000)))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]
program = Program(len(code) // 8, code)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
UNSHARE = ("unshare", "--user", "--map-root-user")


def launch(prefix: tuple[str, ...], made: Container, uid: int = 0) -> tuple[int, str]:
    """Run it by a launcher that this prefix of a command line starts."""
    argv = [*prefix, *contained.command(made)]
    who = {"user": uid, "group": uid, "extra_groups": ()} if uid else {}
    done = subprocess.run(argv, capture_output=True, text=True, cwd="/", timeout=contained.LIMIT, **who)  # type: ignore[call-overload]
    return done.returncode, done.stdout + done.stderr


def test_where_clone3_is_forbidden_clone_does_it(container_root: Path, uid: int) -> None:
    script = "echo $$; for n in pid mnt net; do readlink /proc/self/ns/$n; done; exit 9"
    made = contained.container(container_root, "sh", "-c", script, uid=uid)
    code, said = launch((contained.PYTHON, "-ISc", NO_CLONE3), made, uid)
    assert (code, said.split()[0], len(said.split())) == (9, "2", 4), said
    assert set(said.split()).isdisjoint(os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "mnt", "net"))


def test_that_filter_does_forbid_clone3(container_root: Path) -> None:
    call = "import ctypes; c = ctypes.CDLL(None, use_errno=True); c.syscall(435, None, 0); print(ctypes.get_errno())"
    argv = [contained.PYTHON, "-ISc", NO_CLONE3, contained.PYTHON, "-ISc", call]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "38\n"


def test_without_a_user_namespace_an_ordinary_user_is_told_to_add_one(container_root: Path) -> None:
    code, said = contained.run(contained.container(container_root, "true"), NOBODY)
    assert code == 125
    assert "cannot make the namespaces" in said
    assert "add user to the namespaces" in said


def test_namespaces_that_are_forbidden_by_a_limit_are_named_with_the_file(container_root: Path) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_{}_namespaces; exec "$@"'
    for kind, names in (("user", ("user", "mount", "pid")), ("net", ("mount", "pid", "network"))):
        made = contained.container(container_root, "true", uid=NOBODY)._replace(namespaces=names)
        made = made._replace(uid_mappings=(IdMapping(0, 0, 1),), gid_mappings=(IdMapping(0, 0, 1),))
        code, said = launch((*UNSHARE, "sh", "-c", forbid.format(kind), "sh"), made, NOBODY)
        assert code == 125
        assert f"/proc/sys/user/max_{kind}_namespaces is 0" in said
        assert "echo 10000 >" in said


def test_a_caller_in_a_chroot_is_told_that_he_is(container_root: Path, tmp_path: Path) -> None:
    script = f"""set -e
        mount -t tmpfs none {tmp_path}; mkdir -p {tmp_path}/in; cd {tmp_path}/in; chmod 755 .. .
        for each in bin sbin lib lib64 lib32; do test ! -L /$each || cp -d /$each .; done
        for each in usr proc {str(contained.INIT)[1:]} {str(Path(contained.PYTHON).parents[1])[1:]}; do
            mkdir -p $each; mount --rbind /$each $each; done
        exec chroot . setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups "$@" """
    made = contained.container(container_root, "true", uid=NOBODY)
    code, said = launch(("unshare", "--mount", "sh", "-c", script, "sh"), made)
    assert (code, "a caller in a chroot" in said, "pivot_root instead" in said) == (125, True, True), said


def test_a_caller_who_is_not_mapped_is_told_so(container_root: Path) -> None:
    made = contained.container(container_root, "true", uid=NOBODY)
    code, said = launch(("unshare", "--user", "--"), made, NOBODY)
    assert code == 125
    assert "is not mapped in the user namespace" in said


def test_containers_nest(container_root: Path, uid: int) -> None:
    inner = contained.container(container_root, "sh", "-c", "echo inner; cat /proc/self/uid_map")
    mappings = (IdMapping(0, 0, 1),)
    inner = inner._replace(namespaces=("user", *inner.namespaces), uid_mappings=mappings, gid_mappings=mappings)
    code, said = launch((*UNSHARE, "--"), inner, uid)
    assert (code, said.split()) == (0, ["inner", "0", "0", "1"])


def with_ranges(script: str, lines: str, made: Container, where: Path) -> tuple[int, str]:
    """Run it as a user to whom /etc/subuid and /etc/subgid, in a mount namespace of the test's, grant what the lines say."""
    for name in ("newuidmap", "newgidmap"):
        if not shutil.which(name):
            pytest.skip(f"no {name}, which maps ranges of ids for ordinary users")
    (where / "granted").write_text(lines)
    bind = f"for f in subuid subgid; do mount --bind {where}/granted /etc/$f; done; {script}"
    drop = f'exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups "$@"'
    return launch(("unshare", "--mount", "sh", "-c", f"{bind} {drop}", "sh"), made)


def ranged(root: Path, *args: str, **process: object) -> Container:
    made = contained.container(root, *args, uid=NOBODY, **process)
    mappings = (IdMapping(0, NOBODY, 1), IdMapping(1, 300000, 2000))
    return made._replace(uid_mappings=mappings, gid_mappings=mappings)


def test_ranges_are_mapped_by_newuidmap_and_groups_can_be_joined(container_root: Path, tmp_path: Path) -> None:
    script = "cat /proc/self/uid_map; id -u; id -G"
    made = ranged(container_root, "sh", "-c", script, user=User(1000, 1000, (7, 9)))
    code, said = with_ranges("", f"{NOBODY}:300000:65536\n", made, tmp_path)
    assert (code, said.split()) == (0, ["0", str(NOBODY), "1", "1", "300000", "2000", "1000", "1000", "7", "9"])


def test_a_range_that_is_not_granted_is_refused_with_the_line_to_add(container_root: Path, tmp_path: Path) -> None:
    code, said = with_ranges("", f"{NOBODY}:300000:100\n", ranged(container_root, "true"), tmp_path)
    assert code == 125
    assert "add to /etc/subuid: nobody:300000:2000" in said
    assert "newuidmap" in said


def test_without_newuidmap_the_package_is_named(container_root: Path, tmp_path: Path) -> None:
    hide = f"touch {tmp_path}/x; mount --bind {tmp_path}/x $(command -v newuidmap);"
    code, said = with_ranges(hide, f"{NOBODY}:300000:65536\n", ranged(container_root, "true"), tmp_path)
    assert code == 125
    assert "newuidmap" in said


def test_root_maps_ranges_himself(container_root: Path) -> None:
    made = contained.container(container_root, "sh", "-c", "cat /proc/self/uid_map; id -G", user=User(0, 0, (7,)))
    mappings = (IdMapping(0, 100000, 65536),)
    made = made._replace(namespaces=("user", *made.namespaces), uid_mappings=mappings, gid_mappings=mappings)
    assert contained.run(made)[1].split() == ["0", "100000", "65536", "0", "7"]


@pytest.mark.parametrize("first", [0, 5])
def test_root_may_map_ids_that_are_not_his_and_what_is_mounted_is_theirs(container_root: Path, first: int) -> None:
    """As docker's userns-remap does. A process without an id in its namespace can make no node of /dev (EOVERFLOW)."""
    script = (
        "stat -c '%u %g' /dev /dev/shm /proc/self/ /tmp/x; : > /tmp/x/y && stat -c %u /tmp/x/y; cat /dev/null; date +%s"
    )
    made = contained.container(container_root, "sh", "-c", script, user=User(first, first))
    mappings = (IdMapping(first, 100000, 1000),)
    mounts = (*made.mounts, Mount("/dev", "dev"), Mount("/tmp/x", "tmpfs", "tmpfs"))
    (container_root / "tmp/x").mkdir(exist_ok=True)
    made = made._replace(
        namespaces=("user", "time", *made.namespaces),
        uid_mappings=mappings,
        gid_mappings=mappings,
        mounts=mounts,
        time_offsets=(("monotonic", 1000),),
    )
    code, said = contained.run(made)
    assert code == 0, said
    assert said.split()[:9] == [str(first)] * 9


def test_mappings_that_overlap_are_refused_by_the_kernel_and_shown(container_root: Path) -> None:
    made = contained.container(container_root, "true")
    mappings = (IdMapping(0, 1000, 10), IdMapping(5, 2000, 10))
    made = made._replace(namespaces=("user", *made.namespaces), uid_mappings=mappings, gid_mappings=mappings)
    code, said = contained.run(made)
    assert code == 125
    assert "uid_map: 0 1000 10, 5 2000 10" in said
    assert "must not overlap" in said


def test_only_what_is_lacking_is_to_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subordinate, "ranges", lambda kind, uid: ((1000, 10),))
    monkeypatch.setattr(id_maps, "user_name", lambda: "ada")
    mappings = (IdMapping(0, 7, 1), IdMapping(1, 1000, 10), IdMapping(11, 1005, 10))
    assert id_maps.lacking("gid", mappings, 7) == "add to /etc/subgid: ada:1005:10"
    assert "setuid root" in id_maps.lacking("gid", mappings[:2], 7)


def test_the_callers_session_keyring_is_left_behind() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    keyctl = 250
    if os.uname().machine != "x86_64":
        pytest.skip("the number of keyctl(2) below is x86-64's")

    def session_changes() -> None:
        before = libc.syscall(keyctl, 0, -3, 1)  # KEYCTL_GET_KEYRING_ID of KEY_SPEC_SESSION_KEYRING
        assert before > 0
        privileges.leave_session_keyring()
        assert libc.syscall(keyctl, 0, -3, 1) != before

    if libc.syscall(keyctl, 0, -3, 1) < 0:
        pytest.skip("this kernel has no keyrings")
    child = namespace.fork(session_changes)
    assert os.waitpid(child, 0)[1] == 0


def test_a_container_that_runs_out_of_memory_is_killed_and_says_137(container_root: Path) -> None:
    group = Path("/sys/fs/cgroup/memory") / f"rootfall-test-{os.getpid()}"
    if not (group.parent / "memory.limit_in_bytes").exists():
        pytest.skip("no memory controller of cgroups version 1 here; those of version 2 are tested in a guest")
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(48 << 20))
        made = contained.container(
            container_root, "sh", "-c", "x=xxxxxxxx; while :; do x=$x$x; done", oom_score_adj=500
        )
        code, said = contained.run(made, preexec_fn=lambda: (group / "cgroup.procs").write_text("0"))
        assert code == 137, said
    finally:
        group.rmdir()


def test_the_oom_score_is_adjusted(container_root: Path, uid: int) -> None:
    made = contained.container(container_root, "cat", "/proc/self/oom_score_adj", uid=uid, oom_score_adj=321)
    assert contained.run(made, uid) == (0, "321\n")


def test_an_oom_score_below_the_callers_takes_root(container_root: Path) -> None:
    made = contained.container(container_root, "true", uid=NOBODY, oom_score_adj=-900)
    code, said = contained.run(made, NOBODY)
    assert code == 125
    assert "cannot set oom_score_adj" in said
    assert "takes root" in said
