"""Makes the generated parts of the chart, so that each thing is said in one place: `make chart`.

values.yaml, its `# --` comments   ->  the table in README.md, and the descriptions in values.schema.json
monitor.service.config.json_schema()       ->  `config` in values.schema.json: helm refuses what `tocsin check` refuses

The rest of both files is written by hand, and stays as it is.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from monitor.service.config import json_schema

CHART = Path(__file__).parent / "tocsin"
BEGIN, END = "<!-- Made by `make chart` from values.yaml. -->", "<!-- End of what is made. -->"
VARIABLE = r"\$\{"
"""Where the file has a number or a pattern, it may have `${NAME}` as well; the chart cannot know its value."""

_KEY = re.compile(r"^(?P<indent> *)(?P<key>\w+):")
_WORDS = re.compile(r"^ *# (?P<begins>-- )?(?P<text>.*)$")
_CHOICES = ("oneOf", "anyOf")


def main() -> None:
    """Write both files anew."""
    for name, content in generated().items():
        (CHART / name).write_text(content)


def generated() -> dict[str, str]:
    """What the files should contain, by name."""
    values = (CHART / "values.yaml").read_text()
    schema, readme = (CHART / "values.schema.json").read_text(), (CHART / "README.md").read_text()
    return {"values.schema.json": _schema(json.loads(schema), values), "README.md": _readme(readme, values)}


def described(values: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each value that has a comment with `# --` above it: its keys and the comment, in order."""
    keys: list[tuple[int, str]] = []
    words: list[str] = []
    for line in values.splitlines():
        comment, key = _WORDS.match(line), _KEY.match(line)
        if comment and (comment["begins"] or words):
            words.append(comment["text"])
        elif key:
            keys = [(indent, name) for indent, name in keys if indent < len(key["indent"])]
            keys.append((len(key["indent"]), key["key"]))
            if words:
                yield tuple(name for _, name in keys), " ".join(words)
            words = []


def _readme(readme: str, values: str) -> str:
    defaults = yaml.safe_load(values)
    rows = ["| value | default | what it is |", "|---|---|---|"]
    for keys, words in described(values):
        default: Any = defaults
        for key in keys:
            default = default[key]
        shown = "see `values.yaml`" if keys == ("config",) else f"`{json.dumps(default)}`"
        rows.append(f"| `{'.'.join(keys)}` | {shown} | {words} |")
    before, _, rest = readme.partition(BEGIN)
    return "\n".join([f"{before}{BEGIN}", "", *rows, "", f"{END}{rest.partition(END)[2]}"])


def _schema(schema: dict[str, Any], values: str) -> str:
    config = json_schema()
    schema["definitions"] = {name: _for_helm(node) for name, node in config.pop("$defs").items()}
    del config["$schema"]
    schema["properties"]["config"] = _for_helm(config)
    for keys, words in described(values):
        node = schema
        for key in keys:
            node = node["properties"][key]
        node["description"] = words
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _for_helm(node: Any) -> Any:  # noqa: ANN401 - any node of a schema
    """A node as helm's validators understand it (draft 7), with variables, and with errors that point at one thing."""
    if isinstance(node, list):
        return [_for_helm(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "discriminator" in node:
        return _by_kind(node["discriminator"]["mapping"])
    # `default` would repeat what the daemon knows, and `title` the key; a format is asserted by some validators only.
    made = {key: _for_helm(item) for key, item in node.items() if key not in ("default", "title", "format")}
    if "properties" in node:
        made["properties"] = {key: _for_helm(item) for key, item in node["properties"].items()}
    if "$ref" in made:
        made["$ref"] = made["$ref"].replace("#/$defs/", "#/definitions/")
    if made.get("type") in ("number", "integer", "boolean"):
        fraction = r"|^\d+\.\d+$" if made["type"] == "number" else ""  # `--set` makes a text of 0.5
        made |= {"type": [made["type"], "string"], "pattern": VARIABLE + fraction}
    elif "pattern" in made:
        made["pattern"] = f"({made['pattern']})|{VARIABLE}"
    elif "enum" in made:
        return {"anyOf": [made, {"type": "string", "pattern": VARIABLE}]}
    return made


def _by_kind(mapping: dict[str, str]) -> dict[str, Any]:
    """A choice by `kind`. As `oneOf` it would answer a typo in one alternative with the errors of all of them."""
    return {
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": sorted(mapping)}},
        "allOf": [
            {
                "if": {"required": ["kind"], "properties": {"kind": {"const": kind}}},
                "then": {"$ref": place.replace("#/$defs/", "#/definitions/")},
            }
            for kind, place in sorted(mapping.items())
        ],
    }


if __name__ == "__main__":
    main()
