"""From a row to its triplets and pairs: by the id of a triplet, by the texts of the row, or by a reviewer's record."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa

from store.database import Store
from store.errors import MissingError, UsageError
from store.ids import anchor_id, chunk_id

_SHOWN_IF_AMBIGUOUS = 5
_PAIRS_OF_A_TEXT = 20  # that are followed where a row holds one text only


@dataclass(frozen=True, slots=True)
class BuiltTriplet:
    """A triplet as one build holds it; the ids of its parts are hashes of their texts."""

    build_id: str
    triplet_id: str
    split: str
    anchor_id: str
    positive_id: str
    negative_id: str


@dataclass(frozen=True, slots=True)
class FoundTexts:
    """What of a build the texts of one exported row stand for.

    `pair_ids` are labelled pairs of which both texts are there, but for those of the triplets. Of a row that has a text
    and no pair (a line of a collection of queries or chunks), they are some of the pairs of that text.
    """

    triplets: tuple[BuiltTriplet, ...]
    pair_ids: tuple[str, ...]


def find_triplets(store: Store, beginning: str) -> list[BuiltTriplet]:
    """Return the triplet whose id begins so, once for each build that holds it, the newest build first.

    Raises:
        MissingError: there is none.
        UsageError: several triplets begin so.
    """
    found = _triplets(
        store,
        "SELECT triplets.* FROM triplets JOIN builds USING (build_id) WHERE starts_with(triplet_id, $beginning)"
        " ORDER BY built_at DESC, build_id, triplet_id LIMIT 100",
        {"beginning": beginning},
    )
    ids = sorted({triplet.triplet_id for triplet in found})
    if not ids:
        raise MissingError(f"no build holds a triplet {beginning}", hint="uncited status")
    if len(ids) > 1:
        raise UsageError(f"several triplets begin with {beginning}: {', '.join(ids[:_SHOWN_IF_AMBIGUOUS])} ...")
    return found


def find_texts(store: Store, build_id: str, texts: Collection[str]) -> FoundTexts:
    """Find the triplets of a build, or else its labelled pairs, of which every part stands in one exported row.

    Args:
        store: where the build is.
        build_id: of the build that the row was exported from.
        texts: all texts of the row, in any order: those of anchors and of chunks, or their ids. What is neither
            (a score, a name) finds nothing and does no harm.
    """
    given = {"build": build_id}
    keys = {
        "anchor_id": pa.array([key for text in texts for key in (anchor_id(text), text)], pa.string()),
        "chunk_id": pa.array([key for text in texts for key in (chunk_id(text), text)], pa.string()),
    }
    with store.view_of("in_row", pa.table(keys)):
        triplets = _triplets(
            store,
            """
            FROM triplets WHERE build_id = $build AND anchor_id IN (SELECT anchor_id FROM in_row)
                AND positive_id IN (SELECT chunk_id FROM in_row) AND negative_id IN (SELECT chunk_id FROM in_row)
            ORDER BY triplet_id
            """,
            given,
        )
        pairs = store.rows(
            """
            SELECT pair_id, anchor_id, chunk_id FROM build_labels JOIN (
                FROM pairs WHERE anchor_id IN (SELECT anchor_id FROM in_row)
                             AND chunk_id IN (SELECT chunk_id FROM in_row)
            ) USING (pair_id) WHERE build_id = $build ORDER BY pair_id
            """,
            given,
        )
        if not pairs and _is_of_a_collection(texts):
            pairs = store.rows(
                f"""
                SELECT pair_id, anchor_id, chunk_id FROM build_labels JOIN (
                    FROM pairs WHERE anchor_id IN (SELECT anchor_id FROM in_row)
                                  OR chunk_id IN (SELECT chunk_id FROM in_row)
                ) USING (pair_id) WHERE build_id = $build ORDER BY pair_id LIMIT {_PAIRS_OF_A_TEXT}
                """,
                given,
            )
    if triplets:
        whole = {(t.anchor_id, chunk) for t in triplets for chunk in (t.positive_id, t.negative_id)}
        pairs = [pair for pair in pairs if (pair["anchor_id"], pair["chunk_id"]) not in whole]
    return FoundTexts(tuple(triplets), tuple(str(pair["pair_id"]) for pair in pairs))


def _is_of_a_collection(texts: Collection[str]) -> bool:
    """Tell whether a row is one query or one chunk, and not a pair of which somebody edited a part."""
    return any(text.startswith(("anchor_", "chunk_")) for text in texts) or sum(" " in text for text in texts) == 1


def _triplets(store: Store, sql: str, parameters: Mapping[str, object]) -> list[BuiltTriplet]:
    return [BuiltTriplet(**row) for row in store.rows(sql, parameters)]  # type: ignore[arg-type]


def pairs_of_record(store: Store, record: str) -> list[str]:
    """Return the pairs about which a record of a review server was answered, by the server's id of the record."""
    found = store.rows(
        "SELECT DISTINCT pair_id FROM reviews WHERE ends_with(origin, '/' || ?) ORDER BY pair_id", [record]
    )
    return [str(row["pair_id"]) for row in found]
