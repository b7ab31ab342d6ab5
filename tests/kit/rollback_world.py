"""A model with three versions in a file registry, an executor, and a trap at every call that it makes."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from alerting.incident import Incident
from monitor.detection.answers import Answers
from monitor.rollback.action import Action, ActionState, Allowed
from monitor.rollback.config import RollbackConfig
from monitor.rollback.executor import RollbackExecutor
from monitor.rollback.file_registry import FileRegistry, FileRegistryConfig
from monitor.rollback.model_signature import Unsigned, nobody_asks
from monitor.rollback.policy import Case, consider
from monitor.rollback.registry import ModelVersion, Pin, RegistryError
from tests.kit.incidents import OPENED_AT, incident
from tests.kit.memory_action_log import MemoryActionLog
from tests.kit.witnesses import serve

DAY = 86_400.0
MODEL = "net-ids"
ONSET_LOW = OPENED_AT - 900.0
QUIET = frozenset({ActionState.REQUESTED, ActionState.HELD, ActionState.INTENDED, ActionState.ANNOUNCED})
"""States that are on the way to something."""


class Crash(BaseException):
    """The process dies here: nothing may catch it."""


def passing() -> RegistryError:
    return RegistryError("MLflow at http://mlflow was answered 503", passing=True)


def permanent() -> RegistryError:
    return RegistryError("MLflow at http://mlflow was answered 403", passing=False)


class World:
    """What outlives the executor's process: the registry, the log, the clock; and what it did to them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.versions: dict[str, dict[str, Any]] = {
            "1.0.0": {"created": OPENED_AT - 30 * DAY, "known_good_at": OPENED_AT - 29 * DAY},
            "1.1.0": {"created": OPENED_AT - 10 * DAY, "known_good_at": OPENED_AT - 9 * DAY},
            "1.2.0": {"created": OPENED_AT - 1 * DAY},
        }
        self.alias = "1.2.0"
        self.log = MemoryActionLog()
        self.now = OPENED_AT + 300.0
        self.open: dict[str, Incident] = {}
        """Incidents that are firing."""
        self.answers = Answers(_told(self.now))
        self.troubles: tuple[str, ...] = ()
        self.poisoned = 1
        self.stopped: str | None = None
        self.unsigned: Unsigned = nobody_asks
        self.calls: list[str] = []
        """Every call of the executor, before and after it took effect: `move`, `moved`, `advance moved`, ..."""
        self.moves: list[tuple[str, str, str]] = []
        self.finished: list[Action] = []
        self.trap: Callable[[str], None] = lambda _: None
        """Called with every call's name; may raise what a test wants to happen there."""
        self.write()

    def write(self, models: Sequence[str] = (MODEL,)) -> None:
        """Put versions and alias into the registry, as people do."""
        entry = {"aliases": {"champion": self.alias}, "versions": self.versions}
        self.path.write_text(json.dumps({"models": dict.fromkeys(models, entry)}))

    def put(self, alias: str | None = None, **versions: dict[str, Any]) -> None:
        """Change the alias, or keys of versions (`v1_1_0={"revoked": True}`)."""
        self.alias = self.at() if alias is None else alias
        for name, keys in versions.items():
            self.versions.setdefault(name.removeprefix("v").replace("_", "."), {}).update(keys)
        self.write()

    def at(self, model: str = MODEL) -> str:
        """Where the alias is."""
        entry = json.loads(self.path.read_text())["models"][model]
        return str(entry["aliases"]["champion"])

    def follow(self, version: str | None = None) -> None:
        """Servers answer with a version now: the one that the alias names, if none is told."""
        serve(self.answers, version or self.at(), self.now, count=2)

    def request(self, **changes: Any) -> Action:
        """An incident asks for a rollback."""
        return self.ask(incident(**changes))

    def ask(self, asking: Incident) -> Action:
        action = consider(asking, self.now)
        assert action is not None
        self.open[asking.id] = asking
        self.log.save(action)
        return action

    def intend(self, to: str = "1.1.0") -> Action:
        """An intent as a crash leaves it: written, and nobody knows what came of it."""
        action = msgspec.structs.replace(self.request(), state=ActionState.INTENDED, to_version=to)
        self.log.save(action)
        return action

    def case(self, action: Action) -> Case:
        self.reach("case")
        return Case(self.open.get(action.incident), self.answers, self.troubles, self.poisoned, self.stopped)

    def run(self, **keys: Any) -> Action:
        """Start a new executor, run it once, and return the action of the standard incident."""
        self.run_all(**keys)
        return self.action()

    def run_all(self, **keys: Any) -> None:
        self.executor(**keys).run_once()

    def action(self) -> Action:
        return self.log.actions[incident().id]

    def executor(self, **keys: Any) -> RollbackExecutor:
        return RollbackExecutor(
            WatchedRegistry(self),
            WatchedLog(self),
            self.case,
            self.config(**keys),
            alias="champion",
            clock=lambda: self.now,
            on_state=self._enter,
            unsigned=self.unsigned,
        )

    def config(self, **keys: Any) -> RollbackConfig:
        plain = {"mode": "auto", "persistence": 0, "confirm": 0, "settle": 0, "max_evidence_age": 100 * DAY}
        return RollbackConfig.model_validate(plain | keys)

    def reach(self, call: str) -> None:
        self.calls.append(call)
        self.trap(call)

    def raise_at(self, call: str | int, error: Callable[[], BaseException], times: int = 1) -> None:
        """Set a trap that raises at the first `times` calls of one name, or at the call of one number from now."""
        left, start = times, len(self.calls)

        def trap(reached: str) -> None:
            nonlocal left
            if left > 0 and call in (reached, len(self.calls) - 1 - start):
                left -= 1
                raise error()

        self.trap = trap

    def _enter(self, action: Action) -> None:
        self.reach("on_state")
        if action.state not in QUIET:
            self.finished.append(action)


