"""GOP drivers: list, take out, put in, renew, remove.

A GOP driver has to be reached by firmware (PCIR chain) and must not cut NVIDIA's own chain; tools
that insert one behind the size byte of a mobile ROM break both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from romkit.edit.chains import (
    for_hosts,
    mend_sums,
    placed,
    relink,
    set_ids,
    set_npde_length,
    set_private_images,
)
from romkit.edit.donor import donor_images, fitted, is_gop, objections
from romkit.edit.edit import Edit
from romkit.edit.entry import edit_in_table
from romkit.edit.notes import copy_notes, signature_notes
from romkit.edit.proof import nothing_to_do, prove
from romkit.edit.room import check_container, in_table, insertion_point, room_cuts
from romkit.edit.work import Cut, Work
from romkit.efi.driver import EfiDriver
from romkit.efi.gop import Gop, GopRole
from romkit.errors import EditRefused
from romkit.guest import OVMF_MACHINE
from romkit.header import CodeType
from romkit.image import OptionRom
from romkit.rom import Rom


@dataclass(frozen=True, slots=True)
class GopEntry:
    """An EFI image, seen as a GOP driver.

    Attributes:
        number: its place among the ROM's images, from 0.
        image: the image.
        efi: its driver.
        firmware_reaches: the PCIR chain leads to it.
        driver_reaches: NVIDIA's chain leads to it.
    """

    number: int
    image: OptionRom
    efi: EfiDriver
    firmware_reaches: bool
    driver_reaches: bool

    @property
    def role(self) -> GopRole:
        """Whether it is a GOP driver at all."""
        return self.efi.gop_role

    @property
    def gop(self) -> Gop | None:
        """Whose, and which version."""
        return self.efi.gop

    def as_json(self) -> dict[str, Any]:
        """The entry as plain JSON types."""
        gop, pcir = self.gop, self.image.pcir
        return {
            "number": self.number,
            "offset": self.image.offset,
            "size": self.image.size,
            "vendor": f"{pcir.vendor_id:04x}",
            "device": f"{pcir.device_id:04x}",
            "machine": self.efi.machine_name,
            "role": self.role.value,
            "gop_vendor": gop.vendor if gop else None,
            "gop_version": gop.version if gop else None,
            "gop_family": gop.family if gop else None,
            "firmware_reaches": self.firmware_reaches,
            "driver_reaches": self.driver_reaches,
        }

    def __repr__(self) -> str:
        return f"<GopEntry image {self.number}: {self.role.value} {self.gop!r}>"


def gop_list(rom: Rom) -> tuple[GopEntry, ...]:
    """All EFI images of a ROM, GOP drivers or not."""
    return tuple(
        GopEntry(number, image, image.efi, image in rom.pcir_chain, image in rom.npde_chain)
        for number, image in enumerate(rom.images)
        if image.efi is not None
    )


def gop_extract(rom: Rom, number: int | None = None) -> Edit:
    """The GOP drivers alone, as a ROM that `gop_insert` takes.

    Args:
        rom: the ROM.
        number: of one EFI image; None takes all GOP drivers.

    Raises:
        EditRefused: there is none, or `number` is no EFI image.
    """
    entries = [e for e in gop_list(rom) if is_gop(e.image)]
    if number is not None:
        entries = [e for e in gop_list(rom) if e.number == number]
        if not entries:
            raise EditRefused(f"image {number} is no EFI image of this ROM")
    if not entries:
        raise EditRefused("the ROM has no GOP driver")
    wanted = [e.image for e in entries]
    cuts: list[Cut] = []
    at = 0
    for image in wanted:
        cuts.append(Cut(at, image.offset, b"", "not of the driver"))
        at = min(image.end, image.offset + image.pcir.image_length)
    cuts.append(Cut(at, len(rom.data), b"", "not of the driver"))
    work = Work(rom.data, cuts)
    places = [p.at for p in placed(work, wanted)]
    relink(work, places, places, ends=True)
    gone = [i for i in rom.images if not any(i is w for w in wanted)]
    return prove(rom, work, removed=gone)


def gop_insert(rom: Rom, donor: Rom, *, force: bool = False) -> Edit:
    """Put a donor's GOP driver into a ROM that has none.

    It goes where both chains reach it, gets the ROM's ids, and both chains are set; every x86
    image then sums to zero. The driver itself stays as it is, signature and all.

    Args:
        rom: the ROM.
        donor: a ROM with a GOP driver, or a driver that is a ROM of its own.
        force: take a driver for another vendor, family or machine too.

    Raises:
        EditRefused: the ROM has a GOP driver, the donor has none or one that does not fit, or
            there is no place for it.
    """
    if in_table(rom):
        return edit_in_table(rom, lambda own: gop_insert(own, donor, force=force))
    there = [i for i in rom.images if is_gop(i)]
    if there:
        raise EditRefused(
            "the ROM has a GOP driver already",
            there[0].offset,
            hint="renew it instead: `romkit gop update`",
        )
    images, notes = _judge(rom, donor, force)
    check_container(rom)
    at = insertion_point(rom)
    contents = _contents(rom, images)
    cuts = [Cut(at, at, b"".join(contents), _reason(images))]
    cuts += room_cuts(rom, sum(map(len, contents)))
    return _place(rom, cuts, at, contents, images, notes)


def gop_update(rom: Rom, donor: Rom, *, force: bool = False) -> Edit:
    """Replace the X64 GOP driver of a ROM with a donor's, at its place.

    Args:
        rom: the ROM.
        donor: a ROM with a GOP driver, or a driver that is a ROM of its own.
        force: take a driver for another vendor, family or machine too.

    Raises:
        EditRefused: the ROM has no GOP driver that firmware reaches, the donor has none or one
            that does not fit, or there is no place for it.
    """
    if in_table(rom):
        return edit_in_table(rom, lambda own: gop_update(own, donor, force=force))
    there = [i for i in rom.images if is_gop(i) and _for_x64(i)]
    if not there:
        raise EditRefused(
            "the ROM has no GOP driver to renew", hint="put one in: `romkit gop insert`"
        )
    hidden = [i for i in there if i not in rom.pcir_chain]
    if hidden:
        raise EditRefused(
            "firmware does not reach the GOP driver of this ROM",
            hidden[0].offset,
            hint="mend the chain first: `romkit fix`",
        )
    images, notes = _judge(rom, donor, force)
    if [i.efi.pe_sha256 for i in images if i.efi] == [i.efi.pe_sha256 for i in there if i.efi]:
        return nothing_to_do(rom, "nothing to update: the ROM has this very driver already")
    check_container(rom)
    insertion_point(rom)
    contents = _contents(rom, images)
    first, others = there[0], there[1:]
    cuts = [Cut(first.offset, first.end, b"".join(contents), _reason(images))]
    cuts += [Cut(i.offset, i.end, b"", "the GOP driver that was there") for i in others]
    growth = sum(map(len, contents)) - sum(i.size for i in there)
    cuts += room_cuts(rom, growth)
    notes += _version_note(there, images)
    return _place(rom, cuts, first.offset, contents, images, notes, removed=there)


def gop_remove(rom: Rom) -> Edit:
    """Take all GOP drivers out; the images in front of them become the last ones.

    Raises:
        EditRefused: there is none, or nothing would be left.
    """
    if in_table(rom):
        return edit_in_table(rom, gop_remove)
    gone = [i for i in rom.images if is_gop(i)]
    if not gone:
        raise EditRefused("the ROM has no GOP driver")
    if not [i for i in rom.images if for_hosts(i) and not is_gop(i)]:
        raise EditRefused("the ROM is a GOP driver and nothing else: nothing would be left")
    check_container(rom)
    cuts = [Cut(i.offset, i.end, b"", _removed(i)) for i in gone]
    cuts += room_cuts(rom, -sum(i.size for i in gone))
    work = Work(rom.data, cuts)
    chain = [p.at for p in placed(work, rom.npde_chain)]
    firmware = [p.at for p in placed(work, rom.pcir_chain)]
    relink(work, chain, firmware, ends=rom.npde_chain.complete)
    if not any(i.efi for i in rom.images if i not in gone):
        for own in placed(work, rom.images):
            set_private_images(work, own.at, False, "no EFI image follows")
    _balance(work, rom)
    notes = [*copy_notes(rom), *signature_notes(rom, work.changes(), gone)]
    return prove(rom, work, removed=gone, notes=notes)


def _for_x64(image: OptionRom) -> bool:
    return image.efi is not None and image.efi.machine == OVMF_MACHINE


def _judge(rom: Rom, donor: Rom, force: bool) -> tuple[tuple[OptionRom, ...], list[str]]:
    """The donor's images, and what was overruled or left out."""
    images = donor_images(donor)
    reasons = objections(rom, donor, images)
    if reasons and not force:
        raise EditRefused(
            f"the donor does not fit: {reasons[0]}",
            hint="if you know better, say so with `--unfit`",
            reasons=reasons,
            may_force=True,
        )
    notes = [f"forced: {reason}" for reason in reasons]
    notes += [
        f"the donor's {i.efi.machine_name} driver at {i.offset:#x} is not taken"
        for i in donor.efi_images
        if i.efi is not None and not any(i is own for own in images)
    ]
    return images, notes


