"""What the console shows and does: each page is made of answers of the API, and each change is a call of it.

So there is no second truth about who may see or do what, and no second path to a change.
"""

import secrets
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

import msgspec
from starlette.requests import Request

from alerting.incident import Incident, Status
from alerting.message import duration, instant
from monitor.http.access import Access, Principal
from monitor.http.endpoint import Call, Endpoint, ProblemError, in_words
from monitor.http.page import charts, told
from monitor.http.rendering import Page, safe
from monitor.http.views import AuditQuery, IncidentQuery, NewSilence
from monitor.pictures.exhibit import Exhibit
from monitor.rollback.action import Action
from monitor.rollback.consent import ANSWERABLE, DENIABLE, awaited
from monitor.rollback.registry import RegistryError

ON_PAGE = 50
"""Incidents, or entries of the audit log, on one page."""
NOT_FOUND = HTTPStatus.NOT_FOUND


class Exhibits(Protocol):
    """Where what stood behind an incident is read; the store."""

    def exhibit(self, incident: str) -> Exhibit | None:
        """What stood behind it when it was told last."""


class Ask:
    """The calls of the API, made by somebody who is known."""

    def __init__(self, table: Mapping[tuple[str, str], Endpoint], access: Access, who: Principal) -> None:
        """`table` is that of the API, by method and path."""
        self.who = who
        self._table = table
        self._access = access

    def may(self, method: str, path: str) -> bool:
        """Whether a call would be allowed."""
        endpoint = self._table[method, path]
        return self.who.role.may(endpoint.role) and not (endpoint.changes and self._access.is_open)

    def __call__(
        self,
        method: str,
        path: str,
        at: Mapping[str, str] | None = None,
        query: msgspec.Struct | None = None,
        body: Callable[[], msgspec.Struct] | None = None,
        key: str | None = None,
    ) -> Any:  # noqa: ANN401 - each call has an answer of its own
        """Make a call, with what its path names, and `key` as the one that makes it happen once.

        `body` is asked only for whoever may make the call.

        Raises:
            RefusedError: they may not.
            ProblemError: it cannot be answered; or StoreError, or RegistryError.
        """
        endpoint = self._table[method, path]
        self._access.permit(self.who, endpoint.role, changes=endpoint.changes)
        return endpoint.handle(Call(self.who, dict(at or {}), query or endpoint.query(), body and body(), key))


class Deed(msgspec.Struct, frozen=True):
    """Something that can be done about an incident."""

    call: str
    """The path of the call of the API that does it."""
    title: str
    says: str
    """What comes of it."""


DEEDS = {
    "approve": Deed(
        "/actions/{incident}/approve",
        "Approve",
        "The daemon checks everything anew, and then moves the alias, at once.",
    ),
    "deny": Deed(
        "/actions/{incident}/deny", "Deny", "This is final: nothing will be rolled back because of this incident."
    ),
    "acknowledge": Deed(
        "/incidents/{incident}/acknowledge",
        "Acknowledge",
        "You look after it. There are no more reminders, unless it becomes worse.",
    ),
    "silence": Deed("/silences", "Silence", "Messages are held back for a while; that they are is told."),
    "resolve": Deed(
        "/incidents/{incident}/resolve", "Close", "It is over, by your word. It comes back if something new alarms."
    ),
}
_ANSWERS = ("approve", "deny")
"""What is said to a rollback, and has to be said about the version that was shown."""
END = Deed("/silences/{silence}/expire", "End it", "From now on everything is told again.")


