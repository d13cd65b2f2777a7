# SPDX-License-Identifier: MIT
"""A container, from its plan to the exit status of its command, in the order in which it happens.

`run` is the launcher's story, on the host: have the cgroup made, start the first process in new namespaces, map its ids, let it
go, wait. `first_process` is the other half: mounts, pivot_root, fewer privileges, the command. Two pipes join them: over one
the launcher lets the process go, over the other it hears why the start failed; that one ends when the command is executed.
"""

import gc
import os

from rootfall.container import enter, failure, id_maps, mounts, namespaces, plan, process, profile, program, wait
from rootfall.container.model import Container, Stop
from rootfall.errors import ContainerError
from rootfall.linux.kernel import Kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rootfall.container.cgroups import Cgroup
    from rootfall.container.shutdown import Shutdown
    from rootfall.container.terminal import Line

FAILED = 125  # ours; 126 and 127 are those of a command that cannot be executed, or is not there


def run(container: Container) -> int:
    """Start the container and wait for its command; returns its exit status, 128 + n for signal n. Raises RootfallError."""
    what = plan.make_plan(container)
    process.complete_descriptors(container.process.preserve_fds)
    bpf = profile.prepare(container.process)
    held = wait.hold_signals()
    group = make_cgroup(what)
    try:
        line = open_line(container)
        go, let_go = os.pipe2(os.O_CLOEXEC)
        hear, say = os.pipe2(os.O_CLOEXEC)
        ids = namespaces.unmapped_ids(container)
        first = namespaces.start(container, group)
        if first.pid == 0:
            os.close(let_go)
            os.close(hear)
            if group is not None:
                group.forget()
            first_process(container, what, go, say, line, bpf, group, ids)
        os.close(go)
        os.close(say)
        release(first, container, group, let_go)
        if container.process.stop is not None:
            first = first._replace(shutdown=shutdown_of(first, container.process.stop))
        fault = wait.until_started(first, hear, held)
        if fault is not None:
            status = wait.until_ended(first, held)
            raise explained(fault, container, group.explain(status) if group is not None else status)
        status = wait.until_ended(first, held) if line is None else relay(first, line, held)
        status = first.shutdown.verdict(status) if first.shutdown is not None else status
        return group.explain(status) if group is not None else status
    finally:
        if group is not None:
            group.remove()


def release(first: wait.First, container: Container, group: "Cgroup | None", let_go: int) -> None:
    """Let the first process go, with its ids mapped and a cgroup to enter; it has ended where this raises."""
    try:
        id_maps.map_ids(first.pid, container)
        process.adjust_oom_score(first.pid, container.process.oom_score_adj)
        if group is not None:
            group.admit(first.pid, first.in_cgroup)
        os.write(let_go, b"g")
    except BaseException:
        os.close(let_go)
        os.waitpid(first.pid, 0)
        raise
    if group is not None:
        group.look_ahead()


def shutdown_of(first: wait.First, stop: Stop) -> "Shutdown":
    """What becomes of signals to the launcher of an init."""
    from rootfall.container import shutdown

    return shutdown.Shutdown(first.pid, first.pidfd, stop)


def open_line(container: Container) -> "Line | None":
    """The way by which the terminal comes from the container, where its command wants one."""
    if not container.process.terminal:
        return None
    from rootfall.container import terminal

    return terminal.Line()


def relay(first: wait.First, line: "Line", held: int) -> int:
    """Wait as `wait.until_ended` does, with the caller's terminal joined to the container's."""
    from rootfall.container import terminal

    return terminal.relay(first, line, held)


def explained(fault: ContainerError, container: Container, status: int) -> ContainerError:
    """What the first process said, with its exit status, and a cause that only the host knows."""
    from rootfall.container import refusal

    if fault.status == FAILED:
        fault.status = status
    return refusal.add_cause(fault, container.namespaces)


def make_cgroup(what: plan.Plan) -> "Cgroup | None":
    """The container's cgroup, where the plan has one."""
    for step in what.outside:
        if isinstance(step, plan.MakeCgroup):
            from rootfall.container import cgroups

            return cgroups.make(step.id, step.resources)
    return None


def first_process(
    container: Container,
    what: plan.Plan,
    go: int,
    say: int,
    line: "Line | None",
    bpf: bytes | None,
    group: "Cgroup | None",
    ids: tuple[int, int] | None,
) -> "NoReturn":
    """The container's PID 1: set the container up, then become the command or its reaper."""
    status = FAILED
    try:
        gc.disable()
        if os.read(go, 1) != b"g":  # the launcher is gone, or could not map the ids
            os._exit(FAILED)
        namespaces.tie_to_launcher(go)
        if group is not None:
            group.enter()
        if ids is not None:
            namespaces.take_ids(*ids)
            namespaces.tie_to_launcher(go)
        ties = process.Ties(go, say, program.ourselves(), bpf=bpf)
        if "pid" not in container.namespaces and not container.process.as_pid1:
            ties = ties._replace(children=namespaces.stand_in_for_pid_1(go))
        namespaces.settle(container)
        tty = give_terminal(container, line)
        set_up(what)
        tty = tty if line is None or tty >= 0 else give_terminal(container, line, inside=True)
        for name in container.process.consoles:
            bind_console(tty, name)
        failure.tell_set_up(say)
        status = process.hand_over(what.handover.process, ties._replace(tty=tty))
    except BaseException as error:  # whatever it is: the launcher's own story must not go on in here
        failure.tell(say, error)
        status = getattr(error, "status", FAILED)
    os._exit(status)


def bind_console(tty: int, name: str) -> None:
    """The terminal as /dev/NAME of the new root."""
    from rootfall.container import dev  # imported already: it has made /dev

    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    dev.bind_console(root, tty, name)
    os.close(root)


def give_terminal(container: Container, line: "Line | None", *, inside: bool = False) -> int:
    """Open the command's terminal, on the host or `inside` the new root, if this is where it is to come from; else -1."""
    if line is None:
        return -1
    from rootfall.container import terminal

    if terminal.is_inside(container) != inside:
        return -1
    return terminal.give(line, inside, container.process.user.uid)


def set_up(what: plan.Plan) -> None:
    """Perform the plan's inner steps, in their order; the last of them is the switch of the root."""
    root = -1
    for step in what.inside:
        match step:
            case plan.Isolate():
                mounts.isolate()
            case plan.PrepareRoot():
                root = mounts.prepare_root(step.root, step.propagation)
            case plan.MakeMount():
                mounts.make_mount(root, step.mount)
            case plan.HidePaths():
                from rootfall.container import hide

                hide.hide(root, step.masked, step.read_only)
            case plan.Name():
                namespaces.name(step.hostname)
            case plan.BringUpLoopback():
                namespaces.bring_up_loopback()
            case plan.PivotRoot():
                enter.switch(Kernel(), root, step)
