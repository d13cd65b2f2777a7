# SPDX-License-Identifier: MIT
"""A container at a terminal: `--tty`, Ctrl-C, Ctrl-Z, and the caller's terminal, which is as it was afterwards."""

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootfall.container.model import Container, Mount, User
from tests.kernel import contained

# What a shell does for a job: a process group of its own in the foreground; it says when the job stops or ends, and continues
# it when it is told to.
SHELL = """
import os, signal, sys
say, hear = map(int, sys.argv[1:3])
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[3], sys.argv[3:])
while True:
    status = os.waitpid(job, os.WUNTRACED)[1]
    os.tcsetpgrp(0, os.getpgrp())
    if not os.WIFSTOPPED(status):
        os.write(say, b"ended %d\\n" % os.waitstatus_to_exitcode(status))
        break
    os.write(say, b"stopped %d\\n" % job)
    if not os.read(hear, 1):
        break
    os.tcsetpgrp(0, job)
    os.killpg(job, signal.SIGCONT)
"""
DEVPTS = Mount("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"))


class Screen:
    """A terminal with somebody who types and reads, and a shell that has started a launcher in the foreground."""

    def __init__(self, made: Container, uid: int = 0, rows: int = 31, columns: int = 91) -> None:
        self.master, slave = os.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.hear, say = os.pipe()
        hear, self.say = os.pipe()
        argv = [contained.PYTHON, "-ISc", SHELL, str(say), str(hear), *contained.command(made)]
        who = {"user": uid, "group": uid, "extra_groups": ()} if uid else {}
        self.shell = subprocess.Popen(  # type: ignore[call-overload]
            argv, stdin=slave, stdout=slave, stderr=slave, pass_fds=(say, hear), start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), **who,
        )  # fmt: skip
        os.close(say)
        os.close(hear)
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, text: str) -> str:
        """What is shown up to and with this text."""
        return self._until(self.master, text)

    def told(self, text: str) -> str:
        """What the shell says about its job, up to and with this text."""
        return self._until(self.hear, text)

    def _until(self, fd: int, text: str) -> str:
        end, said = time.monotonic() + contained.LIMIT, self.seen if fd == self.master else b""
        while text.encode() not in said:
            assert select.select([fd], [], [], max(0, end - time.monotonic()))[0], f"no {text!r}, but {said!r}"
            data = os.read(fd, 65536)
            assert data, f"no {text!r}, but {said!r}"
            said += data
        shown, _, rest = said.partition(text.encode())
        if fd == self.master:
            self.seen = rest
        return (shown + text.encode()).decode(errors="replace")

    def close(self) -> None:
        self.shell.kill()
        self.shell.wait()
        for fd in (self.master, self.slave, self.hear, self.say):
            os.close(fd)


@pytest.fixture
def screens() -> Iterator[list[Screen]]:
    opened: list[Screen] = []
    yield opened
    for each in opened:
        each.close()


