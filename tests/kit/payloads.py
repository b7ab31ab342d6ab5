"""What every payload must keep, whatever the incident holds; and the worst incident that anybody thought of."""

import email.policy
import json
import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from alerting import alertmanager, apprise, pagerduty, webhook
from alerting.email import MAX_SUBJECT, mail
from alerting.incident import Attribution, Change, Evidence, Plan, Radius, Served, Transition, Verdict
from alerting.links import LinksConfig
from alerting.message import Words, notice
from alerting.slack import MAX_BLOCKS, MAX_FIELD, MAX_FIELDS, MAX_HEADER, MAX_TEXT, MAX_TOTAL, payload
from tests.kit import schemas
from tests.kit.incidents import opened

WORDS = Words(
    environment="production",
    external_url="https://tocsin.example/",
    links=LinksConfig(
        incident="https://tocsin.example/incidents/{incident}",
        dashboard="https://grafana.example/d/tocsin?var-model={model}&from={from_ms}&to={to_ms}",
        runbook="https://docs.example/runbook#{verdict}",
    ),
)
LINK = re.compile(r" \| <https://(tocsin|grafana|docs)\.example/[^<>|\s]*\|(Incident|Dashboard|Runbook|Tocsin)>")
WORST = opened(
    model='"' * 256,
    version="\\" * 256,
    attribution=Attribution('"' * 256, "&" * 256, tuple('"' * 256 for _ in range(9)), "<" * 256, '"' * 256, "😀" * 256),
    evidence=tuple(Evidence('"' * 256, '"' * 256, -1.234e-300, -1.234e-300, -1.234e-300) for _ in range(20)),
    action='"\\' * 5000,
    plan=Plan('"' * 256, veto=False, until=2e11),
    against=('"' * 256,) * 5,
    because='"' * 256,
    was=Verdict.PERFORMANCE,
    radius=Radius(*([('"' * 256,) * 20] * 3), versions=(Served('"' * 256, 2**62),) * 9, inputs=2**62, labels=2**62),
)


def units(text: str) -> int:
    """Length as JavaScript counts, the longer of the two ways that are in use."""
    return len(text.encode("utf-16-le")) // 2


def texts(value: object) -> Iterator[dict[str, object]]:
    """All text objects of a message."""
    if isinstance(value, dict):
        if value.get("type") in {"plain_text", "mrkdwn"}:
            yield value
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)


def check_slack(transition: Transition) -> None:
    """Every limit holds, and nothing is a mention; slack_bot sends the same."""
    message = json.loads(msgspec.json.encode(payload(transition, WORDS)))
    blocks = message["blocks"]
    assert 1 <= len(blocks) <= MAX_BLOCKS
    assert 1 <= units(message["text"]) <= MAX_TEXT
    assert units(json.dumps(message, ensure_ascii=False)) <= MAX_TOTAL
    for block in blocks:
        match block["type"]:
            case "header":
                assert block["text"]["type"] == "plain_text"
                assert units(block["text"]["text"]) <= MAX_HEADER
            case "section":
                assert ("text" in block) != ("fields" in block)
                assert len(block.get("fields", [])) <= MAX_FIELDS
                assert all(units(field["text"]) <= MAX_FIELD for field in block.get("fields", []))
            case "context":
                assert 1 <= len(block["elements"]) <= 10
            case other:
                raise AssertionError(other)
    for text in texts(blocks):
        assert 1 <= units(text["text"]) <= MAX_TEXT
        assert text.get("emoji") is False if text["type"] == "plain_text" else text["verbatim"] is True
    for text in [message["text"], *(text["text"] for text in texts(blocks))]:
        said = LINK.sub("", text)
        assert "<" not in said  # so no <!channel>, <@U…>, <#C…>, no other link
        assert ">" not in said
        assert not re.search(r"&(?!(amp|lt|gt);)", said)  # an entity is never cut
        assert not re.search("@(channel|here|everyone|all)", said, re.IGNORECASE)


