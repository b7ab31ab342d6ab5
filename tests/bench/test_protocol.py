"""The knob is set to the run length that is wanted, whatever the sizes of the statistics."""

import numpy as np
import pytest

from tests.bench.paths import first_passages
from tests.bench.protocol import Bench, _calibrated
from tests.bench.report import run_length


@pytest.mark.parametrize("outlier", [1.0, 1e30])
def test_one_run_that_went_astray_does_not_spoil_the_knob(outlier: float) -> None:
    random = np.random.default_rng(1)
    peaks = np.maximum.accumulate(random.exponential(size=(20, 2000)), axis=1).astype(np.float32)
    peaks[0, -1:] *= outlier
    bench = Bench(seed=1, run_length=500, cap=2000, pre=0, post=0)
    knob = _calibrated(peaks, bench)
    assert run_length(first_passages(peaks, knob), bench.cap)["mean"] == pytest.approx(500, rel=0.1)
    assert 4.0 < knob < 9.0
