from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from romkit.bytediff import MAX_RANGES, MERGE_GAP, compare_bytes


def test_ranges_are_merged_over_few_equal_bytes_and_not_over_many() -> None:
    a = bytearray(100)
    near, far = a.copy(), a.copy()
    near[10] = near[10 + MERGE_GAP] = 1  # MERGE_GAP - 1 equal bytes between
    far[10] = far[11 + MERGE_GAP] = 1
    close = compare_bytes(bytes(a), bytes(near))
    assert [(r.offset, r.end) for r in close.ranges] == [(10, 11 + MERGE_GAP)]
    assert (close.differing, close.range_count) == (2, 1)
    apart = compare_bytes(bytes(a), bytes(far))
    assert [(r.offset, r.end) for r in apart.ranges] == [(10, 11), (11 + MERGE_GAP, 12 + MERGE_GAP)]


def test_a_range_holds_the_bytes_of_both_sides() -> None:
    d = compare_bytes(b"\x00" * 20, b"\x00" * 5 + b"\xaa\xbb" + b"\x00" * 13)
    (r,) = d.ranges
    assert (r.offset, r.size, r.a, r.b) == (5, 2, b"\0\0", b"\xaa\xbb")


def test_stretches_at_other_offsets_of_their_files() -> None:
    d = compare_bytes(b"xxABCD", b"ABxDyyyy", (2, 6), (0, 4))
    assert [(r.offset, r.a, r.b) for r in d.ranges] == [(2, b"C", b"x")]
    assert (d.a_offset, d.b_offset, d.differing) == (2, 0, 1)


def test_the_list_of_ranges_has_an_end_and_the_totals_stay_true() -> None:
    a = bytes(400_000)
    b = bytearray(a)
    for at in range(0, len(b), 1000):
        b[at] = 1
    d = compare_bytes(a, bytes(b))
    assert len(d.ranges) == MAX_RANGES
    assert (d.range_count, d.differing) == (400, 400)


@given(
    st.binary(min_size=0, max_size=200),
    st.lists(st.tuples(st.integers(0, 199), st.integers(1, 255)), max_size=20),
    st.integers(0, 30),
)
def test_ranges_cover_exactly_what_differs(
    raw: bytes, edits: list[tuple[int, int]], longer: int
) -> None:
    a = raw
    b = bytearray(raw)
    for at, value in edits:
        if at < len(b):
            b[at] ^= value
    d = compare_bytes(a, bytes(b) + bytes(longer))
    unequal = {n for n, (x, y) in enumerate(zip(a, b, strict=True)) if x != y}
    covered = {n for r in d.ranges for n in range(r.offset, r.end)}
    assert unequal <= covered
    assert d.differing == len(unequal)
    assert all(r.offset in unequal and r.end - 1 in unequal for r in d.ranges)
    assert all(r.a == a[r.offset : r.end] and r.b == b[r.offset : r.end] for r in d.ranges)
    assert all(y.offset - x.end >= MERGE_GAP for x, y in pairwise(d.ranges))
    assert d.equal == (not unequal and not longer)
