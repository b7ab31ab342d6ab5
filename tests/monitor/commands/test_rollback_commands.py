"""`tocsin rollback ...`, on a real store and a real registry file."""

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from alerting.incident import Attribution, Onset
from monitor.commands.cli import app
from monitor.detection.answers import Answers
from monitor.rollback.action import Action, ActionState
from monitor.store.store import Commit, Store
from tests.kit.incidents import incident
from tests.kit.witnesses import serve

NOW = time.time()


class House:
    """A configuration, a store with one incident of the model `mail`, and a registry."""

    def __init__(self, folder: Path) -> None:
        self.config, self.store, self.registry = folder / "tocsin.yaml", folder / "tocsin.db", folder / "registry.json"
        self.config.write_text(
            "kafka: {bootstrap_servers: [here:1], topics: [t]}\n"
            "models: {mail: {reference: {events: 1000}}}\n"
            f"store: {{path: {self.store}}}\n"
            f"registry: {{kind: file, path: {self.registry}}}\n"
            "rollback: {mode: auto, approvals: 2, persistence: 0, confirm: 0}\n"
        )
        self.versions: dict[str, Any] = {
            "1": {"created": NOW - 9000, "known_good_at": NOW - 8000},
            "2": {"created": NOW - 1000},
        }
        self.registry.write_text(
            json.dumps({"models": {"mail": {"aliases": {"champion": "2"}, "versions": self.versions}}})
        )
        answers = Answers()
        serve(answers, "1", NOW - 8000)
        serve(answers, "2", NOW, flipped=0.5)
        told = incident(
            model="mail",
            version="2",
            opened_at=NOW - 60.0,
            onset=Onset(NOW - 300.0, NOW - 600.0, NOW),
            attribution=Attribution(class_from="spam", class_to="ham", version="2"),
        )
        with closing(Store(self.store)) as store:
            store.commit(Commit(incidents=[told], states={"answers/mail": answers.dump()}))

    def put(self, **changes: Any) -> None:
        fields: dict[str, Any] = {
            "incident": incident().id,
            "model": "mail",
            "from_version": "2",
            "to_version": "1",
            "onset_low": NOW - 600.0,
            "state": ActionState.PROPOSED,
            "requested_at": NOW,
            "updated_at": NOW,
            "reason": "Proposes it.",
            "due_at": NOW + 3600.0,
        }
        with closing(Store(self.store)) as store:
            store.actions.save(Action(**(fields | changes)))

    def tocsin(self, *words: str) -> tuple[int, str]:
        found = CliRunner().invoke(app, ["rollback", *words, "--config", str(self.config)])
        return found.exit_code, found.output

    def action(self) -> Action:
        with closing(Store(self.store)) as store:
            return store.actions.all()[0]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_two_people_approve(house: House) -> None:
    house.put()
    code, told = house.tocsin("approve", incident().id, "--by", "ann")
    assert (code, "1 more must approve" in told) == (0, True)
    assert house.tocsin("approve", incident().id, "--by", "ann") == (
        2,
        "ann has approved it already; somebody else has to\n",
    )
    assert house.tocsin("approve", incident().id, "--by", "bob")[0] == 0
    assert (house.action().state, house.action().approvals) == (ActionState.INTENDED, ("ann", "bob"))


def test_a_no_is_final(house: House) -> None:
    house.put()
    assert house.tocsin("deny", incident().id, "--by", "ann")[0] == 0
    assert (house.action().state, house.action().denied_by) == (ActionState.DENIED, "ann")
    assert house.tocsin("approve", incident().id, "--by", "bob")[0] == 2
    assert house.tocsin("execute", incident().id, "--by", "bob")[0] == 2


def test_what_is_held_can_be_demanded(house: House) -> None:
    house.put(state=ActionState.HELD, to_version=None, reason="", holds=("too few labels",))
    assert house.tocsin("execute", incident().id, "--by", "ann")[0] == 2
    assert house.tocsin("execute", incident().id, "--by", "ann", "--to", "1")[0] == 0
    assert house.tocsin("approve", incident().id, "--by", "bob")[0] == 0
    assert (house.action().state, house.action().to_version) == (ActionState.INTENDED, "1")


