"""What is left out of single files: what is of no use, differs each time, or names somebody."""

from __future__ import annotations

import re

from diag.config_space import ConfigSpace
from diag.messages import DRIVER_MESSAGES
from diag.text.problems import PROBLEMS

#: The Device Serial Number capability: for a network card it is made from its MAC address.
_DEVICE_SERIAL = 0x0003
_SERIAL_BYTES = range(4, 12)

#: /proc/cpuinfo: the processor's own number (Arm), and what changes while one looks.
_CPU_LINES = re.compile(r"^(?:Serial|cpu MHz|bogomips|BogoMIPS)\s*:.*\n?", re.MULTILINE)
#: /proc/self/status: who has taken the capture.
_STATUS_LINES = re.compile(r"^(?!Uid|Gid|Groups|CapEff).*\n", re.MULTILINE)
#: The kernel's configuration: what is not set has no line of its own for a reader.
_COMMENTS = re.compile(r"^(?:#.*)?\n", re.MULTILINE)
#: /proc/meminfo: what does not change from one moment to the next.
_MEMORY_LINES = re.compile(r"^(?!MemTotal|Huge|DirectMap).*\n", re.MULTILINE)
#: modules.dep: what a module needs.
_NEEDS = re.compile(r":.*$", re.MULTILINE)

#: Lines of the kernel's log that are about PCI, graphics, IOMMU, virtual machines or firmware.
_LOG_LINE = re.compile(
    r"pci|dmar|iommu|amd-vi|vfio|nvidia|nvrm|nouveau|amdgpu|radeon|i915|\bxe\b|\bdrm|vga|"
    r"framebuffer|efifb|simpledrm|vesafb|bbswitch|nvhda|snd_hda|acpi|kvm|gvt|\bvirt|"
    r"secure ?boot|lockdown|command line|linux version|dmi:|efi:|mtrr|e820|swiotlb|x2apic|"
    r"thunderbolt|asus|dell|ideapad|thinkpad|apparmor|iomem|hugepage|[0-9a-f]{4}:[0-9a-f]{2}:",
    re.IGNORECASE,
)


def content_filter(path: str, data: bytes) -> bytes:
    """A file's content without what no reader needs."""
    if path == "/proc/cpuinfo":
        return _CPU_LINES.sub("", data.decode("utf-8", "replace")).encode()
    if path == "/proc/meminfo":
        return _MEMORY_LINES.sub("", data.decode("utf-8", "replace")).encode()
    if path.startswith("/proc/") and path.endswith("/status"):
        return _STATUS_LINES.sub("", data.decode("utf-8", "replace")).encode()
    if path.startswith("/boot/config-") or (path.endswith("/config") and "/modules/" in path):
        return _COMMENTS.sub("", data.decode("utf-8", "replace")).encode()
    if path.endswith("/modules.dep"):
        return _NEEDS.sub(":", data.decode("utf-8", "replace")).encode()
    if path.startswith("/sys/devices/") and path.endswith("/config"):
        return without_serial(data)
    return data


def without_serial(config: bytes) -> bytes:
    """A configuration space whose Device Serial Number is zero.

    PCI Express Base 3.0, 7.12: the EUI-64 stands 4 to 11 bytes into the capability.
    """
    place = next(
        (at for at, kind in ConfigSpace(config).extended_capabilities if kind == _DEVICE_SERIAL),
        None,
    )
    if place is None:
        return config
    changed = bytearray(config)
    for offset in _SERIAL_BYTES:
        if place + offset < len(changed):
            changed[place + offset] = 0
    return bytes(changed)


def log_filter(text: str) -> str:
    """The lines of a kernel's log that concern passthrough, and all that diag knows.

    Empty ones stand for the others, so that the numbers of lines stay what they are.
    """
    known = [problem.pattern for problem in (*PROBLEMS, *DRIVER_MESSAGES)]
    return "\n".join(
        line if _LOG_LINE.search(line) or any(pattern.search(line) for pattern in known) else ""
        for line in text.split("\n")
    )


def alias_filter(data: bytes, vendors: frozenset[str]) -> bytes:
    """Which PCI devices of these vendors (lower-case hex) a kernel has modules for.

    What is for any vendor goes by the device's class, and stays too.
    """
    ours = tuple(f"alias pci:v0000{vendor.upper()}".encode() for vendor in vendors)
    wanted = (*ours, b"alias pci:v*")
    return b"".join(line for line in data.splitlines(keepends=True) if line.startswith(wanted))


def names_filter(data: bytes, ids: frozenset[tuple[str, str]]) -> bytes:
    """What a pci.ids says of these vendors and devices (lower-case hex), and of all classes."""
    vendors = {vendor for vendor, _ in ids}
    kept: list[str] = []
    inside = found = classes = False
    for line in data.decode("utf-8", "replace").splitlines(keepends=True):
        word = line.strip()[:4]
        if line.startswith("#") or not line.strip():
            continue
        if not line.startswith("\t"):
            classes = line.startswith("C ")
            vendor, inside = word, not classes and word in vendors
            keep = inside or classes
        elif classes:
            keep = True
        elif line.startswith("\t\t"):
            keep = inside and found
        else:
            keep = found = inside and (vendor, word) in ids
        if keep:
            kept.append(line)
    return "".join(kept).encode()
