"""Learning: a baseline from the reference events of one model."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from detectors.bets import MIN_GROUP, RUN, Reference, dispersion
from detectors.cells import RESERVED, Cells, NumericCells, category_cells, normal_scores, numeric_cells
from detectors.pairs import PAIR_CODES, PRODUCTS
from detectors.projection import Projection
from detectors.projection import learn as project
from detectors.surrogate import LEVELS, UNSURE, Surrogate, learn, score_tables
from monitor.detection import askers, outliers
from monitor.detection.baseline import (
    ANSWERS,
    CERTAINTIES,
    EXTRA,
    OTHER,
    PREDICTION,
    Baseline,
    BaselineError,
    FeatureReference,
    PairReference,
    canonical,
    category,
    certainty,
    decode,
    embedded,
    residual,
)
from monitor.detection.dues import learn as learn_dues
from monitor.detection.grouping import Groups, counted, frequent, named, time_groups, within
from monitor.detection.pairs import PAIRS, Pairs, rank
from monitor.intake.events import Prediction, Value, class_name
from monitor.intake.join import Joined

Codes = npt.NDArray[np.intp]

MAX_CLASSES = 32
"""Classes on their own; the rest, and any class the reference did not have, are one outcome: `OTHER`."""
MAX_GROUPS = 32
"""Sources and labelers whose own reference is kept; the frequent ones come first."""
MIN_PREDICTIONS = 50


def build(model: str, predictions: Sequence[Prediction], joined: Sequence[Joined]) -> Baseline:
    """Learn a baseline from the reference events of one model. Raises BaselineError if there are too few."""
    if len(predictions) < MIN_PREDICTIONS:
        raise BaselineError(
            f"{model}: {len(predictions)} predictions in the reference, at least {MIN_PREDICTIONS} needed"
        )
    times = np.array([prediction.epoch for prediction in predictions])
    sources = frequent((p.source for p in predictions), MAX_GROUPS)
    groups = {**time_groups(times), "source": named([p.source for p in predictions], sources)}
    regression = any(isinstance(p.prediction, float) and not p.prediction.is_integer() for p in predictions)
    outputs: list[Value] = [p.prediction if regression else class_name(p.prediction) for p in predictions]
    names = () if regression else (*map(str, outputs), *(class_name(j.label) for j in joined))
    classes = tuple(sorted(frequent((name for name in names if name != OTHER), MAX_CLASSES)))
    values = dict(_feature_values(predictions))
    projection, of_embeddings = _embeddings(predictions, () if regression else (*classes, OTHER))
    features = {name: _feature(column, groups) for name, column in values.items()}
    # The axes fit those that they were learnt from too well: what is usual is learnt from the others.
    others = within(groups, np.arange(len(predictions)) % 2 == 1)
    features |= {name: _feature(column[1::2], others) for name, column in of_embeddings.items()}
    values |= of_embeddings
    codes = {name: _codes(features[name].cells, column) for name, column in values.items()}
    features[PREDICTION] = _feature(outputs, groups)
    features[EXTRA] = _feature(["no"] * len(predictions), groups)
    labelers = frequent((j.labeler for j in joined), MAX_GROUPS)
    surrogate: Surrogate | None = None
    agreement: tuple[Reference, ...] = ()
    if not regression and len(features) > 2:  # one with nothing but its own prediction to look at has no surrogate
        surrogate, agreement = _surrogate(predictions, codes, features, (*classes, OTHER), groups)
    learnt = Baseline(
        model=model,
        versions=tuple(sorted({p.version for p in predictions})),
        began=float(times.min()),
        ended=float(times.max()),
        predictions=len(predictions),
        labels=len(joined),
        features=features,
        pairs=_pairs(codes, features, groups),
        projection=projection,
        classes=(*classes, OTHER),
        confusion={} if regression else _confusion(joined, (*classes, OTHER), sources, labelers),
        labelled=() if regression else _labelled(joined, (*classes, OTHER), sources, labelers),
        residual=_residual(joined, sources, labelers) if regression else None,
        surrogate=surrogate,
        agreement=agreement,
        dues=learn_dues(predictions, joined, (OTHER,) if regression else (*classes, OTHER), sources),
        outliers=outliers.learn(values, codes, features, slice(1, None, 2) if of_embeddings else slice(None)),
        askers=askers.learn([p.source for p in predictions], sources, groups),
        sources=sources,
        labelers=labelers,
    )
    # As it will be after a restart: the order of keys is the order of columns, and of additions that are rounded.
    return decode(canonical(learnt))


def _feature_values(predictions: Sequence[Prediction]) -> Iterable[tuple[str, list[Value]]]:
    names = sorted({name for prediction in predictions for name in prediction.features})
    for name in names:
        yield name, [prediction.features.get(name) for prediction in predictions]


def _feature(values: Sequence[Value], groups: Groups) -> FeatureReference:
    """Learn one feature; it is categorical if any of its reference values is text."""
    text = any(isinstance(value, str) for value in values)
    cells = category_cells(map(category, values)) if text else numeric_cells(_numbers(values))
    regular = cells.counts[:-RESERVED]
    scores = np.array([*normal_scores(regular), *[0.0] * RESERVED])  # of categories too: the frequent come first
    codes = _codes(cells, values)
    return FeatureReference(cells, counted(codes, cells.size, groups, dispersion(scores[codes])))


def _codes(cells: Cells, values: Sequence[Value]) -> npt.NDArray[np.intp]:
    """The codes of values that the cells were learnt from."""
    if isinstance(cells, NumericCells):
        return cells.encode(_numbers(values))
    table = cells.table()
    return np.array([table[category(value)] for value in values], dtype=np.intp)


def _numbers(values: Sequence[Value]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else float(value) for value in values])


def _embeddings(
    predictions: Sequence[Prediction], classes: tuple[str, ...]
) -> tuple[Projection | None, dict[str, list[Value]]]:
    """Learn from every second event what becomes of embeddings of the commonest size; give what becomes of all."""
    held = [prediction.embedding for prediction in predictions]
    sizes = Counter(len(embedding) for embedding in held if embedding)
    if not sizes:
        return None, {}
    size = sizes.most_common(1)[0][0]
    code = {name: position for position, name in enumerate(classes)}
    answers = np.array([code.get(class_name(p.prediction), len(classes) - 1) for p in predictions], dtype=np.intp)
    whole = [place for place, embedding in enumerate(held) if embedding and len(embedding) == size and place % 2 == 0]
    projection = project(np.array([held[place] for place in whole]), answers[whole], len(classes))
    if projection is None:
        return None, {}
    columns = projection.of(held, answers).T
    return projection, {
        name: [None if math.isnan(value) else value for value in column.tolist()]
        for name, column in zip(embedded(projection), columns, strict=True)
    }


def _pairs(
    codes: Mapping[str, Codes],
    features: Mapping[str, FeatureReference],
    groups: Groups,
) -> tuple[PairReference, ...]:
    """Learn how features go together.

    Where there are more pairs than are watched, they are chosen by every second event, and what is usual of them is
    learnt from the others: those that seem to go together most do so by luck in the events that they are chosen by. How
    much sessions vary is learnt from all of them: half of a session is not how bets meet it.
    """
    served = {name: feature for name, feature in features.items() if name not in ANSWERS}
    ranked = rank(served, {name: codes[name][::2] for name in served})
    if not ranked:
        return ()
    rows = slice(1, None, 2) if len(ranked) > PAIRS else slice(None)
    found = Pairs(served, ranked[:PAIRS]).of(np.column_stack([codes[name] for name in served]))
    products = np.append(PRODUCTS, 0.0)
    within = {
        partition: {name: mask[rows] for name, mask in groups[partition].items()} for partition in ("time", "hour")
    }
    return tuple(
        PairReference(*pair, counted(column[rows], PAIR_CODES, within, dispersion(products[column])))
        for pair, column in zip(ranked[:PAIRS], found.T, strict=True)
    )


def _surrogate(
    predictions: Sequence[Prediction],
    codes: Mapping[str, Codes],
    features: Mapping[str, FeatureReference],
    classes: tuple[str, ...],
    groups: Groups,
) -> tuple[Surrogate, tuple[Reference, ...]]:
    """Learn a surrogate of the model, and how often the two agree."""
    code = {name: position for position, name in enumerate(classes)}
    order = np.argsort([prediction.epoch for prediction in predictions], kind="stable")
    answers = np.array([code.get(class_name(p.prediction), len(classes) - 1) for p in predictions], dtype=np.intp)
    served = sorted(features.keys() - ANSWERS)
    tables = score_tables([features[name].cells for name in served])
    scores = tables[np.arange(len(served)), np.column_stack([codes[name] for name in served])]
    surrogate, kinds = learn(scores[order], answers[order], len(classes))
    found = np.empty_like(kinds)
    found[order] = kinds
    told = order[kinds != UNSURE]
    varies = _clustered(answers[told] != found[told] // LEVELS, [predictions[place].source for place in told])
    return surrogate, tuple(
        counted(answers[found == kind], len(classes), within(groups, found == kind), varies)
        for kind in range(len(classes) * LEVELS)
    )


def _clustered(hits: npt.NDArray[np.bool_], sources: Sequence[str | None]) -> float:
    """How much more `hits` (in order of time) vary from session to session of a source than they would by themselves.

    Whoever asks once asks for more of the same, so that one odd input is followed by others; see `dispersion`.
    """
    together = np.argsort(np.array([source or "" for source in sources], dtype=object), kind="stable")
    return dispersion(hits[together].astype(np.float64), max(min(RUN, hits.size // MIN_GROUP), 1))


def _confusion(
    joined: Sequence[Joined], classes: tuple[str, ...], sources: tuple[str, ...], labelers: tuple[str, ...]
) -> dict[str, Reference]:
    labels, predicted = _codes_of(classes, joined)
    groups = _label_groups(joined, sources, labelers)
    return {
        name: counted(
            predicted[labels == position],
            len(classes),
            within(groups, labels == position),
            dispersion((predicted[labels == position] != position).astype(np.float64)),
        )
        for position, name in enumerate(classes)
    }


def _codes_of(classes: tuple[str, ...], joined: Sequence[Joined]) -> tuple[Codes, Codes]:
    """The class codes of labels, and of what was predicted."""
    code = {name: position for position, name in enumerate(classes)}
    other = len(classes) - 1
    labels = [code.get(class_name(join.label), other) for join in joined]
    predicted = [code.get(class_name(join.prediction), other) for join in joined]
    return np.array(labels, dtype=np.intp), np.array(predicted, dtype=np.intp)


def _labelled(
    joined: Sequence[Joined], classes: tuple[str, ...], sources: tuple[str, ...], labelers: tuple[str, ...]
) -> tuple[Reference, ...]:
    """How often each label came, by what the model had said and how sure it was."""
    labels, predicted = _codes_of(classes, joined)
    kinds = predicted * CERTAINTIES + np.array([certainty(j.confidence) for j in joined], dtype=np.intp)
    groups = _label_groups(joined, sources, labelers)
    return tuple(
        counted(
            labels[kinds == kind],
            len(classes),
            within(groups, kinds == kind),
            dispersion((labels[kinds == kind] != kind // CERTAINTIES).astype(np.float64)),
        )
        for kind in range(len(classes) * CERTAINTIES)
    )


def _residual(joined: Sequence[Joined], sources: tuple[str, ...], labelers: tuple[str, ...]) -> FeatureReference:
    return _feature([residual(j.prediction, j.label) for j in joined], _label_groups(joined, sources, labelers))


def _label_groups(joined: Sequence[Joined], sources: tuple[str, ...], labelers: tuple[str, ...]) -> Groups:
    return {
        **time_groups(np.array([j.predicted_at for j in joined])),
        "source": named([j.source for j in joined], sources),
        "labeler": named([j.labeler for j in joined], labelers),
    }
