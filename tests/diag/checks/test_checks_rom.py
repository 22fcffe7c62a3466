"""Checks of where the ROM is to be had."""

from __future__ import annotations

import errno

import pytest
from builders.asked import ask, only, said, verdicts
from builders.laptop import GPU, RESOURCE, acer, laptop
from builders.rom import image, pcir, vfct

from diag.checks import rom
from diag.checks.rom import ROM_CHECKS

TABLES = "/sys/firmware/acpi/tables"
NO_ROM = "\n".join([*RESOURCE.splitlines()[:6], "0x0 0x0 0x0"])
#: Method (_ROM, 2) { Return (Arg0) }: MethodOp, package length, name, flags, body (ACPI 20.2.5.2).
METHOD = bytes.fromhex("1408") + b"_ROM" + bytes.fromhex("02a468")


def ssdt(*paths: bytes) -> bytes:
    """A table with the method in the scopes of these paths (ACPI 6.5, 5.2.6, 20.2.5.1)."""
    scopes = b"".join(b"\x10" + bytes([1 + len(path + METHOD)]) + path + METHOD for path in paths)
    return b"SSDT" + (36 + len(scopes)).to_bytes(4, "little") + bytes(28) + scopes


#: Their names as AML has them: root, MultiNamePrefix, how many parts.
DISCRETE, OTHER = b"\x5c\x2f\x04_SB_PCI0PEG0PEGP", b"\x5c\x2f\x03_SB_PCI0GFX0"

#: A VFCT whose entries are for 1002:1636 and 1002:1637.
VFCT = vfct(image(pcir(vendor=0x1002, device=0x1636)), image(pcir(vendor=0x1002, device=0x1637)))


@pytest.mark.parametrize("check", ROM_CHECKS, ids=lambda check: check.slug)
def test_a_laptop_in_order_fails_nothing(check: rom.Check) -> None:
    assert {f.verdict.value for f in ask(check, laptop())} <= {"pass"}


def test_a_rom_bar_is_a_source() -> None:
    found = only(rom.source, laptop())
    assert "ROM BAR" in found.title
    assert str(512 << 10) in said(found)


def test_a_card_without_rom_bar_has_its_rom_in_the_firmware_or_nowhere() -> None:
    bare = laptop(attributes={"resource": NO_ROM}, acpi_path="\\_SB_.PCI0.PEG0.PEGP")
    assert only(rom.source, bare).verdict.value == "fail"
    bare.file(f"{TABLES}/SSDT2", ssdt(DISCRETE))
    assert "_ROM" in only(rom.source, bare).title
    # A name without its MethodOp is a call, or chance.
    bare.file(f"{TABLES}/SSDT2", b"SSDT" + bytes(40) + METHOD[1:])
    assert only(rom.source, bare).verdict.value == "fail"
    bare.file(f"{TABLES}/dynamic/SSDT3", ssdt(OTHER, DISCRETE))
    assert only(rom.source, bare).verdict.value == "pass"


def test_a_method_of_another_device_is_no_source() -> None:
    bare = laptop(attributes={"resource": NO_ROM}, acpi_path="\\_SB_.PCI0.PEG0.PEGP")
    bare.file(f"{TABLES}/SSDT2", ssdt(OTHER))
    found = only(rom.source, bare)
    assert found.verdict.value == "fail"
    assert "of \\_SB.PCI0.GFX0" in said(found)


def test_a_method_of_whoever_is_neither_a_source_nor_none() -> None:
    bare = laptop(attributes={"resource": NO_ROM}, acpi_path="\\_SB_.PCI0.PEG0.PEGP")
    bare.file(f"{TABLES}/SSDT2", b"SSDT" + bytes(40) + METHOD)
    found = only(rom.source, bare)
    assert found.verdict.value == "unknown"
    assert "cannot be told" in found.title
    assert f"{TABLES}/SSDT2" in said(found)


def test_tables_that_only_root_reads_make_it_unknown() -> None:
    bare = laptop(attributes={"resource": NO_ROM}, acpi_path="\\_SB_.PCI0.PEG0.PEGP")
    bare.refused(f"{TABLES}/DSDT")
    assert verdicts(rom.source, bare) == [(GPU, "unknown")]
    # The ROM BAR is enough where there is one.
    assert verdicts(rom.source, laptop().refused(f"{TABLES}/DSDT")) == [(GPU, "pass")]


def amd(device: int) -> object:
    return laptop(vendor=0x1002, device=device, attributes={"resource": NO_ROM})


def test_the_vfct_counts_for_its_own_devices_only() -> None:
    ours = laptop(vendor=0x1002, device=0x1637, attributes={"resource": NO_ROM})
    ours.file(f"{TABLES}/VFCT", VFCT)
    assert "VFCT" in only(rom.source, ours).title
    assert verdicts(rom.vfct, ours) == [(GPU, "pass")]
    other = laptop(vendor=0x1002, device=0x73DF, attributes={"resource": NO_ROM})
    other.file(f"{TABLES}/VFCT", VFCT)
    assert verdicts(rom.source, other) == [(GPU, "fail")]
    found = only(rom.vfct, other)
    assert (found.verdict.value, "1002:1636 1002:1637" in said(found)) == ("fail", True)
    assert verdicts(rom.vfct, other.refused(f"{TABLES}/VFCT")) == [("", "unknown")]
    assert ask(rom.vfct, laptop().file(f"{TABLES}/VFCT", VFCT)) == []


@pytest.mark.parametrize("junk", [b"", b"VFCT", VFCT[:80], bytes(5000)])
def test_a_broken_vfct_has_no_rom(junk: bytes) -> None:
    tree = laptop(vendor=0x1002, device=0x73DF, attributes={"resource": NO_ROM})
    assert verdicts(rom.vfct, tree.file(f"{TABLES}/VFCT", junk)) == [(GPU, "fail")]


def test_the_boot_display_shows_a_copy() -> None:
    found = only(rom.shadow, laptop(boot_vga=True))
    assert (found.verdict.value, "boot with another GPU" in found.remedy) == ("fail", True)
    assert ask(rom.shadow, laptop(class_=0x030200, boot_vga=None)) == []


def test_a_muxless_card_asks_the_firmware() -> None:
    tree = acer().file(f"{TABLES}/DSDT", b"DSDT" + bytes(40))
    assert verdicts(rom.muxless, tree) == [(GPU, "fail")]
    assert verdicts(rom.muxless, tree.file(f"{TABLES}/SSDT1", ssdt(OTHER))) == [(GPU, "fail")]
    assert verdicts(rom.muxless, tree.file(f"{TABLES}/SSDT1", METHOD)) == [(GPU, "unknown")]
    tree.file(f"{TABLES}/SSDT1", ssdt(DISCRETE))
    assert verdicts(rom.muxless, tree) == [(GPU, "pass")]
    refused = acer().refused(f"{TABLES}/DSDT")
    assert verdicts(rom.muxless, refused) == [(GPU, "unknown")]
    assert ask(rom.muxless, laptop()) == []


def test_whether_the_rom_can_be_read_now() -> None:
    assert verdicts(rom.readable, laptop()) == [(GPU, "pass")]
    assert "EIO" in only(rom.readable, laptop(driver=None)).title
    assert "ones only" in only(rom.readable, laptop(config=b"\xff" * 64)).title
    asleep = laptop(power_state="D3hot", runtime_status="suspended")
    assert verdicts(rom.readable, asleep) == [(GPU, "unknown")]
    refused = laptop()
    refused.refused(f"{refused.place(GPU)}/config", errno.EIO)
    assert verdicts(rom.readable, refused) == [(GPU, "unknown")]
