"""Which card is meant, and what is said of it, on machines of every kind."""

from __future__ import annotations

import pytest
from builders.host import HostTree

from diag.gpu import NoGpu
from diag.inventory import Inventory
from diag.pci import PciAddress
from passthrough.card import pick_card, read_cards
from passthrough.errors import Refused
from passthrough.power.plan import plan_power
from passthrough.render.status import status_record, status_text
from romkit.render.style import Style

ONE, OTHER = "0000:01:00.0", "0000:02:00.0"


def machine(*addresses: str, integrated: bool = True) -> Inventory:
    tree = HostTree()
    if integrated:
        tree.device("0000:00:02.0", vendor=0x8086, device=0x5916, class_=0x030000)
    for address in addresses:
        tree.device(address, vendor=0x10DE, device=0x1C20, class_=0x030000, driver="nouveau")
    return Inventory(tree.host())


def test_one_card_needs_no_address() -> None:
    assert str(pick_card(machine(ONE), None).address) == ONE


@pytest.mark.parametrize("integrated", [True, False])
def test_of_two_cards_none_is_taken_by_chance(integrated: bool) -> None:
    """One of them may be what the user is looking at."""
    two = machine(ONE, OTHER, integrated=integrated)
    with pytest.raises(Refused) as refused:
        pick_card(two, None)
    assert ONE in refused.value.message
    assert OTHER in refused.value.message
    assert "address" in refused.value.hint
    with pytest.raises(Refused):
        plan_power(two, on=False)
    assert str(pick_card(two, PciAddress.parse(OTHER)).address) == OTHER


def test_a_machine_without_a_gpu_is_told_so() -> None:
    empty = Inventory(HostTree().device("0000:00:1f.0", class_=0x060100).host())
    with pytest.raises(NoGpu, match="there is no GPU here"):
        pick_card(empty, None)
    assert read_cards(empty) == ()
    assert status_text((), None, Style(False)) == "there is no GPU here"


def test_a_machine_that_shows_no_devices_at_all_is_told_so() -> None:
    with pytest.raises(NoGpu):
        pick_card(Inventory(HostTree().host()), None)
    assert read_cards(Inventory(HostTree().host())) == ()


def test_status_shows_both_cards_and_addresses_of_long_domains() -> None:
    behind_vmd = "10000:01:00.0"
    cards = read_cards(machine(ONE, behind_vmd))
    record = status_record(cards, None)
    assert [card["parts"][0]["address"] for card in record["cards"]] == [ONE, behind_vmd]
    text = status_text(cards, None, Style(False))
    assert ONE in text
    assert behind_vmd in text


def test_the_switch_of_a_laptop_is_shown_with_the_card_that_it_switches() -> None:
    tree = HostTree()
    for address in (ONE, OTHER):
        tree.device(address, vendor=0x10DE, device=0x1C20, class_=0x030000)
    tree.file("/proc/acpi/bbswitch", f"{OTHER} ON\n")
    tree.folder("/sys/module/bbswitch")
    first, second = read_cards(Inventory(tree.host(), wake=True))
    assert [switch.name for switch in first.switches] == []
    assert [switch.name for switch in second.switches] == ["bbswitch"]
