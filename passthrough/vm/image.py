"""What is on a disk image or a medium, as far as somebody who writes over it should know.

qcow2 is read as QEMU's docs/interop/qcow2.txt has it, media as ECMA-119 and the El Torito
specification 1.0 have them.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from passthrough.errors import PassthroughError

#: Bytes at a disk's start that are looked at: btrfs' superblock is the last that is known here.
_START = 0x10080
#: Bytes of one table of a qcow2 image; that of 64 TB has 1 MB.
_TABLE = 32 << 20

#: File systems and containers that have no partition table: where they say what they are.
_SIGNATURES = (
    (0, b"LUKS\xba\xbe", "a LUKS volume"), (3, b"NTFS    ", "an NTFS file system"),
    (54, b"FAT", "a FAT file system"), (82, b"FAT32", "a FAT file system"),
    (0, b"XFSB", "an XFS file system"), (0x438, b"\x53\xef", "an ext file system"),
    (0x10040, b"_BHRfS_M", "a btrfs file system"), (0x218, b"LVM2 001", "a volume of LVM"),
    (4086, b"SWAPSPACE2", "swap space"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Image:
    """A disk, as a guest sees it.

    Attributes:
        size: bytes.
        empty: whether nothing was ever written to it.
        start: its first bytes; None where they cannot be read here.
    """

    size: int
    empty: bool
    start: bytes | None

    @property
    def holds(self) -> str:
        """What is on it, in words; empty if nothing is known of it."""
        if self.empty:
            return ""
        if self.start is None:
            return "data that cannot be looked into"
        return what_starts(self.start)


def what_starts(start: bytes) -> str:
    """What a disk holds that starts so, in words; empty if nothing that is known."""
    # GPT's header is in the second block, of either size (UEFI 2.10, 5.3.2).
    if b"EFI PART" in (start[512:520], start[4096:4104]):
        return "a GPT partition table"
    for place, sign, words in _SIGNATURES:
        if start[place : place + len(sign)] == sign:
            return words
    if start[510:512] == b"\x55\xaa":
        entries = [start[446 + 16 * n : 462 + 16 * n] for n in range(4)]
        kinds = [entry[4] for entry in entries if entry[0] in (0, 0x80) and any(entry[12:16])]
        if any(kinds):
            return "an MBR partition table"
    return ""


def read_image(path: str, form: str) -> Image | None:
    """A disk; None where there is none.

    Args:
        path: of the file or device.
        form: ``raw`` or ``qcow2``.

    Raises:
        PassthroughError: it cannot be read, or is no image of this format.
    """
    try:
        with _opened(path) as stream:
            return _qcow2(stream, path) if form == "qcow2" else _raw(stream)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PassthroughError(f"{path}: {(error.strerror or str(error)).lower()}") from None


def _opened(path: str) -> BinaryIO:
    """A file or block device, and nothing that would make us wait."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        os.close(fd)
        raise PassthroughError(f"{path}: neither a file nor a block device")
    return os.fdopen(fd, "rb")


def _raw(stream: BinaryIO) -> Image:
    status = os.fstat(stream.fileno())
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    # A file without blocks is all holes.
    empty = stat.S_ISREG(status.st_mode) and status.st_blocks == 0
    return Image(size, empty, stream.read(_START))


def _qcow2(stream: BinaryIO, path: str) -> Image:
    head = stream.read(104).ljust(104, b"\0")
    magic, version, backing = struct.unpack_from(">4sIQ", head)
    bits, size, crypt, entries, table = struct.unpack_from(">IQIIQ", head, 20)
    features = struct.unpack_from(">Q", head, 72)[0] if version > 2 else 0
    if magic != b"QFI\xfb":
        raise PassthroughError(f"{path}: no qcow2 image", hint='disk.format = "raw"?')
    if not 9 <= bits <= 21 or entries * 8 > _TABLE:
        raise PassthroughError(f"{path}: a damaged qcow2 image", hint="qemu-img check")
    first = _entries(stream, table, entries)
    empty = not any(first) and not backing
    start = None
    # Encrypted, a data file of its own, or finer tables: others know what is in there.
    if not (backing or crypt or features & 0b10100):
        start = _start(stream, first, bits)
    return Image(size, empty, start)


