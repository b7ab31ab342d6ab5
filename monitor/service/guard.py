"""What rolls back, composed: the registry that is configured, and the executor before it."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial

from monitor.detection.answers import STATE, Answers
from monitor.rollback import signing
from monitor.rollback.action import ACTED_STATES, Action
from monitor.rollback.executor import RollbackExecutor
from monitor.rollback.file_registry import FileRegistry, FileRegistryConfig
from monitor.rollback.http_registry import HttpRegistry, HttpRegistryConfig
from monitor.rollback.known_good import KnownGoodConfig, Marker, Sign, TrustedRegistry
from monitor.rollback.mlflow_registry import MlflowRegistry
from monitor.rollback.registry import ModelRegistry, ModelVersion
from monitor.service.cases import case_of
from monitor.service.config import AnyRegistry, Config
from monitor.service.config_file import ConfigError, Problem
from monitor.store.audit import AuditError, read_key, read_public_key
from monitor.store.store import Store


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
        clock=time.time,
    )


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


@contextmanager
def _key_errors(place: str) -> Iterator[None]:
    try:
        yield
    except (AuditError, OSError, UnicodeError) as error:
        raise ConfigError((Problem(place, str(error)),)) from None


def executor(
    config: Config, registry: ModelRegistry, store: Store, on_state: Callable[[Action], None]
) -> RollbackExecutor:
    """The executor of the configuration; `on_state` is told of every action that came into another state.

    Raises:
        ConfigError: the key that marks are verified with cannot be used.
    """
    return RollbackExecutor(
        TrustedRegistry(registry, store.marks.of, verifier(config.known_good)),
        store.actions,
        lambda action: case_of(action, store, config.rollback),
        config.rollback,
        alias=config.registry.alias if config.registry is not None else "",
        clock=time.time,
        on_state=on_state,
    )
