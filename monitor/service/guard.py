"""What rolls back, composed: the registry that is configured, and the executor before it."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from http import HTTPStatus

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from starlette.routing import Route

from monitor.detection.answers import STATE, Answers
from monitor.http.hooks import hooks
from monitor.rollback import model_signature, signing
from monitor.rollback.action import ACTED_STATES, Action
from monitor.rollback.executor import RollbackExecutor
from monitor.rollback.file_registry import FileRegistry, FileRegistryConfig
from monitor.rollback.http_registry import HttpRegistry, HttpRegistryConfig
from monitor.rollback.known_good import KnownGoodConfig, Marker, Sign
from monitor.rollback.mark import REGISTRY
from monitor.rollback.mlflow_hook import AliasChange
from monitor.rollback.mlflow_registry import MlflowConfig, MlflowRegistry
from monitor.rollback.model_signature import ModelSignature, Unsigned, nobody_asks
from monitor.rollback.registry import ModelRegistry, ModelVersion, RegistryError
from monitor.rollback.trust import TrustedRegistry
from monitor.service.cases import case_of
from monitor.service.config import ANY_MODEL, AnyRegistry, Config, DetectionConfig
from monitor.service.config_file import ConfigError, Problem
from monitor.store.audit import Act, AuditError, read_key, read_public_key
from monitor.store.store import Store

_log = structlog.get_logger(__name__)


def open_registry(settings: AnyRegistry) -> ModelRegistry:
    """The registry of the section `registry`; nothing is asked of it yet."""
    if isinstance(settings, FileRegistryConfig):
        return FileRegistry(settings)
    if isinstance(settings, HttpRegistryConfig):
        return HttpRegistry(settings)
    return MlflowRegistry(settings)


@contextmanager
def registered(config: Config) -> Iterator[ModelRegistry]:
    """The registry of the configuration, for commands beside the daemon.

    Raises:
        ConfigError: none is configured.
    """
    if config.registry is None:
        raise ConfigError((Problem("registry", "there is none in the configuration"),))
    with closing(open_registry(config.registry)) as registry:
        yield registry


def marker(config: Config, registry: ModelRegistry, store: Store) -> Marker:
    """Who gives and takes known-good marks, as configured.

    Raises:
        ConfigError: the key cannot be used.
    """
    return Marker(
        registry,
        store.marks,
        lambda model: (Answers(store.state(STATE + model)), store.incidents(models=[model])),
        lambda: [action for action in store.actions.all() if action.state in ACTED_STATES],
        soak=config.known_good.soak,
        sign=signer(config.known_good),
        vouchers=config.known_good.vouchers,
        clock=time.time,
    )


def listening(
    config: Config, registry: ModelRegistry, store: Store, refused: Callable[[HTTPStatus], None]
) -> list[Route]:
    """Where the registry may tell that an alias has changed; nowhere, unless a secret is configured for that.

    `refused` is called for every message that is not believed.
    """
    settings = config.registry
    if not isinstance(settings, MlflowConfig) or settings.webhook_secret is None:
        return []

    def heard(change: AliasChange) -> None:
        if change.alias == settings.alias and (change.name in config.models or ANY_MODEL in config.models):
            store.audit.append(alias_act(change.name, settings.alias, registry, store, time.time()))

    return hooks(settings.webhook_secret.reveal, heard, refused)


def alias_act(model: str, alias: str, registry: ModelRegistry, store: Store, now: float) -> Act:
    """What the audit log is to have of an alias that was changed, by whomever; a convicted version is shouted about."""
    try:
        version = registry.current(model).version
    except RegistryError as error:
        return Act(now, REGISTRY, "alias.changed", alias, model, f"It cannot be told where it is: {error}")
    mark = store.marks.of(model).get(version)
    if mark is not None and mark.withdrawn:
        _log.error("a convicted version serves again", model=model, version=version, why=mark.why)
        return Act(
            now, REGISTRY, "alias.changed", alias, model, f"It is at {version}, which was convicted: {mark.why}."
        )
    _log.info("alias changed", model=model, version=version)
    return Act(now, REGISTRY, "alias.changed", alias, model, f"It is at {version}.")


def signer(config: KnownGoodConfig) -> Sign | None:
    """How marks are signed, if they are. Raises ConfigError."""
    if config.key is None:
        return None
    with _key_errors("known_good.key"):
        return partial(signing.sign, read_key(config.key.reveal()))


def verifier(config: KnownGoodConfig) -> Callable[[ModelVersion], bool] | None:
    """Whether a mark has a good signature, if it needs one. Raises ConfigError."""
    if config.public_key is None:
        return None
    with _key_errors("known_good.public_key"):
        return partial(signing.is_signed, read_public_key(config.public_key.read_text()))


def baseline_key(config: DetectionConfig) -> Ed25519PublicKey | None:
    """Whose signature baseline files need, if they need one. Raises ConfigError."""
    if config.baseline_key is None:
        return None
    with _key_errors("detection.baseline_key"):
        return read_public_key(config.baseline_key.read_text())


@contextmanager
def _key_errors(place: str) -> Iterator[None]:
    try:
        yield
    except (AuditError, OSError, ValueError) as error:
        raise ConfigError((Problem(place, str(error)),)) from None


def trusted(config: Config, registry: ModelRegistry, store: Store) -> TrustedRegistry:
    """The registry, of whose marks only those count that the configuration trusts. Raises ConfigError."""
    wanted = config.known_good
    return TrustedRegistry(registry, store.marks.of, verifier(wanted), wanted.vouchers)


def _unsigned(wanted: ModelSignature | None, registry: ModelRegistry) -> Unsigned:
    if wanted is None:
        return nobody_asks
    with _key_errors("rollback.signature"):
        return model_signature.verifier(wanted, registry)


def executor(
    config: Config, registry: ModelRegistry, store: Store, on_state: Callable[[Action], None]
) -> RollbackExecutor:
    """The executor of the configuration; `on_state` is told of every action that came into another state.

    Raises:
        ConfigError: the key that marks are verified with cannot be used.
    """
    return RollbackExecutor(
        trusted(config, registry, store),
        store.actions,
        lambda action: case_of(action, store, config.rollback),
        config.rollback,
        alias=config.registry.alias if config.registry is not None else "",
        clock=time.time,
        on_state=on_state,
        unsigned=_unsigned(config.rollback.signature, registry),
    )
