"""From logs to candidates: what the signals suggest about each retrieved chunk, and what repeats a positive."""

from dataclasses import dataclass
from typing import NamedTuple

from mining.repeated import repeated_positives
from mining.repeated_by_embedding import repeated_by_embedding
from store.candidates import candidate_counts
from store.database import Store
from store.errors import MissingError
from store.policies import Policy
from store.progress import Progress, silent
from store.retrievals import (
    SharedVotes,
    chunks_by_anchor,
    count_interactions,
    count_without,
    put_log_candidates,
    shared_votes,
)
from store.workspace import MineSettings


class SourceCount(NamedTuple):
    """How many pairs one source put forward, and how many of them repeat a positive or score close to one.

    Some `duplicates` repeat one by their embedding alone; their words are others.
    """

    source: str
    proposed: str
    pairs: int
    anchors: int
    duplicates: int
    too_close: int
    by_embedding: int


@dataclass(frozen=True, slots=True)
class MineResult:
    """What stands after mining, and what this run changed (rows of candidates)."""

    sources: tuple[SourceCount, ...]
    interactions: int
    without_positive: int  # interactions none of whose chunks carries a signal that suggests a positive
    shared: tuple[SharedVotes, ...]  # chunks that several answers to one query had before them
    new: int
    removed: int


def mine(
    store: Store, policy: Policy, settings: MineSettings | None = None, *, progress: Progress = silent
) -> MineResult:
    """Put forward what the logs hold under a policy; mining again changes nothing unless one of all these has changed.

    A chunk that carries a signal which the policy maps to a label with the role positive (negative) is a candidate
    positive (negative) with that signal as its source; where signals of one pair contradict each other, the heavier
    side wins by the policy's weights, and a tie is a candidate positive. What one interaction takes up is no candidate
    negative of another with the same query. A retrieved chunk without any signal is a candidate negative: its source is
    `same-document` where a positive is from the same document, else `uncited`. A chunk that equals or nearly equals a
    candidate positive of the same anchor is flagged; so is, where the settings have a `duplicate_cosine`, one whose
    embedding is that close. Chunks of a kind that the policy does not cover are left out.

    Args:
        store: where the logs are.
        policy: whose signals, weights, roles and kinds count.
        settings: whether embeddings count too, and of which model; None: they do not.
        progress: told of chunks that are read, embedded and compared.

    Raises:
        MissingError: there are no interactions, or no such model.
    """
    interactions = count_interactions(store)
    if not interactions:
        raise MissingError("No interactions yet", hint="uncited import FILE")
    votes = policy.votes()
    listed = chunks_by_anchor(store, votes, policy.kinds)
    repeated = repeated_positives(store, listed, progress=progress)
    if settings and settings.duplicate_cosine is not None:
        repeated = repeated_by_embedding(
            store, listed, repeated, settings, settings.duplicate_cosine, progress=progress
        )
    with store.transaction():
        mined = put_log_candidates(store, policy.name, votes, repeated, policy.kinds)
    return MineResult(
        sources=tuple(SourceCount(**row) for row in candidate_counts(store, policy.name)),  # type: ignore[arg-type]
        interactions=interactions,
        without_positive=count_without(store, votes, policy.kinds),
        shared=tuple(shared_votes(store, votes, policy.kinds)),
        new=mined.new,
        removed=mined.removed,
    )
