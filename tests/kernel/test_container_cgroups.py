# SPDX-License-Identifier: MIT
"""Limits of containers by cgroups of version 1, on this machine: what they do to a program, and that nothing of them stays.

Version 2 has its tests in tests/boot, in a guest that has it. Every container here has a name of its own, so that what is left
of it can be looked for in all hierarchies, whoever else uses them meanwhile.
"""

import os
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rootfall.container.cgroup_files import hierarchies
from rootfall.container.model import Container, IdMapping, Mount, Process, Resources, Root
from tests.guest.material import HERE, compile_static
from tests.kernel import contained

LIMIT = 120.0  # seconds that a container has
CGROUPS = Path("/sys/fs/cgroup")
MIB = 1 << 20
OURS = f"test-{os.getpid()}"
PROC = (Mount("/proc", "proc", "proc"),)
# The launcher, without the words of a command line: a container's record in, its exit status out.
RUN = """
import sys
from rootfall.container import launch
from rootfall.container.model import Container, IdMapping, Mount, Process, Resources, Rlimit, Root, User
from rootfall.errors import RootfallError
try:
    sys.exit(launch.run(eval(sys.argv[1])))
except RootfallError as error:
    print("rootfall:", error, file=sys.stderr)
    sys.exit(error.status)
"""
# The same again and again, from one process that inherits every orphan: when it has no child left, nothing is running any more.
STORM = """
import ctypes, os, random, select, sys
from rootfall.container import cgroups, launch
from rootfall.container.model import Container, IdMapping, Mount, Process, Resources, Rlimit, Root, User
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
dice = random.Random(4)
container, runs = eval(sys.argv[1]), int(sys.argv[2])
for number in range(runs):
    pid = os.fork()
    if pid == 0:
        os._exit(launch.run(container._replace(id=f"{container.id}-{number}")))
    poll = select.poll()
    poll.register(os.pidfd_open(pid), select.POLLIN)
    poll.poll(dice.random() * 40)
    os.kill(pid, 9)
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass
    print(f"{container.id}-{number}", len([each for each, names, _ in os.walk("/sys/fs/cgroup") if container.id in each]))
"""
# A launcher that fails, under a process that inherits what it leaves: nothing.
ALONE = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
if os.fork() == 0:
    os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
print(os.waitstatus_to_exitcode(os.wait()[1]))
try:
    print("left", os.wait())
except ChildProcessError:
    print("nobody is left")
"""


@pytest.fixture(scope="module", autouse=True)
def _version_1() -> None:
    mounted = {controller for each in hierarchies() if each.version == 1 for controller in each.controllers}
    if lack := {"memory", "pids", "cpu", "cpuset", "blkio"} - mounted:
        pytest.skip(f"no version 1 of these controllers here: {' '.join(sorted(lack))}")
    if os.geteuid():
        pytest.skip("cgroups of version 1 are root's")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root that holds one static program."""
    tree = tmp_path_factory.mktemp("root")
    for name in ("bin", "proc"):
        (tree / name).mkdir()
    compile_static(HERE / "limits.c", tree / "bin/limits")
    return tree


@pytest.fixture
def strace() -> list[str]:
    """`strace -f`, which sees and refuses what a launcher and all of its children ask of the kernel."""
    if not shutil.which("strace"):
        pytest.skip("no strace here (apt install strace)")
    return ["strace", "-f", "-qq"]


@pytest.fixture
def container(root: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Container]]:
    """`container(command, limit=…)` is one with a name of its own; in the end nothing of that name is in any hierarchy."""
    name = re.sub(r"[^\w.+-]", "_", f"{OURS}-{request.node.name}")[:100]

    def make(command: str, **limits: int | str | tuple[str, ...]) -> Container:
        resources = Resources(**limits)  # type: ignore[arg-type]
        process = Process(("/bin/limits", *command.split()))
        return Container(name, Root(str(root)), process, PROC, resources=resources)

    yield make
    assert directories(name) == []


def directories(name: str) -> list[str]:
    """The cgroups whose names begin so, in all hierarchies."""
    return [place for place, _, _ in os.walk(CGROUPS) if os.path.basename(place).startswith(name)]


def command(script: str, *words: object) -> list[str]:
    return [sys.executable, "-c", script, *(str(each) for each in words)]