def test_status_tells_what_holds_and_what_stops(house: House) -> None:
    house.put(state=ActionState.HELD, to_version=None, reason="", holds=("too few labels", "it is new"))
    assert house.tocsin("stop", "*", "--by", "ann", "--why", "migration") == (
        0,
        "ann has stopped rollbacks (migration).\n",
    )
    code, listed = house.tocsin("status")
    assert code == 0
    stopped, action = listed.splitlines()
    assert stopped == "ann has stopped rollbacks (migration)"
    assert action == f"{incident().id}  mail 2 -> ?  held  too few labels; it is new"
    assert house.tocsin("resume", "*")[0] == 2  # nobody says so
    assert house.tocsin("resume", "*", "--by", "bob") == (0, "resumed by bob\n")
    assert house.tocsin("resume", "*", "--by", "bob")[0] == 2
    with closing(Store(house.store)) as store:
        said = [(entry.act.verb, entry.act.actor) for entry in store.audit.entries(limit=2)]
    assert said == [("rollbacks.resumed", "bob"), ("rollbacks.stopped", "ann")]


def test_plan_tells_where_it_could_go_and_what_would_be_done_and_does_nothing(house: House) -> None:
    house.put(state=ActionState.REQUESTED, to_version=None, reason="", due_at=None)
    before = house.action()
    code, told = house.tocsin("plan", "mail")
    assert code == 0
    assert told.splitlines() == [
        "mail 2  serves now",
        "mail 1  could serve",
        f"{incident().id}  mail 2 -> 1  intended  Is about to roll the alias champion of mail back from 2 to 1.",
    ]
    assert house.action() == before
    house.tocsin("stop", "mail", "--by", "ann")
    assert "proposed  Proposes to roll" in house.tocsin("plan", "mail")[1]
    assert "Not without a person: ann has stopped rollbacks of mail." in house.tocsin("plan", "mail")[1]
    assert house.tocsin("plan", "nobody") == (2, f"no model nobody in {house.registry}\n")


def test_two_people_vouch_for_a_version(house: House) -> None:
    house.config.write_text(house.config.read_text() + "known_good: {vouchers: 2}\n")
    versions = {"0": {"created": NOW - 9500}, **house.versions}
    document = {"models": {"mail": {"aliases": {"champion": "2"}, "versions": versions}}}
    house.registry.write_text(json.dumps(document))
    words = "vouch", "mail", "0", "--why", "passed review"
    assert house.tocsin(*words, "--by", "ann") == (
        0,
        "mail 0 is proposed as known-good; 1 more must vouch for it\n",
    )
    assert house.tocsin(*words, "--by", "ann") == (2, "ann has vouched for it already; somebody else has to\n")
    told = house.tocsin("plan", "mail")[1]
    assert "mail 0  1 of 2 have vouched for it (ann)" in told
    assert "mail 1  1 of 2 have vouched for it (the registry)" in told
    assert house.tocsin(*words, "--by", "bob") == (0, "mail 0 is known-good\n")
    assert "mail 0  could serve" in house.tocsin("plan", "mail")[1]
    assert house.tocsin("vouch", "mail", "9", "--why", "x", "--by", "ann") == (2, "mail has no version 9\n")


def test_a_pin_is_taken_away_by_somebody(house: House) -> None:
    document = json.loads(house.registry.read_text())
    document["models"]["mail"]["pinned"] = {"incident": "i", "serving": "1", "suspect_since": "2026-03-01T00:00:00Z"}
    house.registry.write_text(json.dumps(document))
    assert house.tocsin("unpin", "mail", "--by", "ann") == (0, "mail is not pinned any more\n")
    assert "pinned" not in json.loads(house.registry.read_text())["models"]["mail"]
    assert house.tocsin("unpin", "nobody", "--by", "ann")[0] == 2
    with closing(Store(house.store)) as store:
        (entry,) = store.audit.entries(limit=10)
    assert (entry.act.verb, entry.act.actor, entry.act.subject) == ("model.unpinned", "ann", "mail")


@pytest.mark.parametrize("command", ["approve", "deny", "execute"])
def test_an_incident_that_asked_for_nothing_is_bad_input(house: House, command: str) -> None:
    code, told = house.tocsin(command, "\x1b[31m", "--by", "ann")
    assert (code, "no rollback was asked for" in told, "\x1b" in told) == (2, True, False)
