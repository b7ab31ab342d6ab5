"""Questions: what is asked of events that have an outcome, and how often each answer came in the reference.

The model is asked against the truth, and against its surrogate. A source or a labeler is asked the other way round: its
labels are what is in doubt, and what the model said, and how sure it was, is what they are held against.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from detectors.bets import Caution, Reference
from detectors.outcomes import RISES, Churn, levelled_bets, outcome_hits, together
from detectors.surrogate import LEVELS
from monitor.detection.agreement import AGREES, pooled
from monitor.detection.baseline import CERTAINTIES, Baseline

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Question:
    """One question for several kinds of events, each at one or more levels of certainty.

    A key of its family is `slot * kinds + kind`, and a code is `level * size + outcome`.
    """

    levels: tuple[tuple[Reference, ...], ...]
    """For each kind and level, how often each outcome came."""
    expected: tuple[int, ...]
    """For each kind the outcome that is no error."""
    size: int
    """How many outcomes there are."""

    @property
    def kinds(self) -> int:
        """How many kinds of events there are."""
        return len(self.levels)

    @cached_property
    def references(self) -> tuple[Reference, ...]:
        """For each kind, how often each code came."""
        return tuple(together(levels) for levels in self.levels)

    def tables(self, caution: Caution, churns: Sequence[Churn]) -> list[Floats]:
        """For each kind the bets, shape (codes, bets); `churns` has what may change at each level."""
        return [
            levelled_bets(levels, expected, caution, churns)
            for levels, expected in zip(self.levels, self.expected, strict=True)
        ]

    def outcomes(self, kind: int, bet: int) -> tuple[int, ...]:
        """The outcomes that a bet says become more."""
        return outcome_hits(self.size, self.expected[kind])[bet // len(RISES)]

    def codes(self, kind: int, outcomes: Sequence[int]) -> tuple[int, ...]:
        """The codes that stand for some outcomes."""
        return tuple(level * self.size + outcome for level in range(len(self.levels[kind])) for outcome in outcomes)

    def commonest(self, kind: int, outcomes: Sequence[int], counts: Sequence[int]) -> int:
        """The one of these outcomes that has come most often, by the counts of codes."""
        return max(outcomes, key=lambda outcome: sum(counts[code] for code in self.codes(kind, [outcome])))


def questions(baseline: Baseline) -> Mapping[str, Question]:
    """What is asked, by family; of a regression model, none of this."""
    if baseline.residual is not None:
        return {}
    size = len(baseline.classes)
    classes = tuple(range(size))
    said = Question(_levels(baseline.labelled, CERTAINTIES), classes, size)
    asked = {
        "confusion": Question(tuple((baseline.confusion[name],) for name in baseline.classes), classes, size),
        "confusion/source": said,
        "confusion/labeler": said,
    }
    if baseline.surrogate is not None:
        asked["agreement"] = Question(_levels(baseline.agreement, LEVELS), classes, size)
        asked["answers/source"] = Question((tuple(pooled(baseline.agreement)),), (AGREES,), size + 1)
    return asked


def _levels(references: Sequence[Reference], levels: int) -> tuple[tuple[Reference, ...], ...]:
    return tuple(tuple(references[kind : kind + levels]) for kind in range(0, len(references), levels))
