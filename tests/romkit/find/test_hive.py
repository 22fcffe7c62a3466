"""VBIOSes in Windows registry hives and exported keys."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from builders.hive import SEGMENT, Tree, hive
from builders.rom import image, npde, nvidia_mobile, pcir
from builders.text import exported, registry_text

from romkit.find import find_roms

ADAPTERS = "{4d36e968-e325-11ce-bfc1-08002be10318}"
MOBILE = nvidia_mobile()
#: Does not repeat, and takes three segments.
LARGE = image(
    pcir(blocks=80, device=0x1C8D),
    blocks=80,
    extension=npde(blocks=80, last=0x80),
    body={0x100 + 4 * n: n.to_bytes(4, "big") for n in range(10000)},
)
assert 2 * SEGMENT < len(LARGE) < 3 * SEGMENT


def padded(rom: bytes) -> bytes:
    """As the driver stores it."""
    return rom.ljust(0x40000, b"\xff")


def session(rom: bytes) -> Tree:
    return {"Session": {"Other": b"\1\2\3\4", "vbios": rom, "Zz": b"x" * 70}}


def system(**adapters: bytes) -> Tree:
    """Control sets as in a SYSTEM hive: CurrentControlSet is not in the file."""
    keys: Tree = {number: session(rom) for number, rom in adapters.items()}
    return {"ControlSet001": {"Control": {"Class": {ADAPTERS: keys}}}, "Select": {"x": b"1"}}


def key_of(number: str, control_set: str = "ControlSet001") -> str:
    return f"{control_set}\\Control\\Class\\{ADAPTERS}\\{number}\\Session"


def find(data: bytes) -> list[tuple[bytes, list[str]]]:
    notes: list[str] = []
    found = list(find_roms(data, note=notes.append))
    assert notes == []
    return [(f.data, [str(place) for place in f.where]) for f in found]


@pytest.mark.parametrize("big_data", [True, False], ids=["big data", "one cell"])
def test_every_adapter(big_data: bool) -> None:
    tree = system(**{"0000": padded(LARGE), "0001": padded(MOBILE), "0002": b"\xff" * 300})
    assert find(hive(tree, big_data=big_data)) == [
        (LARGE, [f"{key_of('0000')} > vbios > 0x0"]),
        (MOBILE, [f"{key_of('0001')} > vbios > 0x0"]),
    ]


def test_every_control_set() -> None:
    tree = {**system(**{"0000": padded(MOBILE)})}
    tree["ControlSet002"] = tree["ControlSet001"]
    ((data, places),) = find(hive(tree))
    assert data == MOBILE
    assert places == [
        f"{key_of('0000')} > vbios > 0x0",
        f"{key_of('0000', 'ControlSet002')} > vbios > 0x0",
    ]


def test_a_hive_saved_from_one_key() -> None:
    """`reg save` of the adapter's key: the root is that key."""
    ((data, places),) = find(hive(session(padded(MOBILE)), root="0001"))
    assert data == MOBILE
    assert places == ["Session > vbios > 0x0"]


def test_a_value_at_the_root_and_in_capitals() -> None:
    ((data, places),) = find(hive({"VBIOS": padded(MOBILE)}, root="Session"))
    assert data == MOBILE
    assert places == ["Session > vbios > 0x0"]


def test_a_cut_up_value_is_not_taken_for_a_rom() -> None:
    """The first segment looks like one: what is found must be the whole."""
    tree = system(**{"0000": LARGE})
    assert [data for data, _ in find(hive(tree))] == [LARGE]


def test_a_value_that_is_not_linked_is_still_found() -> None:
    raw = bytearray(hive(session(padded(MOBILE))))
    at = raw.index(b"nk", raw.index(b"nk") + 2)
    raw[at : at + 2] = b"xx"
    ((data, places),) = find(bytes(raw))
    assert data == MOBILE
    assert places == ["a key that is not known > vbios > 0x0"]


def test_a_value_without_its_data_is_noted() -> None:
    raw = bytearray(hive(session(padded(MOBILE))))
    at = raw.index(b"vbios") - 20
    raw[at + 8 : at + 12] = b"\xff\xff\xff\x7f"
    notes: list[str] = []
    assert list(find_roms(bytes(raw), note=notes.append)) == []
    assert notes == [f"the vbios value at {at:#x} cannot be read"]


