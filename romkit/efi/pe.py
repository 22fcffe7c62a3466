"""PE images: what the UEFI driver in a ROM says of itself, and which bytes of it are signed.

Microsoft PE format; UEFI specification 2.10, section 2.1.1. Read here rather than with pefile,
which takes 23 ms to start and collects the whole process's garbage for each image it refuses
(measured: 55 ms in a process as large as a test run).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from romkit.efi.text import ascii_text
from romkit.errors import MalformedRom, RomError
from romkit.layout.efi import (
    CHECK_SUM_AT,
    E_LFANEW,
    E_LFANEW_AT,
    IMAGE_DATA_DIRECTORY,
    IMAGE_DEBUG_DIRECTORY,
    IMAGE_DIRECTORY_ENTRY_DEBUG,
    IMAGE_DIRECTORY_ENTRY_SECURITY,
    IMAGE_SECTION_HEADER,
    OPTIONAL_HEADER_MAGIC,
    OPTIONAL_HEADER_PE32,
    OPTIONAL_HEADER_PE32_PLUS,
    PE32,
    PE32_PLUS,
    PE_FILE_HEADER,
)
from romkit.layout.lens import read

#: UEFI specification, 2.1.1, in its own short names (3.5.1.1: the names of BOOT{…}.EFI).
MACHINES = {
    0x014C: "IA32",
    0x0200: "IA64",
    0x01C0: "ARM",
    0x01C2: "ARM",
    0x0EBC: "EBC",
    0x5032: "RISCV32",
    0x5064: "RISCV64",
    0x5128: "RISCV128",
    0x6232: "LOONGARCH32",
    0x6264: "LOONGARCH64",
    0x8664: "X64",
    0xAA64: "AA64",
}

SUBSYSTEMS = {
    0x0A: "EFI application",
    0x0B: "EFI boot service driver",
    0x0C: "EFI runtime driver",
    0x0D: "EFI ROM",
}

#: By magic.
OPTIONAL_HEADERS = {PE32: OPTIONAL_HEADER_PE32, PE32_PLUS: OPTIONAL_HEADER_PE32_PLUS}

#: What the Windows loader allows; real drivers have three to seven.
MAX_SECTIONS = 96

_DEBUG_TYPE_CODEVIEW = 2
_MAX_DEBUG_ENTRIES = 16
#: CodeView signature → bytes in front of the path.
_CODEVIEW_PATH_AT = {b"RSDS": 24, b"NB10": 16, b"NB09": 16}
_LONGEST_PATH = 1024


def machine_name(machine: int) -> str:
    """UEFI's short name of a machine type, or the number in hex."""
    return MACHINES.get(machine, f"{machine:#06x}")


def subsystem_name(subsystem: int) -> str:
    """The name of a subsystem, or the number in hex."""
    return SUBSYSTEMS.get(subsystem, f"{subsystem:#04x}")


@dataclass(frozen=True, slots=True)
class Section:
    """One section.

    Attributes:
        name: as in the header, up to eight characters; "" where the header has none.
        virtual_address: from the image base, bytes.
        virtual_size: bytes in memory.
        offset: in the file, bytes.
        size: in the file, bytes.
    """

    name: str
    virtual_address: int
    virtual_size: int
    offset: int
    size: int

    def __repr__(self) -> str:
        return f"<Section {self.name!r} {self.size:#x} bytes @{self.offset:#x}>"


@dataclass(frozen=True, slots=True)
class PeFacts:
    """The headers of a PE image.

    Attributes:
        machine: machine type.
        subsystem: 0x0B boot service driver, 0x0C runtime driver.
        pe32_plus: True for PE32+ (64 bit), False for PE32.
        time_date_stamp: seconds since 1970, or whatever the linker put there; often 0.
        entry_point: from the image base, bytes.
        size_of_image: bytes in memory.
        check_sum: as stated; 0 where the linker made none.
        sections: in the order of the header.
        security: (file offset, bytes) of the attribute certificate table, or None.
        pdb: path of the debug symbols as the linker wrote it, or None.
    """

    machine: int
    subsystem: int
    pe32_plus: bool
    time_date_stamp: int
    entry_point: int
    size_of_image: int
    check_sum: int
    sections: tuple[Section, ...]
    security: tuple[int, int] | None
    pdb: str | None

    @property
    def machine_name(self) -> str:
        """X64, AA64, IA32, EBC … or the number in hex."""
        return machine_name(self.machine)

    @property
    def subsystem_name(self) -> str:
        """In words, or the number in hex."""
        return subsystem_name(self.subsystem)

    def __repr__(self) -> str:
        kind = "PE32+" if self.pe32_plus else "PE32"
        return (
            f"<PeFacts {kind} {self.machine_name} {self.subsystem_name},"
            f" {len(self.sections)} sections, {self.size_of_image:#x} bytes>"
        )


