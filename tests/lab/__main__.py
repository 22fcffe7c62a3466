"""The lab by hand: ``python -m lab [TOPOLOGY] [--rom FILE] [-- COMMAND...]``."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from lab.check import check_all
from lab.machine import Lab, LabError, Running, open_lab
from lab.packages import LabUnavailable
from lab.topology import TOPOLOGIES

#: Exit statuses: nothing to run the lab with; the lab itself failed.
UNAVAILABLE, FAILED = 75, 70


@contextlib.contextmanager
def _raw(fd: int) -> Iterator[None]:
    """Every key goes to the lab, Ctrl-C too."""
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _pass_on(job: Running) -> None:
    with contextlib.suppress(LabError):
        while data := os.read(0, 65536):
            job.send(data)
        job.close_stdin()


def _follow(job: Running) -> int:
    """Show what a command writes while it writes it; its status."""
    threading.Thread(target=_pass_on, args=(job,), daemon=True).start()
    return job.follow(sys.stdout.buffer, sys.stderr.buffer)


def shell(lab: Lab) -> int:
    """A shell in the lab, on this terminal."""
    columns, lines = shutil.get_terminal_size()
    start = f"stty rows {lines} cols {columns}; exec bash -i"
    about = f"{lab.topology.name}: {lab.topology.about}. GPU {lab.topology.gpu}. Ctrl-D ends it."
    print(about, file=sys.stderr)
    # script gives it a terminal of its own.
    job = lab.start("script", "-qfec", start, "/dev/null", env={"PS1": r"lab:\w# "})
    with _raw(0):
        return _follow(job)


def _arguments() -> argparse.Namespace:
    words = sys.argv[1:]
    own, command = words, []
    if "--" in words:
        cut = words.index("--")
        own, command = words[:cut], words[cut + 1 :]
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    names = "; ".join(f"{t.name}: {t.about}" for t in TOPOLOGIES.values())
    parser.add_argument(
        "topology", nargs="?", default="laptop", choices=[*TOPOLOGIES, "check"], metavar="TOPOLOGY",
        help=f"which machine (laptop); {names}; check: show the facts in all of them",
    )  # fmt: skip
    parser.add_argument("--rom", type=Path, help="what the GPU has in its ROM BAR")
    parser.add_argument("--coldplug", action="store_true", help="load all devices' drivers")
    parsed = parser.parse_args(own)
    parsed.command = command
    return parsed


def main() -> int:
    """Boot a lab and run a command, or a shell, in it."""
    asked = _arguments()
    if asked.topology == "check":
        return check_all()
    rom = asked.rom.read_bytes() if asked.rom else None
    with open_lab(TOPOLOGIES[asked.topology], rom=rom, coldplug=asked.coldplug) as lab:
        if asked.command:
            return _follow(lab.start(*asked.command))
        if not sys.stdin.isatty():
            return _follow(lab.start("bash", "-s"))
        return shell(lab)


def _end(number: int, _frame: FrameType | None) -> None:
    """Told to end, by a terminal that closes for example: switch the lab off, and tidy up."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    # Started with its input closed, the next file opened would be taken for it.
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)
        sys.stdin = os.fdopen(0)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    try:
        status = main()
    except LabUnavailable as reason:
        print(f"lab: {reason}", file=sys.stderr)
        status = UNAVAILABLE
    except (LabError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
        status = FAILED
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    # A thread may still wait for the terminal.
    sys.stdout.flush()
    os._exit(status if status >= 0 else 128 - status)
