"""What shares a commit, and what waits for the next one."""

from infra.nats.appends import Entry
from infra.nats.committer import _waits


def test_what_expects_nothing_shares_a_commit_with_others_on_its_subject() -> None:
    """What expects a position waits until the one before it on its subject is decided, and nothing overtakes it."""
    free, strict = Entry("feed.thread.a", b"", b""), Entry("feed.thread.a", b"", b"", expect=5)
    assert not _waits([free], {"feed.thread.a"}, set())
    assert _waits([strict], {"feed.thread.a"}, set())
    assert _waits([free, strict], {"feed.thread.a"}, set())
    assert not _waits([strict], {"feed.thread.b"}, set())
    assert _waits([free], set(), {"feed.thread.a"})
