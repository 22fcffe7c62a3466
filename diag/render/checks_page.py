"""The page of all checks in the documentation: ``python -m diag.render.checks_page``."""

from __future__ import annotations

from itertools import groupby

from diag.checks import CHECKS
from diag.checks.check import Check
from diag.render.explain import SEVERITIES, check_rule

_INTRODUCTION = """\
# Checks

Every check of `diag report`, in the order in which they are asked. This page is made from the code
(`python -m diag.render.checks_page > docs/checks.md`).

A check gives findings: *pass*, *fail*, or *unknown* where something could not be measured, which is
neither. Where its question does not arise, it gives none. A fail is
"""


def checks_page() -> str:
    """The page as Markdown."""
    kinds = [f"- a *{name}*: {meaning}" for name, meaning in SEVERITIES.items()]
    lines = [_INTRODUCTION, *kinds, "", f"There are {len(CHECKS)} checks.", ""]
    for subject, checks in groupby(CHECKS, key=_subject):
        lines += [f"## {subject}", ""]
        for check in checks:
            lines += _section(check)
    return "\n".join(lines)


def _subject(check: Check) -> str:
    return check.slug.partition(".")[0]


def _section(check: Check) -> list[str]:
    return [
        f"### {check.slug}",
        "",
        f"**{check.title}** ({check.severity.value})",
        "",
        check_rule(check),
        "",
        f"*Source: {check.source}*",
        "",
    ]


if __name__ == "__main__":
    print(checks_page(), end="")
