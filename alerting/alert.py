"""An incident as Prometheus and Alertmanager know alerts: labels, annotations and times."""

from alerting.incident import Incident, Status
from alerting.message import clean, utc
from alerting.notice import Notice

NEVER = "0001-01-01T00:00:00Z"
"""What Alertmanager writes for a time that there is none of."""

_MAX_LABEL = 256


def labels(incident: Incident, environment: str) -> dict[str, str]:
    """What an alert is known, routed and silenced by. Verdict and severity may change while an incident lasts."""
    values = {
        "alertname": "TocsinIncident",
        "incident": incident.id,
        "model": incident.model,
        "version": incident.version,
        "verdict": incident.verdict.value,
        "severity": incident.severity.value,
    }
    if environment:
        values["environment"] = environment
    return {name: clean(value, _MAX_LABEL) for name, value in values.items()}


def annotations(content: Notice) -> dict[str, str]:
    """What people read; the names of the links are those that Prometheus' own rules use."""
    who = "; ".join(f"{label}: {value}" for label, value in content.who)
    lines = (
        content.status,
        f"since {content.since}",
        *([who] if who else []),
        f"sure: {content.sure}",
        *(f"{label}: {text}" for label, text in content.weighed),
        *content.evidence,
        content.action,
        *([f"Time left: {content.left}"] if content.left else []),
        f"Next: {content.next}",
    )
    named = {f"{label.lower()}_url": address for label, address in content.links}
    return {"summary": content.headline, "description": "\n".join(lines), **named}


def ended_at(incident: Incident) -> float | None:
    """Epoch seconds at which it was over, or None while it is not."""
    if incident.status is not Status.RESOLVED:
        return None
    return incident.updated_at if incident.resolved_at is None else incident.resolved_at


def rfc3339(ts: float) -> str:
    """A time as Alertmanager writes it; NEVER for what no calendar holds."""
    moment = utc(ts)
    return NEVER if moment is None else moment.isoformat().replace("+00:00", "Z")
