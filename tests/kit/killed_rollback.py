"""An executor in a process of its own, which kills itself at one of its requests to the registry.

    python -m tests.kit.killed_rollback URL STORE LOG NUMBER before|after

NUMBER counts requests from 1; 0 kills at none. Every request is written to LOG before it is sent.
"""

import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx

from monitor.rollback.config import RollbackConfig
from monitor.rollback.executor import RollbackExecutor
from monitor.rollback.mlflow_registry import MlflowConfig, MlflowRegistry
from monitor.service.cases import case_of
from monitor.store.store import Store

CONFIG = RollbackConfig.model_validate({"mode": "auto", "persistence": 0, "confirm": 0})


def run(url: str, store: Store, log: Path, number: int = 0, when: str = "before") -> None:
    """Run an executor once."""
    asked = 0

    def note(request: httpx.Request) -> None:
        nonlocal asked
        asked += 1
        with log.open("a") as file:
            file.write(f"{request.method} {request.url.path.rpartition('mlflow/')[2]}\n")
        if (asked, when) == (number, "before"):
            os.kill(os.getpid(), signal.SIGKILL)

    def answered(_response: httpx.Response) -> None:
        if (asked, when) == (number, "after"):
            os.kill(os.getpid(), signal.SIGKILL)

    client = httpx.Client(timeout=30.0, event_hooks={"request": [note], "response": [answered]})
    registry = MlflowRegistry(MlflowConfig(kind="mlflow", url=url, timeout=30.0), client)
    with closing(registry):
        RollbackExecutor(
            registry,
            store.actions,
            lambda action: case_of(action, store, CONFIG),
            CONFIG,
            alias="champion",
            clock=time.time,
            on_state=lambda _: None,
        ).run_once()


if __name__ == "__main__":
    with closing(Store(sys.argv[2])) as opened:
        run(sys.argv[1], opened, Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
