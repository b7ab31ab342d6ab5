"""What pydantic found wrong with a configuration, at the place and in the words of the person who wrote it."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from monitor.service.config_file import Keys

Schema = Mapping[str, Any]


def explain(error: ValidationError, data: object, schema: Schema) -> Iterator[tuple[Keys, str]]:
    """Place and message of everything that is wrong.

    Args:
        error: what validation raised.
        data: what was validated.
        schema: the JSON Schema of what it should have been.
    """
    for detail in error.errors(include_input=False, include_url=False):
        keys = _keys(data, detail)
        yield keys, _words(detail, keys, schema)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion to append to a message; empty if nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def _keys(data: object, detail: ErrorDetails) -> Keys:
    """The place in the file: pydantic's, without the names of union members that it puts between."""
    keys: list[str | int] = []
    *around, last = detail["loc"] or ("",)
    for part in (*around, last):
        match data:
            case dict() if part in data:
                data = data[part]
            case list() if isinstance(part, int) and part < len(data):
                data = data[part]
            case _:
                continue
        keys.append(part)
    return (*keys, last) if detail["type"] == "missing" else tuple(keys)


def _words(detail: ErrorDetails, keys: Keys, schema: Schema) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "missing":
            words = "is required"
        case "extra_forbidden":
            words = f"unknown key{did_you_mean(str(keys[-1]), _known(schema, detail['loc'][:-1]))}"
        case "union_tag_not_found":
            words = f"needs a key {context['discriminator']}"
        case "union_tag_invalid":
            words = f"{context['discriminator']} is none of {context['expected_tags']}"
        case "model_type" | "model_attributes_type" | "dict_type":
            known = ", ".join(_known(schema, detail["loc"]))
            words = f"should be a section with keys{': ' if known else ''}{known}"
        case "tuple_type" | "list_type":
            words = "should be a list"
        case _:
            words = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return words


def _known(schema: Schema, loc: Iterable[str | int]) -> list[str]:
    """Keys that the schema knows at a place."""
    nodes = [schema]
    for part in loc:
        nodes = [below for node in nodes for below in _below(schema, node, part)]
    return [key for node in nodes for leaf in _leaves(schema, node) for key in leaf.get("properties", ())]


def _below(root: Schema, node: Schema, part: str | int) -> Iterator[Schema]:
    for leaf in _leaves(root, node):
        if part in (tags := leaf.get("discriminator", {}).get("mapping", {})):
            yield {"$ref": tags[part]}
        elif isinstance(part, int):
            yield leaf.get("items", {})
        elif part in leaf.get("properties", ()):
            yield leaf["properties"][part]
        elif isinstance(leaf.get("additionalProperties"), Mapping):
            yield leaf["additionalProperties"]


def _leaves(root: Schema, node: Schema) -> Iterator[Schema]:
    """The node itself, references followed and alternatives taken apart; a tagged union stays one."""
    if "$ref" in node:
        yield from _leaves(root, root["$defs"][node["$ref"].rpartition("/")[2]])
    elif "anyOf" in node:
        for alternative in node["anyOf"]:
            yield from _leaves(root, alternative)
    else:
        yield node
