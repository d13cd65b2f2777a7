# SPDX-License-Identifier: MIT
"""The boot, from the kernel's "Run /init" to the real init, in the order in which it happens.

Read `boot` below from top to bottom: that is all there is. Whatever goes wrong before the hand-over ends in `emergency`,
with a report that says why. PID 1 never returns from here: its exit would be a kernel panic.
"""

import gc
import os
import sys
import time

from rootfall import cmdline, config, console, mounts, new_root, plan, steps, switch_root
from rootfall.errors import RootfallError, SwitchRootError
from rootfall.linux import libc, signals
from rootfall.linux.kernel import Kernel
from rootfall.model import Config
from rootfall.timeline import Timeline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

CONFIG = "/etc/rootfall/rootfall.yaml"
READY = "/etc/rootfall/rootfall.plan"


def main() -> None:
    """Boot this machine, or be switch_root(8) for another /init; as any other process, say what this program is.

    The kernel calls us /init, with whatever words its command line has; somebody who calls us by another name means them.
    """
    if sys.argv[0] != "/init" and (sys.argv[1:2] == ["switch-root"] or sys.argv[0].endswith("switch_root")):
        from rootfall import switch_root_command

        sys.exit(switch_root_command.main(sys.argv))
    if os.getpid() != 1:
        if sys.argv[1:] == ["--prove"]:  # never as PID 1: it would be the end of a machine with that word for its init
            from rootfall import prove

            print(prove.prove())
            return
        sys.exit("rootfall: this is the frozen PID 1 of an initramfs; the command line is `rootfall` of the builder")
    signals.reset()  # a KeyboardInterrupt in the emergency would be PID 1's end; the default action spares PID 1
    timeline, log = Timeline(), console.Log()
    this, stage = steps.Boot(log, timeline), steps.Stage()
    try:
        boot(this, stage)
    except BaseException as error:  # whatever it is: SystemExit, too, would be a kernel panic
        fail(error, this, stage)


def boot(this: steps.Boot, stage: steps.Stage) -> None:
    """Find the real root and become its init. Returns only by raising."""
    # The API file systems come first: the command line is in /proc, the devices are in /sys and /dev.
    start = time.monotonic_ns()
    mounts.mount_api_file_systems()
    console.reopen_console()
    stage.rate = console.limit_rate("on")
    this.timeline.add("mount /proc /sys /dev /run", start)

    # What to do: the configuration, and the kernel command line over it.
    start = time.monotonic_ns()
    parameters = stage.parameters = cmdline.parse(read_text("/proc/cmdline"))
    for warning in parameters.warnings:
        this.log.warning(f"cmdline: {warning}")
    stage.on_failure = cmdline.on_failure(stage.on_failure, parameters)  # holds even if the configuration is broken
    written, form = read_config()
    stage.on_failure = cmdline.on_failure(written.boot.on_failure, parameters)
    stage.plan = plan.make_plan(cmdline.override(written, parameters))
    this.timeline.add("make the plan", start, form)

    # Do it, step by step: modules, device, mount.
    for step in stage.plan.steps:
        pause(step, this, stage)
        steps.perform(step, this)
    pause(stage.plan.handover, this, stage)
    hand_over(this, stage)


