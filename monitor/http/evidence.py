"""Gathering: from a watch whose model has an incident to the exhibit that is kept with it."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from alerting.message import clean
from detectors.cells import ABOVE, BELOW, MISSING, RESERVED, Cells, NumericCells
from monitor.detection.bank import Bank, Place
from monitor.detection.baseline import PREDICTION
from monitor.detection.findings import Finding
from monitor.detection.watch import Watch
from monitor.pictures.exhibit import Compared, Confused, Exhibit

FEATURES, BINS, CLASSES, SOURCES = 6, 16, 8, 10
"""How many features, bins of one, classes and sources an exhibit shows at most."""
_NAME = 40

Floats = npt.NDArray[np.float64]


def gather(watch: Watch) -> Exhibit | None:
    """What can be shown about the model now; None while its baseline is still being learnt."""
    bank = watch.bank
    if bank is None:
        return None
    lately = watch.lately
    return Exhibit(
        made_at=watch.newest,
        threshold=bank.budget,
        curves=tuple((family, tuple(points)) for family, points in lately.curves.items()),
        features=tuple(_features(bank, [finding.place for finding in watch.episode])),
        sources=_sources(bank, lately.sources),
        confused=_confused(bank, lately.confusion, watch.episode),
    )


def _features(bank: Bank, places: Sequence[Place]) -> list[Compared]:
    """Distributions of the features, and of the predictions, that alarm: before, and in the excursion."""
    found: dict[tuple[str, str], Compared] = {}
    for place in places:
        watched, _, scope = place.family.partition("/")
        excursion = bank.families[place.family].excursions.get((place.key, place.stream))
        if watched != "features" or excursion is None or len(found) == FEATURES:
            continue
        feature = bank.columns.names[place.stream]
        who = bank.columns.sources.name(place.key) if scope == "source" else ""
        held = bank.baseline.features[feature]
        names, before = _binned(held.cells, held.reference.counts)
        _, after = _binned(held.cells, excursion.counts[: held.cells.size])
        what = "predictions" if feature == PREDICTION else f"feature {clean(feature, _NAME)}"
        title = f"{what}, source {clean(who, _NAME)}" if who else what
        found[feature, who] = Compared(title, names, before, after)
    return list(found.values())


def _binned(cells: Cells, counts: Sequence[int]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Names and shares of a few bins; the values that cannot be have bins of their own at the end."""
    held = np.asarray(counts, dtype=np.float64)
    regular = held.size - RESERVED
    if isinstance(cells, NumericCells):
        # Neighbours go together, about as many reference events in each.
        reference = np.cumsum(np.asarray(cells.counts[:regular], dtype=np.float64))
        share = reference / max(reference[-1], 1.0) if regular else reference
        bins = np.minimum((share * BINS - 1e-9).astype(np.intp), BINS - 1)
        last = {int(place): index for index, place in enumerate(bins)}
        names = [f"to {cells.uppers[last[place]]:.3g}" for place in sorted(last)]
        sums = [float(held[:regular][bins == place].sum()) for place in sorted(last)]
        special = [(ABOVE, "above"), (BELOW, "below"), (MISSING, "missing")]
    else:
        top = list(cells.values[: BINS - 1])
        names = [clean(value, _NAME) for value in top]
        sums = held[: len(top)].tolist()
        if regular > len(top):
            names.append("(others)")
            sums.append(float(held[len(top) : regular].sum()))
        special = [(ABOVE, "(new)"), (MISSING, "missing")]
    names += [name for _, name in special]
    sums += [float(held[regular + code]) for code, _ in special]
    total = max(sum(sums), 1.0)
    return tuple(names), tuple(value / total for value in sums)


def _sources(bank: Bank, seen: Floats) -> Compared | None:
    """Shares of the sources that have changed most, and of the largest."""
    groups: Mapping[str, tuple[int, ...]] = bank.baseline.features[PREDICTION].reference.groups.get("source", {})
    total, known = max(float(seen.sum()), 1.0), max(sum(sum(counts) for counts in groups.values()), 1)
    before = {name: sum(counts) / known for name, counts in groups.items()}
    after = {bank.columns.sources.name(slot): float(seen[slot]) / total for slot in np.flatnonzero(seen).tolist()}
    names = sorted(
        before.keys() | after.keys(),
        key=lambda n: (-abs(after.get(n, 0.0) - before.get(n, 0.0)), -after.get(n, 0.0), n),
    )[:SOURCES]
    if len(names) < 2:
        return None
    return Compared(
        "Who the inputs come from: those that have changed most",
        tuple(clean(name, _NAME) for name in names),
        tuple(before.get(name, 0.0) for name in names),
        tuple(after.get(name, 0.0) for name in names),
    )


def _confused(bank: Bank, seen: Floats, findings: Sequence[Finding]) -> Confused | None:
    """Confusion of the classes that have most labels: of everybody's, or of the source or labeler that alarms most."""
    baseline = bank.baseline
    if baseline.regression or not seen.sum():
        return None
    count = len(baseline.classes)
    held = np.array([baseline.confusion[name].counts[:count] for name in baseline.classes], dtype=np.float64)
    after, about = seen, ""
    finding = next((finding for finding in findings if finding.watched == "confusion"), None)
    scope = finding.place.family.partition("/")[2] if finding is not None else ""
    if finding is not None and scope:
        slot = finding.place.key // bank.questions[finding.place.family].kinds
        slots, column = (bank.columns.sources, 0) if scope == "source" else (bank.columns.labelers, 1)
        rows = bank.recent_labels.since(finding.onset.ts)
        rows = rows[rows[:, column] == slot]
        after = np.zeros_like(seen)
        np.add.at(after, (rows[:, 3] % count, rows[:, 2]), 1.0)
        about = f", {scope} {clean(slots.name(slot), _NAME)}"
    weight = held.sum(axis=1) / max(held.sum(), 1.0) + after.sum(axis=1) / max(after.sum(), 1.0)
    shown = [place for place in sorted(np.argsort(-weight)[:CLASSES].tolist()) if weight[place] > 0.0]
    names = tuple(clean(baseline.classes[place], _NAME) for place in shown)
    return Confused(f"What each true class is taken for{about}", names, _rows(held, shown), _rows(after, shown))


def _rows(counts: Floats, shown: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    return tuple(tuple(row) for row in (counts / totals)[np.ix_(shown, shown)].tolist())
