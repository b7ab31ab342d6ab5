"""In-control runs of everything that is watched of one model: features, sources, predictions, labels, labelers."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from detectors.bets import Caution
from monitor.detection.companions import Companions
from monitor.detection.learning import build
from monitor.detection.lessons import Until
from monitor.detection.watch import Watch
from monitor.intake.events import Prediction
from monitor.intake.join import Joined
from tests.bench.engine import BEGAN, SPACING
from tests.bench.worlds import ERROR_RATE, LEARN

FEATURES = 20
SOURCES = tuple(f"source-{number}" for number in range(8))
LABELERS = ("labeler-0", "labeler-1")
CLASSES = ("attack", "normal")
TURN = 500
"""Events that are worked through together."""

Events = Iterator[tuple[Prediction, Joined]]


def first_alarms(budget: float, cap: int, runs: int, seed: int) -> npt.NDArray[np.int64]:
    """Event (1, 2, ...; predictions and labels alike) of each run's first alarm; 0 if there is none within `cap`."""
    return np.array([_first(budget, cap, np.random.default_rng([seed, run])) for run in range(runs)])


def events(random: np.random.Generator) -> Events:
    """Predictions of a model with two classes, each with its label, of which a few say that it was wrong."""
    number = 0
    while True:
        values = random.standard_normal((TURN, FEATURES)).tolist()
        drawn = random.random((TURN, 4)).tolist()
        for row, (source, answer, labeler, error) in zip(values, drawn, strict=True):
            ts = BEGAN + number * SPACING
            said = int(answer * len(CLASSES))
            features: dict[str, float | int | bool | str | None] = {f"f{place:02d}": x for place, x in enumerate(row)}
            source_name = SOURCES[int(source * len(SOURCES))]
            prediction = Prediction(str(number), ts, "bench", "1", features, CLASSES[said], source_name)
            truth = CLASSES[1 - said if error < ERROR_RATE else said]
            labeler_name = LABELERS[int(labeler * len(LABELERS))]
            yield prediction, Joined("bench", "1", source_name, CLASSES[said], ts, truth, labeler_name, ts)
            number += 1


def _first(budget: float, cap: int, random: np.random.Generator) -> int:
    stream = events(random)
    learnt = [next(stream) for _ in range(LEARN)]
    baseline = build("bench", [prediction for prediction, _ in learnt], [joined for _, joined in learnt])
    watch = Watch(
        "bench", budget=budget, baseline=baseline, until=Until(), caution=Caution(), companions=Companions(())
    )
    while watch.events < cap:
        _take(watch, [next(stream) for _ in range(TURN // 2)])
        for moment, judgement in watch.update():
            if judgement is not None:
                return moment.index
    return 0


def _take(watch: Watch, pairs: Sequence[tuple[Prediction, Joined]]) -> None:
    for prediction, joined in pairs:
        watch.take(prediction, prediction.epoch)
        watch.take(joined, joined.labelled_at)
