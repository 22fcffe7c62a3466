"""A profile's mistakes: each with its line, its key, and what is allowed."""

from __future__ import annotations

import re
import tomllib

import pytest
from builders.vm import FOLDER, argv, example, guest, profile
from hypothesis import given
from hypothesis import strategies as st

from diag.errors import DiagError
from passthrough.vm.key import keys_of
from passthrough.vm.parse import parse_profile
from passthrough.vm.problem import BadProfile, Problem
from passthrough.vm.sections import REPEATED, SECTIONS
from passthrough.vm.template import example_names, renamed, template_text, toml_value
from passthrough.vm.toml_lines import key_lines

GPU = '[gpu]\naddress = "01:00.0"\n'


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(BadProfile) as caught:
        guest(text)
    for problem in caught.value.problems:
        assert problem.text("win10.toml") in caught.value.message
    return caught.value.problems


# The key, its line (the name stands on line 1), and a word that is allowed or explains.
WRONG = [
    ('[cpu]\ncores = "two"', "cpu.cores", 3, "whole number from 1 to 256"),
    ("[cpu]\n\ncores = 0", "cpu.cores", 4, "from 1 to 256"),
    ("[cpu]\ncores = true", "cpu.cores", 3, "whole number"),
    ('[cpu]\npin = [\n "1",\n "x",\n]', "cpu.pin[2]", 5, '"1,5" or "0-3"'),
    ('[cpu]\npin = ["1"]', "cpu.pin", 3, "one entry for each"),
    ('[cpu]\npin = ["1", "3-2"]', "cpu.pin[2]", 3, "0-3"),
    ("[cpu]\nisolate = true", "cpu.isolate", 3, "cpu.pin"),
    ("[cpu]\nsockets = 8\ncores = 64", "cpu.cores", 4, "288 in all"),
    ('[machine]\naccel = "tcg"', "cpu.model", None, "`max`"),
    ('[machine]\ntype = "pc"', "machine.type", 3, "q35"),
    ('[memory]\nsize = 8192', "memory.size", 3, '"8G"'),
    ('[memory]\nsize = "1M"', "memory.size", 3, "64 MiB"),
    ('[memory]\nsize = "8"', "memory.size", 3, '"8G"'),
    ('[memory]\nhugepages = "4M"', "memory.hugepages", 3, "`2M`"),
    ('[hide]\nvendor_id = "1234567890abc"', "hide.vendor_id", 3, "up to 12 characters"),
    ('[hide]\nvendor_id = "a,b"', "hide.vendor_id", 3, "no comma"),
    ('[hide]\nvendor_id = "é"', "hide.vendor_id", 3, "ASCII"),
    ("[hide]\nhyperv = []", "hide.hyperv", 3, "at least one"),
    ('[cpu]\nmodel = "max"\n[machine]\naccel = "tcg"\n[hide]\nhyperv = ["vpindex"]',
     "hide.hyperv", 7, "the other features"),
    ('[hide]\nhyperv = ["time", "stimer"]', "hide.hyperv", 3, "those that it needs"),
    ('[hide]\nhyperv = ["time", "relaxd"]', "hide.hyperv[2]", 3, "`relaxed`"),
    ('[hide]\nhyperv = ["time", "time"]', "hide.hyperv[2]", 3, "relaxed"),
    ('[firmware]\nkind = "bios"\nsecure_boot = true', "firmware.secure_boot", 4, 'kind = "uefi"'),
    ('[firmware]\ncode = "a.fd"', "firmware.code", 3, "both, or neither"),
    ('[firmware]\ncode = "a.fd"\ntemplate = "b.fd"', "firmware.code", 3, "a file of OVMF's"),
    ("[[disk]]\nbus = \"sata\"", "disk[1].path", 2, "one of `path` and `volume`"),
    ('[[disk]]\npath = "a"\nvolume = "v/l"', "disk[1].path", 3, "one of"),
    ('[[disk]]\npath = "a"\n[[disk]]\npath = "./a"', "disk[2].path", 5, "each once"),
    ('[[disk]]\npath = "a"\nbus = "ide"', "disk[1].bus", 4, "`virtio`, `nvme`, `sata`"),
    ('[[disk]]\npath = "a"\nbus = "sata"\nread_only = true', "disk[1].read_only", 5, "virtio only"),
    ('disk = "a"', "disk", 2, "[[disk]]"),
    ('[disk]\npath = "a"', "disk", 2, "[[disk]]"),
    ('[media]\ndrivers = ["a", "b", "c", "d", "e", "f", "g"]', "media.drivers", 3, "6"),
    ('[gpu]\naddress = "1:0:0"', "gpu.address", 3, "01:00.0"),
    (f'{GPU}subsystem = "1025"', "gpu.subsystem", 4, "1025:118b"),
    (f'{GPU}guest_address = "02:00.0"', "gpu.guest_address", 4, "bus 01, or 00"),
    (f'{GPU}guest_address = "01:01.0"', "gpu.guest_address", 4, "01:00.0"),
    (f'{GPU}guest_address = "01:00.1"', "gpu.guest_address", 4, "function 0"),
    (f'{GPU}guest_address = "00:1f.0"', "gpu.guest_address", 4, "a free slot"),
    (f'{GPU}port = "00:00.0"', "gpu.port", 4, "a free slot"),
    (f'{GPU}port = "00:01.1"', "gpu.port", 4, "a free slot"),
    (f"{GPU}x_vga = true", "gpu.x_vga", 4, "bios"),
    (f'{GPU}audio_address = "01:00.0"', "gpu.audio_address", 4, "the audio function's"),
    (f'{GPU}[integrated]\nmdev = "i915-GVTg_V5_4"\nguest_address = "00:01.0"',
     "integrated.guest_address", 6, "a free slot"),
    ('[integrated]\nmdev = "x"\nramfb = true\ndisplay = false', "integrated.ramfb", 4, "display"),
    ('[display]\nshow = "vnc"\ngl = true', "display.gl", 4, "`spice` or `gtk`"),
    ("[display]\nport = 80", "display.port", 3, "5900"),
    ("[acpi]\nvbios = true", "acpi.vbios", 3, "gpu.rom"),
    (f'{GPU}rom = "no.rom"\n[acpi]\nvbios = true', "gpu.rom", 4, "a ROM file"),
    ('[acpi]\ntables = ["a:b"]', "acpi.tables[1]", 3, "without a colon"),
    ('[[network]]\nkind = "tap"', "network[1].interface", 2, "tap0"),
    ('[[network]]\ninterface = "tap0"', "network[1].interface", 3, "tap or bridge"),
    ('[[network]]\nkind = "vde"\nforward = ["tcp:1:2"]', "network[1].forward", 4, "user"),
    ('[[network]]\nforward = ["tcp:0:2"]', "network[1].forward[1]", 3, "65535"),
    ('[[network]]\nmac = "01:00:00:00:00:00"', "network[1].mac", 3, "MAC address"),
    ('[[network]]\nmac = "52:54:00:00:00:01"\n[[network]]\nmac = "52:54:00:00:00:01"',
     "network[2].mac", 5, "each once"),
    ('[looking_glass]\nsize = "33M"', "looking_glass.size", 3, "power of two"),
    ('[input]\nusb = ["046d"]', "input.usb[1]", 3, "046d:c52b"),
    ('[tpm]\nkind = "emulator"\nversion = "1.2"', "tpm.model", 2, "tis"),
    ('[[fw_cfg]]\nname = "a/b"\ntext = "1"', "fw_cfg[1].name", 3, "opt/"),
    (f'[[fw_cfg]]\nname = "opt/{"a" * 52}"\ntext = "1"', "fw_cfg[1].name", 3, "55 characters"),
    ('[[fw_cfg]]\nname = "opt/a,b"\ntext = "1"', "fw_cfg[1].name", 3, "opt/"),
    ('[[fw_cfg]]\ntext = "1"', "fw_cfg[1].name", 2, "opt/"),
    ('[[fw_cfg]]\nname = "opt/a"', "fw_cfg[1].file", 2, "one of `file` and `text`"),
    ('[[fw_cfg]]\nname = "opt/a"\ntext = "1"\n[[fw_cfg]]\nname = "opt/a"\ntext = "2"',
     "fw_cfg[2].name", 6, "each once"),
    ('[smbios]\nproduct = "a\\nb"', "smbios.product", 3, "one line"),
    # Unknown keys: the nearest right one.
    ("[cpu]\ncore = 2", "cpu.core", 3, "cores"),
    ('[gpu]\nadress = "01:00.0"', "gpu.adress", 3, "address"),
    ("[disks]\n", "disks", 2, "disk"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "line", "allowed"), WRONG)