def state(pid: int) -> str:
    """The letter of its state (proc(5)), and below a launcher those of all its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return own + "".join(state(int(each)) for each in children)


def wait_for_state(pid: int, wanted: str) -> None:
    end = time.monotonic() + contained.LIMIT
    while state(pid) != wanted:
        assert time.monotonic() < end, f"not {wanted}, but {state(pid)}"
        select.select([], [], [], 0.005)


def test_ctrl_c_ends_the_command_and_its_children(container_root: Path, uid: int, screens: list[Screen]) -> None:
    screens.append(
        Screen(contained.container(container_root, "sh", "-c", "echo ready; sleep 1000; echo more", uid=uid), uid)
    )
    screens[0].until("ready")
    screens[0].type("\x03")
    assert screens[0].told("\n") == f"ended {128 + signal.SIGINT}\n"


def test_ctrl_c_can_be_handled_by_the_command(container_root: Path, uid: int, screens: list[Screen]) -> None:
    script = "trap 'echo got; exit 4' INT; echo ready; while :; do read line; done"
    screens.append(Screen(contained.container(container_root, "sh", "-c", script, uid=uid), uid))
    screens[0].until("ready")
    screens[0].type("\x03")
    screens[0].until("got")
    assert screens[0].told("\n") == "ended 4\n"


@pytest.mark.parametrize("as_pid1", [False, True])
def test_ctrl_z_stops_container_and_launcher_and_the_shell_continues_both(
    container_root: Path, uid: int, screens: list[Screen], as_pid1: bool
) -> None:
    script = "echo ready; while read line; do echo said $line; done"
    screens.append(Screen(contained.container(container_root, "sh", "-c", script, uid=uid, as_pid1=as_pid1), uid))
    screens[0].until("ready")
    for word in ("once", "twice"):
        screens[0].type("\x1a")
        launcher = int(screens[0].told("\n").split()[1])
        wait_for_state(launcher, "TT" if as_pid1 else "TST")
        os.write(screens[0].say, b"g")
        screens[0].type(f"{word}\n")
        screens[0].until(f"said {word}")
    screens[0].type("\x04")
    assert screens[0].told("\n") == "ended 0\n"


def test_without_a_tty_the_command_cannot_type_into_the_callers(
    container_root: Path, uid: int, screens: list[Screen]
) -> None:
    script = "read pid comm state ppid pgrp session tty rest < /proc/self/stat; echo tty is $tty; echo x > /dev/tty; echo end"
    screens.append(Screen(contained.container(container_root, "sh", "-c", script, uid=uid), uid))
    assert "tty is 0" in screens[0].until("end")  # no controlling terminal, no TIOCSTI


def terminal(root: Path, script: str, uid: int, *, inside: bool, **process: object) -> Container:
    made = contained.container(root, "sh", "-c", script, uid=uid, terminal=True, **process)
    return made._replace(mounts=(*made.mounts, DEVPTS)) if inside else made


@pytest.mark.parametrize("inside", [True, False], ids=["devpts", "the hosts"])
def test_a_tty_is_the_commands_controlling_terminal(
    container_root: Path, uid: int, screens: list[Screen], inside: bool
) -> None:
    script = "test -t 0 && test -t 1 && test -t 2 && stty size && tty; echo x > /proc/self/fd/0; echo end; exit 6"
    screens.append(Screen(terminal(container_root, script, uid, inside=inside), uid))
    said = screens[0].until("end")
    assert "31 91" in said
    if inside:
        assert "/dev/pts/0" in said
    assert screens[0].told("\n") == "ended 6\n"


@pytest.mark.parametrize("inside", [True, False], ids=["devpts", "the hosts"])
def test_what_is_typed_is_the_containers_and_so_is_ctrl_c(
    container_root: Path, uid: int, screens: list[Screen], inside: bool
) -> None:
    script = "trap 'echo got; exit 4' INT; echo ready; while :; do read line; echo said $line; done"
    screens.append(Screen(terminal(container_root, script, uid, inside=inside), uid))
    screens[0].until("ready")
    screens[0].type("hello\r")  # the Enter of a terminal that is raw
    screens[0].until("said hello")
    screens[0].type("\x03")
    screens[0].until("got")
    assert screens[0].told("\n") == "ended 4\n"
    assert termios.tcgetattr(screens[0].slave) == screens[0].before


def test_a_new_window_size_is_passed_on(container_root: Path, uid: int, screens: list[Screen]) -> None:
    script = "trap 'stty size' WINCH; echo ready; while :; do read line; done"
    screens.append(Screen(terminal(container_root, script, uid, inside=True), uid))
    screens[0].until("ready")
    screens[0].resize(44, 133)
    screens[0].until("44 133")
    screens[0].type("\x03")
    assert screens[0].told("\n") == f"ended {128 + signal.SIGINT}\n"


def test_all_that_is_shown_arrives(container_root: Path, uid: int, screens: list[Screen]) -> None:
    script = "i=0; while test $i -lt 3000; do echo line $i; i=$((i+1)); done"
    screens.append(Screen(terminal(container_root, script, uid, inside=True), uid))
    shown = screens[0].until("line 2999\r\n")
    assert shown == "".join(f"line {number}\r\n" for number in range(3000))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_callers_terminal_is_as_it_was_after_a_signal(
    container_root: Path, uid: int, screens: list[Screen], number: int
) -> None:
    screens.append(Screen(terminal(container_root, "echo ready; sleep 1000", uid, inside=True), uid))
    screens[0].until("ready")
    shell = screens[0].shell.pid
    launcher = int(Path(f"/proc/{shell}/task/{shell}/children").read_text())
    wait_for_raw(screens[0])
    os.kill(launcher, number)
    assert screens[0].told("\n") == f"ended {128 + number}\n"
    assert termios.tcgetattr(screens[0].slave) == screens[0].before


def wait_for_raw(screen: Screen) -> None:
    """Until the caller's terminal is raw: what it shows may be there a moment before."""
    end = time.monotonic() + contained.LIMIT
    while termios.tcgetattr(screen.slave)[3] & termios.ICANON:
        assert time.monotonic() < end, "the terminal never became raw"
        select.select([], [], [], 0.005)


