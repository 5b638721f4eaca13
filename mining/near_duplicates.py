"""Chunks that repeat a cited one: known before anybody is asked, and never to become negatives."""

from collections.abc import Mapping
from typing import NamedTuple

from store.text import NEAR_DUPLICATE, normalised, overlap, shingles


class Repeat(NamedTuple):
    """A chunk that says again what a positive of the same anchor says. `similarity` is 1.0 for the same text."""

    chunk_id: str
    duplicate_of: str
    similarity: float


def repeats(positives: Mapping[str, str], others: Mapping[str, str]) -> list[Repeat]:
    """Find those of `others` that equal or nearly equal one of `positives`; both map chunk ids to texts.

    Each is named once, with the positive that it resembles most (of equals, the first by id).
    """
    exact: dict[str, str] = {}
    for chunk_id in sorted(positives):
        exact.setdefault(normalised(positives[chunk_id]), chunk_id)
    known = [(shingles(text), chunk_id) for text, chunk_id in exact.items()]
    found = []
    for chunk_id, text in others.items():
        normal = normalised(text)
        if normal in exact:
            found.append(Repeat(chunk_id, exact[normal], 1.0))
            continue
        own = shingles(normal)
        best, twin = max(((overlap(own, other), other_id) for other, other_id in known), default=(0.0, ""))
        if best >= NEAR_DUPLICATE:
            found.append(Repeat(chunk_id, twin, best))
    return found
