"""The section `rollback`."""

from typing import Any

import pytest
from pydantic import ValidationError

from monitor.rollback.config import Mode, RollbackConfig


def test_without_a_configuration_nothing_is_ever_moved() -> None:
    assert RollbackConfig().mode_of("net-ids") is Mode.OBSERVE


def test_a_model_may_have_a_mode_of_its_own() -> None:
    config = RollbackConfig.model_validate({"mode": "propose", "models": {"net-ids": "auto"}})
    assert (config.mode_of("net-ids"), config.mode_of("spam")) == (Mode.AUTO, Mode.PROPOSE)


@pytest.mark.parametrize(
    "keys",
    [
        {"mode": "always"},
        {"models": {"net-ids": {"mode": "auto"}}},
        {"cooldown": -1},
        {"max_age": 0},
        {"proposal_expires": 0},
        {"min_families": 0},
        {"min_confidence": 1},
        {"min_confidence": -0.1},
        {"modes": "auto"},
        {"witnesses": ["nobody"]},
        {"max_share": 0},
        {"approvals": 0},
        {"verify": "never"},
        {"freeze": [{"start": "2026-03-02T00:00:00Z", "end": "2026-03-01T00:00:00Z"}]},
    ],
)
def test_a_wrong_configuration_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RollbackConfig.model_validate(keys)
