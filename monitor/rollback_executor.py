"""Carries out rollbacks: decides, writes the intent down, moves the alias, reads it back.

One step of an action is one function from an action to the next one. A step is saved before the next begins,
so an executor that starts after a crash at any point goes on from what the log says, by the same code as
without a crash: an intent is carried out by looking where the alias is, never by remembering.

A registry has no memory of who moved an alias. Should the answer to a move be lost, and somebody put the bad
version back before the next look, that intent moves the alias a second time.
"""

from collections.abc import Callable

import msgspec
import structlog

from monitor.action import OPEN_STATES, Action, ActionLog, ActionState
from monitor.registry import AliasMovedError, ModelRegistry, RegistryError
from monitor.rollback import Mode, RollbackConfig, advanced, choose_target, is_safe, utc

_log = structlog.get_logger(__name__)


class RollbackExecutor:
    """The one actor that moves aliases. Call `run_once` from one thread only.

    Args:
        registry: Where the alias is.
        log: Where the actions are.
        config: The section `rollback`.
        alias: The name of the serving alias, for the sentences that people read.
        clock: Epoch seconds of the wall clock.
        on_finish: Told of every action that has left OPEN_STATES, after it was saved. A crash in between loses the
            call, so what must not be lost belongs into the log.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        log: ActionLog,
        config: RollbackConfig,
        *,
        alias: str,
        clock: Callable[[], float],
        on_finish: Callable[[Action], None],
    ) -> None:
        self._registry = registry
        self._actions = log
        self._config = config
        self._alias = alias
        self._clock = clock
        self._on_finish = on_finish

    def run_once(self) -> None:
        """Take every unfinished action as far as it goes now, oldest first, one at a time for each model."""
        waiting: set[str] = set()
        for action in self._actions.unfinished():
            if action.model not in waiting and not self._finish(action):
                waiting.add(action.model)

    def _finish(self, action: Action) -> bool:
        """Step by step to the end; False if the registry is to be asked again later."""
        while action.state in OPEN_STATES:
            following = self._next(action)
            if following is None:
                return False
            self._actions.save(following)
            action = following
        _log.info("rollback", incident=action.incident, model=action.model, state=action.state, why=action.reason)
        self._on_finish(action)
        return True

    def _next(self, action: Action) -> Action | None:
        """The action after one step, or None if a passing error of the registry leaves it where it is."""
        requested = action.state is ActionState.REQUESTED
        try:
            return self._decide(action) if requested else self._carry_out(action)
        except RegistryError as error:
            if error.passing and not self._is_too_old(action):
                _log.warning("rollback_waits", incident=action.incident, model=action.model, why=str(error))
                return None
            if requested:
                return self._refused(action, str(error))
            return self._settle(action, error)

    def _decide(self, action: Action) -> Action:
        """From a request to what the mode allows. Reads the registry, changes nothing."""
        if self._is_too_old(action):
            return self._refused(action, f"the request of {utc(action.requested_at)} is too old")
        last = self._actions.latest_done(action.model)
        if last is not None and self._clock() < last.updated_at + self._config.cooldown:
            until = utc(last.updated_at + self._config.cooldown)
            return self._refused(action, f"the last rollback was at {utc(last.updated_at)}, cooldown until {until}")
        bad = self._registry.current(action.model)
        if bad.version != action.from_version:
            return self._refused(action, f"it is at {bad.version}, so somebody has moved it")
        target = choose_target(self._registry.versions(action.model), bad, action.onset_low)
        if target is None:
            return self._refused(
                action,
                "no older version is ready, not revoked, and marked known-good"
                f" before the trouble began ({utc(action.onset_low)})",
            )
        return self._permitted(msgspec.structs.replace(action, to_version=target.version))

    def _permitted(self, action: Action) -> Action:
        """What the model's mode makes of a decision."""
        move = f"{self._serving(action)} back from {action.from_version} to {action.to_version}"
        match self._config.mode_of(action.model):
            case Mode.OBSERVE:
                return self._advanced(
                    action, ActionState.OBSERVED, f"Would have rolled {move}, but the mode is observe."
                )
            case Mode.PROPOSE:
                expires = utc(self._clock() + self._config.proposal_expires)
                return self._advanced(
                    action, ActionState.PROPOSED, f"Proposes to roll {move}; it can be approved until {expires}."
                )
            case Mode.AUTO:
                return self._advanced(action, ActionState.INTENDED, f"Is about to roll {move}.")

    def _carry_out(self, action: Action) -> Action:
        """From an intent to its end, whether it was written a moment ago or before a crash."""
        bad = self._registry.current(action.model)
        if bad.version != action.from_version:
            return self._elsewhere(action, bad.version)
        if self._is_too_old(action):
            return self._refused(action, f"the decision of {utc(action.updated_at)} is too old")
        if self._config.mode_of(action.model) is Mode.OBSERVE:
            return self._refused(action, "the mode is observe by now")
        versions = self._registry.versions(action.model)
        target = next((version for version in versions if version.version == action.to_version), None)
        if target is None or not is_safe(target, bad, action.onset_low):
            return self._refused(action, f"{action.to_version} is no longer a version that is known to be good")
        self._registry.move(action.model, expected=action.from_version, to=target.version)
        return self._advanced(
            action,
            ActionState.DONE,
            f"Rolled {self._serving(action)} back from {action.from_version} to {action.to_version}"
            f" at {utc(self._clock())}; read back.",
        )

    def _settle(self, action: Action, error: RegistryError) -> Action:
        """The end of an intent whose move failed for good: the alias itself says what became of it."""
        try:
            found = self._registry.current(action.model).version
        except RegistryError:
            return self._advanced(
                action,
                ActionState.UNKNOWN,
                f"It cannot be told where {self._serving(action)} is, a person must look: {str(error).rstrip('.')}.",
            )
        # AliasMovedError comes before anything is written: wherever the alias is now, it was not this intent.
        untouched = found == action.from_version or isinstance(error, AliasMovedError)
        if untouched and found != action.to_version:
            return self._refused(action, str(error))
        return self._elsewhere(action, found)

    def _elsewhere(self, action: Action, found: str) -> Action:
        """The end of an intent whose alias has left the bad version."""
        if found == action.to_version:
            return self._advanced(action, ActionState.DONE, f"Found {self._serving(action)} at {found}, as intended.")
        return self._advanced(
            action,
            ActionState.UNKNOWN,
            f"A person must look: {self._serving(action)} was to go from {action.from_version} to"
            f" {action.to_version}, but is at {found}.",
        )

    def _refused(self, action: Action, why: str) -> Action:
        return self._advanced(
            action, ActionState.REFUSED, f"Did not roll {self._serving(action)} back: {why.rstrip('.')}."
        )

    def _advanced(self, action: Action, state: ActionState, reason: str) -> Action:
        return advanced(action, state, reason, self._clock())

    def _is_too_old(self, action: Action) -> bool:
        return self._clock() - action.updated_at > self._config.max_age

    def _serving(self, action: Action) -> str:
        return f"the alias {self._alias} of {action.model}"
