"""Formats that keep queries, passages and what belongs together in files of their own, joined by ids."""

import json
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, get_args

from store.build_rows import label_rows
from store.builds import Split
from train.exports.grades import grades
from train.exports.lines import (
    enumerated,
    joined,
    json_id,
    json_lines,
    json_number,
    json_string,
    separated,
    tsv_field,
)
from train.exports.sentence_transformers import fixed_width_rows
from train.exports.source import Source
from train.exports.texts import Texts, each, unchanged

if TYPE_CHECKING:
    import pyarrow as pa


def pylate(source: Source) -> None:
    """Write query_id, document_ids and scores, one positive first, with queries.jsonl and documents.jsonl.

    The format of knowledge distillation: https://lightonai.github.io/pylate/documentation/training/ and
    `pylate.utils.KDProcessing`. All rows have the same number of documents, as a batch needs it. Without scores asked
    for, they are 1 and 0.
    """
    anchors, chunks = source.texts(json_string)
    for split in get_args(Split):
        with source.lines(f"{split}.jsonl") as write:
            for rows in source.pages(fixed_width_rows(source, split), chunks):
                positive, negatives = json_id(chunks.ids(rows["positive"])), json_id(chunks.ids(rows["negatives"]))
                scores: str | pa.Array = "1.0" + ", 0.0" * source.negatives
                if source.with_scores:
                    first, others = json_number(rows["positive_score"]), json_number(rows["negative_scores"])
                    scores = joined(first, ", ", enumerated(others))
                write(
                    json_lines(
                        query_id=json_id(anchors.ids(rows["anchor"])),
                        document_ids=joined("[", positive, ", ", enumerated(negatives), "]"),
                        scores=joined("[", scores, "]"),
                    )
                )
    for name, key, texts in (("queries", "query_id", anchors), ("documents", "document_id", chunks)):
        with source.lines(f"{name}.jsonl") as write:
            for ids, written in texts.all():
                write(json_lines(**{key: json_id(ids), "text": written}))


def colbert(source: Source) -> None:
    """Write [query, positive, negative ...] as the numbers of lines in queries.tsv and collection.tsv.

    The format: https://github.com/stanford-futuredata/ColBERT#training and `colbert.data`, where `nway` is the number
    of negatives and 1. With scores, each passage is [number, score]. A tab-separated file knows no quoting, so tabs
    and line breaks in a text become spaces.
    """
    anchors, chunks = source.texts(tsv_field)
    for split in get_args(Split):
        with source.lines(f"triples.{split}.jsonl") as write:
            for rows in source.pages(fixed_width_rows(source, split), chunks):
                positive, negatives = json_number(rows["positive"]), json_number(rows["negatives"])
                if source.with_scores:
                    positive = _with_score(positive, rows["positive_score"])
                    scores = rows["negative_scores"].flatten()
                    negatives = each(negatives, partial(_with_score, scores=scores))
                query = json_number(rows["anchor"])
                write(joined("[", query, ", ", positive, ", ", enumerated(negatives), "]\n"))
    for name, texts in (("queries", anchors), ("collection", chunks)):
        with source.lines(f"{name}.tsv") as write:
            number = 0
            for _, written in texts.all():
                write(separated(_numbers(number, len(written)), written, by="\t"))
                number += len(written)


def _with_score(passages: "pa.Array", scores: "pa.Array") -> "pa.Array":
    return joined("[", passages, ", ", json_number(scores), "]")


def _numbers(start: int, count: int) -> "pa.Array":
    import pyarrow as pa

    return pa.array(range(start, start + count), pa.int64()).cast(pa.string())


