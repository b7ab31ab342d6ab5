"""A kernel's view of all features at once: how usual each event is under the mean embedding of the reference.

The product's own bets on that one number, with random Fourier features of a Gaussian kernel (Rahimi and Recht 2007),
are the frozen half of a maximum mean discrepancy (Gretton et al. 2012). Measured to know what is not built in.
"""

import math

import numpy as np

from tests.bench import engine
from tests.bench.paths import Follow, PathDetector, Start
from tests.bench.worlds import Floats

FREQUENCIES = 64


def density(seed: int) -> PathDetector:
    """Half of what is learnt from gives the embedding, the other half what is usual."""
    inner = engine.features()

    def learn(learnt: Floats) -> Start:
        features = learnt.shape[2]
        random = np.random.default_rng(seed)
        # The width is about the distance of two events.
        waves = random.normal(size=(features, FREQUENCIES)) / math.sqrt(features)
        phases = random.uniform(0, 2 * math.pi, FREQUENCIES)
        means = _waved(learnt[::2], waves, phases).mean(axis=0)

        def usual(values: Floats) -> Floats:
            return np.einsum("erf,rf->er", _waved(values, waves, phases), means)[..., np.newaxis]

        start = inner.learn(usual(learnt[1::2]))

        def begin() -> Follow:
            follow = start()
            return lambda values: follow(usual(values))

        return begin

    return PathDetector("random Fourier features, the reference's mean", learn)


def _waved(values: Floats, waves: Floats, phases: Floats) -> Floats:
    """Random Fourier features, (events, repeats, FREQUENCIES)."""
    return np.asarray(math.sqrt(2 / FREQUENCIES) * np.cos(values @ waves + phases))
