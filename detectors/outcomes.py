"""Outcomes: bets that a class is taken for others more often than it may be, at one or more levels of certainty."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.bets import Caution, Reference, make_safe, mask, rise

Floats = npt.NDArray[np.float64]

RISES = (0.05, 0.15, 0.4)
"""By how much of what is left to 1 the probability of an outcome is bet to rise."""


class Churn(NamedTuple):
    """Shares of events whose outcome may change while all is well: to any one outcome, and to all of them together."""

    one: float = 0.0
    any: float = 0.0


NO_CHURN = Churn()


def outcome_hits(outcomes: int, expected: int) -> list[tuple[int, ...]]:
    """The sets of outcomes that are bet on, in the order of the bets: each but `expected`; then any but `expected`.

    The last outcome stands for all classes that have no name of their own: there is no bet on it alone, and where it
    is the expected one, the sets are as many as elsewhere, with the last class only among the rest.
    """
    others = tuple(outcome for outcome in range(outcomes) if outcome != expected)
    named = max(outcomes - 2, 1)
    return [others] if named < 2 else [*((outcome,) for outcome in others[:named]), others]


def together(references: Sequence[Reference]) -> Reference:
    """The references of one question asked at several levels of certainty, as one: level after level of outcomes."""
    names = {
        partition: sorted({name for reference in references for name in reference.groups.get(partition, {})})
        for partition in sorted({partition for reference in references for partition in reference.groups})
    }
    return Reference(
        counts=tuple(count for reference in references for count in reference.counts),
        groups={
            partition: {
                name: tuple(
                    count
                    for reference in references
                    for count in reference.groups.get(partition, {}).get(name) or (0,) * len(reference.counts)
                )
                for name in known
            }
            for partition, known in names.items()
        },
    )


def levelled_bets(references: Sequence[Reference], expected: int, caution: Caution, churns: Sequence[Churn]) -> Floats:
    """Bets on the outcome of an event at any of several levels of certainty, shape (levels x outcomes, bets).

    The same bets as `outcome_bets` at each level, each held against that level's own reference, so that an event counts
    for what it is worth there, and what all levels say adds up. The mean factor is at most 1 at each level, and so over
    all of them, however often each comes.
    """
    levels = zip(references, churns, strict=True)
    return np.concatenate([outcome_bets(reference, expected, caution, churn) for reference, churn in levels])


def outcome_bets(reference: Reference, expected: int, caution: Caution, churn: Churn = NO_CHURN) -> Floats:
    """Bets on the outcome of an event, shape (outcomes, bets): each set of `outcome_hits` rises by each of RISES.

    Outcomes are the classes predicted for events that are labelled `expected`; any other is an error.
    """
    counts = np.asarray(reference.counts, dtype=np.float64) / reference.dispersion
    sets = outcome_hits(counts.size, expected)
    parts = []
    for chosen, share in ((sets[:-1], churn.one), (sets[-1:], churn.any)):
        lenient = msgspec.structs.replace(caution, tolerance=caution.tolerance + 2 * share)
        hits = [mask(outcomes, counts.size) for outcomes in chosen]
        columns = [rise(counts[hit].sum(), float(counts.sum()), step, hit, lenient) for hit in hits for step in RISES]
        if columns:
            parts.append(make_safe(np.stack(columns, axis=1), reference, lenient))
    return np.concatenate(parts, axis=1)