def test_the_callers_terminal_is_his_while_the_launcher_is_stopped(
    container_root: Path, uid: int, screens: list[Screen]
) -> None:
    script = "echo ready; while read line; do echo said $line; done"
    screens.append(Screen(terminal(container_root, script, uid, inside=True), uid))
    screens[0].until("ready")
    shell = screens[0].shell.pid
    launcher = int(Path(f"/proc/{shell}/task/{shell}/children").read_text())
    wait_for_raw(screens[0])
    os.kill(launcher, signal.SIGTSTP)
    assert screens[0].told("\n") == f"stopped {launcher}\n"
    assert termios.tcgetattr(screens[0].slave) == screens[0].before
    os.write(screens[0].say, b"g")
    wait_for_raw(screens[0])
    screens[0].type("hello\r")
    screens[0].until("said hello")
    screens[0].type("\x04")
    assert screens[0].told("\n") == "ended 0\n"


def test_the_callers_terminal_is_as_it_was_when_there_is_no_such_command(
    container_root: Path, uid: int, screens: list[Screen]
) -> None:
    made = terminal(container_root, "true", uid, inside=True)
    made = made._replace(process=made.process._replace(args=("no-such",)))
    screens.append(Screen(made, uid))
    screens[0].until("no such file in /bin")
    assert screens[0].told("\n") == "ended 127\n"
    assert termios.tcgetattr(screens[0].slave) == screens[0].before


def test_a_tty_for_a_caller_without_one_relays_a_pipe_to_its_end(container_root: Path, uid: int) -> None:
    made = terminal(
        container_root, "stty -echo; while read line; do echo said $line; done; echo end; exit 3", uid, inside=True
    )
    process = contained.start(made, uid, stdin=subprocess.PIPE)
    said, _ = process.communicate("hello\n", timeout=contained.LIMIT)
    assert (process.returncode, said.splitlines()[-2:]) == (3, ["said hello", "end"])


def test_a_tty_without_a_devpts_where_one_is_promised_is_refused(container_root: Path, uid: int) -> None:
    made = terminal(container_root, "true", uid, inside=False)
    made = made._replace(mounts=(*made.mounts, DEVPTS._replace(destination="/tmp")))
    code, said = contained.run(made, uid)
    assert code == 125
    assert "cannot open a terminal by /dev/pts/ptmx" in said


def test_the_terminal_belongs_to_the_user_of_the_command(container_root: Path, screens: list[Screen]) -> None:
    made = terminal(
        container_root, "stat -c %u $(tty); echo x > $(tty); echo end", 0, inside=True, user=User(1000, 1000)
    )
    screens.append(Screen(made))
    assert screens[0].until("end").split() == ["1000", "x", "end"]
