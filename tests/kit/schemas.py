"""Official schemas of other people's interfaces, from the folder `shared` beside the repository."""

import functools
import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("TOCSIN_SHARED", Path(__file__).parents[3] / "shared")) / "schemas"


@functools.cache
def pagerduty(path: str) -> Any:
    """A validator for what is posted to a path of PagerDuty's Events API; None where the schema is not at hand."""
    from jsonschema import Draft202012Validator

    file = FOLDER / "pagerduty-events-v2.openapi.json"
    if not file.is_file():
        return None
    document = json.loads(file.read_text())
    body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return Draft202012Validator({**body, "components": document["components"]})
