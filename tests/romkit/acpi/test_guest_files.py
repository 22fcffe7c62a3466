"""What a guest is given: battery, VBIOS, chassis, paths, and how QEMU is told."""

from __future__ import annotations

import random
import re
import shlex
import struct
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from builders.rom import image, pcir, vfct
from hypothesis import given, settings
from hypothesis import strategies as st

from romkit import RomError, parse_rom
from romkit.acpi.battery import Battery, State, Unit
from romkit.acpi.c_include import c_include
from romkit.acpi.chassis import CHASSIS, chassis_structure
from romkit.acpi.errors import AcpiError, TooLarge
from romkit.acpi.machine import parse_machine
from romkit.acpi.path import GuestPath, guest_path, named_path, parse_hops, parse_qemu
from romkit.acpi.qemu import (
    NAMESPACE,
    battery_files,
    chassis_files,
    left_over,
    libvirt_access,
    libvirt_text,
    qemu_arguments,
    shell_text,
    sources,
    vbios_files,
)
from romkit.acpi.vbios import (
    FW_CFG_NAME,
    TOTAL_MAX,
    RomTables,
    choice_notes,
    fw_cfg_tables,
    largest_rom,
    rom_tables,
    rom_to_serve,
)
from romkit.checks import verify
from romkit.finding import blocking
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
    assert f"a ROM of {size} bytes" in refused.value.message
    assert f"hold {largest_rom(PATH)} bytes" in refused.value.message
    assert "--fw-cfg" in refused.value.hint
    assert fw_cfg_tables(bytes(size), PATH).size < 2000


@pytest.mark.parametrize(
    ("place", "node"), [("01.0/00.0", None), ("01.0/00.0", True), ("01.0/00.0/00.0/00.0", True)]
)
def test_the_number_in_the_message_is_what_fits(place: str, node: bool | None) -> None:
    path = guest_path(parse_hops(place), qemu=(7, 2))
    most = largest_rom(path, node=node)
    assert 1700 << 10 < most < 1900 << 10
    assert rom_tables(bytes(most), path, node=node).size <= TOTAL_MAX
    with pytest.raises(TooLarge):
        rom_tables(bytes(most + 1), path, node=node)


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


