"""Routes: which receivers are told of which incidents."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import AfterValidator, Field

from alerting.incident import Incident
from alerting.mutes import matcher
from alerting.section import Section


def _condition(text: str) -> str:
    matcher(text)
    return text


class Route(Section):
    """Incidents that meet all conditions, and who is told of them."""

    match: tuple[Annotated[str, AfterValidator(_condition)], ...] = ()
    """`label=pattern` or `label!=pattern`, on the labels of silences: model, version, verdict and so on."""
    environment: str = "*"
    """A pattern for `alerting.environment`, for one file that is used in several."""
    receivers: Annotated[tuple[str, ...], Field(min_length=1)]
    go_on: bool = False
    """Whether the routes below are asked as well."""

    def takes(self, incident: Incident, environment: str) -> bool:
        """Whether the incident meets all conditions."""
        here = fnmatchcase(environment, self.environment)
        return here and all(matcher(text).matches(incident) for text in self.match)


def chosen(routes: Iterable[Route], incident: Incident, environment: str) -> frozenset[str] | None:
    """The receivers that the routes choose, asked from the top; None, which is everybody, if none takes it.

    That nobody thought of an incident is no reason to tell nobody of it.
    """
    found: set[str] = set()
    for route in routes:
        if route.takes(incident, environment):
            found.update(route.receivers)
            if not route.go_on:
                break
    return frozenset(found) or None
