"""Sketches of texts, by which nearly all pairs that do not repeat each other are told apart without comparing them.

The sketch of a text is a bitmap: each of its runs of five words (`store.text`) sets the bit that a hash of it names.
Whoever repeats a text at an overlap of t or more lacks at most 1 - t of its runs, so at most that many bits of its
sketch are missing in the other's. Nothing that repeats is lost, whatever the hash; what passes is to be compared.

A text becomes code points; a table folds each as `store.text.normalised` would, and words and runs are hashed for
thousands of texts at once. Texts with characters that no such table can fold (combining marks, "ß", scripts without
spaces) go through `normalised` one by one, and from there the same way.
"""

import functools
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from store.text import NEAR_DUPLICATE, SHINGLE_WORDS, normalised, words

if TYPE_CHECKING:
    import numpy as np

BITS = 512  # three times the runs of a usual chunk; beyond about 600 words, a sketch tells little apart
_TEXTS_AT_A_TIME = 512  # so that what is computed of them stays in a processor's cache

_FOLDED_BELOW = 0x3000  # code points that the table holds; there are scripts without spaces from there on
_SPACE, _ODD = 0, 0xFFFF
_NUL = 0x110000  # stands for the character NUL, which is no space
MULTIPLIER = 0x9E3779B97F4A7C15  # odd; 2^64 divided by the golden ratio


class Sketches(NamedTuple):
    """Sketches of texts, in their order. `runs`: how many runs of words a text has, equal ones counted each time."""

    bits: "np.ndarray"  # (texts, BITS / 64), uint64
    runs: "np.ndarray"  # (texts,), int32


