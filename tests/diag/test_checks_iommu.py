"""Every check about the IOMMU: made to pass, to fail and, where it can be, to be unknown."""

from __future__ import annotations

import errno

import pytest
from builders.host import HostTree
from builders.pci_tree import ENDPOINT, FULL, ROOT, add

from diag.checks import run_checks
from diag.checks.iommu import IOMMU_CHECKS
from diag.inventory import Inventory
from romkit.finding import Finding, Severity, Verdict

PORT, GPU, AUDIO, NIC = "0000:00:01.0", "0000:01:00.0", "0000:01:00.1", "0000:02:00.0"
GROUPS = "/sys/kernel/iommu_groups"
LOG = "[    0.000000] Linux version 6.1.0\n"


def machine(
    line: str = "quiet", *, gpu: str | None = "vfio-pci", nic: str | None = None, kind: str = "DMA"
) -> HostTree:
    """Two ports of one slot without ACS where `nic` is given: a network card shares the group."""
    shared = nic is not None
    tree = HostTree().kernel(config={"CONFIG_INTEL_IOMMU": "y"}).cmdline(line)
    tree.file("/proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t\t: vmx\n")
    tree.file("/sys/firmware/acpi/tables/DMAR", b"DMAR").file(f"{GROUPS}/1/type", kind)
    tree.file("/proc/interrupts", "  CPU0\n 0: 9 IR-IO-APIC 2-edge timer\nNMI: 0\n")
    add(tree, PORT, ROOT, acs=None if shared else (FULL, FULL), several=shared, group=1)
    add(tree, GPU, ENDPOINT, PORT, group=1 if shared else 2, driver=gpu)
    tree.file(f"{GROUPS}/2/type", kind)
    if nic is not None:
        add(tree, "0000:00:01.1", ROOT, several=True, group=1)
        add(tree, NIC, ENDPOINT, "0000:00:01.1", class_code=0x0200, group=1, driver=nic or None)
    return tree


def without_iommu(line: str = "quiet") -> HostTree:
    tree = HostTree().kernel(config={"CONFIG_INTEL_IOMMU": "y"}).cmdline(line)
    tree.file("/proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t\t: vmx\n")
    tree.file("/sys/firmware/acpi/tables/DMAR", b"DMAR")
    return add(add(tree, PORT, ROOT), GPU, ENDPOINT, PORT)


def findings(tree: HostTree, slug: str) -> tuple[Finding, ...]:
    found = run_checks(Inventory(tree.host()), IOMMU_CHECKS)
    return tuple(finding for finding in found if finding.check == slug)


def one(tree: HostTree, slug: str) -> Finding:
    (finding,) = findings(tree, slug)
    return finding


PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN


def no_remapping() -> HostTree:
    return machine().file("/proc/interrupts", "  CPU0\n 0: 9 IO-APIC 2-edge timer\n")


def user(tree: HostTree) -> HostTree:
    """As an ordinary user sees it: 64 bytes of each config."""
    for path in [path for path in tree.files if path.endswith("/config")]:
        tree.file(path, tree.files[path][:64])
    return tree


def torn() -> HostTree:
    """Apart without ACS, as the override patch makes it."""
    return add(add(HostTree(), PORT, ROOT, group=1), GPU, ENDPOINT, PORT, group=2)


def unsure(line: str) -> HostTree:
    return machine(line).said("dmesg", status=1, err="dmesg: read kernel buffer failed")


OVERRIDE = "pcie_acs_override=downstream"


