"""The double that other tests trust keeps the port's contract."""

import pytest

from alerting.outbox import Message
from tests.contracts.outbox_contract import MakeOutbox, OutboxContract
from tests.kit.memory_outbox import MemoryOutbox


class MemorySubject:
    def __init__(self) -> None:
        self.outbox = MemoryOutbox()

    def add(self, *messages: Message) -> None:
        self.outbox.add(*messages)

    def reopen(self) -> None:
        """Memory is still there."""


class TestMemoryOutbox(OutboxContract):
    @pytest.fixture
    def make_outbox(self) -> MakeOutbox:
        return MemorySubject
