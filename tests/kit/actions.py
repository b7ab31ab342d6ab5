"""Rollbacks that an incident asked for."""

from typing import Any

from monitor.rollback.action import Action, ActionState
from tests.kit.incidents import OPENED_AT


def proposal(**changes: Any) -> Action:
    """One that waits for a person, five minutes after the incident opened; `changes` replaces fields."""
    fields: dict[str, Any] = {
        "incident": "i1",
        "model": "net-ids",
        "from_version": "1.2.0",
        "onset_low": OPENED_AT,
        "state": ActionState.PROPOSED,
        "requested_at": OPENED_AT + 300.0,
        "updated_at": OPENED_AT + 300.0,
        "to_version": "1.1.0",
        "reason": "Proposes ...",
    }
    return Action(**(fields | changes))
