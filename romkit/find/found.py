"""What a search finds: a ROM, and the places where it lay."""

from __future__ import annotations

from dataclasses import dataclass

from romkit.lazy import cache_field, lazy
from romkit.rom import Rom

#: What may stand in a file name without being quoted anywhere; the rest becomes an underscore.
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-")
_LONGEST_VERSION = 40


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ROM lay.

    Attributes:
        path: the way to it, outermost first, e.g. ``("BIOS region 0x500000", "volume … 0x510000",
            "LZMA section 0x510060", "file 0afcdd7a-…", "raw section 0x1c")``. The numbers count
            from the start of the searched bytes, or of what was unpacked last.
        offset: of the ROM, counted in the same way.
        packed: something had to be unpacked on the way.
    """

    path: tuple[str, ...]
    offset: int
    packed: bool

    def __str__(self) -> str:
        return " > ".join((*self.path, f"{self.offset:#x}"))


@dataclass(frozen=True, slots=True)
class Found:
    """A ROM that was found, once, with all its places.

    Attributes:
        rom: read from the found bytes alone: its first image starts at 0, its last image ends
            where they end. What contained it (NVGI, VFCT …) is named in the places.
        where: every place; those first where it lies as it is, then those where it is packed.
    """

    rom: Rom
    where: tuple[Place, ...]
    _cache: dict[str, object] = cache_field()

    @property
    def data(self) -> bytes:
        """The ROM, from its first image to the end of its chain."""
        return self.rom.data

    def __bytes__(self) -> bytes:
        return self.rom.data

    @property
    def offset(self) -> int | None:
        """Where it starts in the searched bytes; None where it had to be unpacked."""
        return next((place.offset for place in self.where if not place.packed), None)

    @property
    def missing(self) -> int:
        """Bytes that its images claim beyond what is there: not 0 where it was cut off."""
        lengths = (
            image.offset
            + max(image.pcir.image_length, (image.npde and image.npde.subimage_length) or 0)
            for image in self.rom.images
        )
        return max(0, max(lengths) - len(self.data))

    @property
    def complete(self) -> bool:
        """One of its chains ends with an image that says that it is the last."""
        return self.rom.pcir_chain.complete or self.rom.npde_chain.complete

    @property
    def ids(self) -> tuple[tuple[int, int], ...]:
        """Every (vendor, device) that its images name, in their order, each once."""
        pairs = [
            (image.pcir.vendor_id, device)
            for image in self.rom.images
            for device in (image.pcir.device_id, *image.device_list)
        ]
        return tuple(dict.fromkeys(pairs))

    @property
    def version(self) -> str | None:
        """The version of its VBIOS, or of its GOP driver where there is no VBIOS."""
        return self._version

    @lazy
    def _version(self) -> str | None:
        legacy = self.rom.legacy
        if legacy is not None:
            if legacy.nvidia is not None and legacy.nvidia.version:
                return legacy.nvidia.version
            if legacy.atom is not None and (legacy.atom.version or legacy.atom.part_number):
                return legacy.atom.version or legacy.atom.part_number
            if legacy.vbt is not None and legacy.vbt.build_number:
                return legacy.vbt.build_number
        for image in self.rom.efi_images:
            if image.efi is not None and image.efi.gop is not None and image.efi.gop.version:
                return image.efi.gop.version
        return None

    @property
    def name(self) -> str:
        """A file name without its suffix: vendor-device_version_start of the SHA-256.

        E.g. ``10de-1c8d_86.07.66.00.08_1a2b3c4d``; without the version where it says none.
        """
        pcir = self.rom.images[0].pcir
        parts = [f"{pcir.vendor_id:04x}-{pcir.device_id:04x}"]
        if self.version:
            plain = "".join(c if c in _PLAIN else "_" for c in self.version)
            parts.append(plain.strip("._-")[:_LONGEST_VERSION])
        parts.append(self.rom.sha256[:8])
        return "_".join(part for part in parts if part)

    def __repr__(self) -> str:
        vendor, device = self.ids[0]
        more = f" and {len(self.where) - 1} more" if len(self.where) > 1 else ""
        return f"<Found {vendor:04x}:{device:04x} {len(self.data):#x} bytes @{self.where[0]}{more}>"
