# SPDX-License-Identifier: MIT
"""Which accelerator to use: KVM where a real kernel starts with it, TCG otherwise.

A /dev/kvm that can be opened proves little: under some hypervisors a stock kernel hangs in it. So a kernel is started
and must speak within seconds. The answer is kept in the cache for as long as the host's kernel, its CPU and QEMU are
the same. $ROOTFALL_ACCEL (kvm or tcg) is believed without a look.
"""

import hashlib
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Literal

from rootfall_qemu.cache import default_cache, scratch
from rootfall_qemu.errors import MachineError
from rootfall_qemu.machine import Machine

Usable = Literal["kvm", "tcg"]

VARIABLE = "ROOTFALL_ACCEL"
DEVICE = Path("/dev/kvm")
# A healthy KVM prints its first line in a tenth of a second and panics for want of a root within one.
FIRST_LINE_SECONDS = 4.0
PANIC_SECONDS = 15.0


def usable_accelerator(kernel: Path | None, cache: Path | None = None) -> Usable:
    """The fastest accelerator that works here; `kernel` is what a first look boots.

    Without a kernel and without a remembered answer it is TCG, which always works, and nothing is remembered.
    """
    match os.environ.get(VARIABLE, ""):
        case "kvm":
            return "kvm"
        case "tcg":
            return "tcg"
        case "":
            pass
        case other:
            raise MachineError("use", f"{VARIABLE}={other}", hint="it is kvm or tcg, or not set")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return "tcg"
    host = _host()
    note = (cache or default_cache()) / "accelerators" / f"{hashlib.sha256(host.encode()).hexdigest()[:16]}.json"
    known = _remembered(note)
    if known or kernel is None:
        return known or "tcg"
    why = _why_not_kvm(kernel)
    found: Usable = "tcg" if why else "kvm"
    _remember(note, {"accelerator": found, "why": why, "host": host, "kernel": str(kernel)})
    return found


def _why_not_kvm(kernel: Path) -> str:
    """What went wrong when `kernel` was booted with KVM; empty when it ran until it missed its root."""
    from rootfall_qemu.vm import VM  # a machine asks us for its accelerator: the two modules know each other

    machine = Machine(kernel, append="console=ttyS0 panic=-1", memory=256, accel="kvm")
    try:
        with VM(machine) as vm:
            vm.console.expect("Linux version", FIRST_LINE_SECONDS, "the kernel's first line under KVM")
            vm.console.expect("Kernel panic", PANIC_SECONDS, "the kernel's panic for want of a root")
    except MachineError as failure:
        return str(failure)
    return ""


def _host() -> str:
    """All that the answer depends on, one fact a line."""
    version = subprocess.run(["qemu-system-x86_64", "--version"], check=True, capture_output=True, text=True).stdout
    fields = ("vendor_id", "model name", "microcode")
    cpu = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    return "\n".join([platform.release(), *(line for line in cpu if line.startswith(fields)), version.splitlines()[0]])


def _remembered(note: Path) -> Usable | None:
    try:
        answer = json.loads(note.read_bytes())["accelerator"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return answer if answer in ("kvm", "tcg") else None


def _remember(note: Path, facts: dict[str, str]) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    with scratch(note.parent) as directory:
        new = directory / note.name
        new.write_text(json.dumps(facts, indent=1) + "\n")
        new.replace(note)
