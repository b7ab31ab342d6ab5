"""The life of a known-good mark: given after a soak, taken back when the version turns out to be part of a trouble.

Marks normally come from a release process. Where `known_good.soak` is configured, Tocsin vouches for the version that
serves once it has served long enough, to enough people, without an incident; it vouches for no more than that. People
can vouch as well. A version is marked once as many have vouched for it as `known_good.vouchers` says.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Protocol, Self

import structlog
from pydantic import Field, FilePath, model_validator

from alerting.incident import Incident, Severity, Status
from alerting.section import Secret, Section
from monitor.detection.answers import Answered, Answers
from monitor.rollback.action import Action
from monitor.rollback.mark import TOCSIN, Mark, because_of, vouched
from monitor.rollback.registry import ModelRegistry, ModelVersion, Pin, RegistryError

_log = structlog.get_logger(__name__)

Sign = Callable[[str, str, float, str | None], str]
"""From model, version, time and digest to a signature."""


class Golden(Section):
    """A golden set: inputs of certain truth, which somebody sends to every version under a source of their own."""

    source: str = Field(min_length=1, max_length=256)
    labels: int = Field(default=100, ge=1)
    """Labelled answers to it that a version must have given."""
    max_wrong: float = Field(default=0.05, ge=0, lt=1)
    """The share of them that may be wrong."""


class Soak(Section):
    """What a version must have gone through before Tocsin marks it."""

    seconds: float = Field(default=3 * 86400.0, gt=0)
    """Of event time, from its first answer to its newest one."""
    predictions: int = Field(default=1000, ge=1)
    labels: int = Field(default=200, ge=1)
    golden: Golden | None = None


class KnownGoodConfig(Section):
    """The section `known_good`."""

    soak: Soak | None = None
    """Without it Tocsin gives no marks; your release process does."""
    key: Secret | None = None
    """The Ed25519 private key (PEM) that Tocsin signs its own marks with."""
    public_key: FilePath | None = None
    """With it, only marks count that are signed by its owner (PEM); that may be Tocsin or your release process."""
    vouchers: int = Field(default=1, ge=1, le=5)
    """How many have to vouch for a version, each under another name. The soak is one, as is a release process; the
    others are people."""

    @model_validator(mode="after")
    def _marks_that_count(self) -> Self:
        if self.soak is not None and self.public_key is not None and self.key is None:
            raise ValueError("with `public_key`, marks after a `soak` need a `key` to be signed with")
        return self


class VouchError(Exception):
    """Somebody's word for a version cannot be taken; one clear line."""


class Marks(Protocol):
    """Where marks are remembered; see `monitor.store.mark_table`."""

    def of(self, model: str) -> dict[str, Mark]:
        """The marks of one model's versions."""

    def put(self, mark: Mark) -> None:
        """Remember a mark."""


def unsoaked(version: ModelVersion, answers: Answers, incidents: Iterable[Incident], soak: Soak) -> Iterator[str]:
    """What a version still lacks for a mark, one clause each.

    Args:
        version: As the registry has it.
        answers: What the versions of its model have answered.
        incidents: All of its model, over or not.
        soak: What it has to go through.
    """
    answered = answers.of(version.version)
    if answered is None:
        yield "it has not answered anything"
        return
    if answered.last - answered.first < soak.seconds:
        yield f"it has served for less than {soak.seconds:g} seconds"
    if answered.predictions < soak.predictions:
        yield f"it has given fewer than {soak.predictions} answers"
    if answered.labels < soak.labels:
        yield f"fewer than {soak.labels} of its answers have labels"
    if soak.golden is not None:
        yield from _tarnished(answered, soak.golden)
    if version.revoked or not version.ready:
        yield "it is revoked, or not ready"
    for incident in incidents:
        lasts = incident.status is not Status.RESOLVED or (incident.resolved_at or 0.0) >= answered.first
        if lasts and incident.severity is not Severity.INFO:
            yield f"there was an incident while it served ({incident.id})"
            return


def _tarnished(answered: Answered, golden: Golden) -> Iterator[str]:
    """What a version lacks of the golden set."""
    outcomes = answered.sources.get(golden.source, {})
    labels = sum(sum(predicted.values()) for predicted in outcomes.values())
    wrong = labels - sum(predicted.get(label, 0) for label, predicted in outcomes.items())
    if labels < golden.labels:
        yield f"it has answered fewer than {golden.labels} of the golden set"
    elif wrong > golden.max_wrong * labels:
        yield f"{wrong} of {labels} answers to the golden set were wrong"


def tainted(version: ModelVersion, action: Action) -> bool:
    """Whether a rollback that was done speaks against a version: it was the bad one, or marked after the onset."""
    if version.version == action.to_version:
        return False
    marked_since = version.known_good_at is not None and version.known_good_at >= action.onset_low
    return version.version == action.from_version or marked_since


