"""Which of processor, firmware, kernel and command line is missing, and which is not known."""

from __future__ import annotations

import errno

import pytest
from builders.host import HostTree

from diag.inventory import Inventory
from diag.iommu_support import IommuSupport, State, Vendor, read_support

INTEL, AMD = "GenuineIntel", "AuthenticAMD"
TABLES = "/sys/firmware/acpi/tables"


def cpu(vendor: str, flags: str) -> str:
    return f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: fpu {flags} sse\n"


def machine(
    vendor: str = INTEL,
    flags: str = "vmx",
    table: str | None = "DMAR",
    config: dict[str, str] | None = {"CONFIG_INTEL_IOMMU": "y"},  # noqa: B006  never changed
    line: str = "quiet intel_iommu=on",
) -> HostTree:
    tree = HostTree().kernel(config=config).cmdline(line).os_release("debian")
    tree.file("/proc/cpuinfo", cpu(vendor, flags)).file(f"{TABLES}/FACP", b"FACP")
    tree.file("/etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"')
    return tree if table is None else tree.file(f"{TABLES}/{table}", b"")


def support(tree: HostTree) -> IommuSupport:
    return read_support(Inventory(tree.host()))


def states(tree: HostTree) -> list[str]:
    short = {State.THERE: "+", State.MISSING: "-", State.UNKNOWN: "?"}
    return [short[part.state] for part in support(tree).parts]


def test_nothing_is_missing() -> None:
    assert states(machine()) == ["+", "+", "+", "+"]
    assert support(machine()).vendor is Vendor.INTEL


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        (machine(flags=""), "-+++"),
        (machine(table=None), "+-++"),
        (machine(config={}), "++-+"),
        (machine(line="intel_iommu=off"), "+++-"),
        (machine(line="intel_iommu=on iommu=off"), "+++-"),
        (machine(line="intel_iommu=on,igfx_off"), "++++"),
        (machine(line="intel_iommu=off intel_iommu=on"), "++++"),
        # Whether the parameter is needed depends on how the kernel was built.
        (machine(line="quiet"), "+++-"),
        (
            machine(
                config={"CONFIG_INTEL_IOMMU": "y", "CONFIG_INTEL_IOMMU_DEFAULT_ON": "y"}, line=""
            ),
            "++++",
        ),
        (machine(config=None, line="quiet"), "++??"),
        (machine(AMD, "svm", "IVRS", {"CONFIG_AMD_IOMMU": "y"}, "quiet"), "++++"),
        (machine(AMD, "svm", "IVRS", {"CONFIG_AMD_IOMMU": "y"}, "amd_iommu=off"), "+++-"),
        (machine(AMD, "svm", "IVRS", {"CONFIG_INTEL_IOMMU": "y"}, "quiet"), "++-+"),
        (machine("VIA VIA VIA", "", None, {}, "quiet"), "???+"),
    ],
)
def test_each_part_is_told_apart(changed: HostTree, wanted: str) -> None:
    assert "".join(states(changed)) == wanted


@pytest.mark.parametrize(
    ("path", "place"),
    [("/proc/cpuinfo", 0), (TABLES, 1), ("/boot/config-6.1.0-18-amd64", 2), ("/proc/cmdline", 3)],
)
def test_what_cannot_be_looked_at_is_neither_there_nor_missing(path: str, place: int) -> None:
    refused = machine().without(path).refused(path, errno.EACCES)
    if path == TABLES:
        refused.folder(path)
    for tree in (machine().without(path), refused):
        assert states(tree)[place] == "?"


def test_remedies_name_file_and_command_of_this_host() -> None:
    part = support(machine(line="quiet")).part("command line")
    assert "intel_iommu=on" in part.remedy
    assert "/etc/default/grub" in part.remedy
    assert "update-grub" in part.remedy
    off = support(machine(line="intel_iommu=off")).part("command line")
    assert "remove intel_iommu=off" in off.remedy


def test_a_virtual_machine_is_told_what_its_hypervisor_has_to_do() -> None:
    tree = machine(flags="vmx hypervisor", table=None)
    assert "intel-iommu" in support(tree).part("firmware").remedy
    assert "setup" in support(machine(table=None)).part("firmware").remedy


def test_the_firmwares_table_tells_whose_iommu_it_is() -> None:
    """An emulated processor may call itself AMD beside an Intel IOMMU."""
    assert support(machine(AMD, "svm", "DMAR", line="intel_iommu=off")).vendor is Vendor.INTEL


def test_groups_prove_that_it_is_in_use() -> None:
    assert support(machine()).in_use is False
    tree = machine().device("0000:00:02.0", group=0)
    tree.file("/sys/class/iommu/dmar0/x", "")
    assert (support(tree).in_use, support(tree).units) == (True, ("dmar0",))
    place = "/sys/kernel/iommu_groups"
    refused = machine().folder(place).refused(place, errno.EACCES)
    assert support(refused).in_use is None
