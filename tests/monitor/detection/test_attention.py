"""What is worth a look: a family of which a part has changed, however its changes come in."""

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from detectors.edetector import Change, Turn
from monitor.detection.attention import PART, Attention, Named


def looks(attention: Attention, changes: list[Named]) -> list[tuple[int, list[Named]]]:
    """Each look, and what it shows, as the bank takes them: up to an event and no further."""
    seen = []
    while (index := attention.due(changes)) is not None:
        attention.take(named for named in changes if named[1].index <= index)
        changes = [named for named in changes if named[1].index > index]
        seen.append((index, attention.look()))
    attention.take(changes)
    return seen


def alarms(count: int, family: str = "features") -> list[Named]:
    return [(family, Change(stream, 0, stream, Turn.ALARM)) for stream in range(count)]


def test_up_to_a_few_streams_each_change_is_worth_a_look() -> None:
    changes = alarms(PART)
    assert looks(Attention(), changes) == [(change.index, [(name, change)]) for name, change in changes]


def test_many_alarms_are_few_looks_and_are_all_seen_but_for_a_part() -> None:
    count = 10_000
    found = looks(Attention(), alarms(count))
    assert len(found) <= PART * (1 + math.log(count / PART)) + 1
    assert sum(len(seen) for _, seen in found) > count * (1 - 1 / PART) - 1


def test_the_first_alarm_of_another_family_is_not_lost_in_a_crowd() -> None:
    attention = Attention()
    looks(attention, alarms(1000))
    liar = ("confusion/labeler", Change(2000, 3, 0, Turn.ALARM))
    assert attention.due([liar]) == 2000


def test_the_end_of_the_last_one_is_always_seen() -> None:
    attention = Attention()
    looks(attention, alarms(100))
    ends = [("features", Change(200 + stream, 0, stream, Turn.OVER)) for stream in range(100)]
    assert looks(attention, ends)[-1][0] == 299


TURNS = st.tuples(st.sampled_from(["features", "answers/source"]), st.integers(0, 30), st.booleans())


@given(steps=st.lists(TURNS, max_size=120), together=st.integers(1, 4), cuts=st.lists(st.integers(0, 40), max_size=4))
def test_how_changes_come_in_does_not_matter(
    steps: list[tuple[str, int, bool]], together: int, cuts: list[int]
) -> None:
    changes, alarming = [], set[tuple[str, int]]()
    for number, (family, stream, grows) in enumerate(steps):
        turn = Turn.ALARM if (family, stream) not in alarming else Turn.GROWN if grows else Turn.OVER
        alarming ^= {(family, stream)} if turn is not Turn.GROWN else set()
        changes.append((family, Change(number // together, 0, stream, turn)))
    whole, parted, seen = Attention(), Attention(), []
    for low, high in pairwise([0, *sorted(cuts), len(steps)]):
        seen += looks(parted, [named for named in changes if low <= named[1].index < high])
    assert seen == looks(whole, changes)
    assert parted.dump() == whole.dump()
