"""Templates: own words for a receiver's messages, over the words that Tocsin has.

They are Jinja2 in its sandbox, and see plain texts only, each bounded and cleaned. A template that fails when it is
needed leaves Tocsin's own words: nobody must lose an alert to a template.
"""

import logging
from typing import Annotated, Any

import msgspec
from pydantic import Field, field_validator

from alerting.incident import Attribution, Incident, Onset, Severity, Status, Verdict
from alerting.message import clean
from alerting.notice import Notice
from alerting.section import Section

log = logging.getLogger(__name__)

_LIMITS = {"title": 150, "headline": 700, "next": 300}
_MAX_NAME = 256
# Labels that a template may ask for whether this incident has them or not.
_WHO = ("Source", "Labeler", "Features", "Classes", "Version", "Same cause")
_LINKS = ("Incident", "Dashboard", "Runbook", "Tocsin")

Source = Annotated[str, Field(min_length=1, max_length=4000)]


class TemplatesConfig(Section):
    """Jinja2 templates of single texts; each gives one line.

    They see `title`, `headline`, `since`, `status`, `sure`, `changed`, `action`, `left`, `next`, `environment`; `who`
    and `links`, by label; `evidence`, `against` and `reach`, lists; and `id`, `model`, `version`, `verdict`,
    `severity` and `state` of the incident.
    """

    title: Source | None = None
    headline: Source | None = None
    next: Source | None = None

    @field_validator("title", "headline", "next")
    @classmethod
    def _it_renders(cls, source: str | None) -> str | None:
        if source is not None:
            try:
                _rendered(source, _facts(_EXAMPLE, _SAMPLE))
            except Exception as error:  # noqa: BLE001 - a template may raise anything, and here it is a wrong setting
                raise ValueError(f"this template does not work: {error}") from None
        return source

    def rewrite(self, content: Notice, incident: Incident) -> Notice:
        """The notice with the texts that have a template."""
        facts = _facts(content, incident)
        changed = {}
        for name, limit in _LIMITS.items():
            if (source := getattr(self, name)) is None:
                continue
            try:
                changed[name] = clean(_rendered(source, facts), limit)
            except Exception:  # a template may raise anything; see the top of the file
                log.exception("the template of the %s failed; the usual words are sent", name)
        return msgspec.structs.replace(content, **changed)


def _facts(content: Notice, incident: Incident) -> dict[str, Any]:
    named = {
        "id": incident.id,
        "model": incident.model,
        "version": incident.version,
        "verdict": incident.verdict.value,
        "severity": incident.severity.value,
        "state": incident.status.value,
    }
    facts = {name: clean(text, _MAX_NAME) for name, text in named.items()}
    who = {**dict.fromkeys(_WHO, ""), **dict(content.who)}
    links = {**dict.fromkeys(_LINKS, ""), **dict(content.links)}
    return {**msgspec.structs.asdict(content), "who": who, "links": links, **facts}


def _rendered(source: str, facts: dict[str, Any]) -> str:
    # Imported where it is needed: most configurations have no template, and no command but the daemon needs one.
    from jinja2 import StrictUndefined  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    # What is made is plain text, which each receiver escapes in its own way.
    environment = ImmutableSandboxedEnvironment(autoescape=False, undefined=StrictUndefined)
    return environment.from_string(source).render(facts)


_SAMPLE = Incident(
    id="0f3c9a1b2d4e",
    model="net-ids",
    version="1.2.0",
    verdict=Verdict.LABEL_FLIP,
    severity=Severity.CRITICAL,
    status=Status.FIRING,
    opened_at=0.0,
    updated_at=0.0,
    event_index=0,
    onset=Onset(0.0, 0.0, 0.0),
    attribution=Attribution(),
    evidence=(),
)
_EXAMPLE = Notice(
    title="title",
    headline="headline",
    since="since",
    status="status",
    who=(("Source", "src-07"),),
    evidence=("evidence",),
    sure="sure",
    against=("against",),
    changed="changed",
    reach=("reach",),
    action="action",
    left="left",
    next="next",
    environment="production",
    links=(("Tocsin", "https://tocsin.example/"),),
)
