"""What checks say of a made-up machine, in words that a test can compare."""

from __future__ import annotations

from builders.host import HostTree

from diag.checks.check import Check
from diag.inventory import Inventory
from romkit.finding import Finding


def ask(
    check: Check, tree: HostTree, *, wake: bool = False, vm: str | None = None
) -> list[Finding]:
    """Everything that a check finds."""
    return list(check.run(Inventory(tree.host(), wake=wake, vm_text=vm)))


def verdicts(
    check: Check, tree: HostTree, *, wake: bool = False, vm: str | None = None
) -> list[tuple[str, str]]:
    """Subject and verdict of each finding."""
    return [(f.subject, f.verdict.value) for f in ask(check, tree, wake=wake, vm=vm)]


def only(check: Check, tree: HostTree, *, wake: bool = False, vm: str | None = None) -> Finding:
    """The one finding."""
    (finding,) = ask(check, tree, wake=wake, vm=vm)
    return finding


def said(finding: Finding) -> str:
    """All that a finding says, in one text."""
    seen = " ".join(f"{e.where}={e.value}" for e in finding.evidence)
    return f"{finding.verdict.value}: {finding.title} | {seen} | {finding.remedy}"
