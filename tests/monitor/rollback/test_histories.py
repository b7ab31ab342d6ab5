"""Random lives of a registry, its people and an executor that crashes: what must hold in all of them.

One thing people may not do here: put the bad version back while an intent is open, because an alias does not
tell who moved it; see `monitor/rollback/move.py`.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from alerting.incident import Attribution, Onset
from monitor.rollback.action import Action, ActionState
from monitor.rollback.artefacts import of_chunks
from monitor.rollback.consent import ANSWERABLE, FORCIBLE, approve, deny, execute
from tests.kit.incidents import OPENED_AT, incident
from tests.kit.rollback_world import MODEL, Crash, World, passing, permanent
from tests.kit.witnesses import serve

HOUR = 3600.0
EVENTS = st.sampled_from(["crash", "passing", "permanent", "promotion"])
FALLIBLE = {"current", "versions", "move", "moved", "artefact_digest"}
TROUBLE = st.dictionaries(st.integers(0, 18), EVENTS, min_size=1, max_size=3)
"""What happens at which call of an executor."""
FLAWS = st.sampled_from([{"known_good_at": None}, {"revoked": True}, {"ready": False}])
CHANGES = st.one_of(
    st.floats(0.0, 5 * HOUR).map(lambda ago: {"known_good_at": OPENED_AT - ago}),
    st.just({"ready": True}),
    FLAWS,
)
MODES = st.sampled_from(["auto", "auto", "propose", "observe"])
PEOPLE = st.sampled_from(["ann", "bob"])
BUDGET, WINDOW = 2, 24 * HOUR


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name) / "registry.json")
        for version in self.world.versions:
            self.store_artefact(version)
        self.world.put()
        self.asked = 0
        self.mode = "auto"
        self.before = ""
        self.moved_for: Counter[str] = Counter()
        self.automatic: list[float] = []
        """When something was moved without a person."""

    def teardown(self) -> None:
        self.folder.cleanup()

    # People

    @rule()
    def publish(self) -> None:
        version = f"2.{len(self.world.versions)}.0"
        self.world.versions[version] = {"created": self.world.now}
        self.store_artefact(version)
        self.world.put()

    @rule(data=st.data())
    def promote(self, data: st.DataObject) -> None:
        self.promote_any(data)
        self.world.follow()

    @rule(data=st.data(), keys=CHANGES)
    def change(self, data: st.DataObject, keys: dict[str, Any]) -> None:
        self.world.versions[self.draw(data, self.world.versions)] |= keys
        self.world.put()

    @rule(data=st.data())
    def tamper(self, data: st.DataObject) -> None:
        self.artefact(self.draw(data, self.world.versions)).write_bytes(b"something else")

    @precondition(lambda self: self.actions(ActionState.INTENDED))
    @rule(flaw=FLAWS)
    def think_again(self, flaw: dict[str, Any]) -> None:
        """A target turns out to be bad while the intent to move there is open; then the daemon starts again."""
        target = self.actions(ActionState.INTENDED)[0].to_version
        assert target is not None
        self.world.versions.get(target, {}).update(flaw)
        self.world.put()
        self.run_undisturbed()

    @rule(seconds=st.sampled_from([1.0, 0.5 * HOUR, 2 * HOUR, 20 * HOUR, -HOUR]))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if self.world.open:
            del self.world.open[self.draw(data, self.world.open)]

    @precondition(lambda self: self.actions(*FORCIBLE))
    @rule(data=st.data(), by=PEOPLE, what=st.sampled_from(["approve", "deny", "execute"]))
    def answer(self, data: st.DataObject, by: str, what: str) -> None:
        asked = data.draw(st.sampled_from(self.actions(*FORCIBLE)), label="answered")
        config, now = self.world.config(approvals=1), self.world.now
        try:
            if what == "deny":
                said = deny(asked, by=by, now=now)
            elif what == "approve":
                said = approve(asked, by=by, config=config, now=now)
            else:
                to = self.draw(data, self.world.versions)
                said = execute(asked, to=to, by=by, config=config, now=now)
        except ValueError:
            assert what != "approve" or asked.state not in ANSWERABLE or now >= (asked.due_at or 0.0)
        else:
            assert self.world.log.advance(asked, said)

    # Tocsin

    @rule(data=st.data(), age=st.floats(0.0, HOUR), trouble=TROUBLE)
    def attack(self, data: st.DataObject, age: float, trouble: dict[int, str]) -> None:
        """A poisoned version is promoted, and noticed."""
        self.publish()
        self.world.put(list(self.world.versions)[-1])
        serve(self.world.answers, self.world.alias, self.world.now, flipped=0.6)
        self.world.now += 60.0
        self.ask_about(self.world.at(), onset=self.world.now - age)
        self.run_amid(trouble, data, mode="auto")

    @rule(data=st.data(), age=st.floats(0.0, 4 * HOUR))
    def ask(self, data: st.DataObject, age: float) -> None:
        """Whatever version is blamed, rightly or not, and served or not."""
        self.ask_about(self.draw(data, self.world.versions), self.world.now - age)

    def ask_about(self, version: str, onset: float) -> None:
        self.asked += 1
        told = incident(
            id=f"i{self.asked}",
            version=version,
            attribution=Attribution(class_from="spam", class_to="ham"),
            onset=Onset(onset, onset, onset),
            opened_at=self.world.now,
        )
        self.world.ask(told)

    @rule()
    def run_quietly(self) -> None:
        self.run_undisturbed()

    @rule(data=st.data(), trouble=TROUBLE, mode=MODES, veto=st.sampled_from([0.0, 0.0, HOUR]))
    def run_disturbed(self, data: st.DataObject, trouble: dict[int, str], mode: str, veto: float) -> None:
        self.run_amid(trouble, data, mode=mode, veto=veto)

    def run_undisturbed(self) -> None:
        self.run_amid({}, None, mode="auto")

    def run_amid(self, trouble: dict[int, str], data: st.DataObject | None, **keys: Any) -> None:
        start = len(self.world.calls)

        def trap(call: str) -> None:
            if call == "moved":
                self.check_the_move()
            match trouble.get(len(self.world.calls) - 1 - start):
                case "crash":
                    raise Crash
                case "promotion" if data is not None:
                    self.promote_any(data)
                case "passing" if call in FALLIBLE:
                    raise passing()
                case "permanent" if call in FALLIBLE:
                    raise permanent()
            if call == "move":
                self.before = self.world.at()

        self.mode = keys["mode"]
        self.world.trap = trap
        try:
            self.world.run_all(cooldown=0.0, per_model=BUDGET, fleet=BUDGET, window=WINDOW, **keys)
        except Crash:
            pass
        finally:
            self.world.trap = lambda _: None
        self.world.follow()

    def check_the_move(self) -> None:
        _, expected, to = self.world.moves[-1]
        fitting = [a for a in self.actions(ActionState.INTENDED) if (a.from_version, a.to_version) == (expected, to)]
        action = fitting[0]  # the oldest: the executor takes one at a time
        self.moved_for[action.incident] += 1
        target = self.world.versions[to]
        assert self.before == expected
        assert target.get("ready", True)
        assert not target.get("revoked", False)
        assert target["known_good_at"] < action.onset_low
        assert target["created"] < self.world.versions[expected]["created"]
        assert of_chunks([self.artefact(to).read_bytes()]) == target["digest"]
        if not action.approvals:
            assert self.mode == "auto"
            self.automatic.append(self.world.now)

    # Always

    @invariant()
    def no_incident_moves_an_alias_twice(self) -> None:
        assert all(count == 1 for count in self.moved_for.values())
        assert len(self.world.moves) == self.moved_for.total()

    @invariant()
    def nothing_is_moved_over_the_budget(self) -> None:
        assert all(
            sum(moved - WINDOW < earlier <= moved for earlier in self.automatic[: number + 1]) <= BUDGET
            for number, moved in enumerate(self.automatic)
        )

    @invariant()
    def what_is_told_is_a_sentence_and_nothing_ends_in_silence(self) -> None:
        told = Counter((action.incident, action.state) for action in self.world.finished)
        again = {ActionState.ADVISED, ActionState.PROPOSED}
        assert all(count == 1 for (_, state), count in told.items() if state not in again)
        for action in [*self.world.finished, *self.world.log.actions.values()]:
            if action.state not in {ActionState.REQUESTED, ActionState.HELD}:
                assert action.reason.isprintable()
                assert action.reason.endswith(".")

    def actions(self, *states: ActionState) -> list[Action]:
        found = [action for action in self.world.log.actions.values() if action.state in states]
        return sorted(found, key=lambda action: (action.requested_at, action.incident))

    def promote_any(self, data: st.DataObject) -> None:
        kept = {action.from_version for action in self.actions(ActionState.INTENDED)}
        if free := self.world.versions.keys() - kept:
            self.world.put(self.draw(data, free))

    def draw(self, data: st.DataObject, names: Any) -> str:
        return data.draw(st.sampled_from(sorted(names)))

    def artefact(self, version: str) -> Path:
        return self.world.path.with_name(f"{version}.bin")

    def store_artefact(self, version: str) -> None:
        content = f"weights of {version} of {MODEL}".encode()
        self.artefact(version).write_bytes(content)
        self.world.versions[version] |= {"uri": self.artefact(version).name, "digest": of_chunks([content])}


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Nothing here outlives a power cut, and thousands of writes would each wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    return lambda count: run_state_machine_as_test(
        Histories, settings=settings(max_examples=count, stateful_step_count=20, deadline=None)
    )


def test_random_histories(unsynced: Callable[[int], None]) -> None:
    unsynced(60)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_thousand_random_histories(unsynced: Callable[[int], None]) -> None:
    unsynced(1000)
