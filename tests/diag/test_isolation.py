"""Why groups are shared: each kind of merge, and what could not be measured."""

from __future__ import annotations

import errno
from dataclasses import dataclass

import pytest
from builders.host import HostTree
from builders.pci_tree import CONVENTIONAL, DOWN, ENDPOINT, FULL, INTEGRATED, ROOT, TO_PCI, add
from builders.pci_tree import UPSTREAM as UP
from hypothesis import given
from hypothesis import strategies as st

from diag.acs import AcsHop, PortType
from diag.inventory import Inventory
from diag.isolation import Explanation, Hierarchy, Reason
from diag.pci import PciAddress
from diag.ways import WayKind, ways

PORT, GPU, AUDIO, NIC = "0000:00:01.0", "0000:01:00.0", "0000:01:00.1", "0000:02:00.0"
ON = (FULL, FULL)
BITS = ("SrcValid", "ReqRedir", "CmpltRedir", "UpstreamFwd")


def hierarchy(tree: HostTree) -> Hierarchy:
    return Hierarchy(Inventory(tree.host()))


def explain(tree: HostTree, address: str = GPU) -> Explanation:
    whole = hierarchy(tree)
    device = whole.machine.device(PciAddress.parse(address))
    assert device is not None
    return whole.explain(device)


def hop(tree: HostTree, address: str) -> AcsHop:
    whole = hierarchy(tree)
    device = whole.machine.device(PciAddress.parse(address))
    assert device is not None
    return whole.hop(device)


def below_port(acs: tuple[int, int] | None, **port: object) -> HostTree:
    """A card of two functions in one group with its port."""
    tree = add(HostTree(), PORT, ROOT, acs=acs, group=1, **port)  # type: ignore[arg-type]  # tests
    add(tree, GPU, ENDPOINT, PORT, several=True, group=1)
    return add(tree, AUDIO, ENDPOINT, PORT, several=True, class_code=0x0403, group=1)


def test_a_port_without_acs_takes_what_is_below_into_its_group() -> None:
    explained = explain(below_port(None))
    (merge,) = explained.merges
    assert (merge.reason, str(merge.hops[0].address), merge.missing) == (Reason.PATH, PORT, BITS)
    assert {str(place) for place in merge.members} == {PORT, GPU, AUDIO}
    assert "no ACS capability" in merge.text
    assert explained.measured
    assert [str(step.address) for step in explained.path] == [PORT, GPU]


@pytest.mark.parametrize(("bit", "name"), [(1, BITS[0]), (4, BITS[1]), (8, BITS[2]), (16, BITS[3])])
def test_one_bit_that_is_off_is_enough_and_is_named(bit: int, name: str) -> None:
    (merge,) = explain(below_port((FULL, FULL & ~bit))).merges
    assert (merge.reason, merge.missing) == (Reason.PATH, (name,))
    assert "off" in merge.text


def test_bits_that_the_hardware_lacks_or_that_do_not_count_are_not_missed() -> None:
    """pci_acs_flags_enabled asks only for what the capability offers."""
    assert hop(below_port((0x1D & ~0x10, 0x0D)), PORT).separates is True
    assert hop(below_port((0x7F, FULL)), PORT).separates is True


def test_functions_of_one_card_are_one_group_behind_a_good_port() -> None:
    tree = add(HostTree(), PORT, ROOT, acs=ON, group=1)
    add(tree, GPU, ENDPOINT, PORT, several=True, group=2)
    add(tree, AUDIO, ENDPOINT, PORT, several=True, class_code=0x0403, group=2)
    (merge,) = explain(tree).merges
    assert merge.reason is Reason.FUNCTIONS
    assert [str(place) for place in merge.members] == [GPU, AUDIO]


def test_functions_with_acs_are_groups_of_their_own() -> None:
    tree = add(HostTree(), PORT, ROOT, acs=ON, group=1)
    add(tree, GPU, ENDPOINT, PORT, several=True, acs=ON, group=2)
    add(tree, AUDIO, ENDPOINT, PORT, several=True, class_code=0x0403, group=3)
    explained = explain(tree)
    assert explained.merges == ()
    assert [str(place) for place in explained.elsewhere] == [AUDIO]
    assert hierarchy(tree).torn() == ()


