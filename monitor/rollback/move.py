"""The move itself: from an intent to an alias that was moved, read back, and seen to help.

An intent is carried out by looking where the alias is, never by remembering, so the path after a crash is the path
without one. A registry has no memory of who moved an alias. Should the answer to a move be lost, and somebody put the
bad version back before the next look, that intent moves the alias a second time.
"""

from collections.abc import Callable

import msgspec

from monitor.rollback.action import Action, ActionState
from monitor.rollback.config import Mode, RollbackConfig
from monitor.rollback.model_signature import Unsigned, nobody_asks
from monitor.rollback.policy import Case, advanced, floor_of, trouble_began, unsafe, utc
from monitor.rollback.registry import AliasMovedError, ModelRegistry, ModelVersion, RegistryError

REREAD = 600.0
"""Seconds after which an artefact that was read is read again before it may serve."""


class Telling:
    """The sentences that people read about an action."""

    def __init__(self, alias: str, clock: Callable[[], float]) -> None:
        self._alias = alias
        self.now = clock

    def serving(self, action: Action) -> str:
        """What is moved."""
        return f"the alias {self._alias} of {action.model}"

    def move(self, action: Action) -> str:
        """The move as a part of a sentence."""
        return f"{self.serving(action)} back from {action.from_version} to {action.to_version}"

    def end(self, action: Action, state: ActionState, reason: str) -> Action:
        """The action in its next state."""
        return advanced(action, state, reason, self.now())

    def refused(self, action: Action, why: str) -> Action:
        """The action's end, because something must not be."""
        return self.end(action, ActionState.REFUSED, f"Did not roll {self.serving(action)} back: {why.rstrip('.')}.")


