"""A ROM as files: one for each of its parts, and a manifest that says how they go together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from romkit.image import OptionRom
from romkit.rom import Rom

PartKind: TypeAlias = Literal["container", "image", "tail", "driver", "certificate", "manifest"]

#: Parts of these kinds, one behind the other, are the ROM; the others are taken out of them.
TILES: frozenset[PartKind] = frozenset({"container", "image", "tail"})

MANIFEST = "manifest.toml"

#: Version of the manifest's form.
FORMAT = 1

#: More certificates of one image than this are not written.
_MOST_CERTIFICATES = 64

_SHORT_NAMES = {0x00: "x86", 0x01: "openfirmware", 0x02: "parisc", 0x03: "efi", 0x70: "nbsi"}
_SHORT_NAMES[0xE0] = "fwsec"


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a split ROM.

    Attributes:
        name: a file name without directories, the same for the same ROM; in their alphabetical
            order the tiles are the ROM.
        kind: what it is.
        data: its contents.
        title: a few words for people.
        offset: where it was in the file; None for what was made from other parts.
    """

    name: str
    kind: PartKind
    data: bytes = field(repr=False)
    title: str
    offset: int | None = None

    @property
    def sha256(self) -> str:
        """SHA-256 of `data`, hex digits."""
        return hashlib.sha256(self.data).hexdigest()

    def as_json(self) -> dict[str, str | int | None]:
        """What it is, without its contents."""
        return {
            "kind": self.kind,
            "title": self.title,
            "offset": self.offset,
            "size": len(self.data),
            "sha256": self.sha256,
        }

    def __repr__(self) -> str:
        return f"<Part {self.name} {len(self.data):#x} bytes: {self.title}>"


def split(rom: Rom) -> tuple[Part, ...]:
    """Take a ROM apart. `romkit.edit.join.join` puts it together again, byte for byte.

    Returns:
        Container, images and tail, which tile the file; the decompressed driver of each EFI image
        that has one (``.efi``), and the certificates of its signatures (``.der``); the manifest.
    """
    parts = tuple(_parts(rom))
    manifest = _manifest(rom, parts)
    return (*parts, Part(MANIFEST, "manifest", manifest.encode("utf-8"), "how they go together"))


def _parts(rom: Rom) -> Iterator[Part]:
    number = 0
    if rom.rom_offset:
        title = f"{rom.container.title} container" if rom.container else "what precedes the ROM"
        yield Part("00-container.bin", "container", rom.data[: rom.rom_offset], title, 0)
    for number, image in enumerate(rom.images, start=1):
        yield from _image_parts(number, image)
    tail = rom.data[rom.rom_end :]
    if tail:
        kinds = dict.fromkeys(p.kind.value for p in rom.tail or ())
        title = "behind the images: " + ", ".join(kinds) if rom.images else "no image is known"
        yield Part(f"{number + 1:02}-tail.bin", "tail", tail, title, rom.rom_end)


def _image_parts(number: int, image: OptionRom) -> Iterator[Part]:
    kind = _SHORT_NAMES.get(image.code_type, f"type{image.code_type:02x}")
    stem = f"{number:02}-image-{image.code_type:02x}-{kind}"
    yield Part(f"{stem}.rom", "image", bytes(image), f"{image!r}"[1:-1], image.offset)
    if image.efi is None or image.efi.pe is None:
        return
    efi = image.efi
    yield Part(f"{stem}.efi", "driver", image.efi.pe, f"{efi.machine_name} {efi.subsystem_name}")
    certificates = [c for s in efi.signatures for c in s.certificates]
    seen: set[bytes] = set()
    for certificate in certificates[:_MOST_CERTIFICATES]:
        if certificate.der not in seen:
            seen.add(certificate.der)
            name = f"{stem}.certificate-{len(seen)}.der"
            yield Part(name, "certificate", certificate.der, certificate.subject)


def _manifest(rom: Rom, parts: tuple[Part, ...]) -> str:
    lines = [
        "# A ROM in parts. `romkit join` puts the container, the images and the tail together in",
        "# the order in which they stand here; drivers and certificates are for reading only.",
        "",
        f"format = {FORMAT}",
        f"size = {len(rom.data)}",
        f'sha256 = "{rom.sha256}"',
    ]
    for part in parts:
        lines += ["", "[[part]]", f"file = {_quoted(part.name)}", f'kind = "{part.kind}"']
        lines.append(f"title = {_quoted(part.title)}")
        if part.offset is not None:
            lines.append(f"offset = {part.offset:#x}")
        lines += [f"size = {len(part.data)}", f'sha256 = "{part.sha256}"']
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """`text` as a TOML basic string: JSON's, but for the one character that TOML escapes too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
