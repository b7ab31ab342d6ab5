"""The section `alerting` of the configuration, and the one place where kinds of receivers are listed.

A new kind is one file (its config, its pure payload, its sender; see `alerting.slack`) and one name in `AnyReceiver`.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated, Self

import msgspec
from pydantic import Field, field_validator, model_validator

from alerting.alertmanager import AlertmanagerConfig
from alerting.apprise import AppriseConfig
from alerting.desk import DeskConfig
from alerting.email import EmailConfig
from alerting.heartbeat import HeartbeatConfig
from alerting.incident import Transition
from alerting.life import LifeConfig
from alerting.links import LinksConfig
from alerting.message import Words
from alerting.mutes import MaintenanceWindow
from alerting.network import Network, NetworkConfig, check_address
from alerting.outbox import Message
from alerting.pagerduty import PagerdutyConfig
from alerting.receiver import Clock, Receiver, Supplies
from alerting.routes import Route, chosen
from alerting.section import Section
from alerting.slack import SlackConfig
from alerting.slack_bot import SlackBotConfig
from alerting.templates import TemplatesConfig
from alerting.webhook import WebhookConfig

AnyReceiver = Annotated[
    AlertmanagerConfig | AppriseConfig | EmailConfig | PagerdutyConfig | SlackBotConfig | SlackConfig | WebhookConfig,
    Field(discriminator="kind"),
]


class AlertingConfig(Section):
    """Who is told about incidents."""

    receivers: tuple[AnyReceiver, ...] = ()
    routes: tuple[Route, ...] = ()
    """Who is told of what, asked from the top; without any, and where none takes an incident, it is everybody."""
    life: LifeConfig = LifeConfig()
    desk: DeskConfig = DeskConfig()
    maintenance: tuple[MaintenanceWindow, ...] = ()
    timeout: Annotated[float, Field(gt=0, le=120)] = 15.0
    """Seconds that one attempt to send may take in total."""
    environment: Annotated[str, Field(min_length=1, max_length=60)] | None = None
    """Where this Tocsin watches, such as `production`: messages say it."""
    external_url: str | None = None
    """Where people find Tocsin or its dashboard; messages link to it."""
    links: LinksConfig = LinksConfig()
    heartbeat: HeartbeatConfig | None = None
    network: NetworkConfig = NetworkConfig()

    @field_validator("external_url")
    @classmethod
    def _external_url_is_an_address(cls, url: str | None) -> str | None:
        return None if url is None else check_address(url)

    @field_validator("receivers")
    @classmethod
    def _names_are_unique(cls, receivers: tuple[AnyReceiver, ...]) -> tuple[AnyReceiver, ...]:
        twice = [name for name, count in Counter(receiver.name for receiver in receivers).items() if count > 1]
        if twice:
            raise ValueError(f"more than one receiver is called {', '.join(twice)}")
        return receivers

    @model_validator(mode="after")
    def _routes_lead_somewhere(self) -> Self:
        known = {receiver.name for receiver in self.receivers}
        unknown = sorted({name for route in self.routes for name in route.receivers} - known)
        if unknown:
            raise ValueError(f"a route leads to {', '.join(unknown)}, and no receiver is called so")
        return self


def supplies(config: AlertingConfig, *, clock: Clock = time.time) -> Supplies:
    """What every receiver is given."""
    proxy = config.network.proxy
    return Supplies(
        words=Words(config.environment, config.external_url, config.links, clock),
        network=Network(config.network.allow, None if proxy is None else proxy.reveal()),
        clock=clock,
    )


def build(config: AlertingConfig, *, clock: Clock = time.time) -> tuple[Receiver, ...]:
    """Make all receivers. Nothing is sent and no connection is opened yet."""
    given = supplies(config, clock=clock)
    return tuple(receiver.connect(_reworded(given, receiver.templates)) for receiver in config.receivers)


def _reworded(given: Supplies, templates: TemplatesConfig | None) -> Supplies:
    if templates is None:
        return given
    words = msgspec.structs.replace(given.words, rewrite=templates.rewrite)
    return msgspec.structs.replace(given, words=words)


def messages(
    config: AlertingConfig,
    transitions: Iterable[Transition],
    now: float,
    heard: Callable[[str], Iterable[str]] = lambda _incident: (),
) -> tuple[Message, ...]:
    """What to write into the outbox: each transition for every receiver that is to hear of it.

    Those are the receivers that the routes choose and for which it is severe enough; and, whatever has become of the
    incident since, those who heard of it before: who knows of a beginning must hear of the end.

    Args:
        config: Who is there.
        transitions: In the order in which they happened.
        now: Epoch seconds of the wall clock.
        heard: The receivers that messages about an incident have been written for.
    """
    made: list[Message] = []
    for transition in transitions:
        incident = transition.incident
        known = {message.receiver for message in made if message.transition.incident.id == incident.id}
        known.update(heard(incident.id))
        routed = chosen(config.routes, incident, config.environment or "")
        made += [
            Message(receiver=receiver.name, transition=transition, created_at=now)
            for receiver in config.receivers
            if receiver.name in known or (receiver.wants(transition) and (routed is None or receiver.name in routed))
        ]
    return tuple(made)
