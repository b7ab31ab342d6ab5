"""Causes: which incidents are one story, and which are only the shadow of another one."""

from collections.abc import Iterable

from alerting.incident import Incident, Problem, Verdict

UPSTREAM = frozenset({Verdict.DATA_FAULT, Verdict.COVARIATE_DRIFT, Verdict.PRIOR_SHIFT})
"""What comes from before the model, so that several models see it at once."""
SHADOWS = frozenset({Verdict.COVARIATE_DRIFT, Verdict.PRIOR_SHIFT, Verdict.PERFORMANCE})
"""What a fault in the data causes by itself. No attack is among them: a fault that somebody makes must hide none."""


def cause(incident: Incident) -> str:
    """What the incident is put down to; incidents that begin together and have the same cause are told together.

    Inputs that break or shift are one, for they share what is upstream; it may be long after the beginning that they
    have broken for everybody, and not just for the source that was seen first. So are labels that stay away. Otherwise
    a labeler or a source is a cause, whatever it does to how many models. Anything else is a matter of its own model.
    """
    who = incident.attribution
    match incident.problem:
        case Problem.DESK:
            return f"desk/{incident.id}"
        case Problem.SILENCE:
            return "silence"
        case Problem.INTAKE | Problem.FORGERY:
            return f"topic/{incident.model.rpartition('[')[0]}"
    if incident.verdict in UPSTREAM:
        return "labels" if incident.unlabelled else f"inputs/{incident.verdict}"
    if who.labeler is not None:
        return f"labeler/{who.labeler}"
    return f"model/{incident.model}" if who.source is None else f"source/{who.source}"


class Faults:
    """The faults in data that stand now, and the shadows that they throw on other incidents."""

    def __init__(self, incidents: Iterable[Incident]) -> None:
        """`incidents` are all that fire now."""
        self._began: dict[tuple[str, str], float] = {}
        self._held = False
        for incident in incidents:
            self.add(incident)

    def add(self, incident: Incident) -> None:
        """One more that fires, whatever it is."""
        self._held |= incident.problem is Problem.INTAKE
        if incident.problem is Problem.DETECTION and incident.verdict is Verdict.DATA_FAULT:
            for place in _places(incident):
                self._began[place] = min(incident.onset.low, self._began.get(place, incident.onset.low))

    def shadow(self, incident: Incident) -> bool:
        """Whether it follows from a fault: inputs of the same source or feature broke before it can have begun.

        Models also fall silent while a partition is held.
        """
        if incident.problem is Problem.SILENCE:
            return self._held
        if incident.problem is not Problem.DETECTION or incident.verdict not in SHADOWS:
            return False
        return any(self._began.get(place, float("inf")) <= incident.onset.high for place in _places(incident))


def _places(incident: Incident) -> list[tuple[str, str]]:
    who = incident.attribution
    features = [("feature", feature) for feature in who.features]
    return features if who.source is None else [("source", who.source), *features]
