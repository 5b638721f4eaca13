"""Which chunks an answer cites, read out of the answer or out of another place in the line.

Answers name what they cite in many ways: `[1]`, `[1, 3]`, `[1-3]`, `[doc2]`, `【2†source】`, `<sup>2</sup>`, `¹˒²`,
footnotes, verbatim quotes. Numbers are places in the ranked list, from 0 or from 1; which of the two, only the whole
log can tell. What does not fit is said, never guessed: an answer that cites chunk 21 of 20 is no evidence.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from store.errors import UsageError

SYNTAX = "markers, markers:0, markers:1, quotes, or a JSON path such as $.sources[*].id"


@dataclass(frozen=True, slots=True)
class Citations:
    """Where citations stand. `base` is the number of the first chunk; None: it is to be found out from the log."""

    kind: Literal["markers", "quotes", "path"]
    base: int | None = None
    path: tuple[str | int, ...] = ()  # keys and places; "*" for every place


class Base(NamedTuple):
    """The number of the first chunk, and how many answers speak for 0 (they hold a 0) and for 1 (the list's length)."""

    base: int
    zeros: int
    lasts: int

    def __str__(self) -> str:
        if not self.zeros and not self.lasts:
            return "no answer says whether markers count from 0 or from 1, so from 1; say --citations markers:0 if not"
        for_it, against = (self.zeros, self.lasts) if self.base == 0 else (self.lasts, self.zeros)
        found = "cite number 0" if self.base == 0 else "cite the number of the last chunk when counted from 1"
        doubt = f"; {against:,} speak against it and are refused" if against else ""
        return f"markers count from {self.base}: {for_it:,} answers {found}{doubt}"


def parse_citations(given: str) -> Citations:
    """Read what a user says about where citations stand.

    Raises:
        UsageError: it is none of what `SYNTAX` lists.
    """
    kind, _, base = given.partition(":")
    if kind == "markers" and base in ("", "0", "1"):
        return Citations("markers", int(base) if base else None)
    if given == "quotes":
        return Citations("quotes")
    if re.fullmatch(r"\$((\.[^.\[\]\s]+)|(\[(\d+|\*)\]))+", given):
        steps = re.findall(r"\.([^.\[\]]+)|\[(\d+|\*)\]", given)
        return Citations("path", path=tuple(name or (place if place == "*" else int(place)) for name, place in steps))
    raise UsageError(f"--citations {given}: not one of {SYNTAX}", hint="uncited import --help")


def find_base(lines: Iterable[Mapping[str, Any]]) -> Base:
    """Find out from all lines of a log whether the numbers in its answers count from 0 or from 1."""
    zeros = lasts = 0
    for line in lines:
        chunks, answer = line.get("retrieved"), line.get("answer")
        if isinstance(answer, str) and isinstance(chunks, list) and chunks:
            numbers = {number for mark in marks(answer) for number in mark.numbers}
            zeros += 0 in numbers
            lasts += len(chunks) in numbers
    return Base(0 if zeros > lasts else 1, zeros, lasts)


def cite(line: Mapping[str, Any], how: Citations) -> tuple[list[str], list[str]]:
    """Return the ids of the chunks that a line's answer cites, in order of the list, and what does not fit.

    Args:
        line: an interaction as in docs/interactions.md, not checked yet.
        how: where its citations stand; markers need their base.
    """
    retrieved = line.get("retrieved")
    chunks = [chunk for chunk in retrieved if isinstance(chunk, dict)] if isinstance(retrieved, list) else []
    chunks.sort(key=lambda chunk: rank if isinstance(rank := chunk.get("rank"), int) else 0)
    if how.kind == "path":
        cited, problems = _at_path(line, how.path)
    else:
        answer = line.get("answer")
        if not isinstance(answer, str):
            return [], ["answer: missing, and the citations are to be read from it"]
        assert how.kind == "quotes" or how.base is not None
        cited, problems = _quoted(answer, chunks) if how.kind == "quotes" else _marked(answer, chunks, how.base or 0)
    wanted = set(cited)
    listed = [str(chunk.get("chunk_id")) for chunk in chunks]
    problems += [f'cites "{name}", which was not retrieved' for name in cited if name not in listed]
    return [name for name in dict.fromkeys(listed) if name in wanted], problems


# ------------------------------------------------------------------------------------------------------------ markers


class Mark(NamedTuple):
    """A marker as it stands in an answer, and the numbers that it holds."""

    text: str
    numbers: tuple[int, ...]


# Possessive (`++`), so that white space can be told apart in one way only: an answer is anybody's, and two ways at each
# of thirty places are a thousand million.
_ITEM = r"(?:(?:doc(?:ument)?|source|chunk|passage|context|ref)\.?\s*+)?\d++(?:\s*+[-–—]\s*+\d++)?"
_BRACKETS = re.compile(
    rf"[\[【]\s*+({_ITEM}(?:(?:\s*+[,;]\s*+|\s++){_ITEM})*+)\s*+(?:[,;]\s*+)?(?:†[^\]】]*+)?[\]】]", re.IGNORECASE
)
_FOOTNOTE = re.compile(r"\[\^([^\]\s]{1,40})\](?!:)")
_FOOTNOTE_TEXT = re.compile(r"^[ ]{0,3}\[\^([^\]\s]{1,40})\]:[ \t]*(.+)$", re.MULTILINE)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_SUP = re.compile(r"<sup>\s*\[?([\d\s,;–—-]+)\]?\s*</sup>", re.IGNORECASE)
_DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_RAISED = re.compile(rf"(?<![{_DIGITS}⁻])[{_DIGITS}]+(?:(?:[,;˒⁻\s]|\u2009)[{_DIGITS}]+)*")
_EXPONENT = re.compile(r"(?:\d|(?<![^\W\d_])[^\W\d_]{1,2}|[)\]])$")  # 10³, km², (x)²
_LONGEST_RANGE = 1000
_MOST_DIGITS = 18  # a longer number is as far beyond any list as one of 18 nines, and Python refuses to read some
_SHOWN = 60  # characters of a marker


def marks(answer: str) -> list[Mark]:
    """Return the markers of an answer that hold numbers, in their order.

    Code is passed over, since `a[0]` is none. Raised digits count only in an answer that has no other marker, and not
    where they are an exponent: after a digit, a bracket, or a unit or variable of one or two letters.
    """
    text = _FOOTNOTE_TEXT.sub("", _CODE.sub(" ", answer))
    text = _SUP.sub(lambda found: f"[{found[1]}]", text)
    found = [Mark(match[0], numbers) for match in _BRACKETS.finditer(text) if (numbers := tuple(_numbers(match[1])))]
    found += [Mark(match[0], (_whole(match[1]),)) for match in _FOOTNOTE.finditer(text) if match[1].isdecimal()]
    if found:
        return found
    raised = (match for match in _RAISED.finditer(text) if not _EXPONENT.search(text, 0, match.start()))
    plain = str.maketrans(_DIGITS + "⁻˒", "0123456789-,")
    return [Mark(match[0], tuple(_numbers(match[0].translate(plain)))) for match in raised]


def _numbers(listed: str) -> Iterator[int]:
    """Yield the numbers of `1, 3-5`; a range that runs backwards or without end yields its two ends."""
    for first, last in re.findall(r"(\d+)(?:\s*[-–—]\s*(\d+))?", listed):
        start, end = _whole(first), _whole(last or first)
        yield from range(start, end + 1) if start <= end < start + _LONGEST_RANGE else (start, end)


def _whole(digits: str) -> int:
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS - 1


def _marked(answer: str, chunks: Sequence[Mapping[str, Any]], base: int) -> tuple[list[str], list[str]]:
    footnotes = {label: text for label, text in _FOOTNOTE_TEXT.findall(_CODE.sub(" ", answer))}
    cited: list[str] = []
    problems: list[str] = []
    if footnotes:
        for label in dict.fromkeys(_FOOTNOTE.findall(answer)):
            named = [str(chunk.get("chunk_id")) for chunk in chunks if _names(footnotes.get(label, ""), chunk)]
            cited += named
            if not named:
                problems.append(f"answer: footnote [^{label}] names no retrieved chunk by id, title or document")
    for mark in marks(answer):
        if footnotes and mark.text.startswith("[^"):
            continue
        for number in mark.numbers:
            place = number - base
            if 0 <= place < len(chunks):
                cited.append(str(chunks[place].get("chunk_id")))
            else:
                last = len(chunks) - 1 + base
                held = f"go from {base} to {last}" if chunks else "are none"
                problems.append(f"answer: {mark.text[:_SHOWN]} cites number {number}, and the retrieved chunks {held}")
    return cited, list(dict.fromkeys(problems))


def _names(text: str, chunk: Mapping[str, Any]) -> bool:
    """Tell whether a footnote's text names a chunk: its id, or else its title or document."""
    known = (chunk.get(key) for key in ("chunk_id", "title", "document"))
    return any(isinstance(name, str) and name and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in known)


# ------------------------------------------------------------------------------------------------------------- quotes

_QUOTE = re.compile(r'“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|「([^」]+)」|"([^"\n]+)"|^[ ]{0,3}>[ \t]?(.+)$', re.MULTILINE)
_SHORTEST = 20  # characters: less is a word that is spoken of, not a passage


def _quoted(answer: str, chunks: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Find the chunks that hold what an answer quotes; a quote with an ellipsis is held by one that has all parts."""
    texts = [(str(chunk.get("chunk_id")), _plain(str(chunk.get("text") or ""))) for chunk in chunks]
    cited, problems = [], []
    for match in _QUOTE.finditer(_CODE.sub(" ", answer)):
        quote = next(part for part in match.groups() if part is not None)
        if len(quote.strip()) < _SHORTEST:
            continue
        parts = [plain for part in re.split(r"\[?(?:…|\.\.\.)\]?", quote) if (plain := _plain(part))]
        held = [name for name, text in texts if all(part in text for part in parts)]
        cited += held
        if not held:
            problems.append(f'answer: the quote "{quote.strip()[:60]}" is in no retrieved chunk')
    return cited, problems


def _plain(text: str) -> str:
    """Drop what an answer may change in a quote: case, white space, kinds of quotation mark, a closing stop."""
    return " ".join(re.sub(r"[“”„«»\"'‘’*_]", "", text).casefold().split()).strip(" .,;:")


# --------------------------------------------------------------------------------------------------------- JSON paths


def _at_path(line: Mapping[str, Any], path: Sequence[str | int]) -> tuple[list[str], list[str]]:
    said = "$" + "".join(f".{step}" if isinstance(step, str) and step != "*" else f"[{step}]" for step in path)
    found: list[Any] = [line]
    for step in path:
        found = [inner for outer in found for inner in _step(outer, step)]
    values = [value for one in found for value in (one if isinstance(one, list) else [one])]
    if not found and "*" not in path:
        return [], [f"{said}: missing, and the citations are to be read from it"]
    wrong = [value for value in values if isinstance(value, bool) or not isinstance(value, str | int)]
    if wrong:
        return [], [f"{said}: {str(wrong[0])[:60]} is no id of a chunk"]
    return [str(value) for value in values], []


def _step(value: object, step: str | int) -> list[Any]:
    """Return what lies one step further in: nothing where there is no such place, or a null."""
    if step == "*":
        return value if isinstance(value, list) else []
    if isinstance(value, list) and isinstance(step, int):
        return value[step : step + 1]
    inner = value.get(step) if isinstance(value, Mapping) else None
    return [] if inner is None else [inner]
