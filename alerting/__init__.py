"""Incidents in, messages out: what a problem is, who is told, how and when.

The daemon says what happened with `messages`, in the transaction that made it happen; `Delivery` does the rest.
"""

from alerting.config import AlertingConfig, build, messages
from alerting.delivery import Attempt, Delivery, Outcome, Policy
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
from alerting.message import Notice, notice
from alerting.outbox import Message, Outbox
from alerting.receiver import Reason, Receiver, ReceiverConfig, SendError, attempt
from alerting.section import Secret, Section

__all__ = [
    "AlertingConfig",
    "Attempt",
    "Attribution",
    "Change",
    "Delivery",
    "Evidence",
    "Incident",
    "Message",
    "Notice",
    "Onset",
    "Outbox",
    "Outcome",
    "Policy",
    "Reason",
    "Receiver",
    "ReceiverConfig",
    "Secret",
    "Section",
    "SendError",
    "Severity",
    "Status",
    "Transition",
    "Verdict",
    "attempt",
    "build",
    "messages",
    "notice",
]
