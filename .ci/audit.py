"""Known vulnerabilities in what uv.lock names: fails where there is a fix, and says so where it could not look.

Usage: python .ci/audit.py [OPTION OF uv audit...]
"""

import json
import subprocess
import sys
from pathlib import Path

UNREACHABLE = ("error sending request", "Request failed", "HTTP status")
"""What uv says when the advisory service does not answer, or answers with an error."""


def main(options: list[str]) -> int:
    """Ask, and say what was found; the exit code."""
    uv = str(Path(sys.executable).with_name("uv"))
    previews = ["--preview-features", "audit-command,json-output"]
    command = [uv, "audit", "--frozen", "--output-format", "json", *previews, *options]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    try:
        found = json.loads(asked.stdout)
        vulnerabilities = found["vulnerabilities"]
    except (ValueError, KeyError):
        said = " ".join(asked.stderr.split())
        if any(words in said for words in UNREACHABLE):
            print(f"AUDIT SKIPPED: nobody could be asked about vulnerabilities. {said}")
            return 0
        print(f"the audit failed: {said}")
        return 1
    for each in vulnerabilities:
        fixes = ", ".join(each["fix_versions"]) or "nothing yet"
        name, version = each["dependency"]["name"], each["dependency"]["version"]
        print(f"{name} {version}: {each['id']} {each['summary']} (fixed in {fixes}; {each['link']})")
    for each in found.get("adverse_statuses", ()):
        print(f"to be looked at: {json.dumps(each)}")
    print(f"{found['summary']['audited_packages']} packages, {len(vulnerabilities)} known vulnerabilities")
    return int(any(each["fix_versions"] for each in vulnerabilities))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
