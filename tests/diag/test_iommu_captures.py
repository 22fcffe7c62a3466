"""Captures of machines: every group that a kernel formed follows from what was read of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from diag.capture import open_capture
from diag.inventory import Inventory
from diag.iommu import Isolation
from diag.iommu_report import read_iommu, record

CAPTURES = sorted((Path(__file__).parent.parent / "fixtures/captures").glob("*.tar.xz"))


def inventory(name: str) -> Inventory:
    path = next(path for path in CAPTURES if path.name == f"{name}.tar.xz")
    return Inventory(open_capture(path.read_bytes(), note=path.name))


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name.partition(".")[0])
def test_each_group_is_explained(path: Path) -> None:
    report = read_iommu(Inventory(open_capture(path.read_bytes(), note=path.name)))
    assert bool(report.groups) is ("iommu" not in path.name)
    assert report.hierarchy.torn() == ()
    for device in report.machine.devices:
        assert report.hierarchy.explain(device).unexplained == ()


@pytest.mark.parametrize(
    ("name", "isolation", "reasons"),
    [
        ("laptop", Isolation.ISOLATED, {"path"}),
        ("strangers", Isolation.STRANGERS, {"path", "functions"}),
        ("bridge", Isolation.STRANGERS, {"bridge"}),
        ("switch", Isolation.ISOLATED, {"path"}),
        ("desktop", Isolation.ISOLATED, {"functions"}),
    ],
)
def test_the_reason_is_that_of_the_machine(
    name: str, isolation: Isolation, reasons: set[str]
) -> None:
    found = record(read_iommu(inventory(name)))
    gpu = next(gpu for gpu in found["gpus"] if gpu["address"] != "0000:00:02.0")
    assert gpu["verdict"] == isolation.value
    assert {merge["reason"] for merge in gpu["merges"]} == reasons
    assert gpu["measured"]
