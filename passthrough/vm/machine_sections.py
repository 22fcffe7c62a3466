"""The sections of a profile that say what the guest's machine is: processor to firmware."""

from __future__ import annotations

from dataclasses import dataclass

from passthrough.vm import kinds
from passthrough.vm.key import HOST_FILES, LAUNCHED, key
from passthrough.vm.kinds import choice, list_of, matching, number, size

#: The Hyper-V features that guests profit from, in QEMU's words (docs/system/i386/hyperv.rst).
HYPERV = (
    "relaxed", "vapic", "spinlocks", "time", "vpindex", "runtime", "synic", "stimer", "reset",
    "frequencies", "reenlightenment", "tlbflush", "ipi",
)  # fmt: skip
#: Which of them need others (the same document).
HYPERV_NEEDS = {
    "synic": ("vpindex",), "stimer": ("synic", "time", "vpindex"), "tlbflush": ("vpindex",),
    "ipi": ("vpindex",),
}  # fmt: skip

_MEMORY = size(64 << 20, 1 << 40)


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine itself."""

    type: str = key(
        matching(
            r"(?:pc-)?q35(?:-\d{1,2}\.\d{1,2})?", 'QEMU\'s "q35", or with a version: "pc-q35-7.2"'
        ),
        "q35",
        "QEMU's machine type. PCI Express is needed, so it is always a q35. With a version the "
        "guest stays the same when QEMU is updated.",
        example='"pc-q35-7.2"',
    )
    irqchip: str = key(
        choice("kernel", "split"),
        "kernel",
        "Who emulates the interrupt controller. NVIDIA's driver in Windows wants the kernel.",
    )
    accel: str = key(
        choice("kvm", "tcg"),
        "kvm",
        "What runs the guest: the processor, or (very slowly, without GPU) QEMU itself.",
    )
    uuid: str = key(
        kinds.UUID,
        "",
        "The VM's UUID, which Windows' activation looks at. One is made of its name.",
        example='"3d2f7c7e-51c1-4a53-9b5a-3f5a3c0c6f10"',
    )
    clock: str = key(
        choice("localtime", "utc"),
        "localtime",
        "What the guest's clock shows: Windows expects the local time, Linux UTC.",
    )


@dataclass(frozen=True, slots=True)
class Cpu:
    """Processors."""

    model: str = key(
        kinds.WORD,
        "host",
        "QEMU's CPU model; `host` passes the host's own on.",
        example='"Skylake-Client"',
    )
    features: tuple[str, ...] = key(
        list_of(kinds.CPU_FEATURE),
        (),
        "Features that are added to the model or taken from it.",
        example='["+topoext"]',
    )
    sockets: int = key(number(1, 8), 1, "Sockets. Windows Home uses one only.")
    cores: int = key(number(1, 256), 2, "Cores in each socket.")
    threads: int = key(number(1, 8), 1, "Threads of each core, as the host's have.")
    pin: tuple[tuple[int, ...], ...] = key(
        list_of(kinds.CPUS, distinct=False),
        (),
        "For each of the guest's CPUs the host's CPUs that it may run on.",
        example='["1", "5", "2", "6"]',
        where=LAUNCHED,
    )
    emulator: tuple[int, ...] = key(
        kinds.CPUS,
        (),
        "The host's CPUs for QEMU's other threads.",
        example='"0,4"',
        where=LAUNCHED,
    )
    isolate: bool = key(
        kinds.FLAG,
        False,
        "Keep the host's programs off the pinned CPUs while the guest runs.",
        where=LAUNCHED,
    )


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory. All of it is pinned while a GPU is in the guest."""

    size: int = key(_MEMORY, 4 << 30, "How much.", example='"8G"')
    hugepages: str = key(
        choice("none", "2M", "1G"),
        "none",
        "Use huge pages, which have to be set apart on the host.",
    )
    lock: bool = key(
        kinds.FLAG, False, "Lock QEMU's own memory too, so that nothing of it is swapped out."
    )


