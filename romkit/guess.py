"""What bytes that are not an option ROM may be instead, and what to do with them."""

from __future__ import annotations

import codecs
import re

from romkit.container import NVFW_OFFSETS, read_nvgi, read_vfct
from romkit.errors import NotARom, RomError

_FIND = "the ROM may be inside: `romkit find` it"

#: (offset, bytes that stand there, what it is, what to do)
_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"PK\x03\x04", "a ZIP archive", "look inside with `romkit find`"),
    (0, b"\x1f\x8b", "a gzip file", "look inside with `romkit find`"),
    (0, b"\xfd7zXZ\0", "an xz file", "look inside with `romkit find`"),
    (4, b"1AY&SY", "a bzip2 file", "look inside with `romkit find`"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (0, b"Rar!\x1a\x07", "a RAR archive", "unpack it first"),
    (0, b"\x7fELF", "an ELF program", ""),
    (0, b"regf", "a Windows registry hive", _FIND),
    (40, b"_FVH", "a UEFI firmware volume", _FIND),
    (16, b"\x5a\xa5\xf0\x0f", "a flash image with an Intel descriptor", _FIND),
    (0, b"PFS.HDR.", "a Dell PFS update", _FIND),
    (8, b"AMIPFAT", "an AMI PFAT capsule", _FIND),
    (0, b"\xbd\x86\x66\x3b\x76\x0d\x30\x40", "a UEFI capsule", _FIND),
    (0, b"\xed\xd5\xcb\x6d\x2d\xe8\x44\x4c", "a UEFI firmware update capsule", _FIND),
    (0, b"%PDF", "a PDF document", ""),
    (0, b"\x89PNG", "a PNG picture", ""),
)

#: Signatures so short that text starts with them too.
_SHORT: tuple[tuple[bytes, str, str], ...] = (
    (b"MZ", "a PE program (Windows or UEFI)", _FIND),
    (b"VN", "a sub-image of an NVIDIA ROM without its structure", "dump the whole ROM"),
)

#: What a text starts with, in small letters.
_TEXTS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("<!doctype html", "<html"), "a web page", "download the file itself, not its page"),
    (("windows registry editor", "regedit4"), "an exported registry text", _FIND),
)
_HTML = (b"<!doctype", b"<html")

#: Bytes that are looked at to tell text from data.
_HEAD = 4096
_ACPI = (b"SSDT", b"DSDT", b"FACP", b"APIC", b"MCFG", b"XSDT", b"RSDT", b"DMAR", b"IVRS")


def not_a_rom(data: bytes) -> NotARom:
    """The error for bytes in which no option ROM starts, as helpful as the bytes allow."""
    if not data:
        return NotARom("the file is empty", hint="dump the ROM again", guess="an empty file")
    for value, meaning in ((0xFF, "asleep, off the bus or not decoding"), (0x00, "not decoding")):
        if data.count(value) == len(data):
            return NotARom(
                f"every byte is {value:02X}: the device was {meaning} when it was read",
                0,
                hint="wake the device (D0), enable its ROM, and dump again",
                guess=f"a blank file of {value:02X}",
            )
    guess, hint = _guess(data)
    found = data[:2].hex(" ").upper()
    message = f"not an option ROM: it starts with {found}, and no 55 AA in it leads to a PCIR"
    if guess:
        message = f"not an option ROM but {guess}"
    return NotARom(message, 0, hint=hint, guess=guess)


def _guess(data: bytes) -> tuple[str, str]:
    for offset, signature, what, hint in _SIGNATURES:
        if data.startswith(signature, offset):
            return what, hint
    container = _container(data)
    if container:
        whole = "read the whole table" if data[:4] == b"VFCT" else "dump the whole flash"
        return container, f"{whole} again: this is cut off, or damaged"
    if data[:64].lstrip().lower().startswith(_HTML):
        return _TEXTS[0][1:]
    if data[:4] in _ACPI:
        return f"an ACPI table ({data[:4].decode('ascii')})", "VBIOSes live in the VFCT table"
    if data[:2] == b"\xaa\x55":
        return "a ROM with its bytes swapped", "swap each pair of bytes"
    text = _text(data)
    if text is not None:
        for starts, what, hint in _TEXTS:
            if text.lstrip().lower().startswith(starts):
                return what, hint
        return "a text file", "if it is a hex dump, turn it back into bytes first (xxd -r)"
    for signature, what, hint in _SHORT:
        if data.startswith(signature):
            return what, hint
    return "", _FIND


def _container(data: bytes) -> str:
    """What container starts here, and why it leads to no ROM; "" where none does."""
    reason = ""
    try:
        if data[:4] == b"NVGI":
            read_nvgi(data, 0)
        elif data[:4] == b"VFCT":
            reason = _short_table(data)
            read_vfct(data)
        elif any(data.startswith(b"NVFW", at) for at in NVFW_OFFSETS):
            return "the front of an NVFW container: no ROM directory in it leads to an image"
        else:
            return ""
    except RomError as err:
        reason = reason or err.message
    kind = data[:4].decode("ascii")
    article = "an" if kind == "NVGI" else "a"
    why = reason or "the ROM that it names cannot be read"
    return f"the front of {article} {kind} container ({why}; the file has {len(data)} bytes)"


def _short_table(data: bytes) -> str:
    stated = int.from_bytes(data[4:8], "little") if len(data) >= 8 else None
    if stated is None or stated <= len(data):
        return ""
    return f"the table states {stated} bytes"


def _text(data: bytes) -> str | None:
    """The first characters, if they are text: UTF-16 with its mark, or UTF-8."""
    head = data[:_HEAD]
    codec = _MARKS.get(head[:2], "utf-8-sig")
    try:
        text = codecs.getincrementaldecoder(codec)().decode(head, len(head) == len(data))
    except UnicodeDecodeError:
        return None
    return None if not text or _CONTROL.search(text) else text


#: Byte order mark → codec. Exported registry keys have one.
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}

#: No text has these. Escape is let through: terminal logs do.
_CONTROL = re.compile("[^\\t\\n\\f\\r\\x1b\\x20-\\x7e\\x85\\xa0-\\U0010ffff]")
