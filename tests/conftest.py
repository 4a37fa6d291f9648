"""Fixtures that several suites share live in tests/fixtures, one module for each backend."""

from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.fixtures.cassandra",
    "tests.fixtures.exchange",
    "tests.fixtures.logs",
    "tests.fixtures.nats",
    "tests.fixtures.rabbitmq",
]

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("msgxc", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("msgxc")
