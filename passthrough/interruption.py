"""Signals that ask for an end wait until a step has ended."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """The user wants an end."""


@contextlib.contextmanager
def signals_wait(*, again: bool = False) -> Iterator[Callable[[], None]]:
    """Signals are kept until a step has ended; the yielded function raises then.

    What is ignored (nohup) or belongs to others stays so, and only the main thread hears signals.

    Args:
        again: whether what nobody has asked for is sent once more at the end: whoever goes on with
            what was done has to hear of it.
    """
    caught: list[int] = []

    def keep(number: int, _frame: FrameType | None) -> None:
        caught.append(number)

    def ask() -> None:
        if caught:
            number = caught[0]
            caught.clear()
            raise Interrupted(signal.Signals(number).name)

    main = threading.current_thread() is threading.main_thread()
    ours = [n for n in _SIGNALS if main and signal.getsignal(n) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, keep) for number in ours}
    try:
        yield ask
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in caught if again else ():
            signal.raise_signal(late)
