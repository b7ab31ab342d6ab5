import pytest

from tests.contracts.action_log_contract import ActionLogContract, MakeLog
from tests.kit.memory_action_log import MemoryActionLog


class MemorySubject:
    def __init__(self) -> None:
        self.log = MemoryActionLog()

    def reopen(self) -> None:
        """Nothing is on disk."""


class TestMemoryActionLog(ActionLogContract):
    @pytest.fixture
    def make_log(self) -> MakeLog:
        return MemorySubject