def test_two_ports_of_one_slot_join_what_is_below_them() -> None:
    tree = add(HostTree(), PORT, ROOT, several=True, group=1)
    add(tree, "0000:00:01.1", ROOT, several=True, group=1)
    add(tree, GPU, ENDPOINT, PORT, group=1)
    add(tree, NIC, ENDPOINT, "0000:00:01.1", class_code=0x0200, group=1, driver="e1000e")
    explained = explain(tree)
    assert {merge.reason for merge in explained.merges} == {Reason.PATH, Reason.FUNCTIONS}
    assert explained.verdict is not None
    assert [str(place) for place in explained.verdict.strangers] == [NIC]
    assert explained.measured


def test_all_behind_a_bridge_to_conventional_pci_is_one_group() -> None:
    tree = add(HostTree(), PORT, TO_PCI, group=1)
    add(tree, GPU, CONVENTIONAL, PORT, group=1)
    add(tree, "0000:01:02.0", CONVENTIONAL, PORT, class_code=0x0200, group=1)
    explained = explain(tree)
    (merge,) = explained.merges
    assert (merge.reason, len(merge.members)) == (Reason.BRIDGE, 3)
    found = ways(hierarchy(tree), explained)
    assert WayKind.OVERRIDE not in {way.kind for way in found}
    assert found[-1].kind is WayKind.NOTHING


def switch(root: tuple[int, int] | None, down: tuple[int, int] | None, groups: str) -> HostTree:
    port, up, first, second, gpu, nic = groups
    tree = add(HostTree(), PORT, ROOT, acs=root, group=int(port))
    add(tree, "0000:01:00.0", UP, PORT, group=int(up))
    add(tree, "0000:02:00.0", DOWN, "0000:01:00.0", acs=down, group=int(first))
    add(tree, "0000:02:01.0", DOWN, "0000:01:00.0", acs=down, group=int(second))
    add(tree, "0000:03:00.0", ENDPOINT, "0000:02:00.0", group=int(gpu))
    return add(tree, "0000:04:00.0", ENDPOINT, "0000:02:01.0", class_code=0x0200, group=int(nic))


def test_ports_of_a_switch_without_acs_keep_their_own_card_only() -> None:
    (merge,) = explain(switch(ON, None, "012323"), "0000:03:00.0").merges
    assert str(merge.hops[0].address) == "0000:02:00.0"
    assert "downstream port" in merge.text


def test_a_bad_root_port_joins_all_that_is_behind_a_good_switch() -> None:
    """The whole path counts (pci_acs_path_enabled), so the switch cannot help."""
    tree = switch(None, ON, "000000")
    (merge,) = explain(tree, "0000:03:00.0").merges
    assert str(merge.hops[0].address) == PORT
    assert len(merge.members) == 6


# Functions that the kernel knows by their ids.


def test_a_chipset_port_of_intel_counts_as_having_acs() -> None:
    tree = below_port(None, vendor=0x8086, device=0x8C10)
    port = hop(tree, PORT)
    assert (port.separates, port.acs, "counts as having ACS" in port.text) == (True, None, True)
    assert hop(below_port(None, vendor=0x8086, device=0x1901), PORT).separates is False


def test_the_shifted_register_of_intels_100_series_is_read_where_it_is() -> None:
    tree = below_port((FULL, 0), vendor=0x8086, device=0xA110)
    path = f"{tree.place(PORT)}/config"
    assert hop(tree, PORT).missing == BITS
    data = bytearray(tree.files[path])
    data[0x150 + 8] = FULL  # a double word at 8, where the specification has a word at 6
    tree.file(path, bytes(data))
    assert hop(tree, PORT).separates is True


def test_an_integrated_endpoint_of_intel_is_apart_and_anothers_is_not() -> None:
    for vendor, apart in ((0x8086, True), (0x1AF4, False)):
        tree = add(HostTree(), "0000:00:02.0", INTEGRATED, vendor=vendor, several=True)
        assert hop(tree, "0000:00:02.0").separates is apart


