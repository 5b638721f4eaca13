"""Sketches of texts, by which nearly all pairs that do not repeat each other are told apart without comparing them.

The sketch of a text is a bitmap: each of its runs of five words (`store.text`) sets the bit that a hash of it names.
Whoever repeats a text at an overlap of t or more lacks at most 1 - t of its runs, so at most that many bits of its
sketch are missing in the other's. Nothing that repeats is lost, whatever the hash; what passes is to be compared.

Texts stay the UTF-8 that the store gives. Tables fold each character in its place as `store.text.normalised` would, and
words and runs are hashed for hundreds of texts at once. Texts with characters that cannot be folded so (combining
marks, "ß", scripts without spaces) go through `normalised` one by one, and from there the same way.
"""

import functools
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from store.text import NEAR_DUPLICATE, SHINGLE_WORDS, normalised, words

if TYPE_CHECKING:
    import numpy as np

BITS = 512  # three times the runs of a usual chunk; beyond about 600 words, a sketch tells little apart
WORD_BYTES = 32  # that are hashed of a word; those that begin alike count as one
MULTIPLIER = 0x9E3779B97F4A7C15  # odd; 2^64 divided by the golden ratio
_TEXTS_AT_A_TIME = 512  # so that what is computed of them stays in a processor's cache

_FOLDED_BELOW = 0x3000  # code points that the tables hold; there are scripts without spaces from there on
_SPACE = ord(" ")


class Sketches(NamedTuple):
    """Sketches of texts, in their order. `runs`: how many runs of words a text has, equal ones counted each time."""

    bits: "np.ndarray"  # (texts, BITS / 64), uint64
    runs: "np.ndarray"  # (texts,), int32


def sketches(texts: pa.StringArray) -> Sketches:
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


def _sketch_page(texts: pa.StringArray) -> Sketches:
    import numpy as np

    apart = pc.binary_join_element_wise(texts, "", " ")
    _, offsets, characters = apart.buffers()
    ends = np.frombuffer(offsets, np.int32)[1 : len(apart) + 1]
    letters, odd_places = _folded(characters.to_pybytes())
    odd = np.unique(np.searchsorted(ends, odd_places, side="right"))
    bits, runs, counts = _sketch_letters(letters, ends)
    odd = np.union1d(odd, np.flatnonzero(counts == 0))  # punctuation only, which stays what it is
    if len(odd):
        plain = [" ".join([*words(normalised(texts[place].as_py())), ""]).encode() for place in odd.tolist()]
        letters = np.frombuffer(b"".join(plain), np.uint8)
        bits[odd], runs[odd], _ = _sketch_letters(letters, np.cumsum([len(text) for text in plain]))
    return Sketches(bits, runs)


def _folded(characters: bytes) -> "tuple[np.ndarray, np.ndarray]":
    """Fold UTF-8 in its place; return its bytes, and where characters begin that cannot be folded so."""
    import numpy as np

    tables = _tables()
    letters = np.frombuffer(bytearray(characters.translate(tables.ascii)), np.uint8)
    if characters.isascii():
        return letters, np.zeros(0, np.int64)
    begin = np.flatnonzero(letters >= 0xC0)
    first = letters[begin].astype(np.int32)
    long = first >= 0xE0
    code = np.where(long, first & 0x0F, first & 0x1F) << 6 | letters[begin + 1] & 0x3F
    code[long] = code[long] << 6 | letters[begin[long] + 2] & 0x3F
    code[(first >= 0xF0) | (code > _FOLDED_BELOW)] = _FOLDED_BELOW
    folded = tables.folded[code]
    letters[begin], letters[begin + 1] = folded[:, 0], folded[:, 1]
    letters[begin[long] + 2] = folded[long, 2]
    return letters, begin[tables.odd[code]]


