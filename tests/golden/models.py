"""Golden tables: what each version of a read model keeps.

A version's file is written once, when the version is new: `python -m tests.golden.models`. A file that is there is
never written again: stores out there hold rows of that version, and are rebuilt only when the version changes.
"""

from pathlib import Path

import msgspec

from infra.readstore.shape import declaration
from projections.port import Projection

FOLDER = Path(__file__).with_name("tables")


def path_of(projection: Projection) -> Path:
    return FOLDER / f"{projection.name}.v{projection.version}.json"


def text_of(projection: Projection) -> bytes:
    return msgspec.json.format(declaration(projection.tables).encode()) + b"\n"


if __name__ == "__main__":
    from projections.catalogue import ALL

    FOLDER.mkdir(exist_ok=True)
    for each in ALL:
        if not path_of(each).exists():
            path_of(each).write_bytes(text_of(each))
            print(path_of(each))
