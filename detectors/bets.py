"""Bets: for each code of an alphabet, the factor by which the evidence against "all is well" grows or shrinks.

A bet is a non-negative function on codes whose mean is at most 1 while all is well; a product of bets is then an
e-process, and a detector built on it has a run length that needs no simulation (Shin, Ramdas and Rinaldo 2022,
arXiv:2203.03532). "All is well" is composite, because the reference is finite and traffic varies by itself. Each table
is therefore divided by an upper confidence bound of its own mean: the bound, not the estimate, must not exceed 1.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.cells import ABOVE, ABSENT, BELOW, MISSING, RESERVED, Cells, NumericCells, normal_scores

Floats = npt.NDArray[np.float64]

SHIFTS = (0.2, 0.45, 1.0)
"""Location changes bet on, each way, in standard deviations of the normal score."""
SCALES = (0.6, 1.45, 2.2)
"""Variance ratios bet on."""
SHARES = (0.05, 0.3)
"""By how much of what is left to 1 the share of values is bet to rise that the reference hardly had."""
BODY_BETS = 2 * len(SHIFTS) + len(SCALES)
FEATURE_WEIGHTS = np.array([2.0, 2.0, 1.2, 1.2, 1.0, 1.0, 0.5, 2.0, 0.5, 0.4, 0.4, 0.4, 0.4])
FEATURE_WEIGHTS /= FEATURE_WEIGHTS.sum()
"""How a feature's share of the budget is spread over its bets: shifts up and down, scales, outside, missing.

Small changes have the most, because they take longest to find. DESIGN.md, "Bets", has the measurements.
"""
CATEGORY_RISES = (0.15, 0.05, 0.4)
"""By how much of what is left to 1 the share of a category is bet to rise, in the order in which bets are spent."""
EXCUSE_Z = 2.0
"""Standard errors by which a group's own bound is above its own mean; groups are small."""
RUN = 20
"""Consecutive events of which sums are taken to see autocorrelation."""
CHANCE = 0.01
"""Level at which groups count as different."""
MIN_GROUP = 20
"""Reference events below which a group says nothing about natural variation."""
DECIDED = 12.0
"""Nats of evidence after which a bet on a rise is about decided, at the budgets and weights in use."""
NO_BET = 0.5
"""The factor where there is nothing to bet on: with 1, the statistic would still grow by 1 with every event."""
FADE = 0.99
"""The factor for an event that says nothing about a stream; below 1 for the same reason."""
MANY = 0.45
"""By which part of the largest error among many streams a bound is above an estimate; with a few, Caution.z is more."""
SMALLEST, LARGEST = 1e-3, 1e3
"""Bets are kept within these."""


class Caution(msgspec.Struct, frozen=True):
    """How much a bound stays away from an estimate."""

    z: float = 1.0
    """Standard errors added for the finite reference."""
    tail: float = 0.02
    """Chance, per bound, that a share estimated from few events is really larger than its bound."""
    tolerance: float = 0.0
    """Differences too small to matter, as a shift in standard deviations or a share."""
    natural: float = 2.0
    """Standard deviations of the reference's own variation between groups (hours, days, sources) that are allowed."""


def among(streams: int, caution: Caution) -> Caution:
    """The caution for each of so many streams: of the errors of a finite reference, it is the largest that counts.

    Of n normal errors that is about sqrt(2 ln n) standard errors.
    """
    return msgspec.structs.replace(caution, z=max(caution.z, MANY * math.sqrt(2.0 * math.log(max(streams, 1)))))


class Reference(msgspec.Struct, frozen=True):
    """How often each code came in the reference: overall, and in groups that show its natural variation."""

    counts: tuple[int, ...]
    groups: dict[str, dict[str, tuple[int, ...]]]
    """Partition ("time", "hour", "source", "labeler") -> group -> counts, each a part of `counts`."""
    dispersion: float = 1.0
    """How much more short runs of events vary than independent events would; at least 1. See `dispersion`."""


def upper_share(count: npt.ArrayLike, total: float, caution: Caution) -> Floats:
    """Upper confidence bound of a share seen `count` times in `total` events: Poisson tail, at most 1."""
    from scipy.special import gammaincinv  # noqa: PLC0415 - only while learning

    seen = np.asarray(count, dtype=np.float64)
    bound = gammaincinv(seen + 1.0, 1.0 - caution.tail) / max(total, 1.0)
    return np.asarray(np.minimum(bound + caution.tolerance / 2, 1.0))


