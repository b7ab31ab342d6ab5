"""Charts as plain marks: rectangles, lines and texts on a white page, which `svg.py` and `png.py` draw.

Two renderers of four kinds of marks are less than one drawing library, and both pictures are the same picture.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

BEFORE, AFTER, INK, FAINT, ALARM, BAND = "#8a94a6", "#c8102e", "#1b1f27", "#d9dde4", "#c8102e", "#fde7c7"
WIDTH = 640
_LEFT, _TOP, _BOTTOM, _RIGHT = 70, 44, 30, 16
_SERIES = ("#1f5fa8", "#0f8a5f", "#a8571f", "#7a3fa0", "#5d6676")


class Box(NamedTuple):
    """A filled rectangle; pixels from the upper left corner."""

    x: float
    y: float
    width: float
    height: float
    fill: str


class Path(NamedTuple):
    """A line through points."""

    points: tuple[tuple[float, float], ...]
    stroke: str
    width: float = 1.5
    dashed: bool = False


class Text(NamedTuple):
    """One line; `x` is its start, middle or end, `y` its base."""

    x: float
    y: float
    text: str
    size: int = 12
    anchor: str = "start"
    fill: str = INK


Mark = Box | Path | Text


class Drawing(NamedTuple):
    """One chart."""

    title: str
    width: int
    height: int
    marks: tuple[Mark, ...]


class Curve(NamedTuple):
    """A line in a chart over time."""

    name: str
    points: Sequence[tuple[float, float]]
    """Epoch seconds and value."""


def over_time(
    title: str,
    curves: Sequence[Curve],
    threshold: float,
    onset: tuple[float, float],
    opened: float,
    ends: tuple[str, str],
) -> Drawing:
    """Statistics against their threshold, on a logarithmic axis; what is below 1 is drawn at 1.

    Args:
        title: of the chart.
        curves: each with a point or more.
        threshold: where a statistic alarms.
        onset: the earliest and the latest moment of the onset; it is shaded.
        opened: when the incident opened.
        ends: words for the first and the last moment of the axis.
    """
    height, plot = 260, WIDTH - _LEFT - _RIGHT
    times = [ts for curve in curves for ts, _ in curve.points]
    first, last = min([*times, onset[0]]), max([*times, opened])
    top = math.log10(max([threshold * 20.0, *(value for curve in curves for _, value in curve.points)]))

    def x(ts: float) -> float:
        return _LEFT + plot * (min(max(ts, first), last) - first) / max(last - first, 1e-9)

    def y(value: float) -> float:
        return _TOP + (height - _TOP - _BOTTOM) * (1.0 - math.log10(max(value, 1.0)) / top)

    marks: list[Mark] = [Box(x(onset[0]), _TOP, max(x(onset[1]) - x(onset[0]), 1.0), y(1.0) - _TOP, BAND)]
    for power in range(0, math.ceil(top), 2):
        marks += [
            Path(((_LEFT, y(10.0**power)), (WIDTH - _RIGHT, y(10.0**power))), FAINT, 1.0),
            Text(_LEFT - 8, y(10.0**power) + 4, f"1e{power}", 11, "end"),
        ]
    marks += [
        Path(((_LEFT, y(threshold)), (WIDTH - _RIGHT, y(threshold))), ALARM, 1.5, dashed=True),
        Text(WIDTH - _RIGHT, y(threshold) - 5, "threshold", 11, "end", ALARM),
        Path(((x(opened), _TOP), (x(opened), y(1.0))), INK, 1.0, dashed=True),
        Text(_LEFT, height - 10, ends[0], 11),
        Text(WIDTH - _RIGHT, height - 10, ends[1], 11, "end"),
    ]
    for place, curve in enumerate(curves):
        colour = _SERIES[place % len(_SERIES)]
        marks.append(Path(tuple((x(ts), y(value)) for ts, value in curve.points), colour, 2.0))
        marks.append(Text(_LEFT + 6, _TOP + 16 + 15 * place, curve.name, 12, "start", colour))
    return Drawing(title, WIDTH, height, (_heading(title), *marks))


def before_after(title: str, names: Sequence[str], before: Sequence[float], after: Sequence[float]) -> Drawing:
    """Two distributions beside each other, as columns: shares of the reference, and of what came since."""
    height, plot = 240, WIDTH - _LEFT - _RIGHT
    highest = max([*before, *after, 1e-9])
    step = plot / max(len(names), 1)

    def column(place: int, share: float, offset: float, fill: str) -> Box:
        tall = (height - _TOP - _BOTTOM) * share / highest
        return Box(_LEFT + step * (place + offset), height - _BOTTOM - tall, step * 0.38, tall, fill)

    marks: list[Mark] = [Path(((_LEFT, height - _BOTTOM), (WIDTH - _RIGHT, height - _BOTTOM)), INK, 1.0)]
    for place, (name, first, second) in enumerate(zip(names, before, after, strict=True)):
        marks += [column(place, first, 0.1, BEFORE), column(place, second, 0.5, AFTER)]
        if place % max(1, math.ceil(len(names) / 8)) == 0:
            marks.append(Text(_LEFT + step * (place + 0.5), height - 10, short(name, 11), 11, "middle"))
    marks += [
        Text(_LEFT - 8, _TOP + 8, f"{highest:.0%}", 11, "end"),
        Text(_LEFT - 8, height - _BOTTOM, "0%", 11, "end"),
    ]
    return Drawing(title, WIDTH, height, (_heading(title), *_legend(), *marks))


def shares(title: str, names: Sequence[str], before: Sequence[float], after: Sequence[float]) -> Drawing:
    """The same as lying bars, for names that want to be read."""
    left, row = 190, 30
    height = _TOP + row * len(names) + 14
    highest = max([*before, *after, 1e-9])
    room = WIDTH - left - 110
    marks: list[Mark] = []
    for place, (name, first, second) in enumerate(zip(names, before, after, strict=True)):
        y = _TOP + row * place
        marks += [
            Text(left - 8, y + 17, short(name, 26), 12, "end"),
            Box(left, y + 3, room * first / highest, 10, BEFORE),
            Box(left, y + 14, room * second / highest, 10, AFTER),
            Text(left + room * max(first, second) / highest + 6, y + 17, f"{first:.1%} to {second:.1%}", 11),
        ]
    return Drawing(title, WIDTH, height, (_heading(title), *_legend(), *marks))


def confusion(
    title: str, classes: Sequence[str], before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]
) -> Drawing:
    """Two tables of shares, each row a true class: what it was taken for in the reference, and what lately."""
    count, left, gap = len(classes), 100, 34
    cell = min(56.0, (WIDTH - left - gap - _RIGHT) / (2 * max(count, 1)))
    high = min(cell, 34.0)
    height = round(_TOP + 44 + high * count + 12)
    marks: list[Mark] = [Text(8, _TOP + 32, "label \\ answer", 11)]
    for table, (words, rows) in enumerate((("before", before), ("lately", after))):
        x0 = left + table * (cell * count + gap)
        marks.append(Text(x0, _TOP + 14, words, 12))
        marks += [
            Text(x0 + cell * (column + 0.5), _TOP + 32, short(name, max(3, int(cell / 7))), 10, "middle")
            for column, name in enumerate(classes)
        ]
        for line, row in enumerate(rows):
            y = _TOP + 40 + high * line
            if table == 0:
                marks.append(Text(left - 8, y + high / 2 + 4, short(classes[line], 13), 11, "end"))
            for column, share in enumerate(row):
                marks.append(Box(x0 + cell * column, y, cell - 2, high - 2, _shade(share, good=line == column)))
                fill = "#ffffff" if share > 0.55 else INK
                marks.append(Text(x0 + cell * (column + 0.5) - 1, y + high / 2 + 4, f"{share:.0%}", 10, "middle", fill))
    return Drawing(title, WIDTH, height, (_heading(title), *marks))


def short(text: str, limit: int) -> str:
    """The text, cut to so many characters."""
    return text if len(text) <= limit else text[: max(limit - 1, 1)] + "…"


def _heading(title: str) -> Text:
    return Text(8, 18, short(title, 84), 14)


def _legend() -> tuple[Mark, ...]:
    return (
        Box(_LEFT, 27, 10, 10, BEFORE),
        Text(_LEFT + 15, 36, "before: the reference", 11),
        Box(_LEFT + 160, 27, 10, 10, AFTER),
        Text(_LEFT + 175, 36, "lately", 11),
    )


def _shade(share: float, *, good: bool) -> str:
    """From white to blue for right answers, to red for wrong ones."""
    strength = min(max(share, 0.0), 1.0)
    end = (31, 95, 168) if good else (200, 16, 46)
    return "#" + "".join(f"{round(245 + (colour - 245) * strength):02x}" for colour in end)
