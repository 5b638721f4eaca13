"""What a reviewer sees in Argilla: the dataset of a policy, its guidelines, and one record a pair.

Chunks, queries and answers are untrusted. Argilla 2.8 puts the text of a field into its page as HTML, even of a field
that is no Markdown: tags would be obeyed and scripts would run with the reviewer's rights. So whatever HTML would read
as markup is escaped; then the page shows every text letter by letter. What would tell a reviewer which answer is
expected (rank, source, scores) is metadata that annotators do not see.
"""

import html
import math
import re
from typing import Any, Literal

from store.ids import content_id
from store.policies import Policy
from store.reviews import PairToReview

Json = dict[str, Any]
Stream = Literal["targeted", "audit"]

LABEL = "label"
NOTE = "note"
# Annotators sort by it, since Argilla shuffles a queue that is not sorted. Not part of a record's content: otherwise
# every new judgment would move, and so send again, all the others.
ORDER = "order"
CONTENT = "content"

# Limits of Argilla 2.8.
_TITLE_LIMIT = 500
_DESCRIPTION_LIMIT = 1000
_GUIDELINES_LIMIT = 10_000
_AGENT_LIMIT = 200

_UNSTORABLE = "\x00"  # PostgreSQL refuses it
_TAG_OPEN = re.compile(r"<(?=[A-Za-z/!?])")  # https://html.spec.whatwg.org/multipage/parsing.html#tag-open-state


def dataset_name(policy: Policy) -> str:
    """Name the dataset that holds the reviews of this policy's question: an edited question opens a new one."""
    return f"{policy.name}-{policy.labelling_fingerprint.partition('_')[2][:8]}"


def fields(policy: Policy) -> list[Json]:
    """Describe the fields of a record, from top to bottom."""
    return [
        _field("query", f"The query ({policy.anchor})", required=True),
        _field("candidate", f"The candidate ({policy.candidate})", required=True),
        _field("cited", "For comparison: a chunk that was cited for this query"),
        _field("answer", "For context: the answer that was given"),
        _field("reason", "What the judge says (it is often wrong)"),
    ]


def _field(name: str, title: str, *, required: bool = False) -> Json:
    settings = {"type": "text", "use_markdown": False}
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


def record(policy: Policy, pair: PairToReview, *, order: int, stream: Stream, label_question_id: str) -> Json:
    """Render one pair as Argilla takes it, under its pair id.

    In the audit stream nothing is there that a judge or a ranking said: those records are answered blind.
    """
    blind = stream == "audit"
    shown = pair_fields(pair.anchor, pair.chunk)
    for name, text in (
        ("cited", pair.reference),
        ("answer", pair.answer),
        ("reason", None if blind else _reason(pair)),
    ):
        if text and text.strip():
            shown[name] = _shown(text)
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
    answered = [[s["value"], s["agent"]] for s in suggestions]
    metadata[CONTENT] = content_id("record", shown, metadata, answered)
    metadata[ORDER] = order
    return {"external_id": pair.pair_id, "fields": shown, "metadata": metadata, "suggestions": suggestions}


def pair_fields(anchor: str, chunk: str) -> dict[str, str]:
    """Render the two texts that an answer is about; at pull, what differs from this was edited in Argilla."""
    return {"query": _shown(anchor), "candidate": _shown(chunk)}


def guidelines(policy: Policy) -> str:
    """Render the policy as the Markdown page that reviewers read first."""
    parts = [
        f"# {_plain(policy.title or policy.name)}",
        f"**{_plain(policy.question)}**",
        f"Each record shows a query ({_plain(policy.anchor)}) and a candidate ({_plain(policy.candidate)}). "
        "Answer for the candidate alone, by what it says.",
        "## Labels",
        "\n".join(f"- **{_plain(answer.name)}**: {_plain(answer.meaning)}" for answer in policy.labels),
        _HOW_TO,
    ]
    examples = [_example(n, e.anchor, e.candidate, e.label, e.reason) for n, e in enumerate(policy.examples, start=1)]
    length = sum(len(part) + 2 for part in parts)
    for index, example in enumerate(examples):
        length += len(example) + 40
        if length > _GUIDELINES_LIMIT:
            break
        parts += ["## Examples", example] if index == 0 else [example]
    return _cut("\n\n".join(parts), _GUIDELINES_LIMIT)


_HOW_TO = """\
- **unsure**: the two texts do not settle the question, however long you look. A good answer: it is kept out of \
training, and many of them show where the policy is unclear.
- **Discard** is for a record that cannot be answered at all: garbled text, a language that you do not read. It is \
not a label.

## How to work

1. Read the query, then the candidate. Most pairs take 10 to 30 seconds; after a minute, answer **unsure**.
2. The chunk that was cited and the answer that was given are there for comparison. Either may be wrong.
3. Where a label is selected already, a language model chose it. It is often wrong: decide first, then look. \
Pressing *Submit* makes it **your** answer.
4. A number key picks a label, *Enter* submits. A note is welcome where the guidelines leave you alone.
5. Sort by *Queue order* (the link that you were given does) to see first what helps most."""


def _example(number: int, anchor: str, candidate: str, label: str, reason: str) -> str:
    lines = [
        f"**{number}. {_plain(label)}**" + (f": {_plain(reason)}" if reason else ""),
        _quoted("Query", anchor),
        _quoted("Candidate", candidate),
    ]
    return "\n\n".join(lines)


def _quoted(name: str, text: str) -> str:
    lines = [_plain(line) for line in _cut(text.strip(), _DESCRIPTION_LIMIT).splitlines()]
    return f"> *{name}:* " + "  \n> ".join(lines)


def _plain(text: str) -> str:
    """Make `text` mean itself in Markdown and in HTML."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~])", r"\\\1", escaped)


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


def _shown(text: str) -> str:
    """Make HTML show `text` as it is. Text without markup stays as it is, so that searching finds it."""
    text = text.replace(_UNSTORABLE, "\N{REPLACEMENT CHARACTER}")
    if html.unescape(text) != text:
        text = text.replace("&", "&amp;")
    return _TAG_OPEN.sub("&lt;", text)


def fits(policy: Policy, found_fields: list[Json], found_questions: list[Json]) -> bool:
    """Tell whether a dataset, as Argilla lists it, asks what this policy asks in the fields that are filled here.

    Titles, descriptions and the order of labels may be changed in Argilla.
    """

    def values(asked: list[Json]) -> dict[str, set[str]]:
        return {q["name"]: {option["value"] for option in q["settings"].get("options", [])} for q in asked}

    same_fields = {f["name"] for f in found_fields} == {f["name"] for f in fields(policy)}
    return same_fields and values(found_questions) == values(questions(policy))