def hand_over(this: steps.Boot, stage: steps.Stage) -> None:
    """Become the init of the root that is mounted. Returns only by raising."""
    # Everything is checked before the first act that cannot be undone.
    assert stage.plan is not None, "a plan comes before its end"
    if this.hooks:
        steps.undo_hooks(stage.plan, this)
    kernel, handover = Kernel(), stage.plan.handover
    start = time.monotonic_ns()
    switch_root.preflight(kernel, handover.new_root)
    init, passed_over = new_root.choose_init(handover.new_root, handover.init)
    for fault in passed_over:
        this.log.warning(f"init: pass over: {fault}")
    argv = cmdline.init_argv(init, sys.argv)
    if new_root.resolve(handover.new_root, init).endswith("/systemd"):
        argv = with_state(argv, this)
    environment = cmdline.init_environment(os.environ, stage.parameters)
    this.timeline.add("check the new root", start, init)

    # Hand over. From here on the files of this very program disappear: nothing may be imported.
    for line in this.timeline.lines():
        this.log.line(console.DEBUG, f"timeline: {line}")
    this.log.info(f"switch_root: switch to {handover.new_root} and execute {init}: now")
    start = time.monotonic_ns()
    stage.irreversible = True
    if stage.rate:
        console.limit_rate(stage.rate)
    try:
        lost = switch_root.move_mounts(kernel, handover.new_root)
        for each in lost:
            this.log.warning(f"switch_root: move {each}: let go")
        way = switch_root.switch(kernel, handover.new_root)
    except OSError as error:
        raise SwitchRootError("switch root to", handover.new_root, errno=error.errno or 0, seen=str(error)) from error
    this.timeline.add("switch_root", start, f"{way}{', not moved: ' if lost else ''}{', '.join(lost)}")
    write_timeline(this.timeline)
    this.log.close()
    signals.reset()
    try:
        kernel.execve(init, argv, environment)
    except OSError as error:
        raise SwitchRootError("execute init", init, errno=error.errno or 0) from error


def with_state(argv: tuple[str, ...], this: steps.Boot) -> tuple[str, ...]:
    """systemd's arguments, with those that tell it of this initramfs before the kernel's; without, where that fails."""
    from rootfall import systemd

    try:
        return (argv[0], *systemd.hand_over_words(this.timeline.started), *argv[1:])
    except OSError as error:
        this.log.warning(f"systemd: leave the initrd timestamp: {error}")
        return argv


def pause(step: plan.Step | plan.SwitchRoot, this: steps.Boot, stage: steps.Stage) -> None:
    """What the command line wants before a step: rootfall.trace, rd.break."""
    if stage.parameters.trace or stage.parameters.break_at:
        from rootfall import stops  # a boot that nobody watches does without it

        stops.before(step, this, stage, hand_over)


def fail(error: BaseException, this: steps.Boot, stage: steps.Stage) -> "NoReturn":
    """While there is a way back, the emergency; after that, or when that fails too, last words."""
    gc.enable()  # see __main__: from here on this may last for days
    if not stage.irreversible:
        try:
            from rootfall import emergency

            emergency.give_up(error, this, stage, hand_over)
            console.say("rootfall: nothing more can be done; this machine stands still")
            stand_still()
        except BaseException as second:
            error = second
    last_words(error, stage)
    stand_still()


def last_words(error: BaseException, stage: steps.Stage) -> None:
    """Say what went wrong and do what on_failure says, with nothing but what is in memory: our files are gone."""
    rule = "-" * 76
    console.say(
        "",
        "rootfall: THIS BOOT FAILED",
        rule,
        f"failed    {error if isinstance(error, RootfallError) else repr(error)}",
        rule,
    )
    on_failure = stage.on_failure
    try:
        if on_failure.action == "shell":
            console.say("rootfall: the initramfs is gone, there is no shell: press Enter to reboot")
            if not os.read(0, 1):
                return
        time.sleep(on_failure.after)
        os.sync()
        console.drain(console.DRAIN_LIMIT)
        libc.reboot(
            {"poweroff": libc.RB_POWER_OFF, "halt": libc.RB_HALT_SYSTEM}.get(on_failure.action, libc.RB_AUTOBOOT)
        )
    except OSError as second:
        console.say(f"rootfall: cannot {on_failure.action}: {second}")


def stand_still() -> "NoReturn":
    """PID 1 must not exit: reap what ends, for ever."""
    while True:
        try:
            os.wait()
        except OSError:  # no children, and nobody who could make any
            signals.pause()


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
    except OSError:
        ready = None
    return (ready, "ready") if ready is not None else (config.parse(text, CONFIG), "YAML")


def write_timeline(timeline: Timeline) -> None:
    """Leave the timeline in /run/rootfall for the real system; a boot does not fail for it."""
    try:
        os.makedirs("/run/rootfall", 0o755, exist_ok=True)  # it is there after a retry, or when a hook left something
        with open("/run/rootfall/timeline.json", "w", encoding="utf-8") as file:
            file.write(timeline.to_json())
    except OSError:
        pass
