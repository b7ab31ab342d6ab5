"""What can be changed over the API: incidents, silences, rollbacks. Each change is in the audit log with its author."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Protocol

import msgspec

from alerting.decision import Decision, Verb
from alerting.incident import Incident, Status
from alerting.mutes import Label, Silence, silence
from monitor.http.access import Principal
from monitor.http.access_config import Role
from monitor.http.endpoint import Call, Endpoint, ProblemError
from monitor.http.once import Replies, once
from monitor.http.views import NewSilence, Silences, SilenceView, Vouching
from monitor.rollback.action import Action
from monitor.rollback.config import RollbackConfig
from monitor.rollback.consent import approve, deny
from monitor.rollback.known_good import VouchError
from monitor.rollback.mark import Mark

CONFLICT, NOT_FOUND = HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND


class IncidentLog(Protocol):
    """Where incidents are read; the store."""

    def incident(self, name: str) -> Incident | None:
        """The incident with this id."""


class Desk(Protocol):
    """Where people leave what they decide; the store."""

    def silences(self, after: float) -> Sequence[Silence]:
        """Silences that end after this."""

    def save(self, silence: Silence) -> None:
        """Insert or replace a silence."""

    def decide(self, decision: Decision) -> None:
        """Leave a decision for the daemon."""


class Approvals(Protocol):
    """The rollbacks, as people decide about them; the store."""

    def all(self) -> Sequence[Action]:
        """Every action."""

    def advance(self, before: Action, after: Action) -> bool:
        """Replace `before` by `after`; False if it is not `before` any more."""


class Voucher(Protocol):
    """Who takes people's word that a version is good; see `monitor.rollback.known_good.Marker`."""

    def vouch(self, model: str, name: str, *, by: str, why: str) -> Mark:
        """Take one's word. Raises VouchError or RegistryError."""


class Changes(msgspec.Struct, frozen=True):
    """What the API changes."""

    incidents: IncidentLog
    desk: Desk
    approvals: Approvals
    rollback: RollbackConfig
    replies: Replies
    new_id: Callable[[], str]
    clock: Callable[[], float]
    """Epoch seconds."""
    voucher: Voucher | None
    """None where no registry is configured."""


def changing(changes: Changes) -> list[Endpoint]:
    """The rows of the table that change something."""
    do = _Doing(changes)

    def change(path: str, role: Role, summary: str, answer: type, handle: Callable[[Call], object]) -> Endpoint:
        return Endpoint("POST", path, role, summary, answer, once(path, handle, changes.replies, changes.clock))

    of_incident, of_action, care, say = "/incidents/{incident}", "/actions/{incident}", Role.OPERATOR, Role.APPROVER
    vouch = change("/known-good", say, "Vouch for a version.", Mark, do.vouch)
    silence = change("/silences", care, "Hold back messages for a while.", SilenceView, do.silence)
    return [
        change(f"{of_incident}/acknowledge", care, "Look after it.", Decision, do.decision(Verb.ACKNOWLEDGE)),
        change(f"{of_incident}/resolve", care, "Close it by hand.", Decision, do.decision(Verb.RESOLVE)),
        Endpoint("GET", "/silences", Role.VIEWER, "Silences in force.", Silences, do.silences),
        msgspec.structs.replace(silence, body=NewSilence),
        change("/silences/{silence}/expire", care, "End it before its time.", SilenceView, do.expire),
        change(f"{of_action}/approve", say, "Say yes to it.", Action, do.approve),
        change(f"{of_action}/deny", say, "Say no to it, for good.", Action, do.deny),
        msgspec.structs.replace(vouch, body=Vouching),
    ]


class _Doing:
    """The changes. What somebody may not see does not exist for them."""

    def __init__(self, changes: Changes) -> None:
        self._in = changes

    def decision(self, verb: Verb) -> Callable[[Call], Decision]:
        """Leave a decision about an incident; the daemon takes it up with its next commit."""

        def decide(call: Call) -> Decision:
            found = self._in.incidents.incident(call.path["incident"])
            if found is None or not call.principal.sees(found.model):
                raise ProblemError(NOT_FOUND, "no such incident")
            if found.status is Status.RESOLVED:
                raise ProblemError(CONFLICT, "it is resolved already")
            made = Decision(self._in.new_id(), found.id, verb, call.principal.name, self._in.clock())
            self._in.desk.decide(made)
            return made

        return decide

    def silences(self, call: Call) -> Silences:
        found = self._in.desk.silences(self._in.clock())
        return Silences([_view(each) for each in found if _reaches(call.principal, each)])

    def silence(self, call: Call) -> SilenceView:
        wanted: NewSilence = call.body
        author, now = call.principal.name, self._in.clock()
        try:
            made = silence(wanted.matchers, author=author, comment=wanted.comment, now=now, seconds=wanted.seconds)
        except ValueError as error:
            raise ProblemError(HTTPStatus.BAD_REQUEST, str(error)) from error
        if not _reaches(call.principal, made):
            raise ProblemError(HTTPStatus.BAD_REQUEST, "one matcher has to be model=NAME, with a model of this token")
        self._in.desk.save(made)
        return _view(made)

    def expire(self, call: Call) -> SilenceView:
        now = self._in.clock()
        for found in self._in.desk.silences(now):
            if found.id == call.path["silence"] and _reaches(call.principal, found):
                ended = msgspec.structs.replace(found, ends_at=now, expired_by=call.principal.name)
                self._in.desk.save(ended)
                return _view(ended)
        raise ProblemError(NOT_FOUND, "no such silence is in force")

    def approve(self, call: Call) -> Action:
        return self._answer(call, lambda action, by, now: approve(action, by=by, config=self._in.rollback, now=now))

    def deny(self, call: Call) -> Action:
        return self._answer(call, lambda action, by, now: deny(action, by=by, now=now))

    def vouch(self, call: Call) -> Mark:
        said: Vouching = call.body
        if not call.principal.sees(said.model):
            raise ProblemError(NOT_FOUND, "no such model")
        if self._in.voucher is None:
            raise ProblemError(NOT_FOUND, "there is no model registry in the configuration")
        try:
            return self._in.voucher.vouch(said.model, said.version, by=call.principal.name, why=said.why)
        except VouchError as error:
            raise ProblemError(CONFLICT, str(error)) from error

    def _answer(self, call: Call, say: Callable[[Action, str, float], Action]) -> Action:
        for action in self._in.approvals.all():
            if action.incident == call.path["incident"] and call.principal.sees(action.model):
                break
        else:
            raise ProblemError(NOT_FOUND, "no rollback was asked for by such an incident")
        try:
            said = say(action, call.principal.name, self._in.clock())
        except ValueError as error:
            raise ProblemError(CONFLICT, str(error)) from error
        if not self._in.approvals.advance(action, said):
            raise ProblemError(CONFLICT, "it has changed meanwhile; look again")
        return said


def _reaches(who: Principal, found: Silence) -> bool:
    """Whether a silence is about models of somebody only."""
    named = [each.pattern for each in found.matchers if each.label is Label.MODEL and not each.negated]
    return who.models is None or any(name in who.models for name in named)


def _view(found: Silence) -> SilenceView:
    matchers = [str(matcher) for matcher in found.matchers]
    times = found.starts_at, found.ends_at
    return SilenceView(found.id, matchers, *times, found.author, found.comment, found.expired_by)
