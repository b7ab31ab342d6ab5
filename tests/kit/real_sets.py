"""Real data as events: of a model that is trained on the first rows, or of a crowd that answers one by one."""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from monitor.intake.source import Partition, Record

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"
START = 1_700_000_000.0
Event = dict[str, Any]


def rows(name: str) -> list[dict[str, Any]]:
    """All rows of a set, in its order."""
    from pyarrow import parquet

    found: list[dict[str, Any]] = parquet.read_table(REAL / name / f"{name}.parquet").to_pylist()
    return found


def served(
    table: Sequence[dict[str, Any]], features: Sequence[str], label: str, *, trained: int, step: float
) -> Iterator[Event]:
    """Predictions of a logistic regression for all rows, each with its label before the next row.

    Args:
        table: the rows.
        features: columns that the model sees.
        label: the column that it predicts.
        trained: it has learnt from so many rows, the first.
        step: seconds from row to row.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inputs = [[float(row[name]) for name in features] for row in table]
    truth = [str(row[label]) for row in table]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(inputs[:trained], truth[:trained])
    for number, told in enumerate(model.predict(inputs)):
        values = dict(zip(features, inputs[number], strict=True))
        common = {"event_id": str(number), "model": "served"}
        asked = {"ts": START + number * step, "version": "1", "features": values, "prediction": str(told)}
        yield common | {"kind": "prediction"} | asked
        yield common | {"kind": "label", "ts": START + (number + 0.5) * step, "label": truth[number]}


def answered(table: Sequence[dict[str, Any]], seed: int = 1) -> list[tuple[str, str, str]]:
    """(worker, answer, what most of the others said of the item); in an order of chance, for the set has no times."""
    items: dict[str, Counter[str]] = defaultdict(Counter)
    for row in table:
        items[row["item"]][row["label"]] += 1
    found = []
    for row in table:
        others = items[row["item"]] - Counter([row["label"]])
        if others:
            found.append((row["worker"], row["label"], max(sorted(others), key=others.__getitem__)))
    random.Random(seed).shuffle(found)
    return found


def crowd(model: str, answers: Iterable[tuple[str | None, str, str]]) -> Iterator[Event]:
    """Each answer as a prediction by a worker, and what most of the others said as its label."""
    for number, (worker, answer, others) in enumerate(answers):
        common = {"event_id": f"{model}-{number}", "model": model, "ts": START + number}
        yield common | {"kind": "prediction", "version": "1", "source": worker, "features": {}, "prediction": answer}
        yield common | {"kind": "label", "label": others}


def records(events: Iterable[Event]) -> list[Record]:
    """Events as records of one partition."""
    return [Record(Partition("real", 0), n, json.dumps(event).encode(), 0.0) for n, event in enumerate(events)]
