"""The report of all checks, for people."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from romkit.finding import Severity, Verdict, blocking
from romkit.render.text import count, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from romkit.finding import Finding
    from romkit.render.style import Style

#: Checks of the machine as a whole say so; it is no news beside their names.
_WHOLE = ("", "machine")
#: Characters of a value that are shown; the JSON has all of it.
_ROOM = 160
#: What stands at the end, once, for all that only root may read.
_ROOT = "run it again as root"


def report_text(
    name: str,
    findings: Sequence[Finding],
    style: Style,
    *,
    width: int = 100,
    everything: bool = False,
) -> str:
    """What stands in the way first, then what may, what could not be measured, what to know.

    Args:
        name: what machine it is.
        findings: all of them.
        style: colours.
        width: columns; titles and remedies are broken to fit.
        everything: show what passed too, and not only the names.
    """
    passed = [f for f in findings if f.verdict is Verdict.PASS]
    shown = sorted((f for f in findings if f.verdict is not Verdict.PASS), key=rank)
    lines = [f"{style.bold(f'{plain(name)}:')} {_summary(findings, style)}"]
    for finding in shown:
        lines += _finding_lines(finding, style, width)
    for_root = sum(1 for finding in shown if _only_root(finding))
    if for_root:
        what = count(for_root, "answer")
        lines.append(f"  → {what} could not be read as this user: run it again with sudo")
    if everything:
        for finding in passed:
            lines += _finding_lines(finding, style, width)
    elif passed:
        names = ", ".join(_clean(findings))
        for number, line in enumerate(_broken(names, width - 4) if names else ()):
            lines.append(f"  {' ' if number else style.green('✓')} {style.dim(line)}")
    return "\n".join(lines)


def rank(finding: Finding) -> int:
    """Where a finding belongs: what blocks comes first, what passed last."""
    order = (Severity.BLOCKER, Severity.WARNING, Severity.NOTE)
    severity = order.index(finding.severity)
    if finding.verdict is Verdict.PASS:
        return 9
    if finding.verdict is Verdict.UNKNOWN:
        # Behind what is known to be wrong, before what is only good to know.
        return 2 + severity if finding.severity is not Severity.NOTE else 7
    return severity if finding.severity is not Severity.NOTE else 6


def _summary(findings: Sequence[Finding], style: Style) -> str:
    blocked = len(blocking(findings))
    warned = _number(findings, Verdict.FAIL, Severity.WARNING)
    unknown = sum(1 for f in findings if f.verdict is Verdict.UNKNOWN)
    parts = [style.red(f"{blocked} blocking") if blocked else style.green("nothing known to block")]
    if warned:
        parts.append(style.yellow(count(warned, "warning")))
    if unknown:
        parts.append(f"{unknown} unknown")
    checks = {finding.check for finding in findings}
    parts.append(f"{len(list(_clean(findings)))} of {len(checks)} checks passed")
    return ", ".join(parts)


def _number(findings: Iterable[Finding], verdict: Verdict, severity: Severity) -> int:
    return sum(1 for f in findings if f.verdict is verdict and f.severity is severity)


def _clean(findings: Sequence[Finding]) -> Iterator[str]:
    """The checks of which every finding passed, in their order."""
    wrong = {finding.check for finding in findings if finding.verdict is not Verdict.PASS}
    names = dict.fromkeys(finding.check for finding in findings)
    return (name for name in names if name not in wrong)


def _finding_lines(finding: Finding, style: Style, width: int) -> Iterator[str]:
    subject = "" if finding.subject in _WHOLE else f"  [{plain(finding.subject)}]"
    head = f"{finding.check}: "
    # Broken before it is painted: colours have no width.
    first, *rest = _broken(f"{head}{plain(finding.title)}", width - 4)
    if len((rest or [first])[-1]) + len(subject) > width - 4:
        rest.append(subject.strip())
        subject = ""
    lines = [f"{style.cyan(finding.check)}{first[len(finding.check) :]}", *rest]
    lines[-1] += style.dim(subject)
    yield f"  {_mark(finding, style)} {lines[0]}"
    yield from (f"    {line}" for line in lines[1:])
    for evidence in finding.evidence:
        yield style.dim(f"      {plain(evidence.where)}: {_cut(plain(evidence.value))}")
    if finding.remedy and finding.verdict is not Verdict.PASS and not _only_root(finding):
        # Each way that could be gone stands on lines of its own.
        for number, way in enumerate(finding.remedy.split(" Or: ")):
            first, *rest = _broken(f"{'or: ' if number else ''}{plain(way)}", width - 8)
            yield f"      {' ' if number else '→'} {first}"
            yield from (f"        {line}" for line in rest)


def _broken(text: str, width: int) -> list[str]:
    """Lines no longer than `width`, broken at spaces alone: paths and commands stay whole."""
    found = wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return found or [""]


def _only_root(finding: Finding) -> bool:
    return finding.verdict is Verdict.UNKNOWN and finding.remedy.startswith(_ROOT)


def _mark(finding: Finding, style: Style) -> str:
    if finding.verdict is Verdict.PASS:
        return style.green("✓")
    if finding.verdict is Verdict.UNKNOWN:
        return style.yellow("?")
    if finding.severity is Severity.BLOCKER:
        return style.red("✗")
    return style.yellow("!") if finding.severity is Severity.WARNING else style.dim("·")


def _cut(text: str) -> str:
    return text if len(text) <= _ROOM else f"{text[: _ROOM - 1]}…"
