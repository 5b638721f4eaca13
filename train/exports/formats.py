"""Every format that a build can be written in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from train.exports import FormatName, grouped, retrieval, sentence_transformers, tables
from train.exports.source import Source


@dataclass(frozen=True, slots=True)
class Format:
    """How a build is written, and which choices the format leaves.

    `takes_scores`: its rows can hold a score of each pair. `fixed_width`: its rows all have the same number of
    negatives.
    """

    write: Callable[[Source], None]
    takes_scores: bool = False
    fixed_width: bool = False


FORMATS: Mapping[FormatName, Format] = {
    "triplet": Format(sentence_transformers.triplet, takes_scores=True),
    "n-tuple": Format(sentence_transformers.n_tuple, takes_scores=True, fixed_width=True),
    "labeled-pair": Format(sentence_transformers.labeled_pair, takes_scores=True),
    "labeled-list": Format(sentence_transformers.labeled_list, takes_scores=True),
    "grouped": Format(grouped.grouped),
    "flagembedding": Format(grouped.flagembedding, takes_scores=True),
    "tevatron": Format(grouped.tevatron),
    "tevatron-passages": Format(grouped.tevatron_passages),
    "pylate": Format(retrieval.pylate, takes_scores=True, fixed_width=True),
    "colbert": Format(retrieval.colbert, takes_scores=True, fixed_width=True),
    "msmarco": Format(tables.msmarco),
    "llamaindex": Format(retrieval.llamaindex),
    "cohere": Format(grouped.cohere),
    "beir": Format(retrieval.beir),
    "datasets": Format(tables.datasets),
    "parquet": Format(tables.parquet),
    "csv": Format(tables.csv),
}
