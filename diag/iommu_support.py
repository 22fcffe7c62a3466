"""What an IOMMU needs, and which of it is there: processor, firmware, kernel, command line.

Each part is there, missing, or could not be looked at. DMAR is the firmware's table for Intel's
VT-d, IVRS that for AMD-Vi.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from diag.errors import Unreadable
from diag.firmware import TABLES, acpi_tables
from diag.inventory import GROUPS
from diag.kernel import COMMAND_LINE
from romkit.finding import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable

    from diag.host import Host
    from diag.inventory import Inventory
    from diag.kernel import Kernel

CPU = "/proc/cpuinfo"
UNITS = "/sys/class/iommu"


class Vendor(Enum):
    """Whose IOMMU a machine would have."""

    INTEL = "Intel"
    AMD = "AMD"
    OTHER = "other"


#: What processors call themselves; those below Intel's name use its VT-d.
_VENDORS = {
    "GenuineIntel": Vendor.INTEL, "CentaurHauls": Vendor.INTEL,
    "Shanghai": Vendor.INTEL, "AuthenticAMD": Vendor.AMD, "HygonGenuine": Vendor.AMD,
}  # fmt: skip
_TABLE = {Vendor.INTEL: "DMAR", Vendor.AMD: "IVRS"}
_FIRMWARE_NAME = {Vendor.INTEL: "VT-d (or just Virtualization)", Vendor.AMD: "IOMMU (or AMD-Vi)"}
_OPTION = {Vendor.INTEL: "CONFIG_INTEL_IOMMU", Vendor.AMD: "CONFIG_AMD_IOMMU"}


class State(Enum):
    """What is known of a part."""

    THERE = "there"
    MISSING = "missing"
    UNKNOWN = "could not look"


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that an IOMMU needs.

    Attributes:
        name: ``cpu``, ``firmware``, ``kernel`` or ``command line``.
        state: whether it is there.
        text: what was found, in a sentence.
        evidence: what was read.
        remedy: what to do where it is missing or could not be looked at.
    """

    name: str
    state: State
    text: str
    evidence: tuple[Evidence, ...] = ()
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class IommuSupport:
    """An IOMMU: is it in use, and what of it is missing.

    Attributes:
        in_use: whether the kernel has formed groups; None where that could not be read.
        vendor: whose it would be.
        parts: processor, firmware, kernel and command line, in this order.
        units: the names of the IOMMUs that the kernel has found, like ``dmar0``.
    """

    in_use: bool | None
    vendor: Vendor
    parts: tuple[Part, ...]
    units: tuple[str, ...]

    @property
    def missing(self) -> tuple[Part, ...]:
        """The parts that are missing."""
        return tuple(part for part in self.parts if part.state is State.MISSING)

    def part(self, name: str) -> Part:
        """One of the parts."""
        return next(part for part in self.parts if part.name == name)


def read_support(machine: Inventory) -> IommuSupport:
    """What an IOMMU needs and what of it is there."""
    host = machine.host
    try:
        in_use: bool | None = bool(machine.groups)
    except Unreadable:
        in_use = None
    try:
        units = host.names(UNITS) or ()
    except Unreadable:
        units = ()
    vendor, virtual = _whose(host)
    steps: tuple[tuple[str, Callable[[], Part]], ...] = (
        ("cpu", lambda: _cpu(host)),
        ("firmware", lambda: _firmware(host, vendor, virtual=virtual)),
        ("kernel", lambda: _kernel(machine.kernel, vendor)),
        ("command line", lambda: _command_line(machine, vendor, in_use=bool(in_use))),
    )
    return IommuSupport(in_use, vendor, tuple(_looked(name, look) for name, look in steps), units)


def add_parameter(machine: Inventory, parameter: str) -> str:
    """How a kernel parameter is added on this host."""
    try:
        return machine.boot_loader.add(parameter)
    except Unreadable:
        return f"add {parameter} to the kernel command line"


def remove_parameter(machine: Inventory, parameter: str) -> str:
    """How a kernel parameter is taken away on this host."""
    try:
        return machine.boot_loader.remove(parameter)
    except Unreadable:
        return f"remove {parameter} from the kernel command line"


def _looked(name: str, look: Callable[[], Part]) -> Part:
    try:
        return look()
    except Unreadable as error:
        text = f"could not be measured: {error.why}"
        return Part(name, State.UNKNOWN, text, (Evidence(error.path, error.why),), error.hint)


@dataclass(frozen=True, slots=True)
class _Processor:
    vendor: Vendor
    flags: frozenset[str]

    @property
    def virtual(self) -> bool:
        """Whether it is one of a virtual machine."""
        return "hypervisor" in self.flags


def _processor(host: Host) -> _Processor | None:
    """What /proc/cpuinfo says; None where there is none."""
    text = host.text(CPU)
    if text is None:
        return None
    said: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        said.setdefault(key.strip(), value.strip())
    vendor = _VENDORS.get(said.get("vendor_id", ""), Vendor.OTHER)
    return _Processor(vendor, frozenset(said.get("flags", "").split()))


def _whose(host: Host) -> tuple[Vendor, bool]:
    """Whose IOMMU it would be, by the firmware's table or else the processor; and whether this is
    a virtual machine."""
    try:
        processor = _processor(host)
    except Unreadable:
        processor = None
    try:
        tables = acpi_tables(host) or ()
    except Unreadable:
        tables = ()
    by_table = (vendor for vendor, name in _TABLE.items() if name in tables)
    vendor = next(by_table, processor.vendor if processor else Vendor.OTHER)
    return vendor, processor is not None and processor.virtual


