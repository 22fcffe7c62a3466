"""What a test may have changed in a lab, read in one go."""

from __future__ import annotations

import json

from lab.machine import Lab

_SOURCE = """
import json, os, pathlib
def text(path):
    try:
        return path.read_text().strip()
    except OSError as error:
        return error.errno
def head(path, size):
    try:
        with open(path, 'rb', buffering=0) as file:
            return file.read(size).hex()
    except OSError as error:
        return error.errno
def stamp(path):
    found = path.lstat()
    return [str(path), found.st_size, found.st_mtime_ns]
devices = {}
for device in pathlib.Path('/sys/bus/pci/devices').iterdir():
    driver = device / 'driver'
    devices[device.name] = [
        os.path.basename(os.readlink(driver)) if driver.is_symlink() else None,
        text(device / 'driver_override'), text(device / 'power/control'),
        text(device / 'd3cold_allowed'), text(device / 'reset_method'), text(device / 'enable'),
        # whether the ROM is shown, what the header says: memory on, addresses, buses behind
        head(device / 'rom', 1), head(device / 'config', 64),
        # the same device removed and found again is another one
        os.stat(device).st_ino,
    ]
print(json.dumps({
    'devices': devices,
    'modules': {
        module: {knob.name: text(knob)
            for knob in pathlib.Path('/sys/module', module, 'parameters').glob('*')}
        for module in (line.split()[0] for line in open('/proc/modules'))},
    # Warnings and worse. That modules of ours were loaded (P, O, E) is no harm.
    'tainted': int(text(pathlib.Path('/proc/sys/kernel/tainted'))) & ~(1 | 1 << 12 | 1 << 13),
    'mounts': sorted(' '.join(line.split()[1:4]) for line in open('/proc/mounts')),
    'command lines': sorted(
        line for process in pathlib.Path('/proc').iterdir()
        if process.name.isdigit() and process.name not in ('1', str(os.getpid()))
        # a number where it has just ended
        and isinstance(line := text(process / 'cmdline'), str) and line),
    'lockdown': text(pathlib.Path('/sys/kernel/security/lockdown')),
    'settings': [text(pathlib.Path(path)) for path in (
        '/sys/bus/pci/drivers_autoprobe', '/proc/sys/vm/nr_hugepages')],
    # mount(8) keeps notes of its own in /run/mount.
    'run': sorted(str(p) for p in pathlib.Path('/run').rglob('*')
        if 'mount' not in p.parts and p.parts[:4] != ('/', 'run', 'lab', 'written')),
    # What was written over this machine's files. Folders come and go with what is in them.
    'files': sorted(stamp(p) for p in pathlib.Path('/run/lab/written/upper').rglob('*')
        if p.is_symlink() or not p.is_dir()),
}))
"""


_ERRORS = """
import ctypes, json
# syslog(2): 3 is "read all", from the last clearing on; levels 0 to 3 are errors and worse.
room = ctypes.create_string_buffer(1 << 20)
size = ctypes.CDLL(None).klogctl(3, room, len(room))
lines = room.raw[:max(size, 0)].decode(errors='replace').splitlines()
print(json.dumps(
    [line for line in lines if line[:1] == '<' and int(line[1:line.index('>')]) & 7 < 4]))
"""


def read_state(lab: Lab) -> dict[str, object]:
    """Devices with their drivers and headers, modules with their parameters, mounts, processes,
    settings, files, and whether the kernel is tainted.
    """
    state: dict[str, object] = json.loads(lab.python(_SOURCE).check().out)
    return state


def read_errors(lab: Lab) -> list[str]:
    """What the kernel's log has of errors and worse. Some tests make them on purpose."""
    found: list[str] = json.loads(lab.python(_ERRORS).check().out)
    return found
