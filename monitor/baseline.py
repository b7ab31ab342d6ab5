"""Baselines: what "all is well" looked like, learnt once from verified events, frozen and named by its digest.

Nothing re-learns a baseline silently: an attacker who is slow enough wins against every window that moves with him.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.bets import Reference, dispersion
from detectors.cells import (
    RESERVED,
    Cells,
    NumericCells,
    category_cells,
    normal_scores,
    numeric_cells,
)
from monitor.events import ClassLabel, Prediction, Value, class_name
from monitor.join import Joined

FORMAT = 1
MAX_CLASSES = 32
"""Classes on their own; the rest, and any class the reference did not have, are one outcome: `OTHER`."""
OTHER = "(other)"
MAX_GROUPS = 32
"""Sources and labelers whose own reference is kept; the frequent ones come first."""
MIN_PREDICTIONS = 50
EXTRA = "(extra features)"
"""The stream that says whether an event carries features which the reference did not have."""
PREDICTION = "(prediction)"
"""The stream of what the model predicts: classes, or numbers."""


class BaselineError(Exception):
    """The baseline cannot be built, read or trusted; one clear line."""


class FeatureReference(msgspec.Struct, frozen=True):
    """One feature: its alphabet, and how often each code came."""

    cells: Cells
    reference: Reference


class Baseline(msgspec.Struct, frozen=True):
    """The frozen reference of one model."""

    model: str
    versions: tuple[str, ...]
    began: float
    """Epoch seconds of the first and the last event learnt from."""
    ended: float
    predictions: int
    labels: int
    features: dict[str, FeatureReference]
    classes: tuple[str, ...]
    """Outcomes in code order, the last one OTHER; only OTHER for a regression model."""
    confusion: dict[str, Reference]
    """For each label class, how often each class was predicted."""
    residual: FeatureReference | None
    """Regression: prediction minus label."""
    sources: tuple[str, ...]
    labelers: tuple[str, ...]
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the canonical JSON form."""
        return f"sha256:{sha256(canonical(self)).hexdigest()}"

    @property
    def regression(self) -> bool:
        """True if the model predicts numbers rather than classes."""
        return self.residual is not None


def numeric(feature: FeatureReference) -> NumericCells:
    """The cells of a feature that must be numeric. Raises BaselineError if a baseline file says otherwise."""
    if not isinstance(feature.cells, NumericCells):
        raise BaselineError("the model's output is numeric, but the baseline has categories for it")
    return feature.cells


def canonical(baseline: Baseline) -> bytes:
    """The bytes that the digest is taken over: JSON with sorted keys and no spaces."""
    return msgspec.json.encode(baseline, order="deterministic")


def decode(raw: bytes) -> Baseline:
    """Read what `canonical` gave. Raises BaselineError."""
    try:
        return msgspec.json.decode(raw, type=Baseline)
    except msgspec.DecodeError as error:
        raise BaselineError(f"not a baseline: {error}") from error


def save(baseline: Baseline, path: Path) -> None:
    """Write the baseline with its digest."""
    body = msgspec.json.encode({"digest": baseline.digest, "baseline": baseline}, order="deterministic")
    path.write_bytes(msgspec.json.format(body, indent=1))


