"""Sameness of texts: what mining, labels and training must agree on.

Two texts are the same when nothing but case, white space, punctuation or the Unicode form of their characters differs;
they nearly repeat each other when most of their runs of five words are shared. The threshold is set by what was seen
on real passages (TREC RAG 2024, TREC DL 2019 and 2021, uncited against cited). Sliding windows over one page share
0.3 to 0.55 of their shingles and often answer differently, so they must reach a judge. From 0.8 on nearly all were
copies from a mirror or an edition of the same page, with the same relevance grade as far as graders agree about
identical texts at all. Containment would have caught more copies, but also long chunks of another grade around a short
one, so it is not used.
"""

import functools
import re
import unicodedata

NEAR_DUPLICATE = 0.8  # similarity from which two chunks count as the same
SHINGLE_WORDS = 5
# Queries are too short for runs of five words. On real logs (TREC RAG 2024, TREC DL, Cranfield) no two different
# questions share 0.7 of their character trigrams but for one pair; a dropped article or plural stays above it.
NEAR_QUERY = 0.7

Shingles = frozenset[int]  # hashes of word runs; they hold within one process only

# Scripts that write no spaces between words: there every character counts as a word.
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])"
)


def normalised(text: str) -> str:
    """Return `text` as it is compared: NFKC, case folded, punctuation and white space as single spaces.

    Symbols that carry meaning (`+`, `<`, `=`, currencies) stay. A text of punctuation only stays what it is, since
    otherwise all of those would be the same text; white space alone gives "".
    """
    if text.isascii():
        folded = text.lower()
        apart = folded.translate(_ASCII_SEPARATORS)
    else:
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        apart = _separators().sub(" ", _invisible().sub("", folded))
    return " ".join(apart.split()) or " ".join(folded.split())


def storable(text: str) -> str:
    """Return `text` with question marks for half surrogate pairs: JSON may hold them, and no database can."""
    return text.encode("utf-8", "replace").decode()


def shingles(normal: str) -> Shingles:
    """Return the set of runs of five words in an already normalised text; a shorter text is one run."""
    return shingles_of(words(normal))


def query_trigrams(normal: str) -> Shingles:
    """Return the set of character trigrams of an already normalised query; compare with `NEAR_QUERY`."""
    padded = f" {normal} "
    return frozenset(hash(padded[i : i + 3]) for i in range(max(1, len(padded) - 2)))


def words(normal: str) -> list[str]:
    """Return the words of an already normalised text, in order."""
    return (normal if normal.isascii() else _UNSPACED.sub(r" \1 ", normal)).split()


def shingles_of(words: list[str]) -> Shingles:
    """Return the set of runs of five among `words`; fewer words are one run."""
    if len(words) <= SHINGLE_WORDS:
        return frozenset([hash(tuple(words))])
    runs = zip(*(words[start:] for start in range(SHINGLE_WORDS)), strict=False)
    return frozenset(map(hash, runs))


def overlap(one: Shingles, other: Shingles) -> float:
    """Return the Jaccard index of two sets of shingles: shared / all, from 0 to 1."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def similarity(one: str, other: str) -> float:
    """Return how closely two texts repeat each other: 1.0 where they are the same once normalised, else their overlap.

    Compare with `NEAR_DUPLICATE`. The measure is Broder's resemblance (1997) over word shingles.
    """
    first, second = normalised(one), normalised(other)
    return 1.0 if first == second else overlap(shingles(first), shingles(second))


# White space, punctuation, controls, and the modifier symbols that stand among punctuation on keyboards (` ^).
_SEPARATING = {"Zs", "Zl", "Zp", "Cc", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sk"}
_ASCII_SEPARATORS = {code: " " for code in range(128) if unicodedata.category(chr(code)) in _SEPARATING}


@functools.cache
def _separators() -> re.Pattern[str]:
    return _characters(_SEPARATING)


@functools.cache
def _invisible() -> re.Pattern[str]:
    """Soft hyphens, joiners, direction marks: they part no words."""
    return _characters({"Cf"})


def _characters(categories: set[str]) -> re.Pattern[str]:
    """Match runs of these categories in the basic plane: a class that reaches beyond it makes `re` 50 times slower."""
    found = (chr(code) for code in range(0x10000) if unicodedata.category(chr(code)) in categories)
    return re.compile(f"[{re.escape(''.join(c for c in found if not c.isspace()))}]+")  # split() sees to white space
