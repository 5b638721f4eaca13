"""The sources of negatives beyond the log: each ranks the corpus for each query, in its own way."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from mining.bm25 import bm25_score
from mining.chance import Chance
from mining.dense import embed
from mining.filters import Sifted, sift, sift_nothing
from mining.hits import Hits, as_lists, best_hits
from mining.rescore import rescored
from store.database import Store
from store.mined import Ground, corpus_texts
from store.progress import Progress
from store.workspace import MinedSource, MineSettings

if TYPE_CHECKING:
    import numpy as np

    from mining.hits import Score

# A pair goes to the first that takes it. The first two share an index.
SOURCES: tuple[MinedSource, ...] = ("bm25", "other-kind", "dense", "random")
_WIDE = 65_536  # chunks that are scored together
_SPARE = 20  # hits of chance beyond what is wanted, since some may repeat a positive or have been taken


class Ranking(NamedTuple):
    """What a source found for each anchor: hits, best first, and what the filters make of them."""

    source: MinedSource
    wanted: int  # negatives an anchor
    hits: Hits
    sifted: Sifted
    told: Mapping[str, object]  # with what settings
    by_chance: bool = False  # ranks and scores mean nothing


def rankings(
    store: Store, ground: Ground, settings: MineSettings, chance: Chance, progress: Progress
) -> Iterator[Ranking]:
    """Yield the ranking of each source that the settings ask something of, in the order of `SOURCES`.

    Raises:
        MissingError: a model is not there.
    """
    wanted = {source: settings.per_query.get(source, 0) for source in SOURCES}
    known = as_lists(*ground.known, len(ground.anchors))
    count = len(ground.chunk_ids)

    def search(source: MinedSource, score: "Score", depth: int, wide: int) -> Hits:
        progress.start(f"searching: {source}", len(ground.anchors))
        size = {"anchors": len(ground.anchors), "chunks": count, "depth": depth, "chunks_at_a_time": wide}
        return best_hits(score, known, **size, progress=progress)

    def sifted(source: MinedSource, hits: Hits, floor: "np.ndarray | None", model: str | None) -> Ranking:
        if settings.cross_encoder:
            hits, floor = rescored(store, ground, hits, settings.cross_encoder, progress)
        found = sift(hits, floor, settings, settings.depth(wanted[source]))
        return Ranking(source, wanted[source], hits, found, _told(settings, source, model))

    if wanted["bm25"] or wanted["other-kind"]:
        progress.start("indexing words", count)
        score = bm25_score(ground.anchors, corpus_texts(store, progress))
        if wanted["bm25"]:
            yield sifted("bm25", search("bm25", score, settings.depth(wanted["bm25"]), count), None, None)
        if wanted["other-kind"]:
            hits = search("other-kind", _of_other_kinds(score, ground), 10 * wanted["other-kind"], count)
            told = _told(settings, "other-kind", None)
            yield Ranking("other-kind", wanted["other-kind"], hits, sift_nothing(hits), told)
        del score
    if wanted["dense"]:
        vectors = embed(store, ground.anchor_ids, ground.chunk_ids, settings, progress)
        hits = search("dense", vectors.score, settings.depth(wanted["dense"]), _WIDE)
        floor, model = vectors.lowest_of(*ground.positives), vectors.model
        del vectors
        yield sifted("dense", hits, floor, model)
    if wanted["random"]:
        hits = search("random", chance.score, 2 * wanted["random"] + _SPARE, _WIDE)
        told = _told(settings, "random", None)
        yield Ranking("random", wanted["random"], hits, sift_nothing(hits), told, by_chance=True)


def _told(settings: MineSettings, source: MinedSource, model: str | None) -> dict[str, object]:
    """Say with what settings a source was searched, those left out that do not concern it."""
    told = settings.model_dump(exclude_none=True, exclude={"per_query", "model", "duplicate_cosine"})
    if source != "dense":
        told = {name: value for name, value in told.items() if not name.endswith("_prompt")}
    if source in ("other-kind", "random"):
        told = {name: told[name] for name in ("seed", "per_chunk") if name in told}
    return told | {"per_query": settings.per_query[source]} | ({"model": model} if model else {})


def _of_other_kinds(score: "Score", ground: Ground) -> "Score":
    """Leave out chunks of a kind that an anchor has a positive of."""
    import numpy as np

    owners, chunks = ground.positives
    has = np.zeros((len(ground.anchors), int(ground.kinds.max(initial=0)) + 1), bool)
    has[owners, ground.kinds[chunks]] = True

    def other(rows: slice, columns: slice) -> "np.ndarray":
        return np.where(has[rows][:, ground.kinds[columns]], np.float32(-np.inf), score(rows, columns))

    return other
