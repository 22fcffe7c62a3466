"""The checklist for Code 43, for people."""

from __future__ import annotations

from collections.abc import Sequence

from romkit.finding import Finding, Verdict
from romkit.render.report import findings_lines
from romkit.render.style import Style
from romkit.render.text import plain

#: What Code 43 is, in a sentence or two.
_ABOUT = (
    "Code 43 is what Windows shows when a device's driver gives up on it. A GPU's driver gives up\n"
    "where it sees a virtual machine that it refuses, finds no ROM for the card, or meets a card\n"
    "in a state that it cannot start. Go through this from the top; one point may be enough."
)


def code43_text(note: str, findings: Sequence[Finding], style: Style, *, vm: bool) -> str:
    """What Code 43 is, then every point: what speaks for it first, what is fine last.

    Args:
        note: what the machine is called.
        findings: the checklist gone through.
        style: colours.
        vm: whether a VM's description was looked at.
    """
    counts = {v: sum(f.verdict is v for f in findings) for v in Verdict}
    lines = [style.bold(f"{plain(note)}: Code 43"), _ABOUT, ""]
    lines.append(
        f"{counts[Verdict.FAIL]} points against it, {counts[Verdict.UNKNOWN]} not known, "
        f"{counts[Verdict.PASS]} fine"
    )
    lines += findings_lines(findings, style)
    if not vm:
        lines.append(style.dim("  --vm FILE weighs the VM too: libvirt's XML or its QEMU command"))
    return "\n".join(lines)
