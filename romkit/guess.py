"""What bytes that are not an option ROM may be instead, and what to do with them."""

from __future__ import annotations

from romkit.errors import NotARom

_FIND = "the ROM may be inside: `romkit find` it"

#: (offset, bytes that stand there, what it is, what to do)
_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"PK\x03\x04", "a ZIP archive", "look inside with `romkit find`"),
    (0, b"\x1f\x8b", "a gzip file", "look inside with `romkit find`"),
    (0, b"\xfd7zXZ\0", "an xz file", "look inside with `romkit find`"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (0, b"Rar!\x1a\x07", "a RAR archive", "unpack it first"),
    (0, b"MZ", "a PE program (Windows or UEFI)", _FIND),
    (0, b"\x7fELF", "an ELF program", ""),
    (0, b"regf", "a Windows registry hive", _FIND),
    (0, b"Windows Registry Editor", "an exported registry text", _FIND),
    (40, b"_FVH", "a UEFI firmware volume", _FIND),
    (16, b"\x5a\xa5\xf0\x0f", "a flash image with an Intel descriptor", _FIND),
    (0, b"PFS.HDR.", "a Dell PFS update", _FIND),
    (8, b"AMIPFAT", "an AMI PFAT capsule", _FIND),
    (0, b"\xbd\x86\x66\x3b\x76\x0d\x30\x40", "a UEFI capsule", _FIND),
    (0, b"\xed\xd5\xcb\x6d\x2d\xe8\x44\x4c", "a UEFI firmware update capsule", _FIND),
    (0, b"%PDF", "a PDF document", ""),
    (0, b"\x89PNG", "a PNG picture", ""),
    (0, b"<!DOCTYPE", "a web page", "download the file itself, not its page"),
    (0, b"<html", "a web page", "download the file itself, not its page"),
    (0, b"VN", "a sub-image of an NVIDIA ROM without its structure", "dump the whole ROM"),
)
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
        if data[offset : offset + len(signature)].lower() == signature.lower():
            return what, hint
    if data[:4] in _ACPI:
        return f"an ACPI table ({data[:4].decode('ascii')})", "VBIOSes live in the VFCT table"
    if data[:2] == b"\xaa\x55":
        return "a ROM with its bytes swapped", "swap each pair of bytes"
    head = data[:4096]
    if not head.translate(None, _TEXT):
        return "a text file", "if it is a hex dump, turn it back into bytes first (xxd -r)"
    return "", ""


# ASCII only: bytes above 0x7F are as common in firmware as in text.
_TEXT = bytes([*range(0x20, 0x7F), 0x09, 0x0A, 0x0D, 0x1B])
