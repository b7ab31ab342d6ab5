"""Golden files: what people and programs receive, kept as JSON so that a change of it is seen in review.

`TOCSIN_UPDATE_GOLDEN=1` writes them anew.
"""

import json
import os
from pathlib import Path


def check(path: Path, value: object) -> None:
    """Compare a JSON value with the file."""
    if os.environ.get("TOCSIN_UPDATE_GOLDEN"):
        path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    assert value == json.loads(path.read_text(encoding="utf-8"))
