"""Practice events: a made-up model that is well, for a drill where no recorded events are at hand."""

import numpy as np

from monitor.intake.events import Event, Label, Prediction

MODEL = "practice"
START = 1_772_409_600.0
"""2026-03-02T00:00:00Z."""
EVERY = 30.0
"""Seconds from a prediction to the next."""
LANGUAGES = ("en", "de", "fr")


def events(predictions: int = 6_000, seed: int = 1) -> list[Event]:
    """Mail that a filter sorts into ham and spam, and what readers say of nine in ten of it, in order of time.

    Lengths, links and the sender's age differ between the two classes; the filter is wrong about one mail in thirty,
    mostly where they overlap. Six sources, four labelers, one in a hundred labels is wrong.
    """
    rng = np.random.default_rng(seed)
    spam = rng.random(predictions) < 0.4
    numbers = rng.normal(size=(predictions, 4)) + np.outer(spam, [2.0, 1.5, -2.0, 0.0])
    score = numbers @ [1.0, 0.7, -1.0, 0.0] - 2.5
    told = score + rng.normal(scale=0.3, size=predictions) > 0
    noisy = rng.random(predictions) < 0.01
    ts = START + EVERY * np.arange(predictions)
    delays = rng.exponential(1800.0, predictions)
    drawn = {name: rng.integers(count, size=predictions) for name, count in (("source", 6), ("labeler", 4))}
    language = rng.choice(LANGUAGES, predictions, p=[0.6, 0.3, 0.1])
    found: list[Event] = []
    for n in np.arange(predictions).tolist():
        values = dict(zip(("length", "links", "age", "hour"), np.round(numbers[n], 3).tolist(), strict=True))
        found.append(
            Prediction(
                event_id=f"practice-{n}",
                ts=float(ts[n]),
                model=MODEL,
                version="1",
                features=values | {"language": str(language[n])},
                prediction="spam" if told[n] else "ham",
                source=f"client-{drawn['source'][n] + 1}",
            )
        )
        if rng.random() < 0.9:
            label = "spam" if spam[n] != noisy[n] else "ham"
            labeler = f"reader-{drawn['labeler'][n] + 1}"
            found.append(Label(f"practice-{n}", float(ts[n] + delays[n]), label, labeler=labeler))
    return sorted(found, key=lambda event: event.epoch)
