"""Reading a card's ROM: what is a whole one, and what only looks like one."""

from __future__ import annotations

import contextlib
import functools
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builders.card import AUDIO, GPU, card, machine_of
from builders.host import HostTree
from builders.rom import image, pcir, vfct
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.host import Host
from diag.inventory import Inventory
from diag.pci import PciAddress
from passthrough.errors import Refused, WriteFailed
from passthrough.machine import Machine
from passthrough.romdump import (
    ACPI_CALL,
    Via,
    choose_via,
    collect,
    finish,
    parse_result,
    plan_dump,
    read_method,
    read_vfct,
    without_padding,
)  # fmt: skip
from passthrough.steps import ReadRom, SetPowerControl
from romkit.entries import vfct_entries
from romkit.recipe import build_rom, load_recipe
from romkit.rom import parse_rom

RECIPES = Path(__file__).parent.parent / "fixtures/recipes"
VFCT = "/sys/firmware/acpi/tables/VFCT"


@functools.cache
def rom(name: str = "nvidia_mobile_pascal") -> bytes:
    return build_rom(load_recipe((RECIPES / f"{name}.toml").read_text(encoding="utf-8")))


def with_bar(**given: object) -> HostTree:
    tree = card(**given)  # type: ignore[arg-type]  # any of its arguments
    return tree.file(f"{tree.place(GPU)}/rom")


def shadowed() -> HostTree:
    """The lines that Linux 6.1 shows for a card that the firmware has booted with."""
    tree = with_bar(boot_vga=True)
    lines = ["0x0000000000000000 0x0000000000000000 0x0000000000000000"] * 6
    lines.append("0x00000000000c0000 0x00000000000dffff 0x0000000000000212")
    return tree.file(f"{tree.place(GPU)}/resource", "\n".join(lines))


@given(st.sampled_from([0x00, 0xFF]), st.integers(0, 1 << 16))
@settings(max_examples=40)
def test_what_fills_the_bar_is_cut_off_and_nothing_else(fill: int, size: int) -> None:
    whole = rom()
    assert without_padding(whole + bytes([fill]) * size) == whole


def test_what_lives_behind_the_images_stays() -> None:
    live = rom("amd_polaris_live_tail")
    kept = without_padding(live + bytes(4096))
    assert live.startswith(kept)
    # The recipe's own end is padding too; before it is what other processors run.
    assert set(live[len(kept) :]) <= {0xFF}
    tail = parse_rom(live).tail
    assert tail is not None
    assert tail.live
    assert len(kept) > tail.offset