class Rooms:
    """The pages. Each takes who asks and the request; errors are those of `Ask`."""

    def __init__(self, exhibits: Exhibits, clock: Callable[[], float]) -> None:
        """`clock` gives epoch seconds."""
        self._exhibits = exhibits
        self._clock = clock

    def incidents(self, ask: Ask, request: Request) -> Page:
        """Incidents, the newest first."""
        everything = request.query_params.get("all") == "1"
        after = request.query_params.get("after")
        found = ask("GET", "/incidents", query=IncidentQuery(open_only=not everything, limit=ON_PAGE, after=after))
        listed = [(incident, told(incident)) for incident in found.incidents]
        return Page("incidents.html", {"incidents": listed, "next": found.next, "all": everything})

    def incident(self, ask: Ask, request: Request) -> Page:
        """One incident, with its evidence, its rollback, and what can be done about it."""
        at = request.path_params
        incident: Incident = ask("GET", "/incidents/{incident}", at)
        action, words = _action(ask, at), told(incident)
        facts = [("Status", words.status), ("Since", words.since), *words.who, ("How sure", words.sure)]
        facts += [("What Tocsin did", "" if action else words.action), ("What to do", words.next)]
        possible = [
            (name, deed)
            for name, deed in DEEDS.items()
            if ask.may("POST", deed.call) and _fits(name, incident, action, ask.who)
        ]
        return Page(
            "incident.html",
            {
                "incident": incident,
                "words": words,
                "facts": facts,
                "action": action,
                "left": None if action is None else _left(action, self._clock()),
                "deeds": possible,
                "charts": [safe(chart) for chart in charts(incident, self._exhibits.exhibit(incident.id))],
                "acts": ask("GET", "/incidents/{incident}/timeline", at).acts,
            },
        )

    def models(self, ask: Ask, request: Request) -> Page:
        """The models that are watched; or the one that is asked for, whose name may be any text."""
        name = request.query_params.get("model")
        if name is None:
            return Page("models.html", {"models": ask("GET", "/models").models})
        at = {"model": name}
        model = ask("GET", "/models/{model:path}", at)
        baseline = None if model.learning else ask("GET", "/models/{model:path}/baseline", at)
        facts = {"model": model, "baseline": baseline, "versions": (), "why": None}
        try:
            facts["versions"] = ask("GET", "/models/{model:path}/versions", at).versions
        except (ProblemError, RegistryError) as error:  # the rest is there all the same
            facts["why"] = str(in_words(error))
        return Page("model.html", facts)

    def silences(self, ask: Ask, _request: Request) -> Page:
        """Silences in force."""
        return Page("silences.html", {"silences": ask("GET", "/silences").silences})

    def audit(self, ask: Ask, request: Request) -> Page:
        """What was done, and by whom."""
        after = request.query_params.get("after", "")
        before = int(after) if after.isascii() and after.isdigit() and len(after) < 16 else None
        found = ask("GET", "/audit", query=AuditQuery(limit=ON_PAGE, after=before))
        return Page("audit.html", {"entries": found.entries, "next": found.next})

    def confirm(self, ask: Ask, request: Request) -> Page:
        """What is about to be done about an incident, before it is."""
        name, at = request.path_params["deed"], request.path_params
        incident: Incident = ask("GET", "/incidents/{incident}", at)
        action = _action(ask, at)
        deed = DEEDS.get(name)
        if deed is None or not ask.may("POST", deed.call) or not _fits(name, incident, action, ask.who):
            raise ProblemError(NOT_FOUND, "this cannot be done here, or not any more")
        about, words, target = f"{incident.model} {incident.version}: {incident.verdict}", told(incident).headline, ""
        if action is not None and name in _ANSWERS:
            target = action.to_version or ""
            about, words = f"{incident.model}: {action.from_version} to {target or 'no version yet'}", action.reason
        matchers = [f"model={incident.model}", f"verdict={incident.verdict}"] if name == "silence" else []
        back = f"/console/incidents/{incident.id}"
        return _confirmation(deed, about, words, back, matchers, target)

    def confirm_end(self, ask: Ask, request: Request) -> Page:
        """The silence that is about to be ended."""
        for silence in ask("GET", "/silences").silences:
            if silence.id == request.path_params["silence"] and ask.may("POST", END.call):
                return _confirmation(END, ", ".join(silence.matchers), silence.comment, "/console/silences", [])
        raise ProblemError(NOT_FOUND, "no such silence is in force, or you cannot end it")

    def do(self, ask: Ask, request: Request, given: Mapping[str, str]) -> str:
        """Do something about an incident; return where to go then."""
        deed = DEEDS.get(request.path_params["deed"])
        if deed is None:
            raise ProblemError(NOT_FOUND, "there is no such thing to do")
        body = partial(_silence, given) if deed.call == "/silences" else None
        at = {"incident": request.path_params["incident"]}
        if request.path_params["deed"] in _ANSWERS:
            action = _action(ask, at)
            if action is not None and given.get("target") != (action.to_version or ""):
                raise ProblemError(HTTPStatus.CONFLICT, "it is about another version by now; look again")
        ask("POST", deed.call, at, body=body, key=given["key"])
        return f"/console/incidents/{at['incident']}"

    def end(self, ask: Ask, request: Request, given: Mapping[str, str]) -> str:
        """End a silence; return where to go then."""
        ask("POST", END.call, request.path_params, key=given["key"])
        return "/console/silences"


def _confirmation(deed: Deed, about: str, words: str, back: str, matchers: list[str], target: str = "") -> Page:
    # Sent twice, by two clicks or a page that is loaded again, a form is one change.
    facts = {"deed": deed, "about": about, "words": words, "back": back, "matchers": matchers, "target": target}
    return Page("confirm.html", facts | {"key": secrets.token_urlsafe(24)})


def _action(ask: Ask, at: Mapping[str, str]) -> Action | None:
    """The rollback of an incident, if it has asked for one."""
    try:
        found: Action = ask("GET", "/actions/{incident}", at)
    except ProblemError:  # the incident is there, so it has not asked for one
        return None
    return found


def _fits(name: str, incident: Incident, action: Action | None, who: Principal) -> bool:
    """Whether something can be done about an incident as it stands."""
    match name:
        case "approve":
            return action is not None and action.state in ANSWERABLE and who.name not in action.approvals
        case "deny":
            return action is not None and action.state in DENIABLE
        case "acknowledge":
            return incident.status is Status.FIRING
    return incident.status is not Status.RESOLVED


def _left(action: Action, now: float) -> str | None:
    """How long people can still answer."""
    plan = awaited(action)
    if plan is None:
        return None
    if now >= plan.until:
        return f"It was to be answered until {instant(plan.until)}."
    word = "veto" if plan.veto else "approve"
    return f"{duration(plan.until - now)} left to {word} it, until {instant(plan.until)}"


def _silence(given: Mapping[str, str]) -> NewSilence:
    wanted = {
        "matchers": [line.strip() for line in given.get("matchers", "").splitlines() if line.strip()],
        "seconds": given.get("seconds", ""),
        "comment": given.get("comment", ""),
    }
    try:
        return msgspec.convert(wanted, NewSilence, strict=False)
    except msgspec.ValidationError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, str(error)) from error
