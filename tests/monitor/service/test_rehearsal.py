"""The drill on recorded events: every attack is found, and a watch that is switched off is told so loudly."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from typer.testing import Result

from alerting.incident import Attribution
from detectors.bets import Caution
from monitor.demo.practice import events as practice
from monitor.detection.attacks import ATTACKS
from monitor.detection.baseline import Baseline, BaselineError
from monitor.detection.companions import Companions
from monitor.detection.lessons import Until
from monitor.detection.scene import LEAST, Injected, Scene
from monitor.detection.watch import Watch
from monitor.intake.events import Event
from monitor.service.rehearsal import of_model, rehearse, text_line
from monitor.service.replay import learn
from tests.kit.command_line import invoke
from tests.kit.served import World

Prepared = tuple[Baseline, list[Event]]


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    events = practice(6_000)
    end = events[len(events) // 2].epoch
    return learn(events, None, end), [event for event in events if event.epoch >= end]


def without(baseline: Baseline, *families: str) -> Callable[[], Watch]:
    """A watch in which some families are switched off."""

    def watch() -> Watch:
        made = Watch(
            baseline.model,
            budget=1e5,
            baseline=baseline,
            until=Until(),
            caution=Caution(),
            companions=Companions(()),
        )
        assert made.bank is not None
        for name in families:
            made.bank.families[name].threshold = float("inf")
        return made

    return watch


def nudge(scene: Scene) -> Injected:
    """Changes next to nothing."""
    changed = {n: replace(e, features=e.features | {"age": 0.1}) for n, e in list(scene.predictions())[:LEAST]}
    return Injected(dict(changed), Attribution())


def drill(*words: str | Path) -> Result:
    return invoke("drill", *words)


def write(path: Path, *worlds: World) -> Path:
    events = [event for world in worlds for event in world.events()]
    path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    return path


@pytest.mark.slow
def test_every_attack_on_the_bundled_events_is_found_and_called_what_it_is() -> None:
    result = drill("--output", "json")
    *lines, summary = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 0
    assert [line["attack"] for line in lines] == list(ATTACKS)
    assert [line["attack"] for line in lines if not (line["effective"] and line["found"])] == []
    assert [line["attack"] for line in lines if not line["exact"]] == []
    for line in lines:
        named = {who: line["attribution"][who] for who in ("source", "labeler") if line["injected"][who]}
        assert named == {who: line["injected"][who] for who in named}
        assert set(line["injected"]["features"]) <= set(line["attribution"]["features"])
        assert 0 < line["hit"] <= line["changed"]
    assert summary | {"baseline": "", "seconds": 0} == {
        "event": "summary",
        "model": "practice",
        "baseline": "",
        "events": 5705,
        "attacks": len(ATTACKS),
        "effective": len(ATTACKS),
        "found": len(ATTACKS),
        "missed": [],
        "untouched_incidents": 0,
        "seconds": 0,
    }


def test_a_drill_against_a_detector_that_is_switched_off_fails(prepared: Prepared) -> None:
    baseline, events = prepared
    deaf = without(baseline, "confusion", "confusion/source", "confusion/labeler")
    attacks = {name: ATTACKS[name] for name in ("labeler_tampering", "source_tampering", "unit_fault")}
    *lines, summary = rehearse(events, baseline, 1e5, attacks=attacks, watch=deaf)
    assert [line["found"] for line in lines] == [False, False, True]
    assert summary["missed"] == ["labeler_tampering", "source_tampering"]
    assert text_line(lines[0]).startswith("labeler_tampering  MISSED")
    assert text_line(summary).endswith("MISSED: labeler_tampering, source_tampering")


def test_labels_that_stay_away_or_come_late_are_found_by_what_waits_for_them_and_by_nothing_else(
    prepared: Prepared,
) -> None:
    baseline, events = prepared
    attacks = {name: ATTACKS[name] for name in ("label_withholding", "label_delay")}
    *lines, _ = rehearse(events, baseline, 1e5, attacks=attacks)
    assert [(line["found"], line["exact"]) for line in lines] == [(True, True)] * 2
    assert lines[0]["attribution"]["class_to"] == lines[0]["injected"]["class_to"]
    deaf = without(baseline, "labels", "labels/class", "confusion")
    *lines, _ = rehearse(events, baseline, 1e5, attacks=attacks, watch=deaf)
    assert [line["found"] for line in lines] == [False, False]


def test_the_command_exits_with_1_and_says_what_was_missed(tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", World(predictions=2_000))
    result = drill(log, "--attack", "labeler_tampering", "--budget", "1e300")
    assert result.exit_code == 1
    assert "MISSED" in result.stdout
    assert result.stderr == "MISSED: labeler_tampering\n"


def test_an_incident_of_the_events_themselves_is_not_counted_as_found(prepared: Prepared) -> None:
    baseline, events = prepared
    fault = ATTACKS["unit_fault"]
    changes = fault.inject(Scene(events, len(events) // 10, 1)).changes
    broken = [changed for number, event in enumerate(events) if (changed := changes.get(number, event))]
    line, summary = rehearse(broken, baseline, 1e5, attacks={"nudge": fault._replace(inject=nudge)})
    assert summary["untouched_incidents"] == 1
    assert (line["effective"], line["found"]) == (True, False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--attack", "flood"], "'flood' is no attack; there are label_flip,"),
        (["--model", "other"], "name one of the models: mail"),
        (["--reference-until", "soon"], "'soon' is no ISO 8601 time"),
        (["--reference-until", "2030-01-01T00:00:00Z"], "0 events after the reference are too few for a drill"),
        (["--baseline", "absent.json"], "absent.json: No such file or directory"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words: list[str], message: str, tmp_path: Path) -> None:
    result = drill(write(tmp_path / "log.jsonl", World(predictions=300)), *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_what_cannot_be_played_is_said_and_is_no_failure(tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", World(predictions=1_500, regression=True))
    result = drill(log, "--attack", "label_flip", "--attack", "unit_fault")
    assert result.exit_code == 0
    assert "label_flip         not played: the model predicts numbers, and no classes" in result.stdout
    assert "1 of 1 attacks found" in result.stdout


def test_where_nothing_can_be_played_there_was_no_drill(tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", World(predictions=1_500, regression=True))
    result = drill(log, "--attack", "label_flip")
    assert result.exit_code == 2
    assert result.stderr == "mail: no attack can be played with these events\n"


def test_one_model_of_several_is_drilled_with_its_labels(tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", World(model="a", predictions=900), World(model="b", predictions=900))
    result = drill(log, "--model", "b", "--attack", "unit_fault", "--output", "json")
    assert json.loads(result.stdout.splitlines()[-1])["model"] == "b"
    assert result.exit_code == 0


def test_the_events_of_a_model_are_its_own() -> None:
    events = practice(100)
    assert of_model(events, None) == ("practice", events)
    with pytest.raises(BaselineError, match="name one of the models: practice"):
        of_model(events, "other")
