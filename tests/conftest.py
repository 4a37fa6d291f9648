"""Fixtures that several suites share live in tests/fixtures, one module for each backend."""

pytest_plugins = [
    "tests.fixtures.cassandra",
    "tests.fixtures.exchange",
    "tests.fixtures.logs",
    "tests.fixtures.nats",
    "tests.fixtures.rabbitmq",
]