def test_a_mistake_is_told_with_line_key_and_what_is_allowed(
    text: str, key: str, line: int | None, allowed: str
) -> None:
    found = [problem for problem in problems(text) if problem.key == key]
    assert {problem.line for problem in found} == {line}
    assert all(problem.allowed for problem in found)
    assert any(allowed in f"{problem.allowed} {problem.why}" for problem in found)


def test_the_nearest_key_is_named() -> None:
    (found,) = problems('[gpu]\nadress = "01:00.0"')
    assert "did you mean `address`?" in found.why
    assert found.text("a.toml").startswith("a.toml:3: gpu.adress: no such key")


def test_all_mistakes_are_told_at_once_in_their_order() -> None:
    text = '[hide]\nvendor_id = "a,b"\n[cpu]\ncores = 0\nthread = 1\n'
    assert [(p.key, p.line) for p in problems(text)] == [
        ("hide.vendor_id", 3), ("cpu.cores", 5), ("cpu.thread", 6),
    ]  # fmt: skip


def test_a_name_is_needed() -> None:
    with pytest.raises(BadProfile, match=r"p.toml:1: name: it is missing"):
        parse_profile("[cpu]\ncores = 2", file="p.toml")
    with pytest.raises(BadProfile, match=r"p.toml:1: name: 'a/b' does not fit"):
        parse_profile('name = "a/b"', file="p.toml")


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = ", 1), ('name = "x"\n[cpu', 2), ('name = "x"\n\n[cpu]\n[cpu]\n', 4), ("\x00", 1),
     ('name = """', 1)],
)  # fmt: skip
def test_what_is_no_toml_is_told_with_its_line(text: str, line: int) -> None:
    with pytest.raises(BadProfile) as caught:
        parse_profile(text, file="p.toml")
    (problem,) = caught.value.problems
    assert problem.line == line
    assert "no TOML" in problem.why


