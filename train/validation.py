"""Queries of the train split that are not trained on: they tell which checkpoint to keep, and when to stop."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pyarrow as pa

from store.ids import content_id
from store.progress import silent
from train.ranking import labelled_scores
from train.recipe import Kind
from train.rows import TrainingSplit

if TYPE_CHECKING:
    from sentence_transformers.base.evaluation import BaseEvaluator

# Held back at most, in queries with a positive and a negative: more would cost time and tell little more.
_MOST = 300
_FEWEST = 5  # with fewer there is no validation
_FEWEST_TO_RANK = 20  # with fewer, nDCG moves in leaps: the loss chooses the checkpoint

ValidationMetric = Literal["nDCG@10", "loss"]


class HeldBack(NamedTuple):
    """A train split in two. Where nothing is held back, `held` is None and `why_not` says why in words."""

    rest: TrainingSplit
    held: TrainingSplit | None
    why_not: str


@dataclass(frozen=True, slots=True)
class Validation:
    """What is held back: the text of each query and chunk by id, and `qrels`, the grade by query and chunk."""

    queries: Mapping[str, str]
    chunks: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]

    @property
    def metric(self) -> ValidationMetric:
        """What chooses the checkpoint."""
        return "nDCG@10" if len(self.qrels) >= _FEWEST_TO_RANK else "loss"


def hold_back(split: TrainingSplit, share: float, seed: int) -> HeldBack:
    """Take whole groups of queries out of a train split, until they hold `share` of those that can be ranked.

    Those are the queries with a positive and a negative. Groups come in the order of a hash of the seed and their name;
    one that would bring more than twice what is wanted is passed over. The test split is never touched.

    Args:
        split: with the column split_group in its labels.
        share: at least 0 and below 1; 0 holds nothing back.
        seed: another seed takes others.
    """
    if not share:
        return HeldBack(split, None, "not asked for")
    groups: dict[str, set[str]] = defaultdict(set)
    contested = _contested(split.labels)
    of_anchor = dict(zip(*(split.labels[name].to_pylist() for name in ("anchor_id", "split_group")), strict=True))
    for anchor in contested:
        groups[of_anchor[anchor]].add(anchor)
    wanted = min(_MOST, round(share * len(contested)))
    taken: set[str] = set()
    count = 0
    for group in sorted(groups, key=lambda group: content_id("validation", seed, group)):
        if count < wanted and count + len(groups[group]) <= 2 * wanted:
            taken.add(group)
            count += len(groups[group])
    if count < _FEWEST:
        have = f"{len(contested)} queries with a positive and a negative"
        return HeldBack(split, None, f"{share:g} of {have} hold {count} back, and fewer than {_FEWEST} say nothing")
    held = {anchor for anchor, group in of_anchor.items() if group in taken}
    return HeldBack(_part(split, held, inside=False), _part(split, held, inside=True), "")


def validation_of(held: TrainingSplit) -> Validation:
    """Return what is ranked to validate: the labelled chunks of each query that has a positive and a negative."""
    wanted = _contested(held.labels)
    rows = [row for row in held.labels.to_pylist() if row["anchor_id"] in wanted]
    qrels: dict[str, dict[str, int]] = {}
    for row in rows:
        qrels.setdefault(row["anchor_id"], {})[row["chunk_id"]] = int(row.get("grade", row["relevance"]))
    return Validation(
        {row["anchor_id"]: row["anchor"] for row in rows}, {row["chunk_id"]: row["chunk"] for row in rows}, qrels
    )


def ndcg(model: Any, kind: Kind, parts: Sequence[Validation]) -> float:  # noqa: ANN401
    """Return nDCG@10 of the labelled chunks in the order of a loaded model; the mean over the parts.

    As in the headline of `train.evaluate`, what has no label is not in the list, so nothing rests on a guess; labels on
    a scale count by their grade.
    """
    import ir_measures

    measure = ir_measures.nDCG @ 10
    values = []
    for part in parts:
        run = labelled_scores(model, kind, part.queries, part.chunks, part.qrels, silent)
        values.append(float(ir_measures.calc_aggregate([measure], part.qrels, run)[measure]))
    return math.fsum(values) / len(values)


def evaluator(kind: Kind, parts: Sequence[Validation]) -> "BaseEvaluator":
    """Make what the trainer calls at each validation; it logs `eval_ndcg`."""
    from sentence_transformers.base.evaluation import BaseEvaluator

    class LabelledRanking(BaseEvaluator):  # type: ignore[misc]  # comes without types
        def __init__(self) -> None:
            super().__init__()
            self.primary_metric = "ndcg"

        def __call__(
            self, model: object, output_path: str | None = None, epoch: float = -1, steps: int = -1
        ) -> dict[str, float]:
            return {"ndcg": ndcg(model, kind, parts)}

    return LabelledRanking()


def _contested(labels: pa.Table) -> set[str]:
    """Return the anchors with a positive and a negative."""
    seen: dict[str, set[float]] = defaultdict(set)
    for anchor, relevance in zip(labels["anchor_id"].to_pylist(), labels["relevance"].to_pylist(), strict=True):
        seen[anchor].add(relevance)
    return {anchor for anchor, values in seen.items() if len(values) > 1}


def _part(split: TrainingSplit, anchors: set[str], *, inside: bool) -> TrainingSplit:
    """Return what a split has of some anchors, or of all others."""
    import pyarrow.compute as pc

    def kept(table: pa.Table) -> pa.Table:
        within = pc.is_in(table["anchor_id"], value_set=pa.array(sorted(anchors), pa.string()))
        return table.filter(within if inside else pc.invert(within))

    return dataclasses.replace(split, triplets=kept(split.triplets), labels=kept(split.labels))
