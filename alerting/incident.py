"""What an incident is: the one object that people are told about, and that the daemon acts on."""

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """What is going on, in one word."""

    LABEL_FLIP = "label_flip"
    BACKDOOR = "backdoor"
    CLEAN_LABEL = "clean_label"
    LABEL_TAMPERING = "label_tampering"
    SLOW_POISONING = "slow_poisoning"
    DATA_FAULT = "data_fault"
    COVARIATE_DRIFT = "covariate_drift"
    PRIOR_SHIFT = "prior_shift"
    PERFORMANCE = "performance"
    SILENCE = "silence"
    FORGERY = "forgery"
    """Somebody who is not known writes events."""
    MUTED = "muted"
    """Somebody does not want to be told of some incidents for a while."""
    FLOOD = "flood"
    """There are more incidents than people can read."""


class Severity(StrEnum):
    """How fast a person should look."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Status(StrEnum):
    """Where an incident is in its life."""

    PENDING = "pending"
    """Judged, and not yet for long enough to tell anybody."""
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    """Somebody looks after it; it is told again only if it becomes worse."""
    RESOLVED = "resolved"


class Onset(msgspec.Struct, frozen=True):
    """When the change began, in epoch seconds of event time: an estimate within [low, high]."""

    ts: float
    low: float
    high: float


class Attribution(msgspec.Struct, frozen=True):
    """Who or what the evidence points at; None or empty where it points at nothing in particular."""

    source: str | None = None
    labeler: str | None = None
    features: tuple[str, ...] = ()
    class_from: str | None = None
    class_to: str | None = None
    version: str | None = None


class Evidence(msgspec.Struct, frozen=True):
    """One stream that crossed: its evidence in nats, and what was observed against what was allowed."""

    family: str
    stream: str
    log_e: float
    observed: float
    bound: float


class Served(msgspec.Struct, frozen=True):
    """What a version has answered."""

    version: str
    predictions: int


class Radius(msgspec.Struct, frozen=True):
    """What an incident may have spoilt: all that came since the early end of its onset.

    Counts are right to about an eighth of themselves, or 64 events. Times are epoch seconds.
    """

    sources: tuple[str, ...] = ()
    """Sources of which something was found, the earliest first; classes and features likewise."""
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    since: float = 0.0
    until: float = 0.0
    """The newest event that is counted."""
    first_index: int = 0
    """The number of the first event that may be part of it; not later than that of the first that is."""
    last_index: int = 0
    versions: tuple[Served, ...] = ()
    """Versions that have answered since then, those with most answers first; further ones as `(others)`."""
    inputs: int | None = None
    """Inputs of the source that is named; None if none is."""
    labels: int | None = None
    """Labels of the labeler that is named, or else for the source; None if nobody is."""


class Problem(StrEnum):
    """What an incident is about; a model has at most one open incident of each."""

    DETECTION = "detection"
    """What the detectors found in its events."""
    SILENCE = "silence"
    """Its events stopped."""
    INTAKE = "intake"
    """Records that cannot be decoded; the partition is held."""
    FORGERY = "forgery"
    """Records that nobody who is known has signed."""
    TEST = "test"
    """None: somebody tries a receiver."""
    DESK = "desk"
    """Not everything is told: a silence, or a flood."""


class Judgement(msgspec.Struct, frozen=True):
    """A verdict with its reasons, as the monitor sees them now."""

    verdict: Verdict
    severity: Severity
    onset: Onset
    attribution: Attribution
    evidence: tuple[Evidence, ...]
    action: str | None = None
    """What Tocsin does about it by itself, in one plain sentence."""
    confidence: float | None = None
    """How sure this verdict is and not the next best one, in (0, 1); None of what is seen and not inferred."""
    against: tuple[str, ...] = ()
    """What speaks against it: three clauses at most, the weightiest first."""
    because: str = ""
    """What it rests on, as a clause."""
    radius: Radius | None = None
    """What it is about; how far that reaches is counted when it is reported."""


class Plan(msgspec.Struct, frozen=True):
    """Something that Tocsin means to do, and that people can still answer."""

    incident: str
    """Whose rollback it is; what is told of several incidents has the id of the first."""
    veto: bool
    """True if it will be done at `until` unless somebody denies it, False if it will not unless somebody approves."""
    until: float
    """Epoch seconds of the wall clock."""


class Incident(msgspec.Struct, frozen=True):
    """One problem of one model, as it stands now. Times are epoch seconds of event time."""

    id: str
    model: str
    version: str
    verdict: Verdict
    severity: Severity
    status: Status
    opened_at: float
    updated_at: float
    event_index: int
    """How many predictions and joined labels of the model had been read before the event at which it opened."""
    onset: Onset
    attribution: Attribution
    evidence: tuple[Evidence, ...]
    action: str | None = None
    """What Tocsin did or proposes, in one plain sentence."""
    resolved_at: float | None = None
    problem: Problem = Problem.DETECTION
    transitions: int = 0
    """Steps in its life so far."""
    quiet_since: float | None = None
    """When its evidence went away, while it is held open to see whether it stays away."""
    reopened: int = 0
    """How often it came back after it had resolved."""
    acknowledged_by: str | None = None
    resolved_by: str | None = None
    """Who closed it by hand; None if it ended by itself."""
    plan: Plan | None = None
    """What `action` waits for, if it waits for people."""
    rolled_back_to: str | None = None
    """The version that serves again, once the alias has been moved."""
    related: tuple[str, ...] = ()
    """Other incidents with the same cause, told together with this one: `model verdict`."""
    confidence: float | None = None
    """How sure the verdict is and not the next best one, in (0, 1); None of what is seen and not inferred."""
    against: tuple[str, ...] = ()
    """What speaks against the verdict: three clauses at most, the weightiest first."""
    because: str = ""
    """What the verdict rests on, as a clause."""
    was: Verdict | None = None
    """The verdict before this one, if it was another."""
    radius: Radius | None = None
    """What it may have spoilt, as of its last judgement, or its end; None of what is not found in events."""

    @property
    def flooded(self) -> bool:
        """Whether all that is known is that somebody asks more than before."""
        return self.verdict is Verdict.COVARIATE_DRIFT and {each.family for each in self.evidence} == {"sources"}

    @property
    def unlabelled(self) -> bool:
        """Whether it is about labels that come late, or not at all."""
        who = self.attribution
        anybody = who.source is not None or who.labeler is not None or who.features
        about = self.verdict in (Verdict.DATA_FAULT, Verdict.LABEL_TAMPERING) and not anybody
        return about and any(each.family == "labels" for each in self.evidence)


class Change(StrEnum):
    """What happened to an incident."""

    OPENED = "opened"
    UPDATED = "updated"
    ACTED = "acted"
    """Tocsin did or proposed something about it; `action` says what."""
    ACKNOWLEDGED = "acknowledged"
    REOPENED = "reopened"
    """It had resolved, and came back soon after."""
    REMINDED = "reminded"
    """Nothing happened: it still fires, and nobody has acknowledged it."""
    RESOLVED = "resolved"


class Transition(msgspec.Struct, frozen=True):
    """One step in an incident's life. (incident.id, number) is the same in every replay of the same events."""

    change: Change
    number: int
    incident: Incident

    @property
    def id(self) -> str:
        """A deterministic id, so that a receiver which deduplicates never shows one step twice."""
        return f"{self.incident.id}-{self.number}"
