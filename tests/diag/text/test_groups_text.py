"""The shapes that scripts and tools give to IOMMU groups."""

from __future__ import annotations

import pytest

from diag.pci import PciAddress, PciId
from diag.text.reading import parse_text

GPU = PciAddress.parse("01:00.0")
PORT_LINE = "00:01.0 PCI bridge [0604]: Acme Port (x16) [8086:1901] (rev 05)"
GPU_LINE = "01:00.0 VGA compatible controller [0300]: Acme GX1 [Turbo] [10de:1234] (rev a1)"
TONE_LINE = "01:00.1 Audio device [0403]: Acme Tone [10de:0fff] (rev a1)"
DISK_LINE = "02:00.0 SATA controller [0106]: Acme Disk [1b21:0612]"
GROUPS = {1: [PORT_LINE, GPU_LINE, TONE_LINE], 12: [DISK_LINE]}


def under(heading: str, indent: str) -> str:
    return "\n".join(
        line
        for number, devices in GROUPS.items()
        for line in (heading.format(number), *(indent + device for device in devices))
    )


def beside(start: str) -> str:
    return "\n".join(
        f"{start.format(number)} {device}"
        for number, devices in GROUPS.items()
        for device in devices
    )


FIELDS = "\n".join(
    f"IOMMU: dmar0\nIOMMU Group: {number}\n"
    + "\n".join(f"Group Device: 0000:{device.replace(' ', ' - ', 1)}" for device in devices * 3)
    for number, devices in GROUPS.items()
)
IDS_FIRST = (
    "Group 1:\t[8086:1901] [R] 00:01.0  PCI bridge                               Acme Port (x16)\n"
    "\t\t[10de:1234] [R] 01:00.0  VGA compatible controller                GX1 [Turbo]\n"
    "\t\t[10de:0fff]     01:00.1  Audio device                             Acme Tone\n"
    "Group 12:\t[1b21:0612] [R] 02:00.0  SATA controller                          Acme Disk\n"
    "USB:\t\t[0b05:1939]\t\t Bus 001 Device 004                       Acme Lamp\n"
)
TABLE = (
    "┌──────────┬────────┬──────────────┬────────────┬────────┬──────────────\n"
    "│ class    │ device │ id           │ iommugroup │ vendor │ device_name  \n"
    "╞══════════╪════════╪══════════════╪════════════╪════════╪══════════════\n"
    "│ 0x010601 │ 0x0612 │ 0000:02:00.0 │         12 │ 0x1b21 │ Acme Dis\n"
    "├──────────┼────────┼──────────────┼────────────┼────────┼──────────────\n"
    "│ 0x030000 │ 0x1234 │ 0000:01:00.0 │          1 │ 0x10de │ GX1 [Tur\n"
    "│ 0x040300 │ 0x0fff │ 0000:01:00.1 │          1 │ 0x10de │\n"
    "│ 0x060400 │ 0x1901 │ 0000:00:01.0 │          1 │ 0x8086 │ Acme Port\n"
)
SHAPES = {
    "one line": beside("IOMMU Group {}"),
    "one line, small": beside("IOMMU group {}"),
    "one line, colon": beside("IOMMU Group {}:"),
    "one line, padded": beside("IOMMU Group {:03d}:"),
    "tabs": under("IOMMU Group {}:", "\t"),
    "spaces": under("IOMMU group {}", "        "),
    "no indent": under("IOMMU group {}:", ""),
    "moved as a whole": under("  IOMMU Group {}:", "    "),
    "marked": under("### Group {} ###", ""),
    "fields": FIELDS,
    "ids first": IDS_FIRST,
    "ids first, indented": "\n".join("    " + line for line in IDS_FIRST.splitlines()),
    "ids first, spaces lost": "\n".join(" ".join(line.split()) for line in IDS_FIRST.splitlines()),
    "table": TABLE,
    "quoted": "\n".join("> " + line for line in under("IOMMU Group {}:", "\t").splitlines()),
    "remarks": under("## mine, mine!\nIOMMU Group {}:", "\t") + "\n\n...\n",
    "command line first": "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet\n"
    + beside("IOMMU Group {}"),
    "drivers too": under("IOMMU Group {}:", "\t").replace(
        TONE_LINE, TONE_LINE + "\n\t\tKernel driver in use: vfio-pci"
    ),
    "domains": under("IOMMU Group {}:", "\t").replace("\t0", "\t0000:0"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_says_the_same(shape: str) -> None:
    reading = parse_text(SHAPES[shape])
    assert {group.number: [str(a) for a in group.addresses] for group in reading.groups} == {
        1: ["0000:00:01.0", "0000:01:00.0", "0000:01:00.1"],
        12: ["0000:02:00.0"],
    }
    assert reading.format.startswith("iommu-")
    assert reading.gpus == (GPU,)
    assert reading.device(GPU).ids == PciId(0x10DE, 0x1234) or shape == "no ids"
    verdict = reading.verdict(GPU)
    assert verdict.isolation.value == "isolated"
    assert [str(address) for address in verdict.bridges] == ["0000:00:01.0"]


def test_order_does_not_count() -> None:
    lines = beside("IOMMU Group {}").splitlines()
    assert parse_text("\n".join(reversed(lines))).groups == parse_text("\n".join(lines)).groups


@pytest.mark.parametrize("start", ["", "  ", "$ find /sys/kernel/iommu_groups/ -type l\n"])
def test_paths_alone_give_no_verdict(start: str) -> None:
    reading = parse_text(
        f"{start}/sys/kernel/iommu_groups/1/devices/0000:01:00.0\n"
        "/sys/kernel/iommu_groups/1/devices/0000:00:01.0\n"
    )
    assert reading.gpus == ()
    assert reading.verdict(GPU).isolation.value == "unknown"


def test_a_comment_names_a_gpu_and_proves_nothing() -> None:
    reading = parse_text(
        "/sys/kernel/iommu_groups/1/devices/0000:00:01.0 # PCI bridge\n"
        "/sys/kernel/iommu_groups/1/devices/0000:01:00.0 # VGA compatible controller\n"
    )
    assert reading.gpus == (GPU,)
    assert reading.verdict(GPU).isolation.value == "unknown"


def test_listed_folders() -> None:
    reading = parse_text(
        "$ ls -l /sys/kernel/iommu_groups/*/devices\n"
        "/sys/kernel/iommu_groups/1/devices:\ntotal 0\n"
        "lrwxrwxrwx 1 root root 0 Jan  1 00:00 0000:01:00.0 -> ../../../../devices/pci/01\n\n"
        "/sys/kernel/iommu_groups/2/devices:\n0000:02:00.0\n"
    )
    assert [(g.number, len(g.members)) for g in reading.groups] == [(1, 1), (2, 1)]


ISA_LINE = "00:1f.0 ISA bridge [0601]: Acme LPC [8086:a145]"
HOST_LINE = "00:02.0 Host bridge [0600]: Acme Root [1022:1424]"


def test_strangers_are_named() -> None:
    text = "IOMMU Group 1:\n" + "\n".join(
        "\t" + line for line in (HOST_LINE, PORT_LINE, ISA_LINE, GPU_LINE, TONE_LINE, DISK_LINE)
    )
    verdict = parse_text(text).verdict(GPU)
    assert [str(address) for address in verdict.strangers] == ["0000:00:1f.0", "0000:02:00.0"]
    assert [str(address) for address in verdict.bridges] == ["0000:00:01.0", "0000:00:02.0"]


def test_split_functions_are_told_and_no_fault() -> None:
    reading = parse_text(f"IOMMU Group 1:\n\t{GPU_LINE}\nIOMMU Group 2:\n\t{TONE_LINE}\n")
    assert reading.verdict(GPU).isolation.value == "isolated"
    assert [str(a) for a in reading.functions_elsewhere(GPU)] == ["0000:01:00.1"]


def test_the_kernel_announces_groups() -> None:
    reading = parse_text(
        "[    0.5] pci 0000:01:00.0: Adding to iommu group 1\n"
        "[    0.5] pci 0000:01:00.1: Adding to iommu group 1\n"
    )
    assert [len(group.members) for group in reading.log_groups] == [2]
    assert reading.groups == ()


def test_a_listing_after_the_groups_is_not_in_the_last_group() -> None:
    text = (
        under("IOMMU Group {}:", "\t")
        + "\n$ lspci -nnk\n"
        + GPU_LINE
        + "\n"
        + ("03:00.0 USB controller [0c03]: Acme [1b21:1242]\n")
    )
    assert len(parse_text(text).groups[1].members) == 1
    usb = "03:00.0 USB controller [0c03]: Acme [1b21:1242]\n"
    for text in (
        # No prompt: what is indented is a member, what is not is another listing.
        under("IOMMU Group {}:", "\t") + "\n" + usb,
        # A function in its second group: the other listing has begun.
        under("IOMMU Group {}:", "") + "\n" + GPU_LINE + "\n" + usb,
        # Each line names its group, but this one.
        beside("IOMMU Group {}") + "\n" + usb,
    ):
        assert [str(address) for address in parse_text(text).groups[1].addresses] == [
            "0000:02:00.0"
        ]


def test_a_script_is_no_listing() -> None:
    text = "$ for d in *; do printf 'IOMMU group %s ' 7; lspci -nns 01:00.0; done\n"
    assert parse_text(text).format is None
