# SPDX-License-Identifier: MIT
"""A container, from its plan to the exit status of its command, in the order in which it happens.

`run` is the launcher's story, on the host: make the cgroup, start the first process in new namespaces, map its ids, let it go,
wait. `first_process` is the other half: mounts, pivot_root, fewer privileges, the command. Two pipes join them: over one the
launcher lets the process go, over the other it hears why the start failed; that one ends when the command is executed.
"""

import gc
import os

from rootfall.container import enter, failure, mounts, namespaces, plan, process
from rootfall.container.model import Container
from rootfall.linux.kernel import Kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rootfall.container.cgroups import Cgroup

FAILED = 125  # ours; 126 and 127 are those of a command that cannot be executed, or is not there


def run(container: Container) -> int:
    """Start the container and wait for its command; returns its exit status, 128 + n for signal n. Raises RootfallError."""
    what = plan.make_plan(container)
    group = make_cgroup(what)
    try:
        terminal = process.open_terminal(what.handover.process)
        go, let_go = os.pipe2(os.O_CLOEXEC)
        hear, say = os.pipe2(os.O_CLOEXEC)
        pid, pidfd = namespaces.start(container, group)
        if pid == 0:
            os.close(let_go)
            os.close(hear)
            first_process(container, what, go, say, terminal)
        os.close(go)
        os.close(say)
        namespaces.map_ids(pid, container)
        if group is not None:
            group.admit(pid)
        os.write(let_go, b"g")
        fault = failure.read(hear)
        status = process.wait(pid, pidfd, let_go, terminal, started=fault is None)
        if fault is not None:
            fault.status = status
            raise fault
        return group.explain(status) if group is not None else status
    finally:
        if group is not None:
            group.remove()


def make_cgroup(what: plan.Plan) -> "Cgroup | None":
    """The container's cgroup, where the plan has one."""
    for step in what.outside:
        if isinstance(step, plan.MakeCgroup):
            from rootfall.container import cgroups

            return cgroups.make(step.id, step.resources)
    return None


def first_process(
    container: Container, what: plan.Plan, go: int, say: int, terminal: process.Terminal | None
) -> "NoReturn":
    """The container's PID 1: set the container up, then become the command or its reaper."""
    status = FAILED
    try:
        gc.disable()
        process.die_with_parent()
        if os.read(go, 1) != b"g":  # the launcher is gone, or could not map the ids
            os._exit(FAILED)
        namespaces.settle(container)
        set_up(what)
        status = process.hand_over(what.handover.process, say, go, terminal)
    except BaseException as error:  # whatever it is: the launcher's own story must not go on in here
        failure.tell(say, error)
    os._exit(status)


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
