"""Kernel logs: prefixes, wrapped lines, look-alikes."""

from __future__ import annotations

import pytest

from diag.text.dmesg import Log
from diag.text.lines import parse_lines
from diag.text.problems import MEANINGS, PROBLEMS
from diag.text.reading import parse_text

PREFIXES = [
    "[   12.345678] ", "[Thu May 26 17:04:45 2022] ", "Aug 16 19:25:51 host kernel: [85385.2] ",
    "août 25 19:38:03 host kernel: ", "<6>[    2.6] ", "6,3964,206764307,-;", "> [   12.3] ",
    "    [   12.3] ", "2022-07-12T22:08:31.781466Z qemu-system-x86_64: ", "",
]  # fmt: skip

#: One line for each problem, in the words of the kernel, NVIDIA's driver or QEMU.
WORDS = {
    "group_not_viable": "vfio 0000:01:00.0: group 7 is not viable",
    "stuck_d3": "vfio: Unable to power on device, stuck in D3",
    "not_ready_flr": "vfio-pci 0000:01:00.0: not ready 1023ms after FLR; waiting",
    "not_ready_bus_reset": "pciback 0007:01:00.0: not ready 65535ms after bus reset; giving up",
    "rom_header_signature": "vfio-pci 0000:01:00.0: Invalid PCI ROM header signature: expecting "
    "0xaa55, got 0xffff",
    "bar_reserve": "vfio-pci 0000:01:00.0: BAR 1: can't reserve [mem 0xd0000000-0xdfffffff]",
    "fallen_off_bus": "NVRM: GPU 0000:01:00.0: GPU has fallen off the bus.",
    "xid": "NVRM: Xid (PCI:0000:01:00): 62, pid=1, 0c83(1870)",
    "rm_init_failed": "NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x26:0x1a:1227)",
    "amdvi_completion_wait": "AMD-Vi: Completion-Wait loop timed out",
    "io_page_fault": "ahci 0000:0c:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0017]",
    "dmar_fault": "DMAR: [DMA Read] Request device [01:00.0] fault addr 7ee29000",
    "header_7f": "pci 0000:01:00.0: unknown header type 7f, ignoring device",
    "link_retrain_failed": "pcieport 0000:00:01.0: retraining failed",
    "power_state_inaccessible": "vfio-pci 0000:01:00.0: Unable to change power state from D3cold "
    "to D0, device inaccessible",
    "pcie_aer_dpc": "pcieport 0000:00:1d.0: PCIe Bus Error: severity=Uncorrected",
    "flr_pending_timeout": "vfio-pci 0000:01:00.0: timed out waiting for pending transaction; "
    "performing function level reset anyway",
}  # fmt: skip


#: The functions that those lines name, where it is not 01:00.0.
DEVICES = {
    "stuck_d3": [],
    "not_ready_bus_reset": ["0007:01:00.0"],
    "xid": [],
    "amdvi_completion_wait": [],
    "io_page_fault": ["0000:0c:00.0"],
    "link_retrain_failed": ["0000:00:01.0"],
    "pcie_aer_dpc": ["0000:00:1d.0"],
}


def log(text: str) -> Log:
    found = parse_text(text).log
    assert found is not None
    return found


def test_every_problem_has_a_line_here_and_a_meaning() -> None:
    assert set(WORDS) == {problem.name for problem in PROBLEMS} == set(MEANINGS)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", WORDS)
def test_a_problem_is_known_behind_any_prefix(name: str, prefix: str) -> None:
    (line,) = log(f"\n{prefix}{WORDS[name]}\n").problems
    assert line.problems == (name,)
    assert line.number == 2
    assert [str(address) for address in line.devices] == DEVICES.get(name, ["0000:01:00.0"])


@pytest.mark.parametrize(
    "text",
    [
        "AMD-Vi: AMD IOMMUv2 functionality not available on this system - This is not a bug.",
        "DMAR: IOMMU feature pgsel_inv inconsistent",
        "DMAR: No ATSR found",
        "dmar_fault: 497 callbacks suppressed",
        "pcieport 0000:00:1c.0: AER: enabled with IRQ 122",
        "pcieport 0000:00:1c.0: DPC: enabled with IRQ 122",
        "pcieport 0000:00:1c.0: DPC: error containment capabilities: Int Msg #0",
        "NVRM: GPU at PCI:0000:01:00: GPU-00000000-0000-0000-0000-000000000000",
    ],
)
def test_what_looks_like_a_problem_and_is_none(text: str) -> None:
    assert log(f"[    1.0] {text}\n").problems == ()


def test_words_that_were_wrapped() -> None:
    wrapped = log(
        "Aug 16 19:25:51 host kernel: [85385.2] NVRM: Xid (PCI:0000:01:00): 79,\n"
        "pid='<unknown>', GPU has fallen off the bus.\n"
        "Aug 16 19:25:51 host kernel: [85385.2] NVRM: GPU 0000:01:00.0: GPU has fallen off\n"
        "the bus.\n"
    )
    assert [(line.number, line.problems) for line in wrapped.problems] == [
        (1, ("xid",)), (2, ("fallen_off_bus",)), (3, ("fallen_off_bus",)),
    ]  # fmt: skip
    assert (wrapped.xids, wrapped.xid_slots) == ((79,), ("0000:01:00",))


@pytest.mark.parametrize(
    ("text", "iommu"),
    [
        ("DMAR-IR: Enabled IRQ remapping in x2apic mode", "intel"),
        ("DMAR: Intel(R) Virtualization Technology for Directed I/O", "intel"),
        ("AMD-Vi: Interrupt remapping enabled", "amd"),
        # A table, or a fault, is no driver that started.
        ("ACPI: DMAR 0x0000000087ACAD28 000070 (v01 INTEL  SKL      00000001)", None),
        ("AMD-Vi: Completion-Wait loop timed out", None),
    ],
)
def test_whose_iommu_is_on(text: str, iommu: str | None) -> None:
    assert log(f"[    0.1] {text}\n").iommu == iommu


def test_the_command_line_in_a_log() -> None:
    reading = parse_text("[    0.0] Command line: BOOT_IMAGE=/vmlinuz root=/dev/sda1 iommu=pt\n")
    assert reading.format == "dmesg"
    assert [p.key for p in reading.command_lines.parameters] == ["BOOT_IMAGE", "root", "iommu"]


def test_a_time_is_no_address() -> None:
    (line,) = log("2022-07-12T22:08:11.781466Z qemu: 22:08:11.7 stuck in D3, 08:11.7814\n").problems
    assert line.devices == ()


def test_numbers_count_the_lines_as_they_came() -> None:
    assert [line.number for line in parse_lines("a\r\n\r\nb\n\n\nc")] == [1, 3, 6]