@pytest.mark.parametrize("text", ["[" * 5000, "a=" + "[" * 5000, "x" * (2 << 20), "a.b=1\n" * 9])
def test_hostile_text_is_refused(text: str) -> None:
    with pytest.raises(BadProfile):
        parse_profile(text)


@given(st.text(max_size=200))
def test_any_text_is_a_profile_or_refused(text: str) -> None:
    with pytest.raises(DiagError):
        parse_profile(text)  # no random text has a name


KEYS = [(section, key) for section, cls in SECTIONS.items() for key in keys_of(cls)]


@given(
    chosen=st.lists(st.sampled_from(KEYS), max_size=6),
    values=st.lists(
        st.one_of(st.text(max_size=8), st.integers(), st.booleans(), st.floats(allow_nan=False),
                  st.lists(st.one_of(st.text(max_size=4), st.integers()), max_size=3)),
        min_size=6, max_size=6,
    ),
)  # fmt: skip
def test_any_value_of_any_key_is_taken_or_told_with_its_line(chosen, values) -> None:
    rows = ['name = "x"']
    for (section, key), value in zip(chosen, values, strict=False):
        word = repr(value) if isinstance(value, float) else _toml(value)
        head = f"[[{section}]]" if section in REPEATED else f"[{section}]"
        if section in REPEATED or head not in rows:
            rows += [head, f"{key.name} = {word}"]
    text = "\n".join(rows)
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    try:
        parse_profile(text)
    except BadProfile as bad:
        for problem in bad.problems:
            # Only rules about a default that stands nowhere have no line.
            assert problem.line is None or 1 <= problem.line <= len(rows)
            leaf = re.sub(r"\[\d+\]", "", problem.key).rpartition(".")[2]
            given = [n for n, row in enumerate(rows, 1) if row.startswith(f"{leaf} = ")]
            assert not given or problem.line in given or "[[" in text


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, bool):
        return toml_value(value)
    return str(value) if isinstance(value, int) else toml_value(str(value))


