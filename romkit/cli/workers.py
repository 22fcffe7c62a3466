"""The processes in which many ROMs are read."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from romkit.cli.status import BAD_INPUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor


@contextmanager
def executor(jobs: int) -> Iterator[Executor]:
    """Where work is done: a thread, or so many processes. Whoever leaves early waits for none."""
    if jobs == 1:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as thread:
            yield thread
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import active_children, get_context

    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin_work) as workers:
        try:
            yield workers
        except BaseException:  # Ctrl-C and SIGTERM: nobody waits for what is under way
            for worker in active_children():
                worker.kill()
            raise


def _begin_work() -> None:
    """In a worker: leave Ctrl-C to the parent, and end when it ends, however that may be."""
    from multiprocessing import parent_process
    from threading import Thread

    def end_with_parent() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(BAD_INPUT)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=end_with_parent, daemon=True).start()
