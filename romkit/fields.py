"""What an image says, as a flat list of names and values: for tables and for comparing.

Structures and fields have the specifications' own names. Lengths and offsets are numbers of
bytes, offsets counted from the start of the image, so that the same image at another place in a
file gives the same list. Ids, classes, versions and digests are hex digits as lspci prints them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from romkit.efi.driver import EfiDriver
    from romkit.header import Npde
    from romkit.image import OptionRom
    from romkit.vendor.amd import AtomBios
    from romkit.vendor.intel import Vbt
    from romkit.vendor.nvidia import NvidiaVbios

#: None: the structure has no such field, or it cannot be read.
Value: TypeAlias = int | str | bool | None


@dataclass(frozen=True, slots=True)
class Field:
    """One field of one structure of an image, or something read from the image as a whole.

    Attributes:
        structure: "header", "PCIR" (NPDS and RGIS too), "NPDE", "EFI header", "GOP" and so on.
        name: the specification's name.
        value: numbers of bytes and flags as numbers, everything else as text.
    """

    structure: str
    name: str
    value: Value

    def __repr__(self) -> str:
        return f"<Field {self.structure} {self.name} = {self.value!r}>"


def header_fields(image: OptionRom) -> tuple[Field, ...]:
    """ROM header, PCI data structure and NPDE: nothing is decompressed for them."""
    pcir = image.pcir
    header: list[tuple[str, Value]] = [
        ("signature", image.signature.hex()),
        ("initialization_size", image.initialization_size),
        ("pci_data_structure_pointer", pcir.offset - image.offset),
    ]
    structure: list[tuple[str, Value]] = [
        ("signature", pcir.signature.decode("ascii", "replace")),
        ("vendor_id", f"{pcir.vendor_id:04x}"),
        ("device_id", f"{pcir.device_id:04x}"),
        ("device_list_pointer", pcir.device_list_pointer),
        ("device_list", " ".join(f"{device:04x}" for device in image.device_list) or None),
        ("structure_length", pcir.structure_length),
        ("structure_revision", pcir.structure_revision),
        ("class_code", f"{pcir.class_code:06x}"),
        ("image_length", pcir.image_length),
        ("vendor_rom_revision", pcir.vendor_rom_revision),
        ("code_type", pcir.code_type),
        ("indicator", pcir.indicator),
        ("max_runtime_image_length", pcir.max_runtime_image_length),
        ("config_utility_code_header_pointer", pcir.config_utility_code_header_pointer),
        ("dmtf_clp_entry_point_pointer", pcir.dmtf_clp_entry_point_pointer),
    ]
    return (
        *_fields("header", header),
        *_fields("PCIR", structure),
        *(_fields("NPDE", _npde(image.npde, image.offset)) if image.npde else ()),
    )


def readings(image: OptionRom) -> tuple[Field, ...]:
    """What lies deeper: EFI header, GOP, signature, vendor tables. Decompresses an EFI driver."""
    fields = [Field("image", "sum8", image.sum8)]
    efi, nvidia, atom, vbt = image.efi, image.nvidia, image.atom, image.vbt
    if efi is not None:
        fields += _fields("EFI header", _efi_header(efi))
        fields += _fields("EFI driver", _efi_driver(efi))
        if efi.gop is not None:
            gop = efi.gop
            rows = [(name, getattr(gop, name)) for name in ("vendor", "version", "description")]
            fields += _fields("GOP", rows)
        for number, signature in enumerate(efi.signatures):
            digest = signature.signed_digest
            fields += _fields(
                f"signature {number}" if number else "signature",
                [
                    ("digest_algorithm", signature.digest_algorithm),
                    ("signed_digest", digest.hex() if digest else None),
                    ("signer", signature.signer),
                    ("issuing_ca", signature.issuing_ca),
                ],
            )
    if nvidia is not None:
        fields += _fields("NVIDIA", _nvidia(nvidia))
    if atom is not None:
        fields += _fields("ATOM", _atom(atom))
    if vbt is not None:
        fields += _fields("VBT", _vbt(vbt, image.offset))
    return tuple(fields)


def _fields(structure: str, rows: list[tuple[str, Value]]) -> Iterator[Field]:
    return (Field(structure, name, value) for name, value in rows)


def _npde(npde: Npde, base: int) -> list[tuple[str, Value]]:
    gop = npde.gop_version
    return [
        ("offset", npde.offset - base),
        ("revision", npde.revision),
        ("length", npde.length),
        ("subimage_length", npde.subimage_length),
        ("last", npde.last),
        ("flags", npde.flags),
        ("gop_version", None if gop is None else f"{gop:08x}"),
        ("subsystem", _ids(npde.subsystem)),
    ]


def _efi_header(efi: EfiDriver) -> list[tuple[str, Value]]:
    return [
        ("efi_signature_ok", efi.signature_ok),
        ("efi_subsystem", efi.subsystem),
        ("efi_machine_type", f"{efi.machine:04x}"),
        ("compression_type", efi.compression),
        ("efi_image_header_offset", efi.image_offset),
    ]


def _efi_driver(efi: EfiDriver) -> list[tuple[str, Value]]:
    return [
        ("gop_role", efi.gop_role.value),
        ("decompresses", efi.decompresses),
        ("undecodable", efi.undecodable or None),
        ("pe_size", None if efi.pe is None else len(efi.pe)),
        ("pe_sha256", efi.pe_sha256),
        ("signed", efi.signed),
        ("digest_ok", efi.digest_ok),
    ]


def _nvidia(nvidia: NvidiaVbios) -> list[tuple[str, Value]]:
    number = nvidia.build_number
    return [
        ("version", nvidia.version),
        ("family", nvidia.family),
        ("build_date", nvidia.build_date),
        ("modification_date", nvidia.modification_date),
        ("build_number", None if number is None else str(number)),
        ("board_id", nvidia.board_id),
        ("product", nvidia.product),
        ("board", nvidia.board),
        ("chip_sku", nvidia.chip_sku),
        ("subsystem", _ids(nvidia.subsystem)),
        ("printed_version", nvidia.printed_version),
        ("sign_on", nvidia.sign_on),
        ("bit_offset", nvidia.bit.offset),
        ("bit_tokens", " ".join(token.id for token in nvidia.bit.tokens)),
    ]


def _atom(atom: AtomBios) -> list[tuple[str, Value]]:
    header = atom.rom_header
    revision = f"{header.table_format_revision}.{header.table_content_revision}"
    return [
        ("rom_header_offset", header.offset),
        ("rom_header_revision", revision),
        ("subsystem", _ids(atom.subsystem)),
        ("date", atom.date),
        ("part_number", atom.part_number),
        ("strings", ", ".join(atom.strings) or None),
        ("bootup_message", atom.bootup_message),
        ("version", atom.version),
        ("config_filename", atom.config_filename),
        ("build", atom.build),
    ]


def _vbt(vbt: Vbt, base: int) -> list[tuple[str, Value]]:
    return [
        ("offset", vbt.offset - base),
        ("platform", vbt.platform),
        ("version", str(vbt.version)),
        ("vbt_size", vbt.vbt_size),
        ("bdb_version", None if vbt.bdb_version is None else str(vbt.bdb_version)),
        ("build_number", vbt.build_number),
        ("sign_on", vbt.sign_on),
    ]


def _ids(pair: tuple[int, int] | None) -> str | None:
    return None if pair is None else f"{pair[0]:04x}:{pair[1]:04x}"
