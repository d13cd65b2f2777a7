# SPDX-License-Identifier: MIT
"""A running virtual machine: QEMU as a child process with two socket pairs, the guest's console and QMP.

The sockets are inherited and not named, so there is no file to clean up, nothing to race for, and no other process can
connect. QEMU never outlives the `with` block, nor (PR_SET_PDEATHSIG) the thread that started it.
"""

import contextlib
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

from rootfall_qemu.accel import usable_accelerator
from rootfall_qemu.console import Console
from rootfall_qemu.errors import MachineError
from rootfall_qemu.machine import BUSES, Disk, Machine, argv, device, drive, slot
from rootfall_qemu.qmp import Qmp

PROGRAM = "qemu-system-x86_64"


class VM:
    """`with VM(machine) as vm:` starts it and, at the end, kills what is left of it.

    `console` and `qmp` are there inside the block; the console's log also after it. `mirror` sees the console's bytes.
    """

    console: Console
    qmp: Qmp

    def __init__(self, machine: Machine, mirror: Callable[[bytes], None] | None = None) -> None:
        """Nothing is started yet."""
        self.machine = machine
        self._mirror = mirror
        self._plugged = 0
        self._slots: dict[str, str] = {slot(number): "" for number in range(machine.hot_plug_slots)}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start; MachineError with QEMU's own words when it does not come up."""
        if not shutil.which(PROGRAM):
            raise MachineError("start", PROGRAM, seen="no such program", hint="apt install qemu-system-x86")
        if self.machine.accel == "auto" and not self.machine.instruction_clock:
            self.machine = replace(self.machine, accel=usable_accelerator(self.machine.kernel))
        with contextlib.ExitStack() as undo:
            self._start(undo)
            self._open = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill QEMU if it still runs, and let go of all that belonged to it."""
        self._open.close()

    @property
    def stderr(self) -> str:
        """What QEMU itself has complained about."""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace").strip()

    @property
    def pid(self) -> int:
        """QEMU's process."""
        return self._process.pid

    @property
    def status(self) -> str:
        """The run state: running, paused, shutdown, … or `gone`."""
        if self._process.poll() is not None:
            return "gone"
        match self.qmp.execute("query-status"):
            case {"status": status}:
                return str(status)
            case other:
                raise MachineError("ask for the status of", PROGRAM, seen=repr(other))

    def wait_off(self, timeout: float) -> str:
        """Wait until the guest is off and say why: `guest-shutdown` is clean, `guest-reset` a reboot.

        GuestPanic when its kernel panicked, ExpectError at the deadline, MachineError when QEMU itself failed.
        """
        self.console.wait_end(timeout, "the guest's power-off")
        status = self._process.wait(timeout)
        if status:
            raise MachineError("run", PROGRAM, seen=f"exit status {status}: {self.stderr}")
        self.qmp.wait_end()
        for event in reversed(self.qmp.events):
            match dict(event):
                case {"event": "SHUTDOWN", "data": {"reason": reason}}:
                    return str(reason)
        return "unknown"

    def powerdown(self) -> None:
        """Press the power button (ACPI); what comes of it is the guest's to decide."""
        self.qmp.execute("system_powerdown")

    def quit(self) -> None:
        """End QEMU now, as pulling the plug does, with its disk files closed properly."""
        self.qmp.execute("quit")
        self._process.wait(30)

    def screendump(self, path: Path) -> Path:
        """Write what the screen shows to `path`: PNG, or PPM when its name ends so. The machine needs `screen`."""
        kind = "ppm" if path.suffix == ".ppm" else "png"
        self.qmp.execute("screendump", {"filename": str(path.absolute()), "format": kind})
        return path

    def hot_plug(self, disk: Disk) -> str:
        """Plug `disk` into the running machine; its name, for `hot_unplug`.

        virtio-blk and nvme disks take one of the machine's `hot_plug_slots`; virtio-scsi and usb ones need a controller
        that a disk of their kind has brought at the start. MachineError says which of these is missing.
        """
        name = f"plugged{self._plugged}"
        self._plugged += 1
        bus = BUSES.get(disk.interface) or next((bus for bus, taken in self._slots.items() if not taken), "")
        if not bus:
            raise MachineError("plug in", str(disk.file), seen="no free slot", hint="raise Machine.hot_plug_slots")
        # -drive's snapshot has no counterpart among the blockdev commands; the human monitor takes the very same text.
        answer = self.qmp.execute("human-monitor-command", {"command-line": f"drive_add 0 {drive(disk, name)}"})
        if str(answer).strip() != "OK":
            raise MachineError("plug in", str(disk.file), seen=str(answer).strip())
        self.qmp.execute("device_add", dict(device(disk, name, bus)))
        if bus in self._slots:
            self._slots[bus] = name
        return name

    def hot_unplug(self, name: str, timeout: float = 30.0) -> None:
        """Take a disk out (`disk0`, … or what `hot_plug` returned) and wait until the guest has let go of it."""
        self.qmp.execute("device_del", {"id": f"{name}-device"})
        self.qmp.wait_event("DEVICE_DELETED", timeout)
        self._slots = {bus: "" if taken == name else taken for bus, taken in self._slots.items()}

    def _start(self, undo: contextlib.ExitStack) -> None:
        console, consoles_other = map(undo.enter_context, socket.socketpair())
        qmp, qmps_other = map(undo.enter_context, socket.socketpair())
        self._stderr = undo.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        with consoles_other, qmps_other:
            inherited = (consoles_other.fileno(), qmps_other.fileno())
            # -S: not an instruction of the guest runs before we listen to events.
            command = [*argv(self.machine, console=inherited[0], qmp=inherited[1]), "-S"]
            self._process = undo.enter_context(_child(command, inherited, self._stderr.fileno()))
        undo.callback(self._kill)
        self.console = Console(console, self._mirror)
        undo.callback(self.console.close)
        undo.callback(self._kill)
        try:
            self.qmp = Qmp(qmp)
            undo.callback(self.qmp.close)
            self.qmp.execute("cont")
        except MachineError as failure:
            self._kill()
            seen = f"{self.stderr or failure}\nthe command was: {shlex.join(command)}"
            raise MachineError("start", PROGRAM, seen=seen) from None

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _child(command: list[str], inherited: tuple[int, ...], stderr: int) -> subprocess.Popen[bytes]:
    # A killed test run must not leave machines behind that eat a CPU each.
    bound = ["setpriv", "--pdeathsig", "KILL", *command] if shutil.which("setpriv") else command
    return subprocess.Popen(
        bound, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, pass_fds=inherited, close_fds=True
    )
