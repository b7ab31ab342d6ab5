"""What the configuration file may say: the whole tree, how it is loaded, and what contradicts itself in it.

Settings travel as this tree and in no other way. Each section is described where it is used.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, FilePath, SecretStr, ValidationError, field_validator, model_validator

from alerting.config import AlertingConfig
from alerting.section import Secret, Section
from monitor.detection.companions import CompanionConfig
from monitor.http.access_config import AccessConfig
from monitor.http.intake import IntakeConfig
from monitor.http.tls import TlsConfig
from monitor.intake.kafka_config import KafkaConfig, Topic
from monitor.intake.quarantine import QuarantineConfig
from monitor.intake.signatures import SignaturesConfig
from monitor.intake.suspect_log import SuspectsConfig
from monitor.rollback.config import Mode, RollbackConfig
from monitor.rollback.file_registry import FileRegistryConfig
from monitor.rollback.http_registry import HttpRegistryConfig
from monitor.rollback.known_good import KnownGoodConfig
from monitor.rollback.mlflow_rest import MlflowConfig
from monitor.service.config_file import ConfigError, ConfigFile, Keys, Problem
from monitor.service.config_words import did_you_mean, explain
from monitor.store.audit import AuditError, read_key
from monitor.store.bucket import BucketConfig
from monitor.store.vault import StoreKey
from monitor.telemetry.logs import Format, Level

__all__ = ["Config", "ConfigError", "Problem", "json_schema", "load", "secrets"]

ANY_MODEL = "*"
"""The name, in `models`, of every model that is not named there."""

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ModelName = Annotated[str, Field(min_length=1, max_length=256)]
AnyRegistry = Annotated[MlflowConfig | FileRegistryConfig | HttpRegistryConfig, Field(discriminator="kind")]


class StoreConfig(Section):
    """Where state, incidents and messages last."""

    path: Path = Path("tocsin.db")
    """The SQLite file. Its folder must exist, and be writable."""
    url: Secret | None = None
    """Instead of it: a PostgreSQL, as `postgresql://user:password@host:5432/database`."""
    keys: tuple[StoreKey, ...] = ()
    """What is stored is encrypted with the first one; what others have encrypted can be read."""
    only_encrypted: bool = False
    """Refuse what is stored in plain: whoever has put it there did not have a key."""
    commit_every: Seconds = 2.0
    """How often everything is written, or less often where that takes long. A crash repeats the work since."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.url is not None and "path" in self.model_fields_set:
            raise ValueError("give `path` or `url`, not both")
        return self

    @model_validator(mode="after")
    def _has_a_key(self) -> Self:
        if self.only_encrypted and not self.keys:
            raise ValueError("only_encrypted needs `keys`")
        return self

    @field_validator("keys")
    @classmethod
    def _are_different(cls, keys: tuple[StoreKey, ...]) -> tuple[StoreKey, ...]:
        if len({key.id for key in keys}) < len(keys):
            raise ValueError("more than one key has the same id")
        return keys

    @property
    def location(self) -> str | Path:
        """Where the store is, as `Store` wants it; it may hold a password."""
        return self.path if self.url is None else self.url.reveal()


class Reference(Section):
    """A span of live events that is known to be clean: exactly one of the two."""

    events: Annotated[int, Field(ge=1)] | None = None
    """The first so many predictions and joined labels of the model."""
    until: datetime | None = None
    """Everything before this event time; without an offset it is UTC."""

    @field_validator("until")
    @classmethod
    def _in_utc(cls, until: datetime | None) -> datetime | None:
        return until if until is None or until.tzinfo is not None else until.replace(tzinfo=UTC)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.events is None) == (self.until is None):
            raise ValueError("give exactly one of `events` and `until`")
        return self


class ModelConfig(Section):
    """What a model is tested against: exactly one of the two."""

    baseline: FilePath | None = None
    """A file made by `tocsin baseline build`."""
    reference: Reference | None = None
    """Learn the baseline from the stream."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.baseline is None) == (self.reference is None):
            raise ValueError("give exactly one of `baseline` and `reference`")
        return self


class DetectionConfig(Section):
    """How sure Tocsin has to be."""

    budget: Annotated[int, Field(ge=100)] = 100_000
    """The false-alarm budget: events of a model for each false incident, on average, while all is well."""
    silence_after: Seconds = 3600.0
    """A model from which nothing has come for so many seconds is reported as silent."""
    engine: Literal["auto", "numpy", "compiled"] = "auto"
    """How evidence is added up; the numbers are the same. `compiled` takes less than half the time of `numpy`, seconds
    at each start, and the extra `fast`; `auto` begins as `numpy` and becomes that, where it can, once it pays."""
    baseline_key: FilePath | None = None
    """Ed25519 public key, PEM: baseline files have to be signed by its owner."""
    companions: tuple[CompanionConfig, ...] = ()
    """Detectors of river to run beside the engine; they are counted and shown, and open no incidents."""

    @field_validator("engine")
    @classmethod
    def _is_installed(cls, engine: str) -> str:
        if engine == "compiled" and find_spec("numba") is None:
            raise ValueError("compiled: numba is not installed; it comes with the extra `fast`")
        return engine


class JoinConfig(Section):
    """How long predictions wait for their labels."""

    label_ttl: Seconds = 7 * 86400.0
    """Seconds of event time."""
    max_pending: Annotated[int, Field(ge=1)] = 200_000
    """Predictions kept at most; the oldest go first."""


class ServerConfig(Section):
    """Where metrics, probes and incidents are served."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9464
    """0 takes any free one."""
    tls: TlsConfig | None = None
    intake: IntakeConfig | None = None
    """Events over HTTP, for those who cannot reach Kafka; none are taken without this."""
    access: AccessConfig = AccessConfig()
    """Who may use the API."""


