"""The section `alerting`, and the way from an incident to a real server through everything in this package."""

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

import alerting.config
from alerting.config import AlertingConfig, AnyReceiver, build, messages
from alerting.delivery import Delivery
from alerting.incident import Severity
from alerting.policy import Policy
from alerting.receiver import ReceiverConfig
from alerting.section import Section
from tests.kit import http_server
from tests.kit.http_server import Server, reply
from tests.kit.incidents import opened, resolved
from tests.kit.memory_outbox import MemoryOutbox

CANARY = "c4n4ry"


def parse(*receivers: dict[str, object], **more: object) -> AlertingConfig:
    network = {"allow": ["127.0.0.1"]}
    return AlertingConfig.model_validate({"receivers": receivers, "network": network, **more})


def hook(address: str = "http://127.0.0.1/", **more: object) -> dict[str, object]:
    return {"kind": "webhook", "name": "hook", "url": address, **more}


def chat(address: str = "http://127.0.0.1/", **more: object) -> dict[str, object]:
    return {"kind": "slack", "name": "chat", "url": {"value": address}, **more}


def places(caught: pytest.ExceptionInfo[ValidationError]) -> list[str]:
    return [".".join(map(str, error["loc"])) for error in caught.value.errors()]


def test_nobody_to_tell_is_a_valid_answer() -> None:
    config = AlertingConfig()
    assert build(config) == ()
    assert messages(config, [opened()], 1.0) == ()


@pytest.mark.parametrize(
    ("receivers", "place"),
    [
        ([{"kind": "pager", "name": "x"}], "receivers.0"),
        ([{"name": "x"}], "receivers.0"),
        ([hook(nmae="x")], "receivers.0.webhook.nmae"),
        ([hook(name="Has Space")], "receivers.0.webhook.name"),
        ([hook(name="")], "receivers.0.webhook.name"),
        ([hook(name="x" * 64)], "receivers.0.webhook.name"),
        ([hook(min_severity="high")], "receivers.0.webhook.min_severity"),
        ([hook(), chat("nowhere")], "receivers.1.slack.url"),
        ([hook(), hook()], "receivers"),
    ],
)
def test_a_mistake_is_named_with_its_place(receivers: list[dict[str, object]], place: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(*receivers)
    assert places(caught) == [place]


@pytest.mark.parametrize("more", [{"timeout": 0}, {"timeout": 1000}, {"external_url": "tocsin"}, {"slack": {}}])
def test_a_mistake_in_the_section_itself(more: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(**more)
    assert places(caught) == list(more)


@pytest.mark.parametrize(
    "receiver",
    [
        chat(f"nowhere/{CANARY}"),
        {"kind": "slack", "name": "chat", "url": f"https://hooks.slack.com/{CANARY}"},
        {"kind": "slack", "name": "chat", "url": {"value": CANARY, "file": "/nowhere"}},
        hook(CANARY),
        hook(secret=CANARY),
        hook(secret={"value": f"whsec_{CANARY}!"}),
        hook(token=CANARY),
    ],
)
def test_a_refused_secret_is_not_repeated(receiver: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(receiver)
    assert CANARY not in str(caught.value)


def test_no_secret_in_what_a_config_shows() -> None:
    config = parse(chat(f"https://hooks/{CANARY}"), hook(f"https://x/{CANARY}", secret={"value": CANARY}))
    assert CANARY not in repr(config) + str(config.model_dump()) + config.model_dump_json()


def test_a_schema_can_be_published() -> None:
    schema = json.dumps(AlertingConfig.model_json_schema())
    assert '"slack"' in schema
    assert '"webhook"' in schema


def kinds(annotation: object) -> Iterator[type[ReceiverConfig]]:
    """The classes in a union, however deep it is annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        assert issubclass(annotation, ReceiverConfig)
        yield annotation
    for part in get_args(annotation):
        yield from kinds(part)


def test_every_kind_is_listed() -> None:
    listed = set(kinds(AnyReceiver))
    folder = Path(alerting.config.__file__).parent
    written = {path.stem for path in folder.glob("*.py") if "(ReceiverConfig)" in path.read_text()}
    assert {kind.__module__.removeprefix("alerting.") for kind in listed} == written
    assert all(issubclass(kind, Section) for kind in listed)


def test_who_is_told_of_what() -> None:
    config = parse(chat(min_severity="critical"), hook())
    steps = [opened(1, severity=Severity.WARNING), opened(2, severity=Severity.CRITICAL), resolved(3)]
    told = messages(config, steps, 7.0)
    assert [m.id.removeprefix(opened().incident.id) for m in told] == [
        "-1-hook",
        "-2-chat",
        "-2-hook",
        "-3-chat",
        "-3-hook",
    ]
    assert {m.created_at for m in told} == {7.0}


def test_from_a_transition_to_real_servers(make_server: Callable[[], Server]) -> None:
    """A Slack that is down at first, beside a webhook that drips for ever: the former gets it all, in order."""
    slack, slow = make_server(), make_server()
    slack.answers = [reply(500), reply(429, retry_after="2"), reply(200, b"ok")]
    slow.answers = [http_server.drip_body]
    config = parse(chat(slack.address), hook(slow.address), timeout=0.2)
    outbox, now = MemoryOutbox(), [100.0]
    outbox.add(*messages(config, [opened(1), resolved(2)], now[0]))

    async def scenario() -> None:
        receivers = build(config, clock=lambda: now[0])
        delivery = Delivery(
            outbox,
            receivers,
            policy=Policy(timeout=config.timeout),
            clock=lambda: now[0],
            chance=random.Random(1),
        )
        for _ in range(6):
            await delivery.run_once()
            now[0] += 2.0
        await delivery.close()

    asyncio.run(scenario())
    sent = [json.loads(request.body)["blocks"][0]["text"]["text"].split()[0] for request in slack.requests]
    assert sent == ["FIRING", "FIRING", "FIRING", "RESOLVED"]
    assert {m.receiver for m in outbox.waiting.values()} == {"hook"}
    assert outbox.errors[f"{opened(1).id}-hook"] == "timeout: no complete answer within 0.2 s"