def check_pagerduty(transition: Transition) -> None:
    """The events for a transition, and for a rollback in it, keep the schema (where it is at hand) and the limits."""
    content, key = notice(transition, WORDS), "0" * 32
    event = pagerduty.event(transition, content, routing_key=key)
    acted = Transition(Change.ACTED, 2, msgspec.structs.replace(transition.incident, rolled_back_to="1.1.0"))
    for path, made in (
        ("/enqueue", event),
        ("/change/enqueue", pagerduty.change_event(acted, notice(acted, WORDS), routing_key=key)),
    ):
        body = pagerduty.encoded(made)
        assert len(body) <= pagerduty.MAX_BYTES
        found: dict[str, Any] = json.loads(body)
        if path == "/enqueue":
            assert 1 <= len(found["dedup_key"]) <= pagerduty.MAX_DEDUP_KEY
            assert found["event_action"] in {"trigger", "acknowledge", "resolve"}
        if "payload" in found:
            assert 1 <= len(found["payload"]["summary"]) <= pagerduty.MAX_SUMMARY
            datetime.fromisoformat(found["payload"].get("timestamp", "2026-01-01"))
        if (schema := schemas.pagerduty(path)) is not None:
            schema.validate(found)


RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")


def check_alertmanager(transition: Transition) -> None:
    """What Alertmanager would refuse does not occur: bad times, empty labels, an alert that ends before it starts."""
    now = 1_772_420_800.0
    found = json.loads(msgspec.json.encode([alertmanager.alert(transition, WORDS, now=now, lasts=240.0)]))
    (alert,) = found
    assert RFC3339.fullmatch(alert["startsAt"])
    assert RFC3339.fullmatch(alert["endsAt"])
    assert "1970" <= alert["startsAt"] <= alert["endsAt"] <= "2027"
    assert all(re.fullmatch(r"[a-z_]+", name) for name in (*alert["labels"], *alert["annotations"]))
    assert all(0 < len(text) <= 256 for text in alert["labels"].values())
    assert not any(ord(c) < 32 for text in alert["labels"].values() for c in text)


def check_email(transition: Transition) -> None:
    """Headers are single lines, nothing is in them that was not meant to be, and a mail program can read it all."""
    message = mail(transition, WORDS, sender="tocsin@example.com", to=("a@example.com", "b@example.com"), now=0.0)
    raw = message.as_bytes(policy=email.policy.SMTP)
    assert len(raw) < 100_000
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    found = email.message_from_bytes(raw, policy=email.policy.SMTP)
    assert found.keys() == message.keys()
    assert found["To"] == "a@example.com, b@example.com"
    assert 1 <= len(found["Subject"]) <= MAX_SUBJECT
    assert re.fullmatch(r"<[0-9a-f]{32}@example\.com>", found["Message-ID"])
    assert found.get_content_type() == "text/plain"
    text = found.get_content()
    assert notice(transition, WORDS).headline in text
    assert not any(unicodedata.category(c) == "Cc" for c in text if c not in "\r\n")


def check_apprise(transition: Transition) -> None:
    """Bounded plain text that mentions nobody."""
    found = apprise.payload(transition, WORDS)
    assert 1 <= len(found["title"]) <= 300
    assert 1 <= len(found["body"]) <= 4000
    assert not re.search(r"@(channel|here|everyone|all|[!&]?\d)", found["title"] + found["body"], re.IGNORECASE)


def check_webhook(transition: Transition) -> None:
    """Any incident arrives whole, beside an alert that keeps Alertmanager's form."""
    message = json.loads(msgspec.json.encode(webhook.payload(transition, WORDS, receiver="hook")))
    (alert,) = message["alerts"]
    assert RFC3339.fullmatch(alert["startsAt"])
    assert RFC3339.fullmatch(alert["endsAt"])
    for found in (alert["labels"], alert["annotations"]):
        assert all(isinstance(text, str) and len(text) < 20_000 for text in found.values())
    assert not any(ord(c) < 32 for text in alert["labels"].values() for c in text)
    # JSON has no NaN and no infinity: they arrive as null, everything else as it was.
    assert message["tocsin"] == json.loads(msgspec.json.encode(transition))
