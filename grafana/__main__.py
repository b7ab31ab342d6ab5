"""`python -m grafana`: write every board into `dashboards/`, one file each."""

import json
from collections.abc import Mapping
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana import fleet, forensics, model, pipeline, rollback

FOLDER = Path(__file__).parent / "dashboards"
BOARDS = (fleet, model, forensics, pipeline, rollback)


def files() -> Mapping[Path, str]:
    """What each file has to contain."""
    boards = [module.board() for module in BOARDS]
    return {
        FOLDER / f"{board.uid}.json": json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        for board in boards
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
