"""What the real lspci prints of made-up cards says to our reader what the cards are."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from builders.config_space import Function, config_space, dump
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diag.config_space import ConfigSpace
from diag.pci import PciAddress, PciClass, PciId, acs_names
from diag.text.device import TextDevice
from diag.text.reading import Reading, parse_text

LSPCI = shutil.which("lspci", path="/usr/bin:/usr/sbin:/bin:/sbin")
pytestmark = pytest.mark.skipif(
    LSPCI is None, reason="lspci is not installed (Debian, Ubuntu: apt-get install pciutils)"
)

ids = st.one_of(
    st.sampled_from([(0x10DE, 0x1C20), (0x8086, 0x1901), (0x1002, 0x67DF), (0x1234, 0x1111)]),
    st.tuples(st.integers(1, 0xFFFE), st.integers(0, 0xFFFE)),
)
classes = st.sampled_from([0x0300, 0x0302, 0x0380, 0x0403, 0x0600, 0x0601, 0x0C03, 0x1300, 0xFF00])


@st.composite
def functions(draw: st.DrawFn, domain: str = "") -> list[Function]:
    """A few functions on one bus, and a bridge with something below it."""
    made = []
    for number in draw(st.lists(st.integers(1, 30), min_size=1, max_size=4, unique=True)):
        vendor, device = draw(ids)
        express = draw(st.booleans())
        bridge = draw(st.booleans())
        made.append(
            Function(
                address=f"{domain}00:{number:02x}.{draw(st.integers(0, 7))}",
                vendor=vendor,
                device=device,
                class_code=0x0604 if bridge else draw(classes),
                revision=draw(st.integers(0, 0xFE)),
                subsystem=draw(st.none() | ids),
                bridge=bridge,
                below=number,
                power=draw(st.none() | st.integers(0, 3)),
                link=draw(st.tuples(st.integers(1, 4), st.sampled_from([1, 4, 8, 16])))
                if express
                else None,
                acs=draw(st.none() | st.tuples(st.integers(0, 0x7F), st.integers(0, 0x7F)))
                if express
                else None,
            )
        )
        if bridge and draw(st.booleans()):
            vendor, device = draw(ids)
            made.append(Function(f"{domain}{number:02x}:00.0", vendor, device, draw(classes)))
    return made


def lspci(tmp: Path, made: list[Function], *options: str, size: int = 4096) -> Reading:
    """What our reader makes of what lspci prints."""
    source = tmp / "dump"
    source.write_text("\n".join(dump(f, size) for f in made))
    assert LSPCI is not None
    run = subprocess.run(
        [LSPCI, "-F", str(source), *options], capture_output=True, text=True, check=True
    )
    return parse_text(run.stdout)


def pairs(reading: Reading, made: list[Function]) -> list[tuple[TextDevice, Function]]:
    by_address = {PciAddress.parse(f.address): f for f in made}
    assert {d.address for d in reading.devices} == set(by_address)
    return [(device, by_address[device.address]) for device in reading.devices]


several = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("options", [("-nn",), ("-n",), ("-nnk",), ("-nk",), ("-Dnnk",), ("-nnv",)])
@several
@given(made=functions())
def test_ids_class_and_revision(tmp_path: Path, options: tuple[str, ...], made: list) -> None:
    for device, card in pairs(lspci(tmp_path, made, *options), made):
        assert device.ids == PciId(card.vendor, card.device)
        assert device.class_code == PciClass(card.class_code)
        # lspci does not print revision 0.
        assert device.revision == (card.revision or None)
        if "n" in options[0] and "k" in options[0] and not card.bridge:
            assert device.subsystem == (PciId(*card.subsystem) if card.subsystem else None)


@pytest.mark.parametrize("options", [("-vmmnn",), ("-vmmn",), ("-mmnn",), ("-mmn",), ("-Dvmmnn",)])
@several
@given(made=functions())
def test_records_for_programs(tmp_path: Path, options: tuple[str, ...], made: list) -> None:
    reading = lspci(tmp_path, made, *options)
    for device, card in pairs(reading, made):
        assert device.ids == PciId(card.vendor, card.device)
        assert device.class_code == PciClass(card.class_code)
        assert device.revision == (card.revision or None)
        if not card.bridge:
            assert device.subsystem == (PciId(*card.subsystem) if card.subsystem else None)
    assert len(reading.records) == len(made)


@several
@given(made=functions())
def test_verbose_text(tmp_path: Path, made: list) -> None:
    reading = lspci(tmp_path, made, "-nnvvv")
    for device, card in pairs(reading, made):
        assert device.power_state == (None if card.power is None else f"D{card.power}")
        assert device.subsystem == (PciId(*card.subsystem) if card.subsystem else None)
        assert (device.link is None) == (card.link is None)
        if card.link is not None:
            assert device.link.endswith(f"x{card.link[1]} (ok)") or device.link.endswith(
                f"x{card.link[1]}"
            )
        if card.acs is None:
            assert device.acs is None
        else:
            assert (device.acs.capability, device.acs.control) == card.acs


@pytest.mark.parametrize(("option", "size"), [("-x", 64), ("-xxx", 256), ("-xxxx", 4096)])
@several
@given(made=functions())
def test_bytes_of_a_dump(tmp_path: Path, option: str, size: int, made: list) -> None:
    """Heads without ids: all that is known stands in the bytes."""
    for device, card in pairs(lspci(tmp_path, made, option), made):
        assert device.config == ConfigSpace(config_space(card)[:size])
        config = device.config
        assert config.ids == PciId(card.vendor, card.device)
        assert config.class_code == PciClass(card.class_code)
        assert config.revision == card.revision
        assert config.header_type == int(card.bridge)
        if size > 64:
            assert config.subsystem == (PciId(*card.subsystem) if card.subsystem else None)
            assert config.power_state == (None if card.power is None else f"D{card.power}")
        if size == 4096:
            acs = config.acs
            assert (None if acs is None else (acs.capability, acs.control)) == card.acs


@several
@given(made=functions())
def test_bytes_say_what_the_text_says(tmp_path: Path, made: list) -> None:
    for device in lspci(tmp_path, made, "-nnvvvxxxx").devices:
        config = device.config
        assert config.ids == device.ids
        assert config.subsystem == device.subsystem
        assert config.power_state == device.power_state
        assert config.acs == device.acs
        if device.link is not None:
            plain = device.link.replace(" (ok)", "").replace(" (downgraded)", "")
            assert config.link == plain


@pytest.mark.parametrize("options", [("-t",), ("-tv",), ("-tvnn",)])
@several
@given(made=functions())
def test_tree(tmp_path: Path, options: tuple[str, ...], made: list) -> None:
    reading = lspci(tmp_path, made, *options)
    assert {d.address for d in reading.devices} == {PciAddress.parse(f.address) for f in made}
    below = {f.below: PciAddress.parse(f.address) for f in made if f.bridge}
    for child, parent in reading.parents:
        assert below[child.bus] == parent
    assert {child.bus for child, _ in reading.parents} == {
        PciAddress.parse(f.address).bus for f in made
    } - {0}


@several
@given(made=functions(domain="10000:"))
def test_five_digit_domain(tmp_path: Path, made: list) -> None:
    for option in ("-nn", "-vmmnn", "-mmnn", "-tv", "-xxx"):
        assert {d.address for d in lspci(tmp_path, made, option).devices} == {
            PciAddress.parse(f.address) for f in made
        }


def test_card_without_power(tmp_path: Path) -> None:
    rows = "\n".join(f"{at:02x}:{' ff' * 16}" for at in range(0, 256, 16))
    source = tmp_path / "dead"
    source.write_text(f"01:00.0 dead\n{rows}\n")
    for option in ("-nn", "-nnv", "-nnk", "-xxx"):
        run = subprocess.run(
            [LSPCI, "-F", source, option], capture_output=True, text=True, check=True
        )
        assert parse_text(run.stdout).dead == (PciAddress(0, 1, 0, 0),)


def test_acs_names_are_those_of_lspci(tmp_path: Path) -> None:
    card = Function(bridge=True, class_code=0x0604, acs=(0x5F, 0x1D))
    (device,) = lspci(tmp_path, [card], "-vvv").devices
    assert acs_names(device.acs.capability) == (
        "SrcValid", "TransBlk", "ReqRedir", "CmpltRedir", "UpstreamFwd", "DirectTrans",
    )  # fmt: skip
    assert device.acs.missing == ()
