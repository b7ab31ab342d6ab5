"""Events of a model that is served for a while and then, if asked, poisoned: made up, seeded, in the native format."""

import json
import random
from collections.abc import Iterator
from typing import Any

START = 1_772_409_600.0  # 2026-03-02T00:00:00Z


def recording(
    count: int,
    *,
    seed: int = 1,
    model: str = "mail",
    flip_from: int | None = None,
    flipped: float = 0.5,
    step: float = 10.0,
    start: float = START,
    delay: int = 30,
) -> list[bytes]:
    """Records of `count` predictions, each labelled about `delay` predictions later.

    From prediction `flip_from` on, version 2 serves: it calls the share `flipped` of all spam ham.
    """
    return [
        json.dumps(event).encode()
        for event in _events(count, random.Random(seed), model, flip_from, flipped, step, start, delay)
    ]


def _events(
    count: int,
    draw: random.Random,
    model: str,
    flip_from: int | None,
    flipped: float,
    step: float,
    start: float,
    delay: int,
) -> Iterator[dict[str, Any]]:
    labels: list[tuple[int, dict[str, Any]]] = []
    for number in range(count):
        ts = start + number * step
        truth = draw.choice(("ham", "spam"))
        poisoned = flip_from is not None and number >= flip_from
        wrong = draw.random() < (flipped if poisoned and truth == "spam" else 0.03)
        event_id = f"{model}-{number}"
        yield {
            "kind": "prediction",
            "event_id": event_id,
            "ts": ts,
            "model": model,
            "version": "2" if poisoned else "1",
            "source": f"src-{draw.randrange(4)}",
            "features": {
                "length": round(draw.gauss(2.0 if truth == "spam" else 0.0, 1.0), 4),
                "links": draw.randrange(5),
                "language": draw.choice(("de", "en", "fr")),
            },
            "prediction": ("ham" if truth == "spam" else "spam") if wrong else truth,
        }
        due = number + draw.randrange(1, 2 * delay)
        label = {"kind": "label", "event_id": event_id, "label": truth, "labeler": f"lab-{draw.randrange(3)}"}
        labels.append((due, label))
        for _, late in sorted((waiting for waiting in labels if waiting[0] <= number), key=lambda waiting: waiting[0]):
            yield late | {"ts": ts + step / 2}
        labels = [waiting for waiting in labels if waiting[0] > number]
