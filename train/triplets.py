"""From labels to a build: who is whose positive and negative, in which split, and what was left out and why."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from store.builds import NEGATIVES_PER_POSITIVE, Build, add_build
from store.certificates import CertifiedLabels, certified_labels
from store.database import Store
from store.errors import MissingError, UsageError
from store.labels import Resolution
from store.policies import Policy
from store.propagation import Propagate
from store.synthetic import Purpose, synthetic_purposes
from train.labelled import usable_labels
from train.parted import Parted, Triplet, made_triplets, parted
from train.statistics import Share, clopper_pearson

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A build and what went into it.

    `counts` is a flat table for people, in the order of the pipeline. The candidates are the sum of: human_positives,
    human_negatives, propagated_positives, propagated_negatives, judge_positives, judge_negatives, guarded,
    kept_from_training, duplicates, excluded, undecided, unreviewed.

    - candidates: pairs put forward under the policy
    - human_*, propagated_*, judge_*: labels in the build, by who gave them; what people gave a duplicate is propagated
    - promoted: candidate negatives that turned out positive; demoted: candidate positives that turned out negative
    - guarded: labelled negative, but (nearly) the text of a positive of the same query; left out
    - duplicates: (nearly) the text of a cited chunk, and not labelled positive; left out
    - excluded: the label has no part in training (`unsure` and the like)
    - undecided: people disagreed or discarded the pair
    - unreviewed: without a label that may be used; judged_only: those of them that have a judge's label
    - queries: with a label in the build; without_positive and without_negative give labels but no triplets
    - groups: queries that must stay together; largest_group: its number of queries
    - documents_in_both: source documents with a positive in both splits (they stood behind too many queries)
    - kept_from_training: labels of train queries whose chunk is (nearly) a text of the test split; left out
    - shared_negatives: chunks that are negative for a test query and stand in a train triplet; only where the two
      splits may share chunks
    - triplets_train, triplets_test
    - synthetic_*, where a model wrote some of the queries: of those counted above, the queries, their labels and their
      triplets; and synthetic_left_out, labels of questions for evaluation that hang together with questions for
      training, which are left out of the build and belong to the sum of candidates
    """

    build: Build
    is_new: bool
    counts: Mapping[str, int]
    uncited: Share

    @property
    def certificates(self) -> list[str]:
        """Ids of the certificates by which a judge's labels are in the build."""
        return [str(name) for name in cast("list[object]", self.build.settings["certificates"])]

    @property
    def judge_labels(self) -> int:
        """How many labels of the build are a judge's."""
        return self.counts["judge_positives"] + self.counts["judge_negatives"]


def build(
    store: Store,
    policy: Policy,
    *,
    resolution: Resolution = "majority",
    propagate: Propagate = "none",
    judge_labels: bool = False,
    uncertified: bool = False,
    test_share: float = 0.3,
    negatives_per_positive: int = NEGATIVES_PER_POSITIVE,
    shared_chunks: bool = False,
    seed: int = 0,
) -> BuildResult:
    """Make a build of a policy from the labels as they stand, and store it; from the same labels it is the same build.

    For each query every positive meets up to `negatives_per_positive` of its negatives: those that people labelled
    before the others, best-ranked first, and starting further down the list for each positive, so that all are used
    where there are enough positives. Queries are split by group (see `train.splits`), and no text of the test split, or
    nearly that, stands anywhere in the train split.

    Args:
        store: where the labels are, and where the build goes.
        policy: its newest version; the roles are its.
        resolution: what makes one label of several people's answers (see `store.labels.labelled_candidates`).
        propagate: whether what people labelled lends its label to duplicates (see `store.propagation`).
        judge_labels: use a judge's label where no person answered and a certificate speaks about it.
        uncertified: use all of a judge's labels, though nobody knows how many of them are wrong.
        test_share: of the queries, from 0 (no test split) to below 1.
        negatives_per_positive: at most so many triplets a positive.
        shared_chunks: let a chunk that a test query is not to find stand in the train split too, as it is in use,
            where all queries search one collection.
        seed: another seed splits otherwise.

    Raises:
        MissingError: no candidates, no labels, no query that has both a positive and a negative, no certificate that
            holds, or nothing to train on that the test split does not hold.
        InvalidDataError: all queries hang together, so that no test can be held back.
        UsageError: `test_share` or `negatives_per_positive` out of range, or `uncertified` without `judge_labels`.
    """
    if uncertified and not judge_labels:
        raise UsageError("--uncertified says which of the judge's labels to use", hint="--judge-labels --uncertified")
    if negatives_per_positive < 1:
        raise UsageError(f"{negatives_per_positive} negatives a positive make no triplet: at least 1")
    certified = CertifiedLabels(frozenset(), ())
    if judge_labels and not uncertified:
        certified = certified_labels(store, policy, resolution=resolution)
    labelled, counts = usable_labels(
        store,
        policy,
        trusts_judge=lambda pair_id: uncertified or pair_id in certified.pair_ids,
        resolution=resolution,
        propagate=propagate,
    )
    written = synthetic_purposes(store)
    parts = parted(labelled, policy, written, test_share=test_share, shared_chunks=shared_chunks, seed=seed)
    triplets = made_triplets(parts, negatives_per_positive)
    if not any(triplet.split == "train" for triplet in triplets):
        raise MissingError(
            f"every train query of policy {policy.name!r} shares chunks with test queries, so that nothing is left to"
            f" train on ({parts.tested.left_out} labels are held back)",
            hint=f"uncited build --policy {policy.name} --shared-chunks",
        )
    counts |= _label_counts(parts) | _split_counts(parts, triplets) | _synthetic_counts(parts, triplets, written)
    settings: dict[str, object] = {
        "policy_version": policy.version,
        "resolution": resolution,
        "propagate": propagate,
        "judge_labels": judge_labels,
        "uncertified": uncertified,
        "certificates": list(certified.certificate_ids),
        "test_share": test_share,
        "negatives_per_positive": negatives_per_positive,
        "shared_chunks": shared_chunks,
        "seed": seed,
        "judges": Counter(row.judge_id for row in parts.labelled if row.judge_id),
        "reviewers": Counter(name for row in parts.labelled if row.source == "human" for name in row.reviewers),
        "unlinked_documents": parts.groups.unlinked_documents,
        "counts": counts,
        "examples_left_out": {"guarded": parts.hidden.examples, "kept_from_training": parts.tested.examples},
    }
    stored, is_new = add_build(store, policy.policy_id, settings, _label_table(parts), _table(triplets))
    return BuildResult(stored, is_new, counts, clopper_pearson(counts["uncited_relevant"], counts["uncited_reviewed"]))