def sketches(texts: Sequence[str]) -> Sketches:
    """Sketch texts."""
    import numpy as np

    bits = np.zeros((len(texts), BITS // 64), np.uint64)
    runs = np.ones(len(texts), np.int32)
    for start in range(0, len(texts), _TEXTS_AT_A_TIME):
        page = slice(start, start + _TEXTS_AT_A_TIME)
        bits[page], runs[page] = _sketch_page(texts[page])
    return Sketches(bits, runs)


def may_repeat(sketched: Sketches, ones: "np.ndarray", others: "np.ndarray") -> "np.ndarray":
    """Tell for each pair of texts, given as places in `sketched`, whether one might repeat the other."""
    import numpy as np

    one, other = sketched.bits[ones], sketched.bits[others]
    shared = np.bitwise_count(one & other).sum(axis=1, dtype=np.int32)
    likely = np.ones(len(ones), bool)
    for bits, places in ((one, ones), (other, others)):
        missing = np.bitwise_count(bits).sum(axis=1, dtype=np.int32) - shared
        likely &= missing <= (1 - NEAR_DUPLICATE) * sketched.runs[places] + 1e-9
    return likely


def _sketch_page(texts: Sequence[str]) -> Sketches:
    import numpy as np

    lengths = np.array([len(text) for text in texts])
    codes = _table()[np.minimum(_code_points(texts), _FOLDED_BELOW)]
    ends = np.cumsum(lengths + 1)
    odd = np.unique(np.searchsorted(ends, np.flatnonzero(codes == _ODD), side="right"))
    bits, runs, counts = _sketch_codes(codes, ends)
    odd = np.union1d(odd, np.flatnonzero(counts == 0))  # punctuation only, which stays what it is
    if len(odd):
        plain = [" ".join(words(normalised(texts[place]))) for place in odd.tolist()]
        codes = _code_points(plain)
        codes[codes == _SPACE] = _NUL
        codes[codes == ord(" ")] = _SPACE
        bits[odd], runs[odd], _ = _sketch_codes(codes, np.cumsum([len(text) + 1 for text in plain]))
    return Sketches(bits, runs)


def _code_points(texts: Sequence[str]) -> "np.ndarray":
    """Return the code points of texts, with a space behind each text."""
    import numpy as np

    joined = " ".join([*texts, ""])
    return np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32).copy()


def _sketch_codes(codes: "np.ndarray", ends: "np.ndarray") -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Sketch texts given by their folded code points; each ends, with a space, before its place in `ends`.

    Returns:
        Bits, numbers of runs and numbers of words.
    """
    import numpy as np

    hashes, starts = _word_hashes(codes)
    bounds = np.searchsorted(starts, ends)
    counts = np.diff(bounds, prepend=0)
    runs = np.maximum(counts - SHINGLE_WORDS + 1, 1)
    first = bounds - counts
    # The first `runs` words of each text begin a run. One of fewer than five words is a run by itself.
    owners = np.repeat(np.arange(len(ends)), runs)
    begin = np.arange(len(owners)) - np.repeat(np.cumsum(runs) - runs, runs) + first[owners]
    padded = np.concatenate([hashes, np.zeros(SHINGLE_WORDS, np.uint64)])
    run_hashes = np.zeros(len(owners), np.uint64)
    for place in range(SHINGLE_WORDS):
        word = np.where(place < counts[owners], padded[begin + place], np.uint64(0))
        run_hashes = run_hashes * np.uint64(MULTIPLIER) + word
        run_hashes ^= run_hashes >> np.uint64(29)
    marks = np.zeros((len(ends), BITS), bool)
    marks[owners, (run_hashes * np.uint64(MULTIPLIER)) >> np.uint64(64 - BITS.bit_length() + 1)] = True
    return np.packbits(marks, axis=1).view(np.uint64), runs.astype(np.int32), counts


def _word_hashes(codes: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Hash each word, a stretch without spaces; return the hashes and where the words begin."""
    import numpy as np

    inside = np.zeros(len(codes) + 1, np.int8)
    inside[1:] = codes != _SPACE
    change = np.diff(inside)
    starts = np.flatnonzero(change == 1)
    ends = np.flatnonzero(change == -1)  # there is a space at the very end
    # A polynomial of the code points, from sums that run through all texts: it is the same wherever the word stands.
    powers, inverses = _powers(len(codes))
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(codes * powers, out=sums[1:])
    return (sums[ends] - sums[starts]) * inverses[starts], starts


@functools.lru_cache(maxsize=4)
def _powers_of(size: int) -> "tuple[np.ndarray, np.ndarray]":
    import numpy as np

    def powers(base: int) -> np.ndarray:
        factors = np.full(size, base, np.uint64)
        factors[0] = 1
        return np.cumprod(factors)

    return powers(MULTIPLIER), powers(pow(MULTIPLIER, -1, 2**64))


def _powers(count: int) -> "tuple[np.ndarray, np.ndarray]":
    """Return the first powers of the multiplier, and of its inverse, modulo 2^64."""
    powers, inverses = _powers_of(1 << max(16, (count - 1).bit_length()))
    return powers[:count], inverses[:count]


@functools.cache
def _table() -> "np.ndarray":
    """Map each code point to the one that `normalised` makes of it, to a space, or to odd: ask `normalised`."""
    import numpy as np

    seconds = _second_characters()
    table = np.full(_FOLDED_BELOW + 1, _ODD, np.uint32)
    for code in range(_FOLDED_BELOW):
        folded = normalised(f"a{chr(code)}a")
        if folded == "a a":
            table[code] = _SPACE
        elif len(folded) == 3 and not seconds & {chr(code), folded[1]} and words(folded) == [folded]:
            table[code] = ord(folded[1])
    return table


def _second_characters() -> set[str]:
    """Return the characters that may melt with the one before, or change places with it."""
    found = {chr(code) for code in range(0x1100, 0x1200)}  # the letters of Hangul syllables
    for code in range(_FOLDED_BELOW):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            found.add(chr(int(parts[1], 16)))
        if unicodedata.combining(chr(code)):
            found.add(chr(code))
    return found
