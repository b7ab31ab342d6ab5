"""What keeps an incident from being told for a while: silences that people set, and maintenance windows.

A mute never hides that it exists (a silence is told when it begins and when it ends), never lasts for ever, and never
hides attacks wholesale: it reaches a critical incident only if it names a model, a source, a labeler or an incident.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Annotated, Self

import msgspec
from pydantic import Field, field_validator, model_validator

from alerting.incident import Attribution, Evidence, Incident, Judgement, Onset, Severity, Verdict
from alerting.message import clean, instant
from alerting.section import Section

LONGEST = 30 * 86400.0
"""Seconds that a silence lasts at most."""
_NAMES = {"model", "source", "labeler", "incident"}
_MATCHER = re.compile(r"(\w+)(=|!=)(.+)", re.DOTALL)


class Label(StrEnum):
    """What of an incident can be matched."""

    MODEL = "model"
    VERSION = "version"
    VERDICT = "verdict"
    SEVERITY = "severity"
    SOURCE = "source"
    LABELER = "labeler"
    INCIDENT = "incident"

    def of(self, incident: Incident) -> str:
        """The incident's value; empty where it names nobody."""
        match self:
            case Label.SOURCE:
                return incident.attribution.source or ""
            case Label.LABELER:
                return incident.attribution.labeler or ""
            case Label.INCIDENT:
                return incident.id
            case _:
                return str(getattr(incident, self.value))


class Matcher(msgspec.Struct, frozen=True):
    """One condition: the label matches the pattern (`*` is any text, `?` any character), or must not."""

    label: Label
    pattern: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.label}{'!=' if self.negated else '='}{self.pattern}"

    def matches(self, incident: Incident) -> bool:
        """Whether the condition holds."""
        return fnmatchcase(self.label.of(incident), self.pattern) is not self.negated

    @property
    def names(self) -> bool:
        """Whether it picks somebody out, and is not true of anybody at all."""
        return self.label in _NAMES and not self.negated and bool(self.pattern.strip("*?"))


def matcher(text: str) -> Matcher:
    """Read `label=pattern` or `label!=pattern`. Raises ValueError with one clear line."""
    found = _MATCHER.fullmatch(text)
    if found is None or found[1] not in list(Label):
        labels = ", ".join(Label)
        raise ValueError(f"{clean(text, 60)}: a matcher is label=pattern or label!=pattern; labels are {labels}")
    return Matcher(Label(found[1]), found[3], negated=found[2] == "!=")


def reaches(matchers: Iterable[Matcher], incident: Incident) -> bool:
    """Whether all conditions hold and, for a critical incident, one of them names somebody."""
    conditions = tuple(matchers)
    if incident.severity is Severity.CRITICAL and not any(each.names for each in conditions):
        return False
    return all(each.matches(incident) for each in conditions)


class Silence(msgspec.Struct, frozen=True):
    """Somebody does not want to be told for a while. Times are epoch seconds of the wall clock."""

    matchers: tuple[Matcher, ...]
    starts_at: float
    ends_at: float
    author: str
    comment: str
    expired_by: str | None = None
    """Who ended it before its time; `ends_at` is then when."""
    origin: str | None = None
    """The receiver from which it was taken over; None if it was set here."""

    @property
    def id(self) -> str:
        """A short id, made of what was asked for."""
        text = "\0".join((*map(str, self.matchers), self.author, self.comment, repr(self.starts_at)))
        return sha256(text.encode()).hexdigest()[:8]

    def active(self, now: float) -> bool:
        """Whether it holds now."""
        return self.starts_at <= now < self.ends_at

    def judgement(self, now: float) -> Judgement | None:
        """How it stands, as an incident of its own: whoever is not told of something is told of that."""
        if not self.active(now):
            return None
        return Judgement(
            verdict=Verdict.MUTED,
            severity=Severity.WARNING,
            onset=Onset(self.starts_at, self.starts_at, self.starts_at),
            attribution=Attribution(),
            evidence=(Evidence("desk", "seconds of silence", 0.0, self.ends_at - self.starts_at, LONGEST),),
            action=self.reason,
        )

    @property
    def reason(self) -> str:
        """One line for people: what is muted, by whom, until when and why."""
        what = ", ".join(map(str, self.matchers))
        where = f" in {self.origin}" if self.origin else ""
        return f"silence {self.id} on {what} by {self.author}{where} until {instant(self.ends_at)}: {self.comment}"


def silence(matchers: Iterable[str], *, author: str, comment: str, now: float, seconds: float) -> Silence:
    """Make a silence that begins now.

    Raises:
        ValueError: with one clear line: no matcher, one that cannot be read, no author or comment, or too long.
    """
    conditions = tuple(map(matcher, matchers))
    if not conditions:
        raise ValueError("a silence needs a matcher, such as model=net-ids")
    if not 0.0 < seconds <= LONGEST:
        raise ValueError(f"a silence lasts more than 0 seconds and at most {LONGEST / 86400:.0f} days")
    if not author.strip() or not comment.strip():
        raise ValueError("a silence needs an author and a comment: somebody will want to know who and why")
    return Silence(conditions, now, now + seconds, clean(author, 100), clean(comment, 300))


class MaintenanceWindow(Section):
    """A time in which matching incidents are not told, known in advance: once, or every week. Times are UTC."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    match: Annotated[tuple[str, ...], Field(min_length=1)]
    """Conditions as in a silence: `model=net-*`. All of them must hold."""
    start: datetime | time
    """A moment, for once; or a time of day (`02:00`)."""
    end: datetime | time
    """As `start`; a time of day before `start` is that of the next day."""
    days: tuple[Annotated[int, Field(ge=1, le=7)], ...] = (1, 2, 3, 4, 5, 6, 7)
    """Days of the week on which it starts, where `start` is a time of day; 1 is Monday."""

    @field_validator("match")
    @classmethod
    def _conditions_can_be_read(cls, match: tuple[str, ...]) -> tuple[str, ...]:
        for text in match:
            matcher(text)
        return match

    @field_validator("start", "end", mode="before")
    @classmethod
    def _is_no_number(cls, moment: object) -> object:
        if isinstance(moment, int | float):  # YAML reads 02:00 without quotes as 120
            raise ValueError('write a time of day in quotes: "02:00"')  # noqa: TRY004 - what pydantic turns into a problem
        return moment

    @field_validator("start", "end")
    @classmethod
    def _in_utc(cls, moment: datetime | time) -> datetime | time:
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if isinstance(self.start, datetime) is not isinstance(self.end, datetime):
            raise ValueError("give two moments, or two times of day")
        if isinstance(self.start, datetime) and isinstance(self.end, datetime) and self.end <= self.start:
            raise ValueError("ends before it starts")
        return self

    def mutes(self, incident: Incident, now: float) -> bool:
        """Whether it holds at `now` (epoch seconds), and is about this incident."""
        return self._holds(now) and reaches(map(matcher, self.match), incident)

    def _holds(self, now: float) -> bool:
        if isinstance(self.start, datetime) and isinstance(self.end, datetime):
            return self.start.timestamp() <= now < self.end.timestamp()
        moment = datetime.fromtimestamp(now, UTC)
        # It may have started yesterday.
        for day in (moment.date(), moment.date() - timedelta(days=1)):
            start, end = datetime.combine(day, self._time(self.start)), datetime.combine(day, self._time(self.end))
            if end <= start:
                end += timedelta(days=1)
            if day.isoweekday() in self.days and start <= moment < end:
                return True
        return False

    @staticmethod
    def _time(bound: datetime | time) -> time:
        return bound if isinstance(bound, time) else bound.timetz()
