"""What the console shows: pages made of answers of the API, so there is no second truth about who may see what."""

from collections.abc import Callable
from typing import Protocol

import msgspec
from starlette.requests import Request

from alerting.message import duration, instant
from monitor.http.ask import Ask
from monitor.http.deeds import DEEDS, action_of, fits
from monitor.http.endpoint import ProblemError, in_words
from monitor.http.page import charts, told
from monitor.http.rendering import Page, safe
from monitor.http.views import AuditQuery, IncidentQuery
from monitor.pictures.exhibit import Exhibit
from monitor.rollback.action import Action
from monitor.rollback.consent import awaited
from monitor.rollback.registry import RegistryError

ON_PAGE = 50
"""Incidents, or entries of the audit log, on one page."""


class Exhibits(Protocol):
    """Where what stood behind an incident is read; the store."""

    def exhibit(self, incident: str) -> Exhibit | None:
        """What stood behind it when it was told last."""


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
        incident = ask("GET", "/incidents/{incident}", at)
        reach = ask("GET", "/incidents/{incident}/radius", at)
        action, words = action_of(ask, at), told(msgspec.structs.replace(incident, radius=reach.radius))
        facts = [("Status", words.status), ("Since", words.since), *words.who, ("How sure", words.sure)]
        facts += [*words.weighed, ("Marks taken back", ", ".join(reach.withdrawn))]
        facts += [("What Tocsin did", "" if action else words.action), ("What to do", words.next)]
        possible = [
            (name, deed)
            for name, deed in DEEDS.items()
            if ask.may("POST", deed.call) and fits(name, incident, action, ask.who)
        ]
        return Page(
            "incident.html",
            {
                "incident": incident,
                "words": words,
                "reach": words.reach[1:],
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


def _left(action: Action, now: float) -> str | None:
    """How long people can still answer."""
    plan = awaited(action)
    if plan is None:
        return None
    if now >= plan.until:
        return f"It was to be answered until {instant(plan.until)}."
    word = "veto" if plan.veto else "approve"
    return f"{duration(plan.until - now)} left to {word} it, until {instant(plan.until)}"
