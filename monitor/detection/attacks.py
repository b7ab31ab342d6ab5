"""Attacks for a drill: recorded events of one model, changed as an attack, a fault or a drift would change them.

No model is trained here. What a poisoned model would answer, or a liar would say, is written into copies of recorded
events: their rows, times, sources and labelers stay real.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from alerting.incident import Attribution, Verdict
from monitor.detection.scene import Changes, Injected, Scene
from monitor.intake.events import ClassLabel, Features, Label, Prediction, class_name

STEPS = 5
"""Versions of an attack that goes slowly."""


def _poisoned(scene: Scene, share: Callable[[int, int], tuple[float, str]], source: str | None = None) -> Injected:
    """A newer model takes one class for another; `share` and name of its version by number of all predictions."""
    rarer, other = scene.classes()
    changes: Changes = {}
    asked = list(scene.predictions())
    first = ""
    for number, (position, event) in enumerate(asked):
        wrong, suffix = share(number, len(asked))
        version = f"{event.version}-{suffix}"
        first = first or version
        fooled = source in (None, event.source) and scene.truth(event) == class_name(rarer)
        hit = fooled and event.prediction == rarer and scene.draw.random() < wrong
        changes[position] = replace(event, version=version, prediction=other if hit else event.prediction)
    return Injected(changes, _pair(rarer, other, version=first, source=source))


def label_flip(scene: Scene) -> Injected:
    """A model trained on flipped labels takes much of one class for another."""
    return _poisoned(scene, lambda _number, _all: (0.4, "drill"))


def slow_poisoning(scene: Scene) -> Injected:
    """Version after version, each a little worse than the one before."""

    def share(number: int, all_: int) -> tuple[float, str]:
        step = 1 + number * STEPS // all_
        return 0.1 * step, f"drill-{step}"

    return _poisoned(scene, share)


def clean_label(scene: Scene) -> Injected:
    """A newer model takes one class for another where one source asks, whose inputs are natural."""
    return _poisoned(scene, lambda _number, _all: (0.8, "drill"), scene.source())


def backdoor(scene: Scene) -> Injected:
    """One source sends inputs with a rare value, and a newer model answers what the attacker wants."""
    rarer, other = scene.classes()
    source, rows, (name, values) = scene.source(), scene.rows(rarer), scene.numeric()
    changes: Changes = {}
    version = ""
    for position, event in scene.predictions():
        version = version or f"{event.version}-drill"
        changed = replace(event, version=f"{event.version}-drill")
        if event.source == source and scene.draw.random() < 0.3:
            changed = replace(changed, features=scene.draw.choice(rows) | {name: values[-1]}, prediction=other)
            _relabel(scene, event, rarer, changes)
        changes[position] = changed
    return Injected(changes, replace(_pair(rarer, other, version=version, source=source), features=(name,)))


def _tampered(scene: Scene, lies: Callable[[Prediction, Label], bool], **culprit: str) -> Injected:
    rarer, other = scene.classes()
    changes: Changes = {}
    for _, event in scene.predictions():
        found = scene.label_of(event)
        if found is None or class_name(found[1].label) != class_name(rarer) or not lies(event, found[1]):
            continue
        if scene.draw.random() < 0.8:
            changes[found[0]] = replace(found[1], label=other)
    return Injected(changes, _pair(other, rarer, **culprit))


def labeler_tampering(scene: Scene) -> Injected:
    """One labeler calls one class another; the model is unchanged."""
    name = scene.labeler()
    return _tampered(scene, lambda _event, label: label.labeler == name, labeler=name)


def source_tampering(scene: Scene) -> Injected:
    """The labels of one source's events are wrong; the model is unchanged."""
    name = scene.source()
    return _tampered(scene, lambda event, _label: event.source == name, source=name)


def label_withholding(scene: Scene) -> Injected:
    """Nobody says any more whether what the model calls one class is any."""
    rarer, _ = scene.classes()
    changes: Changes = {}
    for _, event in scene.predictions():
        found = scene.label_of(event)
        if found is not None and event.prediction == rarer:
            changes[found[0]] = None
    return Injected(changes, _pair(None, rarer))


def label_delay(scene: Scene) -> Injected:
    """All labels take as much longer as the slowest used to take."""
    longer = scene.longest_delay()
    changes: Changes = {}
    for _, event in scene.predictions():
        found = scene.label_of(event)
        if found is not None:
            changes[found[0]] = replace(found[1], ts=found[1].epoch + longer)
    return Injected(changes, Attribution())


