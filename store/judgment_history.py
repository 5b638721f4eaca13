"""All that was ever said about one pair."""

from dataclasses import dataclass

from store.database import Store
from store.errors import MissingError, UsageError


@dataclass(frozen=True, slots=True)
class StoredPair:
    """A pair with its texts."""

    pair_id: str
    anchor: str
    chunk_id: str
    chunk: str


_PAIR = """
    SELECT pair_id, anchors.text AS anchor, chunk_id, chunks.text AS chunk
    FROM pairs JOIN anchors USING (anchor_id) JOIN chunks USING (chunk_id)
"""


def find_pair(store: Store, beginning: str) -> StoredPair:
    """Return the pair whose id begins so, with or without `pair_`.

    Raises:
        MissingError: no pair.
        UsageError: several.
    """
    beginning = "pair_" + beginning.removeprefix("pair_")
    return _only(
        store.rows(_PAIR + "WHERE starts_with(pair_id, ?) ORDER BY pair_id LIMIT 6", [beginning]),
        f"pair {beginning}",
    )


def find_pair_by_texts(store: Store, query: str, chunk: str) -> StoredPair:
    """Return the pair of a query (its text, or the log's id of it) and a chunk (the log's id, or the chunk's own).

    Raises:
        MissingError: no such pair was ever put forward.
        UsageError: the names stand for several.
    """
    found = store.rows(
        _PAIR
        + """
        WHERE (anchors.text = $query OR anchor_id IN (SELECT anchor_id FROM interactions WHERE query_id = $query))
          AND (chunk_id = $chunk OR chunk_id IN (SELECT chunk_id FROM chunk_names WHERE external_id = $chunk))
        ORDER BY pair_id LIMIT 6
        """,
        {"query": query, "chunk": chunk},
    )
    return _only(found, f"pair of query {query!r} and chunk {chunk!r}")


def _only(found: list[dict[str, object]], what: str) -> StoredPair:
    if not found:
        raise MissingError(f"no {what} was put forward for labelling", hint="uncited mine --policy NAME")
    if len(found) > 1:
        some = ", ".join(str(row["pair_id"]) for row in found[:5])
        raise UsageError(f"more than one {what}: {some}{' ...' if len(found) > 5 else ''}")
    return StoredPair(**{name: str(value) for name, value in found[0].items()})


def judgments_of_pair(store: Store, pair_id: str) -> list[dict[str, object]]:
    """Return all judgments of a pair under all policies, the oldest first.

    Returns:
        One dict a judgment: the columns of the table, and config (the judge's, as JSON), policy_id (of the newest
        policy with the question that was asked, or None), policy (name and version of the one it counts under; where
        it was carried over from an earlier wording, that one too), reference (text of the chunk shown).
    """
    return store.rows(
        """
        WITH named AS (
            SELECT labelling_fingerprint, arg_max(policy_id, added_at) AS policy_id,
                   arg_max(name || ' v' || version, added_at) AS policy
            FROM policies GROUP BY labelling_fingerprint
        )
        SELECT judgments.*, config, asked.policy_id,
               CASE WHEN origin.judgment_id IS NULL THEN named.policy
                    ELSE named.policy || ', carried over from ' || asked.policy END AS policy,
               shown.text AS reference
        FROM judgments
        LEFT JOIN judgments AS origin ON origin.judgment_id = judgments.carried_from
        LEFT JOIN judges ON judges.judge_id = judgments.judge_id
        LEFT JOIN named ON named.labelling_fingerprint = judgments.labelling_fingerprint
        LEFT JOIN named AS asked
            ON asked.labelling_fingerprint = coalesce(origin.labelling_fingerprint, judgments.labelling_fingerprint)
        LEFT JOIN chunks AS shown ON shown.chunk_id = judgments.reference_chunk_id
        WHERE judgments.pair_id = ? ORDER BY judgments.judged_at, origin.judgment_id NULLS FIRST, judgments.judgment_id
        """,
        [pair_id],
    )
