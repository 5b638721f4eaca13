"""The page that reviewers read first: the policy as Markdown that Argilla shows beside every record."""

import re

from store.policies import Policy

_LONGEST = 10_000  # what Argilla 2.8 takes
_LONGEST_QUOTED = 1000  # of a text in an example


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
        if length > _LONGEST:
            break
        parts += ["## Examples", example] if index == 0 else [example]
    return _cut("\n\n".join(parts), _LONGEST)


_HOW_TO = """\
- **unsure**: the two texts do not settle the question, however long you look. A good answer: it is kept out of \
training, and many of them show where the policy is unclear.
- **Discard** is for a record that cannot be answered at all: garbled text, a language that you do not read. It is \
not a label.

## How to work

1. Read the query, then the candidate. Most pairs take 10 to 30 seconds; after a minute, answer **unsure**.
2. Words that a text shares with the query are bold. What a language model took for evidence is yellow. Neither makes \
it an answer.
3. The chunk that was cited and the answer that was given are there for comparison. Either may be wrong.
4. Where a label is selected already, a language model chose it. It is often wrong: decide first, then look. \
Pressing *Submit* makes it **your** answer.
5. A number key picks a label, *Enter* submits, *Backspace* discards. After a click into the record press *Tab* first: \
until then number keys do nothing, while *Enter* submits what is selected.
6. Records that look alike can be answered together: in the bulk view press *Find similar*, tick those that deserve \
the same answer, and answer once.
7. Sort by *Queue order* (the link that you were given does) to see first what helps most. A note is welcome where \
the guidelines leave you alone."""


def _example(number: int, anchor: str, candidate: str, label: str, reason: str) -> str:
    lines = [
        f"**{number}. {_plain(label)}**" + (f": {_plain(reason)}" if reason else ""),
        _quoted("Query", anchor),
        _quoted("Candidate", candidate),
    ]
    return "\n\n".join(lines)


def _quoted(name: str, text: str) -> str:
    lines = [_plain(line) for line in _cut(text.strip(), _LONGEST_QUOTED).splitlines()]
    return f"> *{name}:* " + "  \n> ".join(lines)


def _plain(text: str) -> str:
    """Make `text` mean itself in Markdown and in HTML."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~])", r"\\\1", escaped)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
