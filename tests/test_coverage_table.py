"""docs/coverage.md tells the truth: a row that is done names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def rows() -> list[list[str]]:
    text = (ROOT / "docs/coverage.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if re.match(r"\| [AC]-\d", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_row_has_an_id_of_its_own_and_a_known_state() -> None:
    ids = [row[0] for row in rows()]
    assert len(ids) > 100
    assert len(ids) == len(set(ids))
    assert {row[-1].split(":")[0].split(" ")[0] for row in rows()} <= {"done", "open", "not"}


def test_done_rows_name_tests_that_exist() -> None:
    for row in rows():
        if row[-1] != "done":
            continue
        named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", row[-2])
        assert named, row[0]
        for path, test in named:
            source = (ROOT / path).read_text(encoding="utf-8")
            assert f"def {test}(" in source, (row[0], path, test)
