"""Names to slots: stable, and bounded whatever comes."""

from hypothesis import given
from hypothesis import strategies as st

from monitor.detection.slots import NAMED, NOBODY, SHARED, Slots

names = st.none() | st.text(min_size=1, max_size=5)


@given(st.lists(names, max_size=200), st.lists(st.text(min_size=1, max_size=5), max_size=40, unique=True))
def test_a_name_keeps_its_slot(asked: list[str | None], known: list[str]) -> None:
    slots = Slots(tuple(known))
    first = {name: slots.of(name) for name in asked}
    assert {name: slots.of(name) for name in asked} == first
    assert all(0 <= slot < NAMED + SHARED for slot in first.values())
    assert [slots.name(slots.of(name)) for name in known] == known


@given(st.lists(names, max_size=200), st.integers(0, 200))
def test_slots_rebuilt_from_their_names_are_the_same(asked: list[str | None], cut: int) -> None:
    whole, rebuilt = Slots(("a", "b")), Slots(("a", "b"))
    for name in asked[:cut]:
        whole.of(name)
    for name in whole.names[1:]:
        rebuilt.of(name)
    assert [whole.of(name) for name in asked] == [rebuilt.of(name) for name in asked]


def test_a_flood_of_names_shares_a_few_slots() -> None:
    slots = Slots(("known",))
    used = {slots.of(f"invented-{number}") for number in range(10_000)}
    assert len(slots.names) == NAMED
    assert len(used) == NAMED - 2 + SHARED
    assert slots.of("known") == 1
    assert slots.name(max(used)).startswith("(one of many")


def test_no_name_is_a_slot_of_its_own() -> None:
    slots = Slots()
    assert slots.of(None) == 0
    assert slots.name(0) == NOBODY
    assert slots.of("somebody") == 1


def test_more_known_names_than_slots_are_cut_off() -> None:
    slots = Slots(tuple(f"n{number}" for number in range(100)))
    assert len(slots.names) == NAMED
    assert slots.of("n0") == 1
    assert slots.of("n99") >= NAMED
