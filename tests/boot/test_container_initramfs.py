# SPDX-License-Identifier: MIT
"""Containers that are started from an initramfs, by the program in it.

Before Linux 7.0 the kernel refuses pivot_root(2) there, and the container's root is moved over the old one instead.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_qemu.debian import fetch_kernel
from rootfall_qemu.machine import Machine
from tests.boot.booted import Booted
from tests.boot.images import with_programs

pytestmark = pytest.mark.vm
Boot = Callable[[Machine], Booted]

INIT = r"""#!/busybox sh
PATH=/applets
/busybox mkdir -p /applets && /busybox --install -s /applets
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
exec <>/dev/console >&0 2>&0
cd / && mkdir -p croot/bin croot/proc croot/sys croot/dev croot/tmp second/proc && mount -t proc second /second/proc
cp /busybox /croot/busybox; /busybox --install -s /croot/bin; cp /inside /croot/inside
fresh() { unshare -Urmpf mount -t proc fresh /second && echo allowed || echo refused; }
echo "ODD before: $(fresh 2>/dev/null)"
unshare -m sh -c 'mount --bind /croot /croot && cd /croot && pivot_root . .' 2>/dev/null; echo "ODD pivot: $?"
before=$(cat /proc/self/mountinfo | sort)
/usr/lib/rootfall/rootfall container run --seccomp unconfined /croot -- /bin/sh /inside; echo "ODD status: $?"
/usr/lib/rootfall/rootfall container run /croot -- /bin/sh -c 'exit 3'; echo "ODD again: $?"
[ "$before" = "$(cat /proc/self/mountinfo | sort)" ] && echo "ODD host: unchanged"
rm -rf /croot/inside
poweroff -f
"""
INSIDE = r"""
echo "ODD root: $(ls / | tr '\n' ' ')"
echo "ODD above: $(ls /.. | tr '\n' ' ')$(cd ../../..; ls | tr '\n' ' ')"
echo "ODD first: $(ls /proc/1/root/ >/dev/null 2>&1 && echo shown || echo refused)"
echo "ODD escape: $(ls -d /croot /usr/lib/rootfall /applets /second 2>/dev/null | wc -l)"
echo "ODD fresh: $(unshare -Urmpf mount -t proc fresh /tmp 2>/dev/null && echo allowed || echo refused)"
echo "ODD pid: $(ls -d /proc/[0-9]* | wc -l)"
exit 0
"""


@pytest.mark.parametrize(("series", "pivot"), [("6.1", "1"), ("7", "0")])
def test_a_container_is_started_from_an_initramfs(
    series: str, pivot: str, image: Callable[..., Path], boot: Boot, busybox: bytes, tmp_path: Path
) -> None:
    kernel = fetch_kernel(series)
    programs = {"busybox": busybox, "init": INIT.encode(), "inside": INSIDE.encode()}
    initrd = with_programs(image(kernel), tmp_path / "initrd", programs)
    booted = boot(Machine(kernel.image, initrd, "console=ttyS0 quiet panic=-1", memory=512))
    said = dict(re.findall(r"^ODD (\S+?): (.*?) *$", booted.console.replace("\r", ""), re.MULTILINE))
    assert said["pivot"] == pivot, "what the kernel says of pivot_root(2) here"
    assert (said["status"], said["again"]) == ("0", "3")
    assert set(said["root"].split()) == set(said["above"].split())
    assert set(said["root"].split()) == {"bin", "busybox", "dev", "inside", "proc", "sys", "tmp"}
    assert (said["first"], said["escape"]) == ("refused", "0")
    assert int(said["pid"]) < 8
    assert (said["before"], said["fresh"]) == ("allowed", "refused"), (
        "no whole proc of the host's is left to be had again"
    )
    assert said["host"] == "unchanged"
    assert booted.end == "guest-shutdown"