def test_what_is_said_to_help_is_what_verify_says() -> None:
    """`romkit fix` mends a sum; it does not bring back what is missing."""
    rom = image(pcir(vendor=0x10DE))
    wrong_sum = bytearray(rom)
    wrong_sum[100] ^= 0xFF
    for data, mended in ((bytes(wrong_sum), True), (rom[: len(rom) // 2], False)):
        with pytest.raises(RomError) as refused:
            rom_to_serve(parse_rom(data))
        remedies = [f.remedy for f in blocking(verify(parse_rom(data))) if f.remedy]
        assert remedies
        assert all(remedy in refused.value.hint for remedy in remedies)
        assert ("romkit fix" in refused.value.hint) is mended


def test_of_several_roms_in_a_vfct_the_one_asked_for_is_served() -> None:
    roms = [image(pcir(vendor=0x1002, device=0x1636 + n)) for n in range(3)]
    table = parse_rom(vfct(*roms))
    assert rom_to_serve(table) == roms[0]
    assert [rom_to_serve(table, entry=n) for n in range(3)] == roms
    (note,) = choice_notes(table)
    assert "VFCT entry 0" in note
    assert "VFCT entry 1" in note
    assert "VFCT entry 2" in note
    assert choice_notes(table, 2)[0].startswith("the ROM of VFCT entry 2")
    assert choice_notes(parse_rom(vfct(roms[0]))) == ()
    assert choice_notes(parse_rom(roms[0])) == ()
    with pytest.raises(RomError, match="no entry 3"):
        rom_to_serve(table, entry=3)


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


@pytest.mark.parametrize("build", [rom_tables, fw_cfg_tables])
def test_tables_for_a_device_that_nobody_makes_come_with_a_warning(
    build: Callable[..., RomTables],
) -> None:
    nodeless = guest_path(parse_hops("01.0/00.0"), qemu=(5, 2))
    unknown = guest_path(parse_hops("01.0/00.0"))
    for place in (nodeless, unknown):
        assert "AE_NOT_FOUND" in " ".join(build(b"x", place, node=False).notes)
        assert "AE_NOT_FOUND" not in " ".join(build(b"x", place).notes)
    assert "AE_NOT_FOUND" not in " ".join(build(b"x", PATH, node=False).notes)


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
    with pytest.raises(AcpiError):
        parse_qemu("new")


@pytest.mark.parametrize(
    ("name", "family", "version"),
    [
        ("q35", "q35", None),
        ("pc", "pc", None),
        ("ubuntu-q35", "q35", None),
        ("pc-q35-7.2", "q35", (7, 2)),
        ("pc-i440fx-2.12", "pc", (2, 12)),
        ("pc-1.3", "pc", (1, 3)),
        ("pc-q35-4.0.1", "q35", (4, 0)),
        ("pc-q35-8.1+pve0", "q35", (8, 1)),
        ("pc-q35-noble", "q35", (8, 2)),
        ("pc-q35-noble-v2", "q35", (8, 2)),
        ("pc-i440fx-jammy", "pc", (6, 2)),
        ("pc-i440fx-jammy-hpb", "pc", (6, 2)),
        ("pc-q35-rhel9.4.0", "q35", None),
        ("pc-i440fx-rhel7.6.0", "pc", None),
        ("pc-q35-of-tomorrow", "q35", None),
    ],
)
def test_machine_types_of_distributions_are_taken(
    name: str, family: str, version: tuple[int, int] | None
) -> None:
    machine = parse_machine(name)
    assert (machine.family, machine.version) == (family, version)
    # Upstream's own names say their version; of all others it is said what they are taken for.
    upstream = name.rpartition("-")[2][0].isdigit()
    assert bool(machine.reason) is not (machine.newest or upstream)


@pytest.mark.parametrize(
    "name",
    ["virt-7.2", "microvm", "isapc", "none", "", "pc-q35-", "pc-q35-\n", "pc-q35-" + "9" * 99],
)
def test_what_is_no_pc_with_pci_is_refused(name: str) -> None:
    with pytest.raises(AcpiError, match="no machine type") as refused:
        parse_machine(name)
    assert refused.value.hint


@given(st.text(max_size=80) | st.from_regex(r"pc-(q35|i440fx)-[a-z0-9.+_-]*", fullmatch=True))
def test_any_text_is_a_machine_type_or_refused(text: str) -> None:
    try:
        machine = parse_machine(text)
    except AcpiError:
        return
    assert machine.family in ("q35", "pc")
    assert guest_path(parse_hops("01.0/00.0"), machine=text).reason


@settings(deadline=None)
@given(st.text(alphabet="\\\\\\^._SBPCI0a8", max_size=20).map(lambda text: "\\" + text))
def test_any_path_that_is_taken_can_have_a_rom(text: str) -> None:
    """So that what is wrong with it is wrong usage, and nothing is written."""
    try:
        place = named_path(text)
    except AcpiError:
        return
    for build in (rom_tables, fw_cfg_tables):
        assert all(bytes(table) for table in build(b"x", place, node=False).tables)


def test_a_machine_type_of_unknown_age_promises_no_node() -> None:
    """The QEMU that runs is new; what the machine type keeps of an old one nobody knows."""

    def asked(machine: str) -> GuestPath:
        return guest_path(parse_hops("01.0/00.0"), machine=machine, qemu=(8, 2))

    assert asked("pc-q35-rhel8.2.0").has_node is None
    assert "Red Hat" in asked("pc-q35-rhel8.2.0").reason
    assert asked("pc-q35-focal").has_node is False
    assert asked("pc-q35-noble").has_node is True
    assert "QEMU 8.2" in asked("pc-q35-noble").reason
    assert rom_tables(b"x", asked("pc-q35-rhel8.2.0")).tables[0].oem_table_id == "VBIOSDEV"


@pytest.mark.parametrize(
    "path",
    ["\\", r"\_SB", r"\_SB_", r"\_GPE", "", "SB", "\\^A", r"\a", r"\_SB.", r"\_SB" + ".AAAA" * 254],
)
def test_what_is_no_path_of_a_device_is_refused(path: str) -> None:
    with pytest.raises(AcpiError):
        named_path(path)


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
        {"state": State.CHARGING},
        {"state": State.CHARGING, "percent": 50, "online": False},
        {"state": State.DISCHARGING, "percent": 0},
        {"online": False},
        {"online": False, "present": False},
        {"present": False, "state": State.DISCHARGING},
        {"present": False, "state": State.DISCHARGING, "rate": 5, "online": False},
    ],
)
def test_batteries_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(AcpiError, match="no such battery"):
        Battery(**wrong)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("text", ["ü", "a\0b"])
def test_texts_of_a_battery_are_ascii(text: str) -> None:
    with pytest.raises(AcpiError, match=r"20\.2\.3"):
        Battery(model=text)


def test_side_effects_are_told() -> None:
    # Linux, drivers/acpi/battery.c: rate 0 and AC power is taken for a battery that is not charged.
    quiet = Battery(state=State.DISCHARGING, percent=50)
    assert "Not charging" in " ".join(quiet.notes)
    assert "Not charging" not in " ".join(Battery().notes)
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


def test_libvirt_is_told_who_has_to_read_the_files() -> None:
    who, apparmor, selinux = libvirt_access("/var/lib/acpi x.y/")
    assert "user" in who
    # The rule is for what is in the directory, in the file that diag looks into.
    assert '"/var/lib/acpi x.y/*" rk' in apparmor
    assert "/etc/apparmor.d/local/abstractions/libvirt-qemu" in apparmor
    words = shlex.split(selinux.partition("run: ")[2])
    pattern = words[words.index("virt_content_t") + 1]
    assert re.fullmatch(pattern, "/var/lib/acpi x.y/vbios00.aml")
    assert not re.fullmatch(pattern, "/var/lib/acpi xzy/vbios00.aml")
    assert words[-2:] == ["-R", "/var/lib/acpi x.y"]


def test_files_of_an_earlier_vbios_are_told_apart_from_other_peoples() -> None:
    there = ["vbios00.aml", "vbios07.aml", "vbios07.dsl", "vbios.rom", "vbios.txt", "battery.aml"]
    assert left_over(there, ["vbios00.aml"]) == ("vbios.rom", "vbios07.aml", "vbios07.dsl")
    assert left_over(there, ["chassis.bin"]) == ()
    assert left_over(there, [name for name in there if name.startswith("vbios")]) == ()


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