def natural_spread(table: Floats, groups: Mapping[str, Sequence[int]]) -> Floats:
    """Standard deviation, per bet, of group means beyond what chance explains; shape (bets,).

    Chance explains what the homogeneity statistic of groups that are alike exceeds with probability CHANCE only. What
    is left is a lower bound, and small where it is in doubt: an allowance that comes by luck makes a detector blind to
    every change of its size, and a bet on a shift has room for groups that differ by less than half of it anyway.
    """
    counts = np.asarray([group for group in groups.values() if sum(group) >= MIN_GROUP], dtype=np.float64)
    if len(counts) < 2:
        return np.zeros(table.shape[1])
    sizes = counts.sum(axis=1, keepdims=True)
    means = counts @ table / sizes
    centre = (means * sizes).sum(axis=0) / sizes.sum()
    variance = np.maximum(counts.sum(axis=0) @ table**2 / sizes.sum() - centre**2, 1e-12)
    freedom = len(counts) - 1
    statistic = (sizes * (means - centre) ** 2 / variance).sum(axis=0)
    return np.asarray(np.sqrt(np.maximum(statistic - _chance(freedom), 0.0) / freedom * variance / sizes.mean()))


@lru_cache
def _chance(freedom: int) -> float:
    """What a chi-squared variable exceeds with probability CHANCE."""
    from scipy.special import gammaincinv  # noqa: PLC0415 - only while learning; scipy.stats takes a second

    return float(2.0 * gammaincinv(freedom / 2.0, 1.0 - CHANCE))


def dispersion(scores: Floats, run: int = RUN) -> float:
    """Variance of sums over runs of consecutive events, over what independent events would have; at least 1.

    Autocorrelated events carry less information than they seem to. Evidence is divided by this number: bets are raised
    to the power of its inverse, as a likelihood is tempered. It is 1 if it is within two standard errors of 1.

    Args:
        scores: of consecutive events, shape (n,).
        run: events in a run.
    """
    runs = scores.size // run
    if runs < MIN_GROUP or (variance := float(scores.var())) == 0.0:
        return 1.0
    sums = scores[: runs * run].reshape(runs, run).sum(axis=1)
    ratio = float(sums.var(ddof=1) / (run * variance))
    return ratio if ratio > 1.0 + 2.0 * math.sqrt(2.0 / (runs - 1)) else 1.0


def make_safe(table: Floats, reference: Reference, caution: Caution) -> Floats:
    """Temper each bet (columns of `table`, shape (codes, bets)); divide it by an upper confidence bound of its mean."""
    table = table ** (1.0 / reference.dispersion)
    counts = np.asarray(reference.counts, dtype=np.float64)
    total = max(counts.sum() / reference.dispersion, 1.0)
    held = counts + np.where(counts == 0, 0.5, 0.0)
    shares = held / held.sum()
    mean = shares @ table
    spread = np.sqrt(np.maximum(shares @ table**2 - mean**2, 0.0))
    margin = (caution.z / np.sqrt(total) + caution.tolerance) * spread
    natural = [natural_spread(table, groups) for groups in reference.groups.values()]
    margin += caution.natural * np.max(natural, axis=0, initial=0.0)
    return np.asarray(np.clip(table / np.maximum(mean + margin, 1.0), SMALLEST, LARGEST), dtype=np.float64)


def excuses(table: Floats, groups: Mapping[str, Sequence[int]]) -> dict[str, Floats]:
    """What to divide each group's factors by because groups always differed, shape (bets,) each, at least 1.

    Where groups (sources, labelers) are alike, nobody is excused, and each is held to the bound of all. Where they
    differ more than chance would, each is held to its own mean in the reference, with EXCUSE_Z standard errors.
    """
    if not natural_spread(table, groups).any():
        return {}
    found = {}
    for name, group in groups.items():
        counts = np.asarray(group, dtype=np.float64)
        mean = counts @ table / counts.sum()
        error = np.sqrt(np.maximum(counts @ table**2 / counts.sum() - mean**2, 0.0) / counts.sum())
        found[name] = np.maximum(mean + EXCUSE_Z * error, 1.0)
    return found


