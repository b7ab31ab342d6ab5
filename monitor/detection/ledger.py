"""The ledger: how many events of whom had come by when, in bounded memory; the further back, the coarser.

When an incident opens, what it may have spoilt began hours or weeks before. So all events are counted in pages, by
version, source and labeler: one for each WIDTH events, and whenever there are more than PAGES of one width, the oldest
two of it become one of twice that width (an exponential histogram: Datar, Gionis, Indyk and Motwani 2002). So a page is
never wider than about an eighth of all that came after it, and N events take PAGES * log2(N / WIDTH / PAGES) pages.
Where pages begin follows from the numbers of events alone, and so does what is counted.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

WIDTH = 64
"""Events of the narrowest page."""
PAGES = 8
"""Pages of one width."""
VERSIONS = 8
"""Versions that a page knows by name: those with most predictions; of the others it knows how many there were."""
OTHERS = "(others)"

Name = TypeVar("Name", str, int)


class Page(msgspec.Struct, frozen=True, array_like=True):
    """What came between two moments."""

    first: int
    """The number of its first event."""
    events: int
    began: float
    """The model's clock before it, epoch seconds."""
    ended: float
    """The model's clock after it."""
    predictions: dict[str, int]
    """By version."""
    inputs: dict[int, int]
    """Predictions, and features alone, by the slot of their source."""
    source_labels: dict[int, int]
    """Joined labels by the slot of the source that had asked."""
    labeler_labels: dict[int, int]


class Sheet(NamedTuple):
    """What is counted of a batch: event numbers, each in order, and whose they are."""

    newest: Sequence[float]
    """The model's clock after each event; the last one is that of event `end - 1`."""
    end: int
    asked: Sequence[int]
    versions: Sequence[str]
    """Of each prediction."""
    inputs: Sequence[int]
    sources: Sequence[int]
    """Of each prediction, and of features alone: the slot of its source."""
    labels: Sequence[int]
    source_labels: Sequence[int]
    labeler_labels: Sequence[int]
    """Of each label, the slots of the source that had asked and of the labeler."""


class Ledger:
    """Counts the events of one model. Pages are replaced as a whole, so any thread may read them."""

    def __init__(self, pages: Iterable[Page] = ()) -> None:
        """Begin with nothing, or with `pages`."""
        self.pages: tuple[Page, ...] = tuple(pages)
        """The oldest first; the last one may not be full yet."""
        self._sheet: Sheet | None = None

    def offer(self, sheet: Sheet) -> None:
        """Take in a batch, of which no event is counted yet."""
        self._sheet = sheet

    def settle(self, index: int) -> None:
        """Count the events of the batch up to `index`."""
        if self._sheet is None:
            return
        sheet, pages = self._sheet, list(self.pages)
        start = sheet.end - len(sheet.newest)
        first = pages[-1].first + pages[-1].events if pages else start
        while first <= index:
            stop = min(index + 1, (first // WIDTH + 1) * WIDTH)
            began = pages[-1].ended if pages else sheet.newest[0]
            page = _page(sheet, first, stop, began, sheet.newest[stop - 1 - start])
            pages.append(_both(pages.pop(), page) if pages and first % WIDTH else page)
            if stop % WIDTH == 0:
                pages.append(_bounded(pages.pop()))
                _merge(pages)
            first = stop
        self.pages = tuple(pages)


def since(pages: Sequence[Page], ts: float) -> Page | None:
    """What came after `ts` (epoch seconds), as one page that begins where that of `ts` does; None if there is nothing.

    Of the page that has `ts` in it, the part that came later is counted as if it had come evenly.
    """
    touched = [page for page in pages if page.ended > ts] or list(pages[-1:])
    if not touched:
        return None
    head, *rest = touched
    share = min(max((head.ended - ts) / (head.ended - head.began), 0.0), 1.0) if head.ended > head.began else 1.0
    counts = [Counter({name: round(share * count) for name, count in each.items()}) for each in _counts(head)]
    for page in rest:
        for count, more in zip(counts, _counts(page), strict=True):
            count.update(more)
    last = touched[-1]
    return Page(head.first, last.first + last.events - head.first, head.began, last.ended, *counts)


def _counts(page: Page) -> tuple[Mapping[Any, int], ...]:
    return page.predictions, page.inputs, page.source_labels, page.labeler_labels


def _page(sheet: Sheet, first: int, stop: int, began: float, ended: float) -> Page:
    """The events from number `first` to before `stop`."""
    asked, inputs, labels = (
        slice(bisect_left(numbers, first), bisect_left(numbers, stop))
        for numbers in (sheet.asked, sheet.inputs, sheet.labels)
    )
    return Page(
        first,
        stop - first,
        began,
        ended,
        _counted(sheet.versions[asked]),
        _counted(sheet.sources[inputs]),
        _counted(sheet.source_labels[labels]),
        _counted(sheet.labeler_labels[labels]),
    )


def _counted(names: Sequence[Name]) -> dict[Name, int]:
    """How often each name came; a Counter of nothing would take as long as one of a page."""
    return Counter(names) if names else {}


def _both(page: Page, other: Page) -> Page:
    """Two pages as one."""
    return Page(
        page.first,
        page.events + other.events,
        page.began,
        other.ended,
        _sum(page.predictions, other.predictions),
        _sum(page.inputs, other.inputs),
        _sum(page.source_labels, other.source_labels),
        _sum(page.labeler_labels, other.labeler_labels),
    )


def _sum(one: Mapping[Name, int], two: Mapping[Name, int]) -> dict[Name, int]:
    """Counts of both, names in the order in which they came: several times as fast as to add Counters."""
    return {**one, **{name: one.get(name, 0) + count for name, count in two.items()}}


def _bounded(page: Page) -> Page:
    """A full page, of whose versions only so many keep their names."""
    if len(page.predictions) <= VERSIONS:
        return page
    ranked = sorted(page.predictions.items(), key=lambda each: (each[0] == OTHERS, -each[1], each[0]))
    others = sum(count for _, count in ranked[VERSIONS:])
    return msgspec.structs.replace(page, predictions=dict(ranked[:VERSIONS]) | {OTHERS: others})


def _merge(pages: list[Page]) -> None:
    """Where there are more than PAGES pages of one width, make the oldest two of them one; the narrowest first."""
    end, width = len(pages), 1
    while True:
        begin = end
        while begin and _width(pages[begin - 1]) == width:  # pages become narrower towards the end
            begin -= 1
        if end - begin <= PAGES:
            return
        pages[begin : begin + 2] = [_bounded(_both(pages[begin], pages[begin + 1]))]
        end, width = begin + 1, 2 * width


def _width(page: Page) -> int:
    """In narrowest pages; the first of all may be cut."""
    return (page.first + page.events - 1) // WIDTH - page.first // WIDTH + 1
