"""What travels over the API: questions and answers that are not values of the daemon itself."""

from typing import Annotated

import msgspec

from alerting.incident import Incident, Radius
from alerting.mutes import LONGEST, Label
from monitor.detection.drill import Drilled
from monitor.http.access_config import Role
from monitor.rollback.action import Action, ActionState
from monitor.store.audit import Act

MAX_PAGE = 1000
"""Things on one page at most."""

Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE, description="So many at most.")]
After = Annotated[str, msgspec.Meta(description="Go on after the page that had this as `next`.")]
Condition = Annotated[
    str,
    msgspec.Meta(
        pattern=rf"^({'|'.join(Label)})!?=[\s\S]",
        max_length=500,
        description="Such as `model=net-ids`, `verdict=*drift` or `source!=lab-?`.",
    ),
]
OfModel = Annotated[str, msgspec.Meta(description="Of this model only.")]


class Model(msgspec.Struct, frozen=True):
    """A model that is watched."""

    name: str
    learning: bool
    """Whether its baseline is still being learnt from the stream."""
    events: int
    """Predictions, features and joined labels so far."""
    learnt: int
    """Of these, what the baseline has so far, while it is being learnt."""
    last_event: float | None
    """The newest event time."""
    baseline: str | None
    """The digest of the baseline in use."""


class Version(msgspec.Struct, frozen=True):
    """A version in the model registry."""

    version: str
    created: float
    ready: bool
    serving: bool
    """Whether the serving alias is at it."""
    digest: str | None
    known_good_at: float | None
    revoked: bool
    distrusted: str | None
    """Why its mark does not count, as a clause; null if it does, or if there is none."""


class Me(msgspec.Struct, frozen=True):
    """Whoever is asking."""

    name: str
    role: Role
    models: tuple[str, ...] | None


class Models(msgspec.Struct, frozen=True):
    """Models by name."""

    models: list[Model]


class Versions(msgspec.Struct, frozen=True):
    """Versions of a model, the newest first."""

    versions: list[Version]


class Drilling(msgspec.Struct, frozen=True):
    """What came of the last drill of each kind, by model."""

    drills: list[Drilled]


class Incidents(msgspec.Struct, frozen=True):
    """A page of incidents, the newest first."""

    incidents: list[Incident]
    next: str | None
    """What `after` has to be for the next page; null on the last one."""


class Actions(msgspec.Struct, frozen=True):
    """A page of rollbacks, the newest first."""

    actions: list[Action]
    next: str | None


class Timeline(msgspec.Struct, frozen=True):
    """What has happened to an incident and its rollback, and who did it, the oldest first."""

    acts: list[Act]


class Reach(msgspec.Struct, frozen=True):
    """How far an incident reaches."""

    radius: Radius | None
    """Counted up to now, where this replica watches the model and it is not over; else as it was told last."""
    withdrawn: list[str]
    """Versions whose known-good marks were taken back because of it."""


class Audited(msgspec.Struct, frozen=True):
    """One entry of the audit log."""

    number: int
    digest: str
    act: Act


class Audit(msgspec.Struct, frozen=True):
    """A page of the audit log, the newest entry first."""

    entries: list[Audited]
    next: int | None


class IncidentQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which incidents."""

    open_only: Annotated[bool, msgspec.Meta(description="Without those that are over.")] = False
    model: OfModel | None = None
    limit: Limit = 100
    after: After | None = None


class ActionQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which rollbacks."""

    model: OfModel | None = None
    state: ActionState | None = None
    limit: Limit = 100
    after: After | None = None


class AuditQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries."""

    limit: Limit = 100
    after: Annotated[int, msgspec.Meta(ge=1, description="Go on after the page that had this as `next`.")] | None = None


class NewSilence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A silence to begin now."""

    matchers: Annotated[
        list[Condition], msgspec.Meta(min_length=1, max_length=20, description="All of them must hold.")
    ]
    seconds: Annotated[float, msgspec.Meta(ge=1, le=LONGEST, description="How long.")]
    comment: Annotated[str, msgspec.Meta(pattern=r"\S", max_length=300, description="Why.")]


class Vouching(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody's word that a version is good."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    version: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    why: Annotated[str, msgspec.Meta(pattern=r"\S", max_length=300, description="What makes sure that it is.")]


class SilenceView(msgspec.Struct, frozen=True):
    """A silence."""

    id: str
    matchers: list[str]
    starts_at: float
    ends_at: float
    author: str
    comment: str
    expired_by: str | None


class Silences(msgspec.Struct, frozen=True):
    """Silences in force, the one that ends first first."""

    silences: list[SilenceView]
