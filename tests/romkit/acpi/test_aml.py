"""Terms by themselves: golden bytes from the specification, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from builders.acpi import constants, every_term, tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from romkit.acpi import aml as a
from romkit.acpi.aml.encoding import field_length, name_string, package_length
from romkit.acpi.errors import AmlError
from romkit.acpi.outline import eisa_text
from romkit.acpi.table import parse_table


@pytest.mark.parametrize(
    ("body", "encoded"),
    # ACPI 6.5, 20.2.4: the length counts itself; six bits in one byte, then 12, 20 and 28.
    [
        (0, "01"),
        (62, "3f"),
        (63, "41 04"),
        (0xFFD, "4f ff"),
        (0xFFE, "81 00 01"),
        (0xFFFFC, "8f ff ff"),
        (0xFFFFD, "c1 00 00 01"),
    ],
)
def test_package_lengths(body: int, encoded: str) -> None:
    assert package_length(body) == bytes.fromhex(encoded)


@given(st.integers(0, (1 << 28) - 5))
def test_a_package_length_says_how_long_all_is(body: int) -> None:
    encoded = package_length(body)
    number = encoded[0] & 0x3F
    if len(encoded) > 1:
        number = encoded[0] & 0xF | int.from_bytes(encoded[1:], "little") << 4
        assert not encoded[0] & 0x30
    assert (encoded[0] >> 6) + 1 == len(encoded)
    assert number == body + len(encoded)


def test_lengths_beyond_28_bits_are_refused() -> None:
    for wrong in (lambda: package_length((1 << 28) - 1), lambda: field_length(1 << 28)):
        with pytest.raises(AmlError, match=r"20\.2\.4"):
            wrong()


@pytest.mark.parametrize(
    ("path", "encoded"),
    [
        ("FOO", b"FOO_"),
        ("\\", b"\\\0"),
        ("^", b"^\0"),
        ("^^BAT0", b"^^BAT0"),
        (r"\_SB.PCI0", b"\\\x2e_SB_PCI0"),
        (r"\_SB.PCI0.S08.S00", b"\\\x2f\x04_SB_PCI0S08_S00_"),
    ],
)
def test_names(path: str, encoded: bytes) -> None:
    assert name_string(path) == encoded


@pytest.mark.parametrize("path", ["", "foo", "TOOLONG", "1AB", "A..B", "A.", "\\^A", "Ä", "A B"])
def test_what_is_no_name_is_refused(path: str) -> None:
    with pytest.raises(AmlError, match=r"20\.2\.2"):
        a.Ref(path)


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (0, "00"),
        (1, "01"),
        (2, "0a 02"),
        (0x100, "0b 00 01"),
        (0x10000, "0c 00 00 01 00"),
        (1 << 32, "0e 00 00 00 00 01 00 00 00"),
        ((1 << 64) - 1, "ff"),
    ],
)
def test_integers_take_the_fewest_bytes(number: int, encoded: str) -> None:
    assert bytes(a.Integer(number)) == bytes.fromhex(encoded)


def test_ids_are_packed_as_the_specification_says() -> None:
    # ACPI 6.5, 6.1.5 and the well known bytes of PNP0A03: 41 D0 0A 03.
    assert bytes(a.EisaId("PNP0A03")) == bytes.fromhex("0c 41 d0 0a 03")
    uuid = a.Uuid("33221100-5544-7766-8899-AABBCCDDEEFF")
    assert uuid.data == bytes.fromhex("00112233445566778899aabbccddeeff")


@given(st.from_regex(r"[A-Z]{3}[0-9A-F]{4}", fullmatch=True))
def test_ids_can_be_read_back(text: str) -> None:
    assert eisa_text(bytes(a.EisaId(text))[1:]) == text


def table(*body: a.Term, **header: object) -> a.DefinitionBlock:
    return a.DefinitionBlock("TEST", body, **header)  # type: ignore[arg-type]  # wrong on purpose


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: a.Integer(-1), "20.2.3"),
    (lambda: a.Integer(1 << 64), "20.2.3"),
    (lambda: a.Integer(256, width=1), "20.2.3"),
    (lambda: a.Integer(1, width=3), "20.2.3"),
    (lambda: a.String("ü"), "20.2.3"),
    (lambda: a.String("a\0"), "20.2.3"),
    (lambda: a.Buffer(b"abc", 2), "20.2.5.4"),
    (lambda: a.Package([0] * 256), "20.2.5.4"),
    (lambda: a.Package([a.Local(0)]), "20.2.3"),
    (lambda: a.Name("FOO", a.Add(1, 2)), "20.2.3"),
    (lambda: a.Name("FOO", a.Buffer(size=a.Local(0))), "20.2.3"),
    (lambda: a.EisaId("PNP0C0"), "6.1.5"),
    (lambda: a.EisaId("ACPI0003"), "6.1.5"),
    (lambda: a.Uuid("123"), "20.2.3"),
    (lambda: a.Local(8), "20.2.6.2"),
    (lambda: a.Arg(7), "20.2.6.1"),
    (lambda: a.Store(1, a.Integer(2)), "20.2.2"),  # type: ignore[arg-type]  # that is the point
    (lambda: a.Add(1, 2, a.Add(1, 2)), "20.2.2"),  # type: ignore[arg-type]  # that is the point
    (lambda: a.Store(1.5, a.Local(0)), "20.2.5"),  # type: ignore[arg-type]  # that is the point
    (lambda: a.Call("FOO", [0] * 8), "20.2.5"),
    (lambda: a.Scope("FOO", [a.Integer(1)]), "20.2.5"),
    (lambda: a.Scope("FOO", [a.Ref("BAR")]), "20.2.5"),
    (lambda: a.Method("FOO", 8, []), "20.2.5.2"),
    (lambda: a.Method("FOO", 0, [], sync_level=1), "20.2.5.2"),
    (lambda: a.Method("FOO", 1, [a.Return(a.Arg(1))]), "20.2.5.2"),
    (lambda: a.Method("FOO", 0, [a.If(1, [a.Break()])]), "20.2.5.3"),
    (lambda: a.Mutex("FOO", 16), "20.2.5.2"),
    (lambda: a.Acquire("FOO", 1 << 16), "20.2.5.4"),
    (lambda: a.External("FOO", a.ObjectKind.IntObj, 1), "20.2.5.2"),
    (lambda: a.Bits("FOO", 0), "20.2.5.2"),
    (
        lambda: a.Field("FOO", a.Access.ByteAcc, [a.Bits("AAA", 9), a.Offset(1)]),
        "20.2.5.2",
    ),
    # Numbers and bytes that are none.
    (lambda: a.Integer(1.5), "20.2.3"),  # type: ignore[arg-type]  # that is the point
    (lambda: a.Integer("1"), "20.2.3"),  # type: ignore[arg-type]  # that is the point
    (lambda: a.Integer(1 << 32, width=4), "20.2.3"),
    (lambda: a.Buffer(5), "20.2.5.4"),  # type: ignore[arg-type]  # that is the point
    (lambda: a.Buffer("abc"), "20.2.5.4"),  # type: ignore[arg-type]  # that is the point
    (lambda: a.Buffer(b"abc", a.Integer(2)), "20.2.5.4"),
    (lambda: a.Buffer(b"abc", -1), "20.2.3"),
    (lambda: a.Buffer(b"abc", "abc"), "20.2.5.4"),
    (lambda: a.Buffer(b"abc", [3]), "20.2.5.4"),
    # A way to a scope names no object.
    (lambda: a.Name("\\", 1), "20.2.2"),
    (lambda: a.Name("^", 1), "20.2.2"),
    (lambda: a.Scope("", []), "20.2.2"),
    (lambda: a.Device("\\", []), "20.2.2"),
    (lambda: a.ThermalZone("^", []), "20.2.2"),
    (lambda: a.PowerResource("^", 0, 0, []), "20.2.2"),
    (lambda: a.Method("\\", 0, []), "20.2.2"),
    (lambda: a.Call("^^"), "20.2.2"),
    (lambda: a.Mutex("\\"), "20.2.2"),
    (lambda: a.Event(""), "20.2.2"),
    (lambda: a.Alias("FOO", "\\"), "20.2.2"),
    (lambda: a.External("\\", a.ObjectKind.DeviceObj), "20.2.2"),
    (lambda: a.OperationRegion("^", a.Space.SystemIO, 0, 1), "20.2.2"),
    (lambda: a.Field("\\", a.Access.ByteAcc, [a.Bits("AAA", 8)]), "20.2.2"),
    (lambda: a.CreateByteField(a.Local(0), 0, "^"), "20.2.2"),
    # Fields and regions of nothing.
    (lambda: a.OperationRegion("FOO", a.Space.SystemIO, 0, 0), "20.2.5.2"),
    (lambda: a.CreateField(a.Local(0), 0, 0, "FOO"), "20.2.5.2"),
    (lambda: a.Offset(-1), "20.2.5.2"),
    (lambda: a.Offset(1 << 26), "20.2.4"),
    (lambda: a.AccessAs(a.Access.ByteAcc, 256), "20.2.5.2"),
    (lambda: a.AccessAs(a.Access.ByteAcc, 6), "20.2.5.2"),
    (lambda: a.AccessAs(a.Access.BufferAcc, 3), "20.2.5.2"),
    (lambda: a.AccessAs(a.Access.BufferAcc, 0x0B), "20.2.5.2"),
    (lambda: a.AccessAs(1), "20.2.5.2"),  # type: ignore[arg-type]  # that is the point
    # What methods alone can have, and what loops alone.
    (lambda: table(a.Return(1)), "20.2.5.3"),
    (lambda: table(a.If(1, [a.Return(1)])), "20.2.5.3"),
    (lambda: table(a.Break()), "20.2.5.3"),
    (lambda: table(a.Device("FOO", [a.Continue()])), "20.2.5.3"),
    (lambda: table(a.Store(1, a.Local(0))), "20.2.6.2"),
    (lambda: table(a.While(a.Local(1), [a.Noop()])), "20.2.6.2"),
    (lambda: table(a.Scope("FOO", [a.If(a.Arg(0), [a.Noop()])])), "20.2.6.1"),
    (lambda: a.Method("FOO", 0, [a.Continue()]), "20.2.5.3"),
    (lambda: a.Method("FOO", 0, [a.While(1, [a.Noop()]), a.Break()]), "20.2.5.3"),
    (lambda: a.Stall(101), "19.6"),
    (lambda: a.Stall(a.Ones()), "19.6"),
    # Headers.
    (lambda: table(signature="SSD"), "5.2.6"),
    (lambda: table(signature="VFCT"), "5.2.6"),
    (lambda: table(revision=256), "5.2.6"),
    (lambda: table(revision=-1), "5.2.6"),
    (lambda: table(oem_id="TOOLONG"), "5.2.6"),
    (lambda: table(oem_id='A"'), "5.2.6"),
    (lambda: table(oem_id="A\\"), "5.2.6"),
    (lambda: table(oem_id="ü"), "5.2.6"),
    (lambda: table(oem_revision=1 << 32), "5.2.6"),
    (lambda: a.DefinitionBlock("MUCHTOOLONG", []), "5.2.6"),
    (lambda: table(integer_bits=16), "5.2.11.1"),
    # Resources.
    (lambda: a.ResourceTemplate([a.Noop()]), "6.4"),
    (lambda: a.IRQ((16,)), "6.4.2.1"),
    (lambda: a.IRQ((-1,)), "6.4.2.1"),
    (lambda: a.IRQNoFlags((3, 3)), "6.4.2.1"),
    (lambda: a.Interrupt(()), "6.4.3.6"),
    (lambda: a.Interrupt((5, 5)), "6.4.3.6"),
    (lambda: a.Interrupt((1 << 32,)), "6.4.3.6"),
    (lambda: a.DMA((8,)), "6.4.2.2"),
    (lambda: a.DMA((1,), "TypeC"), "6.4.2.2"),
    (lambda: a.IO(0x20, 0x10, 1, 1), "6.4.2.5"),
    (lambda: a.IO(0x11, 0x21, 2, 1), "6.4.2.5"),
    (lambda: a.IO(0x10, 0x21, 2, 1), "6.4.2.5"),
    (lambda: a.IO(0x10, 0x10, 1, 256), "6.4.2.5"),
    (lambda: a.IO(0xFFF0, 0xFFF0, 1, 0x11), "6.4.2.5"),
    (lambda: a.FixedIO(0x400, 1), "6.4.2.6"),
    (lambda: a.FixedIO(0x3FF, 2), "6.4.2.6"),
    (lambda: a.Memory32(0x20, 0x10, 1, 1), "6.4.3.3"),
    (lambda: a.Memory32(0x10, 0x1F, 1, 0x11), "6.4.3.3"),
    (lambda: a.Memory32(0x10, 0x20, 0x20, 1), "6.4.3.3"),
    (lambda: a.Memory32(0, 0, 1, 0), "6.4.3.3"),
    (lambda: a.Memory32Fixed(1 << 32, 1), "6.4.3.4"),
    (lambda: a.Memory32Fixed(0xFFFFFFFF, 2), "6.4.3.4"),
    (lambda: a.Memory32Fixed(0, -1), "6.4.3.4"),
    (lambda: a.Window(a.Space.SystemMemory, 2, 0, 1), "6.4.3.5"),
    (lambda: a.Window(a.Space.SystemCMOS, 4, 0, 1), "6.4.3.5"),
    (lambda: a.Window(None, 2, 2, 1), "6.4.3.5"),
    (lambda: a.Window(None, 2, 0, 0x10000), "6.4.3.5"),
    (lambda: a.Window(a.Space.SystemMemory, 4, 0, 0xFFFFFFFF), "6.4.3.5"),
    (lambda: a.Window(a.Space.SystemIO, 2, 0, 0xFF, granularity=0xF), "6.4.3.5"),
    (lambda: a.Window(a.Space.SystemIO, 2, 0, 0xFF, length=16, granularity=6), "6.4.3.5"),
    (lambda: a.Window(a.Space.SystemIO, 2, 0, 0xFF, length=8, granularity=0xF), "6.4.3.5"),
    (lambda: a.Window(a.Space.SystemIO, 2, 0, 0xF, length=0x20), "6.4.3.5"),
    (lambda: a.Register(a.Space.SystemIO, 8, 0, 0x400, 5), "6.4.3.7"),
    (lambda: a.Register(a.Space.SystemIO, 256, 0, 0x400), "6.4.3.7"),
]


@pytest.mark.parametrize(("make", "section"), REFUSED)
def test_what_the_specification_forbids_is_refused(
    make: Callable[[], object], section: str
) -> None:
    with pytest.raises(AmlError) as refused:
        make()
    assert refused.value.section == section
    assert f"(ACPI 6.5, {section})" in str(refused.value)


def test_an_argument_of_an_inner_method_is_its_own() -> None:
    inner = a.Method("BAR", 2, [a.Return(a.Arg(1))])
    assert bytes(a.Method("FOO", 0, [inner], serialized=True))


def test_a_loop_inside_may_be_left() -> None:
    assert bytes(a.Method("FOO", 0, [a.While(1, [a.If(1, [a.Break()])])]))


@pytest.mark.parametrize(
    "term",
    [
        a.Name("FOO", 1 << 32),
        a.Name("FOO", [1, ["x", 1 << 32]]),
        a.Method("FOO", 0, [a.If(a.LEqual(a.Add(1 << 32, 1), 0), [a.Noop()])]),
    ],
)
def test_integers_that_would_be_cut_are_refused(term: a.Term) -> None:
    """QEMU's DSDT is of revision 1: 32 bits for all tables."""
    with pytest.raises(AmlError, match=r"cut to 32 bits.*5\.2\.11\.1"):
        a.DefinitionBlock("TEST", [term])
    assert bytes(a.DefinitionBlock("TEST", [term], integer_bits=64))
    with pytest.raises(AmlError, match="cut to 32 bits"):
        a.DefinitionBlock("T", [term], signature="DSDT", revision=1, integer_bits=64)


