"""What the arms of a label ablation train on: the same queries and positives, with negatives chosen in different ways.

The arms `naive`, `margin-filtered`, `certified` and `random` have the same positives, those that the log put forward
and the labels of the build confirm, so that they differ in their negatives only. The content guards of a build are
applied to all of them: no negative repeats a positive of its query that the arm knows of, and no text of the test split
stands in any.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from store.builds import Build, build_labels
from store.database import Store
from store.ids import content_id, pair_id
from store.labels import labelled_candidates
from store.policies import get_policy_by_id
from train.alike import alike_chunks, alike_queries
from train.guard import without_hidden_positives, without_test_texts
from train.labelled import Labelled
from train.rows import TrainingSplit

NAIVE, MARGIN, CERTIFIED, PROMOTED, RANDOM = (
    "naive",
    "margin-filtered",
    "certified",
    "certified + promoted",
    "random",
)
WHAT = {
    NAIVE: "uncited chunks, not looked at",
    MARGIN: "of those, what scores 5 % or more below the query's lowest positive by the base model",
    CERTIFIED: "the build's negatives, with positives that were proposed as such",
    PROMOTED: "the build's negatives, with all of its positives: chunks that turned out relevant too",
    RANDOM: "chunks drawn from those retrieved for other queries",
}
MARGIN_SHARE = 0.05  # NV-Retriever (Moreira et al. 2024, arXiv 2407.15831): at most 95 % of the positive's score

Scores = Mapping[str, Mapping[str, float]]  # anchor -> chunk -> similarity


class Triplet(NamedTuple):
    """Ids of an anchor, a positive and a negative."""

    anchor_id: str
    positive_id: str
    negative_id: str


@dataclass(frozen=True, slots=True)
class Material:
    """All that arms are made of, in memory.

    `cited` and `positives` map each train anchor to its confirmed positives that the log proposed, and to all of them;
    `negatives` maps each source of negatives to theirs, best-ranked first. `texts` has every text by id, and `roles`
    the role of each labelled pair of the build. A positive gets at most `a_positive` negatives.
    """

    build_id: str
    policy: str
    a_positive: int
    texts: Mapping[str, str]
    roles: Mapping[tuple[str, str], str]
    cited: Mapping[str, Sequence[str]]
    positives: Mapping[str, Sequence[str]]
    negatives: Mapping[str, Mapping[str, Sequence[str]]]


def read_material(store: Store, build: Build) -> Material:
    """Read what the arms of an ablation of a build are made of."""
    policy = get_policy_by_id(store, build.policy_id)
    labels = build_labels(store, build.build_id).to_pylist()
    splits = {row["anchor_id"]: row["split"] for row in labels}
    roles = {(row["anchor_id"], row["chunk_id"]): str(row["role"]) for row in labels}
    candidates = [
        Labelled(**row, role="negative")
        for row in labelled_candidates(store, policy).select(Labelled._fields[:-1]).to_pylist()
        if row["anchor_id"] in splits
    ]
    tested = [
        row._replace(role=roles[row.anchor_id, row.chunk_id])  # type: ignore[arg-type]
        for row in candidates
        if splits[row.anchor_id] == "test" and (row.anchor_id, row.chunk_id) in roles
    ]
    train = [row for row in candidates if splits[row.anchor_id] == "train"]
    good = [row._replace(role="positive") for row in train if roles.get((row.anchor_id, row.chunk_id)) == "positive"]
    known = [row for row in train if roles.get((row.anchor_id, row.chunk_id)) == "negative"]
    cited = [row for row in good if row.proposed == "positive"]
    uncited = [
        row
        for row in train
        if row.proposed == "negative" and not row.duplicate_of and {"uncited", "same-document"} & {*row.sources}
    ]
    drawn = _drawn(train)
    chunks = alike_chunks({row.chunk_id: row.chunk for row in candidates})
    queries = alike_queries({row.anchor_id: row.anchor for row in candidates})

    def guarded(negatives: list[Labelled]) -> dict[str, list[str]]:
        """Leave out what a build would leave out, and return the negatives of each anchor."""
        apart = without_hidden_positives(cited + negatives, chunks, queries).kept
        shared = bool(build.settings["shared_chunks"])
        clean = without_test_texts(tested + apart, splits, chunks, shared_chunks=shared).kept
        return _by_anchor(row for row in clean if row.role == "negative" and splits[row.anchor_id] == "train")

    texts = {row.chunk_id: row.chunk for row in candidates} | {row.anchor_id: row.anchor for row in candidates}
    return Material(
        build.build_id,
        policy.name,
        int(str(build.settings["negatives_per_positive"])),
        texts,
        roles,
        _by_anchor(cited),
        _by_anchor(good),
        {NAIVE: guarded(uncited), CERTIFIED: _by_anchor(known), RANDOM: guarded(drawn)},
    )


def _by_anchor(rows: Iterable[Labelled]) -> dict[str, list[str]]:
    """Map each anchor to its chunks: by rank, then by id."""
    chunks = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.rank is None, row.rank or 0, row.chunk_id)):
        chunks[row.anchor_id].append(row.chunk_id)
    return dict(chunks)


def _drawn(train: Sequence[Labelled], each: int = 32) -> list[Labelled]:
    """Draw chunks for each anchor from those of the other anchors, by a hash of its id."""
    chunk_of = {row.chunk_id: row for row in train}
    names = sorted(chunk_of)
    own = defaultdict(set)
    for row in train:
        own[row.anchor_id].add(row.chunk_id)
    found = []
    for anchor, row in {row.anchor_id: row for row in train}.items():
        for chunk in random.Random(anchor).sample(names, min(each, len(names))):
            if chunk not in own[anchor]:
                text, name = chunk_of[chunk].chunk, pair_id(anchor, chunk)
                found.append(row._replace(pair_id=name, chunk_id=chunk, chunk=text, rank=None))
    return found


def margin_filtered(material: Material, scores: Scores) -> dict[str, list[str]]:
    """Return the uncited negatives that score clearly below the lowest of the query's positives."""
    kept = {}
    for anchor, chunks in material.negatives[NAIVE].items():
        known = [scores[anchor][chunk] for chunk in material.cited.get(anchor, ())]
        if known:
            bound = min(known) - abs(min(known)) * MARGIN_SHARE
            kept[anchor] = [chunk for chunk in chunks if scores[anchor][chunk] <= bound]
    return kept


