"""Plugins for the whole tree: fixtures that several folders share."""

pytest_plugins = [
    "tests.kit.brokers",  # before who imports it
    "tests.kit.apache_kafka",
    "tests.kit.configurations",
    "tests.kit.helm",
    "tests.kit.house",
    "tests.kit.http_fixtures",
    "tests.kit.http_registry_server",
    "tests.kit.mlflow_server",
    "tests.kit.postgres",
]