def read_pe(pe: bytes) -> PeFacts | None:
    """The headers of `pe`, or None where it is no PE image or they do not fit. Never raises.

    A section table that is cut is read as far as it goes, at most `MAX_SECTIONS` of it.
    """
    try:
        headers = _read_headers(pe)
    except RomError:
        return None
    optional = headers.optional
    sections = tuple(_sections(pe, headers))
    security = headers.directory(pe, IMAGE_DIRECTORY_ENTRY_SECURITY)
    return PeFacts(
        machine=headers.file.machine,
        subsystem=optional.subsystem,
        pe32_plus=optional.magic == PE32_PLUS,
        time_date_stamp=headers.file.time_date_stamp,
        entry_point=optional.address_of_entry_point,
        size_of_image=optional.size_of_image,
        check_sum=optional.check_sum,
        sections=sections,
        security=security if all(security) else None,
        pdb=_pdb(pe, sections, *headers.directory(pe, IMAGE_DIRECTORY_ENTRY_DEBUG)),
    )


@dataclass(frozen=True, slots=True)
class _Headers:
    """The headers as construct reads them.

    Attributes:
        start: of the optional header, bytes from the start of the file.
        file: PE_FILE_HEADER.
        optional: OPTIONAL_HEADER_PE32 or OPTIONAL_HEADER_PE32_PLUS.
        directories: where the data directories start.
    """

    start: int
    file: Any
    optional: Any
    directories: int

    def directory_at(self, index: int) -> int | None:
        """Where data directory `index` stands, or None where there are fewer."""
        if index >= self.optional.number_of_rva_and_sizes:
            return None
        return self.directories + index * IMAGE_DATA_DIRECTORY.sizeof()

    def directory(self, pe: bytes, index: int) -> tuple[int, int]:
        """(address, size) of data directory `index`; zeros where it is not there."""
        at = self.directory_at(index)
        if at is None or at + IMAGE_DATA_DIRECTORY.sizeof() > len(pe):
            return 0, 0
        entry = read(IMAGE_DATA_DIRECTORY, pe, at, "data directory")
        return entry.virtual_address, entry.size


def _read_headers(pe: bytes) -> _Headers:
    if pe[:2] != b"MZ":
        raise MalformedRom(f"no DOS header: found {pe[:2].hex(' ')}", 0)
    at = read(E_LFANEW, pe, E_LFANEW_AT, "DOS header").e_lfanew
    file = read(PE_FILE_HEADER, pe, at, "PE header")
    start = at + PE_FILE_HEADER.sizeof()
    magic = read(OPTIONAL_HEADER_MAGIC, pe, start, "optional header").magic
    layout = OPTIONAL_HEADERS.get(magic)
    if layout is None:
        raise MalformedRom(f"an optional header of unknown magic {magic:#x}", start)
    optional = read(layout, pe, start, "optional header")
    return _Headers(start, file, optional, start + layout.sizeof())


def _sections(pe: bytes, headers: _Headers) -> Iterator[Section]:
    step = IMAGE_SECTION_HEADER.sizeof()
    start = headers.start + headers.file.size_of_optional_header
    for index in range(min(headers.file.number_of_sections, MAX_SECTIONS)):
        at = start + index * step
        if at + step > len(pe):
            return
        f = read(IMAGE_SECTION_HEADER, pe, at, "section header")
        yield Section(
            name=ascii_text(f.name),
            virtual_address=f.virtual_address,
            virtual_size=f.virtual_size,
            offset=f.pointer_to_raw_data,
            size=f.size_of_raw_data,
        )


def _pdb(pe: bytes, sections: tuple[Section, ...], address: int, size: int) -> str | None:
    """The path in the first CodeView entry of the debug directory, or None."""
    at = _file_offset(sections, address)
    step = IMAGE_DEBUG_DIRECTORY.sizeof()
    for index in range(min(size // step, _MAX_DEBUG_ENTRIES)):
        if at + (index + 1) * step > len(pe):
            return None
        entry = read(IMAGE_DEBUG_DIRECTORY, pe, at + index * step, "debug directory")
        if entry.type != _DEBUG_TYPE_CODEVIEW:
            continue
        start = entry.pointer_to_raw_data
        path_at = _CODEVIEW_PATH_AT.get(pe[start : start + 4])
        if path_at is not None:
            limit = min(entry.size_of_data, _LONGEST_PATH)
            return ascii_text(pe[start + path_at : start + limit]) or None
    return None


def _file_offset(sections: tuple[Section, ...], address: int) -> int:
    """Where an address from the image base stands in the file. Headers map to themselves."""
    for section in sections:
        if 0 <= address - section.virtual_address < section.size:
            return address - section.virtual_address + section.offset
    return address


@dataclass(frozen=True, slots=True)
class SignedRanges:
    """The places of a PE image that its signature leaves out. Offsets are in the file, bytes.

    Attributes:
        check_sum: of the four byte CheckSum field.
        directory: of the eight byte entry that points to the certificate table; None where the
            image has too few data directories for one.
        table: where the certificate table starts; 0 for none.
        table_size: bytes.
    """

    check_sum: int
    directory: int | None
    table: int
    table_size: int


def read_signed_ranges(pe: bytes) -> SignedRanges | None:
    """Where CheckSum, certificate directory and certificate table are, or None where `pe` is no
    PE image or its headers do not fit."""
    try:
        headers = _read_headers(pe)
    except RomError:
        return None
    check_sum = headers.start + CHECK_SUM_AT
    entry = headers.directory_at(IMAGE_DIRECTORY_ENTRY_SECURITY)
    if entry is None:
        return SignedRanges(check_sum, None, 0, 0)
    return SignedRanges(check_sum, entry, *headers.directory(pe, IMAGE_DIRECTORY_ENTRY_SECURITY))
