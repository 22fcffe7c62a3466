"""The value `Edit`, law 4, and the workpiece behind it."""

from __future__ import annotations

import pytest
from builders.changes import replay
from builders.rom import image, nvidia_mobile, pcir
from hypothesis import given
from hypothesis import strategies as st

from romkit.edit.edit import Change, Edit, untouched
from romkit.edit.work import Cut, Work
from romkit.errors import EditRefused


def finished(work: Work) -> Edit:
    return Edit(work.source, bytes(work.data), work.changes())


def test_an_edit_without_changes_is_the_input() -> None:
    edit = Edit(b"abc", b"abc")
    assert not edit.changed
    assert bytes(edit) == b"abc"
    assert repr(edit) == "<Edit nothing to do, 0x3 bytes>"


def test_an_edit_is_read_again_when_asked() -> None:
    data = nvidia_mobile()
    assert [i.code_type for i in Edit(data, data).rom.images] == [0x00, 0xE0, 0x70]


def test_json_has_ranges_and_reasons_and_no_bytes() -> None:
    work = Work(b"0123456789", [Cut(2, 4, b"", "too much")])
    edit = finished(work)
    assert edit.as_json() == {
        "old_size": 10,
        "new_size": 8,
        "sha256": edit.sha256,
        "changes": [
            {
                "kind": "dropped",
                "offset": 2,
                "old_size": 2,
                "new_offset": 2,
                "new_size": 0,
                "reason": "too much",
            }
        ],
        "notes": [],
    }


def test_cuts_and_writes_are_reported_where_they_are() -> None:
    work = Work(b"0123456789", [Cut(0, 3, b"", "head"), Cut(5, 5, b"ABC", "new")])
    assert bytes(work.data) == b"34ABC56789"
    work.write(6, b"xy", "first")
    work.write(7, b"z", "second")
    work.write(2, b"a", "inside the new")
    edit = finished(work)
    assert edit.data == b"34aBC5xz89"
    assert [(c.kind, c.offset, c.old_size, c.new_offset, c.new_size) for c in edit.changes] == [
        ("dropped", 0, 3, 0, 0),
        ("inserted", 5, 0, 2, 3),
        ("changed", 6, 2, 6, 2),
    ]
    assert [c.reason for c in edit.changes] == ["head", "new; inside the new", "first; second"]
    assert edit.old_bytes(edit.changes[2]) == b"67"
    assert edit.new_bytes(edit.changes[2]) == b"xz"
    assert replay(edit) == edit.data


def test_what_is_written_to_and_fro_is_no_change() -> None:
    work = Work(b"0123")
    work.write(1, b"x", "to")
    work.write(1, b"1", "fro")
    assert work.changes() == ()


def test_a_write_over_a_border_is_two_changes() -> None:
    work = Work(b"0123456789", [Cut(4, 6, b"", "gone")])
    work.write(3, b"ab", "both")
    edit = finished(work)
    assert [(c.kind, c.offset) for c in edit.changes] == [
        ("changed", 3),
        ("dropped", 4),
        ("changed", 6),
    ]
    assert replay(edit) == edit.data == b"012ab789"


def test_place_of_kept_and_dropped_bytes() -> None:
    work = Work(b"0123456789", [Cut(2, 4, b"xxx", "replaced")])
    assert work.place_of(1) == 1
    assert work.place_of(3) is None
    assert work.place_of(4) == 5


@pytest.mark.parametrize(
    "cuts",
    [
        [Cut(0, 3, b"", "a"), Cut(2, 4, b"", "b")],
        [Cut(9, 11, b"", "behind the end")],
        [Cut(-1, 1, b"", "before the start")],
    ],
)
def test_impossible_cuts_are_refused(cuts: list[Cut]) -> None:
    with pytest.raises(EditRefused):
        Work(b"0123456789", cuts)


@pytest.mark.parametrize(("at", "content"), [(-1, b"x"), (3, b"xy"), (99, b"x")])
def test_writes_outside_are_refused(at: int, content: bytes) -> None:
    with pytest.raises(EditRefused):
        Work(b"0123").write(at, content, "no")


def test_no_header_is_refused() -> None:
    work = Work(image(pcir()))
    assert work.header(0).pcir.device_id == 0x1C03
    with pytest.raises(EditRefused, match="no image where one should be"):
        work.header(512)


@pytest.mark.parametrize(
    ("changes", "true"),
    [
        ((), False),
        ((Change("changed", 2, 1, 2, 1, "x"),), True),
        ((Change("changed", 2, 2, 2, 2, "x"),), True),
        ((Change("changed", 3, 1, 3, 1, "elsewhere"),), False),
        ((Change("changed", 2, 1, 3, 1, "wrong place in the output"),), False),
        ((Change("changed", 2, 9, 2, 9, "behind the end"),), False),
        ((Change("changed", 2, 1, 2, 1, "x"), Change("changed", 1, 1, 1, 1, "order")), False),
    ],
)
def test_law_4_is_proven(changes: tuple[Change, ...], true: bool) -> None:
    assert untouched(b"01234567", b"01x34567", changes) is true


@given(
    source=st.binary(max_size=60),
    marks=st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=4)), max_size=6),
    writes=st.lists(st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=5)), max_size=6),
)
def test_whatever_is_done_is_reported(
    source: bytes, marks: list[tuple[int, bytes]], writes: list[tuple[int, bytes]]
) -> None:
    points = sorted((min(at, len(source)), content) for at, content in marks)
    cuts = [
        Cut(a, b, content, "cut")
        for (a, content), (b, _) in zip(points[::2], points[1::2], strict=False)
    ]
    work = Work(source, cuts)
    for at, content in writes:
        if at + len(content) <= len(work.data):
            work.write(at, content, "write")
    edit = finished(work)
    assert untouched(edit.before, edit.data, edit.changes)
    assert replay(edit) == edit.data