def test_amds_chipset_functions_are_apart_only_with_its_iommu() -> None:
    def tree() -> HostTree:
        return add(HostTree(), "0000:00:14.0", CONVENTIONAL, vendor=0x1002, device=0x4385,
                  several=True, class_code=0x0C05)  # fmt: skip

    assert hop(tree(), "0000:00:14.0").separates is False
    with_table = tree().file("/sys/firmware/acpi/tables/IVRS", b"IVRS")
    assert hop(with_table, "0000:00:14.0").separates is True


def test_a_virtual_function_is_apart() -> None:
    tree = below_port(ON)
    tree.link(f"{tree.place(AUDIO)}/physfn", tree.place(GPU))
    assert hop(tree, AUDIO).separates is True


# What could not be measured.


def test_an_ordinary_user_gets_no_claim_and_is_told_to_be_root() -> None:
    tree = below_port(None)
    for address in (PORT, GPU, AUDIO):
        path = f"{tree.place(address)}/config"
        tree.file(path, tree.files[path][:64])
    explained = explain(tree)
    assert not explained.measured
    assert not any(merge.certain for merge in explained.merges)
    assert all("it may be" in merge.text for merge in explained.merges)
    assert "run as root" in explained.path[0].text
    assert hierarchy(tree).torn() == ()
    assert {way.kind for way in ways(hierarchy(tree), explained)} == {WayKind.NONE_NEEDED}


@pytest.mark.parametrize("state", ["D3hot", "D3cold"])
def test_a_sleeping_port_is_not_woken(state: str) -> None:
    tree = add(HostTree(), PORT, ROOT, group=1, power_state=state)
    add(tree, GPU, ENDPOINT, PORT, group=1)
    explained = explain(tree)
    assert explained.path[0].separates is None
    assert "wake" in explained.path[0].text
    assert not [path for path in tree.reads if path.endswith("/config")]


def test_a_dead_port_and_a_refused_config_are_no_answer() -> None:
    dead = below_port(None)
    dead.file(f"{dead.place(PORT)}/config", b"\xff" * 4096)
    refused = below_port(None)
    refused.refused(f"{refused.place(PORT)}/config", errno.EACCES)
    for tree, word in ((dead, "no power"), (refused, "denied")):
        assert hop(tree, PORT).separates is None
        assert word in hop(tree, PORT).text


def test_a_short_config_of_a_port_is_no_claim_that_it_has_no_acs() -> None:
    assert hop(below_port(None, size=256), PORT).separates is None


def test_a_group_that_no_rule_explains_is_called_so() -> None:
    tree = add(HostTree(), PORT, ROOT, acs=ON, group=1)
    add(tree, GPU, ENDPOINT, PORT, group=1)
    explained = explain(tree)
    assert [str(place) for place in explained.unexplained] == [PORT]
    assert not explained.measured


def test_groups_that_are_finer_than_the_hardware_are_seen() -> None:
    tree = add(HostTree(), PORT, ROOT, group=1)
    add(tree, GPU, ENDPOINT, PORT, group=2)
    (merge,) = hierarchy(tree).torn()
    assert str(merge.hops[0].address) == PORT


# What could be done.


def test_the_override_is_offered_with_its_cost_and_only_where_it_would_do_something() -> None:
    tree = add(HostTree(), PORT, ROOT, several=True, group=1)
    add(tree, "0000:00:01.1", ROOT, several=True, group=1)
    add(tree, GPU, ENDPOINT, PORT, group=1)
    add(tree, NIC, ENDPOINT, "0000:00:01.1", class_code=0x0200, group=1)
    add(tree, "0000:00:1c.0", ROOT, acs=ON, group=2)
    found = {way.kind: way for way in ways(hierarchy(tree), explain(tree))}
    override = found[WayKind.OVERRIDE]
    assert "pcie_acs_override=downstream" in override.text
    assert "not isolation" in override.cost
    assert "0000:00:1c.0" in found[WayKind.SLOT].text
    assert NIC in found[WayKind.WHOLE_GROUP].text