class Mover:
    """Carries out intents, and watches what comes of them."""

    def __init__(
        self, registry: ModelRegistry, config: RollbackConfig, telling: Telling, unsigned: Unsigned = nobody_asks
    ) -> None:
        self._registry = registry
        self._unsigned = unsigned
        self._config = config
        self._telling = telling
        self._read: dict[tuple[str, str], tuple[float, str | None]] = {}
        self._signed: dict[tuple[str, str], float] = {}
        """When signatures were found good."""

    def carry_out(self, action: Action, case: Case, *, still_mine: Callable[[], bool]) -> Action | None:
        """From an intent to its end, whether it was written a moment ago or before a crash.

        Args:
            action: The intent.
            case: What is known now.
            still_mine: Asked last before the alias is moved; if it says no, nothing is done, and None returned.
        """
        bad = self._registry.current(action.model)
        if bad.version != action.from_version:
            return self._elsewhere(action, bad.version)
        if case.incident is None:
            return self._telling.end(action, ActionState.LAPSED, "The incident is over; nothing was rolled back.")
        obstacle = self._obstacle(action, case, bad)
        if obstacle is not None:
            return self._telling.refused(action, obstacle)
        if not still_mine():
            return None
        self._registry.move(action.model, expected=action.from_version, to=str(action.to_version))
        return self._moved(action, f"Rolled {self._telling.move(action)} at {utc(self._telling.now())}; read back.")

    def _obstacle(self, action: Action, case: Case, bad: ModelVersion) -> str | None:
        """Why the alias must not be moved after all, or None."""
        if case.stopped is not None:
            return case.stopped
        if self.is_too_old(action):
            return f"the decision of {utc(action.updated_at)} is too old"
        mode = self._config.mode_of(action.model)
        if mode is not Mode.AUTO and not action.approvals:
            return f"the mode is {mode} by now"
        versions = self._registry.versions(action.model)
        target = next((version for version in versions if version.version == action.to_version), None)
        if target is None:
            return f"{action.to_version} is no longer there"
        floor = floor_of(versions, action.model, self._config)
        began, carried = trouble_began(action, case), case.answers.carried()
        flaw = unsafe(target, bad, began, floor, carried) or self._tampered(target) or self._forged(target)
        return None if flaw is None else f"{target.version} is no longer a version that is known to be good: {flaw}"

    def settle(self, action: Action, error: RegistryError) -> Action:
        """The end of an intent whose move failed for good: the alias itself says what became of it."""
        try:
            found = self._registry.current(action.model).version
        except RegistryError:
            return self._telling.end(
                action,
                ActionState.UNKNOWN,
                f"It cannot be told where {self._telling.serving(action)} is, a person must look:"
                f" {str(error).rstrip('.')}.",
            )
        # AliasMovedError comes before anything is written: wherever the alias is now, it was not this intent.
        untouched = found == action.from_version or isinstance(error, AliasMovedError)
        if untouched and found != action.to_version:
            return self._telling.refused(action, str(error))
        return self._elsewhere(action, found)

    def watch(self, action: Action, case: Case) -> Action | None:
        """After a move: whether it helped; None while that cannot be told."""
        now, moved_at = self._telling.now(), action.moved_at or action.updated_at
        alias = self._registry.current(action.model).version
        if alias != action.to_version:
            return self._escalated(action, f"somebody has moved it to {alias} since")
        served = case.answers.newest()
        follows = served is None or served.version == action.to_version
        if case.incident is None and follows:
            reason = f"Rolled {self._telling.move(action)}; {action.to_version} serves, and the incident is over."
            return self._telling.end(action, ActionState.RECOVERED, reason)
        if not follows and served is not None and now > moved_at + self._config.follow_within:
            return self._escalated(action, f"answers still come from {served.version}")
        if now > moved_at + self._config.recover_within:
            return self._escalated(action, f"the incident has gone on for {now - moved_at:.0f} seconds since")
        return None

    def is_too_old(self, action: Action) -> bool:
        """Whether an action has waited for longer than it may."""
        return self._telling.now() - action.updated_at > self._config.max_age

    def _tampered(self, target: ModelVersion) -> str | None:
        """Why the target's artefact is not what it was when it was recorded, or None."""
        if target.digest is None:
            return "no digest was recorded for it" if self._config.verify == "always" else None
        found = self._digest(target)
        if found is None:
            return "its artefact cannot be read" if self._config.verify == "always" else None
        return None if found == target.digest else "its artefact is not the one whose digest was recorded"

    def _digest(self, target: ModelVersion) -> str | None:
        """The digest of a target's artefact, read once for some time: reading a large one outlasts a lease."""
        key, now = (target.model, target.version), self._telling.now()
        read_at, digest = self._read.get(key, (0.0, None))
        if digest is None or not 0.0 <= now - read_at < REREAD:
            digest = self._registry.artefact_digest(*key)
            self._read = {key: (self._telling.now(), digest)}
        return digest

    def _forged(self, target: ModelVersion) -> str | None:
        """Why the signature of the target's artefact is no good, or None; a good one is not looked at again at once."""
        key, now = (target.model, target.version), self._telling.now()
        if 0.0 <= now - self._signed.get(key, -REREAD) < REREAD:
            return None
        flaw = self._unsigned(*key)
        self._signed = {} if flaw is not None else {key: self._telling.now()}
        return flaw

    def _elsewhere(self, action: Action, found: str) -> Action:
        """The end of an intent whose alias has left the bad version."""
        if found == action.to_version:
            return self._moved(action, f"Found {self._telling.serving(action)} at {found}, as intended.")
        return self._telling.end(
            action,
            ActionState.UNKNOWN,
            f"A person must look: {self._telling.serving(action)} was to go from {action.from_version} to"
            f" {action.to_version}, but is at {found}.",
        )

    def _moved(self, action: Action, reason: str) -> Action:
        moved = msgspec.structs.replace(action, moved_at=self._telling.now())
        return self._telling.end(moved, ActionState.MOVED, reason)

    def _escalated(self, action: Action, why: str) -> Action:
        reason = f"A person must look: {self._telling.serving(action)} was moved to {action.to_version}, but {why}."
        return self._telling.end(action, ActionState.ESCALATED, reason)
