"""From logs to candidates: what the signals suggest about each retrieved chunk, and what repeats a positive."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from mining.near_duplicates import Repeat, repeats
from store.candidates import candidate_counts, chunk_texts
from store.database import Store
from store.errors import MissingError
from store.policies import Policy
from store.progress import Progress, silent
from store.retrievals import (
    chunks_by_anchor,
    count_interactions,
    count_without,
    put_log_candidates,
)

_ROWS_AT_A_TIME = 50_000  # whose texts are held in memory


class SourceCount(NamedTuple):
    """How many pairs one source put forward, and how many of them repeat a positive or score close to one."""

    source: str
    proposed: str
    pairs: int
    anchors: int
    duplicates: int
    too_close: int


@dataclass(frozen=True, slots=True)
class MineResult:
    """What stands after mining, and what this run changed (rows of candidates)."""

    sources: tuple[SourceCount, ...]
    interactions: int
    without_positive: int  # interactions none of whose chunks carries a signal that suggests a positive
    new: int
    removed: int


class _Anchor(NamedTuple):
    """An anchor with the ids of its chunks."""

    anchor_id: str
    positives: list[str]
    others: list[str]


def mine(store: Store, policy: Policy, *, progress: Progress = silent) -> MineResult:
    """Put forward what the logs hold under a policy; mining again changes nothing unless logs or policy have changed.

    A chunk that carries a signal which the policy maps to a label with the role positive (negative) is a candidate
    positive (negative) with that signal as its source; where signals of one pair contradict each other, the heavier
    side wins by the policy's weights, and a tie is a candidate positive. A retrieved chunk without any is a candidate
    negative with the source `uncited`. A chunk that equals or nearly equals a candidate positive of the same anchor is
    flagged. Chunks of a kind that the policy does not cover are left out.

    Args:
        store: where the logs are.
        policy: whose signals, weights, roles and kinds count.
        progress: told of anchors.

    Raises:
        MissingError: there are no interactions.
    """
    interactions = count_interactions(store)
    if not interactions:
        raise MissingError("No interactions yet", hint="uncited import FILE")
    votes = policy.votes()
    repeated: list[tuple[str, Repeat]] = []
    listed = chunks_by_anchor(store, votes, policy.kinds)
    progress.start("compare with candidate positives", len(listed["anchor_id"].unique()))
    for page in _pages(_anchors(listed)):
        texts = _texts(store, page)
        for anchor in page:
            known = {chunk: texts[chunk] for chunk in anchor.positives}
            repeated += [
                (anchor.anchor_id, repeat)
                for repeat in repeats(known, {chunk: texts[chunk] for chunk in anchor.others})
            ]
        progress.advance(len(page))
    with store.transaction():
        mined = put_log_candidates(store, policy.name, votes, _repeated_table(repeated), policy.kinds)
    return MineResult(
        sources=tuple(SourceCount(**row) for row in candidate_counts(store, policy.name)),  # type: ignore[arg-type]
        interactions=interactions,
        without_positive=count_without(store, [signal for signal, vote in votes.items() if vote > 0], policy.kinds),
        new=mined.new,
        removed=mined.removed,
    )


def _anchors(listed: pa.Table) -> Iterator[_Anchor]:
    """Put the rows of `chunks_by_anchor` together, anchor by anchor."""
    rows = (
        row
        for batch in listed.to_batches(max_chunksize=_ROWS_AT_A_TIME)
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    )
    for anchor_id, group in itertools.groupby(rows, key=lambda row: row[0]):
        anchor = _Anchor(anchor_id, [], [])
        for _, chunk_id, carries in group:
            (anchor.positives if carries else anchor.others).append(chunk_id)
        yield anchor


def _pages(anchors: Iterable[_Anchor]) -> Iterator[list[_Anchor]]:
    """Cut the anchors into stretches whose texts fit into memory."""
    page: list[_Anchor] = []
    rows = 0
    for anchor in anchors:
        page.append(anchor)
        rows += len(anchor.positives) + len(anchor.others)
        if rows >= _ROWS_AT_A_TIME:
            yield page
            page, rows = [], 0
    if page:
        yield page


def _texts(store: Store, page: list[_Anchor]) -> dict[str, str]:
    wanted = {chunk for anchor in page for chunk in itertools.chain(anchor.positives, anchor.others)}
    return chunk_texts(store, pa.array(sorted(wanted), pa.string()))


def _repeated_table(repeated: list[tuple[str, Repeat]]) -> pa.Table:
    return pa.table(
        {
            "anchor_id": pa.array([anchor for anchor, _ in repeated], pa.string()),
            "chunk_id": pa.array([repeat.chunk_id for _, repeat in repeated], pa.string()),
            "duplicate_of": pa.array([repeat.duplicate_of for _, repeat in repeated], pa.string()),
            "similarity": pa.array([repeat.similarity for _, repeat in repeated], pa.float64()),
        }
    )
