"""Captures → text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diag.capture.capture import summed
from romkit.render.text import plain

if TYPE_CHECKING:
    from diag.capture import Capture
    from romkit.render.style import Style

#: Lines of what root would add; the rest is counted.
_SHOWN = 12


def capture_list(capture: Capture) -> str:
    """Every file, with its size in bytes, and every command of a capture."""
    lines = [f"{len(data):>9}  {plain(path)}" for path, data in sorted(capture.files.items())]
    lines += [f"  command  {plain(' '.join(said.argv))}" for said in capture.transcripts]
    return "\n".join(lines)


def capture_summary(capture: Capture, written: str | None, style: Style) -> str:
    """What was taken, what was redacted, what was left there, and what root would add.

    Args:
        capture: what was taken.
        written: where it is, and how large; None if it was not written.
        style: the colours.
    """
    lines = [style.bold(written)] if written else []
    lines.append(f"{len(capture.files)} files, {len(capture.transcripts)} answers of programs")
    said = [f"{count} × {what}" for what, count in capture.redacted.items()]
    lines.append(f"redacted: {', '.join(said) or 'nothing had to be'}")
    if capture.asleep:
        lines.append(f"asleep, and left so: {' '.join(capture.asleep)} (--wake reads them)")
    lines += [f"left out: {plain(what)}: {plain(why)}" for what, why in capture.left_out.items()]
    added = summed(capture.root_would_add)
    if added and not capture.root:
        lines.append("root would add:")
        lines += [f"  {plain(path)}{f' ({n})' if n > 1 else ''}" for path, n in added[:_SHOWN]]
        if len(added) > _SHOWN:
            lines.append(f"  and {sum(n for _, n in added[_SHOWN:])} more")
    return "\n".join(lines)
