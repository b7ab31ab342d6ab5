"""What can be done in the console: a page that asks whether somebody means it, and then a call of the API."""

import secrets
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from starlette.requests import Request

from alerting.incident import Incident, Status
from monitor.http.access import Principal
from monitor.http.ask import Ask
from monitor.http.endpoint import ProblemError
from monitor.http.page import told
from monitor.http.rendering import Page
from monitor.http.views import NewSilence, Vouching
from monitor.rollback.action import Action
from monitor.rollback.consent import ANSWERABLE, DENIABLE

Body = TypeVar("Body", bound=msgspec.Struct)
NOT_FOUND = HTTPStatus.NOT_FOUND


class Deed(msgspec.Struct, frozen=True):
    """Something that can be done."""

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
VOUCH = Deed(
    "/known-good",
    "Vouch",
    "You give your word that it is good. Once enough people have, a rollback may put it into service.",
)
END = Deed("/silences/{silence}/expire", "End it", "From now on everything is told again.")


def confirm(ask: Ask, request: Request) -> Page:
    """What is about to be done about an incident, before it is."""
    name, at = request.path_params["deed"], request.path_params
    incident: Incident = ask("GET", "/incidents/{incident}", at)
    action = action_of(ask, at)
    deed = DEEDS.get(name)
    if deed is None or not ask.may("POST", deed.call) or not fits(name, incident, action, ask.who):
        raise ProblemError(NOT_FOUND, "this cannot be done here, or not any more")
    about, words, target = f"{incident.model} {incident.version}: {incident.verdict}", told(incident).headline, ""
    if action is not None and name in _ANSWERS:
        target = action.to_version or ""
        about, words = f"{incident.model}: {action.from_version} to {target or 'no version yet'}", action.reason
    matchers = [f"model={incident.model}", f"verdict={incident.verdict}"] if name == "silence" else []
    back = f"/console/incidents/{incident.id}"
    return _confirmation(deed, about, words, back, matchers, target)


def confirm_end(ask: Ask, request: Request) -> Page:
    """The silence that is about to be ended."""
    for silence in ask("GET", "/silences").silences:
        if silence.id == request.path_params["silence"] and ask.may("POST", END.call):
            return _confirmation(END, ", ".join(silence.matchers), silence.comment, "/console/silences", [])
    raise ProblemError(NOT_FOUND, "no such silence is in force, or you cannot end it")


def confirm_vouch(ask: Ask, request: Request) -> Page:
    """The version that somebody is about to vouch for."""
    at = _version(request)
    back = f"/console/models?model={quote(at['model'], safe='')}"
    for version in ask("GET", "/models/{model:path}/versions", at).versions:
        if version.version == at["version"] and ask.may("POST", VOUCH.call):
            return _confirmation(VOUCH, f"{at['model']} {version.version}", version.distrusted or "", back, [])
    raise ProblemError(NOT_FOUND, "there is no such version, or you cannot vouch for it")


def vouch(ask: Ask, request: Request, given: Mapping[str, str]) -> str:
    """Vouch for a version; return where to go then."""
    at = _version(request)
    said = at | {"why": given.get("comment", "")}
    ask("POST", VOUCH.call, body=lambda: _checked(said, Vouching), key=given["key"])
    return f"/console/models?model={quote(at['model'], safe='')}"


def do(ask: Ask, request: Request, given: Mapping[str, str]) -> str:
    """Do something about an incident; return where to go then."""
    deed = DEEDS.get(request.path_params["deed"])
    if deed is None:
        raise ProblemError(NOT_FOUND, "there is no such thing to do")
    body = partial(_silence, given) if deed.call == "/silences" else None
    at = {"incident": request.path_params["incident"]}
    if request.path_params["deed"] in _ANSWERS:
        action = action_of(ask, at)
        if action is not None and given.get("target") != (action.to_version or ""):
            raise ProblemError(HTTPStatus.CONFLICT, "it is about another version by now; look again")
    ask("POST", deed.call, at, body=body, key=given["key"])
    return f"/console/incidents/{at['incident']}"


def end(ask: Ask, request: Request, given: Mapping[str, str]) -> str:
    """End a silence; return where to go then."""
    ask("POST", END.call, request.path_params, key=given["key"])
    return "/console/silences"


def action_of(ask: Ask, at: Mapping[str, str]) -> Action | None:
    """The rollback of an incident, if it has asked for one."""
    try:
        found: Action = ask("GET", "/actions/{incident}", at)
    except ProblemError:  # the incident is there, so it has not asked for one
        return None
    return found


def fits(name: str, incident: Incident, action: Action | None, who: Principal) -> bool:
    """Whether something can be done about an incident as it stands."""
    match name:
        case "approve":
            return action is not None and action.state in ANSWERABLE and who.name not in action.approvals
        case "deny":
            return action is not None and action.state in DENIABLE
        case "acknowledge":
            return incident.status is Status.FIRING
    return incident.status is not Status.RESOLVED


def _confirmation(deed: Deed, about: str, words: str, back: str, matchers: list[str], target: str = "") -> Page:
    # Sent twice, by two clicks or a page that is loaded again, a form is one change.
    facts: dict[str, Any] = {
        "deed": deed,
        "about": about,
        "words": words,
        "back": back,
        "matchers": matchers,
        "target": target,
    }
    facts["asks_why"] = bool(matchers) or deed is VOUCH
    return Page("confirm.html", facts | {"key": secrets.token_urlsafe(24)})


def _silence(given: Mapping[str, str]) -> NewSilence:
    wanted = {
        "matchers": [line.strip() for line in given.get("matchers", "").splitlines() if line.strip()],
        "seconds": given.get("seconds", ""),
        "comment": given.get("comment", ""),
    }
    return _checked(wanted, NewSilence)


def _checked(wanted: dict[str, Any], kind: type[Body]) -> Body:
    try:
        return msgspec.convert(wanted, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, str(error)) from error


def _version(request: Request) -> dict[str, str]:
    """Which version an address is about; names may be any text."""
    return {name: request.query_params.get(name, "") for name in ("model", "version")}
