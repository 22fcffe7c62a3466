"""`diag report` on a kernel's own files: it wakes nothing, and agrees with what is there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.machine import Lab
from lab.topology import AUDIO, GPU

#: The same checks as an ordinary user of the machine, once everything is imported.
_AS_USER = """
import json, os
from diag.checks import run_checks
from diag.host import Host
from diag.inventory import Inventory
run_checks(Inventory(Host()), ())
import pyudev
os.setgroups([])
os.setresgid(1000, 1000, 1000)
os.setresuid(1000, 1000, 1000)
print(json.dumps([finding.as_json() for finding in run_checks(Inventory(Host()))]))
"""

Found = dict[str, list[dict[str, Any]]]


def report(lab: Lab) -> Found:
    done = lab.run("diag", "report", "--json")
    assert done.status in (0, 1), done.err
    found = json.loads(done.out)
    assert found["blocks"] is (done.status == 1)
    return by_check(found["findings"])


def by_check(findings: list[dict[str, Any]]) -> Found:
    by_check: Found = {}
    for finding in findings:
        by_check.setdefault(finding["check"], []).append(finding)
    return by_check


def verdict(found: Found, check: str) -> set[str]:
    return {finding["verdict"] for finding in found.get(check, [])}


@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
def test_a_report_leaves_a_sleeping_gpu_asleep(lab: Lab) -> None:
    lab.sh("modprobe vfio-pci")
    devices = (GPU, AUDIO)
    try:
        for address in devices:
            lab.write(f"/sys/bus/pci/devices/{address}/driver_override", "vfio-pci\n")
            lab.write("/sys/bus/pci/drivers_probe", address)
        state = f"/sys/bus/pci/devices/{GPU}/power_state"
        assert lab.read(state) == "D3hot"
        as_root = report(lab)
        as_user = by_check(json.loads(lab.run(".venv/bin/python", "-c", _AS_USER).check().out))
        assert lab.read(state) == "D3hot"
        # The kernel's own facts, told as they are.
        assert verdict(as_root, "kernel.vfio-modules") == {"pass"}
        assert verdict(as_root, "iommu.on") == {"pass"}
        group = lab.sh(f"basename $(readlink /sys/bus/pci/devices/{GPU}/iommu_group)").out.strip()
        (node,) = as_user["host.vfio-permission"]
        assert (node["subject"], node["verdict"]) == (f"/dev/vfio/{group}", "fail")
        assert verdict(as_root, "host.vfio-permission") == {"pass"}
        # What root alone reads is unknown to the user, not good and not bad.
        assert verdict(as_root, "logs.failures") <= {"pass", "fail"}
        if lab.read("/proc/sys/kernel/dmesg_restrict") == "1":
            assert verdict(as_user, "logs.failures") == {"unknown"}
    finally:
        for address in devices:
            lab.sh(f"echo {address} > /sys/bus/pci/drivers/vfio-pci/unbind")
            lab.write(f"/sys/bus/pci/devices/{address}/driver_override", "\n")


@pytest.mark.parametrize("lab", ["no-iommu"], indirect=True)
def test_a_machine_without_an_iommu_is_blocked_and_says_why(lab: Lab) -> None:
    found = report(lab)
    (blocked,) = found["iommu.on"]
    assert (blocked["verdict"], blocked["severity"]) == ("fail", "blocker")
    done = lab.run("diag", "report")
    first = done.out.splitlines()[1]
    assert first.startswith("  ✗ "), done.out
