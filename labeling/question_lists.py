"""Questions out of an answer, whatever form a model gave it: JSON, or a list with numbers, bullets or neither."""

import json
import re
from collections.abc import Iterator

from store.text import storable

_LONGEST_ANSWER = 50_000  # characters; a server that raves must not stall the run
_KEYS = ("questions", "question", "queries", "query", "anchors", "anchor", "text", "items")
_THOUGHT = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"^\s*(```|~~~)[\w-]*\s*$")
# 1. 2) (3) [4] 5: Q6. Question 7: **8.** ٩. １０． 第11問: a word before it means question, or a colon follows
_NUMBERED = re.compile(
    r"^[\s>#]*(?:\*\*|__)?"
    r"(?:[(（\[]?\d{1,3}\s?[.)）\]:：、．](?!\d)"
    r"|(?:q|question|query|frage|pregunta|pergunta|domanda|vraag|вопрос|سؤال|प्रश्न)\.?\s?\d{1,3}\s?[.):：](?!\d)"
    r"|[^\W\d_]{1,12}\s?\d{1,3}\s?[問问題题]?\s?[:：])"
    r"(?:\*\*|__)?[:：)]?\s*(?=\S)",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*(?:[-–—•▪◦·‣]|\*(?!\*))\s*(?=\S)")
_NAMED = re.compile(r"^(?:q|question|query)\s?\d*\s?[:.]\s+", re.IGNORECASE)
_QUOTES = tuple(map(tuple, ('""', "“”", "„“", "«»", "‹›", "「」", "『』", "''", "‘’", "``")))
_ENDS = "?？؟;!！.。…"
_ASKS = ("?", "？", "؟")


def parse_questions(said: str) -> tuple[str, ...]:
    """Return the questions in an answer, in order, each on one line; none where nothing in it is a list of them.

    Words before and after the list, fences and thoughts are passed over. Without any list, what is left is taken line
    by line, if the lines ask.
    """
    said = _THOUGHT.sub("", said[:_LONGEST_ANSWER], count=1)
    found = list(_from_json(said)) or _from_lines([line for line in said.splitlines() if not _FENCE.match(line)])
    return tuple(storable(clean) for clean in map(_clean, found) if clean)


def _from_json(said: str) -> Iterator[str]:
    """Yield the texts of the JSON values that hold questions: an object with a fitting key, or a list on its own."""
    decoder = json.JSONDecoder()
    at = 0
    while start := re.search(r"[{\[]", said[at:]):
        begin = at + start.start()
        at = begin + 1
        alone = not said[said.rfind("\n", 0, begin) + 1 : begin].strip(" \t`>")
        if said[begin] == "[" and not alone:  # an index or a reference inside a sentence
            continue
        try:
            value, end = decoder.raw_decode(said, begin)
        except (ValueError, RecursionError):
            continue
        texts = list(_texts(value))
        if texts:
            yield from texts
            at = end


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            if isinstance(item, str):
                yield item
            else:
                yield from _texts(item)
    elif isinstance(value, dict):
        for key in (key for key in value if key.casefold() in _KEYS):
            held = value[key]
            yield from [held] if isinstance(held, str) else _texts(held)


def _from_lines(lines: list[str]) -> list[str]:
    for marker in (_NUMBERED, _BULLET):
        if any(marker.match(line) for line in lines):
            return list(_marked(lines, marker))
    return [line for line in lines if _clean(line).endswith(_ASKS) and line.strip()[0] not in "{["]


def _marked(lines: list[str], marker: re.Pattern[str]) -> Iterator[str]:
    """Yield the marked lines, each with the lines that carry it on."""
    item = ""
    for line in lines:
        if found := marker.match(line):
            if item:
                yield item
            item = line[found.end() :].strip()
        elif item and line.strip() and (line[0].isspace() or item[-1] not in _ENDS):
            item += " " + line.strip()
        elif item:
            yield item
            item = ""
    if item:
        yield item


def _clean(text: str) -> str:
    """Take off emphasis, quotes and a name such as `Question:`; put everything on one line."""
    clean = " ".join(text.split())
    before = ""
    while clean != before:
        before = clean
        clean = _NAMED.sub("", clean.rstrip(",") if clean[:1] in ('"', "“") else clean).strip()
        for mark in ("**", "__", "*", "_"):
            if len(clean) > 2 * len(mark) and clean.startswith(mark) and clean.endswith(mark):
                clean = clean[len(mark) : -len(mark)].strip()
            elif len(mark) == 2 and clean.endswith(mark) and clean.count(mark) == 1:  # it began before the number
                clean = clean.removesuffix(mark).strip()
        for opening, closing in _QUOTES:
            inside = clean[1:-1]
            if len(clean) > 2 and clean[0] == opening and clean[-1] == closing and opening not in inside:
                clean = inside.strip()
    return clean
