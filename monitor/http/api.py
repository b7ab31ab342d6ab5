"""The table of the HTTP API: what can be asked of Tocsin, who may ask it, and where the answer comes from."""

from collections.abc import Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Protocol

import msgspec

from alerting.incident import Incident, Status
from monitor.detection.baseline import describe
from monitor.detection.drill import Drilled
from monitor.detection.watch import Watch
from monitor.http.access import Principal
from monitor.http.access_config import Role
from monitor.http.api_changes import Changes, changing
from monitor.http.endpoint import Call, Endpoint, ProblemError
from monitor.http.openapi import document
from monitor.http.views import (
    ActionQuery,
    Actions,
    Audit,
    Audited,
    AuditQuery,
    Drilling,
    IncidentQuery,
    Incidents,
    Me,
    Model,
    Models,
    Reach,
    Timeline,
    Version,
    Versions,
)
from monitor.rollback.action import Action
from monitor.rollback.mark import Mark, because_of
from monitor.rollback.registry import ModelRegistry
from monitor.store.audit import Entry

NOT_FOUND = HTTPStatus.NOT_FOUND
MAX_STEPS = 200
"""Steps of an incident that its timeline has at most, the newest."""


class IncidentLog(Protocol):
    """Where incidents are read; the store."""

    def incidents(
        self,
        *,
        open_only: bool = False,
        models: Collection[str] | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Sequence[Incident]:
        """Incidents, the newest first; see `Store.incidents`."""

    def incident(self, name: str) -> Incident | None:
        """The incident with this id."""


class ActionTable(Protocol):
    """Where rollbacks are read; the store."""

    def all(self) -> Sequence[Action]:
        """Every action, oldest first."""


class MarkTable(Protocol):
    """Where known-good marks are read; the store."""

    def of(self, model: str) -> Mapping[str, Mark]:
        """The marks of one model's versions."""


class AuditLog(Protocol):
    """Where the audit log is read; the store."""

    def entries(self, *, before: int | None = None, limit: int) -> Sequence[Entry]:
        """The newest entries first; `before` this number."""

    def about(self, subject: str, *, limit: int) -> Sequence[Entry]:
        """The newest entries about one thing, by its id; the newest first."""


class Sources(msgspec.Struct, frozen=True):
    """What the API reads from."""

    incidents: IncidentLog
    actions: ActionTable
    audit: AuditLog
    watches: Callable[[], Collection[Watch]]
    """The models that this replica watches now; of a watch only what is replaced as a whole may be read."""
    marks: MarkTable
    drills: Callable[[], Collection[Drilled]]
    """What came of the last drills of this replica."""
    registry: ModelRegistry | None
    """None where no registry is configured."""


def table(sources: Sources, changes: Changes, *further: Endpoint, is_open: bool) -> list[Endpoint]:
    """Every call that there is. The order counts: of two that fit, the first is taken.

    Args:
        sources: where answers come from.
        changes: what can be changed.
        further: calls that only some configurations have.
        is_open: whether everybody may look, for the document.
    """
    ask = _Answers(sources)
    see = Role.VIEWER
    endpoints = [
        Endpoint("GET", "/me", see, "Who you are, and what you may do.", Me, ask.me),
        Endpoint("GET", "/models", see, "The models that this replica watches.", Models, ask.models),
        Endpoint("GET", "/models/{model:path}/versions", see, "Its versions in the registry.", Versions, ask.versions),
        Endpoint("GET", "/models/{model:path}/baseline", see, "What is normal for it.", dict[str, Any], ask.baseline),
        Endpoint("GET", "/models/{model:path}", see, "One model.", Model, ask.model),
        Endpoint("GET", "/drills", see, "Whether simulated faults are found.", Drilling, ask.drills),
        Endpoint("GET", "/incidents", see, "Incidents.", Incidents, ask.incidents, IncidentQuery),
        Endpoint("GET", "/incidents/{incident}", see, "One incident with its evidence.", Incident, ask.incident),
        Endpoint("GET", "/incidents/{incident}/timeline", see, "What was done about it.", Timeline, ask.timeline),
        Endpoint("GET", "/incidents/{incident}/radius", see, "How far it reaches by now.", Reach, ask.radius),
        Endpoint("GET", "/actions", see, "Rollbacks that incidents asked for.", Actions, ask.actions, ActionQuery),
        Endpoint("GET", "/actions/{incident}", see, "The rollback that one incident asked for.", Action, ask.action),
    ]
    endpoints.append(Endpoint("GET", "/audit", Role.ADMIN, "What was done, and by whom.", Audit, ask.audit, AuditQuery))
    endpoints += [*changing(changes), *further]
    made = document(endpoints, is_open=is_open)
    about = Endpoint("GET", "/openapi.json", see, "This document.", dict[str, Any], lambda _call: made)
    return [*endpoints, about]


class _Answers:
    """The answers. A model that somebody may not see does not exist for them: 404, and not 403."""

    def __init__(self, sources: Sources) -> None:
        self._from = sources

    def me(self, call: Call) -> Me:
        who = call.principal
        return Me(who.name, who.role, who.models)

    def models(self, call: Call) -> Models:
        seen = [watch for watch in self._from.watches() if call.principal.sees(watch.model)]
        return Models(sorted(map(_model, seen), key=lambda model: model.name))

    def model(self, call: Call) -> Model:
        return _model(self._watch(call))

    def baseline(self, call: Call) -> dict[str, object]:
        watch = self._watch(call)
        if watch.bank is None:
            raise ProblemError(NOT_FOUND, "the baseline of this model is still being learnt")
        return describe(watch.bank.baseline)

    def versions(self, call: Call) -> Versions:
        model, registry = call.path["model"], self._from.registry
        if not call.principal.sees(model):
            raise ProblemError(NOT_FOUND, "no such model")
        if registry is None:
            raise ProblemError(NOT_FOUND, "there is no model registry in the configuration")
        found, serving = registry.versions(model), registry.current(model).version
        return Versions(
            [
                Version(
                    each.version,
                    each.created,
                    each.ready,
                    each.version == serving,
                    each.digest,
                    each.known_good_at,
                    each.revoked,
                    each.distrusted,
                )
                for each in found
            ]
        )

    def drills(self, call: Call) -> Drilling:
        return Drilling([drilled for drilled in self._from.drills() if call.principal.sees(drilled.model)])

    def incidents(self, call: Call) -> Incidents:
        query: IncidentQuery = call.query
        models = _models(call.principal, query.model)
        found = self._from.incidents.incidents(
            open_only=query.open_only, models=models, after=query.after, limit=query.limit + 1
        )
        page = list(found[: query.limit])
        return Incidents(page, page[-1].id if len(found) > query.limit else None)

    def incident(self, call: Call) -> Incident:
        found = self._from.incidents.incident(call.path["incident"])
        if found is None or not call.principal.sees(found.model):
            raise ProblemError(NOT_FOUND, "no such incident")
        return found

    def timeline(self, call: Call) -> Timeline:
        entries = self._from.audit.about(self.incident(call).id, limit=MAX_STEPS)
        return Timeline([entry.act for entry in reversed(entries)])

    def radius(self, call: Call) -> Reach:
        incident = self.incident(call)
        watch = next((watch for watch in self._from.watches() if watch.model == incident.model), None)
        lasts = incident.status is not Status.RESOLVED and incident.quiet_since is None
        found = incident.radius
        now = watch.reach(incident) if watch is not None and lasts else None
        if found is not None and now is not None and now.last_index > found.last_index:
            found = now  # what a watch knows of that began anew is less than what was told
        marks, why = self._from.marks.of(incident.model), because_of(incident.id)
        return Reach(found, sorted(mark.version for mark in marks.values() if mark.withdrawn and mark.why == why))

    def actions(self, call: Call) -> Actions:
        query: ActionQuery = call.query
        found = [
            action
            for action in reversed(self._from.actions.all())
            if call.principal.sees(action.model)
            and query.model in (None, action.model)
            and query.state in (None, action.state)
        ]
        if query.after is not None:
            names = [action.incident for action in found]
            found = found[names.index(query.after) + 1 :] if query.after in names else []
        page = found[: query.limit]
        return Actions(page, page[-1].incident if len(found) > query.limit else None)

    def action(self, call: Call) -> Action:
        for action in self._from.actions.all():
            if action.incident == call.path["incident"] and call.principal.sees(action.model):
                return action
        raise ProblemError(NOT_FOUND, "no rollback was asked for by such an incident")

    def audit(self, call: Call) -> Audit:
        if call.principal.models is not None:
            raise ProblemError(HTTPStatus.FORBIDDEN, "the audit log is about all models, and this token is not")
        query: AuditQuery = call.query
        found = self._from.audit.entries(before=query.after, limit=query.limit + 1)
        page = [Audited(entry.number, entry.digest, entry.act) for entry in found[: query.limit]]
        return Audit(page, page[-1].number if len(found) > query.limit else None)

    def _watch(self, call: Call) -> Watch:
        for watch in self._from.watches():
            if watch.model == call.path["model"] and call.principal.sees(watch.model):
                return watch
        raise ProblemError(NOT_FOUND, "no such model is watched here")


def _model(watch: Watch) -> Model:
    bank = watch.bank
    newest = watch.newest if watch.newest > 0 else None
    return Model(watch.model, bank is None, watch.events, watch.learnt, newest, None if bank is None else bank.digest)


def _models(who: Principal, wanted: str | None) -> Collection[str] | None:
    """The models to look for; None for all."""
    if wanted is None:
        return who.models
    return [wanted] if who.sees(wanted) else []