def test_lines_of_all_that_toml_can_write() -> None:
    text = (
        'a = 1 # [x]\n[t]\nb = [ # one\n 1,\n { c = "}" , d = [2] },\n]\n"e f" = """x\n[y]\n"""\n'
        "[[l]]\ng.h = 'k'\n[[l]]\ng.h = 2\n[l.m]\nn = 1979-05-27 07:32:00\n"
    )
    read = tomllib.loads(text)
    lines = key_lines(text)
    assert lines["t", "b", 1, "d", 0] == 5
    assert lines["t", "e f"] == 7
    assert (lines["l", 0, "g", "h"], lines["l", 1, "g", "h"]) == (11, 13)
    assert lines["l", 1, "m", "n"] == 15
    assert set(_paths(read)) <= set(lines)


def _paths(value: object, path: tuple = ()):
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in pairs:
        yield (*path, name)
        if isinstance(item, dict | list):
            yield from _paths(item, (*path, name))


TOML = st.recursive(
    st.one_of(st.integers(-9, 9), st.booleans(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=4), st.dictionaries(st.text(max_size=4), TOML, max_size=3),
                       max_size=3))  # fmt: skip
def test_every_key_of_a_random_text_has_its_line(tables) -> None:
    rows: list[str] = []
    wanted = {}
    for name, table in tables.items():
        rows.append(f"[{toml_value(name)}]")
        wanted[name,] = len(rows)
        for key, value in table.items():
            rows.append(f"{toml_value(key)} = {_toml(value)}")
            wanted[name, key] = len(rows)
    text = "\n".join(rows)
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # a control character
        return
    lines = key_lines(text)
    assert {path: lines[path] for path in wanted} == wanted


def test_the_template_says_what_is_without_it() -> None:
    text = template_text("win10")
    assert parse_profile(text) == parse_profile('name = "win10"')
    for section, key in KEYS:
        assert re.search(rf"^# {key.name} = ", text, re.MULTILINE), f"{section}.{key.name}"


def test_every_line_of_the_template_can_be_taken_in() -> None:
    """What is commented out is valid TOML, and its value, or its example, is of its kind."""
    for _, key in KEYS:
        if key.example:
            key.kind.read(tomllib.loads(f"a = {key.example}")["a"])
    rows = [row.removeprefix("# ") for row in template_text("w").splitlines()
            if re.match(r"^# (\[\[)?\w+", row) and not row.startswith("# after")
            and not row.startswith("# The")]  # fmt: skip
    read = {}
    for row in rows:
        if "=" in row:
            read |= tomllib.loads(row)
    assert {key.name for _, key in KEYS} <= set(read)


def test_the_template_takes_a_gpu() -> None:
    from diag.pci import PciAddress

    made = parse_profile(template_text("w", PciAddress.parse("0000:03:00.0")))
    assert made.gpu.address == PciAddress.parse("03:00.0")


@pytest.mark.parametrize("name", example_names())
def test_an_example_can_be_renamed(name: str) -> None:
    made = parse_profile(renamed(example(name), "other"))
    assert made.name == "other"
    assert made.disk
    assert made.gpu.address is not None


def test_a_socket_in_too_deep_a_folder() -> None:
    folder = f"/{'a' * 60}/{'b' * 40}"
    for text, key in (
        ("[display]\ngl = true", "display.gl"),
        ('[tpm]\nkind = "emulator"', "tpm.kind"),
    ):
        assert profile(text)
        with pytest.raises(BadProfile, match=rf"win10.toml:3: {key}: .* longer than a socket"):
            profile(text, folder=folder)


def test_a_profile_is_the_same_vm_each_time() -> None:
    """UUIDs and addresses are made of the name: Windows would ask for its key again."""
    assert argv().argv == argv().argv
    first, other = profile(), parse_profile('name = "other"')
    assert first.uuid == profile().uuid != other.uuid
    assert first.mac(0) == profile().mac(0) != other.mac(0)
    assert first.vars == f"{FOLDER}/win10.vm/vars.fd"
    assert profile('[firmware]\nvars = "../v.fd"').vars == "/home/me/v.fd"


def test_a_number_longer_than_python_reads_is_told_with_its_line() -> None:
    with pytest.raises(BadProfile) as caught:
        parse_profile('name = "a"\n[cpu]\ncores = ' + "9" * 5000 + "\n", file="a.toml")
    (problem,) = caught.value.problems
    assert (problem.line, problem.why) == (3, "a number is too long")
