"""What versions have answered, as a rollback is decided on it: sound ones, poisoned ones, and liars around them."""

from collections.abc import Sequence
from typing import Any

from monitor.detection.answers import Answers
from tests.kit.incidents import OPENED_AT

SOURCES = tuple(f"src-{number}" for number in range(5))
LABELERS = tuple(f"lab-{number}" for number in range(4))
CLASSES = ("spam", "ham")
HOUR = 3600.0


def serve(
    answers: Answers,
    version: str,
    ts: float,
    *,
    count: int = 400,
    flipped: float = 0.02,
    labelled: bool = True,
    sources: Sequence[str | None] = SOURCES,
    labelers: Sequence[str | None] = LABELERS,
) -> None:
    """`count` answers of one version, half of them about spam, of which the share `flipped` is called ham.

    Sources and labelers take turns; every share is the same for each of them, to an event.
    """
    wrong = 0.0
    for number in range(count):
        turn = number // 2
        source, labeler = sources[turn % len(sources)], labelers[turn // len(sources) % len(labelers)]
        truth = CLASSES[number % 2]
        predicted = truth
        if truth == "spam":
            wrong += flipped
            if wrong >= 1.0:
                wrong, predicted = wrong - 1.0, "ham"
        answers.take(version, source, predicted, ts)
        if labelled:
            answers.take_label(version, source, labeler, predicted, truth)


def lie(answers: Answers, version: str, count: int, *, source: str = "src-1", labeler: str = "lab-2") -> None:
    """`count` labels that call ham spam, from one source and one labeler, about answers that were right."""
    for _ in range(count):
        answers.take_label(version, source, labeler, "ham", "spam")


def answers(*, flipped: float = 0.5, **keys: Any) -> Answers:
    """Three versions, of which the third serves; `keys` are about that one."""
    told = Answers()
    serve(told, "1.0.0", OPENED_AT - 20 * HOUR)
    serve(told, "1.1.0", OPENED_AT - 10 * HOUR)
    serve(told, "1.2.0", OPENED_AT, flipped=flipped, **keys)
    return told
