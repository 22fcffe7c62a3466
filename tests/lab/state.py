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
devices = {}
for device in pathlib.Path('/sys/bus/pci/devices').iterdir():
    driver = device / 'driver'
    devices[device.name] = [
        os.path.basename(os.readlink(driver)) if driver.is_symlink() else None,
        text(device / 'driver_override'), text(device / 'power/control'),
        text(device / 'd3cold_allowed'), text(device / 'reset_method'), text(device / 'enable'),
        text(device / 'numa_node'), text(device / 'vendor'),
        # the same device removed and found again is another one
        os.stat(device).st_ino,
    ]
print(json.dumps({
    'devices': devices,
    'modules': sorted(line.split()[0] for line in open('/proc/modules')),
    'mounts': sorted(' '.join(line.split()[1:4]) for line in open('/proc/mounts')),
    'command lines': sorted(
        text(process / 'cmdline') for process in pathlib.Path('/proc').iterdir()
        if process.name.isdigit() and process.name not in ('1', str(os.getpid()))
        and text(process / 'cmdline')),
    'lockdown': text(pathlib.Path('/sys/kernel/security/lockdown')),
    # mount(8) keeps notes of its own in /run/mount.
    'files': sorted(str(p) for p in pathlib.Path('/run').rglob('*') if 'mount' not in p.parts),
}))
"""


def read_state(lab: Lab) -> dict[str, object]:
    """Devices and their drivers, modules, mounts, processes, files below /run."""
    state: dict[str, object] = json.loads(lab.python(_SOURCE).check().out)
    return state