@dataclass(frozen=True, slots=True)
class Firmware:
    """Firmware: OVMF, found through QEMU's descriptors, or SeaBIOS."""

    kind: str = key(choice("uefi", "bios"), "uefi", "UEFI (OVMF) or legacy (SeaBIOS).")
    secure_boot: bool = key(
        kinds.FLAG, False, "Take an OVMF with Secure Boot and Microsoft's keys, as Windows 11 asks."
    )
    code: str = key(
        kinds.PATH,
        "",
        "OVMF's image, where not the one that QEMU's descriptors name.",
        example='"/usr/share/OVMF/OVMF_CODE_4M.fd"',
    )
    template: str = key(
        kinds.PATH,
        "",
        "What the VM's own variables are copied from; goes with `code`.",
        example='"/usr/share/OVMF/OVMF_VARS_4M.fd"',
    )
    vars: str = key(
        kinds.PATH,
        "",
        "The VM's own copy of the variables (NVRAM). It is `NAME.vm/vars.fd` beside the profile.",
        example='"resources/OVMF_VARS.fd"',
    )
    reset: bool = key(
        kinds.FLAG,
        False,
        "Copy the variables anew at each start: a guest that hangs at the firmware's logo after a "
        "crash may need that once.",
        where=HOST_FILES,
    )


@dataclass(frozen=True, slots=True)
class Hide:
    """What the guest's driver shall not see, and what Windows shall."""

    kvm: bool = key(kinds.FLAG, True, "Hide KVM's signature. NVIDIA's drivers before R465 need it.")
    vendor_id: str = key(
        kinds.VENDOR_ID,
        "1234567890a",
        'The Hyper-V vendor id. Old NVIDIA drivers refuse Microsoft\'s; "" leaves it as it is.',
    )
    hyperv: tuple[str, ...] = key(
        list_of(choice(*HYPERV)),
        ("relaxed", "vapic", "spinlocks", "time"),
        "Hyper-V features that make Windows faster. Without any the vendor id is not shown.",
    )


@dataclass(frozen=True, slots=True)
class Acpi:
    """ACPI tables that QEMU adds to its own; docs/acpi.md says what they do."""

    battery: bool = key(kinds.FLAG, False, "An AC adapter and a battery.")
    vbios: bool = key(kinds.FLAG, False, "Hand out `gpu.rom` by the method _ROM.")
    vbios_by: str = key(
        choice("tables", "fw_cfg"),
        "tables",
        "Whether the ROM is in tables, or in a file of fw_cfg: slower, no limit.",
    )
    vbios_rom: str = key(
        kinds.PATH, "", "The ROM for _ROM, where not `gpu.rom`.", example='"vbios.rom"'
    )
    chassis: str = key(
        choice("none", "notebook", "laptop", "portable"),
        "none",
        "The kind of machine that SMBIOS names.",
    )
    tables: tuple[str, ...] = key(
        list_of(kinds.PATH), (), "More tables (AML).", example='["ssdt.aml"]'
    )


@dataclass(frozen=True, slots=True)
class Tpm:
    """A TPM, which Windows 11 asks for."""

    kind: str = key(
        choice("none", "emulator", "host"),
        "none",
        "swtpm's, or the host's own, which the host then lacks.",
    )
    version: str = key(choice("2.0", "1.2"), "2.0", "Of the emulator.")
    model: str = key(choice("crb", "tis"), "crb", "What the guest sees; 1.2 needs `tis`.")


@dataclass(frozen=True, slots=True)
class Smbios:
    """What the guest's firmware says that the machine is."""

    manufacturer: str = key(kinds.TEXT, "", "The machine's maker.", example='"Acer"')
    product: str = key(kinds.TEXT, "", "Its model.", example='"Nitro AN515-51"')
    version: str = key(kinds.TEXT, "", "Its version.", example='"V1.20"')
    serial: str = key(kinds.TEXT, "", "Its serial number.", example='"0001"')
    sku: str = key(kinds.TEXT, "", "Its order number.", example='"SKU"')
    family: str = key(kinds.TEXT, "", "Its family.", example='"Nitro 5"')
    bios_vendor: str = key(kinds.TEXT, "", "The firmware's maker.", example='"Insyde Corp."')
    bios_version: str = key(kinds.TEXT, "", "The firmware's version.", example='"V1.20"')
    board_manufacturer: str = key(kinds.TEXT, "", "The board's maker.", example='"KBL"')
    board_product: str = key(kinds.TEXT, "", "The board's model.", example='"Freed_KLS"')


@dataclass(frozen=True, slots=True)
class FwCfg:
    """A file or text that the guest's firmware and tables can read. Several may stand there."""

    name: str = key(
        kinds.FW_CFG_NAME, "", "Its name.", example='"opt/org.example/file"', required=True
    )
    file: str = key(kinds.PATH, "", "The file.", example='"data.bin"')
    text: str = key(kinds.TEXT, "", "The text, in place of `file`.", example='"1"')


@dataclass(frozen=True, slots=True)
class Qemu:
    """QEMU itself."""

    arguments: tuple[str, ...] = key(
        list_of(kinds.TEXT, distinct=False),
        (),
        "More arguments, word by word, as they are.",
        example='["-device", "virtio-rng-pci"]',
    )
