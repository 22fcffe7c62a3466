"""NVIDIA: the BIOS information table (BIT) of a legacy image, and what it leads to.

Sources: NVIDIA's BIOS Information Table specification (open-gpu-doc), open-gpu-kernel-modules
(kernel_gsp_fwsec.c), envytools (nvbios/info.c), the fields that nvflash prints, and measurements
on real ROMs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from romkit.layout.nvidia import (
    BIT_BIOS_DATA,
    BIT_HEADER,
    BIT_INTERNAL_BOARD,
    BIT_INTERNAL_BOARD_AT,
    BIT_INTERNAL_USE,
    BIT_STRING_PTR,
    BIT_TOKEN,
    BIT_TOKEN_32,
    LEGACY_SUBSYSTEM_AT,
    MODIFICATION_DATE_AT,
    NPDE_SUBSYSTEM,
    VBE_PROTECTED_MODE_BLOCK,
)
from romkit.vendor.part import read_part
from romkit.vendor.strings import clean, raw_text_at, text_at

SIGNATURE = b"\xff\xb8BIT\0"

#: A real image has the signature once. A file made of nothing else must not cost more than that.
_CANDIDATES = 64

#: First byte of the version → family. Sources: envytools nvbios/info.c (05 to 80), the VBIOS
#: versions that nouveau and nvidia-smi print beside the chip's name (88, 92, 96, 97), measured
#: ROMs (the others).
_FAMILIES = {
    0x05: "Curie",
    0x60: "Tesla",
    0x62: "Tesla",
    0x75: "Fermi",
    0x80: "Kepler",
    0x82: "Maxwell 1",
    0x84: "Maxwell 2",
    0x86: "Pascal",
    0x88: "Volta",
    0x90: "Turing",
    0x92: "Ampere",
    0x94: "Ampere",
    0x95: "Ada",
    0x96: "Hopper",
    0x97: "Blackwell",
    0x98: "Blackwell",
}

#: The last Tesla chips and the first Fermi chips share 70: the second byte (the chip) decides.
_FAMILIES_OF_70 = {
    **dict.fromkeys((0x15, 0x16, 0x18, 0x89), "Tesla"),
    **dict.fromkeys((0x00, 0x04, 0x06, 0x08, 0x10, 0x24, 0x26), "Fermi"),
}

#: Data version of token 'S' → the strings in their order (specification, BIT_STRING_PTRS).
_STRING_NAMES = {
    1: ("sign_on", "oem_string", "oem_vendor", "oem_product", "oem_revision"),
    2: (
        "sign_on",
        "printed_version",
        "copyright",
        "oem_string",
        "oem_vendor",
        "oem_product",
        "oem_revision",
    ),
}


@dataclass(frozen=True, slots=True)
class BitToken:
    """One entry of the BIT: where a data structure is.

    Attributes:
        id: the token's letter, or its number as 0xNN where it is not printable.
        data_version: version of the data structure.
        data_size: bytes.
        data_offset: bytes from the start of the legacy image; 0 means that there is no data.
    """

    id: str
    data_version: int
    data_size: int
    data_offset: int

    def __repr__(self) -> str:
        return (
            f"<BitToken {self.id} version {self.data_version}"
            f" @{self.data_offset:#x}+{self.data_size:#x}>"
        )


@dataclass(frozen=True, slots=True)
class Bit:
    """The BIOS information table.

    Attributes:
        offset: bytes from the start of the legacy image.
        bcd_version: 0x0100 is 1.00.
        header_size: bytes.
        token_size: bytes.
        tokens: as many of the announced entries as the image holds.
    """

    offset: int
    bcd_version: int
    header_size: int
    token_size: int
    tokens: tuple[BitToken, ...] = field(repr=False)

    def token(self, token_id: str) -> BitToken | None:
        """The first token of that letter that has data, or None."""
        return next((t for t in self.tokens if t.id == token_id and t.data_offset), None)

    def __repr__(self) -> str:
        major, minor = self.bcd_version >> 8, self.bcd_version & 0xFF
        return f"<Bit {major:x}.{minor:02x} {len(self.tokens)} tokens @{self.offset:#x}>"


@dataclass(frozen=True, slots=True)
class NvidiaVbios:
    """What a legacy NVIDIA image says of itself. Whatever is not there is None.

    Attributes:
        bit: the table that everything below comes from.
        version: "86.06.68.00.26", from token B; the same as nvidia-smi prints.
        family: the architecture, by the version's first byte (and second, for 70).
        build_date: MM/DD/YY as it stands in token i; nvflash's "Build Date".
        modification_date: MM/DD/YY as it stands at 0x38, never before `build_date` (measured):
            the day of the last change, and the one under which ROM collections file an image.
        build_number: token i; it grows with `build_date`.
        board_id: token i, 16 bits.
        product: the first line of the sign-on message, e.g. "GP106 PG410 SKU 30 VGA BIOS".
        board: project and SKU from token i, as nvflash prints them, e.g. "G410-0030".
        chip_sku: token i, e.g. "400-0".
        subsystem: (vendor, device) at 0x54. Images up to Maxwell have it; later ones have it in
            the NPDE (and all of them in NVGI) instead. Equal to NVGI's in every image that has
            both (measured).
        sign_on: token S, as one line: what the BIOS shows at boot.
        printed_version: token S, e.g. "Version 86.06.68.00.26". Modified ROMs may disagree with
            `version` here.
        copyright: token S.
        oem_string: token S, the VBE functions' answer; so are the next three.
    """

    bit: Bit
    version: str | None
    family: str | None
    build_date: str | None
    modification_date: str | None
    build_number: int | None
    board_id: int | None
    product: str | None
    board: str | None
    chip_sku: str | None
    subsystem: tuple[int, int] | None
    sign_on: str | None
    printed_version: str | None
    copyright: str | None
    oem_string: str | None
    oem_vendor: str | None
    oem_product: str | None
    oem_revision: str | None

    def __repr__(self) -> str:
        parts = [self.version or "no version", self.family, self.board]
        return f"<NvidiaVbios {' '.join(part for part in parts if part)}>"


def read_nvidia(image: bytes) -> NvidiaVbios | None:
    """Read NVIDIA's structures in a legacy image.

    Args:
        image: the image from its 55 AA on, as far as its declared length or the file goes.

    Returns:
        None where no valid BIT is in it (identifier, signature, and a header that sums to zero).
    """
    bit = _find_bit(image)
    if bit is None:
        return None
    version, family = _version(image, bit)
    strings = _strings(image, bit)
    internal = _internal_use(image, bit)
    return NvidiaVbios(
        bit=bit,
        version=version,
        family=family,
        build_date=internal.build_date,
        modification_date=_date(image[MODIFICATION_DATE_AT : MODIFICATION_DATE_AT + 8]),
        build_number=internal.build_number,
        board_id=internal.board_id,
        product=strings.get("product"),
        board=internal.board,
        chip_sku=internal.chip_sku,
        subsystem=_subsystem(image),
        sign_on=strings.get("sign_on"),
        printed_version=strings.get("printed_version"),
        copyright=strings.get("copyright"),
        oem_string=strings.get("oem_string"),
        oem_vendor=strings.get("oem_vendor"),
        oem_product=strings.get("oem_product"),
        oem_revision=strings.get("oem_revision"),
    )


def _find_bit(image: bytes) -> Bit | None:
    at = -1
    for _ in range(_CANDIDATES):
        at = image.find(SIGNATURE, at + 1)
        if at < 0:
            return None
        header = read_part(BIT_HEADER, image, at)
        if header is None:
            return None
        raw = image[at : at + header.header_size]
        # A size that does not cover the header's own fields cannot vouch for them.
        if len(raw) == header.header_size >= BIT_HEADER.sizeof() and sum(raw) & 0xFF == 0:
            return Bit(
                offset=at,
                bcd_version=header.bcd_version,
                header_size=header.header_size,
                token_size=header.token_size,
                tokens=_tokens(
                    image, at + header.header_size, header.token_size, header.token_entries
                ),
            )
    return None


def _tokens(image: bytes, start: int, size: int, entries: int) -> tuple[BitToken, ...]:
    # NVIDIA's driver does the same: 8 and more means wide pointers, less than 6 nothing at all.
    layout = BIT_TOKEN_32 if size >= BIT_TOKEN_32.sizeof() else BIT_TOKEN
    if size < layout.sizeof():
        return ()
    tokens = []
    for index in range(entries):
        token = read_part(layout, image, start + index * size)
        if token is None:
            break
        letter = chr(token.token_id)
        printable = letter.isascii() and letter.isprintable()
        tokens.append(
            BitToken(
                id=letter if printable else f"{token.token_id:#04x}",
                data_version=token.data_version,
                data_size=token.data_size,
                data_offset=token.data_pointer,
            )
        )
    return tuple(tokens)


def _version(image: bytes, bit: Bit) -> tuple[str | None, str | None]:
    token = bit.token("B")
    if token is None or token.data_size < BIT_BIOS_DATA.sizeof():
        return None, None
    data = read_part(BIT_BIOS_DATA, image, token.data_offset)
    if data is None:
        return None, None
    digits = (*data.bios_version.to_bytes(4, "big"), data.bios_oem_version)
    family = _FAMILIES_OF_70.get(digits[1]) if digits[0] == 0x70 else _FAMILIES.get(digits[0])
    return ".".join(f"{digit:02X}" for digit in digits), family


def _strings(image: bytes, bit: Bit) -> dict[str, str | None]:
    token = bit.token("S")
    if token is None:
        return {}
    found: dict[str, str | None] = {}
    width = BIT_STRING_PTR.sizeof()
    names = _STRING_NAMES.get(token.data_version, ())
    for index, name in enumerate(names[: token.data_size // width]):
        string = read_part(BIT_STRING_PTR, image, token.data_offset + index * width)
        if string is None or string.pointer == 0:
            continue
        found[name] = text_at(image, string.pointer, string.size)
        if name == "sign_on":
            message = raw_text_at(image, string.pointer, string.size) or b""
            lines = (clean(line) for line in message.splitlines())
            found["product"] = next((line for line in lines if line), None)
    return found


@dataclass(frozen=True, slots=True)
class _Internal:
    """Token i, as far as it goes."""

    build_date: str | None = None
    build_number: int | None = None
    board_id: int | None = None
    board: str | None = None
    chip_sku: str | None = None


def _internal_use(image: bytes, bit: Bit) -> _Internal:
    token = bit.token("i")
    if token is None or token.data_version != 2 or token.data_size < BIT_INTERNAL_USE.sizeof():
        return _Internal()
    data = read_part(BIT_INTERNAL_USE, image, token.data_offset)
    if data is None:
        return _Internal()
    board = chip_sku = None
    if token.data_size >= BIT_INTERNAL_BOARD_AT + BIT_INTERNAL_BOARD.sizeof():
        names = read_part(BIT_INTERNAL_BOARD, image, token.data_offset + BIT_INTERNAL_BOARD_AT)
        if names is not None:
            board = _joined(names.project, names.project_sku)
            chip_sku = _joined(names.chip_sku, names.chip_sku_modifier)
    return _Internal(_date(data.build_date), data.build_number, data.board_id, board, chip_sku)


def _joined(first: bytes, second: bytes) -> str | None:
    """Two fields with a dash between; zeros fill what a field does not use."""
    return "-".join(text for text in (clean(first), clean(second)) if text) or None


def _date(raw: bytes) -> str | None:
    """MM/DD/YY as printed, None where something else stands there."""
    digits = raw[0:2] + raw[3:5] + raw[6:8]
    if len(raw) != 8 or raw[2:3] != b"/" or raw[5:6] != b"/" or not digits.isdigit():
        return None
    return raw.decode("ascii")


def _subsystem(image: bytes) -> tuple[int, int] | None:
    raw = image[LEGACY_SUBSYSTEM_AT : LEGACY_SUBSYSTEM_AT + 4]
    ids = read_part(NPDE_SUBSYSTEM, image, LEGACY_SUBSYSTEM_AT)
    if ids is None or raw in (VBE_PROTECTED_MODE_BLOCK, bytes(4), b"\xff" * 4):
        return None
    return ids.subsystem_vendor_id, ids.subsystem_id
