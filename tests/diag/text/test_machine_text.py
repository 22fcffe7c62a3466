"""lspci -vmm, the older -vm, and -mm."""

from __future__ import annotations

from diag.pci import PciClass, PciId
from diag.text.reading import parse_text

RECORD = (
    "Slot:\t0000:01:00.0\nClass:\tVGA compatible controller [0300]\nVendor:\tAcme Corp. [10de]\n"
    "Device:\tGX1 [Turbo 9] [1234]\nSVendor:\tLaptop Co. [1558]\nSDevice:\tDevice [0042]\n"
    "Rev:\ta1\nDriver:\tvfio-pci\nModule:\tnouveau\nModule:\tnvidia\nNUMANode:\t1\nIOMMUGroup:\t8\n"
)


def test_a_record() -> None:
    (device,) = parse_text(RECORD).records
    assert device.ids == PciId(0x10DE, 0x1234)
    assert device.subsystem == PciId(0x1558, 0x0042)
    assert device.class_code == PciClass(0x0300)
    assert device.class_name == "VGA compatible controller"
    assert device.modules == ("nouveau", "nvidia")
    assert (device.driver, device.revision) == ("vfio-pci", 0xA1)
    assert (device.numa_node, device.iommu_group) == (1, 8)


def test_damage_to_a_record_is_undone() -> None:
    (whole,) = parse_text(RECORD).records
    noisy = RECORD.replace(
        "NUMANode", "lspci: Unable to load libkmod resources: error -12\nNUMANode"
    )
    right = "\n".join(
        f">    {key.rjust(10)}:\t{value}"
        for key, value in (line.split(":\t") for line in RECORD.splitlines())
    )
    for text in (RECORD.replace("\t", "    "), noisy, right, RECORD.replace("\n", "\r\n")):
        assert parse_text(text).records == (whole,)


def test_the_slot_may_be_called_device() -> None:
    (device,) = parse_text(RECORD.replace("Slot:", "Device:")).records
    assert str(device.address) == "0000:01:00.0"
    assert device.ids == PciId(0x10DE, 0x1234)


def test_blank_lines_between_records() -> None:
    second = RECORD.replace("01:00.0", "02:00.0").replace("Driver:\tvfio-pci\n", "")
    reading = parse_text(f"{RECORD}\n\n{second}")
    assert [d.driver for d in reading.records] == ["vfio-pci", None]
    assert reading.format == "lspci-vmm"


def test_numbers_only() -> None:
    (device,) = parse_text("Slot: 04:00.0\nClass: 0880\nVendor: 8086\nDevice: 15bf\n").records
    assert device.ids == PciId(0x8086, 0x15BF)
    assert device.class_code == PciClass(0x0880)


def test_names_only_are_no_ids() -> None:
    (device,) = parse_text(
        "Slot: 04:00.0\nClass: Host bridge\nVendor: Acme\nDevice: 15bf\n"
    ).records
    assert device.ids is None
    assert device.class_code is None


def test_quoted_fields() -> None:
    (device,) = parse_text(
        '01:00.0 "VGA compatible controller [0300]" "Acme [10de]" "GX \\"1\\" [1234]" '
        '-ra1 -p00 "Laptop Co. [1558]" "Device [0042]"\n'
    ).records
    assert device.ids == PciId(0x10DE, 0x1234)
    assert device.subsystem == PciId(0x1558, 0x42)
    assert device.name == 'Acme GX "1"'
    assert (device.revision, device.prog_if) == (0xA1, 0)
