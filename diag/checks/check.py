"""What a check is, and how one becomes findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from diag.errors import Unreadable
from diag.inventory import Inventory
from romkit.finding import Evidence, Finding, Severity, Verdict

#: Looks at a machine and says what it found: no finding where the question does not arise.
Look = Callable[[Inventory], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """One question that is asked of a machine.

    Attributes:
        slug: stable name, ``subject.point``.
        title: the question, as documentation lists it.
        severity: what a FAIL means.
        source: the specification, kernel file or field report behind the rule.
        look: the function that answers; its docstring explains the rule to a user.
    """

    slug: str
    title: str
    severity: Severity
    source: str
    look: Look

    def run(self, inventory: Inventory) -> tuple[Finding, ...]:
        """Its findings. What could not be read is UNKNOWN: neither a pass nor a fail."""
        found: list[Finding] = []
        try:
            # One by one: what was found before something could not be read stays.
            for finding in self.look(inventory):
                found.append(finding)
        except Unreadable as error:
            found.append(self.unknown("", f"could not be measured: {error.why}", error))
        return tuple(found)

    def _finding(
        self, verdict: Verdict, subject: str, title: str, evidence: Iterable[Evidence], remedy: str
    ) -> Finding:
        return Finding(
            self.slug, verdict, self.severity, subject, title, tuple(evidence), remedy, self.source
        )

    def passed(self, subject: str, title: str, *evidence: Evidence) -> Finding:
        """It is as it should be."""
        return self._finding(Verdict.PASS, subject, title, evidence, "")

    def failed(self, subject: str, title: str, *evidence: Evidence, remedy: str) -> Finding:
        """It is not as it should be, and this mends it."""
        return self._finding(Verdict.FAIL, subject, title, evidence, remedy)

    def unknown(
        self, subject: str, title: str, error: Unreadable | None = None, *evidence: Evidence,
        remedy: str = "",
    ) -> Finding:  # fmt: skip
        """It could not be measured, and this would help."""
        refused = () if error is None else (Evidence(error.path, error.why),)
        hint = error.hint if error else ""
        return self._finding(Verdict.UNKNOWN, subject, title, (*refused, *evidence), remedy or hint)


def as_note(finding: Finding) -> Finding:
    """The same finding where it is only good to know, like one about a GPU that the host keeps."""
    return replace(finding, severity=Severity.NOTE)


def check(slug: str, title: str, severity: Severity, source: str) -> Callable[[Look], Check]:
    """Makes a `Check` of a function; the function refers to it by its own name.

    ::

        @check("iommu.on", "Is an IOMMU in use?", Severity.BLOCKER, "drivers/iommu/iommu.c")
        def iommu_on(machine: Inventory) -> Iterable[Finding]:
            '''Without IOMMU groups nothing can be handed to a guest.'''
            if machine.groups:
                yield iommu_on.passed("machine", f"{len(machine.groups)} IOMMU groups")
    """

    def made(look: Look) -> Check:
        return Check(slug, title, severity, source, look)

    return made
