"""Formats with one row an anchor, which holds the texts of all its positives and all its negatives."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, get_args

from store.build_rows import anchor_rows
from store.builds import Split
from store.errors import InvalidDataError
from train.exports.lines import json_id, json_lines, json_list, json_number, json_objects, json_string
from train.exports.source import Source
from train.exports.texts import Texts, each

if TYPE_CHECKING:
    import pyarrow as pa

COHERE_QUERIES = 256


def grouped(source: Source) -> None:
    """Write anchor, pos and neg: easily turned into any other shape."""
    _write_texts(source, "anchor", "pos", "neg")


def flagembedding(source: Source) -> None:
    """Write query, pos and neg; with scores, pos_scores and neg_scores, which `--knowledge_distillation True` needs.

    The format: https://github.com/FlagOpen/FlagEmbedding/tree/master/examples/finetune/embedder#2-data-format. What it
    may hold besides (`prompt`, `type`) says how a model is to be addressed, and no build knows that.
    """
    _write_texts(source, "query", "pos", "neg")


def cohere(source: Source) -> None:
    """Write query, relevant_passages and hard_negatives, for fine-tuning Cohere's Rerank.

    The format and its limits: https://docs.cohere.com/docs/rerank-preparing-the-data. Each query needs a relevant
    passage, which each anchor of a build has; the file must be UTF-8, which all exports are.

    Raises:
        InvalidDataError: there are fewer than 256 queries to train on.
    """
    chunks = source.texts(json_string)[1]
    queries, tested = (sum(rows.num_rows for rows in _rows(source, chunks, split)) for split in get_args(Split))
    if queries < COHERE_QUERIES:
        enough = queries + tested >= COHERE_QUERIES
        help_ = "build with a smaller test share" if enough else "have more queries reviewed"
        name = source.policy.name
        raise InvalidDataError(
            f"build {source.build.build_id} has {queries} queries to train on and {tested} to test with, and Cohere"
            f" takes {COHERE_QUERIES} or more to train on: {help_}",
            hint=f"uncited build --policy {name} --test-share 0" if enough else f"uncited review next --policy {name}",
        )
    _write_texts(source, "query", "relevant_passages", "hard_negatives")


def _write_texts(source: Source, anchor: str, positives: str, negatives: str) -> None:
    anchors, chunks = source.texts(json_string)

    def columns(rows: "pa.RecordBatch") -> "dict[str, pa.Array]":
        texts = {
            anchor: anchors.at(rows["anchor"]),
            positives: json_list(chunks.at(rows["pos"])),
            negatives: json_list(chunks.at(rows["neg"])),
        }
        scored = ("pos_scores", "neg_scores") if source.with_scores else ()
        return texts | {name: json_list(json_number(rows[name])) for name in scored}

    _write(source, chunks, columns)


def tevatron(source: Source) -> None:
    """Write query_id, query_text and the ids of positive and negative documents, which corpus.jsonl holds.

    The format: https://github.com/texttron/tevatron, `TrainDataset` in src/tevatron/retriever/dataset.py. That draws
    from both lists of each query, so none may be empty; and of what it may read besides (`query_image`, `title` ...) a
    build has nothing.
    """
    anchors, chunks = source.texts(json_string)
    _write(
        source,
        chunks,
        lambda rows: {
            "query_id": json_id(anchors.ids(rows["anchor"])),
            "query_text": anchors.at(rows["anchor"]),
            "positive_document_ids": json_list(json_id(chunks.ids(rows["pos"]))),
            "negative_document_ids": json_list(json_id(chunks.ids(rows["neg"]))),
        },
    )
    with source.lines("corpus.jsonl") as write:
        for ids, texts in chunks.all():
            write(json_lines(docid=json_id(ids), text=texts))


def tevatron_passages(source: Source) -> None:
    """Write query_id, query, positive_passages and negative_passages, each a list of docid and text.

    The format of Tevatron 0.1, which 2 reads too; see `tevatron`. Nothing has a `title`, which Tevatron would put
    before the text; 1.5, between the two, cannot do without.
    """
    anchors, chunks = source.texts(json_string)
    _write(
        source,
        chunks,
        lambda rows: {
            "query_id": json_id(anchors.ids(rows["anchor"])),
            "query": anchors.at(rows["anchor"]),
            "positive_passages": json_list(_passages(chunks, rows["pos"])),
            "negative_passages": json_list(_passages(chunks, rows["neg"])),
        },
    )


def _write(source: Source, chunks: Texts, columns: "Callable[[pa.RecordBatch], dict[str, pa.Array]]") -> None:
    """Write each split; `columns` makes JSON of rows as `anchor_rows` gives them."""
    for split in get_args(Split):
        with source.lines(f"{split}.jsonl") as write:
            for rows in _rows(source, chunks, split):
                write(json_lines(**columns(rows)))


def _rows(source: Source, chunks: Texts, split: Split) -> "Iterator[pa.RecordBatch]":
    found = anchor_rows(source.store, source.build.build_id, split, with_scores=source.with_scores)
    return source.pages(found, chunks)


def _passages(chunks: Texts, places: "pa.Array") -> "pa.Array":
    return each(places, lambda flat: json_objects(docid=json_id(chunks.ids(flat)), text=chunks.at(flat)))