def _cpu(host: Host) -> Part:
    processor = _processor(host)
    if processor is None:
        return Part("cpu", State.UNKNOWN, "what processor it is cannot be read: no /proc/cpuinfo")
    vendor, flags, virtual = processor.vendor, processor.flags, processor.virtual
    said = (Evidence(CPU, f"vendor {vendor.value}"),)
    if vendor is Vendor.OTHER:
        return Part("cpu", State.UNKNOWN, "a processor that diag does not know", said)
    wanted = "vmx" if vendor is Vendor.INTEL else "svm"
    if flags and wanted not in flags:
        where = "by the hypervisor" if virtual else "by the firmware"
        remedy = (
            "let the hypervisor pass virtualization on (nested virtualization)" if virtual else
            f"switch on {'VT-x' if vendor is Vendor.INTEL else 'SVM'} in the firmware's setup, "
            "and cut the power once"
        )  # fmt: skip
        return Part(
            "cpu", State.MISSING, f"{wanted} is switched off {where}, or not there",
            (Evidence(CPU, f"flags without {wanted}"),), remedy,
        )  # fmt: skip
    # VT-d and AMD-Vi have no flag: the firmware's table is what tells.
    return Part("cpu", State.THERE, f"{vendor.value}, with {wanted}", said)


def _firmware(host: Host, vendor: Vendor, *, virtual: bool) -> Part:
    names = acpi_tables(host)
    if names is None:
        return Part(
            "firmware", State.UNKNOWN,
            f"the firmware's tables are not to be found ({TABLES}): no ACPI, or a container",
        )  # fmt: skip
    found = [name for name in ("DMAR", "IVRS", "VIOT") if name in names]
    if found:
        return Part(
            "firmware", State.THERE, f"it describes an IOMMU (table {', '.join(found)})",
            tuple(Evidence(f"{TABLES}/{name}", "there") for name in found),
        )  # fmt: skip
    if vendor is Vendor.OTHER:
        return Part("firmware", State.UNKNOWN, "it has no table of an IOMMU that diag knows")
    wanted, setting = _TABLE[vendor], _FIRMWARE_NAME[vendor]
    remedy = (
        "give the virtual machine an IOMMU (QEMU: -device intel-iommu,intremap=on)" if virtual else
        f"switch on {setting} in the firmware's setup; where there is no such setting, the "
        "processor or the board has no IOMMU, or needs a newer firmware"
    )  # fmt: skip
    return Part(
        "firmware", State.MISSING, f"it describes no IOMMU (no table {wanted})",
        (Evidence(TABLES, f"no {wanted}"),), remedy,
    )  # fmt: skip


def _kernel(kernel: Kernel, vendor: Vendor) -> Part:
    wanted = _OPTION.get(vendor)
    if wanted is None:
        return Part("kernel", State.UNKNOWN, "which IOMMU driver it needs is not known")
    said = kernel.config(wanted)
    path = kernel.config_path
    if said is None:
        if kernel.host.exists(GROUPS):
            text = "it knows IOMMU groups; its configuration is not to be found"
        else:
            text = "its configuration is not to be found"
        return Part("kernel", State.UNKNOWN, text, remedy=f"look for {wanted}=y")
    evidence = (Evidence(path or "", f"{wanted}={said}"),)
    if said != "y":
        return Part(
            "kernel", State.MISSING, f"it is built without {wanted}", evidence,
            f"take a kernel with {wanted}=y",
        )  # fmt: skip
    return Part("kernel", State.THERE, f"it is built with {wanted}", evidence)


def _command_line(machine: Inventory, vendor: Vendor, *, in_use: bool) -> Part:
    kernel = machine.kernel
    line = kernel.command_line
    name = "command line"
    if line is None:
        return Part(name, State.UNKNOWN, f"it is not to be found ({COMMAND_LINE})")
    own = "intel_iommu" if vendor is Vendor.INTEL else "amd_iommu"
    for key in (own, "iommu"):
        words = [word for value in kernel.values(key) for word in value.split(",")]
        states = [word for word in words if word in ("on", "off", "force")]
        if states and states[-1] == "off":
            return Part(
                name, State.MISSING, f"{key}=off switches it off",
                (Evidence(COMMAND_LINE, f"{key}=off"),),
                remove_parameter(machine, f"{key}=off"),
            )  # fmt: skip
    if vendor is Vendor.INTEL and not in_use:
        return _intel_default(machine, name)
    return Part(name, State.THERE, "nothing in it switches the IOMMU off")


def _intel_default(machine: Inventory, name: str) -> Part:
    """Whether an Intel IOMMU that is not in use would have to be asked for."""
    kernel = machine.kernel
    words = [word for value in kernel.values("intel_iommu") for word in value.split(",")]
    if "on" in words:
        said = Evidence(COMMAND_LINE, "intel_iommu=on")
        return Part(name, State.THERE, "intel_iommu=on is there", (said,))
    remedy = add_parameter(machine, "intel_iommu=on")
    default = kernel.config("CONFIG_INTEL_IOMMU_DEFAULT_ON")
    if default is None:
        return Part(
            name, State.UNKNOWN, "no intel_iommu=on, and whether this kernel needs it is not known",
            (Evidence(COMMAND_LINE, "no intel_iommu="),), remedy,
        )  # fmt: skip
    evidence = (
        Evidence(COMMAND_LINE, "no intel_iommu="),
        Evidence(kernel.config_path or "", f"CONFIG_INTEL_IOMMU_DEFAULT_ON={default}"),
    )
    if default == "y":
        return Part(name, State.THERE, "this kernel needs no parameter", evidence)
    return Part(
        name, State.MISSING, "this kernel leaves the IOMMU off without intel_iommu=on", evidence,
        remedy,
    )  # fmt: skip
