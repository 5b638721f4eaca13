"""Candidates that no log retrieved: hard negatives by words and by meaning, of other kinds of chunk, and random ones.

Each source ranks the corpus for each query, without what is a candidate of it already. Filters say which hits may be
negatives, `spread` who gets which. A hit that repeats a positive is settled at once; one that scores too close to a
positive is put forward as well, marked, for a judge to look at. Nothing of this is a negative before somebody said so.
"""

import math
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import pyarrow as pa

from mining.chance import Chance
from mining.filters import TOO_CLOSE
from mining.hits import as_lists
from mining.near_duplicates import Repeat, repeats
from mining.sources import SOURCES, Ranking, rankings
from mining.spread import Pair, spread
from store.candidates import chunk_texts
from store.database import Store
from store.mined import FOUND, Ground, add_search, read_ground, replace_found
from store.policies import Policy
from store.progress import Progress, silent
from store.workspace import MinedSource, MineSettings

_PAIRS_AT_A_TIME = 20_000  # whose texts are held in memory


class MinedCount(NamedTuple):
    """What one source put forward."""

    source: MinedSource
    per_query: int  # negatives wanted
    negatives: int  # pairs that may be negatives
    too_close: int  # pairs that score too close to a positive: marked for the judge
    duplicates: int  # pairs that repeat a positive: settled
    short: int  # queries that got fewer negatives than wanted
    new: int
    withdrawn: int  # found no more, and nobody had looked at them
    kept: int  # found no more, but judged or reviewed


@dataclass(frozen=True, slots=True)
class MinedNegatives:
    """What stands after mining beyond the log."""

    queries: int
    chunks: int
    per_chunk: int  # the cap that held: so many queries at most got the same chunk as a negative
    sources: tuple[MinedCount, ...]


class _Chosen(NamedTuple):
    """What one source came to, as pairs of places."""

    negatives: list[Pair]
    too_close: list[Pair]
    repeated: dict[Pair, Repeat]
    short: int


def mine_negatives(
    store: Store, policy: Policy, settings: MineSettings, *, progress: Progress = silent
) -> MinedNegatives:
    """Put forward chunks that are no candidates of a query yet, for each query that has a candidate positive.

    The same corpus, log and settings give the same candidates, however often. They stand in place of what the same
    sources put forward before, but for pairs that somebody has judged or reviewed.

    Args:
        store: holds corpus, candidates and embeddings.
        policy: under which the candidates stand; chunks of the kinds that it covers count.
        settings: how many of which source, and the filters. Sources that it does not name are left as they are.
        progress: told of texts that are embedded and of queries that are searched.

    Raises:
        MissingError: there is no such model.
        UsageError: what is to rescore gives more than one number a pair.
    """
    sources = [source for source in SOURCES if source in settings.per_query]
    ground = read_ground(store, policy, sources)
    chance = Chance.of(settings.seed, ground.anchor_ids.to_pylist(), ground.chunk_ids.to_pylist())
    per_chunk = settings.per_chunk or _four_even_shares(settings, ground)
    holders: Counter[int] = Counter()
    chosen = dict.fromkeys(sources, _Chosen([], [], {}, 0))
    tables = [FOUND.empty_table()]
    for ranking in rankings(store, ground, settings, chance, progress) if ground.anchors else ():
        taken = {pair for each in chosen.values() for pair in each.negatives}
        options = _options(ranking, settings, chance, taken)
        own = _choose(store, ground, ranking, options, chance, per_chunk, holders)
        chosen[ranking.source] = own
        tables.append(_table(ranking, own, add_search(store, ranking.source, ranking.told)))
    with store.transaction():
        changes = replace_found(store, policy, sources, pa.concat_tables(tables))
    counts = (
        MinedCount(
            source,
            settings.per_query[source],
            len(chosen[source].negatives),
            len(chosen[source].too_close),
            len(chosen[source].repeated),
            chosen[source].short,
            changes[source].new,
            changes[source].withdrawn,
            changes[source].kept,
        )
        for source in sources
    )
    return MinedNegatives(len(ground.anchors), len(ground.chunk_ids), per_chunk, tuple(counts))


def _four_even_shares(settings: MineSettings, ground: Ground) -> int:
    """Let a chunk go to four times as many queries as it would if all went to equally many; at least to ten."""
    asked = sum(settings.per_query.values()) * len(ground.anchors)
    return max(10, math.ceil(4 * asked / max(1, len(ground.chunk_ids))))


