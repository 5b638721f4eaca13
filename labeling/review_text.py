"""What in a candidate a reviewer's eye should find: the words that it shares with the query, and the judge's quote."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

Mark = Literal["quote", "shared"]

# Scripts written without spaces, or (Korean) with particles stuck to the words.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
# Vowel signs of Arabic and of India's scripts are no letters to `\w`.
_LETTER = rf"(?:[^\W_{_UNSPACED}]|[\u0300-\u036f\u064b-\u065f\u0900-\u0963\u0970-\u0dff])"
_WORD = re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|{_LETTER}+")
_STOP_WORDS = frozenset(
    """
    a about after all also am an and any are as at be because been before being between both but by can could did do
    does doing don down during each few for from further get had has have having he her here hers him his how i if in
    into is it its itself just let me more most my no nor not now of off on once one only or other our out over own re s
    same she should so some such t than that the their them then there these they this those through to too under until
    up us use used using ve very was we were what when where which while who whom whose why will with would you your
    """.split()  # noqa: SIM905 - a literal would take two hundred lines
)
_VOWEL = re.compile("[aeiouy]")
_LONG_ENDINGS = ("ing", "ed")


def marks(candidate: str, query: str, quote: str | None) -> list[tuple[int, int, Mark]]:
    """Find what to mark in a candidate: the words that the query has too, and the judge's quote.

    Words are the same whatever their case and their usual English endings; stop words do not count. Scripts without
    spaces are compared by pairs of characters, or by the one character of a query that has no more.

    Returns:
        (start, end, what), ordered by start. Shared words do not overlap each other; the quote may overlap them.
    """
    found: list[tuple[int, int, Mark]] = [(start, end, "shared") for start, end in _shared(candidate, query)]
    if quote and (place := _place(candidate, quote)):
        found.append((*place, "quote"))
    return sorted(found)


def _place(candidate: str, quote: str) -> tuple[int, int] | None:
    """Find a quote, white space around and within it and case aside."""
    words = quote.split()
    if not words:
        return None
    start = candidate.find(quote.strip())
    if start >= 0:
        return start, start + len(quote.strip())
    found = re.search(r"\s+".join(map(re.escape, words)), candidate, re.IGNORECASE)
    return found.span() if found else None


def _shared(candidate: str, query: str) -> Iterator[tuple[int, int]]:
    wanted = _words_of(query)
    if not wanted:
        return
    for word in _WORD.finditer(candidate):
        if word["unspaced"] is None:
            if _stem(word[0]) in wanted:
                yield word.span()
            continue
        start = end = word.start()
        for at in range(word.start(), word.end()):
            pair = candidate[at : at + 2]
            length = len(pair) if pair in wanted else int(candidate[at] in wanted)
            if length and at > end:  # a run of matches has ended before
                if end > start:
                    yield start, end
                start = at
            if length:
                end = max(end, at + length)
        if end > start:
            yield start, end


@lru_cache(maxsize=256)
def _words_of(query: str) -> frozenset[str]:
    """Return the stems of the query's words, and the pairs of its characters where words have no spaces."""
    found: set[str] = set()
    for word in _WORD.finditer(query):
        text = word[0]
        if word["unspaced"] is None:
            if text.casefold() not in _STOP_WORDS:
                found.add(_stem(text))
        elif len(text) == 1:
            found.add(text)
        else:
            found.update(text[at : at + 2] for at in range(len(text) - 1))
    return frozenset(found)


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    """Take the usual English endings off: stored, stores, storing -> stor; flies, fly -> fli."""
    word = word.casefold()
    if not word.isalpha():
        return word
    if len(word) > 3:
        word = _without_ending(word)
    return word[:-1] + "i" if word.endswith("y") else word


def _without_ending(word: str) -> str:
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in _LONG_ENDINGS:
        rest = word.removesuffix(ending)
        if rest != word and len(rest) > 2 and _VOWEL.search(rest):
            word = rest[:-1] if rest[-1] == rest[-2] and rest[-1] not in "lsz" else rest
            break
    return word.removesuffix("e")