def test_a_half_dump_is_told_from_a_whole_one() -> None:
    _, gpu = machine_of(card())
    whole = rom()
    assert finish(gpu, Via.BAR, whole + bytes(4096)).data == whole
    assert finish(gpu, Via.BAR, whole).blockers == ()
    half = finish(gpu, Via.BAR, whole[: len(whole) // 2])
    assert half.blockers


@pytest.mark.parametrize("data", [b"", b"\xff" * 65536, bytes(65536)])
def test_nothing_is_no_rom(data: bytes) -> None:
    _, gpu = machine_of(card())
    with pytest.raises(Refused, match="only"):
        finish(gpu, Via.BAR, data)


def test_another_cards_ids_in_the_cards_own_rom_are_mentioned_only() -> None:
    _, other = machine_of(card(vendor=0x1002))
    found = finish(other, Via.BAR, rom())
    assert found.blockers == ()
    assert "device.id" in {finding.check for finding in found.findings if finding.blocks}


def test_the_firmwares_copy_is_refused_with_the_line_that_shows_it() -> None:
    made = plan_dump(*machine_of(shadowed()), Via.BAR)
    assert [finding.check for finding in made.blockers] == ["rom.shadow"]
    assert made.blockers[0].evidence[0].value.startswith("0x00000000000c0000")


def test_a_card_that_booted_by_uefi_has_no_such_copy() -> None:
    assert plan_dump(*machine_of(with_bar(boot_vga=True)), Via.BAR).blockers == ()


def test_a_sleeping_card_is_woken_for_it_and_may_sleep_again() -> None:
    steps = plan_dump(*machine_of(with_bar(power="asleep", control="auto")), Via.BAR).steps
    assert list(steps) == [SetPowerControl(GPU, "on"), ReadRom(GPU), SetPowerControl(GPU, "auto")]
    assert list(plan_dump(*machine_of(with_bar()), Via.BAR).steps) == [ReadRom(GPU)]


@pytest.mark.parametrize(
    ("tree", "via", "check"),
    [
        (card(), Via.BAR, "rom.no-bar"),
        (with_bar(power="off"), Via.BAR, "rom.no-power"),
        (with_bar(power="gone"), Via.BAR, "rom.no-power"),
        (card(), Via.VFCT, "rom.no-vfct"),
        (card(), Via.ACPI, "rom.no-acpi"),
    ],
)
def test_what_stands_in_the_way_is_said(tree: HostTree, via: Via, check: str) -> None:
    made = plan_dump(*machine_of(tree), via)
    assert [finding.check for finding in made.blockers] == [check]


def test_the_best_source_is_chosen() -> None:
    assert choose_via(*machine_of(with_bar())) is Via.BAR
    assert choose_via(*machine_of(shadowed().file(VFCT, b"VFCT"))) is Via.VFCT
    named = shadowed()
    named.file(f"{named.place(GPU)}/firmware_node/path", "\\_SB_.PCI0.PEG0.PEGP")
    with pytest.raises(Refused, match="acpi_call is not loaded"):
        choose_via(*machine_of(named))
    assert choose_via(*machine_of(named.file(ACPI_CALL))) is Via.ACPI


def test_the_rom_of_this_card_is_taken_from_the_firmwares_table() -> None:
    table = rom("amd_vfct")
    _, gpu = machine_of(card())
    tree = HostTree().file(VFCT, table)
    with pytest.raises(Refused, match="has no ROM for 10de:1c20"):
        read_vfct(tree.host(), gpu)
    entry = vfct_entries(parse_rom(table))[0].header
    owner = HostTree().device("0000:01:00.0", vendor=entry.vendor_id, device=entry.device_id)
    _, theirs = machine_of(owner)
    found = read_vfct(tree.host(), theirs)
    assert found[:2] == b"\x55\xaa"
    assert len(found) == entry.image_length
    assert found in table


def test_of_two_cards_of_one_kind_each_has_its_own_rom() -> None:
    one, other = (image(pcir(revision=n)) for n in (1, 2))
    table = bytearray(vfct(one, other))
    # The builder's cards are at 04:00.0 and 04:01.0; both get the ids of the first.
    second = table.index(struct.pack("<III", 4, 1, 0))
    table[second + 12 : second + 16] = struct.pack("<HH", 0x1002, 0x1636)
    host = HostTree().file(VFCT, bytes(table)).host()

    def read(address: str) -> bytes:
        tree = HostTree().device(address, vendor=0x1002, device=0x1636, class_=0x030000)
        gpu = Inventory(tree.host()).device(PciAddress.parse(address))
        assert gpu is not None
        return read_vfct(host, gpu)

    assert read("0000:04:00.0") == one
    assert read("0000:04:01.0") == other
    with pytest.raises(Refused, match=r"has no ROM for 1002:1636 at 0000:09:00\.0"):
        read("0000:09:00.0")


@given(st.integers(1, 5000), st.booleans())
def test_pieces_are_put_together_until_one_is_short(size: int, ends: bool) -> None:
    whole = bytes(n * 7 & 0xFF for n in range(size))

    def read(at: int, length: int) -> bytes | None:
        # Firmware gives a short piece at the end, or none; ours is asked for what is left.
        piece = whole[at : at + length]
        return piece if piece or ends else None

    assert collect(read) == whole


def test_a_method_that_never_ends_is_left() -> None:
    whole, asked = rom(), []
    endless = whole + bytes(1 << 21)

    def read(at: int, length: int) -> bytes:
        asked.append(at)
        return endless[at : at + length]

    assert without_padding(collect(read)) == whole
    assert max(asked) < 1 << 18


def test_a_method_that_gives_nothing_is_no_rom() -> None:
    with pytest.raises(Refused, match="gives nothing"):
        collect(lambda _at, _length: None)


@given(st.binary(max_size=700))
def test_what_acpi_call_prints_is_read_back(data: bytes) -> None:
    printed = "{" + ", ".join(f"0x{byte:02x}" for byte in data) + "}"
    assert parse_result(printed) == data
    assert parse_result(printed[:-1] + ",") == data  # it did not fit


@pytest.mark.parametrize("said", ["", "not called", "Error: AE_NOT_FOUND", "{0x55, zz}", "0x0"])
def test_what_is_no_buffer_is_nothing(said: str) -> None:
    assert parse_result(said) is None


class Firmware(Machine):
    """acpi_call on a machine whose card has a method _ROM, which gives at most 4096 bytes.

    Args:
        whole: the ROM; None where there is no such method.
        room: characters that it can print (acpi_call.c, BUFFER_SIZE).
    """

    def __init__(self, whole: bytes | None, room: int) -> None:
        super().__init__(HostTree().file(ACPI_CALL, "not called").host())
        self.whole = whole
        self.room = room

    @contextlib.contextmanager
    def exchange(self, path: str) -> Iterator[Callable[[str], str]]:
        assert path == ACPI_CALL
        yield self.answer

    def answer(self, text: str) -> str:
        method, *numbers = text.split()
        assert method == "\\_SB_.PCI0.PEG0.PEGP._ROM"
        at, length = (int(number, 16) for number in numbers)
        assert at // 4096 == (at + length - 1) // 4096
        if self.whole is None:
            return "Error: AE_NOT_FOUND"
        piece = self.whole[at : at + length]
        # acpi_call.c, acpi_result_to_string
        shown = piece[: self.room // 6]
        said = "{" + ", ".join(f"0x{byte:02x}" for byte in shown)
        return said + ("," if len(piece) > len(shown) else "}")


@pytest.mark.parametrize("room", [256, 4096, 1 << 16])
def test_the_firmwares_method_is_asked_in_pieces_that_acpi_call_can_print(room: int) -> None:
    tree = card()
    tree.file(f"{tree.place(GPU)}/firmware_node/path", "\\_SB_.PCI0.PEG0.PEGP")
    _, gpu = machine_of(tree)
    assert read_method(Firmware(rom(), room), gpu) == rom()
    assert without_padding(read_method(Firmware(rom() + bytes(1 << 21), room), gpu)) == rom()
    with pytest.raises(Refused, match="no method _ROM"):
        read_method(Firmware(None, room), gpu)


def test_a_file_that_answers_is_asked_by_one_process_and_its_errors_are_told(
    tmp_path: Path,
) -> None:
    file = tmp_path / "call"
    file.write_text("")
    machine = Machine(Host(tmp_path))
    with machine.exchange(str(file)) as ask:
        assert ask("one") == "one"
        assert ask("two") == "two"
        file.unlink()
        with pytest.raises(WriteFailed, match="no such file"):
            ask("three")


def test_an_audio_function_has_no_rom() -> None:
    made = plan_dump(*machine_of(card(), AUDIO), Via.BAR)
    assert [finding.check for finding in made.blockers] == ["rom.no-bar"]
