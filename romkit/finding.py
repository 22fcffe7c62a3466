"""Findings: what was looked at, what came out, and what it means for the user.

Two independent axes. The verdict says what was found; the severity says what it means if the
verdict is FAIL. UNKNOWN is its own answer: something that could not be measured never passes
and never fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Verdict(Enum):
    """What was found."""

    PASS = "pass"
    FAIL = "fail"
    #: Could not be measured: neither a pass nor a fail.
    UNKNOWN = "unknown"


class Severity(Enum):
    """What a FAIL means."""

    #: It will not work like this.
    BLOCKER = "blocker"
    #: It may work; something is not as it should be.
    WARNING = "warning"
    #: Good to know.
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was read: where (offset, path or command) and the value as read."""

    where: str
    value: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer of one check.

    Attributes:
        check: stable slug, e.g. ``rom.container``; used in documentation and for filtering.
        verdict: what was found.
        severity: what it means if the verdict is FAIL.
        subject: what was looked at: a file region, an image, a device address.
        title: one sentence a user can act on.
        evidence: what was read, in the order in which it was read.
        remedy: what to do about it; empty where nothing needs doing.
        source: specification section, kernel file or measured fact behind the rule.
    """

    check: str
    verdict: Verdict
    severity: Severity
    subject: str
    title: str
    evidence: tuple[Evidence, ...] = ()
    remedy: str = ""
    source: str = ""

    @property
    def blocks(self) -> bool:
        """True only for a FAIL that is a BLOCKER; an unanswerable question closes no gate."""
        return self.verdict is Verdict.FAIL and self.severity is Severity.BLOCKER

    def as_json(self) -> dict[str, Any]:
        """The finding as plain JSON types."""
        return {
            "check": self.check,
            "verdict": self.verdict.value,
            "severity": self.severity.value,
            "subject": self.subject,
            "title": self.title,
            "evidence": [{"where": e.where, "value": e.value} for e in self.evidence],
            "remedy": self.remedy,
            "source": self.source,
        }


def blocking(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those findings that stand in the way."""
    return tuple(f for f in findings if f.blocks)