class Marker:
    """Gives marks and takes them back. Call `run_once` from one thread only; `vouch` is for commands beside it.

    Args:
        registry: Where marks are read by everybody.
        marks: Where they are remembered, whatever happens to the registry.
        known: From a model to what its versions have answered, and to its incidents.
        acted: The rollbacks that were done.
        soak: None to give none.
        sign: How marks are signed; None not to.
        vouchers: How many have to vouch for a version before it is marked.
        clock: Epoch seconds of the wall clock.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        marks: Marks,
        known: Callable[[str], tuple[Answers, list[Incident]]],
        acted: Callable[[], Iterable[Action]],
        *,
        soak: Soak | None,
        sign: Sign | None,
        vouchers: int = 1,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._marks = marks
        self._known = known
        self._acted = acted
        self._soak = soak
        self._sign = sign
        self._vouchers = vouchers
        self._clock = clock

    def run_once(self, models: Iterable[str]) -> None:
        """Look at every model; one whose registry does not answer is looked at the next time."""
        done = list(self._acted())
        for model in sorted({*models, *(action.model for action in done)}):
            try:
                for action in done:
                    if action.model == model:
                        self._withdraw(action)
                if self._soak is not None:
                    self._give(model, self._soak)
            except RegistryError as error:
                _log.warning("marks_wait", model=model, why=str(error))

    def _withdraw(self, action: Action) -> None:
        """Take back what was found to be bad, once; a mark that somebody gives after the rollback stays."""
        marks, moved_at = self._marks.of(action.model), action.moved_at or action.updated_at
        bad = marks.get(action.from_version)
        if bad is not None and bad.at >= moved_at:
            return  # done before
        # The bad one comes last: its mark says that all of this is done.
        for version in sorted(self._registry.versions(action.model), key=lambda v: v.version == action.from_version):
            known = marks.get(version.version)
            judged = known is not None and known.at >= moved_at
            if judged or not tainted(version, action):
                continue
            why = because_of(action.incident)
            if version.version == action.from_version:
                self._pin(action)
            self._marks.put(Mark(action.model, version.version, self._clock(), why=why, withdrawn=True))
            if version.known_good_at is not None:
                self._registry.mark(action.model, version.version, known_good_at=None)
            _log.warning("known_good_withdrawn", model=action.model, version=version.version, why=why)

    def _pin(self, action: Action) -> None:
        """Tell whoever trains and promotes; a registry that will never take it must not keep marks from being lost."""
        since = datetime.fromtimestamp(action.onset_low, UTC)
        try:
            self._registry.pin(action.model, Pin(action.incident, str(action.to_version), since))
        except RegistryError as error:
            if error.passing:
                raise
            _log.error("pin_refused", model=action.model, why=str(error))
        else:
            _log.warning("pinned", model=action.model, incident=action.incident, suspect_since=since.isoformat())

    def _give(self, model: str, soak: Soak) -> None:
        """Mark the version that serves, if it has gone through everything and was never marked or convicted."""
        version = self._registry.current(model)
        if version.known_good_at is not None or version.version in self._marks.of(model):
            return
        answers, incidents = self._known(model)
        if any(unsoaked(version, answers, incidents, soak)):
            return
        why = f"{soak.seconds:g} seconds, {soak.predictions} answers and {soak.labels} labels without an incident"
        try:
            mark = self._take(version, (TOCSIN,), why)
        except VouchError as error:
            _log.error("known_good_refused", model=model, version=version.version, why=str(error))
        else:
            told = "known_good_proposed" if mark.proposed else "known_good"
            _log.info(told, model=model, version=version.version, why=why)

    def vouch(self, model: str, name: str, *, by: str, why: str) -> Mark:
        """Take a person's word that a version is good, one that was convicted too; enough of them, and it is marked.

        Raises:
            VouchError: There is no such version, it cannot serve, it was changed, or this person has vouched already.
            RegistryError: The registry is away, or refuses.
        """
        version = next((found for found in self._registry.versions(model) if found.version == name), None)
        if version is None:
            raise VouchError(f"{model} has no version {name}")
        if version.revoked or not version.ready:
            raise VouchError("it is revoked, or not ready")
        before = vouched(version, self._marks.of(model).get(name))
        if by in before:
            raise VouchError(f"{by} has vouched for it already; somebody else has to")
        return self._take(version, (*before, by), why)

    def _take(self, version: ModelVersion, vouchers: tuple[str, ...], why: str) -> Mark:
        """Remember who has vouched for a version, and mark it if they are enough."""
        model, name, now = version.model, version.version, self._clock()
        found = self._registry.artefact_digest(model, name)
        if version.digest is not None and found is not None and found != version.digest:
            raise VouchError("its artefact was changed")
        signature, proposed = None, len(vouchers) < self._vouchers
        if not proposed:
            signature = None if self._sign is None else self._sign(model, name, now, version.digest)
            self._registry.mark(model, name, known_good_at=now, signature=signature)
        digest = found or version.digest
        mark = Mark(model, name, now, digest, why, signature=signature, vouchers=vouchers, proposed=proposed)
        self._marks.put(mark)
        return mark