def test_a_hive_whose_key_is_its_own_parent() -> None:
    raw = bytearray(hive(session(padded(MOBILE))))
    at = raw.index(b"nk", raw.index(b"nk") + 2)
    raw[at + 16 : at + 20] = (at - 4 - 4096).to_bytes(4, "little")
    ((_, places),) = find(bytes(raw))
    assert places[0].count("Session") == 64


def test_a_hive_without_a_vbios() -> None:
    assert find(hive({"ControlSet001": {"x": b"1"}})) == []


# hivex: another program's hives, and its reading of ours.

HIVEX = """
import hivex, sys
path, rom = sys.argv[1:]
h = hivex.Hivex(path, write=True)
node = h.root()
for name in sys.stdin.read().split("|"):
    node = h.node_get_child(node, name) or h.node_add_child(node, name)
with open(rom, "rb") as file:
    h.node_set_value(node, {"key": "vbios", "t": 3, "value": file.read()})
h.commit(path)
"""
READ = """
import hivex, sys
h = hivex.Hivex(sys.argv[1])
node = h.root()
for name in sys.stdin.read().split("|"):
    node = h.node_get_child(node, name)
sys.stdout.buffer.write(h.value_value(h.node_get_value(node, "vbios"))[1])
"""


@pytest.fixture(scope="module")
def python_with_hivex() -> str:
    # hivex is no package of PyPI: it comes with the system's Python.
    python = shutil.which("python3", path=os.defpath)
    if python is not None:
        run = subprocess.run([python, "-c", "import hivex"], capture_output=True, check=False)
        if run.returncode == 0:
            return python
    pytest.skip("no hivex here (Debian's package python3-hivex)")


@pytest.mark.parametrize("rom", [MOBILE, LARGE, padded(LARGE)], ids=["small", "large", "padded"])
def test_a_hive_written_with_hivex(python_with_hivex: str, tmp_path: Path, rom: bytes) -> None:
    path, source = tmp_path / "SYSTEM", tmp_path / "vbios"
    path.write_bytes(hive({}))
    source.write_bytes(rom)
    subprocess.run(
        [python_with_hivex, "-c", HIVEX, str(path), str(source)],
        input=key_of("0001").replace("\\", "|"),
        text=True,
        check=True,
    )
    ((data, places),) = find(path.read_bytes())
    assert data == (MOBILE if rom == MOBILE else LARGE)
    assert places == [f"{key_of('0001')} > vbios > 0x0"]


@pytest.mark.parametrize("big_data", [True, False], ids=["big data", "one cell"])
def test_hivex_reads_the_hives_of_these_tests(
    python_with_hivex: str, tmp_path: Path, big_data: bool
) -> None:
    path = tmp_path / "SYSTEM"
    path.write_bytes(hive(system(**{"0000": MOBILE, "0001": padded(LARGE)}), big_data=big_data))
    run = subprocess.run(
        [python_with_hivex, "-c", READ, str(path)],
        input=key_of("0001").replace("\\", "|").encode(),
        capture_output=True,
        check=True,
    )
    assert run.stdout == padded(LARGE)


# Exported keys.


HKLM = f"HKEY_LOCAL_MACHINE\\SYSTEM\\{key_of('0001', 'CurrentControlSet')}"


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
@pytest.mark.parametrize("kind", ["hex", "hex(3)"])
def test_exported_keys(encoding: str, kind: str) -> None:
    text = registry_text(
        (HKLM.replace("0001", "0000"), exported(MOBILE + b"\xff" * 99, kind=kind)),
        (HKLM, exported(LARGE, name="VBIOS", kind=kind)),
        ("HKEY_LOCAL_MACHINE\\SYSTEM\\x", exported(b"\1\2\3")),
    )
    assert [(data, [p[:-6] for p in places]) for data, places in find(text.encode(encoding))] == [
        (MOBILE, [f"{HKLM.replace('0001', '0000')} > vbios"]),
        (LARGE, [f"{HKLM} > vbios"]),
    ]


def test_an_old_export_that_is_cut_short() -> None:
    text = "REGEDIT4\n\n[a\\b]\n" + exported(MOBILE)[:-1]
    ((data, places),) = find(text.encode())
    assert data == MOBILE[:-1]
    assert places[0].startswith("a\\b > vbios > ")


def test_text_that_is_no_export_is_left_alone() -> None:
    assert find(b"notes\n" + exported(MOBILE).encode()) == []


def test_what_only_starts_like_a_hive_is_searched_as_it_is() -> None:
    blob = b"regf" + bytes(0x2000) + MOBILE
    assert find(blob) == [(MOBILE, ["0x2004"])]
