# SPDX-License-Identifier: MIT
"""rd.break=STAGE and rootfall.trace: what happens before a step when the command line asks for it.

Imported only then. A stage that there is not is no reason to run on past a person who wanted to stop: the names are said,
and the boot stops where `rd.break` alone does, before the switch.
"""

from rootfall import plan, shell
from rootfall.console import DEBUG, say
from rootfall.steps import Boot, Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_LAST = "switch"


def before(
    step: plan.Step | plan.SwitchRoot, boot: Boot, stage: Stage, hand_over: "Callable[[Boot, Stage], None]"
) -> None:
    """Print the step, and give a person a shell, as far as the command line says so."""
    name = plan.STAGES[type(step)]
    if stage.parameters.trace:
        line = f"trace: {name}: {step!r}"
        boot.log.line(DEBUG, line)
        say(f"rootfall: {line}")
    stages = plan.stages(stage.plan) if stage.plan else ()
    unknown = [each for each in stage.parameters.break_at if each and each not in stages]
    wanted = {_LAST if not each or each in unknown else each for each in stage.parameters.break_at}
    if name not in wanted:
        return
    if unknown and name == _LAST:
        say(f"rootfall: rd.break={','.join(unknown)}: no such stage; there are {', '.join(stages)}")
    boot.log.info(f"break: stop before {name}: a shell")
    say("", f"rootfall: stopped before {name}: {step}")
    if shell.admitted(stage.on_failure.password):
        shell.offer(shell.Scene(boot, stage, hand_over, [f"stopped before {name}; nothing has failed"]), "exit goes on")
    else:
        say("rootfall: no shell without the password: the boot goes on")
