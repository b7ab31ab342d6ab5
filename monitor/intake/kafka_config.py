"""The `kafka` section of the configuration."""

import ssl
from importlib.util import find_spec
from typing import Annotated, Literal, Self

from pydantic import Field, FilePath, StringConstraints, model_validator

from alerting.section import Secret, Section
from monitor.intake.source import SourceError

Server = Annotated[str, StringConstraints(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$")]
Topic = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
Seconds = Annotated[float, Field(gt=0)]


class KafkaSecurity(Section):
    """How to reach the brokers: encryption, and who we are."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"] = "PLAINTEXT"
    ca_file: FilePath | None = None
    """PEM certificates to trust; without it, those of the system."""
    cert_file: FilePath | None = None
    """PEM client certificate with its chain, for mutual TLS."""
    key_file: FilePath | None = None
    """Its private key, where it is not in `cert_file`."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password: Secret | None = None

    @property
    def encrypted(self) -> bool:
        """True where the protocol is TLS."""
        return self.protocol.endswith("SSL")

    @property
    def authenticated(self) -> bool:
        """True where the protocol is SASL."""
        return self.protocol.startswith("SASL")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        login = (self.sasl_mechanism, self.username, self.password)
        if self.authenticated and None in login:
            raise ValueError(f"{self.protocol} needs sasl_mechanism, username and password")
        if not self.authenticated and login != (None, None, None):
            raise ValueError(
                f"{self.protocol} does not log in: a SASL protocol uses sasl_mechanism, username, password"
            )
        if not self.encrypted and (self.ca_file or self.cert_file or self.key_file):
            raise ValueError(f"{self.protocol} is not encrypted: SSL and SASL_SSL use ca_file, cert_file, key_file")
        if self.key_file and not self.cert_file:
            raise ValueError("key_file needs cert_file")
        return self

    def tls(self) -> ssl.SSLContext:
        """A context that checks certificate and host name. Raises OSError if a file is not what it should be."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context


class KafkaConfig(Section):
    """Which topics to read, from where, and as whom. Times are in seconds."""

    bootstrap_servers: tuple[Server, ...] = Field(min_length=1)
    topics: tuple[Topic, ...] = Field(min_length=1)
    client: Literal["kafka-python", "confluent"] = "kafka-python"
    """The library that reads: `confluent` is several times faster, and needs the extra `fast`."""
    group_id: str = Field(default="tocsin", min_length=1, max_length=249)
    group_instance_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,249}$")
    """A name that this replica keeps over restarts: a short restart then moves no partitions."""
    start: Literal["earliest", "latest"] = "earliest"
    """Where to begin with a partition of which the store knows no position."""
    beyond_end: Literal["fail", "earliest", "latest"] = "fail"
    """Where to go on when a topic ends before the stored position: it was truncated, or deleted and made anew."""
    replicas: Literal["one", "several"] = "one"
    """`one` reads everything, whatever keys the records have. `several` share the stream by the numbers of partitions:
    all topics need equally many, every record needs its model as the key, and the replicas need one store."""
    security: KafkaSecurity = KafkaSecurity()
    max_poll_records: int = Field(default=1_000, ge=1)
    connect_timeout: Seconds = 10.0
    """How long the start may take to find a broker."""
    request_timeout: float = Field(default=30.0, ge=1, le=500)
    session_timeout: Seconds = 45.0
    """A replica that was not heard of for so long loses its partitions."""
    heartbeat_interval: Seconds = 3.0
    max_poll_interval: Seconds = 60.0
    """A replica that did not ask for records for so long loses its partitions; a rebalance waits no longer for it."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.topics)) < len(self.topics):
            raise ValueError("topics: the same topic is given twice")
        if self.client == "confluent" and find_spec("confluent_kafka") is None:
            raise ValueError("client: confluent is not installed; it comes with the extra `fast`")
        if not self.heartbeat_interval < self.session_timeout <= self.max_poll_interval:
            raise ValueError("heartbeat_interval < session_timeout <= max_poll_interval must hold")
        return self


def refuse_to_share(config: KafkaConfig, assigned: int, all_partitions: int) -> None:
    """Raise SourceError if this replica is to read everything, and the group gave it `assigned` partitions only.

    A replica that got none waits, and takes over when the other one ends.
    """
    if config.replicas == "one" and 0 < assigned < all_partitions:
        got = f"the group {config.group_id} gives {assigned} of {all_partitions} partitions to this replica"
        raise SourceError(f"{got}: another one reads the rest; `kafka.replicas: several` lets them share the stream")
