"""A machine that does not exist: its sysfs, its files, and what its programs say.

::

    tree = HostTree().cmdline("quiet intel_iommu=on").module("vfio_pci")
    tree.device("0000:00:01.0", class_=0x060400, driver="pcieport", group=1)
    tree.device("0000:01:00.0", vendor=0x10DE, device=0x1C20, class_=0x030000, group=1,
                parent="0000:00:01.0", power_state="D3cold", runtime_status="suspended")
    Inventory(tree.host())

Every call gives the tree back; a later one overwrites what an earlier one wrote. `tree.reads` has
the paths whose content was read, so that a test can tell what was left alone.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from posixpath import dirname, relpath
from typing import Self

from builders.config_space import Function, config_space

from diag.checks.check import Check
from diag.host import Host, Transcript
from diag.inventory import Inventory
from diag.tree import MemoryTree
from romkit.finding import Finding

PCI = "/sys/bus/pci"
NAMES = "/sys/kernel/iommu_groups"


class WatchedTree(MemoryTree):
    """A tree that notes what is read from it."""

    def __init__(self, tree: HostTree) -> None:
        super().__init__(tree.files, tree.links, tree.refusals, frozenset(tree.folders))
        self.reads = tree.reads

    def data(self, path: str, limit: int) -> bytes:
        self.reads.append(path)
        return super().data(path, limit)


class HostTree:
    """A machine in the making. Nothing is in it at first, not even a kernel."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.links: dict[str, str] = {}
        self.refusals: dict[str, int] = {}
        self.folders: set[str] = set()
        self.transcripts: dict[tuple[str, ...], Transcript] = {}
        self.reads: list[str] = []
        self._places: dict[str, str] = {}

    # Any file.

    def file(self, path: str, content: bytes | str = b"") -> Self:
        """A file; text is UTF-8 and gets the line end that sysfs and procfs write."""
        if isinstance(content, str):
            content = content if content.endswith("\n") or not content else f"{content}\n"
            content = content.encode()
        self.files[path] = content
        self.refusals.pop(path, None)
        return self

    def without(self, path: str) -> Self:
        """A file or folder that is not there after all, with everything below it."""
        for kept in (self.files, self.links, self.refusals):
            for inside in [p for p in kept if p == path or p.startswith(f"{path}/")]:
                del kept[inside]
        self.folders -= {p for p in self.folders if p == path or p.startswith(f"{path}/")}
        return self

    def folder(self, path: str) -> Self:
        """A folder, possibly an empty one."""
        self.folders.add(path)
        return self

    def link(self, path: str, target: str) -> Self:
        """A link; an absolute target is written as sysfs does, from where the link is."""
        self.links[path] = relpath(target, dirname(path)) if target.startswith("/") else target
        return self

    def refused(self, path: str, error: int = errno.EACCES) -> Self:
        """Something that is there and cannot be read; 13 (EACCES) is what root could read."""
        self.files.pop(path, None)
        self.refusals[path] = error
        return self

    def said(self, *argv: str, out: str = "", err: str = "", status: int = 0) -> Self:
        """What a program said."""
        self.transcripts[argv] = Transcript(argv, status, out, err)
        return self

    # The kernel.

    def kernel(
        self, release: str = "6.1.0-18-amd64", config: Mapping[str, str] | None = None
    ) -> Self:
        """The running kernel and its configuration, `{"CONFIG_KVM": "m"}`; None: no such file."""
        self.file("/proc/sys/kernel/osrelease", release)
        self.file("/proc/version", f"Linux version {release} (builder@host) #1 SMP")
        if config is not None:
            lines = [f"{name}={value}" for name, value in config.items()]
            self.file(f"/boot/config-{release}", "\n".join(lines))
        return self

    def cmdline(self, text: str) -> Self:
        """The kernel command line."""
        return self.file("/proc/cmdline", text)

    def module(
        self, name: str, parameters: Mapping[str, str] | None = None, *, builtin: bool = False
    ) -> Self:
        """A loaded module (its name with underscores), or one that is part of the kernel."""
        folder = f"/sys/module/{name}"
        self.folder(folder)
        if not builtin:
            self.file(f"{folder}/initstate", "live").file(f"{folder}/refcnt", "0")
            before = self.files.get("/proc/modules", b"").decode()
            self.file("/proc/modules", f"{before}{name} 65536 0 - Live 0x0000000000000000")
        for key, value in (parameters or {}).items():
            self.file(f"{folder}/parameters/{key}", value)
        return self

    def os_release(self, id_: str, like: str = "", version: str = "") -> Self:
        """The distribution."""
        lines = [f"ID={id_}", f'ID_LIKE="{like}"', f'VERSION_ID="{version}"']
        return self.file("/etc/os-release", "\n".join(lines))

    # Devices.

    def device(
        self,
        address: str,
        *,
        vendor: int = 0x8086,
        device: int = 0x1901,
        class_: int = 0x030000,
        revision: int = 0,
        subsystem: tuple[int, int] | None = None,
        driver: str | None = None,
        group: int | None = None,
        parent: str | None = None,
        power_state: str | None = "D0",
        runtime_status: str | None = "active",
        power_control: str | None = "on",
        boot_vga: bool | None = None,
        reset_method: str | None = "pm bus",
        driver_override: str | None = None,
        d3cold_allowed: bool | None = True,
        acpi_path: str | None = None,
        rom: int | None = None,
        config: bytes | None = None,
        acs: tuple[int, int] | None = None,
        attributes: Mapping[str, str | bytes] | None = None,
    ) -> Self:
        """A PCI function.

        Args:
            address: in full, ``0000:01:00.0``.
            vendor: vendor id.
            device: device id.
            class_: class code in 24 bits, as sysfs prints it: 0x030000 is VGA.
            revision: revision id.
            subsystem: ids of the board.
            driver: the driver that is bound.
            group: number of its IOMMU group.
            parent: address of the port above it, which is made before.
            power_state: what that file says; None: an old kernel, without it.
            runtime_status: of runtime power management.
            power_control: ``on`` or ``auto``.
            boot_vga: what that file says; None: there is none.
            reset_method: what that file says; None: no reset at all.
            driver_override: the driver that alone may bind.
            d3cold_allowed: what that file says.
            acpi_path: its name in the firmware's tables.
            rom: size of its ROM BAR in bytes.
            config: its config space; made of the other values if it is not given.
            acs: what ACS can do and what is on; needs a config of 4096 bytes, which it then has.
            attributes: further files, as ``{"resource": "..."}``.
        """
        domain = address.rsplit(":", 2)[0]
        above = self._places[parent] if parent else f"/sys/devices/pci{domain}:00"
        folder = self._places[address] = f"{above}/{address}"
        self.link(f"{PCI}/devices/{address}", folder)
        if config is None:
            made = Function(
                address, vendor, device, class_ >> 8, class_ & 0xFF, revision, subsystem,
                bridge=class_ >> 8 == 0x0604, acs=acs,
            )  # fmt: skip
            config = config_space(made, 4096 if acs else 256)
        values: dict[str, str | bytes | None] = {
            "vendor": f"{vendor:#06x}",
            "device": f"{device:#06x}",
            "class": f"{class_:#08x}",
            "revision": f"{revision:#04x}",
            "subsystem_vendor": f"{subsystem[0]:#06x}" if subsystem else "0x0000",
            "subsystem_device": f"{subsystem[1]:#06x}" if subsystem else "0x0000",
            "power_state": power_state,
            "power/runtime_status": runtime_status,
            "power/control": power_control,
            "boot_vga": None if boot_vga is None else str(int(boot_vga)),
            "reset_method": reset_method,
            "driver_override": driver_override or "(null)",
            "d3cold_allowed": None if d3cold_allowed is None else str(int(d3cold_allowed)),
            "firmware_node/path": acpi_path,
            "enable": "1" if driver else "0",
            "numa_node": "-1",
            "modalias": f"pci:v{vendor:08X}d{device:08X}",
            "resource": _resource(rom),
            "config": config,
            **(attributes or {}),
        }
        for name, value in values.items():
            if value is not None:
                self.file(f"{folder}/{name}", value)
        if reset_method is not None:
            self.file(f"{folder}/reset")
        if driver is not None:
            self.folder(f"{PCI}/drivers/{driver}").link(
                f"{folder}/driver", f"{PCI}/drivers/{driver}"
            )
            self.link(f"{PCI}/drivers/{driver}/{address}", folder)
        if group is not None:
            self.link(f"{folder}/iommu_group", f"{NAMES}/{group}")
            self.link(f"{NAMES}/{group}/devices/{address}", folder)
        return self

    def place(self, address: str) -> str:
        """The folder of a device in /sys/devices."""
        return self._places[address]

    # What becomes of it.

    def host(self, note: str = "a made-up machine") -> Host:
        """The machine, held in memory."""
        return Host(tree=WatchedTree(self), transcripts=self.transcripts, note=note)

    def ask(self, check: Check, *, vm: str | None = None) -> tuple[Finding, ...]:
        """What a check finds on this machine, for the VM that `vm` describes."""
        return check.run(Inventory(self.host(), vm_text=vm))

    def write(self, folder: Path) -> Path:
        """The machine as a directory, for ``--root``. What is refused cannot be kept there."""
        if self.refusals:
            raise ValueError("a directory cannot refuse what root reads")
        for path in self.folders:
            Path(f"{folder}{path}").mkdir(parents=True, exist_ok=True)
        for path, content in self.files.items():
            file = Path(f"{folder}{path}")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        for path, target in self.links.items():
            link = Path(f"{folder}{path}")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
        return folder


def _resource(rom: int | None) -> str:
    """The file ``resource`` of a device with one BAR of 16 MiB and, perhaps, a ROM."""
    lines = ["0x00000000f6000000 0x00000000f6ffffff 0x0000000000040200"]
    lines += ["0x0000000000000000 0x0000000000000000 0x0000000000000000"] * 5
    end = 0 if rom is None else 0xF7000000 + rom - 1
    start, flags = (0, 0) if rom is None else (0xF7000000, 0x46200)
    return "\n".join([*lines, f"{start:#018x} {end:#018x} {flags:#018x}"])
