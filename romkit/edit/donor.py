"""Whether a GOP driver from elsewhere fits a ROM."""

from __future__ import annotations

from collections.abc import Iterator

from romkit.checks.content import DECIMAL_AMD
from romkit.edit.wrap import EfiIds, wrap_again, wrap_driver
from romkit.efi.gop import NVIDIA_FAMILIES, GopRole
from romkit.errors import EditRefused
from romkit.guest import OVMF_MACHINE
from romkit.image import OptionRom
from romkit.rom import Rom, parse_rom

#: Family of a VBIOS (by its version) → what NVIDIA's GOP versions for it start with.
_GOP_SERIES = {
    "Tesla": 1,
    "Fermi": 1,
    "Kepler": 1,
    "Maxwell 1": 1,
    "Maxwell 2": 2,
    "Pascal": 3,
    "Volta": 4,
    "Turing": 5,
    "Ampere": 6,
    "Ada": 7,
    "Blackwell": 8,
}

_VENDORS = {0x1002: "AMD", DECIMAL_AMD: "AMD", 0x10DE: "NVIDIA", 0x8086: "Intel"}


def is_gop(image: OptionRom) -> bool:
    """Whether the image holds a GOP driver, or something that cannot be read and may be one."""
    efi = image.efi
    return efi is not None and efi.gop_role in (GopRole.PRODUCER, GopRole.UNKNOWN)


def read_donor(data: bytes, rom: Rom) -> Rom:
    """A donor from a file: a ROM, or a driver (``.efi``), which is wrapped for `rom`'s device.

    Raises:
        NotARom: it is neither.
        EditRefused: it is a PE image, but no driver; or it has no GOP driver that can be read.
    """
    if data[:2] == b"MZ":
        # A ROM without images takes none: that is not the donor's fault, and is said later.
        pcir = _main(rom).pcir if rom.images else None
        ids = EfiIds(pcir.vendor_id, pcir.device_id, pcir.class_code) if pcir else EfiIds(0, 0)
        data = wrap_driver(data, ids, npde=any(i.npde is not None for i in rom.images))
    donor = parse_rom(data)
    donor_images(donor)
    return donor


def donor_images(donor: Rom) -> tuple[OptionRom, ...]:
    """The GOP drivers that a donor gives: those for X64, or all where it has none for X64.

    Raises:
        EditRefused: it has none that can be read.
    """
    found = [i for i in donor.images if i.efi is not None and i.efi.gop_role is GopRole.PRODUCER]
    if not found:
        dark = [i for i in donor.images if is_gop(i)]
        why = "holds a driver that cannot be decompressed" if dark else "has no GOP driver"
        raise EditRefused(f"the donor {why}", dark[0].offset if dark else None)
    for image in found:
        if image.truncated or image.size < image.pcir.image_length:
            raise EditRefused("the donor's driver is cut off", image.offset)
    return tuple(i for i in found if _machine(i) == OVMF_MACHINE) or tuple(found)


def objections(rom: Rom, donor: Rom, images: tuple[OptionRom, ...]) -> tuple[str, ...]:
    """What speaks against putting these drivers into this ROM; all of it can be overruled."""
    reasons: list[str] = []
    for image in images:
        reasons += _machine_objection(image)
        reasons += _family_objection(rom, donor, image)
        if image.efi is not None and image.efi.digest_ok is False:
            reasons.append("the donor's driver is not what was signed: it was damaged or altered")
    return tuple(dict.fromkeys(reasons))


def _machine(image: OptionRom) -> int | None:
    return image.efi.machine if image.efi is not None else None


def _machine_objection(image: OptionRom) -> Iterator[str]:
    efi = image.efi
    if efi is not None and efi.machine != OVMF_MACHINE:
        yield f"the donor's driver is for {efi.machine_name} machines, not for X64"


def _family_objection(rom: Rom, donor: Rom, image: OptionRom) -> Iterator[str]:
    target, given = _vendor_of(rom), _driver_vendor(image)
    if target is None or given is None:
        whose = "the ROM" if target is None else "the donor's driver"
        yield f"whose GPU {whose} is for cannot be told"
        return
    if target != given:
        yield f"the donor's driver is {given}'s, the ROM is {target}'s"
        return
    if target == "NVIDIA":
        yield from _series_objection(rom, donor, image)
        return
    # Neither AMD nor Intel states a family: only the same device is known to fit.
    main = _main(rom)
    devices = (image.pcir.device_id, *image.device_list)
    if main.pcir.device_id not in devices:
        yield (
            f"the donor's driver is for device {image.pcir.device_id:04x}, the ROM for "
            f"{main.pcir.device_id:04x}, and {target} drivers do not state which family they serve"
        )


def _series_objection(rom: Rom, donor: Rom, image: OptionRom) -> Iterator[str]:
    wanted, given = series_of(rom), _driver_series(donor, image)
    if wanted is None or given is None:
        whose = "the ROM" if wanted is None else "the donor's driver"
        yield f"which family of NVIDIA's GPUs {whose} is for cannot be told"
    elif wanted != given:
        yield f"the donor's driver is for {_family(given)}, the ROM for {_family(wanted)}"


def _family(series: int) -> str:
    return NVIDIA_FAMILIES.get(series, f"family {series}")


def series_of(rom: Rom) -> int | None:
    """What the versions of NVIDIA's GOP drivers for this ROM's GPU start with, if it is known."""
    legacy = rom.legacy
    if legacy is not None and legacy.nvidia is not None and legacy.nvidia.family is not None:
        return _GOP_SERIES.get(legacy.nvidia.family)
    own = [i.efi.gop.raw for i in rom.efi_images if i.efi is not None and i.efi.gop is not None]
    return next((raw >> 16 for raw in own if raw), None)


def _driver_series(donor: Rom, image: OptionRom) -> int | None:
    gop = image.efi.gop if image.efi is not None else None
    if gop is not None and gop.raw:
        return gop.raw >> 16
    return series_of(donor)


def _driver_vendor(image: OptionRom) -> str | None:
    gop = image.efi.gop if image.efi is not None else None
    if gop is not None and gop.vendor is not None:
        return gop.vendor
    return _VENDORS.get(image.pcir.vendor_id)


def _vendor_of(rom: Rom) -> str | None:
    return _VENDORS.get(_main(rom).pcir.vendor_id)


def _main(rom: Rom) -> OptionRom:
    if not rom.images:
        raise EditRefused("no PCI data structure: firmware knows no second image of this ROM")
    return rom.legacy or rom.images[0]


def fitted(image: OptionRom, *, npde: bool) -> bytes:
    """The image's bytes; made anew around the driver where an NPDE is needed and missing.

    Raises:
        EditRefused: it cannot be.
    """
    content = image.data[image.offset : image.offset + image.pcir.image_length]
    has = image.npde is not None and image.npde.last is not None
    if has or not npde or image.efi is None:
        return content
    pcir = image.pcir
    ids = EfiIds(pcir.vendor_id, pcir.device_id, pcir.class_code, image.device_list)
    return wrap_again(image.efi, ids)
