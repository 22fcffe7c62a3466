"""No edit is handed out unproven: it is read again, checked, and compared with what was there.

Refused is a result that is no ROM, that differs where it does not say so, that has a blocking or
warning finding which its input did not have, that lost an image from a chain, a GOP, or what a
guest's firmware started from it, unless exactly that was asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace

from romkit.checks import verify
from romkit.edit.edit import Edit, untouched
from romkit.edit.work import Work
from romkit.efi.gop import GOP_GUID
from romkit.errors import EditRefused, NotARom
from romkit.finding import Finding, Severity, Verdict
from romkit.guest import OVMF_SMALLEST_BAR, ovmf_view, seabios_view
from romkit.header import CodeType
from romkit.image import OptionRom
from romkit.rom import Rom


def nothing_to_do(rom: Rom, *notes: str) -> Edit:
    """An edit that leaves everything as it is."""
    return Edit(rom.data, rom.data, (), notes)


def prove(
    rom: Rom,
    work: Work,
    *,
    removed: Collection[OptionRom] = (),
    asked_for: Collection[str] = (),
    notes: Iterable[str] = (),
) -> Edit:
    """The finished edit.

    Args:
        rom: the input.
        work: the input's bytes, edited.
        removed: images of the input that were asked to go, with all that hangs on them.
        asked_for: slugs of findings that are new because exactly that was asked for.
        notes: for `Edit.notes`.

    Raises:
        EditRefused: the result is worse than the input; `reasons` says in what.
    """
    edit = read_again(work, notes)
    if not edit.changed:
        return edit
    # What is left of a ROM may be smaller than the least that OVMF looks at: the romfile can be
    # padded, so that is no reason to refuse it.
    tiny = 2 * (len(edit.data) - edit.rom.rom_offset) <= OVMF_SMALLEST_BAR
    asked_for = {*asked_for, "guest.ovmf"} if tiny else set(asked_for)
    before = verify(rom)
    reasons = [
        *_findings(before, (f for f in verify(edit.rom) if f.check not in asked_for)),
        *_lost_images(rom, work, edit.rom, removed),
        *_lost_drivers(rom, edit.rom, removed, ovmf=not tiny),
    ]
    if reasons:
        raise EditRefused(
            f"the result would be worse than the ROM as it is: {reasons[0]}",
            hint="`romkit verify` shows what is wrong with the ROM, `romkit fix` mends some of it",
            reasons=tuple(reasons),
        )
    known = any(f.check == "guest.ovmf" and _bad(f) for f in before)
    if tiny and edit.rom.efi_images and not known:
        note = f"OVMF overlooks a ROM this small: pad it to {OVMF_SMALLEST_BAR} bytes for a guest"
        return replace(edit, notes=(*edit.notes, note))
    return edit


def prove_made(work: Work, parts: Iterable[Rom], *, notes: Iterable[str] = ()) -> Edit:
    """The same for a ROM that was put together from `parts`: no part may have been better.

    Raises:
        EditRefused: the result has a blocking or warning finding that no part had.
    """
    edit = read_again(work, notes)
    known = {f.check for part in parts for f in verify(part) if _bad(f)}
    reasons = [_title(f) for f in verify(edit.rom) if _bad(f) and f.check not in known]
    if reasons:
        raise EditRefused(f"this makes no sound ROM: {reasons[0]}", reasons=tuple(reasons))
    return edit


def read_again(work: Work, notes: Iterable[str] = ()) -> Edit:
    """The finished edit of something that was proven before, such as a part of this file.

    Raises:
        EditRefused: the result is no ROM, or differs where it does not say so.
    """
    edit = Edit(work.source, bytes(work.data), work.changes(), tuple(dict.fromkeys(notes)))
    if not untouched(edit.before, edit.data, edit.changes):
        raise EditRefused(
            "the result differs where this edit does not say so",
            hint="this is a fault of romkit: please report it with the output of `romkit parse`",
        )
    try:
        edit.rom  # noqa: B018  reading it is what is tried
    except NotARom as err:
        raise EditRefused(f"the result would be no ROM: {err}", err.offset) from err
    return edit


def _bad(finding: Finding) -> bool:
    return finding.verdict is Verdict.FAIL and finding.severity is not Severity.NOTE


def _title(finding: Finding) -> str:
    return f"{finding.check}: {finding.title}"


def _findings(before: Iterable[Finding], after: Iterable[Finding]) -> list[str]:
    """Findings that are new, or worse than they were. Offsets change, so they are counted."""
    had = Counter(f.check for f in before if _bad(f))
    blocked = Counter(f.check for f in before if f.blocks)
    reasons: list[str] = []
    # The worst come first: a blocker may only take the place of a blocker.
    for finding in sorted(after, key=lambda f: not f.blocks):
        if not _bad(finding):
            continue
        check = finding.check
        if had[check] <= 0 or (finding.blocks and blocked[check] <= 0):
            reasons.append(_title(finding))
        had[check] -= 1
        blocked[check] -= finding.blocks
    return reasons


def _lost_images(rom: Rom, work: Work, after: Rom, removed: Collection[OptionRom]) -> Iterable[str]:
    for old, new in ((rom.pcir_chain, after.pcir_chain), (rom.npde_chain, after.npde_chain)):
        kept = [i for i in old if not _among(i, removed)]
        reached = {i.offset for i in new}
        for image in kept:
            place = work.place_of(image.offset)
            # An image without a place was moved; the number of images tells whether it is there.
            if place is not None and place not in reached:
                yield (
                    f"the {old.name} chain would no longer reach the {image.code_type_name} image "
                    f"at {image.offset:#x} (now {place:#x})"
                )
                break
        else:
            if len(new) < len(kept):
                yield f"the {old.name} chain would reach {len(new)} images instead of {len(kept)}"


def _lost_drivers(
    rom: Rom, after: Rom, removed: Collection[OptionRom], *, ovmf: bool
) -> Iterable[str]:
    gone = sum(_is_gop(i) for i in rom.pcir_chain if _among(i, removed))
    had, has = sum(map(_is_gop, rom.pcir_chain)), sum(map(_is_gop, after.pcir_chain))
    if has < had - gone:
        yield f"{has} GOP drivers would be left of {had}"
    if not any(i.code_type == CodeType.PCAT for i in removed):
        boots = seabios_view(rom, start=rom.rom_offset)
        still = seabios_view(after, start=after.rom_offset)
        if boots.started and not still.started:
            yield f"SeaBIOS would no longer start it: {still.why_nothing}"
    if ovmf and not any(i.code_type == CodeType.EFI for i in removed):
        started = len(ovmf_view(rom, rom.rom_offset).started)
        will = ovmf_view(after, after.rom_offset)
        if len(will.started) < started:
            yield f"OVMF would start {len(will.started)} drivers instead of {started}"


def _is_gop(image: OptionRom) -> bool:
    """By the driver alone: what the ids and the class in front of it make of it may change."""
    return image.efi is not None and image.efi.pe is not None and GOP_GUID in image.efi.pe


def _among(image: OptionRom, images: Collection[OptionRom]) -> bool:
    return any(image is own for own in images)
