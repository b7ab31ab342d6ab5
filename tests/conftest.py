"""Plugins for the whole tree: fixtures that several folders share."""

pytest_plugins = ["tests.kit.mlflow_server"]
