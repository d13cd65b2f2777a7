# SPDX-License-Identifier: MIT
"""What `explain` predicts is what the kernel answers, over random small trees of mounts; and asking changes nothing."""

import ctypes
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, given, settings

from rootfall.container import observe
from rootfall.container.diagnose import checks, diagnose
from rootfall.linux import libc
from tests.kernel.namespace import CLONE_NEWNS, CLONE_NEWUSER, become_root, fork, tmpfs, unshare
from tests.kernel.test_container_pivot import let_be

Run = Callable[[Callable[[], None]], None]
Step = tuple[str, ...]

PLACES = ("a", "a/b", "a/b/c", "d", "d/e")
ODD_NAMES = ("..", "/", "", "none", "file", "loop", "link")
NAMES = (*PLACES * 4, *(".",) * 4, *ODD_NAMES)
_PROPAGATION = {"shared": libc.MS_SHARED, "private": libc.MS_PRIVATE, "slave": libc.MS_SLAVE, "unbindable": 1 << 17}

EXAMPLES = int(os.environ.get("ROOTFALL_EXAMPLES", "300"))
# What must come up among so many, or the stories tell too little; the rarer ones are in test_container_pivot.py.
SEEN = {"none", "does not exist", "not a directory", "symbolic links", "shared", "locked", "same mount"}
SEEN |= {"not a mount point", "not at or underneath"}

place = st.sampled_from(PLACES)
name = st.sampled_from(NAMES)
step = st.one_of(
    st.tuples(st.just("tmpfs"), place),
    st.tuples(st.just("bind"), place, place),
    st.tuples(st.just("itself"), place),
    st.tuples(st.sampled_from([*_PROPAGATION, "shared"]), st.sampled_from([*PLACES, "."])),
    st.tuples(st.sampled_from(["chdir", "lazily", "leave", "vanish", "limbo"]), place),
)
# At most one way to be elsewhere, at a random moment: most trees should reach the later checks.
odd = st.one_of(
    st.sampled_from([("nothing",), ("user",), ("root",), ("away",)]),
    st.tuples(st.sampled_from(["chroot", "foreign", "swap"]), place),
    st.tuples(st.just("chroot"), place),
)


def perform(step: Step, base: str) -> None:
    """One step of a random story; what the kernel refuses did not happen."""
    what, *words = step
    paths = [os.path.normpath(f"{base}/{word}") for word in words]
    match what:
        case "tmpfs":
            libc.mount("tmpfs", paths[0], "tmpfs")
            directories(paths[0])
        case "bind" | "itself":
            libc.mount(paths[0], paths[-1], None, libc.MS_BIND | libc.MS_REC)
        case "chdir":
            os.chdir(paths[0])
        case "lazily":
            libc.umount2(paths[0], libc.MNT_DETACH)
        case "vanish":  # a bind mount of what is deleted then
            os.mkdir(f"{base}/vanish")
            libc.mount(f"{base}/vanish", paths[0], None, libc.MS_BIND)
            os.rmdir(f"{base}/vanish")
        case "limbo":  # stay in a directory that is deleted
            os.mkdir(f"{paths[0]}/limbo")
            os.chdir(f"{paths[0]}/limbo")
            os.rmdir(f"{paths[0]}/limbo")
        case "chroot":
            directories(paths[0])
            os.makedirs(f"{paths[0]}/proc", exist_ok=True)
            libc.mount("proc", f"{paths[0]}/proc", "proc")
            os.chroot(paths[0])
        case "root":
            os.mkdir(f"{base}/proc")
            libc.mount("proc", f"{base}/proc", "proc")
            become_root(base)
        case "user":
            unshare(CLONE_NEWUSER | CLONE_NEWNS)
        case "leave":  # stay in a directory whose mount is let go of
            os.chdir(paths[0])
            libc.umount2(paths[0], libc.MNT_DETACH)
        case "foreign":  # stay in a directory of a mount namespace that is left, and lives on
            let_be()
            fd = os.open(paths[0], os.O_PATH)
            unshare(CLONE_NEWNS)
            os.fchdir(fd)
        case "swap":  # a root in a shared tree
            libc.mount(None, base or "/", None, libc.MS_SHARED)
            perform(("tmpfs", *words), base)
            perform(("private", *words), base)
            perform(("chroot", *words), base)
        case "away":
            os.chdir("/")
        case "nothing":
            pass
        case _:
            libc.mount(None, paths[0], None, _PROPAGATION[what])


