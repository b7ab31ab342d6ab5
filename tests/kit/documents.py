"""The Markdown documents at the top of the repository, taken apart."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def text(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def sections(document: str, level: int) -> dict[str, str]:
    """Headings of one level, and what is below each."""
    parts = re.split(rf"^{'#' * level} (.+)$", text(document), flags=re.MULTILINE)
    return {
        title: re.split(rf"^#{{1,{level}}} ", body, maxsplit=1, flags=re.MULTILINE)[0]
        for title, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def blocks(body: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", body, re.MULTILINE | re.DOTALL)


def quoted(body: str) -> list[str]:
    """What stands between backticks on one line."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", body, flags=re.MULTILINE | re.DOTALL))


def rows(body: str) -> list[list[str]]:
    """The cells of tables, headings and rules left out."""
    lines = re.findall(r"^\|(.+)\|$", body, re.MULTILINE)
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    rules = [number for number, row in enumerate(cells) if set("".join(row)) in ({"-"}, {"-", ":"})]
    return [row for number, row in enumerate(cells) if number not in rules and number + 1 not in rules]
