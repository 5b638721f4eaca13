"""The demo's interaction log: recorded questions and rankings, joined with the installed pandas."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import yaml

from examples.pandas_docs.chunks import chunks

QUESTIONS = Path(__file__).with_name("questions.yaml")
RETRIEVED = Path(__file__).with_name("retrieved.jsonl")

_FIRST_ASKED = datetime(2026, 11, 1, 9, tzinfo=UTC)
_BETWEEN_QUESTIONS = timedelta(hours=3, minutes=7)


class Question(NamedTuple):
    """What was asked, the answer that was given, and the entries that the answer cites."""

    question_id: str
    query: str
    answer: str
    cited: tuple[str, ...]


def questions() -> list[Question]:
    """Return the recorded questions in the order in which they were asked."""
    rows = yaml.safe_load(QUESTIONS.read_text(encoding="utf-8"))
    return [Question(row["id"], row["question"], row["answer"], tuple(row["cites"])) for row in rows]


def retrieved() -> dict[str, list[tuple[str, float]]]:
    """Return by question id the recorded (entry, cosine) pairs, best first."""
    rows = map(json.loads, RETRIEVED.read_text(encoding="utf-8").splitlines())
    return {row["question_id"]: [(name, score) for name, score in row["retrieved"]] for row in rows}


def missing_entries() -> int:
    """Count the recorded entries that the installed pandas lacks, once for each ranking."""
    texts = chunks()
    return sum(name not in texts for ranking in retrieved().values() for name, _ in ranking)


def write_log(path: Path) -> int:
    """Write the interactions as JSON Lines, as `uncited import` reads them; return how many.

    An entry that the installed pandas lacks is left out, and those below it move up a rank.
    """
    texts = chunks()
    rankings = retrieved()
    lines = []
    for position, question in enumerate(questions()):
        ranking = [pair for pair in rankings[question.question_id] if pair[0] in texts]
        interaction = {
            "interaction_id": question.question_id,
            "query_id": question.question_id,
            "query": question.query,
            "time": (_FIRST_ASKED + position * _BETWEEN_QUESTIONS).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "source": "pandas-docs",
            "answer": question.answer,
            "cited": [name for name in question.cited if name in texts],
            "retrieved": [
                {
                    "chunk_id": name,
                    "rank": rank,
                    "score": score,
                    "text": texts[name],
                    "kind": "text",
                }
                for rank, (name, score) in enumerate(ranking, start=1)
            ],
        }
        lines.append(json.dumps(interaction, ensure_ascii=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return len(lines)