def arm_triplets(
    positives: Mapping[str, Sequence[str]], negatives: Mapping[str, Sequence[str]], a_positive: int
) -> list[Triplet]:
    """Return the triplets of an arm, so ordered that the first of them are spread over all queries and positives.

    Every positive gets its first negative before any gets its second, and starts further down the list than the
    positive before it, as in a build.

    Args:
        positives: of each anchor.
        negatives: of each anchor, best first.
        a_positive: at most so many negatives a positive.
    """
    found = []
    for anchor, own in positives.items():
        offered = negatives.get(anchor, ())
        taken = min(len(offered), a_positive)
        for i, positive in enumerate(own):
            place = content_id("arm", anchor, positive)
            for j in range(taken):
                triplet = Triplet(anchor, positive, offered[(i * taken + j) % len(offered)])
                found.append((j, place, triplet))
    return [triplet for *_, triplet in sorted(found)]


def split_of_arm(material: Material, triplets: Sequence[Triplet], like: TrainingSplit) -> TrainingSplit:
    """Return the train split that holds these triplets, and as labels what they say of their chunks.

    Labels that the arm would not know are not in it: what keeps rows of a batch apart is what the arm knows itself.
    """
    texts = material.texts
    told = {(t.anchor_id, t.positive_id): 1.0 for t in triplets}
    told = {(t.anchor_id, t.negative_id): 0.0 for t in triplets} | told
    triplet_columns = {name: [getattr(t, name) for t in triplets] for name in Triplet._fields}
    for name in ("anchor", "positive", "negative"):
        triplet_columns[name] = [texts[key] for key in triplet_columns[f"{name}_id"]]
    labels = {
        "anchor_id": [anchor for anchor, _ in told],
        "chunk_id": [chunk for _, chunk in told],
        "anchor": [texts[anchor] for anchor, _ in told],
        "chunk": [texts[chunk] for _, chunk in told],
        "relevance": list(told.values()),
    }
    return TrainingSplit(like.build_id, pa.table(triplet_columns), pa.table(labels), like.provenance)
