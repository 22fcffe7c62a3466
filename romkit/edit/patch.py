"""New ids for a ROM: vendor, device, class, subsystem, device list, wherever it states the old."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from romkit.checks.content import DECIMAL_AMD, SWAPPED_VENDORS
from romkit.checks.device import DeviceId, subsystems
from romkit.container import ContainerKind
from romkit.edit.chains import Placed, keep_container_sum, mend_sums, set_ids, sum8
from romkit.edit.edit import Edit
from romkit.edit.notes import copy_notes, signature_notes
from romkit.edit.proof import nothing_to_do, prove
from romkit.edit.work import Work
from romkit.edit.wrap import MOST_DEVICES
from romkit.errors import EditRefused
from romkit.header import CodeType
from romkit.image import OptionRom
from romkit.layout.nvidia import LEGACY_SUBSYSTEM_AT
from romkit.rom import Rom, parse_rom

_ATOM_SUBSYSTEM_AT = 0x18
_NVGI_SUBSYSTEM_AT = 0x0C

_VFCT_IDS_AT = 0x0C


def patch(
    rom: Rom,
    *,
    vendor: int | None = None,
    device: int | None = None,
    class_code: int | None = None,
    subsystem: tuple[int, int] | None = None,
    device_list: Sequence[int] | None = None,
    expect: DeviceId | None = None,
) -> Edit:
    """Replace ids in every image and header that carries the old ones.

    The old ids are those of the first x86 image, else of the first image. Images that carry
    others are left alone and noted. Sums stay what they were: where they were right they are.

    Args:
        rom: the ROM.
        vendor: new vendor id.
        device: new device id.
        class_code: new class code, 24 bits.
        subsystem: new (vendor, device) of the board, in NPDE, NVGI, ATOM and legacy headers, and
            a VFCT's entry: wherever the old one stands.
        device_list: further device ids that an EFI image supports (PCIR revision 3); empty for
            none. It has to fit where a list is, or into the unused bytes of the image's header, and
            can be taken away where it could be given back.
        expect: refuse unless the ROM is for this device; subsystem and class are compared where
            they are given.

    Raises:
        EditRefused: the ROM is for another device than expected, does not state what is to be
            replaced, has no room for the list, or cannot be balanced.
    """
    _check_values(vendor, device, class_code, subsystem, device_list)
    if not rom.images:
        raise EditRefused("no PCI data structure: this ROM states no ids", rom.rom_offset)
    main = rom.legacy or rom.images[0]
    old_subsystem = next((ids for _, ids in subsystems(rom)), None)
    _check_expected(main, old_subsystem, expect)
    work = Work(rom.data)
    notes: list[str] = []
    if vendor is not None or device is not None:
        notes += _patch_ids(work, rom, main, vendor, device)
    if class_code is not None:
        _patch_class(work, rom, main, class_code)
    if subsystem is not None:
        if old_subsystem is None:
            raise EditRefused("the ROM states no subsystem, so there is none to replace")
        _patch_subsystem(work, rom, old_subsystem, subsystem)
    if device_list is not None:
        _patch_device_list(work, rom, device_list)
    if not work.changes():
        return nothing_to_do(rom, "nothing to patch: the ROM has these values already")
    problems = mend_sums(work, [Placed(i, i.offset) for i in rom.images], to_zero=False)
    if problems:
        raise EditRefused(problems[0], reasons=problems)
    keep_container_sum(work, rom)
    notes += _sum_notes(work, rom)
    notes += copy_notes(rom)
    # Who asks for a wrong vendor by its number has a reason: to undo a fix, or to test.
    asked_for = {"rom.vendor-03ea"} if vendor == DECIMAL_AMD else set[str]()
    if vendor in SWAPPED_VENDORS:
        asked_for.add("rom.vendor-swapped")
    # No byte of the x86 image can keep its own sum and that of a range with other ids in it.
    if any(_covers_efi(rom, image) for image in rom.images):
        asked_for.add("rom.checksum")
    notes += signature_notes(rom, work.changes())
    return prove(rom, work, asked_for=asked_for, notes=notes)


def _check_values(
    vendor: int | None,
    device: int | None,
    class_code: int | None,
    subsystem: tuple[int, int] | None,
    device_list: Sequence[int] | None,
) -> None:
    words = [v for v in (vendor, device, *(subsystem or ()), *(device_list or ())) if v is not None]
    if not all(0 <= v <= 0xFFFF for v in words):
        raise EditRefused("vendor, device and subsystem ids have 16 bits")
    if class_code is not None and not 0 <= class_code <= 0xFFFFFF:
        raise EditRefused("a class code has 24 bits")
    if device_list is not None and (0 in device_list or len(device_list) > MOST_DEVICES):
        raise EditRefused(f"a device list has at most {MOST_DEVICES} ids, and none of them is zero")


def _check_expected(
    main: OptionRom, old_subsystem: tuple[int, int] | None, expect: DeviceId | None
) -> None:
    if expect is None:
        return
    pcir = main.pcir
    found = [(f"{pcir.vendor_id:04x}:{pcir.device_id:04x}", str(expect), "it is for")]
    if expect.subsystem is not None:
        found.append((_pair(old_subsystem), _pair(expect.subsystem), "its subsystem is"))
    if expect.class_code is not None:
        found.append((f"{pcir.class_code:06x}", f"{expect.class_code:06x}", "its class is"))
    wrong = [f"{what} {is_}, not {wanted}" for is_, wanted, what in found if is_ != wanted]
    if wrong:
        raise EditRefused(
            f"this is not the ROM you expect: {wrong[0]}",
            pcir.offset + 4,
            hint="look at it with `romkit parse`, and check that it is the right file",
            reasons=tuple(wrong),
        )


def _pair(ids: tuple[int, int] | None) -> str:
    return "not stated" if ids is None else f"{ids[0]:04x}:{ids[1]:04x}"


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "little")


# Section: ids and class


def _patch_ids(
    work: Work, rom: Rom, main: OptionRom, vendor: int | None, device: int | None
) -> list[str]:
    old = (main.pcir.vendor_id, main.pcir.device_id)
    for image in rom.images:
        pcir = image.pcir
        new_vendor = vendor if pcir.vendor_id == old[0] else None
        same = (pcir.vendor_id, pcir.device_id) == old
        if new_vendor is not None:
            set_ids(work, image.offset, f"vendor {old[0]:04x} → {new_vendor:04x}", vendor=vendor)
        if same and device is not None:
            set_ids(work, image.offset, f"device {old[1]:04x} → {device:04x}", device=device)
    for entry in rom.container.vfct_images if rom.container else ():
        if entry.rom_offset == rom.rom_offset:
            at, was = entry.offset + _VFCT_IDS_AT, (entry.vendor_id, entry.device_id)
            reason = "the VFCT's entry for it"
            if was == old:
                new = (old[0] if vendor is None else vendor, old[1] if device is None else device)
                work.write(at, _u16(new[0]) + _u16(new[1]), reason)
    return [
        f"the {i.code_type_name} image at {i.offset:#x} is left as it is: it is for "
        f"{i.pcir.vendor_id:04x}:{i.pcir.device_id:04x}"
        for i in rom.images
        if i.code_type in (CodeType.PCAT, CodeType.EFI)
        and (i.pcir.vendor_id, i.pcir.device_id) != old
    ]


def _patch_class(work: Work, rom: Rom, main: OptionRom, class_code: int) -> None:
    old = main.pcir.class_code
    for image in rom.images:
        if image.pcir.class_code == old:
            reason = f"class {old:06x} → {class_code:06x}"
            work.write(image.pcir.offset + 0x0D, class_code.to_bytes(3, "little"), reason)


# Section: subsystem


def _patch_subsystem(work: Work, rom: Rom, old: tuple[int, int], new: tuple[int, int]) -> None:
    content = _u16(new[0]) + _u16(new[1])
    change = f"{old[0]:04x}:{old[1]:04x} → {new[0]:04x}:{new[1]:04x}"
    around = rom.container
    if around is not None and around.kind is ContainerKind.NVGI and around.subsystem == old:
        at = around.offset + _NVGI_SUBSYSTEM_AT
        work.write(at, content, f"subsystem of the NVGI header, {change}")
    for entry in around.vfct_images if around is not None else ():
        stated = (entry.subsystem_vendor_id, entry.subsystem_id)
        if entry.rom_offset == rom.rom_offset and stated == old:
            at = entry.offset + _VFCT_IDS_AT + 4
            work.write(at, content, f"subsystem of the VFCT's entry, {change}")
    for image in rom.images:
        if image.npde is not None and image.npde.subsystem == old:
            work.write(image.npde.offset + 0x10, content, f"subsystem of the NPDE, {change}")
        if image.nvidia is not None and image.nvidia.subsystem == old:
            at = image.offset + LEGACY_SUBSYSTEM_AT
            work.write(at, content, f"subsystem of the VBIOS, {change}")
        if image.atom is not None and image.atom.subsystem == old:
            at = image.offset + image.atom.rom_header.offset + _ATOM_SUBSYSTEM_AT
            work.write(at, content, f"subsystem of the ATOM header, {change}")


# Section: device list


def _patch_device_list(work: Work, rom: Rom, devices: Sequence[int]) -> None:
    """Put the list where one is; where none is, into the header of each EFI image."""
    listed = [i for i in rom.images if i.device_list]
    images = listed or [i for i in rom.efi_images if i.pcir.structure_revision >= 3]
    if not images and devices:
        raise EditRefused("no image of this ROM can hold a device list (PCIR revision 3)")
    reason = f"device list: {', '.join(f'{d:04x}' for d in devices) or 'none'}"
    for image in images:
        room = _list_room(image)
        if devices and 2 * len(devices) + 2 > room.size:
            raise EditRefused(
                f"the {image.code_type_name} image has room for {max(room.size // 2 - 1, 0)} "
                f"device ids, not for {len(devices)}",
                image.offset,
                hint="make a new image of its driver with `romkit join`, giving `--device` and "
                "`--device-list`",
            )
        content = room.content(devices)
        work.write(room.at, content, reason)
        pointer = room.at - image.pcir.offset if devices else 0
        work.write(image.pcir.offset + 8, _u16(pointer), reason)
        if not devices and image.device_list and not _can_return(work, image, room):
            raise EditRefused(
                f"the device list of the {image.code_type_name} image could not be given back: "
                "nothing would say how much room it had",
                image.offset,
                hint=f"a list of nothing but {image.pcir.device_id:04x}, its own id, says as "
                "little",
            )


def _can_return(work: Work, image: OptionRom, room: _Room) -> bool:
    """Whether a list that was taken away would come to the same place again."""
    images = parse_rom(bytes(work.data)).images
    after = next((i for i in images if i.offset == image.offset), None)
    if after is None or after.efi is None:
        return False
    again = _list_room(after)
    return again.at == room.at and again.size >= room.used


@dataclass(frozen=True, slots=True)
class _Room:
    """Where a device list may stand.

    Attributes:
        at: bytes from the start of the file.
        size: bytes, the list's final zero included.
        used: bytes of the list that is there.
        fill: what unused bytes of an EFI image's header hold; None in other images, where
            nothing is known of the bytes around a list.
    """

    at: int
    size: int
    used: int
    fill: int | None

    def content(self, devices: Sequence[int]) -> bytes:
        """The bytes to write for a list; a shorter list leaves room for the old one's return."""
        ids = list(devices)
        if self.fill is None:
            if not ids:
                return b""
            # What follows is not known to be free: the last id once more says nothing new.
            ids += ids[-1:] * (self.used // 2 - 1 - len(ids))
        content = b"".join(map(_u16, ids)) + bytes(2 if ids else 0)
        return content.ljust(self.used, bytes([self.fill or 0]))


def _list_room(image: OptionRom) -> _Room:
    """Where the list is or may be: in an EFI image's header, the unused bytes before the driver."""
    pcir = image.pcir
    used = 2 * len(image.device_list) + 2 if image.device_list else 0
    start = pcir.offset + pcir.device_list_pointer
    if image.efi is None:
        return _Room(start, used, used, None)
    limit = min(image.offset + image.efi.image_offset, image.end)
    starts = [start]
    if not used:
        # Where `wrap_driver` has it comes first.
        starts = [image.npde.offset + image.npde.length] if image.npde is not None else []
        starts.append(pcir.end)
    rooms = [_free(image, at + (at & 1), used, limit) for at in starts]
    return max(rooms, key=lambda room: room.size)


def _free(image: OptionRom, start: int, used: int, limit: int) -> _Room:
    """A list of `used` bytes, and the padding (00 or FF) behind it up to `limit`."""
    end = start + used
    fill = image.data[end] if end < limit and image.data[end] in (0x00, 0xFF) else 0
    while end + 2 <= limit and image.data[end : end + 2] == bytes([fill, fill]):
        if _taken(image, end):
            break
        end += 2
    return _Room(start, end - start, used, fill)


def _taken(image: OptionRom, at: int) -> bool:
    """Whether a structure of the header starts or goes on at `at`."""
    spans = [(image.offset, image.offset + 0x1A), (image.pcir.offset, image.pcir.end)]
    if image.npde is not None:
        spans.append((image.npde.offset, image.npde.offset + image.npde.length))
    return any(start <= at < end for start, end in spans)


def _covers_efi(rom: Rom, image: OptionRom) -> bool:
    """Whether an EFI image was put into the range of an x86 image, where it does not belong."""
    end = image.offset + image.pcir.image_length
    return image.code_type == CodeType.PCAT and any(
        image.offset < efi.offset < end for efi in rom.efi_images
    )


def _sum_notes(work: Work, rom: Rom) -> list[str]:
    notes = []
    for image in rom.images:
        length = image.pcir.image_length
        if image.offset + length > len(rom.data):
            continue
        now = sum8(work, image.offset, length)
        if image.code_type == CodeType.PCAT and now != image.sum8 and _covers_efi(rom, image):
            notes.append(
                f"the x86 image at {image.offset:#x} sums to {now:#04x} now: its length covers an "
                "EFI image, which nothing balances; `romkit fix` moves that to where it belongs"
            )
        elif image.code_type == CodeType.PCAT and now:
            notes.append(
                f"the x86 image at {image.offset:#x} sums to {now:#04x} as it did before; "
                "`romkit fix` makes it zero"
            )
        if image.code_type == CodeType.FWSEC and now and not image.sum8:
            notes.append(
                f"the FWSEC image at {image.offset:#x} no longer sums to zero: nothing in it is "
                "safe to change"
            )
    return notes
