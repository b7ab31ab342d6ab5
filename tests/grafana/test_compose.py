"""The compose file: what can be known of it without a docker engine."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from monitor.commands.cli import app
from tests.kit.documents import ROOT
from tests.kit.prometheus import program

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def content(name: str) -> str:
    return str(COMPOSE["configs"][name]["content"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_reachable_from_here_only_and_finds_what_it_mounts(name: str) -> None:
    service = SERVICES[name]
    assert service["image"].partition(":")[2] not in ("", "latest")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    for volume in service.get("volumes", ()):
        source = volume.partition(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
    assert {config["source"] for config in service.get("configs", ())} <= COMPOSE["configs"].keys()
    assert service.get("depends_on", {}).keys() <= SERVICES.keys()


def test_the_boards_are_where_the_provisioning_looks_for_them() -> None:
    (provider,) = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/tocsin.yaml").read_text())["providers"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "grafana/dashboards" / Path(home).name).is_file()


def test_tocsin_accepts_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "tocsin.yaml").write_text(content("tocsin"))
    checked = CliRunner().invoke(app, ["check", "--config", str(tmp_path / "tocsin.yaml")])
    assert checked.exit_code == 0, checked.output


def test_prometheus_and_alertmanager_accept_theirs(tmp_path: Path) -> None:
    rules = content("prometheus").replace("/etc/prometheus/rules", str(ROOT / "grafana" / "rules"))
    for tool, check, text in (
        ("promtool", ("check", "config"), rules),
        ("amtool", ("check-config",), content("alertmanager")),
    ):
        path = tmp_path / f"{tool}.yml"
        path.write_text(text)
        done = subprocess.run([program(tool), *check, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
