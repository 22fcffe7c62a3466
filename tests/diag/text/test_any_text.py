"""Whatever the text, it is read: no exception, no hang, no memory without bound."""

from __future__ import annotations

import json
import time
import tracemalloc

import pytest
from builders.config_space import Function, dump
from diag_samples import SAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.config_space import ConfigSpace
from diag.errors import NotHostText, TextTooLarge
from diag.render.reading import devices_text, reading_text
from diag.text import lines as text_lines
from diag.text.reading import MAX_FUNCTIONS, MAX_MEMBERS, Reading, parse_text, read_bytes
from diag.text.record import record
from romkit.render.style import Style

several = settings(max_examples=150, deadline=None)


def whole(reading: Reading) -> str:
    """Everything that can be asked of a reading, and all that is printed of it."""
    for address in reading.addresses:
        reading.verdict(address)
        reading.functions_elsewhere(address)
    repr(reading)
    reading_text("x", reading, Style(True), 100)
    devices_text(reading, Style(), 80)
    return json.dumps(record(reading))


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Real shapes, cut, wrapped, mixed with each other and with anything else."""
    pieces = []
    for _ in range(draw(st.integers(1, 4))):
        sample = draw(st.sampled_from(SAMPLES))
        start = draw(st.integers(0, len(sample)))
        pieces.append(sample[start : draw(st.integers(start, len(sample)))])
    text = draw(st.sampled_from(["", "\n", "\r", " "])).join(pieces)
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, len(text)))
        noise = draw(
            st.sampled_from(["\n", "\t", "> ", '"', "'", "\\", "\x00", "[", ":"]) | st.text()
        )
        text = text[:place] + noise + text[place + draw(st.integers(0, 3)) :]
    width = draw(st.sampled_from([0, 0, 20, 40, 80]))
    if width:
        text = "\n".join(text[i : i + width] for i in range(0, len(text), width))
    return text


@several
@given(damaged())
def test_damaged_text(text: str) -> None:
    whole(parse_text(text))


@several
@given(st.text())
def test_any_text(text: str) -> None:
    whole(parse_text(text))


@several
@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    try:
        whole(read_bytes(data))
    except NotHostText:
        assert data.count(0) > 64


@several
@given(st.data())
def test_interleaved_lines(data: st.DataObject) -> None:
    lines = [line for sample in SAMPLES for line in sample.splitlines()]
    whole(parse_text("\n".join(data.draw(st.lists(st.sampled_from(lines), max_size=60)))))


@several
@given(st.binary(max_size=4096), st.integers(0, 0xFF))
def test_any_config_space(data: bytes, pointer: int) -> None:
    if len(data) > 0x34:
        data = data[:6] + b"\x10\x00" + data[8:0x34] + bytes([pointer]) + data[0x35:]
    config = ConfigSpace(data)
    assert len(config.capabilities) <= 48
    assert len(config.extended_capabilities) <= 960
    for name in ("ids", "class_code", "subsystem", "power_state", "link", "acs", "header_type"):
        getattr(config, name)
    repr(config)


def test_a_cut_text_says_no_more_than_the_whole() -> None:
    """What is read of a beginning is read of the whole too."""
    text = SAMPLES[0]
    known = {d.address: d for d in parse_text(text).devices}
    for end in range(0, len(text), 7):
        for device in parse_text(text[:end]).devices:
            assert device.address in known
            assert device.ids in (None, known[device.address].ids)


#: Lines on which careless patterns run wild.
HARD = [
    "a" * 8000, " " * 8000, "\t" * 8000 + "x", "[" * 8000, '"' * 8000, '\\"' * 4000, ">" * 8000,
    "01:00.0 " * 1000, "Class:" + " " * 8000 + "x", "01:00.0 \"" + '\\"' * 4000,
    "linux " + "/" * 8000, "a@" * 4000, "|  " * 2600 + "x", "-[0000:00]-" + "-" * 8000,
    "Kernel modules: " + "," * 8000, "options " + "a=b " * 2000, "IOMMU Group " * 600,
    "01:00.0 VGA: " + " (" * 4000, "01:00.0 VGA [0300]:" + " " * 8000 + "(", "*" * 8000,
    "00:" + " 00" * 2600, "Subsystem: " + "[1234:5678" * 800, "#" * 8000, "&amp;" * 1600,
    'GRUB_CMDLINE_LINUX="' + "x " * 4000, "\x1b[" * 4000, "[   1.0] " + "AER: " * 1500,
    'boot.kernelParams = [ "' + '\\"' * 4000, "Group Device: " * 500, "Speed x, Width " * 500,
]  # fmt: skip


@pytest.mark.parametrize("line", HARD, ids=lambda line: line[:24])
def test_time_grows_with_the_text_and_no_faster(line: str) -> None:
    """A thousand of the worst lines may take seconds, but never minutes."""
    text = "\n".join([SAMPLES[0], *[line] * 100])
    start = time.process_time()
    parse_text(text)
    assert time.process_time() - start < 5


MANY = {
    "a listing repeated": ["IOMMU Group 1 01:00.0 VGA compatible controller [0300]: X [10de:1c20]"]
    * 30_000,
    "a GPU in each group": [
        f"IOMMU Group {n} {n >> 8:02x}:{n >> 3 & 31:02x}.{n & 7} VGA controller [0300]: X"
        for n in range(4000)
    ],
    "modules of one device": ["01:00.0 VGA compatible controller: X"]
    + ["\tKernel modules: nouveau, nvidia"] * 60_000,
}


@pytest.mark.parametrize("lines", MANY.values(), ids=MANY.keys())
def test_time_grows_with_the_number_of_lines_and_no_faster(lines: list[str]) -> None:
    """Each of these took a minute where every line, group or GPU was held against every other."""
    start = time.process_time()
    reading = parse_text("\n".join(lines))
    reading_text("x", reading, Style(), 100)
    assert record(reading)["gpus"]
    assert time.process_time() - start < 10


def test_one_line_as_long_as_a_file() -> None:
    text = SAMPLES[0] + "x" * (8 << 20)
    start = time.process_time()
    assert parse_text(text).devices
    assert time.process_time() - start < 5


def test_memory_is_bounded_by_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "MAX_LINES", 1000)
    tracemalloc.start()
    try:
        with pytest.raises(TextTooLarge, match="more than 1000 lines"):
            parse_text("x\n" * 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_limits_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "MAX_BYTES", 100)
    with pytest.raises(TextTooLarge, match="larger than"):
        read_bytes(b"x" * 101)
    some = (
        f"{n >> 16:04x}:{n >> 8 & 255:02x}:00.0 Audio device: A" for n in range(0, 1 << 30, 256)
    )
    with pytest.raises(TextTooLarge, match="functions"):
        parse_text("\n".join(line for _, line in zip(range(MAX_FUNCTIONS + 1), some, strict=False)))
    members = (f"{n:04x}:01:00.0" for n in range(MAX_MEMBERS + 1))
    paths = "\n".join(f"/sys/kernel/iommu_groups/1/devices/{address}" for address in members)
    with pytest.raises(TextTooLarge, match="a group of"):
        parse_text(paths)


def test_encodings() -> None:
    text = "01:00.0 VGA compatible controller [0300]: Acmé [10de:1234]\n"
    for data in (text.encode(), text.encode("utf-16"), text.encode("latin-1"),
                 b"\xef\xbb\xbf" + text.encode(), text.replace("\n", "\r").encode()):  # fmt: skip
        (device,) = read_bytes(data).devices
        assert str(device.ids) == "10de:1234"


def test_a_program_is_no_text() -> None:
    with pytest.raises(NotHostText):
        read_bytes(b"\x7fELF" + bytes(4096))


def test_a_dump_that_was_made() -> None:
    """Our own dump without lspci between: what is put in comes out."""
    card = Function(subsystem=(0x1558, 0x65A1), power=3, link=(3, 8), acs=(0x5F, 0x1D))
    (device,) = parse_text(dump(card)).devices
    assert str(device.config.ids) == "10de:1c20"
    assert str(device.config.subsystem) == "1558:65a1"
    assert (device.config.power_state, device.config.link) == ("D3", "8GT/s x8")
    assert (device.config.acs.capability, device.config.acs.control) == (0x5F, 0x1D)
    assert device.display_class is not None
