# SPDX-License-Identifier: MIT
"""The boot, from the kernel's "Run /init" to the real init, in the order in which it happens.

Read `boot` below from top to bottom: that is all there is. Whatever goes wrong before the hand-over ends in `emergency`,
with a report that says why. PID 1 never returns from here: its exit would be a kernel panic.
"""

import os
import sys
import time

from rootfall import cmdline, config, console, emergency, mounts, new_root, plan, steps, switch_root
from rootfall.errors import SwitchRootError
from rootfall.linux import signals
from rootfall.linux.kernel import Kernel
from rootfall.model import Config
from rootfall.timeline import Timeline

CONFIG = "/etc/rootfall/rootfall.yaml"
READY = "/etc/rootfall/rootfall.plan"


def main() -> None:
    """Boot this machine; as any other process than PID 1, say what this program is."""
    if os.getpid() != 1:
        if sys.argv[1:] == ["--prove"]:  # never as PID 1: it would be the end of a machine with that word for its init
            from rootfall import prove

            print(prove.prove())
            return
        sys.exit("rootfall: this is the frozen PID 1 of an initramfs; the command line is `rootfall` of the builder")
    signals.reset()  # a KeyboardInterrupt in the emergency would be PID 1's end; the default action spares PID 1
    timeline, log = Timeline(), console.Log()
    this = steps.Boot(log, timeline)
    stage = emergency.Stage()
    try:
        boot(this, stage)
    except BaseException as error:  # whatever it is: SystemExit, too, would be a kernel panic
        emergency.give_up(error, this, stage)


def boot(this: steps.Boot, stage: emergency.Stage) -> None:
    """Find the real root and become its init. Returns only by raising."""
    # The API file systems come first: the command line is in /proc, the devices are in /sys and /dev.
    start = time.monotonic_ns()
    mounts.mount_api_file_systems()
    console.reopen_console()
    rate = console.limit_rate("on")
    this.timeline.add("mount /proc /sys /dev /run", start)

    # What to do: the configuration, and the kernel command line over it.
    start = time.monotonic_ns()
    parameters = cmdline.parse(read_text("/proc/cmdline"))
    for warning in parameters.warnings:
        this.log.warning(f"cmdline: {warning}")
    stage.on_failure = cmdline.on_failure(stage.on_failure, parameters)  # holds even if the configuration is broken
    written, form = read_config()
    stage.on_failure = cmdline.on_failure(written.boot.on_failure, parameters)
    stage.plan = plan.make_plan(cmdline.override(written, parameters))
    this.timeline.add("make the plan", start, form)

    # Do it, step by step: modules, device, mount.
    for step in stage.plan.steps:
        steps.perform(step, this)

    # Everything is checked before the first act that cannot be undone.
    kernel, handover = Kernel(), stage.plan.handover
    start = time.monotonic_ns()
    switch_root.preflight(kernel, handover.new_root)
    init, passed_over = new_root.choose_init(handover.new_root, handover.init)
    for fault in passed_over:
        this.log.warning(f"init: pass over: {fault}")
    argv = cmdline.init_argv(init, sys.argv)
    environment = cmdline.init_environment(os.environ, parameters)
    this.timeline.add("check the new root", start, init)

    # Hand over. From here on the files of this very program disappear: nothing may be imported.
    this.log.info(f"switch_root: switch to {handover.new_root} and execute {init}: now")
    start = time.monotonic_ns()
    stage.irreversible = True
    if rate:
        console.limit_rate(rate)
    lost = switch_root.move_mounts(kernel, handover.new_root)
    way = switch_root.switch(kernel, handover.new_root)
    this.timeline.add("switch_root", start, f"{way}{', not moved: ' if lost else ''}{', '.join(lost)}")
    write_timeline(this.timeline)
    this.log.close()
    signals.reset()
    try:
        kernel.execve(init, argv, environment)
    except OSError as error:
        raise SwitchRootError("execute init", init, errno=error.errno or 0) from error


def read_text(path: str) -> str:
    """A small text file; bytes that are no UTF-8 survive the round trip (os.fsencode)."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def read_config() -> tuple[Config, str]:
    """The image's configuration and what it was read from: "ready", as a .pyc is used, if that matches, else "YAML"."""
    with open(CONFIG, "rb", buffering=0) as file:
        text = file.read()
    try:
        with open(READY, "rb", buffering=0) as file:
            ready = config.read_ready(file.read(), text)
    except FileNotFoundError:
        ready = None
    return (ready, "ready") if ready is not None else (config.parse(text, CONFIG), "YAML")


def write_timeline(timeline: Timeline) -> None:
    """Leave the timeline in /run/rootfall for the real system; a boot does not fail for it."""
    try:
        os.mkdir("/run/rootfall", 0o755)
        with open("/run/rootfall/timeline.json", "w", encoding="utf-8") as file:
            file.write(timeline.to_json())
    except OSError:
        pass
