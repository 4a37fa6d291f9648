"""Whether some appends go one after another or as a batch is learnt from what they cost."""

from infra.nats.appending.costs import TRY_OTHER_WAY_EVERY, Costs


def choices(costs: Costs, singles: int, turns: int) -> list[bool]:
    return [costs.prefer_batch(singles) for _ in range(turns)]


def test_few_go_singly_and_many_together() -> None:
    """Before anything was learnt."""
    costs = Costs()
    assert not costs.prefer_batch(2)
    assert costs.prefer_batch(200)


def test_a_disk_with_dear_batches_gets_more_singles() -> None:
    """And one with dear flushes gets batches sooner."""
    costs = Costs()
    for _ in range(50):
        costs.learn_batch(0.05)
    assert not costs.prefer_batch(100)
    for _ in range(50):
        costs.learn_singles(10, 0.1)
    assert costs.prefer_batch(10)


def test_the_other_way_is_tried_now_and_then_where_it_is_close() -> None:
    """Otherwise a way that was dear once would never be taken again."""
    costs = Costs()
    near = choices(costs, 15, 2 * TRY_OTHER_WAY_EVERY)
    assert near.count(False) == 2
    assert all(choices(costs, 300, 2 * TRY_OTHER_WAY_EVERY))
