"""The dashboards: what is committed is what the code makes, and every panel can be read without asking anybody."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from grafana.__main__ import files
from tests.kit.boards import boards, panels
from tests.kit.documents import ROOT

SCHEMAS = ROOT.parent / "shared" / "schemas"
UIDS = {"tocsin-fleet", "tocsin-model", "tocsin-forensics", "tocsin-pipeline", "tocsin-rollback"}


def test_the_committed_boards_are_the_ones_that_the_code_makes() -> None:
    made = files()
    assert {path.name for path in made} == {f"{uid}.json" for uid in UIDS}
    assert made == {path: path.read_text() for path in (ROOT / "grafana" / "dashboards").iterdir()}, (
        "run `make dashboards` and commit what it writes"
    )


@pytest.fixture(params=sorted(UIDS))
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    (found,) = (board for board in boards() if board["uid"] == request.param)
    return found


def test_every_panel_says_what_it_shows_in_what_unit_and_from_where(board: dict[str, Any]) -> None:
    assert board["description"].endswith(".")
    for panel in panels(board):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_panels_have_ids_of_their_own_and_do_not_overlap(board: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_every_board_has_the_variables_marks_and_links(board: dict[str, Any]) -> None:
    assert [variable["name"] for variable in board["templating"]["list"]] == [
        "datasource",
        "job",
        "instance",
        "model",
        "tocsin",
    ]
    assert [mark["name"] for mark in board["annotations"]["list"]] == ["Incidents", "Rollbacks", "Deploys"]
    assert all(mark["titleFormat"] for mark in board["annotations"]["list"])
    assert board["tags"] == ["tocsin"]
    assert [link["title"] for link in board["links"]] == ["Boards", "Open incidents"]


def test_links_between_boards_lead_to_boards_that_exist() -> None:
    text = json.dumps(list(boards()))
    led = {part.split("?")[0] for part in text.split('"/d/')[1:]}
    assert led
    assert led <= UIDS


def of_kind(board: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [panel for panel in panels(board) if panel["type"] == kind]


PARTS: dict[tuple[str, str], Callable[[dict[str, Any]], list[Any]]] = {
    ("dashboard", "Dashboard"): lambda board: [board],
    ("prometheus", "Dataquery"): lambda board: [target for panel in panels(board) for target in panel["targets"]],
    ("timeseries", "Options"): lambda board: [panel["options"] for panel in of_kind(board, "timeseries")],
    ("timeseries", "FieldConfig"): lambda board: [
        panel["fieldConfig"]["defaults"]["custom"] for panel in of_kind(board, "timeseries")
    ],
    ("stat", "Options"): lambda board: [panel["options"] for panel in of_kind(board, "stat")],
}


@pytest.mark.parametrize(("schema", "part"), PARTS)
def test_boards_have_the_shape_that_grafana_publishes(schema: str, part: str) -> None:
    path = SCHEMAS / f"grafana-{schema}.schema.json"
    if not path.is_file():
        pytest.skip(f"{path.name} is not beside the repository")
    definitions = json.loads(path.read_text())["definitions"]
    validator = Draft7Validator({"definitions": definitions, "$ref": f"#/definitions/{part}"})
    found = [instance for board in boards() for instance in PARTS[schema, part](board)]
    assert found
    assert [f"{list(e.absolute_path)}: {e.message}" for each in found for e in validator.iter_errors(each)] == []


def test_provisioning_points_to_the_datasource_and_the_folder_of_the_boards() -> None:
    folder = ROOT / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "tocsin.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "tocsin.yaml").read_text())["providers"]
    assert provider["options"]["path"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
