"""What a person reads at three in the morning: the words for a transition, without any receiver's markup.

Model names, classes, features and sources come from events, and an attacker may write events. Every such string
is bounded and freed of control characters here; each receiver then neutralises its own markup.
"""

import math
import unicodedata
from datetime import UTC, datetime

import msgspec

from alerting.incident import Attribution, Change, Evidence, Incident, Onset, Status, Transition, Verdict
from alerting.links import LinksConfig, links

MAX_FEATURES = 5
"""Features that are named; the rest is counted."""
MAX_EVIDENCE = 6
"""Evidence lines that are shown, strongest first; the rest is counted."""

_MAX_NAME = 60
_MAX_ACTION = 500
# Controls, invisible format characters (bidirectional overrides, zero width) and halves of surrogate pairs.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs"})

_SENTENCES = {
    Verdict.LABEL_FLIP: "{what} takes {true} for {given} more often than it may{numbers}: "
    "labels it was trained on look flipped.",
    Verdict.BACKDOOR: "{what} answers {answer} when a rare pattern appears in {trigger}{origin}{numbers}: "
    "it looks like a backdoor.",
    Verdict.CLEAN_LABEL: "{what} takes some inputs of {true}{origin} for {given}{where}{numbers}: "
    "clean-label poisoning is suspected.",
    Verdict.LABEL_TAMPERING: "Labels{origin} contradict {what}, which has not changed{numbers}: "
    "the labels look tampered with, not the model.",
    Verdict.SLOW_POISONING: "{what} has moved away from its baseline in many small steps{where}{numbers}: "
    "slow poisoning is suspected.",
    Verdict.DATA_FAULT: "Inputs of {what}{origin} are broken{where}{numbers}: "
    "it looks like a fault in the data, not an attack.",
    Verdict.COVARIATE_DRIFT: "Inputs of {what}{origin} have shifted{where}{numbers}: it looks like drift, not poison.",
    Verdict.PRIOR_SHIFT: "The mix of classes that {what} meets{origin} has shifted{numbers}: "
    "it looks like drift, not poison.",
    Verdict.PERFORMANCE: "{what} makes more mistakes than it may{where}{origin}{numbers}: the cause is not clear yet.",
    Verdict.SILENCE: "Events of {what}{origin} have stopped or thinned out{numbers}: "
    "Tocsin cannot watch what it does not see.",
    Verdict.MUTED: "There is a {what}: incidents that it names are not told for a while.",
    Verdict.FLOOD: "{what} knows of more problems than people can read{numbers}: the rest is in this digest only.",
}

_WORDS = {
    Change.OPENED: "FIRING",
    Change.UPDATED: "UPDATE",
    Change.ACTED: "UPDATE",
    Change.ACKNOWLEDGED: "ACKNOWLEDGED",
    Change.REOPENED: "FIRING AGAIN",
    Change.REMINDED: "STILL FIRING",
    Change.RESOLVED: "RESOLVED",
}

# What to do next, in one sentence; the runbook has the rest.
_NEXT = {
    Verdict.LABEL_FLIP: "See whether the last good version serves again; stop retraining until the labels are clean.",
    Verdict.BACKDOOR: "See whether the last good version serves again, block the source, and search the training data.",
    Verdict.CLEAN_LABEL: "See whether the last good version serves again, and look at the training examples nearby.",
    Verdict.LABEL_TAMPERING: "Keep these labels out of the next training, and look at fifty of them by eye.",
    Verdict.SLOW_POISONING: "Go back to a version from before the onset, and revoke all that came since.",
    Verdict.DATA_FAULT: "Look at the last change of whatever produces these inputs, and repair it.",
    Verdict.COVARIATE_DRIFT: "Find out whether the change is legitimate; if it lasts, make a new baseline.",
    Verdict.PRIOR_SHIFT: "Find out whether the world has changed; if it lasts, make a new baseline.",
    Verdict.PERFORMANCE: "Treat it as a quality problem: look at the features, the labels and the age of the model.",
    Verdict.SILENCE: "Look at the producer, the topic, and whether Tocsin lags.",
    Verdict.MUTED: "Make sure that you know of it; `tocsin silence expire` ends it.",
    Verdict.FLOOD: "Look at the list of open incidents, and for what they have in common.",
}

# The family of evidence whose numbers belong into the sentence; elsewhere simply the strongest.
_FAMILY = {
    Verdict.LABEL_FLIP: "performance",
    Verdict.LABEL_TAMPERING: "performance",
    Verdict.SLOW_POISONING: "performance",
    Verdict.PERFORMANCE: "performance",
    Verdict.DATA_FAULT: "features",
    Verdict.COVARIATE_DRIFT: "features",
    Verdict.PRIOR_SHIFT: "predictions",
}


