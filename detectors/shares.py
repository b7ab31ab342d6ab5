"""Two shares, from two samples: how much evidence there is that they differ.

The logarithm of the generalised likelihood ratio of two binomial samples, half of the G statistic of Sokal and Rohlf
(Biometry, 1981); where both shares are equal, twice its value is about chi-squared with one degree of freedom.
"""

from math import log


def risen(hits: int, count: int, hits_before: int, count_before: int) -> float:
    """Evidence, in nats, that the share `hits / count` is above `hits_before / count_before`.

    Returns:
        0.0 where it is not above, or where one of the samples is empty; else more than 0.

    Raises:
        ValueError: hits are negative, or more than there are events.
    """
    if not (0 <= hits <= count and 0 <= hits_before <= count_before):
        raise ValueError("hits have to be between 0 and the number of events")
    if hits * count_before <= hits_before * count:
        return 0.0
    together = _likelihood(hits + hits_before, count + count_before)
    return max(_likelihood(hits, count) + _likelihood(hits_before, count_before) - together, 0.0)


def _likelihood(hits: int, count: int) -> float:
    """The largest log-likelihood of a binomial sample, without the binomial coefficient."""
    return sum(part * log(part / count) for part in (hits, count - hits) if part)
