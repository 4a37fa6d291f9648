"""What /metrics say of a feeder."""

from prometheus_client import CollectorRegistry

from infra.figures.feed import FeedFigures
from processes.feeding.feeder import Feeding


def test_they_follow_the_feeder() -> None:
    """Whether it is at work, how far it has come, what it has shown: as it is when asked."""
    feeding, registry = Feeding(), CollectorRegistry()
    registry.register(FeedFigures(feeding))
    names = ("msgxc_feeder_at_work", "msgxc_feeder_position", "msgxc_feeder_frames_total")
    assert [registry.get_sample_value(name) for name in names] == [0.0, 0.0, 0.0]
    feeding.holds, feeding.position, feeding.frames = True, 9, 7
    assert [registry.get_sample_value(name) for name in names] == [1.0, 9.0, 7.0]
