"""What a reviewer sees in Argilla: the dataset of a policy, and one record a pair.

Chunks, queries and answers are untrusted; review_html.py says how their text gets into the page. What would tell a
reviewer which answer is expected (rank, source, scores) is metadata that annotators do not see.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from labeling.review_html import chunk, columns, folded, one_field, paragraph, table
from store.ids import content_id
from store.policies import Policy
from store.reviews import PairToReview

Json = dict[str, Any]
Stream = Literal["targeted", "audit"]

LABEL = "label"
NOTE = "note"
VECTOR = "pair"
# Annotators sort by it, since Argilla shuffles a queue that is not sorted. Neither it nor QUEUE is part of a record's
# content: a record that only moves is not made again.
ORDER = "order"
QUEUE = "queue"  # open: worth an answer now; closed: asked no more
CONTENT = "content"  # hash of all that a record shows or hides
SHOWN = "shown"  # hash of its fields alone
ENCODED_BY = "encoded_by"  # what made its vector; absent without one

# Limits of Argilla 2.8.
_TITLE_LIMIT = 500
_DESCRIPTION_LIMIT = 1000
_AGENT_LIMIT = 200

_KIND = {"text": "", "image": "description of an image"}


@dataclass(frozen=True, slots=True)
class EarlierAnswer:
    """What a reviewer answered before; no label where the pair was discarded as unanswerable."""

    reviewer: str
    label: str | None
    note: str | None


def dataset_name(policy: Policy) -> str:
    """Name the dataset that holds the reviews of this policy's question: an edited question opens a new one."""
    return f"{policy.name}-{policy.labelling_fingerprint.partition('_')[2][:8]}"


def conflicts_name(policy: Policy) -> str:
    """Name the dataset that holds the pairs about which reviewers disagree, for adjudication."""
    return f"{dataset_name(policy)}-conflicts"


def fields(policy: Policy, *, adjudication: bool = False) -> list[Json]:
    """Describe the fields of a record, from top to bottom."""
    pair = (
        f"The candidate ({policy.candidate}), and for comparison what was cited. "
        "Bold: words of the query. Yellow: what the judge rests on."
    )
    described = [
        _field("query", f"{policy.question} The query ({policy.anchor}):", required=True),
        _field("pair", pair, required=True),
        _field("answer", "For context: the answer that was given"),
        _field("reason", "What the judge says (it is often wrong)"),
    ]
    return [*described, _field("answers_so_far", "What reviewers answered")] if adjudication else described


def _field(name: str, title: str, *, required: bool = False) -> Json:
    settings = {"type": "text", "use_markdown": True}
    return {"name": name, "title": _cut(title, _TITLE_LIMIT), "required": required, "settings": settings}


def questions(policy: Policy) -> list[Json]:
    """Describe what is asked: the label, and room for a note."""
    options = [
        {"value": answer.name, "text": _cut(f"{answer.name}: {answer.meaning}", _TITLE_LIMIT)}
        for answer in policy.answers
    ]
    meanings = "\n".join(f"{answer.name}: {answer.meaning}" for answer in policy.answers)
    return [
        {
            "name": LABEL,
            "title": _cut(policy.question, _TITLE_LIMIT),
            "description": _cut(meanings, _DESCRIPTION_LIMIT),
            "required": True,
            "settings": {"type": "label_selection", "options": options},
        },
        {
            "name": NOTE,
            "title": "Note",
            "description": "Optional: what made this hard, or what the policy should say about it.",
            "required": False,
            "settings": {"type": "text", "use_markdown": False},
        },
    ]


# Name, title, type, whether annotators see it.
_METADATA = (
    (ORDER, "Queue order", "integer", True),
    (QUEUE, "Queue", "terms", True),
    ("kind", "Kind of chunk", "terms", True),
    ("log", "Log", "terms", True),
    ("stream", "Stream", "terms", False),
    ("proposed", "Proposed as", "terms", False),
    ("source", "Put forward by", "terms", False),
    ("rank", "Rank", "integer", False),
    ("score", "Retrieval score", "float", False),
    ("grade", "Grade in the log", "float", False),
    ("triage", "Triage score", "float", False),
)


def metadata_properties() -> list[Json]:
    """Describe the metadata; what would bias an annotator is hidden from them."""
    return [
        {"name": name, "title": title, "settings": {"type": kind}, "visible_for_annotators": visible}
        for name, title, kind, visible in _METADATA
    ]


