"""Reach: how far an incident reaches by now, from what it is about and what the ledger has counted."""

from collections.abc import Mapping, Sequence

import msgspec

from alerting.incident import Incident, Radius, Served
from monitor.detection.asked import Asked
from monitor.detection.columns import Columns, FeatureColumns, LabelColumns
from monitor.detection.ledger import Ledger, Sheet, since
from monitor.detection.slots import Slots


def sheet(
    features: FeatureColumns,
    labels: LabelColumns,
    asked: Asked,
    newest: Sequence[float],
    end: int,
) -> Sheet:
    """A batch, as the ledger counts it.

    Args:
        features: predictions, and features alone.
        labels: joined labels.
        asked: the predictions.
        newest: the model's clock after each of all these events.
        end: the number of the event after them.
    """
    columns = (features.index, features.sources, labels.index, labels.sources, labels.labelers)
    return Sheet(newest, end, asked.index, asked.versions, *(column.tolist() for column in columns))


def reach(incident: Incident, ledger: Ledger, columns: Columns) -> Radius:
    """How far an incident reaches: its radius, with what has been counted since the early end of its onset."""
    radius, who = incident.radius or Radius(), incident.attribution
    began = incident.onset.low
    found = since(ledger.pages, began)
    if found is None:
        return msgspec.structs.replace(radius, since=began, until=began)
    served = sorted(found.predictions.items(), key=lambda each: (-each[1], each[0]))
    labels = _of(columns.sources, who.source, found.source_labels)
    return msgspec.structs.replace(
        radius,
        since=began,
        until=max(found.ended, began),
        first_index=found.first,
        last_index=found.first + found.events - 1,
        versions=tuple(Served(version, count) for version, count in served if count),
        inputs=_of(columns.sources, who.source, found.inputs),
        labels=labels if who.labeler is None else _of(columns.labelers, who.labeler, found.labeler_labels),
    )


def _of(slots: Slots, name: str | None, counts: Mapping[int, int]) -> int | None:
    """What was counted of a name; None if nobody is named."""
    slot = None if name is None else slots.find(name)
    return None if slot is None else counts.get(slot, 0)