class Words(msgspec.Struct, frozen=True):
    """What messages say beside the incident itself."""

    environment: str | None = None
    """Where this Tocsin watches, such as `production`."""
    external_url: str | None = None
    """Where people find Tocsin or its dashboard."""
    links: LinksConfig = LinksConfig()


class Notice(msgspec.Struct, frozen=True):
    """The content of one notification. Every text is a single line of bounded length."""

    title: str
    """Change, severity, model and verdict in a few words."""
    headline: str
    """What is wrong with what, in one plain sentence with numbers."""
    since: str
    """When the change began, with the interval."""
    status: str
    """Where the incident is in its life."""
    who: tuple[tuple[str, str], ...]
    """What the evidence points at: pairs of a label and a value, such as ("Labeler", "lab-2")."""
    evidence: tuple[str, ...]
    """Observed against allowed, strongest first."""
    sure: str
    """How strong the evidence is."""
    action: str
    """What Tocsin did or proposes."""
    next: str
    """What to do now."""
    environment: str
    """Where it happened; empty if it was not configured."""
    links: tuple[tuple[str, str], ...]
    """Pairs of a label and an absolute address."""


def notice(transition: Transition, words: Words) -> Notice:
    """Put a transition into words."""
    incident = transition.incident
    sentence = _sentence(incident)
    resolved = incident.status is Status.RESOLVED
    return Notice(
        title=_title(transition),
        headline=f"This has ended. It was: {sentence}" if resolved else sentence,
        since=_since(incident.onset),
        status=_status(incident),
        who=_who(incident.attribution),
        evidence=_evidence(incident.evidence),
        sure=_sure(incident.evidence),
        action=clean(incident.action, _MAX_ACTION) if incident.action else "Tocsin has taken no action.",
        next="Nothing, if what caused it is known and repaired." if resolved else _NEXT[incident.verdict],
        environment="" if words.environment is None else _name(words.environment),
        links=_links(incident, words),
    )


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


def _name(text: str) -> str:
    return clean(text, _MAX_NAME)


def _title(transition: Transition) -> str:
    incident = transition.incident
    word = _WORDS[transition.change]
    verdict = incident.verdict.value.replace("_", " ")
    return f"{word} {incident.severity}: {verdict}, {_what(incident)}"


def _what(incident: Incident) -> str:
    """The model and its version; what stands in for a model, such as a partition, has none."""
    return f"{_name(incident.model)} {_name(incident.version)}" if incident.version else _name(incident.model)


def _sentence(incident: Incident) -> str:
    who = incident.attribution
    true, given = _quoted(who.class_from), _quoted(who.class_to)
    # Values are put in as they are: braces in them are not read again.
    return _SENTENCES[incident.verdict].format(
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
    about = [e for e in incident.evidence if e.family == _FAMILY.get(incident.verdict)]
    strongest = _strongest(tuple(about) or incident.evidence)
    return f" ({_compared(strongest[0])})" if strongest else ""


def _compared(evidence: Evidence) -> str:
    return f"{_name(evidence.stream)}: {evidence.observed:.3g} observed, {evidence.bound:.3g} allowed"


def _evidence(evidence: tuple[Evidence, ...]) -> tuple[str, ...]:
    lines = [f"{_compared(e)}, log evidence {e.log_e:.3g}" for e in _strongest(evidence)[:MAX_EVIDENCE]]
    rest = len(evidence) - MAX_EVIDENCE
    return (*lines, f"and {rest} more") if rest > 0 else tuple(lines)


def _sure(evidence: tuple[Evidence, ...]) -> str:
    """The strongest evidence as odds, and whether it stands alone."""
    if not evidence:
        return "seen directly, not inferred"
    strongest, families = _strongest(evidence)[0].log_e, len({e.family for e in evidence})
    # An e-detector's statistic is a bet against chance that pays this many times the stake.
    odds = f"about 10^{strongest / math.log(10):.1f} to 1 against chance" if math.isfinite(strongest) else "no number"
    return f"{odds}, from {families} {'kind' if families == 1 else 'kinds'} of evidence"


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
    return f"resolved {instant(end)}, after {_duration(end - incident.opened_at)}"


def _duration(seconds: float) -> str:
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


def _who(who: Attribution) -> tuple[tuple[str, str], ...]:
    facts = (
        ("Source", None if who.source is None else _name(who.source)),
        ("Labeler", None if who.labeler is None else _name(who.labeler)),
        ("Features", _features(who.features)),
        ("Classes", _classes(_quoted(who.class_from), _quoted(who.class_to))),
        ("Version", None if who.version is None else _name(who.version)),
    )
    return tuple((label, value) for label, value in facts if value)


def _quoted(label: str | None) -> str | None:
    return None if label is None else f'"{_name(label)}"'


def _classes(true: str | None, given: str | None) -> str | None:
    if true and given:
        return f"{true} taken for {given}"
    return f"towards {given}" if given else true
