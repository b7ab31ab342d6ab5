"""A silence in a real Alertmanager holds back what Tocsin tells anybody."""

import subprocess
import time
from pathlib import Path

import pytest

from alerting.alertmanager import AlertmanagerConfig
from alerting.borrowed import ask, changes
from alerting.mutes import reaches
from alerting.network import Network
from alerting.receiver import Supplies
from tests.kit.incidents import incident
from tests.kit.prometheus import program, running_alertmanager

pytestmark = pytest.mark.slow


def test_a_silence_in_alertmanager_is_respected(tmp_path: Path) -> None:
    with running_alertmanager(tmp_path, "http://127.0.0.1:9/nobody") as address:

        def amtool(*words: str) -> str:
            command = [program("amtool"), f"--alertmanager.url=http://{address}", *words]
            return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

        config = AlertmanagerConfig.model_validate(
            {"kind": "alertmanager", "name": "am", "urls": [f"http://{address}"], "respect_silences": True}
        )
        supplies = Supplies(network=Network(("127.0.0.1",)))
        assert ask(config, supplies) == []
        name = amtool("silence", "add", "model=net-ids", "--comment=known", "--author=ada", "--duration=1h")
        amtool("silence", "add", "model=~net.*", "--comment=expression", "--author=ada", "--duration=1h")
        (found,) = ask(config, supplies) or []
        now = time.time()
        assert found.active(now)
        assert reaches(found.matchers, incident())
        assert (found.author, found.comment) == ("ada", "known")
        amtool("silence", "expire", name)
        (ended,) = changes([found], ask(config, supplies) or [], origin="am", now=now)
        assert not ended.active(now)
