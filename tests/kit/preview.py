"""Pictures of the boards from the data of a Prometheus: not Grafana's look, but what would be on each panel."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure

from tests.kit.boards import Expression, panels
from tests.kit.prometheus import Prometheus

COLUMN, ROW = 0.72, 0.36
"""Inches of one unit of Grafana's grid."""
COLOURS = {"green": "#56a64b", "orange": "#e08400", "red": "#e02f44", "blue": "#1f60c4"}
MAX_ROWS = 8

Series = list[dict[str, Any]]
Span = tuple[float, float]


def draw(board: Mapping[str, Any], prometheus: Prometheus, span: Span, path: Path, **variables: str) -> list[str]:
    """Draw a board over a time, epoch seconds, into a PNG; return the titles of the panels that had data."""
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"]) + 1
    figure = Figure(figsize=(24 * COLUMN, height * ROW), dpi=80, facecolor="#f4f5f5")
    figure.text(0.01, 1 - 0.6 / height, board["title"], fontsize=15, weight="bold", va="center")
    drawn = []
    marks = [(mark["iconColor"], *_moments(mark, prometheus, span, variables)) for mark in board["annotations"]["list"]]
    for panel in board["panels"]:
        at = panel["gridPos"]
        if panel["type"] == "row":
            figure.text(0.01, 1 - (at["y"] + 1.6) / height, panel["title"], fontsize=11, color="#555555", va="center")
            continue
        left, bottom = at["x"] / 24, 1 - (at["y"] + at["h"] + 1) / height
        margins = (
            (0.04, 1.5 / height, 0.05, 2.9 / height) if panel["type"] == "timeseries" else (0.006, 0.004, 0.012, 0.012)
        )
        box = (left + margins[0], bottom + margins[1], at["w"] / 24 - margins[2], at["h"] / height - margins[3])
        axes = figure.add_axes(box)
        asked = [Expression(panel["title"], target["expr"]).filled_in(**variables) for target in panel["targets"]]
        if panel["type"] == "timeseries":
            found = [prometheus.query_range(text, *span, max((span[1] - span[0]) / 200, 1.0)) for text in asked]
        else:
            found = [prometheus.query(text, span[1]) for text in asked]
        {"timeseries": _lines, "stat": _number, "table": _table}[panel["type"]](axes, panel, found)
        if panel["type"] == "timeseries" and any(found):
            for colour, *moments in marks:
                for moment in moments:
                    axes.axvline(moment, color=COLOURS[colour], linewidth=0.8, linestyle="--", alpha=0.7)
        if any(found):
            drawn.append(panel["title"])
    figure.savefig(path)
    return drawn


def _moments(
    mark: Mapping[str, Any], prometheus: Prometheus, span: Span, variables: Mapping[str, str]
) -> Iterator[datetime]:
    """When a mark's expression began to have a value, for each of its series; not what was there at the beginning."""
    asked = Expression(mark["name"], mark["expr"]).filled_in(**variables)
    for series in prometheus.query_range(asked, *span, 1.0):
        began = float(series["values"][0][0])
        if began > span[0] + 5:
            yield datetime.fromtimestamp(began, UTC)


def titles(board: Mapping[str, Any]) -> list[str]:
    """The titles of all panels."""
    return [panel["title"] for panel in panels(dict(board))]


def _lines(axes: Axes, panel: Mapping[str, Any], found: Sequence[Series]) -> None:
    custom = panel["fieldConfig"]["defaults"]["custom"]
    colours = mpl.colormaps["tab10"].colors
    number = 0
    for target, series in zip(panel["targets"], found, strict=True):
        for one in series:
            name = _legend(target["legendFormat"], one["metric"])
            times = [datetime.fromtimestamp(float(ts), UTC) for ts, _ in one["values"]]
            values = [float(value) for _, value in one["values"]]
            axes.plot(times, values, color=colours[number % 10], linewidth=1.2, label=name, drawstyle="steps-post")
            number += 1
    if custom.get("scaleDistribution", {}).get("type") == "log":
        axes.set_yscale("symlog", linthresh=1e-3)
    axes.set_title(panel["title"], fontsize=9, loc="left", weight="bold")
    unit = panel["fieldConfig"]["defaults"]["unit"]
    axes.yaxis.set_major_formatter(lambda value, _place: _text(value, unit))
    axes.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=8))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M:%S"))
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if number:
        axes.legend(fontsize=6.5, loc="upper left", ncols=2, frameon=False)
    else:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color="#999999")


def _number(axes: Axes, panel: Mapping[str, Any], found: Sequence[Series]) -> None:
    _frame(axes, panel)
    defaults = panel["fieldConfig"]["defaults"]
    series = found[0][:1]
    shown, colour = "no data", "#999999"
    if series:
        value = float(series[0]["value"][1])
        steps = defaults["thresholds"]["steps"]
        colour = [COLOURS[step["color"]] for step in steps if step["value"] is None or value >= step["value"]][-1]
        by_name = panel["options"]["textMode"] == "name"
        shown = (
            _legend(panel["targets"][0]["legendFormat"], series[0]["metric"])
            if by_name
            else _text(value, defaults["unit"])
        )
    axes.text(
        0.5,
        0.4,
        shown[:40],
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=colour,
        fontsize=15 if len(shown) < 12 else 9,
    )


def _table(axes: Axes, panel: Mapping[str, Any], found: Sequence[Series]) -> None:
    _frame(axes, panel)
    order = panel["transformations"][-1]["options"]
    columns = sorted(order["indexByName"], key=order["indexByName"].__getitem__)
    labels = [name for name in columns if not name.startswith("Value")]
    rows: dict[tuple[str, ...], list[str]] = {}
    for place, series in enumerate(found):
        for one in series:
            key = tuple(one["metric"].get(label, "")[:20] for label in labels)
            cells = rows.setdefault(key, [""] * len(found))
            cells[place] = _text(float(one["value"][1]), panel["fieldConfig"]["defaults"]["unit"])
    heads = [*labels, *order["renameByName"].values()]
    if not rows:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color="#999999")
        return
    cells = [[*key, *values] for key, values in list(rows.items())[:MAX_ROWS]]
    table = axes.table(
        cellText=cells,
        colLabels=heads,
        loc="upper center",
        bbox=(0.01, 0.86 - 0.095 * (len(cells) + 1), 0.98, 0.095 * (len(cells) + 1)),
    )
    table.auto_set_font_size(value=False)
    table.set_fontsize(8)


def _frame(axes: Axes, panel: Mapping[str, Any]) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#dddddd")
    axes.text(0.02, 0.96, panel["title"], transform=axes.transAxes, fontsize=9, weight="bold", va="top")


def _legend(form: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), form)


def _text(value: float, unit: str) -> str:
    """A number as people read it."""
    if unit == "percentunit":
        return f"{value:.3g}" if 0 < value < 0.001 else f"{100 * value:.4g} %"
    if unit.startswith("dateTime"):
        return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    if unit == "bytes":
        return f"{value / 2**20:.4g} MiB"
    suffix = {"s": " s", "eps": "/s", "rps": "/s", "ops": "/s", "cps": "/s"}.get(unit, "")
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g} {letter}{suffix}"
    return f"{value:.4g}{suffix}"
