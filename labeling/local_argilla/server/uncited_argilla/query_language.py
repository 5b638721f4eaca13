"""Argilla's text queries: Elasticsearch's simple_query_string, parsed, and rendered for SQLite's FTS5.

The grammar is that of Lucene's SimpleQueryParser with AND as the default operator: `+` and, `|` or, `-` not (only
directly before a term, phrase or parenthesis), `"phrase"`, `prefix*`, `fuzzy~1`, `"sloppy phrase"~2`, `( )`, and a
backslash that takes the next character literally. `+` and `|` bind equally, from left to right. Nothing is a syntax
error: what makes no sense is ignored, as it is in Elasticsearch.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

# Scripts written without spaces, where each character becomes a token of its own; a run of them in a query is a
# phrase. Hangul is here too: a stem is then found whatever particle follows it.
_UNSPACED = re.compile(
    "([\u1100-\u11ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc"
    "\U0001b000-\U0001b16f\U00020000-\U000323af])"
)
# Beyond these a part of a query is ignored: the parsers of FTS5 and SQL have stacks of a hundred entries.
_MAX_DEPTH = 20
_MAX_BOOLEANS = 20
_MAX_TERMS = 100
_DEFAULT_FUZZINESS = 2


@dataclass(frozen=True, slots=True)
class Term:
    """A word, or several that stand together. `fuzziness` is an edit distance, `slop` a count of words."""

    text: str
    prefix: bool = False
    fuzziness: int = 0
    slop: int = 0


@dataclass(frozen=True, slots=True)
class Not:
    """Everything that `child` does not match."""

    child: "Node"


Operator = Literal["AND", "OR"]


@dataclass(frozen=True, slots=True)
class Boolean:
    """All (`AND`) or any (`OR`) of the children."""

    operator: Operator
    children: tuple["Node", ...]


Node = Term | Not | Boolean


def separate_unspaced(text: str) -> str:
    """Put spaces around characters of scripts that are written without them, and drop what SQLite cannot hold."""
    text = text.replace("\x00", " ").encode("utf-8", "replace").decode("utf-8")
    return _UNSPACED.sub(r" \1 ", text)


def parse(query: str) -> Node | None:
    """Read a query; None when it holds nothing to search for, which matches no record."""
    return _Parser(query).expression(0, len(query), depth=0)


class _Parser:
    """Positions in one query; Lucene's parser, rule by rule."""

    def __init__(self, query: str) -> None:
        self._query = query
        self._terms = 0
        self._booleans = 0

    def expression(self, start: int, end: int, depth: int) -> Node | None:
        """Read a part of the query; what is read first is combined first."""
        top: Node | None = None
        joined_by: Operator | None = None  # what `top` was made with here; a parenthesis is not taken apart
        operator: Operator | None = None
        negated = False
        index = start
        while index < end:
            character = self._query[index]
            if character == "-":
                negated = not negated
                index += 1
                continue
            if character in "+|" and operator is None and top is not None:
                operator = "AND" if character == "+" else "OR"
            branch, index = self._branch(index, end, depth)
            if branch is not None:
                branch = Not(branch) if negated else branch
                operator = operator or "AND"
                if top is None:
                    top = branch
                elif isinstance(top, Boolean) and joined_by == operator:
                    top = Boolean(operator, (*top.children, branch))
                elif self._booleans < _MAX_BOOLEANS:
                    self._booleans += 1
                    top, joined_by = Boolean(operator, (top, branch)), operator
                operator = None
            negated = False
        return top

    def _branch(self, index: int, end: int, depth: int) -> tuple[Node | None, int]:
        character = self._query[index]
        if character in "()":
            return self._parenthesis(index, end, depth)
        if character == '"':
            return self._phrase(index, end)
        if character in "+|" or character.isspace():
            return None, index + 1
        return self._word(index, end)

    def _parenthesis(self, index: int, end: int, depth: int) -> tuple[Node | None, int]:
        close = self._closing(index, end) if self._query[index] == "(" else None
        if close is None or depth >= _MAX_DEPTH:
            return None, index + 1
        return self.expression(index + 1, close, depth + 1), close + 1

    def _closing(self, index: int, end: int) -> int | None:
        depth = 0
        while index < end:
            character = self._query[index]
            if character == "\\":
                index += 1
            elif character == "(":
                depth += 1
            elif character == ")":
                depth -= 1
                if depth == 0:
                    return index
            index += 1
        return None

    def _phrase(self, index: int, end: int) -> tuple[Node | None, int]:
        start = index + 1
        text, index = self._take(start, end, stop='"')
        if index >= end:
            return None, start  # never closed: read on as if the quote were not there
        slop, index = self._number_after_tilde(index + 1, end, default=0)
        return self._term(Term(text, slop=slop)), index

    def _word(self, index: int, end: int) -> tuple[Node | None, int]:
        start = index
        text, index = self._take(index, end, stop='"|+()~ \t\n\r\f\v\u3000')
        fuzziness, index = self._number_after_tilde(index, end, default=_DEFAULT_FUZZINESS)
        if index == start:
            return None, index + 1
        prefix = len(text) > 1 and self._query[index - 1] == "*" and self._query[index - 2] != "\\"
        text = text.removesuffix("*") if prefix else text
        return self._term(Term(text, prefix=prefix, fuzziness=fuzziness)), index

    def _take(self, index: int, end: int, stop: str) -> tuple[str, int]:
        taken: list[str] = []
        while index < end and self._query[index] not in stop:
            if self._query[index] == "\\" and index + 1 < end:
                index += 1
            taken.append(self._query[index])
            index += 1
        return "".join(taken), index

    def _number_after_tilde(self, index: int, end: int, default: int) -> tuple[int, int]:
        if index >= end or self._query[index] != "~":
            return 0, index
        digits = re.compile("[0-9]{0,3}").match(self._query, index + 1, end)
        number = digits.group() if digits else ""
        return (int(number) if number else default), index + 1 + len(number)

    def _term(self, term: Term) -> Term | None:
        """Keep the term if FTS5's tokenizer would find a token in it."""
        categories = {unicodedata.category(character) for character in term.text}
        if not any(category[0] in "LN" or category == "Co" for category in categories):
            return None
        self._terms += 1
        return term if self._terms <= _MAX_TERMS else None