def test_all_bits_can_be_said_for_any_width() -> None:
    """Ones has as many bits as the machine's integers, so nothing of it is cut."""
    ones = a.Method("FOO", 0, [a.Return(a.Ones())])
    assert bytes(table(ones)).endswith(b"FOO_\0\xa4\xff")
    with pytest.raises(AmlError) as refused:
        table(a.Name("FOO", (1 << 64) - 1))
    assert "Ones" in refused.value.hint
    assert str(a.Integer((1 << 64) - 1)) == str(a.Ones()) == "Ones"
    assert bytes(a.Integer((1 << 64) - 1)) == bytes(a.Ones())


def test_what_stands_in_a_method_may_stand_in_one_at_any_depth() -> None:
    body = [a.If(a.Arg(0), [a.While(1, [a.Break()]), a.Return(a.Local(0))])]
    assert bytes(table(a.Scope("FOO", [a.Device("BAR", [a.Method("BAZ", 1, body)])])))
    assert bytes(table(a.While(0, [a.If(1, [a.Break()])])))
    assert bytes(a.Stall(100))


def test_integers_in_bytes_are_not_cut() -> None:
    wide = a.Window(a.Space.SystemMemory, 8, 1 << 40, (1 << 41) - 1)
    assert bytes(a.DefinitionBlock("TEST", [a.Name("_CRS", a.ResourceTemplate([wide]))]))


