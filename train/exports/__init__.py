"""Builds as files, in the formats that trainers and evaluators read."""

from typing import Literal

FormatName = Literal[
    "triplet",
    "n-tuple",
    "labeled-pair",
    "labeled-list",
    "grouped",
    "flagembedding",
    "tevatron",
    "tevatron-passages",
    "pylate",
    "colbert",
    "msmarco",
    "llamaindex",
    "cohere",
    "beir",
    "datasets",
    "parquet",
    "csv",
]
