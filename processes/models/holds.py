"""What a generation waits behind: facts that it could not read when it came to them, each with all later ones on its
subject.

On TRIAGE under a name of each generation's own. What one could not read has no row in it, for ever; another one, made
later by mended code, has read it and waits for nothing. So a rebuild is the cure, and neither it nor a comparison can
hold up what is live.
"""

from __future__ import annotations

import re

from processes.port import Log
from projections.port import Generation, GenerationInfo

_SOURCE = re.compile(r"(?P<owner>projection-\w+)-\d+-\d{8}T\d{12}")


def source_of(generation: Generation | GenerationInfo) -> str:
    """Numbers are used again; with the time when it was begun it is this one alone."""
    return f"projection-{generation.projection}-{generation.number}-{generation.created:%Y%m%dT%H%M%S%f}"


def is_of_generation(source: str) -> bool:
    """Whether what is under this name was put aside by one generation: once that is dropped, it holds up nothing."""
    return _SOURCE.fullmatch(source) is not None


def owner_of(source: str) -> str:
    """Who put aside what is under this name: the same for all generations of a projection."""
    found = _SOURCE.fullmatch(source)
    return found["owner"] if found else source


async def holds_of(log: Log, generation: Generation) -> dict[str, int]:
    """Subjects that wait, each with the position of the fact that they wait behind."""
    return {subject: positions[0] for subject, positions in (await put_aside(log, generation)).items()}


async def put_aside(log: Log, generation: Generation) -> dict[str, list[int]]:
    """Subjects of the facts that it could not read, and of those behind them, each with their positions in order."""
    aside = await log.triaged(source_of(generation))
    # Versions before named the projection alone: theirs are of any generation that there was by then.
    former = await log.triaged(f"projection-{generation.projection}", since=generation.created)
    return {
        subject: sorted({*aside.get(subject, ()), *former.get(subject, ())}) for subject in aside | former
    }
