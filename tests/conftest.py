"""Plugins for the whole tree: fixtures that several folders share."""

pytest_plugins = [
    "tests.kit.brokers",
    "tests.kit.cluster",
    "tests.kit.helm",
    "tests.kit.http_fixtures",
    "tests.kit.http_registry_server",
    "tests.kit.mlflow_server",
    "tests.kit.postgres",
]
