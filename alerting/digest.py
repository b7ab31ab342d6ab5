"""The digest: one incident that stands for all those of which nobody is told one by one, because they are too many."""

from collections import defaultdict
from collections.abc import Sequence

from alerting.incident import Attribution, Evidence, Incident, Judgement, Onset, Severity, Verdict
from alerting.life import worse
from alerting.message import clean

NAMED = 3
"""Models that are named for each verdict; the rest is counted."""


def digest(held: Sequence[Incident], pages: int, now: float) -> Judgement | None:
    """What is held back, one incident of each thread; None if nothing is.

    Args:
        held: those incidents.
        pages: how many are told one by one.
        now: epoch seconds.
    """
    if not held:
        return None
    severity = Severity.WARNING
    models: defaultdict[Verdict, list[str]] = defaultdict(list)
    for incident in held:
        severity = worse(severity, incident.severity)
        models[incident.verdict].append(incident.model)
    counts = "; ".join(_count(verdict, models[verdict]) for verdict in sorted(models, key=lambda v: -len(models[v])))
    return Judgement(
        verdict=Verdict.FLOOD,
        severity=severity,
        onset=Onset(now, now, now),
        attribution=Attribution(),
        evidence=(Evidence("desk", "problems that wait to be told", 0.0, len(held), pages),),
        action=f"Held back: {counts}. They are told as there is room, the worst first.",
    )


def _count(verdict: Verdict, models: Sequence[str]) -> str:
    named = list(dict.fromkeys(clean(model, 40) for model in models))
    rest = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return f"{len(models)} {verdict} ({', '.join(named[:NAMED])}{rest})"
