"""AMD: an ATOM ROM header and the texts around it. Source of the layouts: romkit.layout.amd."""

from __future__ import annotations

from romkit.errors import RecipeError
from romkit.layout.amd import (
    ATOM_ROM_HEADER,
    ATOM_ROM_HEADER_POINTER,
    ATOM_ROM_HEADER_POINTER_AT,
    DATE_AT,
    DATE_SIZE,
    MAGIC,
    MAGIC_AT,
    NUMBER_OF_STRINGS_AT,
    PART_NUMBER_AT,
    STRINGS_POINTER,
    STRINGS_POINTER_AT,
    VERSION_PREFIX,
)
from romkit.recipe.model import AtomRecipe
from romkit.recipe.pieces import Pieces
from romkit.vendor.strings import REAL_MODE_SEGMENT

_DEFAULT_REVISION = "2.3"

#: Revision of the ROM header → its size, in bytes (measured).
_SIZES = {"1.1": 36, "2.2": 40, "2.3": 44}


def put_atom(pieces: Pieces, atom: AtomRecipe) -> None:
    """Add the header and its texts.

    Raises:
        RecipeError: there is no room for them, or two keys exclude each other.
    """
    if atom.strings and atom.part_number is not None:
        raise RecipeError(
            f"{pieces.path}.atom.part_number: expected only without strings, which begin with it"
        )
    strings = atom.strings or ()
    size = ATOM_ROM_HEADER.sizeof()
    at = pieces.place(atom.offset, size, "atom", within=REAL_MODE_SEGMENT)

    def text(data: bytes, what: str) -> int:
        return pieces.put(None, data, what, within=REAL_MODE_SEGMENT)

    # The prefix must stand within the first kilobyte: it is put before all longer texts.
    if atom.version is not None:
        text(VERSION_PREFIX + _zero_ended(atom.version), "atom.version")
    config = bootup = names = 0
    if atom.config_filename or atom.build:
        texts = _zero_ended(atom.config_filename or "") + b"\0" + _zero_ended(atom.build or "")
        config = text(texts, "atom.config_filename")
    if atom.bootup_message is not None:
        bootup = text(_zero_ended(atom.bootup_message), "atom.bootup_message")
    if strings:
        names = text(b"".join(map(_zero_ended, strings)), "atom.strings")

    revision = atom.revision or _DEFAULT_REVISION
    major, _, minor = revision.partition(".")
    vendor, device = atom.subsystem or (0, 0)
    structure_size = _SIZES.get(revision, size)
    pieces.write(
        at,
        ATOM_ROM_HEADER.build(
            {
                "structure_size": (
                    structure_size if atom.structure_size is None else atom.structure_size
                ),
                "table_format_revision": int(major),
                "table_content_revision": int(minor),
                "firmware_signature": b"ATOM",
                "bios_runtime_seg_address": 0,
                "protected_mode_info_offset": 0,
                "config_filename_offset": config,
                "crc_block_offset": 0,
                "bios_bootup_message_offset": bootup,
                "int10_offset": 0,
                "pci_bus_dev_init_code": 0,
                "io_base_address": 0,
                "subsystem_vendor_id": vendor,
                "subsystem_id": device,
                "pci_info_offset": 0,
                "master_command_table_offset": 0,
                "master_data_table_offset": 0,
                "extended_function_code": 0,
                "reserved": 0,
            }
        ),
    )
    pointer = ATOM_ROM_HEADER_POINTER.build({"rom_header_offset": at})
    pieces.put(ATOM_ROM_HEADER_POINTER_AT, pointer, "atom")
    pieces.put(STRINGS_POINTER_AT, STRINGS_POINTER.build({"strings_offset": names}), "atom")
    pieces.put(NUMBER_OF_STRINGS_AT, bytes([len(strings)]), "atom.strings")
    pieces.put(MAGIC_AT, MAGIC, "atom")
    date = (atom.date or "").encode("ascii")
    pieces.put(DATE_AT, date.ljust(DATE_SIZE, b"\0"), "atom.date")
    if not strings:
        # A zero where there is none: made-up bytes would be taken for one.
        pieces.put(PART_NUMBER_AT, _zero_ended(atom.part_number or ""), "atom.part_number")


def _zero_ended(text: str) -> bytes:
    return text.encode("ascii") + b"\0"
