"""Links in messages: where to look and what to do, with the incident's own words filled in."""

import re
from typing import Annotated
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator

from alerting.incident import Incident
from alerting.section import Section

MAX_LINK = 600
"""Characters; a longer link is left out."""

_AROUND = 3600.0  # seconds
_MAX_NAME = 80
_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_PLACEHOLDERS = frozenset({"incident", "model", "version", "verdict", "environment", "from_ms", "to_ms"})


def check_link(text: str) -> str:
    """Return an absolute http or https address, perhaps with placeholders, unchanged. Raises ValueError."""
    unknown = set(_PLACEHOLDER.findall(text)) - _PLACEHOLDERS
    if unknown:
        raise ValueError(f"{{{min(unknown)}}} is none of {', '.join(sorted(_PLACEHOLDERS))}")
    parts = urlsplit(_PLACEHOLDER.sub("x", text))
    if parts.scheme not in {"http", "https"} or not parts.hostname or not text.isprintable() or " " in text:
        raise ValueError("not an absolute http:// or https:// address")
    return text


Link = Annotated[str, AfterValidator(check_link)]


class LinksConfig(Section):
    """Addresses with placeholders, which are filled in and quoted.

    They are `{incident}`, `{model}`, `{version}`, `{verdict}`, `{environment}`, and `{from_ms}` and `{to_ms}`: from an
    hour before the incident to an hour after it, in milliseconds since 1970, as Grafana takes them.
    """

    incident: Link | None = None
    """The page of an incident."""
    dashboard: Link | None = None
    """The dashboard, at the time of the incident."""
    runbook: Link | None = None
    """What to do about a verdict; for the runbook of this repository it ends in `#{verdict}`."""


def links(config: LinksConfig, incident: Incident, environment: str | None) -> tuple[tuple[str, str], ...]:
    """Label and address of each link that is configured, filled in."""
    values = {
        "incident": incident.id,
        "model": incident.model,
        "version": incident.version,
        "verdict": incident.verdict.value,
        "environment": environment or "",
        "from_ms": _milliseconds(incident.onset.low - _AROUND, "now-6h"),
        "to_ms": _milliseconds(incident.updated_at + _AROUND, "now"),
    }
    # Every value is quoted whole: nothing in it can become another parameter, another path or another host.
    quoted = {name: quote(value[:_MAX_NAME].encode("utf-8", "replace"), safe="") for name, value in values.items()}
    templates = (("Incident", config.incident), ("Dashboard", config.dashboard), ("Runbook", config.runbook))
    filled = (
        (label, _PLACEHOLDER.sub(lambda match: quoted[match[1]], template))
        for label, template in templates
        if template is not None
    )
    return tuple((label, address) for label, address in filled if len(address) <= MAX_LINK)


def _milliseconds(ts: float, otherwise: str) -> str:
    return str(int(ts * 1000)) if 0 <= ts < 1e11 else otherwise
