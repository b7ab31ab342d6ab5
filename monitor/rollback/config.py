"""The section `rollback`: how far Tocsin goes on its own, and what stands in its way."""

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from alerting.section import Section
from monitor.rollback.model_signature import ModelSignature

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
HOUR = 3600.0


class Mode(StrEnum):
    """How far Tocsin goes on its own."""

    OBSERVE = "observe"
    """Only say what would have been done."""
    PROPOSE = "propose"
    """Name the target and wait for a person."""
    AUTO = "auto"
    """Move the alias."""


class Freeze(Section):
    """A span in which nothing is moved without a person."""

    start: datetime
    end: datetime
    why: str = Field(default="a freeze window", max_length=200)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if _epoch(self.start) >= _epoch(self.end):
            raise ValueError("`start` has to be before `end`")
        return self

    def covers(self, now: float) -> bool:
        """Whether `now`, epoch seconds, is in it. Times without an offset are UTC."""
        return _epoch(self.start) <= now < _epoch(self.end)


class RollbackConfig(Section):
    """The section `rollback`."""

    mode: Mode = Mode.OBSERVE
    models: dict[str, Mode] = Field(default_factory=dict)
    """The mode of single models, where it differs from `mode`."""

    # What the evidence has to be.
    min_confidence: float = Field(default=0.6, ge=0, lt=1)
    """How sure the verdict must be, as a share of 1; 0 asks nothing of it."""
    min_families: int = Field(default=2, ge=1, le=2)
    """Families of evidence that must agree: labels, answers."""
    min_effect: float = Field(default=0.05, ge=0, lt=1)
    """By how much the share of wrong answers must have risen."""
    min_labels: int = Field(default=100, ge=1)
    """Labelled answers that a version must have before it is accused."""
    max_share: float = Field(default=0.5, gt=0, le=1)
    """The most that one source, or one labeler, may give of the evidence."""
    witnesses: tuple[Literal["source", "labeler"], ...] = ("source", "labeler")
    """Whose evidence must not come from one name alone. Leave out what your events do not name."""
    persistence: Seconds = 300.0
    """Seconds of event time that an incident must have lasted."""
    confirm: int = Field(default=20, ge=0)
    """Labelled answers of the accused class that must have come since the first look, and say the same."""
    max_evidence_age: Positive = 900.0
    """Seconds; if the newest event of a model is older, what is known may no longer be true."""

    # What limits Tocsin, whatever the evidence.
    cooldown: Seconds = 6 * HOUR
    """Seconds after a rollback of a model in which there is no second one without a person."""
    window: Positive = 24 * HOUR
    """Seconds that the two budgets are about."""
    per_model: int = Field(default=2, ge=0)
    """Rollbacks of one model in a window, without a person."""
    fleet: int = Field(default=3, ge=0)
    """Rollbacks of all models in a window, without a person."""
    max_models: int = Field(default=2, ge=1)
    """If more models than this look poisoned at once, it is rather the watch or the data that is wrong."""
    heed_held_partitions: bool = True
    """Whether a partition that is held, because most of it is invalid, is a reason to ask a person."""
    freeze: tuple[Freeze, ...] = ()
    """Spans in which nothing is moved without a person."""
    floor: dict[str, str] = Field(default_factory=dict)
    """The oldest version that each model may go back to."""

    # How it is done.
    max_age: Positive = HOUR
    """Seconds after which a request, or a decision that could not be carried out, is given up."""
    proposal_expires: Positive = 24 * HOUR
    """Seconds in which a proposal can be approved."""
    approvals: int = Field(default=1, ge=1, le=5)
    """How many people have to approve a proposal."""
    veto: Seconds = 0.0
    """Mode auto: seconds between the announcement and the move, in which a person can deny it."""
    verify: Literal["when possible", "always"] = "when possible"
    """Whether a target whose artefact cannot be read and compared with its digest may be served."""
    signature: ModelSignature | None = None
    """Whose signature the artefact of a target has to have; without it, nobody's."""
    follow_within: Positive = 600.0
    """Seconds in which servers have to follow the alias."""
    recover_within: Positive = HOUR
    """Seconds in which the incident has to end after the move, or a person is called."""
    settle: Seconds = 60.0
    """Seconds that a hold must last before people are told of it."""

    def mode_of(self, model: str) -> Mode:
        """The mode that holds for one model."""
        return self.models.get(model, self.mode)

    def frozen(self, now: float) -> Iterator[str]:
        """Why nothing may be moved at `now`, epoch seconds."""
        return (f"{freeze.why}, until {freeze.end:%Y-%m-%d %H:%M}" for freeze in self.freeze if freeze.covers(now))


def _epoch(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