def record(
    pair: PairToReview,
    *,
    order: int,
    stream: Stream,
    label_question_id: str,
    earlier: Sequence[EarlierAnswer] = (),
) -> Json:
    """Render one pair as Argilla takes it, under its pair id.

    In the audit stream nothing is there that a judge or a ranking said: those records are answered blind.

    Args:
        pair: what is asked about.
        order: place in the queue.
        stream: what the answer is for.
        label_question_id: of the dataset's label question.
        earlier: for adjudication, what reviewers answered.
    """
    blind = stream == "audit"
    shown = _fields_of(pair, blind=blind, earlier=earlier)
    suggestions = []
    if pair.label is not None and not blind:
        suggestions.append(
            {
                "question_id": label_question_id,
                "value": pair.label,
                "type": "model",
                "agent": _agent(pair.judge_model),
            }
        )
    metadata = {
        "kind": pair.kind,
        "log": pair.log_source,
        "stream": stream,
        "proposed": pair.proposed,
        "source": list(pair.sources),
        "rank": pair.rank,
        "score": _finite(pair.score),
        "grade": _finite(pair.grade),
        "triage": _finite(pair.triage_score),
    }
    metadata = {name: value for name, value in metadata.items() if value is not None}
    metadata[SHOWN] = shown_hash(shown)
    answered = [[s["value"], s["agent"]] for s in suggestions]
    metadata[CONTENT] = content_id("record", metadata, answered)
    metadata |= {ORDER: order, QUEUE: "open"}
    return {"external_id": pair.pair_id, "fields": shown, "metadata": metadata, "suggestions": suggestions}


def _fields_of(pair: PairToReview, *, blind: bool, earlier: Sequence[EarlierAnswer]) -> dict[str, str]:
    quote = None if blind else pair.quote
    beside = [(_heading("Candidate", pair.kind), chunk(pair.chunk, pair.kind, pair.anchor, quote))]
    if pair.reference and pair.reference.strip():
        kind = pair.reference_kind or "text"
        beside.append((_heading("Cited", kind), chunk(pair.reference, kind, pair.anchor, None)))
    shown = {"query": paragraph(pair.anchor, "font-size:1.2em"), "pair": columns(*beside)}
    for name, text in (("answer", pair.answer), ("reason", None if blind else _reason(pair))):
        if text and text.strip():
            shown[name] = folded(text)
    if earlier:
        answers = [(a.reviewer, a.label or "discarded", a.note or "") for a in earlier]
        shown["answers_so_far"] = table(("Reviewer", "Answer", "Note"), answers)
    return {name: one_field(content) for name, content in shown.items()}


def _heading(name: str, kind: str) -> str:
    return " · ".join(part for part in (name, _KIND.get(kind, kind)) if part)


def shown_hash(fields: Mapping[str, str]) -> str:
    """Hash the fields of a record; at pull, another hash than the record's own tells that it was edited in Argilla."""
    return content_id("shown", dict(fields))


def _reason(pair: PairToReview) -> str:
    """Say what the judge chose, why, and on which words of the candidate."""
    if pair.label is None:
        return ""
    lines = [f"{pair.label}: {pair.reason}" if pair.reason else pair.label]
    if pair.quote:
        lines.append(f"It rests on: “{pair.quote}”")
    return "\n".join(lines)


def _agent(model: str | None) -> str:
    """Name the judge with the letters that Argilla allows in an agent's name."""
    named = re.sub(r"[^a-zA-Z0-9\-_:./\s]", "_", model or "")[:_AGENT_LIMIT]
    return named if re.search(r"[a-zA-Z0-9]", named) else "judge"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def fits(policy: Policy, found_fields: list[Json], found_questions: list[Json], *, adjudication: bool = False) -> bool:
    """Tell whether a dataset, as Argilla lists it, asks what this policy asks in the fields that are filled here.

    Titles, descriptions and the order of labels may be changed in Argilla.
    """

    def values(asked: list[Json]) -> dict[str, set[str]]:
        return {q["name"]: {option["value"] for option in q["settings"].get("options", [])} for q in asked}

    same_fields = {f["name"] for f in found_fields} == {f["name"] for f in fields(policy, adjudication=adjudication)}
    return same_fields and values(found_questions) == values(questions(policy))