class AuditConfig(Section):
    """What was done, and by whom, is always written down; this is about who can vouch for it."""

    signing_key: Secret | None = None
    """An Ed25519 private key in PEM, without a password. With it the end of the log is signed once a minute."""
    bucket: BucketConfig | None = None
    """The log is copied to this bucket, where nobody can remove it."""
    topic: Topic | None = None
    """The log is copied to this topic, which must exist and should have one partition and no end of retention."""

    @field_validator("signing_key")
    @classmethod
    def _is_a_key(cls, key: Secret | None) -> Secret | None:
        if key is not None:
            try:
                read_key(key.reveal())
            except AuditError as error:
                raise ValueError(str(error)) from None
        return key


class LogConfig(Section):
    """How much is logged, and for whom."""

    level: Level = "info"
    format: Format = "auto"
    """`auto` is `console` on a terminal, and `json` otherwise."""


class Config(Section):
    """The whole file."""

    kafka: KafkaConfig
    models: Annotated[dict[ModelName, ModelConfig], Field(min_length=1)]
    """The models to watch, by the name that their events have; `*` stands for every model that is not named."""
    detection: DetectionConfig = DetectionConfig()
    join: JoinConfig = JoinConfig()
    signatures: SignaturesConfig = SignaturesConfig()
    quarantine: QuarantineConfig = QuarantineConfig()
    suspects: SuspectsConfig = SuspectsConfig()
    alerting: AlertingConfig = AlertingConfig()
    registry: AnyRegistry | None = None
    rollback: RollbackConfig = RollbackConfig()
    known_good: KnownGoodConfig = KnownGoodConfig()
    store: StoreConfig = StoreConfig()
    server: ServerConfig = ServerConfig()
    audit: AuditConfig = AuditConfig()
    log: LogConfig = LogConfig()


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read and check a configuration file.

    Args:
        path: the YAML file.
        environ: what `${NAME}` is looked up in.

    Raises:
        ConfigError: with every problem of the file, in its order.
    """
    file = ConfigFile(path, environ)
    try:
        config = Config.model_validate(file.data)
    except ValidationError as error:
        for keys, message in explain(error, file.data, json_schema()):
            file.report(keys, message)
        raise file.error() from None
    for keys, message in _contradictions(config):
        file.report(keys, message)
    if file.problems:
        raise file.error()
    return config


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def secrets(section: BaseModel) -> Iterator[str]:
    """Every secret in a section and below, for the one place that keeps them out of the logs."""
    for name in type(section).model_fields:
        yield from _secrets_in(getattr(section, name))


def _secrets_in(value: object) -> Iterator[str]:
    match value:
        case Secret():
            with suppress(OSError, UnicodeDecodeError):  # whoever needs the file will say so
                yield value.reveal()
        case SecretStr():
            yield value.get_secret_value()
        case BaseModel():
            yield from secrets(value)
        case tuple() | list():
            for item in value:
                yield from _secrets_in(item)
        case dict():
            for item in value.values():
                yield from _secrets_in(item)


def _contradictions(config: Config) -> Iterator[tuple[Keys, str]]:
    """What is wrong between sections that are right by themselves."""
    modes: dict[Keys, Mode] = {("rollback", "mode"): config.rollback.mode}
    modes |= {("rollback", "models", model): mode for model, mode in config.rollback.models.items()}
    for keys, mode in modes.items():
        if mode is not Mode.OBSERVE and config.registry is None:
            yield keys, f"`{mode}` moves an alias, and there is no `registry`"
        if mode is Mode.PROPOSE and not config.alerting.receivers:
            yield keys, "`propose` asks a person, and there is nobody in `alerting.receivers`"
    unknown = set() if ANY_MODEL in config.models else config.rollback.models.keys() - config.models.keys()
    for model in sorted(unknown):
        yield ("rollback", "models", model), f"there is no such model in `models`{did_you_mean(model, config.models)}"
    if config.server.access.certificates and (config.server.tls is None or config.server.tls.client_ca_file is None):
        yield (
            ("server", "access", "certificates"),
            "nobody is asked for a certificate without `server.tls.client_ca_file`",
        )
    if (intake := config.server.intake) is not None and intake.topic not in config.kafka.topics:
        yield ("server", "intake", "topic"), "is none of `kafka.topics`: what is put there would never be read"
    if intake is not None and config.signatures.producers and config.signatures.required:
        yield ("server", "intake"), "what comes over HTTP has no signature, and `signatures.required` refuses it"
    for section, topic in (
        ("quarantine", config.quarantine.topic),
        ("suspects", config.suspects.topic),
        ("audit", config.audit.topic),
    ):
        if topic in config.kafka.topics:
            yield (section, "topic"), "is one of `kafka.topics`: what is put there would be read again"
