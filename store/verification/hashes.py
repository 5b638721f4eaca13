"""Whether everything that is named by its content has the name of its content.

Where SQL can work out a hash, SQL looks for rows that differ and Python has the last word on those; the rest is read
piece by piece. Rows whose texts were forgotten cannot be checked, and are counted as such.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice, product
from typing import Any

from store.database import Store
from store.ids import anchor_id, chunk_id, content_id, pair_id
from store.progress import Progress
from store.verification.problems import Checked, Problem

Row = Mapping[str, Any]

_PAGE = 8_000  # interactions, about: ids are hashes, so pages by their beginning are of one size
_ROWS = 2_000  # held in memory at a time
_MOST_NAMINGS = 4096  # ways to name signals that are tried where one text stood under several names


def check_texts(store: Store) -> Iterator[Checked]:
    """Check anchors and chunks against their texts."""
    for table, tag, made in (("anchors", "anchor", anchor_id), ("chunks", "chunk", chunk_id)):
        suspects = store.rows(
            f"""
            SELECT {tag}_id AS id, text FROM {table}
            WHERE {tag}_id <> '{tag}_' || left(sha256('["{tag}",' || to_json(text)::VARCHAR || ']'), 32)
            """
        )
        # DuckDB writes some control characters otherwise than Python.
        yield _checked(store, table, [(row["id"], made(str(row["text"]))) for row in suspects])


def check_pairs(store: Store) -> Checked:
    """Check pairs against the ids of their parts."""
    suspects = store.rows(
        """
        SELECT pair_id AS id, anchor_id, chunk_id FROM pairs
        WHERE pair_id <> 'pair_' || left(sha256('["pair","' || anchor_id || '","' || chunk_id || '"]'), 32)
        """
    )
    named = [(row["id"], pair_id(str(row["anchor_id"]), str(row["chunk_id"]))) for row in suspects]
    return _checked(store, "pairs", named)


def check_triplets(store: Store) -> Checked:
    """Check triplets against their policy and their parts."""
    suspects = store.rows(
        """
        SELECT triplet_id AS id, 'triplet_' || left(sha256(
            '["triplet","' || policy_id || '","' || anchor_id || '","' || positive_id || '","' || negative_id || '"]'
        ), 32) AS expected
        FROM triplets JOIN builds USING (build_id) WHERE triplet_id <> expected
        """
    )
    return _checked(store, "triplets", [(row["id"], str(row["expected"])) for row in suspects])


def check_interactions(store: Store, progress: Progress) -> Checked:
    """Check interactions against all that a line of a log said: query, answer, the ranked list, the signals."""
    pages = min(256, 1 + store.count("SELECT count(*) FROM interactions") // _PAGE)
    progress.start("Checking interactions", pages)
    wrong: list[tuple[object, str]] = []
    unknown = 0
    for page in range(pages):
        bounds = {
            "low": f"interaction_{256 * page // pages:02x}" if page else "",
            "high": f"interaction_{256 * (page + 1) // pages:02x}" if page < pages - 1 else "j",
        }
        for batch in store.batches(_INTERACTIONS, bounds, rows=_ROWS):
            for row in batch.to_pylist():
                if row["forgotten"]:
                    unknown += 1
                elif row["interaction_id"] not in (made := list(_possible_ids(row))):
                    wrong.append((row["interaction_id"], made[0]))
        progress.advance()
    return _checked(store, "interactions", wrong, unknown)


# Rows stand in the order of the line, which need not be that of the ranks.
_INTERACTIONS = """
    WITH page AS (FROM interactions WHERE interaction_id >= $low AND interaction_id < $high), lists AS (
        SELECT interaction_id, list(external_id ORDER BY retrievals.rowid) AS names,
               list(rank ORDER BY retrievals.rowid) AS ranks, list(chunk_id ORDER BY retrievals.rowid) AS chunks,
               list(score ORDER BY retrievals.rowid) AS scores,
               bool_or(chunk_id IN (SELECT forgotten_id FROM forgotten)) AS forgotten
        FROM retrievals SEMI JOIN page USING (interaction_id) GROUP BY interaction_id
    ), told AS (
        SELECT interaction_id, list({
                   signal: signal, chunk_id: chunk_id, value: value, moment: signals.happened_at, source: signals.source
               }) AS signals
        FROM signals SEMI JOIN page USING (interaction_id) GROUP BY interaction_id
    )
    SELECT page.*, anchors.text AS query, names, ranks, chunks, scores, signals,
           coalesce(forgotten, false) OR page.anchor_id IN (SELECT forgotten_id FROM forgotten) AS forgotten
    FROM page LEFT JOIN anchors USING (anchor_id) LEFT JOIN lists USING (interaction_id)
    LEFT JOIN told USING (interaction_id)
"""


def _possible_ids(row: Row) -> Iterator[str]:
    """Yield the ids that the line may have had, the likeliest first; at least one.

    Of a text that one list holds under several names it is not kept which of them a signal named.
    """
    columns = (row[name] or () for name in ("names", "ranks", "chunks", "scores"))
    retrieved = [list(item) for item in zip(*columns, strict=True)]
    by_rank = sorted(retrieved, key=lambda item: item[1])
    names: dict[str, list[str]] = {}
    for name, _, chunk, _ in retrieved:
        names.setdefault(chunk, []).append(name)
    signals = row["signals"] or ()
    choices = [names.get(signal["chunk_id"], ["?"]) if signal["chunk_id"] else [""] for signal in signals]
    for named in islice(product(*choices), _MOST_NAMINGS):
        told = sorted(_told(signal, name) for signal, name in zip(signals, named, strict=True))
        for listed in (retrieved, by_rank) if by_rank != retrieved else (retrieved,):
            said = (row["external_id"], row["query_id"], row["query"], row["answer"], row["source"])
            yield content_id("interaction", *said, _iso(row["happened_at"]), listed, told, row["extra"])


def _told(signal: Row, name: str) -> list[object]:
    said: list[object] = [signal["signal"], name, signal["value"], _iso(signal["moment"]) or ""]
    return [*said, signal["source"]] if signal["source"] else said


def check_rows(store: Store, table: str, sql: str, named: Callable[[Row], str | None], progress: Progress) -> Checked:
    """Check the rows that a query yields, each with an `id`, by working out their names; None: it cannot be known."""
    wrong: list[tuple[object, str]] = []
    unknown = 0
    progress.start(f"Checking {table}", store.count(f"SELECT count(*) FROM {table}"))
    for batch in store.batches(sql, rows=_ROWS):
        for row in batch.to_pylist():
            expected = named(row)
            unknown += expected is None
            if expected is not None and expected != row["id"]:
                wrong.append((row["id"], expected))
        progress.advance(batch.num_rows)
    return _checked(store, table, wrong, unknown)


def _checked(store: Store, table: str, wrong: Sequence[tuple[object, str]], unknown: int = 0) -> Checked:
    problems = tuple(
        Problem(table, str(found), "is not named by its content", expected, str(found))
        for found, expected in wrong
        if found != expected
    )
    return Checked(table, store.count(f"SELECT count(*) FROM {table}"), problems, unknown)


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None
