"""A YAML file as plain data: variables put in, the line of every key kept, everything doubtful refused.

What YAML allows and a configuration does not need is refused, because it surprises: keys given twice (YAML takes
the last one in silence), tags, aliases. `${NAME}` inside a value is the environment variable, `${NAME:-text}`
has a default for one that is unset or empty, and `$${` stands for `${` itself.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

Keys = tuple[str | int, ...]
"""Where something stands in the file: keys of mappings and numbers of list items, from the top."""

_VARIABLE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})?")
_STRING, _MAPPING, _SEQUENCE = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))
_PLAIN_KEY = re.compile(r"[\w-]+")


class Problem(NamedTuple):
    """One thing that is wrong."""

    place: str
    """File, line and key, as far as they are known: `tocsin.yaml:12: kafka.topics[0]`."""
    message: str


class ConfigError(Exception):
    """The configuration cannot be used; `problems` has everything that is wrong with it, in the file's order."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(f"{place}: {message}" for place, message in problems))
        self.problems = problems


class ConfigFile:
    """The data of a file, and where in it everything stands."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        """Read the file. Raises ConfigError if there is no YAML mapping in it."""
        self._name = str(path)
        self._environ = environ
        self._lines: dict[Keys, int] = {}
        self.problems: list[tuple[int, Keys, str]] = []
        self._unusable: set[Keys] = set()
        self._seen: set[int] = set()
        try:
            text = path.read_text(encoding="utf-8")
            self._loader = yaml.SafeLoader(text)
            node = self._loader.get_single_node()
            self.data = {} if node is None else self._build(node, ())
        except OSError as error:
            raise self._unreadable(error.strerror or "cannot be read") from None
        except UnicodeDecodeError:
            raise self._unreadable("is not UTF-8 text") from None
        except yaml.MarkedYAMLError as error:
            line = None if error.problem_mark is None else error.problem_mark.line + 1
            raise self._unreadable(f"is not YAML: {error.problem or error.context}", line) from None
        except yaml.YAMLError as error:
            raise self._unreadable(f"is not YAML: {str(error).partition(chr(10))[0]}") from None
        except RecursionError:
            raise self._unreadable("is nested too deeply") from None
        if not isinstance(self.data, dict):
            raise self._unreadable("should be a mapping of sections")

    def report(self, keys: Keys, message: str, line: int | None = None) -> None:
        """Note what is wrong at a place; what follows only from a value that could not be read is left out."""
        within = any(keys[:length] in self._unusable for length in range(len(keys) + 1))
        if not within and keys not in {unusable[:-1] for unusable in self._unusable}:
            self.problems.append((line or self._line(keys), keys, message))

    def error(self) -> ConfigError:
        """Everything that was reported."""
        in_order = sorted(self.problems, key=lambda problem: problem[0])
        places = [f"{self._name}:{line}{': ' if keys else ''}{dotted(keys)}" for line, keys, _ in in_order]
        messages = [" ".join(message.split()) for _, _, message in in_order]
        return ConfigError(tuple(map(Problem, places, messages)))

    def _spoil(self, keys: Keys, message: str) -> None:
        self.problems.append((self._line(keys), keys, message))
        self._unusable.add(keys)

    def _build(self, node: yaml.Node, keys: Keys) -> object:
        # An alias is the same node again; refusing it also ends what contains itself, or grows without end.
        if id(node) in self._seen:
            self._spoil(keys, "aliases are not supported; write the value out")
            return None
        self._seen.add(id(node))
        self._lines.setdefault(keys, _line_of(node))
        if isinstance(node, yaml.MappingNode) and node.tag == _MAPPING:
            return self._mapping(node, keys)
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQUENCE:
            return [self._build(child, (*keys, number)) for number, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, keys)
        self._spoil(keys, f"the tag {node.tag} is not supported")
        return None

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, object]:
        data: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.report(keys, "a key should be plain text")
                continue
            key = str(key_node.value)  # as it is written: a model may be called 2024, or `no`
            inner = (*keys, key)
            if key in data:
                self.report(inner, f"given before, in line {self._lines[inner]}", _line_of(key_node))
                continue
            self._lines[inner] = _line_of(key_node)
            data[key] = self._build(value_node, inner)
        return data

    def _scalar(self, node: yaml.ScalarNode, keys: Keys) -> object:
        if node.tag == _STRING:
            return self._filled(node.value, keys)
        try:
            value: object = self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError):
            self._spoil(keys, f"not a valid value of the kind {node.tag.rpartition(':')[2]}")
            return None
        return value

    def _filled(self, text: str, keys: Keys) -> str:
        def fill(match: re.Match[str]) -> str:
            name, default = match["name"], match["default"]
            if match[0] == "$${":
                return "${"
            if name is None:
                self._spoil(keys, "`${` begins no variable: write ${NAME} or ${NAME:-default}, or $${ for itself")
            elif default is None and name not in self._environ:
                self._spoil(keys, f"the environment variable {name} is not set, and there is no ${{{name}:-default}}")
            elif default is not None:
                return self._environ.get(name) or default
            else:
                return self._environ[name]
            return match[0]

        return _VARIABLE.sub(fill, text)

    def _line(self, keys: Keys) -> int:
        """The line of a place, or of the nearest one around it."""
        return next((self._lines[keys[:end]] for end in range(len(keys), -1, -1) if keys[:end] in self._lines), 1)

    def _unreadable(self, message: str, line: int | None = None) -> ConfigError:
        return ConfigError((Problem(self._name if line is None else f"{self._name}:{line}", message),))


def dotted(keys: Keys) -> str:
    """Keys as people write them: `alerting.receivers[0].url`, `models["net.ids"]`."""
    return "".join(map(_step, keys)).removeprefix(".")


def _step(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if _PLAIN_KEY.fullmatch(key) else f"[{json.dumps(key, ensure_ascii=False)}]"


def _line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
