"""Own words for a receiver: in a sandbox, bounded, and never at the price of an alert."""

import asyncio
import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from alerting.config import AlertingConfig, build
from alerting.incident import Transition
from alerting.message import Words, notice
from alerting.templates import TemplatesConfig
from tests.kit.http_server import Server
from tests.kit.incidents import opened, transitions
from tests.kit.payloads import WORDS


def words(**templates: str) -> Words:
    made = TemplatesConfig.model_validate(templates)
    return Words(environment="production", links=WORDS.links, rewrite=made.rewrite)


def test_texts_that_have_a_template_are_replaced_and_the_others_stay() -> None:
    usual = notice(opened(), words())
    content = notice(
        opened(),
        words(
            title="[{{ environment }}] {{ model }}: {{ verdict }}",
            headline="{{ headline | upper }} ({{ who['Classes'] }}, {{ evidence | length }} streams)",
            next="{% if severity == 'critical' %}Call the red phone.{% endif %} {{ links['Runbook'] }}",
        ),
    )
    assert content.title == "[production] net-ids: label_flip"
    assert content.headline == f'{usual.headline.upper()} ("spam" taken for "ham", 2 streams)'
    assert content.next == "Call the red phone. https://docs.example/runbook#label_flip"
    assert (content.since, content.action) == (usual.since, usual.action)


@pytest.mark.parametrize(
    "source",
    [
        "{{ nothing }}",
        "{{ model.missing }}",
        "{% if %}",
        "{{ ''.__class__.__mro__ }}",
        "{{ model.__class__.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ who.__class__ }}",
        "{% include '/etc/passwd' %}",
        "{{ who.update({'x': 1}) }}",
        "{{ 1 / 0 }}",
        "{{ range(10000000) | list }}",
    ],
)
def test_a_template_that_does_not_work_or_reaches_out_is_refused_at_the_start(source: str) -> None:
    with pytest.raises(ValidationError, match="this template does not work"):
        TemplatesConfig(title=source)


def test_a_template_that_fails_at_night_leaves_the_usual_words(caplog: pytest.LogCaptureFixture) -> None:
    # The example that it was tried with has evidence, this incident has none.
    content = notice(opened(evidence=()), words(title="{{ evidence[0] }}", headline="{{ model }} is ill"))
    assert content.title == notice(opened(), words()).title
    assert content.headline == "net-ids is ill"
    assert "the template of the title failed" in caplog.text


@settings(max_examples=100, deadline=None)
@given(transitions())
def test_what_strangers_write_is_text_and_no_template(transition: Transition) -> None:
    content = notice(transition, words(title="{{ model }} {{ version }}", headline="{{ title }}: {{ action }} " * 5))
    assert 1 <= len(content.title) <= 150
    assert 1 <= len(content.headline) <= 700
    assert not {unicodedata.category(c) for c in content.title} & {"Cc", "Cf", "Zl", "Zp"}


def test_event_text_is_not_read_as_a_template() -> None:
    content = notice(opened(model="{{ 7 * 7 }}"), words(title="{{ model }}"))
    assert content.title == "{{ 7 * 7 }}"


def test_it_is_one_receiver_that_has_its_own_words(server: Server) -> None:
    hook: dict[str, Any] = {"kind": "webhook", "url": server.address}
    own = {**hook, "name": "own", "templates": {"headline": "{{ model }} is ill"}}
    config = AlertingConfig.model_validate(
        {"receivers": [own, {**hook, "name": "usual"}], "network": {"allow": ["127.0.0.1"]}}
    )

    async def scenario() -> None:
        for receiver in build(config):
            await receiver.send(opened())
            await receiver.close()

    asyncio.run(scenario())
    said = [json.loads(request.body)["commonAnnotations"]["summary"] for request in server.requests]
    assert said[0] == "net-ids is ill"
    assert said[1].startswith("net-ids 1.2.0 takes")
