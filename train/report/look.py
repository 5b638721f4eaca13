"""What training did to similarity: some labelled test pairs, scored and laid out by the model before and after."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from store.encoders import model_name
from store.errors import InvalidDataError, UsageError
from store.progress import Progress, silent
from train.experiments import write_whole
from train.held_out import HeldOut
from train.kinds import kind_of, load
from train.models import quiet
from train.recipe import Kind

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LOOK_FILE = "report-sample.jsonl"

_PAIRS = 240  # scored; encoding them takes seconds
_POSITIVES, _NEGATIVES = 3, 8  # of one query, at most
_QUERIES_MAPPED = 10  # more would be a cloud

Role = Literal["anchor", "positive", "negative"]


class SampledPair(NamedTuple):
    """A labelled pair of the test split."""

    query_id: str
    query: str
    chunk_id: str
    chunk: str
    positive: bool


class Point(NamedTuple):
    """A text on both maps; `query` numbers the query that it belongs to."""

    query: int
    role: Role
    before: tuple[float, float]
    after: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Look:
    """Scores of the sampled pairs before and after, and where texts lie.

    `positive` and `negative` hold (before, after) for each pair. `ordered` is the share of the sampled (positive,
    negative) of one query in which the positive scores higher. `points` are projected onto the two directions in which
    all of them, before and after, spread most, and hold `spread` of their variance; there are none where a model does
    not embed a text in one vector of the same length as the other's.
    """

    positive: tuple[tuple[float, float], ...]
    negative: tuple[tuple[float, float], ...]
    ordered: tuple[float, float]
    queries: int
    points: tuple[Point, ...]
    spread: float | None


def sample_pairs(test: HeldOut) -> list[SampledPair]:
    """Return some labelled pairs of queries that have a positive and a negative; the same ones every time.

    Ids are hashes, so that the first ones are as good as drawn by chance.
    """
    pairs: list[SampledPair] = []
    for query in sorted(test.qrels):
        labels = test.qrels[query]
        positives = [chunk for chunk in sorted(labels) if labels[chunk]][:_POSITIVES]
        negatives = [chunk for chunk in sorted(labels) if not labels[chunk]][:_NEGATIVES]
        if not positives or not negatives or len(pairs) >= _PAIRS:
            continue
        pairs += [
            SampledPair(query, test.queries[query], chunk, test.pool[chunk], bool(labels[chunk]))
            for chunk in positives + negatives
        ]
    return pairs


def look(pairs: Sequence[SampledPair], before: str, after: str, *, kept: Path, progress: Progress = silent) -> Look:
    """Score sampled pairs with two models, and project their texts.

    Args:
        pairs: not empty.
        before: folder or hub name of the model before training.
        after: that of the tuned model.
        kept: file in which the result is kept; read instead of encoding where pairs and models are the same.
        progress: told of each model.

    Raises:
        MissingError: there is no such model.
        InvalidDataError: a model cannot be read.
    """
    made_of = {
        "models": [model_name(before), model_name(after)],
        "pairs": [[p.query_id, p.chunk_id, p.positive] for p in pairs],
    }
    known = _read(kept, made_of)
    if known:
        return known
    progress.start("Scoring a sample of the test pairs", 2 * len(pairs))
    scores, vectors = [], []
    for model in (before, after):
        scored, embedded = _scored(model, kind_of(model), pairs)
        scores.append(scored)
        vectors.append(embedded)
        progress.advance(len(pairs))
    points, spread = _mapped(pairs, *vectors)
    found = Look(
        positive=tuple((b, a) for p, b, a in zip(pairs, *scores, strict=True) if p.positive),
        negative=tuple((b, a) for p, b, a in zip(pairs, *scores, strict=True) if not p.positive),
        ordered=(_ordered(pairs, scores[0]), _ordered(pairs, scores[1])),
        queries=len({p.query_id for p in pairs}),
        points=points,
        spread=spread,
    )
    _write(kept, made_of, found)
    return found


_Vectors = Mapping[str, "npt.NDArray[np.float64]"]


def _scored(model: str, kind: Kind, pairs: Sequence[SampledPair]) -> tuple[list[float], _Vectors | None]:
    """Return the score of each pair, and for a bi-encoder the vector of each text by its id."""
    loaded: Any = load(kind, model)
    with quiet():
        if kind == "reranker":
            read = loaded.predict([(p.query, p.chunk) for p in pairs], show_progress_bar=False)
            return [float(score) for score in read], None
        if kind != "bi-encoder":
            queries = loaded.encode_query([p.query for p in pairs], show_progress_bar=False)
            chunks = loaded.encode_document([p.chunk for p in pairs], show_progress_bar=False)
            if kind == "sparse":  # a row of a sparse matrix cannot be taken out of it
                return (queries.to_dense() * chunks.to_dense()).sum(dim=1).tolist(), None
            return [float(loaded.similarity([q], [c])[0][0]) for q, c in zip(queries, chunks, strict=True)], None
        vectors: dict[str, Any] = {}
        for encode, texts in (
            (loaded.encode_query, {p.query_id: p.query for p in pairs}),
            (loaded.encode_document, {p.chunk_id: p.chunk for p in pairs}),
        ):
            found = encode(list(texts.values()), show_progress_bar=False, normalize_embeddings=True)
            vectors |= dict(zip(texts, found.astype("float64"), strict=True))
    return [float(vectors[p.query_id] @ vectors[p.chunk_id]) for p in pairs], vectors


def _ordered(pairs: Sequence[SampledPair], scores: Sequence[float]) -> float:
    """Return the share of (positive, negative) of one query in which the positive scores higher; ties count half."""
    by_query: dict[str, tuple[list[float], list[float]]] = {}
    for pair, score in zip(pairs, scores, strict=True):
        by_query.setdefault(pair.query_id, ([], []))[pair.positive].append(score)
    won = [(yes > no) + (yes == no) / 2 for against, of in by_query.values() for yes in of for no in against]
    return sum(won) / len(won)


def _mapped(
    pairs: Sequence[SampledPair], before: _Vectors | None, after: _Vectors | None
) -> tuple[tuple[Point, ...], float | None]:
    """Project the texts of the first queries by principal components, the same ones for both models."""
    import numpy as np

    if before is None or after is None or len(before[pairs[0].query_id]) != len(after[pairs[0].query_id]):
        return (), None
    number = {query: i for i, query in enumerate(islice(dict.fromkeys(p.query_id for p in pairs), _QUERIES_MAPPED))}
    texts: dict[tuple[int, str], Role] = {(i, query): "anchor" for query, i in number.items()}
    for pair in pairs:
        if pair.query_id in number:
            texts[number[pair.query_id], pair.chunk_id] = "positive" if pair.positive else "negative"
    both = np.stack([vectors[text] for vectors in (before, after) for _, text in texts])
    centred = both - both.mean(axis=0)
    _, strengths, directions = np.linalg.svd(centred, full_matrices=False)
    largest = np.abs(directions[:2]).argmax(axis=1)
    signs = np.sign(directions[np.arange(2), largest])[:, None]  # of either sign they would be as right
    flat = (centred @ (directions[:2] * signs).T).round(5)
    points = tuple(
        Point(query, role, (float(b[0]), float(b[1])), (float(a[0]), float(a[1])))
        for ((query, _), role), b, a in zip(texts.items(), flat[: len(texts)], flat[len(texts) :], strict=True)
    )
    return points, float((strengths[:2] ** 2).sum() / (strengths**2).sum())


def _read(kept: Path, made_of: Mapping[str, object]) -> Look | None:
    from pydantic import TypeAdapter, ValidationError

    try:
        content = json.loads(kept.read_bytes())
        return TypeAdapter(Look).validate_python(content["look"]) if content["made_of"] == made_of else None
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None  # it is made anew


def _write(kept: Path, made_of: Mapping[str, object], found: Look) -> None:
    from pydantic import TypeAdapter

    try:
        text = json.dumps({"made_of": made_of, "look": TypeAdapter(Look).dump_python(found)}, allow_nan=False)
    except ValueError as error:
        raise InvalidDataError("a model gives scores that are no numbers: it is of no use") from error
    with suppress(UsageError):  # where a run lies read-only, every report asks the models anew
        write_whole(kept, text + "\n")