def _options(ranking: Ranking, settings: MineSettings, chance: Chance, taken: set[Pair]) -> list[list[int]]:
    """List the chunks that each anchor may choose from, in the order in which it is to."""
    import numpy as np

    hits, fit = ranking.hits.chunks, ranking.sifted.may_be_negative
    if settings.sampling == "random" and not ranking.by_chance:
        order = np.argsort(chance.of_hits(hits), axis=1, kind="stable")
        hits, fit = np.take_along_axis(hits, order, 1), np.take_along_axis(fit, order, 1)
    return [
        [chunk for chunk in chunks[may].tolist() if (anchor, chunk) not in taken]
        for anchor, (chunks, may) in enumerate(zip(hits, fit, strict=True))
    ]


def _choose(
    store: Store,
    ground: Ground,
    ranking: Ranking,
    options: list[list[int]],
    chance: Chance,
    per_chunk: int,
    holders: Counter[int],
) -> _Chosen:
    import numpy as np

    repeated: dict[Pair, Repeat] = {}

    def unfit(pairs: list[Pair]) -> set[Pair]:
        repeating = _repeating(store, ground, pairs)
        repeated.update(repeating)
        return set(repeating)

    order = np.argsort(chance.anchors).tolist()
    given = spread(options, ranking.wanted, per_chunk=per_chunk, order=order, holders=holders, unfit=unfit)
    rows, columns = np.nonzero(ranking.sifted.too_close)
    too_close = list(zip(rows.tolist(), ranking.hits.chunks[rows, columns].tolist(), strict=True))
    unfit(too_close)
    return _Chosen(
        negatives=[(anchor, chunk) for anchor, chunks in enumerate(given) for chunk in chunks],
        too_close=[pair for pair in too_close if pair not in repeated],
        repeated={} if ranking.by_chance else repeated,
        short=sum(len(chunks) < ranking.wanted for chunks in given),
    )


def _repeating(store: Store, ground: Ground, pairs: list[Pair]) -> dict[Pair, Repeat]:
    """Return those of the pairs whose chunk equals or nearly equals a positive of their anchor."""
    positives = as_lists(*ground.positives, len(ground.anchors))
    found: dict[Pair, Repeat] = {}
    pairs = sorted(pairs)
    for start in range(0, len(pairs), _PAIRS_AT_A_TIME):
        page = pairs[start : start + _PAIRS_AT_A_TIME]
        chunks = {anchor: [chunk for _, chunk in group] for anchor, group in groupby(page, key=itemgetter(0))}
        own = {anchor: positives.of(anchor).tolist() for anchor in chunks}
        places = sorted({place for lists in (chunks, own) for group in lists.values() for place in group})
        ids = ground.chunk_ids.take(pa.array(places, pa.int32()))
        texts = chunk_texts(store, ids)
        id_of = dict(zip(places, ids.to_pylist(), strict=True))
        for anchor, group in chunks.items():
            known = {id_of[place]: texts[id_of[place]] for place in own[anchor]}
            place_of = {id_of[place]: place for place in group}
            for repeat in repeats(known, {chunk: texts[chunk] for chunk in place_of}):
                found[anchor, place_of[repeat.chunk_id]] = repeat
    return found


def _table(ranking: Ranking, chosen: _Chosen, search_id: str) -> pa.Table:
    """Write what was chosen as rows of `FOUND`."""
    import numpy as np

    pairs = sorted({*chosen.negatives, *chosen.too_close, *chosen.repeated})
    anchors, chunks = (np.array([pair[part] for pair in pairs], np.int32) for part in (0, 1))
    columns = (ranking.hits.chunks[anchors] == chunks[:, None]).argmax(axis=1)
    repeats_of = [chosen.repeated.get(pair) for pair in pairs]
    meaningless = np.full(len(pairs), ranking.by_chance)
    return pa.table(
        {
            "anchor": anchors,
            "chunk": chunks,
            "source": [ranking.source] * len(pairs),
            "search_id": [search_id] * len(pairs),
            "rank": pa.array(columns + 1, pa.int32(), mask=meaningless),
            "score": pa.array(ranking.hits.scores[anchors, columns], pa.float32(), mask=meaningless),
            "too_close": [TOO_CLOSE[number] for number in ranking.sifted.too_close[anchors, columns]],
            "duplicate_of": [repeat and repeat.duplicate_of for repeat in repeats_of],
            "similarity": [repeat and repeat.similarity for repeat in repeats_of],
        },
        schema=FOUND,
    )
