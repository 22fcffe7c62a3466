"""Addresses, ids and classes as values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.iommu import IommuGroup, Isolation, Member, bridge_by_class
from diag.pci import Acs, PciAddress, PciClass, PciId

addresses = st.builds(
    PciAddress,
    st.integers(0, 0xFFFF_FFFF),
    st.integers(0, 255),
    st.integers(0, 31),
    st.integers(0, 7),
)


@given(addresses)
def test_an_address_reads_back(address: PciAddress) -> None:
    assert PciAddress.parse(str(address)) == address
    assert PciAddress.parse(str(address).upper()) == address


@given(addresses, addresses)
def test_addresses_sort_by_their_numbers(left: PciAddress, right: PciAddress) -> None:
    def parts(address: PciAddress) -> tuple[int, ...]:
        return (address.domain, address.bus, address.device, address.function)

    assert (left < right) == (parts(left) < parts(right))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("01:00.0", "0000:01:00.0"),
        ("00000000:1A:00.0", "0000:1a:00.0"),
        ("10000:e1:00.0", "10000:e1:00.0"),
        ("61f0:00:00.0", "61f0:00:00.0"),
    ],
)
def test_an_address_is_written_in_one_way(text: str, shown: str) -> None:
    assert str(PciAddress.parse(text)) == shown
    assert repr(PciAddress.parse(text)) == f"<PciAddress {shown}>"


@pytest.mark.parametrize(
    "text",
    ["", "01:00", "01:00.8", "01:20.0", "1:00.0", "000:01:00.0", "0000:01:00.0 ", "01:00.0\n",
     "123456789:01:00.0", "10de:1c20", "٠1:00.0"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="no PCI address"):
        PciAddress.parse(text)


def test_an_address_outside_the_bus_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="no PCI address"):
        PciAddress(0, 0, 32, 0)


def test_functions_of_one_device() -> None:
    gpu = PciAddress.parse("0000:01:00.0")
    assert gpu.slot == "0000:01:00"
    assert gpu.same_slot(PciAddress.parse("01:00.1"))
    assert not gpu.same_slot(PciAddress.parse("10000:01:00.1"))


def test_ids_and_classes() -> None:
    assert str(PciId.parse("10DE:1c20")) == "10de:1c20"
    assert {PciId(1, 2): "x"}[PciId.parse("0001:0002")] == "x"
    assert PciClass.parse("0302").is_display
    assert PciClass.parse("0604").is_bridge
    assert not PciClass.parse("0601").is_bridge
    assert PciClass.named("VGA compatible  controller") == PciClass(0x0300)
    assert PciClass.named("Audiodevice") == PciClass(0x0403)
    assert PciClass.named("Flux capacitor") is None
    for text in ("10de", "10de:1c2", "10de:1c20 "):
        with pytest.raises(ValueError, match="no PCI id"):
            PciId.parse(text)


def test_the_bits_that_the_kernel_asks_for() -> None:
    """REQ_ACS_FLAGS: SrcValid, ReqRedir, CmpltRedir, UpstreamFwd; only those the port has."""
    assert Acs(0x5F, 0x1D).missing == ()
    assert Acs(0x5F, 0x02).missing == ("SrcValid", "ReqRedir", "CmpltRedir", "UpstreamFwd")
    assert Acs(0x0F, 0x0D).missing == ()
    assert Acs(None, None).missing is None


def member(text: str, bridge: bool | None = False) -> Member:
    return Member(PciAddress.parse(text), bridge)


GPU = PciAddress.parse("01:00.0")


@pytest.mark.parametrize(
    ("others", "isolation"),
    [
        ([], Isolation.ISOLATED),
        ([member("00:01.0", True), member("01:00.1")], Isolation.ISOLATED),
        ([member("02:00.0")], Isolation.STRANGERS),
        ([member("02:00.0", None)], Isolation.UNKNOWN),
        ([member("01:00.1", None)], Isolation.ISOLATED),
        # One known stranger is enough.
        ([member("02:00.0", None), member("03:00.0")], Isolation.STRANGERS),
    ],
)
def test_verdict_of_a_group(others: list[Member], isolation: Isolation) -> None:
    group = IommuGroup.of(1, [*others, member("01:00.0")])
    assert group.verdict(GPU).isolation is isolation
    assert list(group.addresses) == sorted(group.addresses)


def test_what_counts_as_a_bridge() -> None:
    assert bridge_by_class(PciClass(0x0600), None) is True
    assert bridge_by_class(PciClass(0x0601), "PCI bridge") is False
    assert bridge_by_class(None, "PCI bridge") is True
    assert bridge_by_class(None, "ISA bridge") is False
    assert bridge_by_class(None, None) is None