def _label_counts(parts: Parted) -> dict[str, int]:
    tally = Counter((row.source, row.role) for row in parts.labelled)
    turned = Counter((row.proposed, row.role) for row in parts.offered)
    uncited = [
        row
        for row in parts.offered
        if row.source == "human" and not row.duplicate_of and {"uncited", "same-document"} & {*row.sources}
    ]
    return {
        "human_positives": tally["human", "positive"],
        "human_negatives": tally["human", "negative"],
        "propagated_positives": tally["propagated", "positive"],
        "propagated_negatives": tally["propagated", "negative"],
        "judge_positives": tally["judge", "positive"],
        "judge_negatives": tally["judge", "negative"],
        "promoted": turned["negative", "positive"],
        "demoted": turned["positive", "negative"],
        "guarded": parts.hidden.left_out,
        "kept_from_training": parts.tested.left_out,
        "uncited_reviewed": len(uncited),
        "uncited_relevant": sum(row.role == "positive" for row in uncited),
    }


def _split_counts(parts: Parted, triplets: list[Triplet]) -> dict[str, int]:
    labelled, splits, chunks, groups = parts.labelled, parts.splits, parts.chunks, parts.groups
    with_role = {role: {row.anchor_id for row in labelled if row.role == role} for role in ("positive", "negative")}
    sides = defaultdict(set)
    for row in labelled:
        if row.role == "positive":
            for document in row.documents:
                sides[document].add(splits[row.anchor_id])
    in_training = {chunks.representative[c] for t in triplets if t.split == "train" for c in t[2:]}
    in_test = {row.chunk_id for row in labelled if row.role == "negative" and splits[row.anchor_id] == "test"}
    made = Counter(triplet.split for triplet in triplets)
    return {
        "queries": len(splits),
        "without_positive": len(splits.keys() - with_role["positive"]),
        "without_negative": len(splits.keys() - with_role["negative"]),
        "groups": len(set(groups.of.values())),
        "largest_group": max(Counter(groups.of.values()).values()),
        "documents_in_both": sum(len(found) == 2 for found in sides.values()),
        "shared_negatives": sum(not chunks.of(chunk_id).isdisjoint(in_training) for chunk_id in in_test),
        "triplets_train": made["train"],
        "triplets_test": made["test"],
    }


def _synthetic_counts(parts: Parted, triplets: list[Triplet], written: Mapping[str, Purpose]) -> dict[str, int]:
    rows = [row for row in parts.labelled if row.anchor_id in written]
    if not rows and not parts.torn:
        return {}
    made = Counter(triplet.split for triplet in triplets if triplet.anchor_id in written)
    return {
        "synthetic_queries": len({row.anchor_id for row in rows}),
        "synthetic_labels": len(rows),
        "synthetic_triplets_train": made["train"],
        "synthetic_triplets_test": made["test"],
        "synthetic_left_out": parts.torn,
    }


def _label_table(parts: Parted) -> "pa.Table":
    import pyarrow as pa

    return pa.table(
        {
            "pair_id": pa.array([row.pair_id for row in parts.labelled], pa.string()),
            "split": pa.array([parts.splits[row.anchor_id] for row in parts.labelled], pa.string()),
            "split_group": pa.array([parts.groups.of[row.anchor_id] for row in parts.labelled], pa.string()),
            "label": pa.array([row.label for row in parts.labelled], pa.string()),
            "role": pa.array([row.role for row in parts.labelled], pa.string()),
            "source": pa.array([row.source for row in parts.labelled], pa.string()),
            "propagated_from": pa.array([row.propagated_from for row in parts.labelled], pa.string()),
        }
    )


def _table(triplets: list[Triplet]) -> "pa.Table":
    import pyarrow as pa

    columns = zip(*triplets, strict=True) if triplets else [()] * len(Triplet._fields)
    return pa.table(
        {name: pa.array(column, pa.string()) for name, column in zip(Triplet._fields, columns, strict=True)}
    )