def to_fts5(term: Term, column: str | None, expansions: list[str] | None = None) -> str:
    """Render one term as an FTS5 expression, within `column` or within all; `expansions` replace a fuzzy word."""
    if expansions is not None:
        expression = " OR ".join(_quoted(word) for word in expansions) or '""'
    elif term.slop:
        words = separate_unspaced(term.text).split()
        expression = f"NEAR({' '.join(_quoted(word) for word in words)}, {term.slop})"
    else:
        expression = _quoted(separate_unspaced(term.text)) + (" *" if term.prefix else "")
    return f"{{{column}}} : ({expression})" if column else f"({expression})"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def leaves(node: Node) -> list[Term]:
    """Every term of the query that is wanted, from left to right: those under an odd number of `-` are not."""
    if isinstance(node, Term):
        return [node]
    if isinstance(node, Boolean):
        return [term for child in node.children for term in leaves(child)]
    inner = node.child
    if isinstance(inner, Not):
        return leaves(inner.child)
    if isinstance(inner, Boolean):
        return [term for child in inner.children for term in leaves(Not(child))]
    return []


def within_edits(word: str, other: str, edits: int) -> bool:
    """Whether `other` is at most `edits` insertions, deletions or substitutions away (Levenshtein)."""
    if abs(len(word) - len(other)) > edits:
        return False
    row = list(range(len(other) + 1))
    for i, a in enumerate(word, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
        if min(row) > edits:
            return False
    return row[-1] <= edits
