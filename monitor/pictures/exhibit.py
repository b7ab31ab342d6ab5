"""Exhibits: what stands behind an incident, as bounded values that can be stored, and their drawings."""

import msgspec

from alerting.incident import Incident
from alerting.message import instant
from monitor.pictures.drawing import Curve, Drawing, before_after, confusion, over_time, shares

CURVES = 5


class Compared(msgspec.Struct, frozen=True, array_like=True):
    """Shares in the reference and since the change, of the same things."""

    title: str
    names: tuple[str, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]


class Confused(msgspec.Struct, frozen=True, array_like=True):
    """For each true class, the share of each answer: in the reference and lately."""

    title: str
    classes: tuple[str, ...]
    before: tuple[tuple[float, ...], ...]
    after: tuple[tuple[float, ...], ...]


class Exhibit(msgspec.Struct, frozen=True):
    """What stood behind an incident when it was told."""

    made_at: float
    """Event time, epoch seconds."""
    threshold: float
    curves: tuple[tuple[str, tuple[tuple[float, float], ...]], ...] = ()
    """Family, and points of event time and statistic."""
    features: tuple[Compared, ...] = ()
    sources: Compared | None = None
    confused: Confused | None = None


def drawings(exhibit: Exhibit, incident: Incident) -> list[Drawing]:
    """Every chart that there is something to draw for."""
    drawn: list[Drawing] = []
    curves = [Curve(name, points) for name, points in exhibit.curves[:CURVES] if points]
    if curves:
        times = [ts for curve in curves for ts, _ in curve.points]
        onset = (incident.onset.low, incident.onset.high)
        ends = instant(min([*times, onset[0]])), instant(max([*times, incident.opened_at]))
        title = "Evidence against its threshold; shaded is the onset, dashed when the incident opened"
        drawn.append(over_time(title, curves, exhibit.threshold, onset, incident.opened_at, ends))
    drawn += [before_after(each.title, each.names, each.before, each.after) for each in exhibit.features]
    if exhibit.confused is not None:
        confused = exhibit.confused
        drawn.append(confusion(confused.title, confused.classes, confused.before, confused.after))
    if exhibit.sources is not None:
        compared = exhibit.sources
        drawn.append(shares(compared.title, compared.names, compared.before, compared.after))
    return drawn