def _contents(rom: Rom, images: Iterable[OptionRom]) -> list[bytes]:
    npde = any(i.npde is not None for i in rom.images)
    return [fitted(image, npde=npde) for image in images]


def _describe(image: OptionRom) -> str:
    gop = image.efi.gop if image.efi is not None else None
    if gop is None:
        return "GOP driver"
    words = (gop.vendor, "GOP", gop.version, f"for {gop.family}" if gop.family else "")
    return " ".join(word for word in words if word)


def _reason(images: Iterable[OptionRom]) -> str:
    return " and ".join(_describe(image) for image in images) + " from the donor"


def _removed(image: OptionRom) -> str:
    return f"{_describe(image)} removed"


def _version_note(there: Sequence[OptionRom], images: Sequence[OptionRom]) -> list[str]:
    old = [i.efi.gop.raw for i in there if i.efi and i.efi.gop and i.efi.gop.raw]
    new = [i.efi.gop.raw for i in images if i.efi and i.efi.gop and i.efi.gop.raw]
    if old and new and max(new) < max(old):
        return [f"the donor's driver 0x{max(new):X} is older than the ROM's, 0x{max(old):X}"]
    return []


def _place(
    rom: Rom,
    cuts: Sequence[Cut],
    at: int,
    contents: Sequence[bytes],
    images: Sequence[OptionRom],
    notes: Iterable[str],
    *,
    removed: Sequence[OptionRom] = (),
) -> Edit:
    """Set all that hangs on new images at `at`, prove it, and see that both chains reach them."""
    work = Work(rom.data, cuts)
    new = [at + sum(map(len, contents[:n])) for n in range(len(contents))]
    main = rom.legacy or rom.images[0]
    ids = (main.pcir.vendor_id, main.pcir.device_id)
    for place, content in zip(new, contents, strict=True):
        reason = f"ids set to the ROM's, {ids[0]:04x}:{ids[1]:04x}"
        set_ids(work, place, reason, vendor=ids[0], device=ids[1])
        set_npde_length(work, place, len(content), "NPDE length set")
    chain = sorted([p.at for p in placed(work, rom.npde_chain)] + new)
    firmware = sorted([p.at for p in placed(work, rom.pcir_chain)] + new)
    relink(
        work,
        chain,
        firmware,
        ends=rom.npde_chain.complete,
        firmware="the GOP driver follows",
        driver="more images follow",
    )
    if any(work.header(place).npde is not None for place in new):
        for own in placed(work, rom.images):
            if own.image.code_type == CodeType.PCAT:
                set_private_images(work, own.at, True, "an EFI image with an NPDE follows")
    _balance(work, rom)
    notes = [
        *notes,
        *_donor_notes(images),
        *copy_notes(rom),
        *signature_notes(rom, work.changes(), removed),
    ]
    # A digest that does not fit was an objection already, and was overruled.
    unsound = any(i.efi is not None and i.efi.digest_ok is False for i in images)
    asked_for = ("efi.digest",) if unsound else ()
    edit = prove(rom, work, removed=removed, asked_for=asked_for, notes=notes)
    for way in (edit.rom.pcir_chain, edit.rom.npde_chain):
        if not {i.offset for i in way}.issuperset(new):
            raise EditRefused(
                f"the {way.name} chain would not reach the new GOP driver", way.end_offset
            )
    return edit


def _donor_notes(images: Iterable[OptionRom]) -> list[str]:
    notes = []
    for image in images:
        efi = image.efi
        if efi is None:
            continue
        if efi.digest_ok is False:
            continue  # an objection, so it is said already
        if efi.signed:
            notes.append(
                "the donor's driver keeps its signature, which covers the driver and not the ids "
                "in front of it"
            )
        else:
            notes.append("the donor's driver is not signed: a guest with Secure Boot refuses it")
    return notes


def _balance(work: Work, rom: Rom) -> None:
    problems = mend_sums(work, placed(work, rom.images), to_zero=True)
    if problems:
        raise EditRefused(problems[0], reasons=problems)
