"""What an edit did, for people."""

from __future__ import annotations

from romkit.edit.edit import Change, Edit
from romkit.edit.gop import GopEntry
from romkit.render.style import Style

#: Changed bytes that are shown; of longer ranges only the length.
_SHOWN = 8


def edit_text(edit: Edit, style: Style) -> str:
    """Every range that was touched, with its reason, and what else there is to know."""
    lines = [style.bold(_headline(edit))]
    lines += [f"  {_change(edit, change, style)}" for change in edit.changes]
    lines += [f"  {style.yellow('!')} {note}" for note in edit.notes if edit.changed]
    return "\n".join(lines)


def gop_text(entries: tuple[GopEntry, ...]) -> str:
    """The EFI images of a ROM, a line each."""
    if not entries:
        return "no EFI image"
    return "\n".join(_entry(entry) for entry in entries)


def _headline(edit: Edit) -> str:
    if not edit.changed:
        return "; ".join(edit.notes) or f"{len(edit.data)} bytes, unchanged"
    count = len(edit.changes)
    plural = "s" * (count != 1)
    return f"{len(edit.before)} → {len(edit.data)} bytes, {count} range{plural} touched"


def _change(edit: Edit, change: Change, style: Style) -> str:
    if change.kind == "inserted":
        where = f"{change.new_offset:#x}-{change.new_end:#x}"
        return f"{style.green('+')} {where} {change.new_size} bytes inserted: {change.reason}"
    where = f"{change.offset:#x}-{change.end:#x}"
    if change.kind == "dropped":
        return f"{style.red('-')} {where} {change.old_size} bytes dropped: {change.reason}"
    old, new = edit.old_bytes(change), edit.new_bytes(change)
    shown = f"{old.hex(' ')} → {new.hex(' ')}"
    if max(len(old), len(new)) > _SHOWN:
        shown = f"{len(old)} → {len(new)} bytes"
    return f"{style.cyan('~')} {where} {shown}: {change.reason}"


def _entry(entry: GopEntry) -> str:
    reached = {
        (True, True): "both chains reach it",
        (True, False): "only firmware reaches it",
        (False, True): "only NVIDIA's driver reaches it",
        (False, False): "nothing reaches it",
    }[entry.firmware_reaches, entry.driver_reaches]
    gop = entry.gop
    what = " ".join(t for t in (gop.vendor, "GOP", gop.version, gop.family) if t) if gop else ""
    image = entry.image
    ids = f"{image.pcir.vendor_id:04x}:{image.pcir.device_id:04x}"
    facts = (what or f"GOP: {entry.role.value}", entry.efi.machine_name, ids, reached)
    return f"image {entry.number} at {image.offset:#x}: {', '.join(facts)}"
