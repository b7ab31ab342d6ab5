"""What detectors are measured on: in-control events, and the changes that they should find.

Arrays are time first: (events, repeats, features). A repeat is an independent run with a reference of its own.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Random = np.random.Generator

Draw = Callable[[int], Floats]
"""The next so many events of all repeats."""
Control = Callable[[Random, int], Draw]
"""Begins in-control events: (random, repeats) -> draw."""
Change = Callable[[Floats, Floats, Random], Floats]
"""What a change makes of in-control values: (values, 1, 2, 3, ... since it came, random) -> values."""

LEARN = 2_000
"""In-control events that every detector sees first."""
ERROR_RATE = 0.05
RAMP = 5_000
"""Events in which the ramp reaches one standard deviation."""
DAY = 500
"""Events in a day, where the time of day matters."""


@dataclass(frozen=True)
class World:
    """One kind of in-control events with its changes."""

    name: str
    features: int
    control: Control
    changes: Mapping[str, Change] = field(default_factory=dict)
    errors: bool = False
    """True if a value is 1 for a wrong prediction and 0 for a right one."""


def gaussian(features: int) -> World:
    """Standard normal features, of which the first changes."""

    def first(change: Callable[[Floats, Floats], Floats]) -> Change:
        def changed(values: Floats, since: Floats, _random: Random) -> Floats:
            values[..., 0] = change(values[..., 0], since[:, np.newaxis])
            return values

        return changed

    changes = {
        "mean +0.25": first(lambda values, _: values + 0.25),
        "mean +0.5": first(lambda values, _: values + 0.5),
        "mean +1": first(lambda values, _: values + 1.0),
        "variance x1.5": first(lambda values, _: values * math.sqrt(1.5)),
        "ramp": first(lambda values, since: values + np.minimum(since / RAMP, 1.0)),
    }
    name = "one feature" if features == 1 else f"one of {features} features"
    return World(name, features, _independent(features, Random.standard_normal), changes)


def correlation(features: int, rho: float = 0.8) -> World:
    """Standard normal features, of which the first two become correlated; each alone stays as it is."""

    def changed(values: Floats, _since: Floats, _random: Random) -> Floats:
        values[..., 1] = rho * values[..., 0] + math.sqrt(1 - rho**2) * values[..., 1]
        return values

    name = f"one pair of {features} features"
    return World(name, features, _independent(features, Random.standard_normal), {f"correlation {rho:g}": changed})


def errors() -> World:
    """Right and wrong predictions, independent."""

    def at(rate: float) -> Change:
        return lambda values, _, random: (random.random(values.shape) < rate).astype(np.float64)

    return World(
        "errors of 5 %",
        1,
        _independent(1, lambda random, shape: random.random(shape) < ERROR_RATE),
        {"to 10 %": at(0.10), "to 20 %": at(0.20)},
        errors=True,
    )


def in_control(features: int) -> list[World]:
    """Several kinds of in-control events, on which nobody may alarm more often than the budget says."""
    kinds: dict[str, Control] = {
        "Gaussian": _independent(features, Random.standard_normal),
        "Student t3": _independent(features, lambda random, shape: random.standard_t(3, shape)),
        "Poisson(2), ties": _independent(features, lambda random, shape: random.poisson(2.0, shape)),
        "Bernoulli(0.1)": _independent(features, lambda random, shape: random.random(shape) < 0.1),
        "AR(0.3), day and night": lambda random, repeats: _rhythmic(random, repeats, features),
    }
    return [World(name, features, control) for name, control in kinds.items()]


def _independent(features: int, draw: Callable[[Random, tuple[int, int, int]], npt.NDArray[np.generic]]) -> Control:
    return lambda random, repeats: lambda events: np.asarray(draw(random, (events, repeats, features)), np.float64)


def _rhythmic(random: Random, repeats: int, features: int) -> Draw:
    """Autocorrelated by 0.3, with days and nights that swing by 0.3 standard deviations; nothing drifts."""
    state, clock = random.standard_normal((repeats, features)), 0

    def draw(events: int) -> Floats:
        nonlocal state, clock
        values = random.standard_normal((events, repeats, features))
        values *= math.sqrt(1 - 0.3**2)
        for place in range(events):
            values[place] += 0.3 * state
            state = values[place].copy()
        phase = 2 * np.pi * (clock + np.arange(events)) / DAY
        clock += events
        return values + 0.3 * np.sin(phase)[:, np.newaxis, np.newaxis]

    return draw
