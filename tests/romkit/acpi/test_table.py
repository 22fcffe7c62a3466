"""Tables read: headers, checksums, outlines; any bytes at all."""

from __future__ import annotations

import pytest
from builders.acpi import dsdt, every_term, tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from romkit.acpi.aml import DefinitionBlock, Name
from romkit.acpi.aml.encoding import package_length
from romkit.acpi.battery import battery_table
from romkit.acpi.errors import AmlError, MalformedTable
from romkit.acpi.outline import MAX_DEPTH, outline
from romkit.acpi.table import (
    build_table,
    parse_table,
    parse_tables,
    verify_rest,
    verify_table,
)
from romkit.finding import Verdict


def test_a_header_is_read_field_by_field() -> None:
    # ACPI 6.5, table 5.4, by hand; the body is one zero.
    raw = bytearray(b"SSDT\x25\0\0\0\x02\0OEMID TABLEID \x07\0\0\0INTL\x25\x09\x20\x20\x00")
    raw[9] = -sum(raw) & 0xFF
    table = parse_table(bytes(raw))
    assert (table.signature, table.length, table.revision) == ("SSDT", 37, 2)
    assert (table.oem_id, table.oem_table_id, table.oem_revision) == ("OEMID", "TABLEID", 7)
    assert (table.creator_id, table.creator_revision) == ("INTL", 0x20200925)
    assert (table.body, table.sum8) == (b"\0", 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a table header has 36"),
        (b"SSDT", "a table header has 36"),
        (bytes(36), "no table signature"),
        (b"RSD PTR " + bytes(28), "an RSDP"),
        (b"FACS" + bytes(60), "a FACS"),
        (b"SSDT\x23\0\0\0" + bytes(40), "a table of 35 bytes"),
        (b"SSDT\x60\0\0\0" + bytes(40), "0x60 bytes, of which 0x30"),
    ],
)
def test_what_is_no_table_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(MalformedTable, match=message):
        parse_table(data)


def test_several_tables_in_a_file_are_read_one_after_another() -> None:
    first, second = dsdt(), bytes(battery_table())
    assert [t.signature for t in parse_tables(first + second + bytes(100))] == ["DSDT", "SSDT"]
    with pytest.raises(MalformedTable) as wrong:
        parse_tables(first + b"rubbish, and more than a header's length of it")
    assert wrong.value.offset == len(first) + 4


def test_what_follows_the_padding_is_said() -> None:
    first, second = dsdt(), bytes(battery_table())
    whole = first + second
    for rest in (b"", bytes(100)):
        assert verify_rest(whole + rest, parse_tables(whole + rest)) == ()
    for zeros, junk in ((36, b"junk"), (100, bytes(first)), (5000, b"\x01" + bytes(99))):
        data = whole + bytes(zeros) + junk
        tables_in = parse_tables(data)
        assert len(tables_in) == 2
        (finding,) = verify_rest(data, tables_in)
        assert not finding.blocks
        assert finding.verdict is Verdict.FAIL
        assert f"{len(junk)} bytes at {len(whole) + zeros:#x}" in finding.title


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(0, 99), st.binary(max_size=60))
def test_every_byte_of_a_file_is_in_a_table_padding_or_said_to_follow(
    bodies: list[bytes], zeros: int, junk: bytes
) -> None:
    built = [build_table("SSDT", body, revision=2, oem_id="A", oem_table_id="B") for body in bodies]
    data = b"".join(built) + bytes(zeros) + junk
    try:
        tables_in = parse_tables(data)
    except MalformedTable:
        return
    findings = verify_rest(data, tables_in)
    end = sum(table.length for table in tables_in)
    assert bool(findings) == any(data[end:])


@given(st.binary(max_size=300))
def test_any_bytes_are_tables_or_refused(data: bytes) -> None:
    try:
        tables_in = parse_tables(b"SSDT" + data)
    except MalformedTable:
        return
    assert (b"SSDT" + data).startswith(b"".join(bytes(table) for table in tables_in))


