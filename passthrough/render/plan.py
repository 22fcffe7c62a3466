"""A plan for people: what would be done, what stands in the way, what cannot be undone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthrough.step import Reversal
from romkit.finding import Verdict
from romkit.render.report import findings_lines
from romkit.render.text import count, plain

if TYPE_CHECKING:
    from passthrough.plan import Plan
    from romkit.render.style import Style


def plan_text(plan: Plan, style: Style) -> str:
    """The dry run: every step in its order, then what was found on the way."""
    if plan.blockers:
        state = style.red(f"{len(plan.blockers)} blocking")
    elif plan.steps:
        state = count(len(plan.steps), "step")
    else:
        state = style.green("nothing to do")
    lines = [f"{style.bold(plain(plan.title) + ':')} {state}"]
    width = len(str(len(plan.steps)))
    for number, step in enumerate(plan.steps, 1):
        undo = style.yellow("  (cannot be undone)") if step.reversal is Reversal.NONE else ""
        lines.append(f"  {number:>{width}}. {plain(step.name)}{undo}")
    shown = [finding for finding in plan.findings if finding.verdict is not Verdict.PASS]
    lines += findings_lines(shown, style, evidence=True)
    return "\n".join(lines + _notes(plan, style))


def done_text(plan: Plan, style: Style) -> str:
    """What is said when a plan was carried out."""
    if not plan.steps:
        what = style.green("nothing to do")
    else:
        what = f"{style.green('done')}, {count(len(plan.steps), 'step')} verified"
    lines = [f"{style.bold(plain(plan.title) + ':')} {what}"]
    shown = [finding for finding in plan.findings if finding.verdict is not Verdict.PASS]
    lines += findings_lines(shown, style)
    return "\n".join(lines + _notes(plan, style))


def _notes(plan: Plan, style: Style) -> list[str]:
    return [style.dim(f"  note: {plain(note)}") for note in plan.notes]
