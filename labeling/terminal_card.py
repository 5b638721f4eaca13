"""What a reviewer sees in the terminal: one pair, and the keys that answer it.

All texts are untrusted and shown letter by letter (see untrusted_text.py). Nothing tells an audit pair from one that no
judge has seen.
"""

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from labeling.review_layout import EarlierAnswer
from labeling.review_text import Mark, marks
from labeling.untrusted_text import one_line, visible
from store.policies import Policy
from store.reviews import PairToReview

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

DISCARD, UNDO, NOTE, SKIP, HELP, QUIT = "d", "u", "n", "s", "?", "q"
_COMMANDS = {DISCARD: "discard", UNDO: "undo", NOTE: "note", SKIP: "skip", HELP: "help", QUIT: "quit"}
_DIGITS = "1234567890"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"

_SIDE_BY_SIDE = 110  # columns from which on the cited chunk stands beside the candidate
_NOTE_SHOWN = 300
_MANY_LINES, _SHORT_LINE = 10, 20  # of text: so many lines with a median of fewer characters were never meant as lines
_STYLES: Mapping[Mark, str] = {"shared": "bold", "quote": "underline yellow"}


@dataclass(frozen=True, slots=True)
class Question:
    """A pair that is asked about. `earlier` is what reviewers answered, for an adjudicator."""

    pair: PairToReview
    stream: Literal["targeted", "audit", "adjudication"]
    earlier: Sequence[EarlierAnswer] = ()

    @property
    def suggested(self) -> str | None:
        """The judge's label, where it is shown: neither in the audit nor to an adjudicator."""
        return self.pair.label if self.stream == "targeted" else None


def label_keys(labels: Sequence[str]) -> dict[str, str]:
    """Map keys to labels: the first ten have digits, and each the first letter of its name where that is free.

    A label beyond the tenth gets some letter in any case, while there are any.
    """
    keys = dict(zip(_DIGITS, labels, strict=False))
    for place, label in enumerate(labels):
        wished = label.lower() + _LETTERS if place >= len(_DIGITS) else label[:1].lower()
        free = (letter for letter in wished if letter in _LETTERS and letter not in _COMMANDS and letter not in keys)
        letter = next(free, None)
        if letter:
            keys[letter] = label
    return keys


def card(
    policy: Policy,
    question: Question,
    keys: Mapping[str, str],
    *,
    header: str,
    given: str | None,
    note: str,
    width: int,
) -> Iterator["RenderableType"]:
    """Yield the parts of a card, from top to bottom.

    Args:
        policy: whose question is asked.
        question: the pair.
        keys: key -> label.
        header: how far the reviewer is.
        given: what this reviewer answered before, where it is asked again.
        note: the reviewer's remark so far.
        width: columns of the terminal.
    """
    from rich.rule import Rule
    from rich.text import Text

    pair = question.pair
    yield Rule(Text(header), style="dim", align="left")
    yield Text(visible(policy.question), style="bold")
    yield from _titled("Query", Text(visible(pair.anchor)))
    yield from _texts(question, width)
    if question.suggested is not None:
        reason = f": {visible(pair.reason)}" if pair.reason else ""
        yield from _titled("The judge (often wrong)", Text(f"{visible(question.suggested)}{reason}"))
    if question.earlier:
        said = [
            f"{a.reviewer}: {a.label or 'discarded'}" + (f" ({a.note})" if a.note else "") for a in question.earlier
        ]
        yield from _titled("Answered so far", Text("\n".join(one_line(line, _NOTE_SHOWN) for line in said)))
    if note:
        yield from _titled("Your note", Text(one_line(note, _NOTE_SHOWN)))
    if given is not None:
        yield Text(f"\nYou answered {visible(given)}; another answer replaces it, {SKIP} leaves it.", style="bold")
    yield Text()
    yield _prompt(keys)


def _titled(title: str, content: "Text") -> Iterator["Text"]:
    from rich.text import Text

    yield Text(f"\n{title}", style="cyan")
    yield content


def _texts(question: Question, width: int) -> Iterator["RenderableType"]:
    """Yield the candidate, and the cited chunk beside it or, where the terminal is narrow, before it."""
    from rich.table import Table
    from rich.text import Text

    pair = question.pair
    reference = _prose(visible(pair.reference or ""))
    heading = "Candidate" if pair.kind == "text" else f"Candidate ({one_line(pair.kind, 40)})"
    candidate = _marked(question)
    if not reference.strip():
        yield from _titled(heading, candidate)
    elif width < _SIDE_BY_SIDE:
        yield from _titled("For comparison: cited for this query", Text(reference, style="dim"))
        yield from _titled(heading, candidate)
    else:
        grid = Table.grid(expand=True, padding=(0, 2))
        for _ in range(2):
            grid.add_column(ratio=1, overflow="fold")
        grid.add_row(Text(f"\n{heading}", style="cyan"), Text("\nCited for this query", style="cyan"))
        grid.add_row(candidate, Text(reference, style="dim"))
        yield grid


def _marked(question: Question) -> "Text":
    from rich.text import Text

    shown = visible(question.pair.chunk)
    text = Text(_prose(shown) if question.pair.kind == "text" else shown, overflow="fold")
    quote = visible(question.pair.quote) if question.pair.quote and question.stream == "targeted" else None
    for start, end, mark in marks(text.plain, visible(question.pair.anchor), quote):
        text.stylize(_STYLES[mark], start, end)
    return text


def _prose(text: str) -> str:
    """Use the screen well: at most one blank line in a row, and pages that came with a word a line as running text."""
    lines = [line.rstrip() for line in text.split("\n")]
    filled = [line for line in lines if line]
    if len(filled) >= _MANY_LINES and statistics.median(map(len, filled)) < _SHORT_LINE:
        return " ".join(filled)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def _prompt(keys: Mapping[str, str]) -> "Text":
    from rich.text import Text

    by_label: dict[str, list[str]] = {}
    for key, label in keys.items():
        by_label.setdefault(label, []).append(key)
    prompt = Text()
    for label, own in by_label.items():
        prompt.append("/".join(own), style="bold green").append(f" {visible(label)}   ")
    prompt.append("\n")
    for key, command in _COMMANDS.items():
        prompt.append(key, style="bold").append(f" {command}   ", style="dim")
    return prompt


def guide(policy: Policy, keys: Mapping[str, str]) -> Iterator["RenderableType"]:
    """Yield the guidelines of a policy and what the keys do."""
    from rich.text import Text

    yield Text(visible(policy.title or policy.name), style="bold")
    yield Text(visible(policy.question), style="bold")
    yield Text(f"The query is {visible(policy.anchor)}, the candidate {visible(policy.candidate)}.")
    yield from _titled("Labels", Text("\n".join(f"{a.name}: {visible(a.meaning)}" for a in policy.answers)))
    yield Text("unsure is a good answer: it keeps the pair out of training, and shows where the policy is unclear.")
    for example in policy.examples:
        reason = f" ({visible(example.reason)})" if example.reason else ""
        lines = (f"query:     {visible(example.anchor)}", f"candidate: {visible(example.candidate)}")
        yield from _titled(f"Example: {visible(example.label)}{reason}", Text("\n".join(lines)))
    yield from _titled("Keys", Text(_KEYS))
    yield _prompt(keys)


_KEYS = """\
A label's key answers and goes on; the answer is stored at once.
d  discard: the pair cannot be answered at all (garbled, a language that you do not read). It is no label.
u  undo: go back to the pair that you answered before; another answer replaces the first.
n  note: say what made the pair hard, then answer it.
s  skip: ask me later.
q  quit: what you answered is stored, and the next session goes on from here."""
