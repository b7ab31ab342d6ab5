"""What a person reads at three in the morning: the words for a transition, without any receiver's markup.

Model names, classes, features and sources come from events, and an attacker may write events. Every such string
is bounded and freed of control characters here; each receiver then neutralises its own markup.
"""

import math
import time
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from alerting.incident import Attribution, Evidence, Incident, Onset, Problem, Status, Transition, Verdict
from alerting.links import LinksConfig, links
from alerting.notice import Notice
from alerting.reach import in_words
from alerting.sentences import CHANGES, FAMILIES, FLOODED, NEXT, NEXT_UNLABELLED, SENTENCES, UNLABELLED

MAX_FEATURES = 5
"""Features that are named; the rest is counted."""
MAX_EVIDENCE = 6
"""Evidence lines that are shown, strongest first; the rest is counted."""

MAX_AGAINST = 3
"""Clauses that are shown of what speaks against a verdict."""

_MAX_NAME = 60
_MAX_CLAUSE = 160
_MAX_ACTION = 500
# Controls, invisible format characters (bidirectional overrides, zero width) and halves of surrogate pairs.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs"})


class Words(msgspec.Struct, frozen=True):
    """What messages say beside the incident itself."""

    environment: str | None = None
    """Where this Tocsin watches, such as `production`."""
    external_url: str | None = None
    """Where people find Tocsin or its dashboard."""
    links: LinksConfig = LinksConfig()
    clock: Callable[[], float] = time.time
    """Epoch seconds of the wall clock, for the time that is left to answer."""
    rewrite: Callable[[Notice, Incident], Notice] | None = None
    """The last word on the words, if somebody wants other ones."""


def notice(transition: Transition, words: Words) -> Notice:
    """Put a transition into words."""
    incident = transition.incident
    sentence = _sentence(incident)
    resolved = incident.status is Status.RESOLVED
    content = Notice(
        title=_title(transition),
        headline=f"This has ended. It was: {sentence}" if resolved else sentence,
        since=_since(incident.onset),
        status=_status(incident),
        who=_who(incident),
        evidence=_evidence(incident.evidence),
        sure=_sure(incident),
        against=tuple(clean(clause, _MAX_CLAUSE) for clause in incident.against[:MAX_AGAINST]),
        reach=in_words(incident, _name, instant),
        changed=_changed(incident),
        action=clean(incident.action, _MAX_ACTION) if incident.action else "Tocsin has taken no action.",
        left=_left(incident, words.clock()),
        next=_next(incident),
        environment="" if words.environment is None else _name(words.environment),
        links=_links(incident, words),
    )
    return content if words.rewrite is None else words.rewrite(content, incident)


def clean(text: str, limit: int) -> str:
    """Return hostile text as one line of at most `limit` characters, without control characters."""
    # The slice bounds the work: a name may be a megabyte of zero-width characters.
    kept = (c for c in text[: 4 * limit] if c.isspace() or unicodedata.category(c) not in _UNPRINTABLE)
    line = " ".join("".join(kept).split())
    return (line if len(line) <= limit else line[: limit - 1] + "…") or "(blank)"


def instant(ts: float) -> str:
    """UTC date and time to the second, or "an unknown time" for what no calendar holds."""
    moment = utc(ts)
    return "an unknown time" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def utc(ts: float) -> datetime | None:
    """The date and time of epoch seconds, or None for what no calendar holds."""
    try:
        return datetime.fromtimestamp(ts, UTC)
    except (OverflowError, OSError, ValueError):  # infinite, not a number, or beyond the year 9999
        return None


def duration(seconds: float) -> str:
    """Two units at most: nobody needs the seconds of a day."""
    try:
        total = max(round(seconds), 0)
    except (OverflowError, ValueError):
        return "an unknown time"
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    if total < 86_400:
        return f"{total // 3600} h {total % 3600 // 60} min"
    return f"{total // 86_400} d {total % 86_400 // 3600} h"


def _name(text: str) -> str:
    return clean(text, _MAX_NAME)


def _title(transition: Transition) -> str:
    incident = transition.incident
    word = CHANGES[transition.change]
    test = "TEST, " if incident.problem is Problem.TEST else ""
    return f"{test}{word} {incident.severity}: {_word(incident.verdict)}, {_what(incident)}"


def _what(incident: Incident) -> str:
    """The model and its version; what stands in for a model, such as a partition, has none."""
    return f"{_name(incident.model)} {_name(incident.version)}" if incident.version else _name(incident.model)


def _sentence(incident: Incident) -> str:
    who = incident.attribution
    true, given = _quoted(who.class_from), _quoted(who.class_to)
    if incident.problem is Problem.TEST:
        return "This is a test: somebody wants to see that messages arrive here. Nothing is wrong."
    # Values are put in as they are: braces in them are not read again.
    sentences = UNLABELLED if incident.unlabelled else FLOODED if incident.flooded else SENTENCES
    return sentences[incident.verdict].format(
        what=_what(incident),
        true=true or "one class",
        given=given or "another",
        answer=given or "one class",
        trigger=_features(who.features) or "its inputs",
        where=f" in {_features(who.features)}" if who.features else "",
        origin=_origin(who),
        numbers=_numbers(incident),
    )


