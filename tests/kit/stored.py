"""Values that are kept in a store, and a commit that touches every table of it."""

from alerting.incident import (
    Attribution,
    Change,
    Evidence,
    Incident,
    Onset,
    Severity,
    Status,
    Transition,
    Verdict,
)
from alerting.outbox import Message
from monitor.intake.source import Partition
from monitor.rollback.action import Action, ActionState
from monitor.store.store import Commit, Store


def incident(
    name: str = "i1", *, status: Status = Status.FIRING, opened_at: float = 100.0, model: str = "m"
) -> Incident:
    return Incident(
        id=name,
        model=model,
        version="1",
        verdict=Verdict.LABEL_FLIP,
        severity=Severity.CRITICAL,
        status=status,
        opened_at=opened_at,
        updated_at=opened_at,
        event_index=7,
        onset=Onset(ts=90.0, low=80.0, high=95.0),
        attribution=Attribution(features=("a", "b"), class_from="spam"),
        evidence=(Evidence("errors", "confusion/spam->ham", float("inf"), 0.3, 0.04),),
    )


def message(name: str = "i1", number: int = 0, receiver: str = "slack", created_at: float = 100.0) -> Message:
    return Message(receiver, Transition(Change.OPENED, number, incident(name)), created_at)


def action(name: str = "i1", state: ActionState = ActionState.REQUESTED, **changes: object) -> Action:
    values: dict[str, object] = {
        "incident": name,
        "model": "m",
        "from_version": "2",
        "onset_low": 80.0,
        "state": state,
        "requested_at": 100.0,
        "updated_at": 100.0,
    }
    return Action(**(values | changes))


def whole(number: int) -> Commit:
    """A commit that writes `number` into every table at once."""
    name = f"i{number}"
    return Commit(
        offsets={Partition("events", 0): number, Partition("events", 1): number},
        states={"bank": str(number).encode(), "joiner": str(number).encode()},
        incidents=[incident(name), incident("latest", opened_at=float(number))],
        messages=[message(name), message(name, receiver="webhook")],
        actions=[action(name)],
    )


def numbers_found(store: Store) -> set[int]:
    """What each part of the store says was the last commit; one number if it is whole."""
    latest = next((i.opened_at for i in store.incidents() if i.id == "latest"), 0.0)
    offsets, states = store.offsets(), store.states()
    return {
        *(offsets.get(Partition("events", number), 0) for number in (0, 1)),
        *(int(states.get(name, b"0")) for name in ("bank", "joiner")),
        int(latest),
        max(0, len(store.incidents()) - 1),
        sum(store.outbox.counts().values()) // 2,
        len(store.actions.all()),
    }