def run(what: Container, *before: str) -> subprocess.CompletedProcess[str]:
    """Run a container to its end."""
    words = [*before, *command(RUN, what)]
    return subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False)


class Running:
    """A container whose program has said a line and stays until it is told to go."""

    def __init__(self, what: Container) -> None:
        stay = what.process._replace(args=(*what.process.args, "stay"))
        pipe = subprocess.PIPE
        self.launcher = subprocess.Popen(command(RUN, what._replace(process=stay)), stdin=pipe, stdout=pipe, text=True)
        assert self.launcher.stdout
        assert select.select([self.launcher.stdout], [], [], LIMIT)[0], "no line of the program's"
        self.said = self.launcher.stdout.readline()

    def end(self) -> int:
        """Let it go; its exit status."""
        self.launcher.communicate(timeout=LIMIT)
        return self.launcher.returncode


def children(pid: int) -> list[int]:
    """The pidfds of a process's children."""
    found = []
    for each in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[1] == str(pid):
                found.append(os.pidfd_open(int(each)))
        except OSError:
            pass  # it is gone
    return found


def ended(pidfd: int) -> bool:
    """Whether a process ends within LIMIT."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(LIMIT * 1000))


def test_an_allocation_beyond_the_memory_limit_is_killed_and_reported(container: Callable[..., Container]) -> None:
    done = run(container("eat 96", memory_max=48 * MIB))
    assert done.returncode == 137
    assert 24 < len(done.stdout.splitlines()) < 48
    assert done.stderr == (
        "rootfall: the container's memory limit of 48 MiB was reached: "
        "the kernel killed a process of it (memory.oom_control: oom_kill 1)\n"
    )


def test_an_allocation_within_the_memory_limit_is_not_remarked_upon(container: Callable[..., Container]) -> None:
    done = run(container("eat 16", memory_max=64 * MIB))
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 16)


def test_memory_and_swap_are_limited_together(container: Callable[..., Container]) -> None:
    if not list(CGROUPS.glob("memory/memory.memsw.limit_in_bytes")):
        pytest.skip("this kernel does not count swap")
    running = Running(container("affinity", memory_max=32 * MIB, memory_swap_max=16 * MIB))
    [directory] = [each for each in directories(OURS) if "/memory/" in each]
    assert Path(directory, "memory.memsw.limit_in_bytes").read_text() == f"{48 * MIB}\n"
    assert running.end() == 0


def test_swap_alone_has_no_word_in_version_1_and_is_refused(container: Callable[..., Container]) -> None:
    done = run(container("affinity", memory_swap_max=MIB))
    assert done.returncode == 125
    assert "limit memory too" in done.stderr


def test_a_bounded_loop_of_forks_stops_at_the_limit_of_processes(container: Callable[..., Container]) -> None:
    done = run(container("fork 100", pids_max=20))
    # Of the twenty, one is the reaper, one the program itself.
    assert done.stdout == "forked 18, then Resource temporarily unavailable\n"
    assert "limit of 20 processes was reached: fork failed once (pids.events: max 1)" in done.stderr


def test_a_quota_of_half_a_processor_halves_the_speed(container: Callable[..., Container]) -> None:
    # With such a weight it gets what it may have, however busy the machine is.
    running = Running(container("spin 1000", cpu_quota=50_000, cpu_weight=10_000))
    used, passed = map(int, re.findall(r"\d+", running.said))
    [directory] = [each for each in directories(OURS) if "/cpu/" in each]
    counted = dict(line.split() for line in Path(directory, "cpu.stat").read_text().splitlines())
    assert running.end() == 0
    assert used <= passed * 0.5 + 60_000  # a period's quota may have been begun before, and one after
    assert int(counted["nr_throttled"]) >= 5


def test_a_weight_is_the_kernels_own_in_shares(container: Callable[..., Container]) -> None:
    running = Running(container("affinity", cpu_weight=50))
    [directory] = [each for each in directories(OURS) if "/cpu/" in each]
    assert Path(directory, "cpu.shares").read_text() == "512\n"
    assert running.end() == 0


def test_a_cpuset_is_what_sched_getaffinity_shows(container: Callable[..., Container]) -> None:
    last = max(os.sched_getaffinity(0))
    assert run(container("affinity", cpuset_cpus=str(last))).stdout == f"processors {last}\n"


def test_processors_that_are_not_there_are_refused_with_those_that_are(container: Callable[..., Container]) -> None:
    done = run(container("affinity", cpuset_cpus="4000"))
    assert done.returncode == 125
    assert "cannot set cpuset.cpus to 4000" in done.stderr
    assert f"ask for some of {(CGROUPS / 'cpuset/cpuset.cpus').read_text().strip()}" in done.stderr


def test_reads_are_throttled(
    container: Callable[..., Container], root: Path, loop: Callable[[Path], str], tmp_path: Path
) -> None:
    data, image, mounted = tmp_path / "data", tmp_path / "image", tmp_path / "mounted"
    (data / "bin").mkdir(parents=True)
    (data / "proc").mkdir()
    mounted.mkdir()
    (data / "bin/limits").write_bytes((root / "bin/limits").read_bytes())
    (data / "bin/limits").chmod(0o755)
    (data / "file").write_bytes(b"rootfall" * (MIB // 2))
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", data, image, "32M"], check=True)
    device = loop(image)
    what = container("read /file", io_max=(f"{device} rbps={2 * MIB}",))
    mount = ("unshare", "--mount", "sh", "-c", f'mount {device} {mounted} && exec "$@"', "sh")
    done = run(what._replace(root=Root(str(mounted))), *mount)
    count, microseconds = map(int, re.findall(r"\d+", done.stdout))
    assert count == 4 * MIB
    assert microseconds > 1_500_000  # 4 MiB at 2 MiB a second, less what may be read at once


def test_a_device_that_is_none_is_refused(container: Callable[..., Container]) -> None:
    assert "/etc; seen: no device" in run(container("affinity", io_max=("/etc rbps=1",))).stderr


def test_the_cgroup_namespace_shows_the_containers_own_as_the_root(container: Callable[..., Container]) -> None:
    shown = run(container("show /proc/self/cgroup", memory_max=64 * MIB, pids_max=99)).stdout.splitlines()
    assert {line.rpartition(":")[2] for line in shown if ":memory:" in line or ":pids:" in line} == {"/"}


@pytest.mark.parametrize("more", [(), ("user",)])
def test_the_reaper_and_the_program_are_in_the_cgroup(
    more: tuple[str, ...], container: Callable[..., Container]
) -> None:
    what = container("affinity", memory_max=64 * MIB, pids_max=9, cpu_weight=50, cpuset_cpus="0")
    ids = (IdMapping(0, 0, 65536),) if more else ()
    running = Running(what._replace(namespaces=(*what.namespaces, *more), uid_mappings=ids, gid_mappings=ids))
    inside = {each.split("/")[4]: Path(each, "cgroup.procs").read_text().split() for each in directories(what.id)}
    assert sorted(inside) == ["cpu", "cpuset", "memory", "pids"]
    [pids] = {tuple(sorted(each)) for each in inside.values()}
    assert len(pids) == 2
    assert running.end() == 0


def test_a_program_is_in_the_cgroup_from_its_first_instruction_on(container: Callable[..., Container]) -> None:
    what = container("show /proc/self/cgroup", memory_max=64 * MIB, pids_max=9)
    shown = run(what._replace(namespaces=("mount", "pid"))).stdout.splitlines()
    assert {line.split(":")[1] for line in shown if line.endswith(f"/{what.id}")} == {"memory", "pids"}


def test_the_first_process_moves_itself_for_whoever_moves_another_waits(
    container: Callable[..., Container], strace: list[str], tmp_path: Path
) -> None:
    """A grace period of RCU, longer than all else that is done for a cgroup (docs/adr/0015)."""
    calls = tmp_path / "calls"
    done = run(
        container("affinity", memory_max=64 * MIB, pids_max=9), *strace, "-e", "trace=openat,write", "-o", str(calls)
    )
    assert done.returncode == 0
    opened = re.findall(r'"/sys/fs/cgroup/([^"/]+)/\S*/([\w.]+)", O_WRONLY', calls.read_text())
    assert opened.count(("memory", "tasks")) == opened.count(("pids", "tasks")) == 1
    assert not [file for _, file in opened if file == "cgroup.procs"]
    assert len(re.findall(r'write\(\d+, "0", 1', calls.read_text())) >= 2


def test_a_cgroup_that_takes_no_process_is_told_of_and_nothing_runs(
    container: Callable[..., Container], strace: list[str]
) -> None:
    what = container("affinity", pids_max=9)
    tasks = str(CGROUPS / f"pids/{what.id}/tasks")
    done = run(what, *strace, "-o", "/dev/null", "-P", tasks, "-e", "inject=write:error=ENOSPC")
    assert (done.returncode, done.stdout) == (125, "")
    assert f"cannot put the first process into {os.path.dirname(tasks)}: No space left on device" in done.stderr


def test_a_limit_that_is_refused_leaves_no_process(container: Callable[..., Container]) -> None:
    """It is refused when the first process is there already."""
    done = subprocess.run(
        command(ALONE, RUN, container("affinity", cpuset_cpus="4000")),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    assert done.stdout == "125\nnobody is left\n"
    assert "cannot set cpuset.cpus to 4000" in done.stderr


def test_what_is_left_without_a_pid_namespace_is_killed(container: Callable[..., Container]) -> None:
    """The program ends, its children stay: only the cgroup knows them by then."""
    what = container("fork 30", memory_max=64 * MIB)._replace(namespaces=("mount",))
    assert run(what).stdout.startswith("forked 30,")


def test_a_launcher_that_is_killed_leaves_no_cgroup(container: Callable[..., Container]) -> None:
    what = container("fork 5", memory_max=64 * MIB, pids_max=30, cpu_quota=50_000)
    running = Running(what._replace(namespaces=("mount",)))
    assert len(directories(what.id)) == 3
    relatives = children(running.launcher.pid)
    running.launcher.kill()
    assert all(ended(each) for each in relatives)
    running.launcher.communicate(timeout=LIMIT)


def test_launchers_that_are_killed_at_any_moment_leave_no_cgroup(container: Callable[..., Container]) -> None:
    words = command(STORM, container("affinity", memory_max=64 * MIB, pids_max=30), 60)
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=True)
    ran = [line for line in done.stdout.splitlines() if line.startswith(OURS)]
    assert len(ran) == 60
    assert {line.split()[1] for line in ran} == {"0"}


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "..", "", "x" * 129, "a b", "ä"])
def test_an_id_that_is_no_plain_name_is_refused(name: str, container: Callable[..., Container]) -> None:
    done = run(container("affinity", pids_max=9)._replace(id=name))
    assert done.returncode == 125
    assert "A-Z a-z 0-9 _ . + -" in done.stderr


def test_a_name_that_is_taken_is_refused_and_the_other_container_stays(container: Callable[..., Container]) -> None:
    what = container("affinity", pids_max=9)
    running = Running(what)
    done = run(what)
    assert done.returncode == 125
    assert re.search(r"cannot make the cgroup /\S+: File exists .* is running", done.stderr)
    assert len(directories(what.id)) == 1
    assert running.end() == 0


def test_a_controller_that_is_not_mounted_is_refused_with_the_remedy(container: Callable[..., Container]) -> None:
    unmount = ("unshare", "--mount", "sh", "-c", 'umount /sys/fs/cgroup/pids && exec "$@"', "sh")
    done = run(container("affinity", pids_max=9), *unmount)
    assert done.returncode == 125
    assert "mount -t cgroup -o pids none DIRECTORY" in done.stderr


def test_a_user_is_told_that_version_1_is_roots(container: Callable[..., Container]) -> None:
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    script = f"import sys; sys.path.insert(0, {str(contained.INIT)!r})\n{RUN}"
    words = [*nobody, contained.PYTHON, "-ISc", script, str(container("affinity", pids_max=9))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 125
    assert "cgroups of version 1 are root's" in done.stderr


def test_a_limit_too_small_for_the_first_process_is_told_as_such(container: Callable[..., Container]) -> None:
    done = run(container("affinity", pids_max=1))
    assert done.returncode == 125
    assert "limit of 1 process was reached" in done.stderr


def test_a_parent_can_be_named_and_must_be_there(container: Callable[..., Container], tmp_path: Path) -> None:
    name = f"parent-{os.getpid()}"
    (CGROUPS / "pids" / name).mkdir()
    try:
        running = Running(container("affinity", pids_max=9, parent=f"/{name}"))
        assert [Path(each).parent.name for each in directories(OURS)] == [name]
        assert running.end() == 0
    finally:
        (CGROUPS / "pids" / name).rmdir()
    assert f"mkdir /sys/fs/cgroup/pids/{name}" in run(container("affinity", pids_max=9, parent=name)).stderr
    assert run(container("affinity", pids_max=9, parent="/../../tmp")).returncode == 125
