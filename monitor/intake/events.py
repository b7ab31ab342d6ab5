"""The three events Tocsin reads, as the native JSON format has them. See README.md, "Events"."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec

Value = float | bool | str | None
"""One feature value. A feature with any text is categorical, others are numeric (true is 1); null is missing.

Integers become floats when they are decoded, and one that no double can hold is refused there.
"""

ClassLabel = str | float | bool
"""A predicted or true class, or the number of a regression model."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
"""An identifier: bounded, because names become keys of state, metrics and messages."""

Timestamp = datetime | float
"""ISO 8601 text or epoch seconds on the wire. Text without an offset is taken as UTC."""


def epoch(ts: Timestamp) -> float:
    """Epoch seconds of an event's timestamp."""
    if isinstance(ts, datetime):
        return (ts if ts.tzinfo else ts.replace(tzinfo=UTC)).timestamp()
    return ts


def class_name(value: ClassLabel) -> str:
    """The name of a class: `1`, `1.0` and `"1"` are the same class, as producers rarely agree on one spelling."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


class Prediction(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="prediction"):
    """A served prediction with the features it was made from."""

    event_id: Name
    ts: Timestamp
    model: Name
    version: Name
    features: dict[str, Value]
    prediction: ClassLabel
    source: Name | None = None
    proba: dict[str, float] | None = None
    embedding: list[float] | None = None

    @property
    def epoch(self) -> float:
        """Event time in epoch seconds."""
        return epoch(self.ts)


class Label(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="label"):
    """The truth about an earlier prediction, by its event id; it may come days later."""

    event_id: Name
    ts: Timestamp
    label: ClassLabel
    model: Name | None = None
    labeler: Name | None = None

    @property
    def epoch(self) -> float:
        """Event time in epoch seconds."""
        return epoch(self.ts)


class Features(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="features"):
    """Features without a prediction, from a feature store or a training pipeline."""

    event_id: Name
    ts: Timestamp
    model: Name
    features: dict[str, Value]
    source: Name | None = None

    @property
    def epoch(self) -> float:
        """Event time in epoch seconds."""
        return epoch(self.ts)


Event = Prediction | Label | Features
