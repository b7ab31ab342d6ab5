"""What rolls back, composed: the registry that is configured, and the executor before it."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from monitor.action import Action
from monitor.cases import case_of
from monitor.config import AnyRegistry, Config
from monitor.config_file import ConfigError, Problem
from monitor.file_registry import FileRegistry, FileRegistryConfig
from monitor.mlflow_registry import MlflowRegistry
from monitor.registry import ModelRegistry
from monitor.rollback_executor import RollbackExecutor
from monitor.store import Store


def open_registry(settings: AnyRegistry) -> ModelRegistry:
    """The registry of the section `registry`; nothing is asked of it yet."""
    if isinstance(settings, FileRegistryConfig):
        return FileRegistry(settings)
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


def executor(
    config: Config, registry: ModelRegistry, store: Store, on_state: Callable[[Action], None]
) -> RollbackExecutor:
    """The executor of the configuration; `on_state` is told of every action that came into another state."""
    return RollbackExecutor(
        registry,
        store.actions,
        lambda action: case_of(action, store, config.rollback),
        config.rollback,
        alias=config.registry.alias if config.registry is not None else "",
        clock=time.time,
        on_state=on_state,
    )