@pytest.mark.parametrize(
    ("slug", "tree", "wanted", "word"),
    [
        ("iommu.on", machine(), PASS, "in use"),
        ("iommu.on", without_iommu(), FAIL, "command line"),
        ("iommu.on", without_iommu().file("/proc/cpuinfo", "flags : sse"), FAIL, "no IOMMU"),
        ("iommu.on", without_iommu().folder(GROUPS).refused(GROUPS), UNKNOWN, "measured"),
        ("iommu.translation", machine(), PASS, "DMA"),
        ("iommu.translation", machine(kind="identity"), FAIL, "passthrough mode"),
        ("iommu.translation", machine().refused(f"{GROUPS}/2/type"), UNKNOWN, "measured"),
        ("iommu.interrupts", machine(), PASS, "remapped"),
        ("iommu.interrupts", no_remapping(), FAIL, "EPERM"),
        (
            "iommu.interrupts",
            no_remapping().module("vfio_iommu_type1", {"allow_unsafe_interrupts": "Y"}),
            PASS,
            "do without",
        ),
        ("iommu.interrupts", machine().refused("/proc/interrupts"), UNKNOWN, "measured"),
        ("iommu.group", machine(), PASS, "isolated"),
        ("iommu.group", machine(nic="e1000e"), FAIL, NIC),
        ("iommu.viable", machine(), PASS, "viable"),
        ("iommu.viable", machine(gpu="nvidia"), PASS, "gives up"),
        ("iommu.viable", machine(nic="e1000e"), FAIL, "e1000e"),
        ("iommu.viable", machine(nic="vfio-pci"), PASS, "viable"),
        ("iommu.override", machine(), PASS, "no ACS override"),
        ("iommu.override", machine(OVERRIDE).said("dmesg", out=LOG), FAIL, "ignored"),
        (
            "iommu.override",
            machine(OVERRIDE).said(
                "dmesg",
                out="Unknown kernel command line parameters \"pcie_acs_override=downstream\"",
            ),
            FAIL,
            "ignored",
        ),
        (
            "iommu.override",
            machine(OVERRIDE).said("dmesg", out=f"{LOG}Warning: PCIe ACS overrides enabled; ..."),
            FAIL,
            "at work",
        ),
        ("iommu.override", torn().cmdline(OVERRIDE), FAIL, "at work"),
        ("iommu.override", machine(OVERRIDE), UNKNOWN, "not known"),
        ("iommu.override", unsure(OVERRIDE), UNKNOWN, "measured"),
        ("iommu.groups-true", machine(nic="e1000e"), PASS, "finer"),
        ("iommu.groups-true", torn(), FAIL, "nothing keeps them apart"),
        ("iommu.groups-true", user(machine()), UNKNOWN, "ordinary user"),
        ("iommu.amd-on", machine("amd_iommu=on"), FAIL, "means nothing"),
        ("iommu.amd-on", machine("amd_iommu=fullflush"), PASS, "knows"),
        ("iommu.pci-parameters", machine("pci=realloc"), PASS, "no pci="),
        ("iommu.pci-parameters", machine("pci=noaer,disable_acs_redir=00:01.0"), FAIL, "disable"),
        ("iommu.pci-parameters", machine("pci=nommconf"), FAIL, "nommconf"),
        ("iommu.pci-parameters", machine().refused("/proc/cmdline"), UNKNOWN, "measured"),
    ],
)  # fmt: skip
def test_each_check(slug: str, tree: HostTree, wanted: Verdict, word: str) -> None:
    found = one(tree, slug)
    assert (found.verdict, word in found.title) == (wanted, True), found.title
    assert found.source
    if wanted is FAIL:
        assert found.remedy
        assert found.evidence


def test_every_check_is_made_to_pass_and_to_fail_above() -> None:
    rows = test_each_check.pytestmark[0].args[1]  # type: ignore[attr-defined]  # set by pytest
    for check in IOMMU_CHECKS:
        assert {PASS, FAIL} <= {row[2] for row in rows if row[0] == check.slug}, check.slug


@pytest.mark.parametrize("slug", ["iommu.amd-on", "iommu.pci-parameters"])
def test_a_question_that_does_not_arise_gives_no_finding(slug: str) -> None:
    assert findings(machine(), slug) == ()


def test_a_machine_without_pci_is_asked_nothing() -> None:
    assert run_checks(Inventory(HostTree().host()), IOMMU_CHECKS) == ()


def test_a_stranger_blocks_only_while_a_driver_holds_it() -> None:
    group = one(machine(nic="vfio-pci"), "iommu.group")
    assert (group.verdict, group.severity, group.blocks) == (FAIL, Severity.WARNING, False)
    assert one(machine(nic="e1000e"), "iommu.viable").blocks


def test_the_finding_names_hop_and_bits_and_the_cost_of_the_override() -> None:
    found = one(machine(nic="e1000e"), "iommu.group")
    said = {evidence.where: evidence.value for evidence in found.evidence}
    assert "SrcValid" in said[PORT]
    assert "Cost: not isolation" in found.remedy


def test_no_check_reads_a_sleeping_device() -> None:
    tree = add(HostTree().cmdline(""), PORT, ROOT, group=1, power_state="D3cold")
    add(tree, GPU, ENDPOINT, PORT, group=1, power_state="D3cold")
    run_checks(Inventory(tree.host()), IOMMU_CHECKS)
    assert not [path for path in tree.reads if "config" in path and path.startswith("/sys/devices")]


def test_nothing_readable_is_nothing_claimed() -> None:
    tree = machine(OVERRIDE)
    for path in list(tree.files):
        tree.refused(path, errno.EACCES)
    found = run_checks(Inventory(tree.host()), IOMMU_CHECKS)
    assert FAIL not in {finding.verdict for finding in found}
