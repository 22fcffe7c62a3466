"""The model of bbswitch and nvhda against the field report's table, and its ways against all."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.power import TABLE

from passthrough.power.model import (
    AUDIO_OFF,
    AUDIO_ON,
    EVERY,
    GPU_OFF,
    GPU_ON,
    OPERATIONS,
    Operation,
    Power,
    after,
    possible,
    shortest,
)

operations = st.lists(st.sampled_from(OPERATIONS), max_size=12)
powers = st.sampled_from(EVERY)


def settled() -> set[Power]:
    """What the report's author can have had before him: all that writes lead to from ON/ON."""
    found = {Power(gpu=True, bit=True, listed=True)}
    while True:
        more = found | {after(power, operation) for power in found for operation in OPERATIONS}
        if more == found:
            return found
        found = more


@pytest.mark.parametrize("row", TABLE, ids=[" ".join(row[:3]) for row in TABLE])
def test_each_row_of_the_table(row: tuple[str, str, str, str]) -> None:
    before, switch, word, then = row
    starts = [power for power in settled() if str(power) == before]
    assert starts
    operation = Operation(switch, word == "ON")
    assert {str(after(power, operation)) for power in starts} == {then}


def test_the_table_is_all_there_is() -> None:
    assert len(TABLE) == 16
    assert {(str(power), str(o)) for power in settled() for o in OPERATIONS} == {
        (before, f"{switch} {word}") for before, switch, word, _ in TABLE
    }


@given(powers, st.sampled_from(OPERATIONS))
def test_every_write_can_be_repeated(power: Power, operation: Operation) -> None:
    once = after(power, operation)
    assert after(once, operation) == once


@given(powers, operations)
def test_nothing_leads_out_of_what_can_be(power: Power, writes: list[Operation]) -> None:
    for operation in writes:
        power = after(power, operation)
    assert power in EVERY


@given(powers)
def test_audio_is_never_switched_on_without_the_gpu(power: Power) -> None:
    if not power.gpu:
        assert after(power, AUDIO_ON) == power


def walk(power: Power, way: tuple[Operation, ...]) -> Power:
    for operation in way:
        power = after(power, operation)
    return power


SHOWN = ("OFF/OFF", "OFF/ON", "ON/OFF", "ON/ON")


@pytest.mark.parametrize("wanted", SHOWN)
def test_the_way_to_what_is_shown_is_legal_and_no_way_is_shorter(wanted: str) -> None:
    """All states against all, by walking every way of up to five writes."""
    for start in EVERY:
        way = shortest([start], lambda power: str(power) == wanted)
        ways = itertools.chain.from_iterable(
            itertools.product(OPERATIONS, repeat=length) for length in range(6)
        )
        least = next((w for w in ways if str(walk(start, w)) == wanted), None)
        assert (way is None) == (least is None)
        if way is not None and least is not None:
            assert str(walk(start, way)) == wanted
            assert len(way) == len(least)


def test_every_state_leads_to_every_shown_one() -> None:
    """In the field report no state is a dead end."""
    for start, wanted in itertools.product(EVERY, SHOWN):
        assert shortest([start], lambda power, w=wanted: str(power) == w) is not None  # type: ignore[misc]  # a lambda's default


@given(st.frozensets(powers, min_size=1), powers)
def test_a_way_from_what_is_not_known_leads_there_from_all(
    starts: frozenset[Power], goal: Power
) -> None:
    way = shortest(starts, lambda power: str(power) == str(goal) and not power.lost)
    if way is not None:
        assert all(str(walk(start, way)) == str(goal) for start in starts)
        assert not any(walk(start, way).lost for start in starts)


def test_audio_that_lost_its_power_is_taken_off_the_list_and_found_again() -> None:
    """Steps 1 to 4 of the report's reset: both off, then both on."""
    off = after(Power(gpu=True, bit=True, listed=True), GPU_OFF)
    assert str(off) == "OFF/ON"
    way = shortest([off], lambda power: str(power) == "ON/ON" and not power.lost)
    assert way is not None
    assert len(way) == 3
    assert str(walk(off, way)) == "ON/ON"
    assert AUDIO_OFF in way
    assert way.index(GPU_ON) < way.index(AUDIO_ON)


def test_a_gpu_is_not_switched_off_where_that_is_forbidden() -> None:
    on = Power(gpu=True, bit=True, listed=True)
    assert shortest([on], lambda power: not power.gpu, forbidden={GPU_OFF}) is None


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("listed", [False, True])
def test_what_can_be_seen_leaves_one_bit_open(gpu: bool, listed: bool) -> None:
    found = possible(gpu=gpu, listed=listed)
    assert {(power.gpu, power.listed, power.bit) for power in found} == {
        (gpu, listed, False), (gpu, listed, True),
    }  # fmt: skip
    assert found <= set(EVERY)
    read = possible(gpu=gpu, listed=listed, audio=True)
    assert all(power.audio for power in read)
    assert bool(read) is listed