@lru_cache(maxsize=65_536)  # the same few counts come again and again, within a model and over a fleet
def rise_bound(count: float, total: float, step: float, caution: Caution) -> float:
    """What the share of codes seen `count` times in `total` events is held to be at most, by a bet that it rises.

    A share that is really p multiplies the evidence by 1 + (p - bound) c an event, on average. What is not known of p
    matters as often as the bet is repeated, and a large rise is decided in a few events. So the bound is where the
    evidence does not grow over these events, on average over p with a Gamma(count + 1/2) posterior; it is not above
    the bound that holds however long the bet lasts.

    Args:
        count: of these codes in the reference.
        total: events of the reference.
        step: the rise, as a share of what is left to 1.
        caution: see Caution.
    """
    longest = float(upper_share(count, total, caution))
    bound = longest
    for _ in range(3):  # from above, so that stopping early errs to the cautious side
        if bound >= 1.0 - 1e-6:
            return 1.0
        share = bound + step * (1.0 - bound)
        per_event = share * math.log(share / bound) + (1.0 - share) * math.log((1.0 - share) / (1.0 - bound))
        exposure = DECIDED / per_event * (share - bound) / (bound * (1.0 - bound))
        if exposure >= total:
            return longest
        average = -(count + 0.5) / exposure * math.log1p(-exposure / total)
        bound = min(longest, average + caution.tolerance / 2)
    return bound


def mask(codes: Iterable[int], size: int) -> npt.NDArray[np.bool_]:
    """Which of `size` codes are among `codes`."""
    found = np.zeros(size, dtype=np.bool_)
    found[list(codes)] = True
    return found


def rise(count: float, total: float, step: float, hit: npt.NDArray[np.bool_], caution: Caution) -> Floats:
    """Likelihood ratio of "the share of `hit` codes has risen by `step`" against its bound (shape (codes,)).

    NO_BET throughout if there is no room to rise.
    """
    bound = rise_bound(count, total, step, caution)
    if bound >= 1.0 - 1e-6:
        return np.full(hit.shape, NO_BET)
    share = bound + step * (1.0 - bound)
    return np.where(hit, share / bound, (1.0 - share) / (1.0 - bound))


def feature_bets(cells: Cells, reference: Reference, caution: Caution) -> Floats:
    """The bets on one feature, shape (codes, FEATURE_BETS): location and scale, or categories; unseen; missing."""
    counts = np.asarray(cells.counts, dtype=np.float64)
    total = counts.sum()
    reserved = np.arange(counts.size) - (counts.size - RESERVED)
    apart = reference.dispersion  # a reference of sessions knows as much of what is rare as one of so many fewer events
    body = _location_bets(counts) if isinstance(cells, NumericCells) else _category_bets(counts / apart, caution)
    outside = (reserved == ABOVE) | (reserved == BELOW)
    missing = reserved == MISSING
    unseen = counts[outside].sum() + (0 if isinstance(cells, NumericCells) else cells.once)
    held = ((outside, unseen), (missing, counts[missing].sum()))
    special = [rise(count / apart, total / apart, share, hit, caution) for hit, count in held for share in SHARES]
    table = make_safe(np.column_stack([body, *special]), reference, caution)
    table[reserved == ABSENT] = FADE
    return table


def _location_bets(counts: Floats) -> Floats:
    """Exponential tilts of the normal score, and variance ratios; values out of range count as the nearest cell."""
    regular = counts.size - RESERVED
    if regular < 2:
        return np.full((counts.size, BODY_BETS), NO_BET)
    inside = normal_scores(counts[:regular].tolist())
    score = np.concatenate([inside, [inside[-1], inside[0], 0.0, 0.0]])
    shifts = [np.exp(sign * shift * score - shift**2 / 2) for shift in SHIFTS for sign in (1.0, -1.0)]
    scales = [ratio**-0.5 * np.exp(score**2 * (1.0 - 1.0 / ratio) / 2) for ratio in SCALES]
    table = np.stack(shifts + scales, axis=1)
    table[regular + MISSING :] = FADE
    # Discrete scores are not Gaussian: the normalisers come from the cells themselves.
    held = np.concatenate([counts[:regular], np.zeros(RESERVED)])
    return np.asarray(table / (held @ table / held.sum()), dtype=np.float64)


def category_hits(regular: int, bet: int) -> tuple[tuple[int, ...], int]:
    """The categories whose rise body bet `bet` is on, and the number of the rise: categories first, then sizes.

    With more categories than bets, a bet is on several of them together, so that none goes unwatched.
    """
    groups = max(min(regular, BODY_BETS), 1)
    return tuple(range(bet % groups, regular, groups)), bet // groups % len(CATEGORY_RISES)


def _category_bets(counts: Floats, caution: Caution) -> Floats:
    """Bets on rises of categories, as many as a numeric feature has on its body."""
    regular = counts.size - RESERVED
    columns = []
    for bet in range(BODY_BETS):
        categories, size = category_hits(regular, bet)
        hit = mask(categories, counts.size)
        columns.append(rise(counts[hit].sum(), counts.sum(), CATEGORY_RISES[size], hit, caution))
    return np.stack(columns, axis=1)