def llamaindex(source: Source) -> None:
    """Write each split as an EmbeddingQAFinetuneDataset: queries, corpus and relevant_docs.

    The format: https://developers.llamaindex.ai/python/examples/finetuning/embeddings/finetune_embedding and
    `llama_index.finetuning.embeddings.common`, which reads a file whole. It has no place for negatives: those of the
    split are in its corpus, where its evaluators search. A query without a positive is left out, as they take the
    first of each.
    """
    import pyarrow as pa

    anchors, chunks = source.texts(unchanged)
    for split in get_args(Split):
        queries: dict[str, str] = {}
        corpus: dict[str, str] = {}
        relevant: dict[str, list[str]] = {}
        for rows in source.pages(_with_positives(source, split), chunks):
            named = anchors.ids(rows["anchor"]).to_pylist()
            queries |= dict(zip(named, anchors.at(rows["anchor"]).to_pylist(), strict=True))
            places = pa.array(rows["chunks"].flatten().unique())
            corpus |= dict(zip(chunks.ids(places).to_pylist(), chunks.at(places).to_pylist(), strict=True))
            lists = zip(named, chunks.ids(rows["chunks"]).to_pylist(), rows["positive"].to_pylist(), strict=True)
            for query, ids, positive in lists:
                relevant[query] = [id for id, is_positive in zip(ids, positive, strict=True) if is_positive]
        if queries:
            found = {"queries": queries, "corpus": dict(sorted(corpus.items())), "relevant_docs": relevant}
            text = json.dumps({**found, "mode": "text"}, indent=1, ensure_ascii=False)
            (source.folder / f"{split}.json").write_text(text + "\n", encoding="utf-8")
            source.counted(f"{split}.json", len(queries))


def beir(source: Source) -> None:
    """Write corpus.jsonl, queries.jsonl and the labels as grades, for BEIR and once more as TREC writes them.

    The formats: https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset and
    https://trec.nist.gov/data/qrels_eng/. The corpus is all chunks with a label in the build. A chunk without a label
    for a query has no line, and is never taken for irrelevant here; an evaluator decides what to make of it. A query
    without a positive has no line either: every ranking would get the same for it.
    """
    anchors, chunks = source.texts(json_string)
    with source.lines("corpus.jsonl") as write:
        for ids, texts in chunks.all():
            write(json_lines(_id=json_id(ids), title='""', text=texts))
    with source.lines("queries.jsonl") as write:
        for ids, texts in anchors.all():
            write(json_lines(_id=json_id(ids), text=texts))
    for split in get_args(Split):
        header = "query-id\tcorpus-id\tscore\n"
        with source.lines(f"qrels/{split}.tsv", header=header) as beir, source.lines(f"qrels/{split}.trec") as trec:
            for query_ids, chunk_ids, graded in _judged(source, split, anchors, chunks):
                beir(separated(query_ids, chunk_ids, graded, by="\t"))
                trec(joined(query_ids, " 0 ", chunk_ids, " ", graded, "\n"))


def _judged(source: Source, split: Split, anchors: Texts, chunks: Texts) -> "Iterator[tuple[pa.Array, ...]]":
    """Yield query ids, chunk ids and grades of all labels of the queries that have a positive."""
    import pyarrow as pa
    import pyarrow.compute as pc

    by_label = grades(source.policy)
    names, numbers = pa.array(by_label, pa.string()), pa.array(by_label.values(), pa.int32())
    for rows in _with_positives(source, split):
        queries = rows["anchor"].take(pc.list_parent_indices(rows["chunks"]))
        graded = numbers.take(pc.index_in(rows["labels"].flatten(), names))
        yield anchors.ids(queries), chunks.ids(rows["chunks"].flatten()), graded.cast(pa.string())


def _with_positives(source: Source, split: Split) -> "Iterator[pa.RecordBatch]":
    """Yield a split as `label_rows`, without the queries that have no positive, and note how many those are."""
    import pyarrow as pa

    for rows in label_rows(source.store, source.build.build_id, split, with_scores=False):
        has_any = pa.array([any(positive) for positive in rows["positive"].to_pylist()], pa.bool_())
        if has_any.false_count:
            source.left_out["queries without a positive"] += has_any.false_count
        yield rows.filter(has_any)
