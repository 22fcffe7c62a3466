"""Runs inside the lab: a card is detached, opened by a real QEMU, and reattached, many times.

    python tests/lab/handovers.py GPU AUDIO TIMES QEMU EVERY

QEMU takes two seconds to start in a lab without KVM: it has the card in each EVERY-th round, and in
the others VFIO's own calls are made, as QEMU makes them. Prints a JSON object: how often it went
through, and what was another after a round than before.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from trial import host_state

from diag.device import PciDevice
from diag.host import Host
from diag.inventory import Inventory
from diag.pci import PciAddress
from passthrough.detach import plan_detach
from passthrough.detached import find_detached
from passthrough.engine import execute, find_kept, take_back
from passthrough.journal import Places
from passthrough.machine import Machine


def whole_state() -> dict[str, object]:
    """What a user would notice, and what only piles up: processes, open files, nodes."""
    processes = [p.name for p in Path("/proc").iterdir() if p.name.isdecimal()]
    # Threads of the kernel come and go: they have no command line.
    programs = [p for p in processes if _has_command(p)]
    return {
        **host_state(),
        "processes": len(programs),
        "open": len(list(Path("/proc/self/fd").iterdir())),
        "vfio": sorted(str(p) for p in Path("/dev").glob("vfio/*")),
        "children": Path(f"/proc/self/task/{os.getpid()}/children").read_text(),
    }


def _has_command(pid: str) -> bool:
    try:
        return Path("/proc", pid, "cmdline").read_bytes() != b""
    except OSError:
        return False


def open_by_qemu(qemu: str, *addresses: str) -> str:
    """QEMU takes all functions, without running a guest, and ends; what it complains of."""
    command = [qemu, "-S", "-accel", "tcg", "-nodefaults", "-display", "none", "-machine", "q35"]
    command += ["-m", "64", "-qmp", "stdio"]
    command += ["-device", "pcie-root-port,id=gpuport,bus=pcie.0,addr=0x1,chassis=1,slot=1"]
    for number, address in enumerate(addresses):
        place = f"bus=gpuport,addr=0.{number}" + (",multifunction=on" if number == 0 else "")
        command += ["-device", f"vfio-pci,host={address},{place}"]
    # It answers when its devices are made.
    asked = '{"execute": "qmp_capabilities"}\n{"execute": "quit"}\n'
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode or "error" in done.stdout else ""


#: include/uapi/linux/vfio.h: _IO(';', 100 + n)
SET_CONTAINER, SET_IOMMU, GET_DEVICE = 0x3B68, 0x3B66, 0x3B6A


def open_by_vfio(*addresses: str) -> str:
    """All functions are opened and closed again; what the kernel complains of."""
    number = (Path("/sys/bus/pci/devices") / addresses[0] / "iommu_group").readlink().name
    files: list[int] = []
    try:
        files += [os.open(f"/dev/vfio/{name}", os.O_RDWR) for name in (number, "vfio")]
        group, container = files
        fcntl.ioctl(group, SET_CONTAINER, struct.pack("i", container))
        fcntl.ioctl(container, SET_IOMMU, 1)
        # Only for a buffer that can be changed is what the call returns given back: the new file.
        files += [fcntl.ioctl(group, GET_DEVICE, bytearray(f"{a}\0".encode())) for a in addresses]
    except OSError as error:
        return str(error)
    finally:
        for file in reversed(files):
            os.close(file)
    return ""


def card(gpu: str) -> tuple[Inventory, PciDevice]:
    machine = Inventory(Host())
    device = machine.device(PciAddress.parse(gpu))
    assert device is not None
    return machine, device


def main() -> None:
    gpu, audio, times, qemu, every = sys.argv[1:]
    machine = Machine(Host())
    wrong: list[object] = []
    rounds = 0
    with tempfile.TemporaryDirectory() as folder:
        places = Places(Path(folder, "run"), Path(folder, "lib"))
        found = card(gpu)[1]  # what reads for us what may block has started by then
        before = whole_state()
        for rounds in range(1, int(times) + 1):
            execute(plan_detach(*card(gpu)), machine, places)
            by_qemu = rounds % int(every) == 0
            said = open_by_qemu(qemu, gpu, audio) if by_qemu else open_by_vfio(gpu, audio)
            entry = find_detached(places, found)
            assert entry is not None
            left = take_back(entry, machine, places)
            after = whole_state()
            if said or left or find_kept(places) or after != before:
                changed = {k: [before.get(k), after.get(k)] for k in {*before, *after}
                           if before.get(k) != after.get(k)}  # fmt: skip
                wrong.append([rounds, said, [str(part) for part in left], changed])
                break
    print(json.dumps({"rounds": rounds, "wrong": wrong}))


if __name__ == "__main__":
    main()
