"""The sections of a profile, by their names in TOML."""

from __future__ import annotations

from passthrough.vm.device_sections import (
    Disk,
    Display,
    Gpu,
    Input,
    Integrated,
    LookingGlass,
    Media,
    Network,
)
from passthrough.vm.machine_sections import (
    Acpi,
    Cpu,
    Firmware,
    FwCfg,
    Hide,
    Machine,
    Memory,
    Qemu,
    Smbios,
    Tpm,
)

#: Sections in the order of the documentation, by their names in TOML.
SECTIONS = {
    "machine": Machine, "cpu": Cpu, "memory": Memory, "firmware": Firmware, "hide": Hide,
    "disk": Disk, "media": Media, "gpu": Gpu, "integrated": Integrated, "display": Display,
    "acpi": Acpi, "network": Network, "looking_glass": LookingGlass, "input": Input, "tpm": Tpm,
    "smbios": Smbios, "fw_cfg": FwCfg, "qemu": Qemu,
}  # fmt: skip
#: Those that may stand several times: ``[[disk]]``.
REPEATED = ("disk", "network", "fw_cfg")
