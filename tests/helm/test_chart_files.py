"""The chart as files: what is made from something else is current, and what is said twice is said alike."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

from monitor.service.config import Config
from tests.kit.documents import ROOT, text
from tests.kit.helm import CHART

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
EXAMPLES = sorted((CHART / "ci").glob("*-values.yaml"))


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "helm" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def leaves(node: dict[str, Any], *keys: str) -> list[tuple[str, ...]]:
    """Where the chart's own values are; what is below the others is somebody else's business."""
    if not isinstance(node, dict) or not node or keys in (("config",), ("resources",)):
        return [keys]
    return [leaf for key, below in node.items() for leaf in leaves(below, *keys, key)]


@pytest.mark.parametrize("name", ["README.md", "values.schema.json"])
def test_what_is_made_is_current(generate: ModuleType, name: str) -> None:
    assert (CHART / name).read_text() == generate.generated()[name], "run `make chart`"


def test_every_value_is_described_and_has_a_type(generate: ModuleType) -> None:
    described = {keys for keys, _ in generate.described((CHART / "values.yaml").read_text())}
    untold = [leaf for leaf in leaves(VALUES) if not described & {leaf[:end] for end in range(1, len(leaf) + 1)}]
    assert untold == []
    assert [keys for keys in described if not {"type", "enum"} & schema_of(keys).keys()] == []
    assert SCHEMA["properties"].keys() - {"global"} == VALUES.keys()


def schema_of(keys: tuple[str, ...]) -> dict[str, Any]:
    node: dict[str, Any] = SCHEMA
    for key in keys:
        node = node["properties"][key]
    return node


def test_the_schema_is_one_and_knows_the_whole_configuration() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert schema_of(("config",))["properties"].keys() == Config.model_fields.keys()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_valid_together_with_the_defaults(path: Path) -> None:
    validator = jsonschema.Draft7Validator(SCHEMA)
    assert list(validator.iter_errors(merged(VALUES, yaml.safe_load(path.read_text())))) == []


def test_the_example_of_the_configuration_is_valid_in_the_chart() -> None:
    config = yaml.safe_load(text("tocsin.example.yaml"))
    assert list(jsonschema.Draft7Validator(SCHEMA).iter_errors(merged(VALUES, {"config": config}))) == []


def merged(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return base | {key: merged(base.get(key), value) for key, value in over.items()}


def test_the_chart_has_the_version_of_the_distribution() -> None:
    version = re.search(r'^version = "(.+)"$', text("pyproject.toml"), re.MULTILINE)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert version is not None
    assert chart["version"] == chart["appVersion"] == version[1]


def test_the_pod_is_what_the_image_expects() -> None:
    dockerfile = text("Dockerfile")
    user = re.search(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)
    assert user is not None
    names = (CHART / "templates" / "_names.tpl").read_text()
    assert (f"runAsUser: {user[1]}\n" in names, f"fsGroup: {user[2]}\n" in names) == (True, True)
    workload = (CHART / "templates" / "statefulset.yaml").read_text()
    assert "\nWORKDIR /var/lib/tocsin\n" in dockerfile
    assert "mountPath: /var/lib/tocsin}" in workload
    assert '\nENTRYPOINT ["tocsin"]\nCMD ["run", "--config", "/etc/tocsin/tocsin.yaml"]\n' in dockerfile
    assert "args: [run, --config, /etc/tocsin/tocsin.yaml]" in workload
    assert f"EXPOSE {VALUES['config']['server']['port']}\n" in dockerfile


def test_the_dockerfile_has_no_known_mistakes() -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)