def _origin(who: Attribution) -> str:
    if who.labeler is not None:
        return f" from labeler {_name(who.labeler)}"
    return f" from source {_name(who.source)}" if who.source is not None else ""


def _features(features: tuple[str, ...]) -> str:
    named = ", ".join(_name(feature) for feature in features[:MAX_FEATURES])
    rest = len(features) - MAX_FEATURES
    return f"{named} and {rest} more" if rest > 0 else named


def _strongest(evidence: tuple[Evidence, ...]) -> list[Evidence]:
    # What is not a number goes last; left alone, it would leave the order to chance.
    return sorted(evidence, key=lambda e: -math.inf if math.isnan(e.log_e) else e.log_e, reverse=True)


def _numbers(incident: Incident) -> str:
    """The strongest stream of the family that the verdict is about, or of all."""
    family = "labels" if incident.unlabelled else FAMILIES.get(incident.verdict)
    about = [e for e in incident.evidence if e.family == family]
    strongest = _strongest(tuple(about) or incident.evidence)
    return f" ({_compared(strongest[0])})" if strongest else ""


def _compared(evidence: Evidence) -> str:
    return f"{_name(evidence.stream)}: {evidence.observed:.3g} observed, {evidence.bound:.3g} allowed"


def _evidence(evidence: tuple[Evidence, ...]) -> tuple[str, ...]:
    lines = [f"{_compared(e)}, log evidence {e.log_e:.3g}" for e in _strongest(evidence)[:MAX_EVIDENCE]]
    rest = len(evidence) - MAX_EVIDENCE
    return (*lines, f"and {rest} more") if rest > 0 else tuple(lines)


def _sure(incident: Incident) -> str:
    """How sure the verdict is; and the strongest evidence as odds, and whether it stands alone."""
    evidence = incident.evidence
    if not evidence:
        return "seen directly, not inferred"
    verdict = "" if incident.confidence is None else f"{incident.confidence:.0%} for {_word(incident.verdict)}; "
    strongest, families = _strongest(evidence)[0].log_e, len({e.family for e in evidence})
    # An e-detector's statistic is a bet against chance that pays this many times the stake.
    odds = f"about 10^{strongest / math.log(10):.1f} to 1 against chance" if math.isfinite(strongest) else "no number"
    return f"{verdict}{odds}, from {families} {'kind' if families == 1 else 'kinds'} of evidence"


def _changed(incident: Incident) -> str:
    if incident.was is None or not incident.because:
        return ""
    return f"it was {_word(incident.was)}; since then {clean(incident.because, _MAX_CLAUSE)}"


def _word(verdict: Verdict) -> str:
    return verdict.value.replace("_", " ")


def _next(incident: Incident) -> str:
    if incident.problem is Problem.TEST:
        return "Nothing."
    if incident.status is Status.RESOLVED:
        return "Nothing, if what caused it is known and repaired."
    return (NEXT_UNLABELLED if incident.unlabelled else NEXT)[incident.verdict]


def _left(incident: Incident, now: float) -> str:
    plan = incident.plan
    if plan is None or incident.status is Status.RESOLVED:
        return ""
    word, command = ("veto", "deny") if plan.veto else ("approve", "approve")
    if now >= plan.until:
        return f"none: it was to {word} until {instant(plan.until)}"
    id_ = _name(plan.incident)
    return f"{duration(plan.until - now)} to {word} it, until {instant(plan.until)}: tocsin rollback {command} {id_}"


def _links(incident: Incident, words: Words) -> tuple[tuple[str, str], ...]:
    home = () if words.external_url is None else (("Tocsin", words.external_url),)
    return (*links(words.links, incident, words.environment), *home)


def _since(onset: Onset) -> str:
    return f"about {instant(onset.ts)}, between {instant(onset.low)} and {instant(onset.high)}"


def _status(incident: Incident) -> str:
    if incident.status is Status.ACKNOWLEDGED and incident.acknowledged_by:
        who = _name(incident.acknowledged_by)
        return f"acknowledged by {who}, {incident.severity}, opened {instant(incident.opened_at)}"
    if incident.status is not Status.RESOLVED:
        return f"{incident.status}, {incident.severity}, opened {instant(incident.opened_at)}"
    end = incident.updated_at if incident.resolved_at is None else incident.resolved_at
    return f"resolved {instant(end)}, after {duration(end - incident.opened_at)}"


def _who(incident: Incident) -> tuple[tuple[str, str], ...]:
    who = incident.attribution
    facts = (
        ("Source", None if who.source is None else _name(who.source)),
        ("Labeler", None if who.labeler is None else _name(who.labeler)),
        ("Features", _features(who.features)),
        ("Classes", _classes(_quoted(who.class_from), _quoted(who.class_to))),
        ("Version", None if who.version is None else _name(who.version)),
        ("Same cause", _features(incident.related)),
    )
    return tuple((label, value) for label, value in facts if value)


def _quoted(label: str | None) -> str | None:
    return None if label is None else f'"{_name(label)}"'


def _classes(true: str | None, given: str | None) -> str | None:
    if true and given:
        return f"{true} taken for {given}"
    return f"towards {given}" if given else true
