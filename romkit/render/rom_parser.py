"""The output format of awilliam's rom-parser, for scripts that read it.

Written from its printed output. Where rom-parser fails on a ROM that can be read (containers
with a false 55 AA, images that no chain reaches), this prints the images that are there.
"""

from __future__ import annotations

from romkit.header import CodeType
from romkit.image import OptionRom
from romkit.rom import Rom

TYPES = {0: " (x86 PC-AT)", 3: " (EFI)"}
SUBSYSTEMS = {0x0B: "Boot", 0x0C: "Runtime"}
MACHINES = {
    0x014C: "IA32",
    0x0200: "Itanium",
    0x0EBC: "EFI Byte Code",
    0x8664: "X64",
    0x01C2: "ARM",
    0xAA64: "ARM 64-bit",
}


def rom_parser_text(rom: Rom) -> tuple[str, bool]:
    """The images up to the first that is marked as the last.

    Returns:
        The text, and whether such a last image is there (rom-parser fails without one).
    """
    lines: list[str] = []
    for image in rom.images:
        if image.signature != b"\x55\xaa":
            continue
        lines += _image(image)
        if image.last:
            lines.append("\tLast image")
            return "\n".join(lines), True
    lines.append("Error, ran off the end")
    return "\n".join(lines), False


def _image(image: OptionRom) -> list[str]:
    pcir = image.pcir
    pointer = pcir.offset - image.offset
    lines = [
        f"Valid ROM signature found @{image.offset:x}h, PCIR offset {pointer:x}h",
        f"\tPCIR: type {pcir.code_type:x}{TYPES.get(pcir.code_type, '')}, "
        f"vendor: {pcir.vendor_id:04x}, device: {pcir.device_id:04x}, class: {pcir.class_code:06x}",
        f"\tPCIR: revision {pcir.structure_revision:x}, "
        f"vendor revision: {pcir.vendor_rom_revision:x}",
    ]
    efi = image.efi
    if pcir.code_type == CodeType.EFI and efi is not None:
        text = "\t\tEFI: Signature Valid" if efi.signature_ok else "\t\tEFI: Signature NOT Valid"
        if efi.signature_ok:
            subsystem = SUBSYSTEMS.get(efi.subsystem, f"Unknown ({efi.subsystem:x})")
            machine = MACHINES.get(efi.machine, f"Unknown ({efi.machine:x})")
            text += f", Subsystem: {subsystem}, Machine: {machine}"
        lines.append(text)
    return lines
