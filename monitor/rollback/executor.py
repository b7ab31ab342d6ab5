"""Takes every rollback as far as it goes now: decides, writes down, lets move, watches.

One step of an action is one function from an action to the next one. A step is saved before the next begins, only over
the very action that it began with, and only by the replica that works for its model; so two replicas, a person at the
command line and a crash at any point leave one history.
"""

from collections.abc import Callable

import msgspec
import structlog

from monitor.rollback.action import OPEN_STATES, Action, ActionLog, ActionState, Allowed
from monitor.rollback.config import Mode, RollbackConfig
from monitor.rollback.model_signature import Unsigned, nobody_asks
from monitor.rollback.move import Mover, Telling
from monitor.rollback.policy import (
    Case,
    Judged,
    Outcome,
    budgets,
    choose_target,
    floor_of,
    judge,
    limits,
    trouble_began,
    unsafe,
    utc,
    worse,
)
from monitor.rollback.registry import ModelRegistry, RegistryError
from monitor.telemetry import traces

CALLS_A_PERSON = frozenset({ActionState.UNKNOWN, ActionState.ESCALATED})
RETELL = 600.0
"""Seconds after which people are told of other reasons for a hold than before."""

_log = structlog.get_logger(__name__)


class RollbackExecutor:
    """The one actor that moves aliases. Call `run_once` from one thread only.

    Args:
        registry: Where the alias is.
        log: Where the actions are.
        case: What is known about an action now.
        config: The section `rollback`.
        alias: The name of the serving alias, for the sentences that people read.
        clock: Epoch seconds of the wall clock.
        on_state: Told of every action that came into another state, after it was saved. A crash in between loses the
            call, so what must not be lost belongs into the log.
        unsigned: Looks at the signature of a target's artefact before it may serve.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        log: ActionLog,
        case: Callable[[Action], Case],
        config: RollbackConfig,
        *,
        alias: str,
        clock: Callable[[], float],
        on_state: Callable[[Action], None],
        unsigned: Unsigned = nobody_asks,
    ) -> None:
        self._registry = registry
        self._actions = log
        self._case = case
        self._config = config
        self._clock = clock
        self._on_state = on_state
        self._telling = Telling(alias, clock)
        self._mover = Mover(registry, config, self._telling, unsigned)

    def run_once(self) -> None:
        """Take every unfinished action as far as it goes now, oldest first, one at a time for each model."""
        waiting: set[str] = set()
        for action in self._actions.unfinished():
            if action.model not in waiting and not self._advance(action):
                waiting.add(action.model)

    def preview(self, action: Action) -> Action:
        """What an action would become now, if it has not been written down yet what to do; changes nothing.

        Raises:
            RegistryError: The registry is away, or refuses.
        """
        undecided = {ActionState.REQUESTED, ActionState.HELD, ActionState.ADVISED}
        return self._decide(action, self._case(action)) if action.state in undecided else action

    def _advance(self, action: Action) -> bool:
        """Step by step as far as it goes; False if the registry is to be asked again before others of its model."""
        while action.state in OPEN_STATES:
            with traces.span("rollback", model=action.model, state=action.state.value):
                following = self._next(action)
            if following is None:
                return action.state not in {ActionState.REQUESTED, ActionState.INTENDED}
            if following == action:
                return True
            if not self._actions.advance(action, following, allowed=self._budget_for(following)):
                _log.warning("rollback_changed_meanwhile", incident=action.incident, model=action.model)
                return False
            if following.state is not action.state:
                tell = _log.error if following.state in CALLS_A_PERSON else _log.info
                tell(
                    "rollback",
                    incident=action.incident,
                    model=action.model,
                    state=following.state,
                    why=following.reason,
                )
                self._on_state(following)
            elif following.state in {ActionState.HELD, ActionState.ADVISED}:
                return True
            action = following
        return True

    def _budget_for(self, following: Action) -> Allowed | None:
        """Asked where an intent of nobody's is written: another replica may have spent the last one meanwhile."""
        if following.state is not ActionState.INTENDED or following.approvals:
            return None
        return lambda spent: not any(budgets(following, spent, self._config, self._clock()))

    def _next(self, action: Action) -> Action | None:
        """The action after one step; itself, or None, if there is nothing to do now."""
        case = self._case(action)
        try:
            match action.state:
                case ActionState.PROPOSED:
                    return self._wait(action, case)
                case ActionState.INTENDED:
                    return self._mover.carry_out(action, case, still_mine=lambda: self._actions.advance(action, action))
                case ActionState.MOVED:
                    return self._mover.watch(action, case)
                case _:
                    return self._decide(action, case)
        except RegistryError as error:
            return self._failed(action, error)

    def _failed(self, action: Action, error: RegistryError) -> Action | None:
        """What an error of the registry means for an action."""
        decided = action.state is ActionState.INTENDED
        undecided = action.state is ActionState.REQUESTED
        if (error.passing and not self._mover.is_too_old(action)) or not (decided or undecided):
            _log.warning("rollback_waits", incident=action.incident, model=action.model, why=str(error))
            return None
        return self._mover.settle(action, error) if decided else self._telling.refused(action, str(error))

    def _wait(self, action: Action, case: Case) -> Action:
        """A proposal, until somebody answers, it expires, or the incident is over."""
        if action.due_at is not None and self._clock() >= action.due_at:
            return self._telling.end(action, ActionState.LAPSED, f"The proposal expired at {utc(action.due_at)}.")
        if case.incident is None:
            return self._over(action)
        return action

    def _over(self, action: Action) -> Action:
        """The incident ended before anything was done."""
        why = f" It was held: {'; '.join(action.holds)}." if action.holds else ""
        return self._telling.end(action, ActionState.LAPSED, f"The incident is over; nothing was rolled back.{why}")

    def _decide(self, action: Action, case: Case) -> Action:
        """From what is known to what may be done. Asks the registry only if the evidence is enough."""
        if action.state is ActionState.REQUESTED and self._mover.is_too_old(action):
            return self._telling.refused(action, f"the request of {utc(action.requested_at)} is too old")
        judged = judge(action, case, self._config, self._clock())
        if judged.outcome is Outcome.PASS:
            return self._advise(action, judged) if judged.reasons else self._over(action)
        if judged.outcome is Outcome.HOLD:
            return self._hold(action, judged)
        if action.state is ActionState.ANNOUNCED and action.due_at is not None and self._clock() < action.due_at:
            return action
        return self._choose(action, case, judged)

    def _choose(self, action: Action, case: Case, judged: Judged) -> Action:
        """The evidence is enough: whether there is somewhere to go, and leave to go there."""
        bad = self._registry.current(action.model)
        if bad.version != judged.version:
            reason = f"the alias is at {bad.version}, and answers come from {judged.version}"
            return self._hold(action, judged, reason)
        versions = self._registry.versions(action.model)
        began, floor = trouble_began(action, case), floor_of(versions, action.model, self._config)
        carried = case.answers.carried()
        target = choose_target(versions, bad, began, floor, carried)
        if target is None:
            flaws = [f"{version.version}: {unsafe(version, bad, began, floor, carried)}" for version in versions[1:6]]
            told = f" ({'; '.join(flaws)})" if flaws else ""
            return self._hold(action, judged, f"no older version was known to be good before {utc(began)}{told}")
        disappointing = worse(target.version, bad.version, case.answers, self._config)
        if disappointing is not None:
            return self._hold(action, judged, disappointing)
        chosen = msgspec.structs.replace(
            action,
            from_version=bad.version,
            to_version=target.version,
            families=judged.families,
            onset_low=began,
            looked=judged.looked,
            holds=(),
        )
        return self._permitted(chosen, case)

    def _permitted(self, action: Action, case: Case) -> Action:
        """What the model's mode, and the limits, make of a decision."""
        now, move = self._clock(), self._telling.move(action)
        mode = self._config.mode_of(action.model)
        if mode is Mode.OBSERVE:
            return self._telling.end(
                action, ActionState.OBSERVED, f"Would have rolled {move}, but the mode is observe."
            )
        limited = limits(action, case, self._actions.spent(), self._config, now) if mode is Mode.AUTO else ()
        if mode is Mode.PROPOSE or limited:
            due = now + self._config.proposal_expires
            why = f" Not without a person: {'; '.join(limited)}." if limited else ""
            proposal = msgspec.structs.replace(action, due_at=due, holds=limited)
            told = f"Proposes to roll {move}; it can be approved until {utc(due)}.{why}"
            return self._telling.end(proposal, ActionState.PROPOSED, told)
        if self._config.veto and action.state is not ActionState.ANNOUNCED:
            due = now + self._config.veto
            told = f"Will roll {move} at {utc(due)}, unless somebody denies it."
            return self._telling.end(msgspec.structs.replace(action, due_at=due), ActionState.ANNOUNCED, told)
        return self._telling.end(action, ActionState.INTENDED, f"Is about to roll {move}.")

    def _advise(self, action: Action, judged: Judged) -> Action:
        """Something else would help; told again only if it is something else than before."""
        told = f"Does not roll {self._telling.serving(action)} back: {judged.reasons[0]}."
        if action.state is ActionState.ADVISED and action.reason == told:
            return action
        return self._telling.end(action, ActionState.ADVISED, told)

    def _hold(self, action: Action, judged: Judged, *reasons: str) -> Action:
        """Not now; people are told once that has lasted, and again, after a while, if the reasons are others."""
        now, holds = self._clock(), (*judged.reasons, *reasons)
        same = action.state is ActionState.HELD and action.holds == holds and action.looked == judged.looked
        held = msgspec.structs.replace(action, holds=holds, families=judged.families, looked=judged.looked)
        before = action.reason if action.state is ActionState.HELD else ""
        told = f"Does not roll {self._telling.serving(action)} back yet: {'; '.join(holds)}."
        settled = now - action.requested_at >= self._config.settle
        if settled and (not before or (told != before and now - action.updated_at >= RETELL)):
            return self._telling.end(held, ActionState.HELD, told)
        if same:
            return action
        return msgspec.structs.replace(held, state=ActionState.HELD, reason=before)
