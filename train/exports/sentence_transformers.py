"""The four shapes of sentence-transformers, as its `mine_hard_negatives` names them.

Which of them a loss takes: https://sbert.net/docs/sentence_transformer/loss_overview.html and, for rerankers,
https://sbert.net/docs/cross_encoder/loss_overview.html. Columns are read in their order; one called `label`, `labels`,
`score` or `scores` goes to the loss (https://sbert.net/docs/sentence_transformer/training_overview.html).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, get_args

from store.build_rows import label_rows, lonely_positives, pair_rows, triplet_rows, tuple_rows
from store.builds import Split
from train.exports.lines import enumerated, joined, json_lines, json_list, json_number, json_string
from train.exports.source import Source

if TYPE_CHECKING:
    import pyarrow as pa


def triplet(source: Source) -> None:
    """Write anchor, positive, negative: for MultipleNegativesRankingLoss and most others.

    With scores, also [of the positive, of the negative]: for MarginMSELoss.
    """
    anchors, chunks = source.texts(json_string)
    for split in get_args(Split):
        with source.lines(f"{split}.jsonl") as write:
            found = triplet_rows(source.store, source.build.build_id, split, with_scores=source.with_scores)
            for rows in source.pages(found, chunks):
                columns = {
                    "anchor": anchors.at(rows["anchor"]),
                    "positive": chunks.at(rows["positive"]),
                    "negative": chunks.at(rows["negative"]),
                }
                if source.with_scores:
                    of_positive, of_negative = json_number(rows["positive_score"]), json_number(rows["negative_score"])
                    columns["scores"] = joined("[", of_positive, ", ", of_negative, "]")
                write(json_lines(**columns))


def n_tuple(source: Source) -> None:
    """Write anchor, positive, negative_1 to negative_n: for MultipleNegativesRankingLoss with several hard negatives.

    With scores, also [of the positive, of each negative]: for MarginMSELoss and DistillKLDivLoss.
    """
    import pyarrow.compute as pc

    anchors, chunks = source.texts(json_string)
    for split in get_args(Split):
        with source.lines(f"{split}.jsonl") as write:
            for rows in source.pages(fixed_width_rows(source, split), chunks):
                columns = {"anchor": anchors.at(rows["anchor"]), "positive": chunks.at(rows["positive"])}
                for number in range(source.negatives):
                    columns[f"negative_{number + 1}"] = chunks.at(pc.list_element(rows["negatives"], number))
                if source.with_scores:
                    first, others = json_number(rows["positive_score"]), json_number(rows["negative_scores"])
                    columns["scores"] = joined("[", first, ", ", enumerated(others), "]")
                write(json_lines(**columns))


def fixed_width_rows(source: Source, split: Split) -> "Iterator[pa.RecordBatch]":
    """Yield a split as `tuple_rows`, and note how many positives have too few negatives for that."""
    negatives, with_scores = source.negatives, source.with_scores
    lonely = lonely_positives(source.store, source.build.build_id, split, negatives=negatives, with_scores=with_scores)
    if lonely:
        source.left_out[f"positives with fewer than {source.negatives} negatives"] += lonely
    yield from tuple_rows(source.store, source.build.build_id, split, negatives=negatives, with_scores=with_scores)


def labeled_pair(source: Source) -> None:
    """Write anchor, chunk and label, 1 or 0: for BinaryCrossEntropyLoss and ContrastiveLoss.

    With scores, a score in the place of the label: for CosineSimilarityLoss, CoSENTLoss and MSELoss.
    """
    anchors, chunks = source.texts(json_string)
    name, values = ("score", "score") if source.with_scores else ("label", "positive")
    for split in get_args(Split):
        with source.lines(f"{split}.jsonl") as write:
            found = pair_rows(source.store, source.build.build_id, split, with_scores=source.with_scores)
            for rows in source.pages(found, chunks):
                columns = {"anchor": anchors.at(rows["anchor"]), "chunk": chunks.at(rows["chunk"])}
                write(json_lines(**columns, **{name: json_number(rows[values])}))


def labeled_list(source: Source) -> None:
    """Write anchor, chunks and labels, each 1 or 0: for LambdaLoss and the other listwise losses of CrossEncoder.

    With scores, scores in the place of the labels.
    """
    anchors, chunks = source.texts(json_string)
    name, values = ("scores", "scores") if source.with_scores else ("labels", "positive")
    for split in get_args(Split):
        with source.lines(f"{split}.jsonl") as write:
            found = label_rows(source.store, source.build.build_id, split, with_scores=source.with_scores)
            for rows in source.pages(found, chunks):
                columns = {"anchor": anchors.at(rows["anchor"]), "chunks": json_list(chunks.at(rows["chunks"]))}
                write(json_lines(**columns, **{name: json_list(json_number(rows[values]))}))
