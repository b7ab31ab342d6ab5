"""Random lives of a registry, its people and an executor that crashes: what must hold in all of them.

One thing people may not do here: put the bad version back while an intent is open, because an alias does not
tell who moved it; see `monitor/rollback_executor.py`.
"""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from alerting.incident import Attribution, Onset
from monitor.action import OPEN_STATES, Action, ActionState
from monitor.rollback import RollbackConfig, approve
from tests.kit.incidents import OPENED_AT, incident
from tests.kit.rollback_world import Crash, World, passing, permanent

HOUR = 3600.0
EVENTS = st.sampled_from(["crash", "passing", "permanent", "promotion"])
FALLIBLE = {"current", "versions", "move", "moved"}
TROUBLE = st.dictionaries(st.integers(0, 12), EVENTS, min_size=1, max_size=3)
"""What happens at which call of an executor."""
FLAWS = st.sampled_from([{"known_good_at": None}, {"revoked": True}, {"ready": False}])
CHANGES = st.one_of(
    st.floats(0.0, 5 * HOUR).map(lambda ago: {"known_good_at": OPENED_AT - ago}),
    st.just({"ready": True}),
    FLAWS,
)
MODES = st.sampled_from(["auto", "auto", "propose", "observe"])


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name) / "registry.json")
        self.asked = 0
        self.mode = "auto"
        self.before = ""
        self.moved_for: Counter[str] = Counter()

    def teardown(self) -> None:
        self.folder.cleanup()

    # People

    @rule()
    def publish(self) -> None:
        self.world.versions[f"2.{len(self.world.versions)}.0"] = {"created": self.world.now}
        self.world.put()

    @rule(data=st.data())
    def promote(self, data: st.DataObject) -> None:
        self.promote_any(data)

    @rule(data=st.data(), keys=CHANGES)
    def change(self, data: st.DataObject, keys: dict[str, Any]) -> None:
        self.world.versions[data.draw(st.sampled_from(list(self.world.versions)), label="changed")] |= keys
        self.world.put()

    @precondition(lambda self: self.actions(ActionState.INTENDED))
    @rule(flaw=FLAWS)
    def think_again(self, flaw: dict[str, Any]) -> None:
        """A target turns out to be bad while the intent to move there is open; then the daemon starts again."""
        target = self.actions(ActionState.INTENDED)[0].to_version
        assert target is not None
        self.world.versions[target] |= flaw
        self.world.put()
        self.run_undisturbed()

    @rule(seconds=st.sampled_from([1.0, 0.5 * HOUR, 2 * HOUR, -HOUR]))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    @precondition(lambda self: self.actions(ActionState.PROPOSED))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        proposal = data.draw(st.sampled_from(self.actions(ActionState.PROPOSED)))
        config = RollbackConfig(proposal_expires=3 * HOUR)
        self.world.log.save(approve(proposal, by="ann", config=config, now=self.world.now))

    # Tocsin

    @rule(data=st.data(), age=st.floats(0.0, HOUR), trouble=TROUBLE)
    def attack(self, data: st.DataObject, age: float, trouble: dict[int, str]) -> None:
        """A poisoned version is promoted, and noticed."""
        self.publish()
        self.world.put(list(self.world.versions)[-1])
        self.world.now += 60.0
        self.ask_about(self.world.at(), onset=self.world.now - age)
        self.run_amid(trouble, data, mode="auto", cooldown=0.0)

    @rule(data=st.data(), age=st.floats(0.0, 4 * HOUR))
    def ask(self, data: st.DataObject, age: float) -> None:
        """Whatever version is blamed, rightly or not, and served or not."""
        self.ask_about(data.draw(st.sampled_from(sorted(self.world.versions)), label="blamed"), self.world.now - age)

    def ask_about(self, version: str, onset: float) -> None:
        self.asked += 1
        interval = Onset(onset, onset, onset)
        told = incident(id=f"i{self.asked}", version=version, attribution=Attribution(), onset=interval)
        self.world.ask(told)

    @rule()
    def run_quietly(self) -> None:
        self.run_undisturbed()

    def run_undisturbed(self) -> None:
        self.run_amid({}, None, mode="auto", cooldown=0.0)

    @rule(data=st.data(), trouble=TROUBLE, mode=MODES, cooldown=st.sampled_from([0.0, 0.0, HOUR]))
    def run_disturbed(self, data: st.DataObject, trouble: dict[int, str], mode: str, cooldown: float) -> None:
        self.run_amid(trouble, data, mode=mode, cooldown=cooldown)

    def run_amid(self, trouble: dict[int, str], data: st.DataObject | None, *, mode: str, cooldown: float) -> None:
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

        self.mode = mode
        self.world.trap = trap
        try:
            self.world.run_all(mode=mode, cooldown=cooldown)
        except Crash:
            pass
        finally:
            self.world.trap = lambda _: None

    def check_the_move(self) -> None:
        _, expected, to = self.world.moves[-1]
        fitting = [a for a in self.actions(ActionState.INTENDED) if (a.from_version, a.to_version) == (expected, to)]
        action = fitting[0]  # the oldest: the executor takes one at a time
        self.moved_for[action.incident] += 1
        target = self.world.versions[to]
        assert self.mode != "observe"
        assert self.before == expected
        assert target.get("ready", True)
        assert not target.get("revoked", False)
        assert target["known_good_at"] < action.onset_low
        assert target["created"] < self.world.versions[expected]["created"]

    # Always

    @invariant()
    def no_incident_moves_an_alias_twice(self) -> None:
        assert all(count == 1 for count in self.moved_for.values())
        assert len(self.world.moves) == self.moved_for.total()

    @invariant()
    def what_is_told_is_a_sentence_and_told_once(self) -> None:
        told = Counter((action.incident, action.state) for action in self.world.finished)
        assert all(count == 1 for count in told.values())
        for action in self.world.finished:
            assert action.state not in OPEN_STATES
            assert action.reason.isprintable()
            assert action.reason.endswith(".")

    def actions(self, state: ActionState) -> list[Action]:
        found = [action for action in self.world.log.actions.values() if action.state is state]
        return sorted(found, key=lambda action: (action.requested_at, action.incident))

    def promote_any(self, data: st.DataObject) -> None:
        kept = {action.from_version for action in self.actions(ActionState.INTENDED)}
        self.world.put(data.draw(st.sampled_from(sorted(self.world.versions.keys() - kept)), label="promoted"))


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)
