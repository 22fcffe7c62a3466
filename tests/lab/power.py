"""A lab's power switches: /proc/acpi/bbswitch and /proc/acpi/nvhda, three ways.

Each way is a context manager: the files are there inside, and gone at the end.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from lab import modules
from lab.machine import Lab
from lab.topology import PORT

#: The Acer report's table: bbswitch/nvhda before, what is written where, and after.
TABLE = (
    ("OFF/OFF", "bbswitch", "OFF", "OFF/OFF"),
    ("OFF/OFF", "bbswitch", "ON", "ON/OFF"),
    ("OFF/OFF", "nvhda", "OFF", "OFF/OFF"),
    ("OFF/OFF", "nvhda", "ON", "OFF/OFF"),
    ("OFF/ON", "bbswitch", "OFF", "OFF/ON"),
    ("OFF/ON", "bbswitch", "ON", "ON/ON"),
    ("OFF/ON", "nvhda", "OFF", "OFF/OFF"),
    ("OFF/ON", "nvhda", "ON", "OFF/ON"),
    ("ON/OFF", "bbswitch", "OFF", "OFF/OFF"),
    ("ON/OFF", "bbswitch", "ON", "ON/OFF"),
    ("ON/OFF", "nvhda", "OFF", "ON/OFF"),
    ("ON/OFF", "nvhda", "ON", "ON/ON"),
    ("ON/ON", "bbswitch", "OFF", "OFF/ON"),
    ("ON/ON", "bbswitch", "ON", "ON/ON"),
    ("ON/ON", "nvhda", "OFF", "ON/OFF"),
    ("ON/ON", "nvhda", "ON", "ON/ON"),
)

BBSWITCH, NVHDA = "/proc/acpi/bbswitch", "/proc/acpi/nvhda"
KNOBS = "/sys/module/nvhda/parameters"


@contextlib.contextmanager
def loaded(lab: Lab, module: Path, *parameters: str) -> Iterator[None]:
    """A module is loaded, and unloaded at the end.

    Raises:
        LabError: the kernel refuses it.
    """
    lab.run("insmod", module, *parameters).check()
    try:
        yield
    finally:
        lab.run("rmmod", module.stem).check()


@contextlib.contextmanager
def real_power(lab: Lab) -> Iterator[None]:
    """Debian's bbswitch and our nvhda. Only the topology ``laptop`` has firmware for it.

    Raises:
        LabUnavailable: modules cannot be built here.
    """
    switch, audio = modules.bbswitch(), modules.nvhda()
    with loaded(lab, switch), loaded(lab, audio):
        yield


@contextlib.contextmanager
def module_power(lab: Lab) -> Iterator[None]:
    """Our nvhda for both files: any GPU behind a port will do.

    Raises:
        LabUnavailable: modules cannot be built here.
    """
    with loaded(lab, modules.nvhda(), "fake_bbswitch=1"):
        yield


@contextlib.contextmanager
def plain_power(lab: Lab, port: str = PORT) -> Iterator[None]:
    """Both files from a program, without a module (``sources/power_files.py``)."""
    lab.run("modprobe", "fuse").check()
    program = modules.SOURCES / "power_files.py"
    server = lab.start(sys.executable, "-I", "-S", program, lab.topology.gpu, port)
    server.read_until(b"ready\n")
    try:
        yield
    finally:
        server.signal(signal.SIGTERM)
        server.wait().check()


#: The three ways by name, the most real one first.
POWERS: dict[str, Callable[[Lab], AbstractContextManager[None]]] = {
    "real": real_power,
    "module": module_power,
    "plain": plain_power,
}


def power_state(lab: Lab) -> str:
    """What the two files say, as the field reports write it: ``ON/OFF`` is bbswitch/nvhda."""
    source = f"""
for path in ({BBSWITCH!r}, {NVHDA!r}):
    print(open(path).read().split()[1])"""
    return "/".join(lab.python(source).check().out.split())


#: One program for all rows: each question from outside takes its time.
_WALK = """
import json
def read(name):
    return open('/proc/acpi/' + name).read().split()[1]
def write(name, word):
    with open('/proc/acpi/' + name, 'w') as file:
        file.write(word)
def state():
    return read('bbswitch') + '/' + read('nvhda')
seen = []
for before, name, word, after in json.loads(ROWS):
    gpu, audio = before.split('/')
    write('bbswitch', 'ON')
    write('nvhda', audio)
    write('bbswitch', gpu)
    reached = state()
    write(name, word)
    seen.append([reached, name, word, state()])
print(json.dumps(seen))
"""


def walk_table(lab: Lab) -> tuple[tuple[str, ...], ...]:
    """`TABLE` as this lab has it: each row's first state is made, its word written, all read."""
    source = f"ROWS = {json.dumps(TABLE)!r}\n{_WALK}"
    return tuple(tuple(row) for row in json.loads(lab.python(source).check().out))


def restore_power(lab: Lab) -> None:
    """Both on. What the audio function has lost with its power, it gets by being found again."""
    source = f"""
for path, word in (({BBSWITCH!r}, 'ON'), ({NVHDA!r}, 'OFF'), ({NVHDA!r}, 'ON')):
    with open(path, 'w') as file:
        file.write(word)"""
    lab.python(source).check()


@contextlib.contextmanager
def knob(lab: Lab, name: str, value: int) -> Iterator[None]:
    """A fault of nvhda: ``fail`` (an error number), ``delay_ms`` or ``ignore``."""
    lab.write(f"{KNOBS}/{name}", str(value))
    try:
        yield
    finally:
        lab.write(f"{KNOBS}/{name}", "0")