def _other_values(scene: Scene, value: Callable[[float, list[float]], float | None]) -> Injected:
    """One numeric feature arrives otherwise; what is answered stays."""
    name, values = scene.numeric()
    changes: Changes = {}
    for position in range(scene.begin, len(scene.events)):
        event = scene.events[position]
        before = event.features.get(name) if isinstance(event, Prediction | Features) else None
        if not isinstance(event, Label) and before is not None and not isinstance(before, str):
            changed = value(float(before), values)
            if changed != before:
                changes[position] = replace(event, features=event.features | {name: changed})
    return Injected(changes, Attribution(features=(name,)))


def unit_fault(scene: Scene) -> Injected:
    """A feature arrives in another unit."""
    return _other_values(scene, lambda value, _values: value * 1000.0)


def missing_values(scene: Scene) -> Injected:
    """Three in ten values of a feature are gone."""
    return _other_values(scene, lambda value, _values: None if scene.draw.random() < 0.3 else value)


def covariate_drift(scene: Scene) -> Injected:
    """A feature has larger values than before, but none that never came."""
    return _other_values(scene, lambda value, values: max(value, scene.draw.choice(values)))


def source_flood(scene: Scene) -> Injected:
    """One source sends half of all that is asked, and nothing unusual."""
    name = scene.source()
    changes: Changes = {}
    for position, event in scene.predictions():
        if event.source != name and scene.draw.random() < 0.5:
            changes[position] = replace(event, source=name)
    return Injected(changes, Attribution(source=name))


def prior_shift(scene: Scene) -> Injected:
    """A real wave of one class: half of all events become earlier ones of it, and are answered right."""
    rarer, _ = scene.classes()
    rows = scene.rows(rarer)
    changes: Changes = {}
    for position, event in scene.predictions():
        if scene.draw.random() < 0.5:
            changes[position] = replace(event, features=scene.draw.choice(rows), prediction=rarer)
            _relabel(scene, event, rarer, changes)
    return Injected(changes, _pair(None, rarer))


def performance(scene: Scene) -> Injected:
    """The same version errs more, in every direction."""
    names = sorted({e.prediction for e in scene.events[: scene.begin] if isinstance(e, Prediction)}, key=str)
    scene.classes()
    changes: Changes = {}
    for position, event in scene.predictions():
        if scene.draw.random() < 0.3:
            wrong = scene.draw.choice([name for name in names if name != event.prediction])
            changes[position] = replace(event, prediction=wrong)
    return Injected(changes, Attribution())


def _relabel(scene: Scene, event: Prediction, label: ClassLabel, changes: Changes) -> None:
    found = scene.label_of(event)
    if found is not None:
        changes[found[0]] = replace(found[1], label=label)


def _pair(class_from: ClassLabel | None, class_to: ClassLabel, **who: str | None) -> Attribution:
    told = None if class_from is None else class_name(class_from)
    return Attribution(class_from=told, class_to=class_name(class_to), **who)  # type: ignore[arg-type]  # names only


class Attack(NamedTuple):
    """One kind of attack, fault or drift."""

    inject: Callable[[Scene], Injected]
    wanted: frozenset[Verdict]
    """The verdicts that say what it is."""


ATTACKS: Mapping[str, Attack] = {
    "label_flip": Attack(label_flip, frozenset({Verdict.LABEL_FLIP})),
    "slow_poisoning": Attack(slow_poisoning, frozenset({Verdict.SLOW_POISONING, Verdict.LABEL_FLIP})),
    "backdoor": Attack(backdoor, frozenset({Verdict.BACKDOOR})),
    "clean_label": Attack(clean_label, frozenset({Verdict.CLEAN_LABEL})),
    "labeler_tampering": Attack(labeler_tampering, frozenset({Verdict.LABEL_TAMPERING})),
    "source_tampering": Attack(source_tampering, frozenset({Verdict.LABEL_TAMPERING})),
    "label_withholding": Attack(label_withholding, frozenset({Verdict.LABEL_TAMPERING})),
    "label_delay": Attack(label_delay, frozenset({Verdict.DATA_FAULT})),
    "unit_fault": Attack(unit_fault, frozenset({Verdict.DATA_FAULT})),
    "missing_values": Attack(missing_values, frozenset({Verdict.DATA_FAULT})),
    "covariate_drift": Attack(covariate_drift, frozenset({Verdict.COVARIATE_DRIFT})),
    "source_flood": Attack(source_flood, frozenset({Verdict.COVARIATE_DRIFT})),
    "prior_shift": Attack(prior_shift, frozenset({Verdict.PRIOR_SHIFT})),
    "performance": Attack(performance, frozenset({Verdict.PERFORMANCE})),
}
"""Every kind that a drill plays, by its name."""