def _entries(stream: BinaryIO, place: int, count: int) -> tuple[int, ...]:
    stream.seek(place)
    data = stream.read(8 * count).ljust(8 * count, b"\0")
    return struct.unpack(f">{count}Q", data)


#: Of an entry of a table: where what it names is.
_OFFSET = 0x00FFFFFFFFFFFE00
_COMPRESSED, _ZERO = 1 << 62, 1


def _start(stream: BinaryIO, first: tuple[int, ...], bits: int) -> bytes | None:
    """The first bytes that a guest reads; None where they are compressed."""
    cluster = 1 << bits
    count = -(-_START // cluster)
    # A table of the second kind is as large as a cluster, and names an eighth of its bytes.
    tables = -(-count // (cluster // 8))
    second: list[int] = []
    for entry in first[:tables]:
        place = entry & _OFFSET
        second += _entries(stream, place, cluster // 8) if place else (0,) * (cluster // 8)
    found = bytearray()
    for entry in second[:count]:
        if entry & _COMPRESSED:
            return None
        place = entry & _OFFSET
        if place and not entry & _ZERO:
            stream.seek(place)
            found += stream.read(cluster).ljust(cluster, b"\0")
        else:
            found += bytes(cluster)
    return bytes(found[:_START])


@dataclass(frozen=True, slots=True)
class Medium:
    """A CD or DVD as a file.

    Attributes:
        size: its bytes.
        claims: the bytes that its file system says it has; 0 where it says none.
        known: whether it has a file system of such media.
        starts: what machines start from it: ``bios``, ``uefi``.
    """

    size: int
    claims: int
    known: bool
    starts: tuple[str, ...]


_SECTOR = 2048
_EL_TORITO = b"\0CD001\1EL TORITO SPECIFICATION"


def read_medium(path: str) -> Medium:
    """What a medium is.

    Raises:
        PassthroughError: it cannot be read.
    """
    try:
        with _opened(path) as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(16 * _SECTOR)
            sectors = stream.read(32 * _SECTOR)
            claims = 0
            starts: tuple[str, ...] = ()
            names = {sectors[n + 1 : n + 6] for n in range(0, len(sectors), _SECTOR)}
            if sectors[:6] == b"\1CD001":
                claims = struct.unpack_from("<I", sectors, 80)[0] * _SECTOR
            if sectors[_SECTOR : _SECTOR + len(_EL_TORITO)] == _EL_TORITO:
                stream.seek(struct.unpack_from("<I", sectors, _SECTOR + 71)[0] * _SECTOR)
                starts = _platforms(stream.read(_SECTOR))
            # Windows' media are UDF, with ISO 9660 for those who do not know it.
            return Medium(size, claims, bool(names & {b"CD001", b"NSR02", b"NSR03"}), starts)
    except OSError as error:
        raise PassthroughError(f"{path}: {(error.strerror or str(error)).lower()}") from None


def _platforms(catalog: bytes) -> tuple[str, ...]:
    """The machines that a boot catalog has entries for."""
    kinds = {catalog[1]} if catalog[:1] == b"\1" else set()
    place = 64
    while catalog[place : place + 1] in (b"\x90", b"\x91"):  # a section; 91 is the last
        kinds.add(catalog[place + 1])
        place += 32 * (1 + struct.unpack_from("<H", catalog, place + 2)[0])
    return tuple(name for name, kind in (("bios", 0), ("uefi", 0xEF)) if kind in kinds)


def free_space(folder: str) -> int | None:
    """Bytes that a user may still write there; None where that is not known.

    Where the folder is not there yet, the next one above counts.
    """
    place = Path(folder)
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        found = os.statvfs(place)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
