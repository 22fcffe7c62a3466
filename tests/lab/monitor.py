"""QEMU's monitor protocol, as far as a test needs it: ask, answer, await an event."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any


class MonitorError(Exception):
    """QEMU refused a command, or an event never came."""


class Monitor:
    """A connection to QEMU's QMP socket (docs/interop/qmp-spec)."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(str(path))
        self._pending = bytearray()
        self._events: list[dict[str, Any]] = []
        self._read()
        self.ask("qmp_capabilities")

    def _read(self) -> dict[str, Any]:
        # A file of the socket would refuse all reads after one that took too long.
        while b"\n" not in self._pending:
            arrived = self._socket.recv(65536)
            if not arrived:
                raise MonitorError("QEMU has ended")
            self._pending += arrived
        line, _, rest = bytes(self._pending).partition(b"\n")
        self._pending = bytearray(rest)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, command: str, **arguments: Any) -> Any:
        """Run a command; what it returns.

        Raises:
            MonitorError: QEMU refuses it.
        """
        request = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self._read()
            if "event" in answer:
                self._events.append(answer)
            elif "error" in answer:
                raise MonitorError(f"{command}: {answer['error'].get('desc')}")
            else:
                return answer["return"]

    def human(self, line: str) -> str:
        """Run a line of the human monitor; what it prints."""
        return str(self.ask("human-monitor-command", **{"command-line": line}))

    def await_event(self, name: str, limit: float = 60, **data: Any) -> dict[str, Any]:
        """Wait for an event whose data contain `data`.

        Raises:
            MonitorError: it does not come within `limit` seconds.
        """
        end = time.monotonic() + limit
        while True:
            for event in self._events:
                if event["event"] == name and data.items() <= event.get("data", {}).items():
                    self._events.remove(event)
                    return event
            left = end - time.monotonic()
            if left <= 0:
                raise MonitorError(f"no event {name} {data} within {limit:g} s")
            self._socket.settimeout(left)
            try:
                answer = self._read()
            except TimeoutError:
                continue
            finally:
                self._socket.settimeout(60)
            if "event" in answer:
                self._events.append(answer)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
