"""Where a model stands: who and what the evidence points at now, long before anything alarms."""

from collections.abc import Mapping

from monitor.detection.bank import Bank, Place

LOUDEST = 5
"""Names of each kind that are told; attackers can invent names, and each one told is a series in Prometheus."""

Named = tuple[str, str]
"""Kind (source, labeler, class, feature) and name."""


def loudest(bank: Bank) -> Mapping[Named, float]:
    """The weighted statistic behind the loudest names; one that reaches the budget alarms.

    Only streams in an excursion count (see `detectors.edetector.QUIET`), so a quiet model has none.
    """
    levels: dict[Named, float] = {}
    for name, family in bank.families.items():
        now = family.levels() if family.excursions else {}
        for key, stream in family.excursions:
            named = _named(bank, Place(name, key, stream))
            levels[named] = max(levels.get(named, 0.0), float(now[key][stream]))
    kept: dict[Named, float] = {}
    for (kind, name), level in sorted(levels.items(), key=lambda entry: (-entry[1], entry[0])):
        if sum(other == kind for other, _ in kept) < LOUDEST:
            kept[kind, name] = level
    return kept


def _named(bank: Bank, place: Place) -> Named:
    """What a stream is about, in one kind and one name."""
    watched, _, scope = place.family.partition("/")
    question = bank.questions.get(place.family)
    slot, kind = divmod(place.key, question.kinds if question else 1)
    if scope == "source":
        return "source", bank.columns.sources.name(slot)
    if scope == "labeler":
        return "labeler", bank.columns.labelers.name(slot)
    if watched == "features":
        return "feature", bank.columns.names[place.stream]
    if watched == "sources":
        return "source", "(all)"
    if watched == "labels":
        return "class", bank.baseline.classes[place.key] if scope else "(labels)"
    return "class", "(residual)" if question is None else bank.baseline.classes[kind]
