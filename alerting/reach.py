"""How far an incident reaches, in words."""

from collections.abc import Callable, Iterator, Sequence

from alerting.incident import Incident, Radius, Verdict

MAX_NAMED = 5
"""Versions, sources, classes and features that are named; the rest is counted."""

Name = Callable[[str], str]
"""Makes a name that comes from events fit to be shown."""


def in_words(incident: Incident, name: Name, when: Callable[[float], str]) -> tuple[str, ...]:
    """One sentence with what matters most, and then the rest, line by line; nothing where nothing is known.

    Args:
        incident: whatever it is.
        name: what is done to names.
        when: how times, epoch seconds, are written.
    """
    radius = incident.radius
    if radius is None:
        return ()
    parts = [*_served(incident, radius, name), *_sent(incident, radius, name)]
    sentence = f"since {when(radius.since)} {', and '.join(parts) or 'nothing has come'}"
    served = [f"{name(each.version)} (about {_about(each.predictions)})" for each in radius.versions]
    lines = {
        "Events": f"number {radius.first_index:,} to {radius.last_index:,}, until {when(radius.until)}",
        "Versions": _listed(served),
        "Sources": _listed([name(each) for each in radius.sources]),
        "Classes": _listed([name(each) for each in radius.classes]),
        "Features": _listed([name(each) for each in radius.features]),
    }
    return (sentence, *(f"{label}: {text}" for label, text in lines.items() if text))


def _served(incident: Incident, radius: Radius, name: Name) -> Iterator[str]:
    """What the version that is blamed has answered, or else the one that answered most."""
    blamed = [each for each in radius.versions if each.version == incident.attribution.version] or radius.versions
    for each in blamed[:1]:
        yield f"about {_about(each.predictions)} predictions were served by {name(each.version)}"


def _sent(incident: Incident, radius: Radius, name: Name) -> Iterator[str]:
    """What came from whom is named."""
    who = incident.attribution
    if radius.labels is not None and who.labeler is not None:
        yield f"about {_about(radius.labels)} labels came from {name(who.labeler)}"
    elif radius.labels is not None and who.source is not None and incident.verdict is Verdict.LABEL_TAMPERING:
        yield f"about {_about(radius.labels)} labels came for {name(who.source)}"
    elif radius.inputs is not None and who.source is not None:
        yield f"about {_about(radius.inputs)} inputs came from {name(who.source)}"


def _about(count: int) -> str:
    """A count to three digits."""
    return f"{float(f'{count:.3g}'):,.0f}"


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")
