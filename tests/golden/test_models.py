"""Read models out there are rebuilt when their version says so, and only then."""

import pytest

from infra.readstore.shape import declared, same_tables
from projections.catalogue import ALL
from projections.port import Projection
from tests.golden.models import path_of


@pytest.mark.parametrize("projection", ALL, ids=lambda each: each.name)
def test_a_version_has_the_tables_that_it_always_had(projection: Projection) -> None:
    """Other tables are another version: under the same one the projector could not feed what is there."""
    golden = path_of(projection)
    assert golden.exists(), "a new version: python -m tests.golden.models"
    assert same_tables(declared(golden.read_text()), projection.tables)