def directories(base: str) -> None:
    for each in PLACES:
        os.makedirs(f"{base}/{each}", exist_ok=True)
    Path(f"{base}/file").touch()
    for link, target in (("loop", "loop"), ("link", "a/b")):
        if not os.path.lexists(f"{base}/{link}"):
            os.symlink(target, f"{base}/{link}")


class Answer(ctypes.Structure):
    """What a child found, in memory shared with it."""

    _fields_ = (
        ("predicted", ctypes.c_int),
        ("sure", ctypes.c_int),
        ("kernel", ctypes.c_int),
        ("changed", ctypes.c_int),
        ("cause", ctypes.c_char * 64),
        ("facts", ctypes.c_char * 4000),
    )


def ask(answer: Answer, directory: str, steps: tuple[Step, ...], names: tuple[str, str], dots: bool) -> None:
    """Live the story in a mount namespace, predict, and then let the kernel answer."""
    unshare(CLONE_NEWNS)
    base = tmpfs(directory)
    directories(base)
    os.chdir(base)
    for each in steps:
        try:
            perform(each, base)
        except OSError:
            continue
        if each[0] in ("root", "chroot", "swap"):
            base = ""
    new, old = (n if n in (".", "..", "/", "") or (dots and os.path.exists(n)) else f"{base}/{n}" for n in names)
    before = everything()
    found = observe.read(new, old)
    cause = diagnose(found)
    answer.changed = before != everything()
    answer.predicted = cause.errno if cause else 0
    failed = [check.found for check in checks(found) if check.found]
    answer.sure = not failed or failed[0].certain  # what comes after the first does not matter
    answer.cause = (cause.cause if cause else "none").encode()
    answer.facts = f"{cause}\n{found}".encode()[:3999]
    try:
        libc.pivot_root(new, old)
    except OSError as error:
        answer.kernel = error.errno or -2
        again = diagnose(found, answer.kernel)
        assert again is not None
        assert again.cause != "unknown", again


def everything() -> str:
    path = "/proc/self/mountinfo"
    return Path(path).read_text() if os.path.exists(path) else ""


def test_what_is_predicted_is_what_the_kernel_answers(in_namespace: Run, tmp_path: Path) -> None:
    user = os.geteuid()

    def test() -> None:
        shared = mmap.mmap(-1, 8192)
        answer = Answer.from_buffer(shared)
        seen: list[tuple[int, str, bool]] = []

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=EXAMPLES == 300,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(step, min_size=1, max_size=7), odd, st.integers(0, 4), st.tuples(name, name), st.booleans())
        def same(story: list[Step], strange: Step, when: int, names: tuple[str, str], dots: bool) -> None:
            ctypes.memset(ctypes.addressof(answer), 0, ctypes.sizeof(answer))
            steps = (*story[:when], strange, *story[when:])
            _, status = os.waitpid(fork(lambda: ask(answer, str(tmp_path / "base"), steps, names, dots)), 0)
            assert status == 0
            assert not answer.changed
            if answer.sure:
                assert answer.predicted == answer.kernel, answer.facts.decode()
            seen.append((answer.kernel, answer.cause.decode(), bool(answer.sure)))

        same()
        causes = {cause for _, cause, _ in seen}
        assert EXAMPLES < 300 or causes >= SEEN, sorted(SEEN - causes)
        if observe.release() >= (6, 8) and not user:  # then little is out of sight
            assert len([sure for *_, sure in seen if not sure]) < EXAMPLES / 20

    in_namespace(test)
