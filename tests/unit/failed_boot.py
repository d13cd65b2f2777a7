# SPDX-License-Identifier: MIT
"""What the tests of failed boots start from: a boot whose log is silent, a plan, and disks that were seen."""

from rootfall import console, plan, steps
from rootfall.devices import BlockDevice, Search
from rootfall.model import BootConfig, Config, DeviceRef, ImageConfig, Root
from rootfall.timeline import Timeline


class Silent(console.Log):
    """A log that this host's kernel does not get."""

    def __init__(self) -> None:
        self._fd = -1
        self.lines: list[str] = []

    def line(self, level: int, text: str) -> None:
        self.lines.append(text)


class Loader:
    """What the report looks at: the modules that failed, and an empty index."""

    def __init__(self, **failed: str) -> None:
        from rootfall.modules import parse_index

        self.failed = failed
        self.blacklist: frozenset[str] = frozenset()
        self.index = parse_index("kernel/a/ext4.ko:\n")


def boot(ref: DeviceRef | None = None, *seen: BlockDevice, **failed: str) -> steps.Boot:
    """A boot that has looked for `ref` and seen these devices; `failed` modules with the kernel's words."""
    this = steps.Boot(Silent(), Timeline())
    this.loader = Loader(**failed)  # type: ignore[assignment]
    if ref:
        this.search = Search(None, ref)  # type: ignore[arg-type]
        this.search.seen = {each.node: each for each in seen}
    return this


def stage(device: str = "root", init: str = "/sbin/init") -> steps.Stage:
    """A stage whose plan has been made."""
    found = steps.Stage()
    found.plan = plan.make_plan(Config(1, BootConfig(Root(DeviceRef("LABEL", device)), init), ImageConfig()))
    return found
