"""The ``passthrough`` command: parse the arguments, call the library, print, exit.

Every command imports what it needs when it runs, so that ``passthrough --help`` costs no more than
Typer.
"""

from __future__ import annotations

from typing import NoReturn

from passthrough.cli import (
    detach,
    history,
    install,
    launch,
    media,
    power,
    refresh,
    reset,
    rom,
    status,
    vm,
)
from passthrough.cli.outcome import answering
from romkit.cli.program import new_app, run

app = new_app("passthrough", "Hand a GPU to a virtual machine, and take it back.")


app.command()(status.status)
app.command()(power.power)
app.command()(reset.reset)
app.command()(detach.detach)
app.command()(detach.reattach)
app.command()(refresh.refresh)
app.add_typer(rom.app, name="rom")
app.command()(install.install)
app.command()(launch.launch)
app.command()(launch.stop)
app.add_typer(media.app, name="media")
app.add_typer(vm.app, name="vm")
app.command()(history.history)
app.command()(history.recover)


def main() -> NoReturn:
    """Entry point of the ``passthrough`` script."""
    run(app, answering)