def test_a_bad_checksum_is_found_and_the_right_one_named() -> None:
    good = bytes(battery_table())
    (finding,) = verify_table(parse_table(good))
    assert finding.verdict is Verdict.PASS
    bad = bytearray(good)
    bad[9] = (bad[9] + 5) & 0xFF
    (finding,) = verify_table(parse_table(bytes(bad)))
    assert finding.blocks
    assert f"{good[9]:#04x}" in finding.title


@pytest.mark.parametrize(
    "fields",
    [
        {"signature": "SSD"},
        {"oem_id": "TOOLONG"},
        {"oem_table_id": "MUCHTOOLONG"},
        {"oem_id": "ü"},
        {"revision": 256},
    ],
)
def test_headers_that_cannot_be_are_refused(fields: dict[str, object]) -> None:
    good: dict[str, object] = {
        "signature": "SSDT", "revision": 2, "oem_id": "A", "oem_table_id": "B",
    }  # fmt: skip
    given_fields = {**good, **fields}
    with pytest.raises(AmlError, match=r"5\.2\.6"):
        build_table(given_fields.pop("signature"), b"", **given_fields)  # type: ignore[arg-type]  # wrong on purpose


def test_the_outline_names_what_a_table_defines() -> None:
    entries = outline(parse_table(dsdt()))
    assert [(entry.depth, entry.kind, entry.path) for entry in entries] == [
        (0, "Scope", r"\_SB"),
        (1, "Device", "PCI0"),
        (2, "Name", "_HID"),
        (2, "Device", "S08"),
        (3, "Name", "_ADR"),
        (3, "Device", "S00"),
        (4, "Name", "_ADR"),
    ]
    values = [entry.detail for entry in entries if entry.kind == "Name"]
    assert values == ["PNP0A08", "0x10000", "0"]


def test_the_outline_goes_through_every_kind_of_definition() -> None:
    entries = outline(parse_table(bytes(every_term())))
    assert not [entry for entry in entries if entry.kind == "?"]
    kinds = {entry.kind for entry in entries}
    assert kinds >= {"Scope", "Device", "Method", "Name", "Field", "IndexField", "BankField"}
    assert kinds >= {"OperationRegion", "Mutex", "Event", "Alias", "PowerResource", "ThermalZone"}


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(tables)
def test_the_outline_finds_all_names_of_a_made_up_table(table: DefinitionBlock) -> None:
    (scope,) = table.body
    wanted = [(1, term.path) for term in scope.body]  # type: ignore[attr-defined]  # it is a Scope
    found = [
        (e.depth, e.path.ljust(4, "_")) for e in outline(parse_table(bytes(table))) if e.depth == 1
    ]
    assert found == wanted


@given(st.binary(max_size=200))
def test_the_outline_of_any_bytes_ends(body: bytes) -> None:
    data = build_table("SSDT", body, revision=2, oem_id="A", oem_table_id="B")
    entries = outline(parse_table(data))
    assert all(36 <= entry.offset < len(data) for entry in entries)
    assert all(entry.path.isprintable() and entry.detail.isprintable() for entry in entries)


@given(st.data())
def test_the_outline_of_a_damaged_table_ends(data: st.DataObject) -> None:
    raw = bytearray(bytes(every_term()))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(36, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assert outline(parse_table(bytes(raw)))


def test_blocks_within_blocks_are_followed_as_far_as_sense_goes() -> None:
    inside = bytes(Name("DEEP", 1))
    for _ in range(3 * MAX_DEPTH):
        inside = b"DEV_" + inside
        inside = b"\x5b\x82" + package_length(len(inside)) + inside
    body = inside + bytes(Name("NEXT", 2))
    data = build_table("SSDT", body, revision=2, oem_id="A", oem_table_id="B")
    entries = outline(parse_table(data))
    assert max(entry.depth for entry in entries) == MAX_DEPTH
    assert entries[-1].path == "NEXT"


def test_tables_without_aml_have_no_outline() -> None:
    data = build_table("VFCT", b"anything", revision=1, oem_id="A", oem_table_id="B")
    assert outline(parse_table(data)) == ()
