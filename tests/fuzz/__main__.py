"""Coverage-guided fuzzing of one target, from its corpus: `python -m tests.fuzz TARGET [options of libFuzzer]`.

What is new goes to a folder beside, and what fails is written there too. Needs atheris (`make fuzz` installs it).
"""

import sys
import tempfile
from pathlib import Path

import atheris

HERE = Path(__file__).parent


def main() -> None:
    """Fuzz until something fails, or the options say that it is enough."""
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["monitor", "alerting", "yaml", "json"]):
        from tests.fuzz.targets import TARGETS
    found = Path(tempfile.mkdtemp(prefix=f"tocsin-fuzz-{name}-"))
    print(f"new inputs and failures: {found}", flush=True)  # noqa: T201 - a command line
    where = [str(found), str(HERE / "corpus" / name), f"-artifact_prefix={found}/failed-"]
    atheris.Setup([sys.argv[0], *where, *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
