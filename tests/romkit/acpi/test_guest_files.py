"""What a guest is given: battery, VBIOS, chassis, paths, and how QEMU is told."""

from __future__ import annotations

import random
import shlex
import struct
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from romkit import RomError, parse_rom
from romkit.acpi.battery import Battery, State, Unit
from romkit.acpi.c_include import c_include
from romkit.acpi.chassis import CHASSIS, chassis_structure
from romkit.acpi.errors import AcpiError, TooLarge
from romkit.acpi.path import guest_path, named_path, parse_hops, parse_machine, parse_qemu
from romkit.acpi.qemu import (
    NAMESPACE,
    battery_files,
    chassis_files,
    libvirt_text,
    qemu_arguments,
    shell_text,
    sources,
    vbios_files,
)
from romkit.acpi.vbios import FW_CFG_NAME, fw_cfg_tables, rom_tables, rom_to_serve
from romkit.recipe import build_rom, load_recipe

RECIPES = Path(__file__).parents[2] / "fixtures/recipes"
PATH = guest_path(parse_hops("01.0/00.0"), qemu=(7, 2))

#: QEMU's limits, as its messages say: one table, and all together.
ONE_TABLE, ALL_TABLES = 65535, 0x200000


def recipe(name: str) -> bytes:
    return build_rom(load_recipe((RECIPES / f"{name}.toml").read_text()))


# Section: the VBIOS


@pytest.mark.parametrize("size", [1, 0xE000, 0xE001, 256 << 10, 1536 << 10, 1700 << 10])
def test_tables_of_a_rom_keep_within_qemus_limits(size: int) -> None:
    tables = rom_tables(random.Random(size).randbytes(size), PATH)
    sizes = [len(bytes(table)) for table in tables.tables]
    assert max(sizes) <= ONE_TABLE
    # QEMU's own tables need some, too.
    assert sum(sizes) == tables.size < ALL_TABLES - 32768
    assert len({table.oem_table_id for table in tables.tables}) == len(sizes)


@pytest.mark.parametrize("size", [1900 << 10, 2 << 20, 64 << 20])
def test_a_rom_beyond_the_limits_is_refused_with_a_way_out(size: int) -> None:
    with pytest.raises(TooLarge) as refused:
        rom_tables(bytes(size), PATH)
    assert "QEMU takes" in refused.value.message
    assert "--fw-cfg" in refused.value.hint
    assert fw_cfg_tables(bytes(size), PATH).size < 2000


def test_a_rom_is_built_in_milliseconds() -> None:
    rom = random.Random(0).randbytes(256 << 10)
    before = time.process_time()
    assert rom_tables(rom, PATH).size > len(rom)
    # By way of ASL text it would be ten seconds.
    assert time.process_time() - before < 0.5


def test_no_rom_is_refused() -> None:
    for build in (rom_tables, fw_cfg_tables):
        with pytest.raises(AcpiError, match="empty"):
            build(b"", PATH)


def test_what_surrounds_a_rom_is_not_served() -> None:
    data = recipe("nvidia_desktop_pascal_nvgi2")
    served = rom_to_serve(parse_rom(data))
    assert served[:2] == b"\x55\xaa"
    assert data[:2] != b"\x55\xaa"
    assert served in data


@pytest.mark.parametrize("name", ["bad_checksum", "truncated"])
def test_a_rom_with_faults_is_not_served(name: str) -> None:
    with pytest.raises(RomError) as refused:
        rom_to_serve(parse_rom(recipe(name)))
    assert refused.value.hint


def test_large_tables_come_with_a_warning() -> None:
    large, small = (rom_tables(bytes(size), PATH).notes for size in (256 << 10, 40 << 10))
    assert "SeaBIOS before 1.16" in " ".join(large)
    assert small == ()


def test_the_node_is_made_only_where_qemu_may_not() -> None:
    def names(path: str, **options: object) -> list[str]:
        place = guest_path(parse_hops(path), **options)  # type: ignore[arg-type]  # as given
        return [table.oem_table_id for table in rom_tables(b"x", place).tables]

    assert names("01.0/00.0", qemu=(7, 2)) == ["VBIOS00", "VBIOSROM"]
    assert names("01.0/00.0", qemu=(5, 2)) == ["VBIOSDEV", "VBIOS00", "VBIOSROM"]
    assert names("01.0/00.0") == ["VBIOSDEV", "VBIOS00", "VBIOSROM"]
    assert names("03.0", machine="pc") == ["VBIOS00", "VBIOSROM"]
    with pytest.raises(AcpiError, match="no node can be made"):
        rom_tables(b"x", named_path(r"\_SB.PCI0.GFX0"), node=True)


# Section: paths