def _sketch_letters(letters: "np.ndarray", ends: "np.ndarray") -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Sketch texts given by their folded bytes; each ends, with a space, before its place in `ends`.

    Returns:
        Bits, numbers of runs and numbers of words.
    """
    import numpy as np

    hashes, starts = _word_hashes(letters)
    bounds = np.searchsorted(starts, ends)
    counts = np.diff(bounds, prepend=0)
    runs = np.maximum(counts - SHINGLE_WORDS + 1, 1)
    marks = np.zeros(len(ends) * BITS, bool)
    if len(hashes) >= SHINGLE_WORDS:
        bits = _run_bits([hashes[place : len(hashes) - SHINGLE_WORDS + 1 + place] for place in range(SHINGLE_WORDS)])
        own = np.repeat(np.arange(len(ends)) * BITS, counts)
        within = own[: len(bits)] == own[SHINGLE_WORDS - 1 :]
        marks[(own[: len(bits)] + bits)[within]] = True
    few = np.flatnonzero(counts < SHINGLE_WORDS)  # one run by itself
    padded = np.concatenate([hashes, np.zeros(SHINGLE_WORDS, np.uint64)])
    first = (bounds - counts)[few]
    columns = [np.where(place < counts[few], padded[first + place], np.uint64(0)) for place in range(SHINGLE_WORDS)]
    marks[few * BITS + _run_bits(columns)] = True
    return np.packbits(marks).view(np.uint64).reshape(len(ends), -1), runs.astype(np.int32), counts


def _run_bits(columns: "Sequence[np.ndarray]") -> "np.ndarray":
    """Name the bit of each run of five words; `columns` holds the hashes of their first words, second words ..."""
    import numpy as np

    one, two, three, four, five = columns
    run = _mixed(_mixed(_mixed(one, two), _mixed(three, four)), five)
    return (run * np.uint64(MULTIPLIER) >> np.uint64(64 - BITS.bit_length() + 1)).astype(np.int64)


def _mixed(one: "np.ndarray", other: "np.ndarray") -> "np.ndarray":
    import numpy as np

    both = one * np.uint64(MULTIPLIER)
    both += other
    both ^= both >> np.uint64(29)
    return both


def _word_hashes(letters: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Hash each word, a stretch without spaces; return the hashes and where the words begin."""
    import numpy as np

    inside = np.zeros(len(letters) + 1, bool)
    np.not_equal(letters, _SPACE, out=inside[1:])
    edges = np.flatnonzero(inside[1:] != inside[:-1])  # there is a space at the very end
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    padded = np.concatenate([letters, np.zeros(WORD_BYTES, np.uint8)])
    eights = np.ndarray(len(letters), "<u8", padded.data, strides=(1,))  # the eight bytes from each place on
    hashes = eights[starts] & _first_bytes(lengths)
    for place in range(8, WORD_BYTES, 8):
        long = np.flatnonzero(lengths > place)
        hashes[long] = _mixed(hashes[long], eights[starts[long] + place] & _first_bytes(lengths[long] - place))
    return hashes, starts


def _first_bytes(counts: "np.ndarray") -> "np.ndarray":
    """Return masks of the first `counts` bytes of eight; all eight where there are more."""
    import numpy as np

    masks: np.ndarray = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)[np.minimum(counts, 8)]
    return masks


class _Tables(NamedTuple):
    ascii: bytes  # for `bytes.translate`
    folded: "np.ndarray"  # (code points, 3): UTF-8 of what `normalised` makes of each, or spaces
    odd: "np.ndarray"  # (code points,): which cannot be folded in their place


@functools.cache
def _tables() -> _Tables:
    """Ask `normalised` what becomes of each code point."""
    import numpy as np

    seconds = _second_characters()
    folded = np.full((_FOLDED_BELOW + 1, 3), _SPACE, np.uint8)
    odd = np.ones(_FOLDED_BELOW + 1, bool)
    for code in range(_FOLDED_BELOW):
        character, size = chr(code), len(chr(code).encode(errors="replace"))
        around = normalised(f"a{character}a")
        made = around[1:-1].encode()
        if around == "a a":
            odd[code] = False
        elif (
            len(around) == 3
            and len(made) == size
            and not seconds & {character, around[1]}
            and words(around) == [around]
        ):
            odd[code] = False
            folded[code, :size] = list(made)
    plain = bytes(range(256))
    plain = bytes(folded[:128, 0].tolist()) + plain[128:]
    return _Tables(plain, folded, odd)


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