@given(constants)
def test_terms_compare_by_value_and_can_be_keys(value: a.Value) -> None:
    first, second = a.Name("FOO", value), a.Name("FOO", value)
    assert first == second
    assert {first: 1}[second] == 1


def test_terms_of_different_kinds_are_different() -> None:
    assert a.Add(1, 2) != a.Subtract(1, 2)
    assert a.Break() != a.Continue()


def test_a_term_cannot_be_changed() -> None:
    term = a.Add(1, 2)
    for name in ("left", "more"):
        with pytest.raises((AttributeError, TypeError)):
            setattr(term, name, 3)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(tables)
def test_a_table_has_a_good_header(table: a.DefinitionBlock) -> None:
    data = bytes(table)
    assert sum(data) & 0xFF == 0
    read = parse_table(data)
    assert (read.signature, read.oem_table_id, read.length) == ("SSDT", "MADEUP", len(data))


def test_asl_is_readable() -> None:
    method = a.Method(
        "_ROM",
        2,
        [
            a.If(
                a.LGreater(a.Arg(1), 0x1000),
                [a.Return(a.Buffer(size=0x1000))],
                [a.Store(a.Add(a.Arg(0), 1), a.Local(0))],
            )
        ],
        serialized=True,
    )
    assert str(method) == (
        "Method (_ROM, 2, Serialized)\n"
        "{\n"
        "    If (LGreater (Arg1, 0x1000))\n"
        "    {\n"
        "        Return (Buffer (0x1000) {})\n"
        "    }\n"
        "    Else\n"
        "    {\n"
        "        Store (Add (Arg0, 0x01), Local0)\n"
        "    }\n"
        "}"
    )


def test_every_public_term_is_in_the_example() -> None:
    """What the oracles see is all there is."""
    used = {type(part) for term in every_term().body for part in term.walk()}
    hidden = {a.Term, a.Expression, a.Statement, a.Definition, a.DefinitionBlock}
    public = {value for value in vars(a).values() if isinstance(value, type)}
    terms = {kind for kind in public if issubclass(kind, a.Term)} - hidden
    assert {kind.__name__ for kind in terms - used} == set()


def test_terms_cost_little_to_import() -> None:
    script = "import sys, romkit.acpi.aml, romkit.acpi.battery; print('construct' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