@cache
def _told(now: float) -> bytes:
    """Two sound versions, and a poisoned one that all witnesses accuse."""
    answers = Answers()
    for version, first in (("1.0.0", -29 * DAY), ("1.1.0", -9 * DAY)):
        serve(answers, version, OPENED_AT + first)
    serve(answers, "1.2.0", ONSET_LOW, flipped=0.5, count=200)
    serve(answers, "1.2.0", now, flipped=0.5, count=200)
    return answers.dump()


class WatchedRegistry:
    def __init__(self, world: World) -> None:
        self._world = world
        self._inner = FileRegistry(FileRegistryConfig(kind="file", path=world.path))

    def current(self, model: str) -> ModelVersion:
        self._world.reach("current")
        return self._inner.current(model)

    def versions(self, model: str) -> tuple[ModelVersion, ...]:
        self._world.reach("versions")
        return self._inner.versions(model)

    def artefact_digest(self, model: str, version: str) -> str | None:
        self._world.reach("artefact_digest")
        return self._inner.artefact_digest(model, version)

    def fetch(self, model: str, version: str, into: Path) -> Path | None:
        return self._inner.fetch(model, version, into)

    def move(self, model: str, *, expected: str, to: str) -> None:
        self._world.reach("move")
        self._inner.move(model, expected=expected, to=to)
        self._world.moves.append((model, expected, to))
        self._world.reach("moved")

    def mark(self, model: str, version: str, *, known_good_at: float | None, signature: str | None = None) -> None:
        self._world.reach("mark")
        self._inner.mark(model, version, known_good_at=known_good_at, signature=signature)

    def pin(self, model: str, pin: Pin | None) -> None:
        self._world.reach("pin")
        self._inner.pin(model, pin)

    def close(self) -> None:
        self._inner.close()


class WatchedLog:
    def __init__(self, world: World) -> None:
        self._world = world

    def unfinished(self) -> Sequence[Action]:
        self._world.reach("unfinished")
        return self._world.log.unfinished()

    def save(self, action: Action) -> None:
        raise AssertionError(f"the executor replaces only what it has read, and not {action.incident}")

    def advance(self, before: Action, after: Action, *, allowed: Allowed | None = None) -> bool:
        self._world.reach("still mine" if after == before else f"advance {after.state}")
        done = self._world.log.advance(before, after, allowed=allowed)
        if after != before:
            self._world.reach(f"advanced {after.state}")
        return done

    def spent(self) -> Sequence[Action]:
        self._world.reach("spent")
        return self._world.log.spent()
