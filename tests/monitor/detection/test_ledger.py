"""The ledger: what is counted is what came, however it was cut, and in bounded memory."""

import math
from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detection.ledger import OTHERS, PAGES, VERSIONS, WIDTH, Ledger, Page, Sheet, since

Event = tuple[bool, str, int, int]
"""Whether it is a prediction (else a label), its version, and the slots of its source and its labeler."""


def sheet(events: Sequence[Event], first: int, *, every: float = 1.0) -> Sheet:
    """A batch whose events come one every `every` seconds."""
    numbers = np.arange(first, first + len(events))
    asked = np.array([event[0] for event in events], dtype=bool)
    sources, labelers = (np.array([event[place] for event in events], dtype=np.int64) for place in (2, 3))
    return Sheet(
        newest=(numbers * every).tolist(),
        end=first + len(events),
        asked=numbers[asked].tolist(),
        versions=[event[1] for event in events if event[0]],
        inputs=numbers[asked].tolist(),
        sources=sources[asked].tolist(),
        labels=numbers[~asked].tolist(),
        source_labels=sources[~asked].tolist(),
        labeler_labels=labelers[~asked].tolist(),
    )


def some(count: int, seed: int = 0, lasts: int = 1_000) -> list[Event]:
    """Events of which `lasts` in a row have one version."""
    draw = np.random.default_rng(seed)
    return [
        (bool(draw.random() < 0.6), f"{1 + number // lasts}.0.0", int(draw.integers(5)), int(draw.integers(3)))
        for number in range(count)
    ]


def counted(events: Sequence[Event], cuts: Sequence[int] = (), first: int = 0) -> Ledger:
    ledger = Ledger()
    for begin, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
        ledger.offer(sheet(events[begin:end], first + begin))
        ledger.settle(first + end - 1)
    return ledger


@given(st.lists(st.integers(0, 900), max_size=12).map(sorted), st.integers(0, 200))
def test_how_events_are_cut_does_not_matter(cuts: list[int], first: int) -> None:
    events = some(900, lasts=3)
    cut, whole = (counted(events, each, first).pages for each in (cuts, ()))
    assert msgspec.msgpack.encode(cut) == msgspec.msgpack.encode(whole)  # the order of names too


def test_a_batch_is_counted_up_to_the_event_that_is_asked_for() -> None:
    events, ledger = some(500), Ledger()
    ledger.offer(sheet(events, 0))
    for index in (99, 100, 400):
        ledger.settle(index)
        assert ledger.pages == counted(events[: index + 1]).pages


@pytest.mark.parametrize("back", [1, 50, 400, 5_000, 19_999])
def test_what_came_since_a_moment_is_right_to_a_part_of_it(back: int) -> None:
    events = some(20_000)
    ledger, moment = counted(events, range(500, 20_000, 500)), len(events) - 1 - back
    found = since(ledger.pages, float(moment))
    assert found is not None
    assert found.first <= moment + 1
    assert found.first + found.events == len(events)
    room = max(WIDTH, back / PAGES)
    later = events[moment + 1 :]
    wanted = (
        Counter(version for asked, version, _, _ in later if asked),
        Counter(source for asked, _, source, _ in later if asked),
        Counter(source for asked, _, source, _ in later if not asked),
        Counter(labeler for asked, _, _, labeler in later if not asked),
    )
    for count, true in zip(
        (found.predictions, found.inputs, found.source_labels, found.labeler_labels), wanted, strict=True
    ):
        assert sum(count.values()) == pytest.approx(sum(true.values()), abs=room)
        assert all(count.get(name, 0) == pytest.approx(number, abs=room) for name, number in true.items())


def test_pages_are_few_and_no_wider_than_a_part_of_what_came_after_them() -> None:
    pages = counted(some(60_000)).pages
    assert len(pages) <= (PAGES + 1) * math.log2(60_000 / WIDTH / PAGES + 2)
    assert [page.first + page.events for page in pages[:-1]] == [page.first for page in pages[1:]]
    for number, page in enumerate(pages):
        assert page.events <= max(WIDTH, sum(later.events for later in pages[number + 1 :]) / (PAGES / 2 - 1))


def test_invented_versions_take_no_more_room_and_are_counted() -> None:
    events = [(True, f"version-{number}", 0, 0) for number in range(3_000)]
    pages = counted(events).pages
    assert all(len(page.predictions) <= VERSIONS + 1 for page in pages[:-1])
    found = since(pages, -1.0)
    assert found is not None
    assert found.predictions[OTHERS] >= 2_000
    assert sum(found.predictions.values()) == 3_000


def test_it_goes_on_from_what_was_stored() -> None:
    events = some(1_000)
    whole, half = counted(events), counted(events[:333])
    again = Ledger(msgspec.msgpack.decode(msgspec.msgpack.encode(half.pages), type=tuple[Page, ...]))
    again.offer(sheet(events[333:], 333))
    again.settle(999)
    assert again.pages == whole.pages


def test_of_nothing_nothing_is_known_and_of_the_future_nothing_has_come() -> None:
    assert since((), 0.0) is None
    found = since(counted(some(100)).pages, 1e9)
    assert found is not None
    assert sum(found.predictions.values()) == 0