def test_a_laptop_has_no_other_slot() -> None:
    tree = switch(None, ON, "000000").file("/sys/class/dmi/id/chassis_type", "10")
    add(tree, "0000:00:1c.0", ROOT, acs=ON, group=2)
    kinds = {way.kind for way in ways(hierarchy(tree), explain(tree, "0000:03:00.0"))}
    assert WayKind.SLOT not in kinds
    tree.file("/sys/class/dmi/id/chassis_type", "3")
    kinds = {way.kind for way in ways(hierarchy(tree), explain(tree, "0000:03:00.0"))}
    assert WayKind.SLOT in kinds


def test_acs_that_is_there_and_off_is_no_case_for_the_override() -> None:
    tree = switch((FULL, 0), ON, "000000")
    kinds = {way.kind for way in ways(hierarchy(tree), explain(tree, "0000:03:00.0"))}
    assert WayKind.PARAMETER in kinds
    assert WayKind.OVERRIDE not in kinds


# Against the rule as the kernel runs it, device by device.


@dataclass(frozen=True)
class Made:
    """A function of a made-up machine."""

    address: str
    kind: int | None
    parent: str | None
    acs: tuple[int, int] | None
    several: bool


@st.composite
def machines(draw: st.DrawFn) -> list[Made]:
    """Ports, switches and bridges with cards below, three levels at most."""
    made: list[Made] = []
    buses = iter(range(1, 200))

    def level(bus: int, parent: str | None, depth: int, kinds: list[int | None]) -> None:
        for slot in range(draw(st.integers(1, 2))):
            functions = draw(st.integers(1, 2))
            for function in range(functions):
                kind = draw(st.sampled_from(kinds))
                acs = draw(st.sampled_from([None, ON, (FULL, 5)])) if kind is not None else None
                address = f"0000:{bus:02x}:{slot:02x}.{function}"
                made.append(Made(address, kind, parent, acs, functions > 1))
                if depth and kind in (ROOT, DOWN):
                    level(next(buses), address, depth - 1, [ENDPOINT, UP, TO_PCI])
                elif depth and kind == UP:
                    level(next(buses), address, depth - 1, [DOWN])
                elif depth and kind == TO_PCI:
                    level(next(buses), address, depth - 1, [CONVENTIONAL])

    level(0, None, 3, [ROOT, ENDPOINT, CONVENTIONAL, TO_PCI])
    return made


def kernels_groups(made: list[Made]) -> dict[str, int]:
    """Groups as the kernel gives them, one device after the other, parents before children."""
    by_address, groups = {one.address: one for one in made}, dict[str, int]()

    def apart(one: Made) -> bool:
        if one.kind in (CONVENTIONAL, TO_PCI):
            return False
        if one.kind not in (ROOT, DOWN) and not one.several:
            return True
        return one.acs == ON

    def path_apart(one: Made) -> bool:
        return apart(one) and (one.parent is None or path_apart(by_address[one.parent]))

    def group_of(one: Made) -> int:
        at = one
        step = one.parent
        while step is not None:
            bridge = by_address[step]
            if bridge.kind == TO_PCI:
                if bridge.address in groups:
                    return groups[bridge.address]
                at = bridge
            step = bridge.parent
        while at.parent is not None and not path_apart(by_address[at.parent]):
            at = by_address[at.parent]
            if at.address in groups:
                return groups[at.address]
        if at.several and not apart(at):
            slot = at.address[:-2]
            for other in made:
                if other.address[:-2] == slot and other.address in groups and not apart(other):
                    return groups[other.address]
        return max(groups.values(), default=-1) + 1

    for one in made:
        groups[one.address] = group_of(one)
    return groups


@given(machines())
def test_groups_follow_from_merges_as_from_the_kernels_own_walk(made: list[Made]) -> None:
    tree, groups = HostTree(), kernels_groups(made)
    for one in made:
        add(tree, one.address, one.kind, one.parent, acs=one.acs, several=one.several,
            group=groups[one.address])  # fmt: skip
    whole = hierarchy(tree)
    assert whole.torn() == ()
    for device in whole.machine.devices:
        assert whole.explain(device).unexplained == ()
        assert whole.hop(device).kind in PortType