def load(path: Path) -> Baseline:
    """Read a baseline and verify its digest. Raises BaselineError."""

    class File(msgspec.Struct):
        digest: str
        baseline: Baseline

    try:
        file = msgspec.json.decode(path.read_bytes(), type=File)
    except OSError as error:
        raise BaselineError(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BaselineError(f"{path}: not a baseline: {error}") from error
    if file.baseline.format != FORMAT:
        raise BaselineError(f"{path}: format {file.baseline.format}, this version reads {FORMAT}")
    if file.baseline.digest != file.digest:
        raise BaselineError(
            f"{path}: the content does not match its digest {file.digest}: it was changed after freezing"
        )
    return file.baseline


def build(model: str, predictions: Sequence[Prediction], joined: Sequence[Joined]) -> Baseline:
    """Learn a baseline from the reference events of one model. Raises BaselineError if there are too few."""
    if len(predictions) < MIN_PREDICTIONS:
        raise BaselineError(
            f"{model}: {len(predictions)} predictions in the reference, at least {MIN_PREDICTIONS} needed"
        )
    times = np.array([prediction.epoch for prediction in predictions])
    sources = _frequent((p.source for p in predictions), MAX_GROUPS)
    groups = {**_time_groups(times), "source": _named([p.source for p in predictions], sources)}
    regression = any(isinstance(p.prediction, float) and not p.prediction.is_integer() for p in predictions)
    outputs: list[Value] = [p.prediction if regression else class_name(p.prediction) for p in predictions]
    named = () if regression else (*map(str, outputs), *(class_name(j.label) for j in joined))
    classes = tuple(sorted(_frequent((name for name in named if name != OTHER), MAX_CLASSES)))
    features = {name: _feature(values, groups) for name, values in _feature_values(predictions)}
    features[PREDICTION] = _feature(outputs, groups)
    features[EXTRA] = _feature(["no"] * len(predictions), groups)
    labelers = _frequent((j.labeler for j in joined), MAX_GROUPS)
    learnt = Baseline(
        model=model,
        versions=tuple(sorted({p.version for p in predictions})),
        began=float(times.min()),
        ended=float(times.max()),
        predictions=len(predictions),
        labels=len(joined),
        features=features,
        classes=(*classes, OTHER),
        confusion={} if regression else _confusion(joined, (*classes, OTHER), sources, labelers),
        residual=_residual(joined, sources, labelers) if regression else None,
        sources=sources,
        labelers=labelers,
    )
    # As it will be after a restart: the order of keys is the order of columns, and of additions that are rounded.
    return decode(canonical(learnt))


def _feature_values(predictions: Sequence[Prediction]) -> Iterable[tuple[str, list[Value]]]:
    names = sorted({name for prediction in predictions for name in prediction.features})
    for name in names:
        yield name, [prediction.features.get(name) for prediction in predictions]


def _feature(values: Sequence[Value], groups: dict[str, dict[str, npt.NDArray[np.bool_]]]) -> FeatureReference:
    """Learn one feature; it is categorical if any of its reference values is text."""
    cells: Cells
    if any(isinstance(value, str) for value in values):
        texts = [category(value) for value in values]
        cells = category_cells(texts)
        table = cells.table()
        codes = np.array([table[text] for text in texts], dtype=np.intp)
    else:
        numbers = np.array([np.nan if value is None else float(value) for value in values])
        cells = numeric_cells(numbers)
        codes = cells.encode(numbers)
    regular = cells.counts[:-RESERVED]
    scores = np.array([*normal_scores(regular), *[0.0] * RESERVED])  # of categories too: the frequent come first
    return FeatureReference(cells, _reference(codes, cells.size, groups, dispersion(scores[codes])))


def category(value: Value) -> str | None:
    """The category that a value of a categorical feature is."""
    return None if value is None else class_name(value)


def _confusion(
    joined: Sequence[Joined], classes: tuple[str, ...], sources: tuple[str, ...], labelers: tuple[str, ...]
) -> dict[str, Reference]:
    code = {name: position for position, name in enumerate(classes)}
    other = len(classes) - 1
    labels = np.array([code.get(class_name(j.label), other) for j in joined], dtype=np.intp)
    predicted = np.array([code.get(class_name(j.prediction), other) for j in joined], dtype=np.intp)
    groups = _label_groups(joined, sources, labelers)
    return {
        name: _reference(
            predicted[labels == position],
            len(classes),
            {
                partition: {group: mask[labels == position] for group, mask in masks.items()}
                for partition, masks in groups.items()
            },
            dispersion((predicted[labels == position] != position).astype(np.float64)),
        )
        for position, name in enumerate(classes)
    }


def _residual(joined: Sequence[Joined], sources: tuple[str, ...], labelers: tuple[str, ...]) -> FeatureReference:
    return _feature([residual(j.prediction, j.label) for j in joined], _label_groups(joined, sources, labelers))


def residual(prediction: ClassLabel, label: ClassLabel) -> float | None:
    """Prediction minus label, None where either is no number."""
    if isinstance(prediction, str) or isinstance(label, str):
        return None
    return float(prediction) - float(label)


def _label_groups(
    joined: Sequence[Joined], sources: tuple[str, ...], labelers: tuple[str, ...]
) -> dict[str, dict[str, npt.NDArray[np.bool_]]]:
    return {
        **_time_groups(np.array([j.predicted_at for j in joined])),
        "source": _named([j.source for j in joined], sources),
        "labeler": _named([j.labeler for j in joined], labelers),
    }


def _reference(
    codes: npt.NDArray[np.intp],
    size: int,
    groups: dict[str, dict[str, npt.NDArray[np.bool_]]],
    varies: float,
) -> Reference:
    def count(rows: npt.NDArray[np.intp]) -> tuple[int, ...]:
        return tuple(np.bincount(rows, minlength=size).tolist())

    return Reference(
        counts=count(codes),
        groups={
            partition: {group: count(codes[mask]) for group, mask in masks.items() if mask.any()}
            for partition, masks in groups.items()
        },
        dispersion=varies,
    )


def _time_groups(times: npt.NDArray[np.float64]) -> dict[str, dict[str, npt.NDArray[np.bool_]]]:
    """Blocks of time, and quarters of the day: by how much they differ is natural variation."""
    if times.size == 0:
        return {}
    began, ended = float(times.min()), float(times.max())
    blocks = int(np.clip((ended - began) / 21_600, 4, 16))
    block = np.minimum(((times - began) / max(ended - began, 1e-9) * blocks).astype(int), blocks - 1)
    quarter = (times % 86_400 // 21_600).astype(int)
    return {
        "time": {str(number): block == number for number in range(blocks)},
        "hour": {f"{number * 6:02d}": quarter == number for number in range(4)},
    }


def _named(names: Sequence[str | None], wanted: tuple[str, ...]) -> dict[str, npt.NDArray[np.bool_]]:
    column = np.array([name or "" for name in names], dtype=object)
    return {name: np.asarray(column == name, dtype=np.bool_) for name in wanted}


def _frequent(names: Iterable[str | None], most: int) -> tuple[str, ...]:
    seen = Counter(name for name in names if name is not None)
    return tuple(name for name, _ in sorted(seen.items(), key=lambda item: (-item[1], item[0]))[:most])


def describe(baseline: Baseline) -> dict[str, object]:
    """What `tocsin baseline show` prints: sizes and names, no values of events."""
    served = [feature.cells for name, feature in baseline.features.items() if name not in (EXTRA, PREDICTION)]
    numeric = sum(isinstance(cells, NumericCells) for cells in served)
    return {
        "model": baseline.model,
        "digest": baseline.digest,
        "versions": list(baseline.versions),
        "from": datetime.fromtimestamp(baseline.began, tz=UTC).isoformat(timespec="seconds"),
        "until": datetime.fromtimestamp(baseline.ended, tz=UTC).isoformat(timespec="seconds"),
        "predictions": baseline.predictions,
        "labels": baseline.labels,
        "features": {"numeric": numeric, "categorical": len(served) - numeric},
        "classes": [] if baseline.regression else list(baseline.classes[:-1]),
        "sources": len(baseline.sources),
        "labelers": len(baseline.labelers),
    }
