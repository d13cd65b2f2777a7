# SPDX-License-Identifier: MIT
"""QEMU's machine protocol, for callers that are not asynchronous: the `qemu.qmp` library on a thread of its own.

The thread reads events all the time, so the reason of a shutdown is known however busy the caller was. It refuses to
wait for ever: every command has a deadline. Rules: QEMU's docs/interop/qmp-spec.rst and the QMP reference manual.
"""

import asyncio
import socket
import threading
from collections.abc import Coroutine
from typing import TypeVar

from qemu.qmp import EventListener, ExecuteError, Message, QMPClient, QMPError, Runstate

from rootfall_qemu.errors import MachineError

Answer = TypeVar("Answer")

COMMAND_SECONDS = 30.0


class Qmp:
    """A connection over a connected socket, which it owns."""

    def __init__(self, connection: socket.socket) -> None:
        """Greets and negotiates; MachineError when QEMU is gone or does not answer."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()
        self._client = QMPClient("rootfall")
        # The library logs what it also raises.
        self._client.logger.disabled = True
        self._events = EventListener()
        self._client.register_listener(self._events)
        try:
            self._run(self._client.connect(connection), "connect to", "the machine protocol")
        except MachineError:
            connection.close()
            self._stop()
            raise

    def execute(self, command: str, arguments: dict[str, object] | None = None) -> object:
        """What QEMU returns for `command`; MachineError with its explanation when it refuses."""
        return self._run(self._client.execute(command, arguments), "do", f"{command} in QEMU")

    def wait_event(self, name: str, timeout: float = COMMAND_SECONDS) -> Message:
        """The next event called `name` that was not taken before; events before it are passed over."""
        return self._run(self._next(name), "see", f"the QMP event {name}", timeout)

    def wait_end(self, timeout: float = COMMAND_SECONDS) -> None:
        """Wait until QEMU has hung up: every event that it sent is in `events` then."""
        self._run(self._ended(), "see", "the end of the machine protocol", timeout)

    @property
    def events(self) -> tuple[Message, ...]:
        """Every event so far, oldest first."""
        return self._events.history

    def close(self) -> None:
        """Hang up. Called again, it does nothing."""
        if self._loop.is_closed():
            return
        try:
            self._run(self._client.disconnect(), "leave", "the machine protocol")
        except MachineError:  # the other side may have hung up first: that is the usual end
            pass
        finally:
            self._stop()

    async def _next(self, name: str) -> Message:
        while True:
            event = await self._events.get()
            if event["event"] == name:
                return event

    async def _ended(self) -> None:
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()

    def _run(
        self, work: Coroutine[None, None, Answer], attempted: str, subject: str, timeout: float = COMMAND_SECONDS
    ) -> Answer:
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, timeout), self._loop)
        try:
            return future.result()
        except ExecuteError as refusal:
            raise MachineError(attempted, subject, seen=str(refusal)) from None
        except TimeoutError:
            raise MachineError(attempted, subject, seen=f"no answer within {timeout:g} s") from None
        except (QMPError, OSError, EOFError) as gone:
            raise MachineError(attempted, subject, seen=f"{gone or 'QEMU is gone'}") from None

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
