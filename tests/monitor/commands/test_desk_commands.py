"""Commands about incidents and silences, and what a running loop makes of them."""

from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alerting.incident import Status
from monitor.commands.cli import app
from monitor.store.store import Commit, Store
from tests.kit.command_line import lines, tocsin
from tests.kit.stored import incident

COMMANDS = ["incidents list", "incidents show", "incidents ack", "incidents resolve"]
COMMANDS += ["silence add", "silence list", "silence expire"]
ADD = ("silence", "add", "model=m", "--for", "2h", "--by", "ada", "--comment", "new scanner")


class Place:
    """A configuration, and the store that it names."""

    def __init__(self, folder: Path) -> None:
        self.config, self.path = folder / "tocsin.yaml", folder / "tocsin.db"
        self.config.write_text(
            "kafka: {bootstrap_servers: [here:1], topics: [t]}\n"
            "models: {m: {reference: {events: 1000}}}\n"
            f"store: {{path: {self.path}}}\n"
        )

    def tocsin(self, *words: str) -> tuple[int, str, str]:
        return tocsin(*words, "--config", self.config)

    def lines(self, *words: str) -> list[dict[str, object]]:
        return lines(*words, "--config", self.config)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    with closing(Store(made.path)) as store:
        old = incident("aa01", status=Status.RESOLVED, opened_at=50.0)
        store.commit(Commit(incidents=[old, incident("ab02", opened_at=100.0), incident("b003", opened_at=200.0)]))
    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert f"Example: tocsin {command}" in " ".join(result.stdout.split())


def test_incidents_are_listed_and_shown(place: Place) -> None:
    assert [line["id"] for line in place.lines("incidents", "list")] == ["b003", "ab02"]
    assert [line["id"] for line in place.lines("incidents", "list", "--all")] == ["b003", "ab02", "aa01"]
    assert [line["id"] for line in place.lines("incidents", "list", "--limit", "1")] == ["b003"]
    code, out, _ = place.tocsin("incidents", "list")
    assert (code, out.splitlines()[0]) == (
        0,
        "b003  firing  critical  1970-01-01 00:03:20 UTC  m 1  label_flip  a, b",
    )
    assert place.lines("incidents", "show", "b")[0]["verdict"] == "label_flip"
    assert "  label_flip\n" in place.tocsin("incidents", "show", "b003")[1]


@pytest.mark.parametrize(
    ("wanted", "said"), [("a", "more than one"), ("c", "no incident"), ("\x1b[31m", "no incident")]
)
def test_an_id_that_fits_not_exactly_one_is_refused(place: Place, wanted: str, said: str) -> None:
    code, _, err = place.tocsin("incidents", "show", wanted)
    assert (code, said in err, "\x1b" in err) == (2, True, False)


def test_decisions_wait_for_the_daemon(place: Place) -> None:
    (acknowledged,) = place.lines("incidents", "ack", "ab", "--by", "ada")
    place.lines("incidents", "resolve", "b003", "--by", "bob\n<!channel>")
    assert (acknowledged["verb"], acknowledged["incident"], acknowledged["by"]) == ("acknowledge", "ab02", "ada")
    with closing(Store(place.path)) as store:
        found = [(each.verb, each.incident, each.by) for each in store.desk.decisions()]
        assert found == [("acknowledge", "ab02", "ada"), ("resolve", "b003", "bob <!channel>")]
        store.commit(Commit(settled=[store.desk.decisions()[0].id]))
        assert [each.incident for each in store.desk.decisions()] == ["b003"]
    assert "is resolved" in place.tocsin("incidents", "ack", "aa01", "--by", "ada")[2]
    assert "--by is empty" in place.tocsin("incidents", "ack", "ab02", "--by", " ")[2]


def test_a_silence_is_added_listed_and_ended(place: Place) -> None:
    (made,) = place.lines(*ADD)
    assert made["author"] == "ada"
    assert made["ends_at"] == pytest.approx(float(str(made["starts_at"])) + 7200)
    assert [line["id"] for line in place.lines("silence", "list")] == [made["id"]]
    assert "by ada until" in place.tocsin("silence", "list")[1]
    expire = ("silence", "expire", str(made["id"]), "--by", "bob")
    assert place.lines(*expire)[0]["expired_by"] == "bob"
    assert place.lines("silence", "list") == []
    assert "(ended by bob)" in place.tocsin("silence", "list", "--all")[1]
    code, _, err = place.tocsin(*expire)
    assert (code, "is in force" in err) == (2, True)


@pytest.mark.parametrize(
    ("word", "instead", "said"),
    [
        ("model=m", "colour=red", "a matcher is label=pattern"),
        ("2h", "soon", "a duration is a number with m, h or d"),
        ("2h", "31d", "at most 30 days"),
        ("new scanner", " ", "an author and a comment"),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused(place: Place, word: str, instead: str, said: str) -> None:
    code, _, err = place.tocsin(*(instead if each == word else each for each in ADD))
    assert (code, said in err) == (2, True)
    assert place.lines("silence", "list") == []


def test_without_a_store_there_is_nothing_to_say(tmp_path: Path) -> None:
    code, _, err = Place(tmp_path).tocsin("incidents", "list")
    assert (code, "there is no store" in err) == (2, True)
