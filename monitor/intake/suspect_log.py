"""Where suspects are written: a file or a topic that whoever retrains a model reads."""

from collections.abc import Callable
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from alerting.section import Section
from monitor.intake.quarantine import FilePublisher, Publisher


class SuspectsConfig(Section):
    """The `suspects` section: where to write which events to leave out of a training. Nowhere, if it has neither."""

    topic: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,249}$")
    """A Kafka topic, which must exist."""
    file: Path | None = None
    """One JSON object a line."""
    file_max_bytes: int = Field(default=10_000_000, ge=1_000)
    file_count: int = Field(default=5, ge=1)
    """How many files are kept; the oldest is deleted when the newest is full."""
    outlier_share: float = Field(default=0.001, ge=0.0, le=0.05)
    """An event whose inputs are at least as strange as this share of the reference is listed; 0 for none."""
    outliers_per_hour: int = Field(default=60, ge=1)
    """Outliers of a model that are listed in an hour of event time, at most."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.file is not None and self.topic is not None:
            raise ValueError("give `topic` or `file`, not both")
        return self


def open_suspects(config: SuspectsConfig, publisher: Callable[[str], Publisher]) -> Publisher | None:
    """What the configuration asks for; `publisher` makes the writer of a topic, by its name."""
    if config.topic is not None:
        return publisher(config.topic)
    if config.file is not None:
        return FilePublisher(config.file, max_bytes=config.file_max_bytes, count=config.file_count)
    return None
