"""A VM's command line for a machine without its hardware, for the installed QEMU to try.

What vfio-pci passes becomes a network card, KVM becomes emulation; all else is given as it is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from passthrough.vm.accepted import parse_option
from passthrough.vm.qemu import CommandLine, escaped

QEMU = "qemu-system-x86_64"

#: What a stand-in for vfio-pci does not have.
_VFIO_ONLY = ("host", "sysfsdev", "x-", "display", "ramfb")


def stand_in(line: CommandLine) -> Iterator[str]:
    """The words of a command line for a machine without the hardware."""
    for name, value in line.options:
        parts = parse_option(value)
        if name == "-tpmdev" or parts.get("id") in ("tpm", "tpm-backend"):
            continue  # needs a running swtpm
        if parts.get("driver") != "input-linux":  # needs the device
            yield name
            if value:
                yield _stand_in(name, value, parts)
    yield from line.extra


def _stand_in(name: str, value: str, parts: dict[str, str]) -> str:
    if name == "-machine":
        kept = [p for p in value.split(",") if not p.startswith(("kernel_irqchip", "accel"))]
        return ",".join([*kept, "accel=tcg"])
    if name == "-cpu":
        # Of the Hyper-V features QEMU refuses this one alone without KVM (measured with 7.2).
        return value.replace("host", "max", 1).replace(",hv_vpindex=on", "")
    if name == "-netdev":
        return f"user,id={parts['id']}"
    if name == "-spice":
        return "unix=on,disable-ticketing=on,addr=spice.sock"
    if name == "-vnc":
        return "unix:vnc.sock"
    if name == "-device" and parts["driver"].startswith("vfio-pci"):
        kept = [
            f"{key}={escaped(word)}"
            for key, word in parts.items()
            if key != "driver" and not key.startswith(_VFIO_ONLY)
        ]
        return ",".join(["e1000e", *kept])
    return value.partition(",hugetlb")[0] if name == "-object" else value


def start(line: CommandLine, folder: Path) -> subprocess.CompletedProcess[str]:
    """Start it until all devices are made, and end it by its monitor."""
    words = [QEMU, *stand_in(line), "-S", "-monitor", "stdio"]
    return subprocess.run(
        words, input="info qtree\nquit\n", capture_output=True, text=True, timeout=60, cwd=folder,
        check=False,
    )  # fmt: skip
