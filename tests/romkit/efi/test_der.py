import pytest
from builders.authenticode import der, integer, oid
from hypothesis import given
from hypothesis import strategies as st

from romkit.efi.der import (
    MAX_CHILDREN,
    SEQUENCE,
    Element,
    children,
    descend,
    object_identifier,
    read_element,
)
from romkit.efi.der import integer as read_integer


def element(data: bytes) -> Element:
    found = read_element(data)
    assert found is not None
    return found


def test_short_and_long_lengths() -> None:
    short = element(bytes.fromhex("04 03 61 62 63 ff"))
    assert (short.tag, short.contents, short.end) == (4, b"abc", 5)
    assert bytes(short) == bytes.fromhex("04 03 61 62 63")
    long = element(bytes.fromhex("30 82 0101") + bytes(0x101))
    assert (long.tag, long.body, long.end) == (0x30, 4, 4 + 0x101)


@pytest.mark.parametrize(
    "raw",
    [
        "",  # nothing
        "30",  # no length
        "30 80 00 00",  # indefinite length
        "30 04 00 00 00",  # longer than what is there
        "30 84 ff ff ff ff",  # much longer
        "30 85 00 00 00 00 01 00",  # a length of five bytes
        "30 82 01",  # a length that is cut
        "3f 81 01 00",  # a tag of several bytes
    ],
)
def test_what_is_no_element(raw: str) -> None:
    assert read_element(bytes.fromhex(raw)) is None


def test_an_element_must_fit_into_the_one_around_it() -> None:
    outer = element(der(SEQUENCE, der(4, b"abc"), bytes.fromhex("04 7f")) + bytes(200))
    assert [c.contents for c in children(outer)] == [b"abc"]


def test_children_are_counted() -> None:
    assert len(list(children(element(der(SEQUENCE, der(5) * 500))))) == MAX_CHILDREN
    assert list(children(None)) == []


def test_descend_takes_the_first_of_each_tag() -> None:
    nested = element(der(0x30, der(4, b"x"), der(0x31, der(2, b"\1"), der(4, b"y")), der(0x31)))
    found = descend(nested, 0x31, 4)
    assert found is not None
    assert found.contents == b"y"
    assert descend(nested, 0x31, 6) is None
    assert descend(nested, 6, 4) is None


@pytest.mark.parametrize("dotted", ["1.2.840.113549.1.7.2", "2.5.4.3", "2.999.3", "0.9.2342"])
def test_object_identifiers(dotted: str) -> None:
    assert object_identifier(element(oid(dotted))) == dotted


@pytest.mark.parametrize("raw", ["05 00", "06 00", "06 01 81", "06 21" + "01" * 33])
def test_what_is_no_object_identifier(raw: str) -> None:
    assert object_identifier(element(bytes.fromhex(raw))) == ""


def test_integers() -> None:
    assert read_integer(element(integer(0))) == 0
    assert read_integer(element(integer(0x1234567890ABCDEF12))) == 0x1234567890ABCDEF12
    assert read_integer(element(bytes.fromhex("02 01 80"))) == -128
    assert read_integer(element(bytes.fromhex("02 00"))) is None
    assert read_integer(element(bytes.fromhex("04 01 01"))) is None
    assert read_integer(None) is None


@given(st.binary(max_size=64), st.integers(-3, 70), st.integers(-3, 70))
def test_any_bytes_are_an_element_inside_them_or_none(raw: bytes, at: int, end: int) -> None:
    found = read_element(raw, at, end)
    if found is not None:
        assert at == found.start < found.body <= found.end <= min(end, len(raw))
        assert all(c.end <= found.end for c in children(found))
        object_identifier(found)
        read_integer(found)
