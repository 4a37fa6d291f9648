"""The generated documents are what the code says."""

from __future__ import annotations

from pathlib import Path

from cli.schema import ROOT, drift, write


def test_schema_is_up_to_date() -> None:
    """`make schema` would change nothing."""
    assert drift(ROOT) == []


def test_whatever_differs_is_named(tmp_path: Path) -> None:
    """A missing, a changed and a superfluous document are each reported, and written anew by apply."""
    write(tmp_path)
    (tmp_path / "openapi.json").write_text("{}", encoding="utf-8")
    (tmp_path / "sqlite" / "nothing.sql").write_text("", encoding="utf-8")
    (tmp_path / "events" / "message.accepted.v2.json").unlink()
    found = " ".join(drift(tmp_path))
    assert all(name in found for name in ("openapi.json", "nothing.sql", "message.accepted.v2.json"))
    write(tmp_path)
    assert drift(tmp_path) == []
