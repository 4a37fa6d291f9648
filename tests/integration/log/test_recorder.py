"""The eventsourcing library's own shipped cases, unchanged, on our recorders and factory.

The server runs in this module's own thread: the cases are synchronous.
"""

import asyncio
import os
import uuid
from collections.abc import Iterator
from unittest import TestCase

import pytest
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    ProcessRecorder,
    TrackingRecorder,
)
from eventsourcing.tests.application import ExampleApplicationTestCase
from eventsourcing.tests.persistence import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    InfrastructureFactoryTestCase,
    NonInterleavingNotificationIDsBaseCase,
    ProcessRecorderTestCase,
    TrackingRecorderTestCase,
)
from eventsourcing.utils import Environment, get_topic

from infra.eventstore.recorder import (
    JetStreamAggregateRecorder,
    JetStreamApplicationRecorder,
    JetStreamFactory,
    JetStreamProcessRecorder,
    JetStreamTrackingRecorder,
)
from infra.nats.server import NatsServer, ServerConfig

MODULE = "infra.eventstore.recorder"


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server, and the environment that leads the library to it."""
    runner = asyncio.Runner()
    server = NatsServer(ServerConfig(folder=tmp_path_factory.mktemp("nats"), sync="2m"))
    runner.run(server.start())
    settings = {"PERSISTENCE_MODULE": MODULE, "NATS_URL": server.url, "NATS_TOKEN": server.token}
    os.environ.update(settings)
    yield
    for name in settings:
        del os.environ[name]
    runner.run(server.stop())
    runner.close()


class OnItsOwnStream(TestCase):
    """Each case gets a factory with streams of its own."""

    factory: JetStreamFactory

    def setUp(self) -> None:
        super().setUp()
        env = Environment(env={**os.environ, "NATS_STREAM": f"T{uuid.uuid4().hex[:12]}"})
        self.factory = JetStreamFactory(env)
        self.addCleanup(self.factory.close)


class TestAggregateRecorder(OnItsOwnStream, AggregateRecorderTestCase):
    def create_recorder(self) -> AggregateRecorder:
        return self.factory.aggregate_recorder()


class TestApplicationRecorder(OnItsOwnStream, ApplicationRecorderTestCase[ApplicationRecorder]):
    def create_recorder(self) -> ApplicationRecorder:
        return self.factory.application_recorder()

    def test_insert_subscribe(self) -> None:
        """The library's optional case: a subscription sees what is inserted after it began."""
        self.optional_test_insert_subscribe()


class TestNonInterleaving(OnItsOwnStream, NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> ApplicationRecorder:
        return self.factory.application_recorder()


class TestTrackingRecorder(OnItsOwnStream, TrackingRecorderTestCase):
    def create_recorder(self) -> TrackingRecorder:
        return self.factory.tracking_recorder()


class TestProcessRecorder(OnItsOwnStream, ProcessRecorderTestCase):
    def create_recorder(self) -> ProcessRecorder:
        return self.factory.process_recorder()


class OtherTrackingRecorder(JetStreamTrackingRecorder):
    """A subclass, as the factory case wants one."""


class TestFactory(InfrastructureFactoryTestCase[JetStreamFactory]):
    def setUp(self) -> None:
        self.env = Environment("TestCase", {**os.environ, InfrastructureFactory.PERSISTENCE_MODULE: MODULE})
        super().setUp()

    def expected_factory_class(self) -> type[JetStreamFactory]:
        return JetStreamFactory

    def expected_aggregate_recorder_class(self) -> type[AggregateRecorder]:
        return JetStreamAggregateRecorder

    def expected_application_recorder_class(self) -> type[ApplicationRecorder]:
        return JetStreamApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[TrackingRecorder]:
        return JetStreamTrackingRecorder

    def tracking_recorder_subclass(self) -> type[TrackingRecorder]:
        return OtherTrackingRecorder

    def expected_process_recorder_class(self) -> type[ProcessRecorder]:
        return JetStreamProcessRecorder


class TestExampleApplication(ExampleApplicationTestCase):
    expected_factory_topic = get_topic(JetStreamFactory)


# The library's cases are abstract here; only what is above runs.
del (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    ExampleApplicationTestCase,
    InfrastructureFactoryTestCase,
    NonInterleavingNotificationIDsBaseCase,
    ProcessRecorderTestCase,
    TrackingRecorderTestCase,
)
