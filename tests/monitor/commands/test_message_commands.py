"""Commands about messages: a receiver is tried, and what it refused is seen, sent again or forgotten."""

import asyncio
import json
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alerting.config import AlertingConfig, build
from alerting.delivery import Delivery
from monitor.commands.cli import app
from monitor.store.store import Commit, Store
from tests.contracts.outbox_contract import message
from tests.kit.command_line import lines, tocsin
from tests.kit.http_server import Server, reply

BY = ("--by", "ann")
COMMANDS = ["notify-test", "messages dead", "messages resend", "messages discard"]


class Place:
    """A configuration with one receiver, and the store that it names."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.config, self.path = folder / "tocsin.yaml", folder / "tocsin.db"
        self.config.write_text(
            "kafka: {bootstrap_servers: [here:1], topics: [t]}\n"
            "models: {m: {reference: {events: 1000}}}\n"
            f"store: {{path: {self.path}}}\n"
            "alerting:\n"
            "  network: {allow: [127.0.0.1]}\n"
            f"  receivers: [{{kind: webhook, name: chat, url: '{server.address}', min_severity: critical}}]\n"
        )
        receiver = {"kind": "webhook", "name": "chat", "url": server.address}
        self.alerting = AlertingConfig.model_validate({"receivers": [receiver], "network": {"allow": ["127.0.0.1"]}})

    def tocsin(self, *words: str) -> tuple[int, str, str]:
        return tocsin(*words, "--config", self.config)

    def lines(self, *words: str) -> list[dict[str, object]]:
        return lines(*words, "--config", self.config)

    def acts(self) -> list[tuple[str, str, str]]:
        """What the audit log has, the newest first."""
        with closing(Store(self.path)) as store:
            entries = store.audit.entries(limit=10)
        return [(entry.act.verb, entry.act.actor, entry.act.subject) for entry in entries]

    def deliver(self) -> None:
        """What the running daemon does."""

        async def scenario(store: Store) -> None:
            delivery = Delivery(store.outbox, build(self.alerting))
            await delivery.run_once()
            await delivery.close()

        with closing(Store(self.path)) as store:
            asyncio.run(scenario(store))


@pytest.fixture
def place(tmp_path: Path, server: Server) -> Place:
    return Place(tmp_path, server)


@pytest.fixture
def refused(place: Place, server: Server) -> Place:
    """Incident a lost its beginning, and b all it had."""
    with closing(Store(place.path)) as store:
        store.commit(Commit(messages=[message("a", 1), message("a", 2), message("b", 1), message("b", 2)]))
    server.answers = [reply(404), reply(200), reply(404), reply(404)]
    place.deliver()
    server.answers = [reply(200)]
    server.requests.clear()
    return place


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert f"Example: tocsin {command}" in " ".join(result.stdout.split())


def test_a_receiver_is_tried_with_a_message_that_says_so_and_with_its_end(place: Place, server: Server) -> None:
    (line,) = place.lines("notify-test", "chat")
    assert (line["receiver"], line["accepted"]) == ("chat", True)
    first, second = (json.loads(request.body) for request in server.requests)
    assert [first["status"], second["status"]] == ["firing", "resolved"]
    assert "This is a test" in first["commonAnnotations"]["summary"]
    assert first["groupKey"] == second["groupKey"]
    assert first["commonLabels"]["severity"] == "info"


def test_a_receiver_that_refuses_is_an_exit_code_and_a_reason(place: Place, server: Server) -> None:
    server.answers = [reply(403)]
    code, out, _ = place.tocsin("notify-test", "chat", "--severity", "critical", "--output", "json")
    assert code == 1
    assert json.loads(out) == {
        "receiver": "chat",
        "accepted": False,
        "reason": "unauthorized",
        "why": "answered 403",
    }
    assert len(server.requests) == 1


def test_a_receiver_that_is_not_there_is_bad_input(place: Place) -> None:
    code, _, err = place.tocsin("notify-test", "pager")
    assert code == 2
    assert err == "no receiver is called pager; there are: chat\n"


def test_what_was_refused_is_listed_with_the_reason(refused: Place) -> None:
    found = [(line["message"], line["error"], line["overtaken"]) for line in refused.lines("messages", "dead")]
    why = "not_found: answered 404"
    assert found == [("a-1-chat", why, True), ("b-1-chat", why, False), ("b-2-chat", why, False)]
    assert refused.lines("messages", "dead", "--receiver", "pager") == []
    code, out, _ = refused.tocsin("messages", "dead")
    assert code == 0
    assert "a later step has arrived" in out.splitlines()[0]


def test_what_was_refused_goes_out_again_in_order_unless_it_has_been_overtaken(refused: Place, server: Server) -> None:
    code, _, err = refused.tocsin("messages", "resend", "--receiver", "chat", *BY)
    assert code == 1
    assert err.startswith("a-1-chat: stays")
    refused.deliver()
    assert [request.headers["webhook-id"] for request in server.requests] == ["b-1", "b-2"]
    assert [line["message"] for line in refused.lines("messages", "dead")] == ["a-1-chat"]


def test_one_message_can_be_chosen(refused: Place, server: Server) -> None:
    assert refused.lines("messages", "resend", "b-2-chat", *BY) == [{"message": "b-2-chat", "resent": True}]
    refused.deliver()
    assert [request.headers["webhook-id"] for request in server.requests] == ["b-2"]
    assert refused.acts() == [("message.resent", "ann", "b-2-chat")]
    # Now its beginning would come after its end.
    assert [line["overtaken"] for line in refused.lines("messages", "dead")] == [True, True]


def test_what_nobody_needs_is_forgotten(refused: Place) -> None:
    assert refused.lines("messages", "discard", "a-1-chat", *BY) == [{"message": "a-1-chat", "discarded": True}]
    assert [line["message"] for line in refused.lines("messages", "dead")] == ["b-1-chat", "b-2-chat"]
    assert len(refused.lines("messages", "discard", "--receiver", "chat", *BY)) == 2
    assert refused.lines("messages", "dead") == []
    assert refused.acts() == [("message.discarded", "ann", name) for name in ("b-2-chat", "b-1-chat", "a-1-chat")]


@pytest.mark.parametrize("command", ["resend", "discard"])
def test_it_has_to_be_said_which(refused: Place, command: str) -> None:
    code, _, err = refused.tocsin("messages", command, *BY)
    assert (code, err) == (2, "say which: ids, or --receiver\n")
    code, _, err = refused.tocsin("messages", command, "a-2-chat", *BY)
    assert code == 2
    assert "a-2-chat is not dead" in err
    code, _, err = refused.tocsin("messages", command, "b-1-chat")
    assert (code, "--by" in err) == (2, True)