@pytest.mark.parametrize(
    ("hops", "options", "path", "has_node"),
    # As measured in guests of QEMU 5.2, 7.2 and 10.0.
    [
        ("01.0", {}, r"\_SB.PCI0.S08", True),
        ("01.0/00.0", {"qemu": (7, 2)}, r"\_SB.PCI0.S08.S00", True),
        ("01.0/00.0", {"qemu": (10, 0)}, r"\_SB.PCI0.S08.S00", True),
        ("01.0/00.0", {"qemu": (5, 2)}, r"\_SB.PCI0.S08.S00", False),
        ("01.0/00.0", {"qemu": (7, 2), "machine": "pc-q35-6.0"}, r"\_SB.PCI0.S08.S00", False),
        ("01.0/00.0", {"qemu": (7, 2), "machine": "pc-q35-6.1"}, r"\_SB.PCI0.S08.S00", True),
        ("01.0/00.0", {"qemu": (7, 2), "bridge_hotplug": False}, r"\_SB.PCI0.S08.S00", False),
        ("01.1/00.0", {"qemu": (7, 2)}, r"\_SB.PCI0.S09.S00", True),
        ("01.0/00.1", {"qemu": (7, 2)}, r"\_SB.PCI0.S08.S01", False),
        ("01.0/00.0", {}, r"\_SB.PCI0.S08.S00", None),
        ("3", {"machine": "pc"}, r"\_SB.PCI0.S18", True),
        ("0x3.0x0", {"machine": "pc-i440fx-5.2"}, r"\_SB.PCI0.S18", True),
        ("1f.0", {}, r"\_SB.PCI0.SF8", None),
        ("01.0/00.0/02.0/00.0", {"qemu": (7, 2)}, r"\_SB.PCI0.S08.S00.S10.S00", None),
    ],
)
def test_paths_are_those_of_qemu(
    hops: str, options: dict[str, object], path: str, has_node: bool | None
) -> None:
    place = guest_path(parse_hops(hops), **options)  # type: ignore[arg-type]  # as given
    assert (place.path, place.has_node) == (path, has_node)
    assert named_path(path).hops == place.hops


@pytest.mark.parametrize("text", ["", "20.0", "1.8", "01:00.0", "x", "1//2", "1.0/"])
def test_what_is_no_way_to_a_device_is_refused(text: str) -> None:
    with pytest.raises(AcpiError, match="no way to a device"):
        parse_hops(text)


def test_versions_and_machine_types_are_read_as_people_write_them() -> None:
    assert parse_qemu("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)") == (7, 2)
    assert parse_qemu("10.0") == (10, 0)
    assert parse_machine("pc-i440fx-2.12") == ("pc", (2, 12))
    assert parse_machine("q35") == ("q35", None)
    for wrong in (lambda: parse_qemu("new"), lambda: parse_machine("virt-7.2")):
        with pytest.raises(AcpiError):
            wrong()


# Section: battery and chassis


@pytest.mark.parametrize(
    "wrong",
    [
        {"capacity": 0},
        {"capacity": 0xFFFFFFFF},
        {"percent": 101},
        {"percent": -1},
        {"voltage": 0},
        {"rate": 5},
        {"rate": -1, "state": State.CHARGING},
    ],
)
def test_batteries_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(AcpiError, match="no such battery"):
        Battery(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_side_effects_are_told() -> None:
    assert "touchpad" in " ".join(Battery().notes)
    assert "mWh only" in " ".join(Battery(unit=Unit.MAH).notes)


def test_the_chassis_is_a_well_formed_structure() -> None:
    # SMBIOS 3.6, 7.4: type 3, length, kind at offset 5; strings end with two zeros.
    data = chassis_structure("notebook", manufacturer="Acer")
    kind, length, _handle, manufacturer, chassis = struct.unpack_from("<BBHBB", data)
    assert (kind, manufacturer, chassis) == (3, 1, 10)
    assert data[length:] == b"Acer\0\0"
    # Contained elements: none, so the fixed part ends with the SKU number at 0x15.
    assert (length, data[0x13]) == (0x16, 0)
    for bad in ({"kind": "toaster"}, {"manufacturer": "ü"}, {"manufacturer": ""}):
        with pytest.raises(AcpiError):
            chassis_structure(**bad)
    assert len(set(CHASSIS.values())) == len(CHASSIS)


# Section: what QEMU is told


def test_arguments_name_every_file_in_its_order() -> None:
    rom = fw_cfg_tables(b"x" * 100, PATH)
    files = [*battery_files(), *vbios_files(rom), *chassis_files()]
    arguments = qemu_arguments(files, "/a dir,x/")
    assert arguments == (
        ("-acpitable", "file=/a dir,,x/battery.aml"),
        ("-acpitable", "file=/a dir,,x/vbios00.aml"),
        ("-fw_cfg", f"name={FW_CFG_NAME},file=/a dir,,x/vbios.rom"),
        ("-smbios", "file=/a dir,,x/chassis.bin"),
    )
    flat = [part for pair in arguments for part in pair]
    assert shlex.split(shell_text(arguments).replace("\\\n", "")) == flat
    xml = f"<domain {NAMESPACE}>{libvirt_text(arguments)}</domain>"
    space = "{http://libvirt.org/schemas/domain/qemu/1.0}"
    root = ElementTree.fromstring(xml)
    assert [e.get("value") for e in root.iterfind(f"{space}commandline/{space}arg")] == flat


def test_a_colon_would_be_two_files() -> None:
    with pytest.raises(AcpiError, match="colon"):
        qemu_arguments(battery_files(), "/a:b")
    assert qemu_arguments(chassis_files(), "/a:b")


def test_sources_are_for_those_who_compile_them() -> None:
    files = [*battery_files(), *chassis_files()]
    texts = sources(files, asl=True, c=True)
    assert sorted(texts) == ["battery.dsl", "battery.h", "chassis.h"]
    assert texts["battery.dsl"].startswith(b"DefinitionBlock")
    assert sources(files) == {}


def test_a_c_array_holds_the_bytes() -> None:
    data = bytes(range(256))
    text = c_include(data, "table")
    body = text[text.index("{") + 1 : text.index("}")]
    assert bytes(int(part, 16) for part in body.split(",")) == data
    assert "table_len = 256;" in text
    with pytest.raises(AcpiError, match="no name in C"):
        c_include(data, "1-2")
