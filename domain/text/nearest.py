"""The known word that somebody meant who wrote one that there is not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LIKE = 0.6
"""How like a word has to be, 1.0 being the same, to be what was meant: difflib's own measure."""
BELOW_LIKE = 0.8
"""How like its end a name one level down has to be: there are many of them, of all kinds."""
NAMES_SHOWN_MAX = 16
"""Where none of the names is near: more than these nobody reads in a sentence."""


def near(name: str, known: Iterable[str], *, most: int = 1, like: float = LIKE) -> list[str]:
    """Those that may be meant, in any case of their letters, the nearest first."""
    by_fold = {each.casefold(): each for each in known}
    return [
        by_fold[each] for each in difflib.get_close_matches(name.casefold(), by_fold, n=most, cutoff=like)
    ]


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that there is not: the one that was meant, or those there are.

    known: some perhaps one level down, as `opts.urgency`; these are meant only if that is what their end says.
    """
    names: list[str] = []
    below: dict[str, str] = {}
    for each in known:
        parent, _, last = each.rpartition(".")
        if parent:
            below.setdefault(last.casefold(), each)
        else:
            names.append(each)
    found = near(name, names) + [below[each] for each in near(name, below, like=BELOW_LIKE)]
    if found:
        return f"did you mean {below.get(name.casefold(), found[0])}?"
    further = ", ..." if len(names) > NAMES_SHOWN_MAX else ""
    return f"there are {', '.join(names[:NAMES_SHOWN_MAX])}{further}" if names else "there are none"
