import functools
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mining import repeated
from mining.near_duplicates import repeats
from mining.repeated import repeated_positives
from mining.sketches import BITS, MULTIPLIER, WORD_BYTES, may_repeat, sketches
from store.database import Store
from store.interactions import Interaction, Retrieved, add_interactions
from store.text import NEAR_DUPLICATE, SHINGLE_WORDS, normalised, similarity, words

# What folds to one character, to several, to none or to a space; what melts with its neighbour; scripts without spaces.
ODD = [
    "ß",
    "ﬁ",
    "½",
    "…",
    "\u00ad",
    "\u200b",
    "e\u0301",
    "é",
    "İ",
    "Σς",
    "한",
    "가",
    "漢字",
    "ไทย",
    "ﾞ",
    "😀",
    "´",
    "\u00a0",
    "_",
    "!",
]
_words = st.sampled_from(["flea", "Flea", "tick", "MITE", "fur", "Straße", "don't", "1.5", *ODD]) | st.text(max_size=4)
_texts = st.lists(_words, min_size=1, max_size=12).map(" ".join)


def _mixed(one: int, other: int) -> int:
    both = (one * MULTIPLIER + other) % 2**64
    return both ^ both >> 29


def _plain_sketch(text: str) -> tuple[set[int], int]:
    """Which bits of a sketch are set, and the number of runs, worked out one word after another."""
    spoken = words(normalised(text))
    hashes = []
    for word in spoken:
        spelled = word.encode()
        eights = [int.from_bytes(spelled[start : start + 8], "little") for start in range(0, len(spelled), 8)]
        hashes.append(functools.reduce(_mixed, eights[: WORD_BYTES // 8]))
    bits = set()
    for start in range(max(1, len(spoken) - SHINGLE_WORDS + 1)):
        one, two, three, four, five = (*hashes[start : start + SHINGLE_WORDS], 0, 0, 0, 0, 0)[:SHINGLE_WORDS]
        run = _mixed(_mixed(_mixed(one, two), _mixed(three, four)), five)
        bits.add((run * MULTIPLIER % 2**64) * BITS >> 64)
    return bits, max(1, len(spoken) - SHINGLE_WORDS + 1)


@settings(deadline=None, max_examples=200)
@given(st.lists(_texts | st.text(max_size=20), min_size=1, max_size=4))
@example(["\x00\x1b"])  # nothing but control characters, of which one is NUL
@example(["a" * 100 + "b " + "é" * 100, "\u212a \u2126 K k Ω ω"])  # long words; letters that fold to shorter ones
@example(["", " ", "\u3000", "“flea” – don’t …", "ÀÉ ǅ ⅷ №"])
def test_a_sketch_is_made_of_the_runs_of_the_normalised_words(texts: list[str]) -> None:
    sketched = sketches(pa.array(texts, pa.string()))
    bits = np.unpackbits(sketched.bits.view(np.uint8), axis=1)
    found = [
        ({int(bit) for bit in np.flatnonzero(row)}, int(runs)) for row, runs in zip(bits, sketched.runs, strict=True)
    ]
    assert found == [_plain_sketch(text) for text in texts]


@settings(deadline=None, max_examples=150)
@given(_texts, st.integers(0, 99), st.integers(0, 3))
def test_what_repeats_a_text_passes_whatever_was_edited(text: str, seed: int, edits: int) -> None:
    rng = random.Random(seed)
    spoken = (text + " ") * 3 + "behind"
    edited = spoken.split(" ")
    for place in rng.choices(range(len(edited)), k=edits):
        edited[place] = rng.choice(["other", "", edited[place].upper(), edited[0]])
    pair = [spoken, " ".join(edited)]
    if similarity(*pair) >= NEAR_DUPLICATE:
        assert may_repeat(sketches(pa.array(pair, pa.string())), np.array([0]), np.array([1])).all()


def test_unrelated_passages_are_told_apart() -> None:
    rng = random.Random(1)
    texts = [" ".join(f"word{rng.randrange(2_000)}" for _ in range(160)) for _ in range(200)]
    ones, others = np.triu_indices(200, 1)
    assert not may_repeat(sketches(pa.array(texts, pa.string())), ones, others).any()


def test_a_sketch_is_a_bit_for_each_run_of_words() -> None:
    sketched = sketches(pa.array(["one two three four five six", "one two", "ONE  two!", ""], pa.string()))
    bits = np.bitwise_count(sketched.bits).sum(axis=1).tolist()
    assert sketched.bits.shape == (4, BITS // 64)
    assert sketched.runs.tolist() == [2, 1, 1, 1]
    assert bits[:3] == [2, 1, 1]
    assert np.array_equal(sketched.bits[1], sketched.bits[2])


def _passage(seed: int, size: int = 60) -> str:
    return " ".join(f"word{number}" for number in random.Random(seed).choices(range(40), k=size))


@pytest.mark.parametrize("pairs_at_a_time", [3, 500_000])
def test_the_chunks_found_are_those_that_the_plain_comparison_finds(
    store: Store, monkeypatch: pytest.MonkeyPatch, pairs_at_a_time: int
) -> None:
    monkeypatch.setattr(repeated, "_PAIRS_AT_A_TIME", pairs_at_a_time)
    monkeypatch.setattr(repeated, "_COMPARED_AT_A_TIME", 4)
    monkeypatch.setattr(repeated, "_TEXTS_AT_A_TIME", 5)
    rng = random.Random(7)
    texts, rows = {}, []
    for anchor in range(8):
        passages = [_passage(100 * anchor + n) for n in range(rng.randrange(1, 5))]
        for _ in range(8):
            edited = rng.choice(passages).split()
            for place in rng.choices(range(len(edited)), k=rng.randrange(3)):
                edited[place] = rng.choice(["other", "ß", "Flea"])
            passages.append(" ".join(edited))
        retrieved = tuple(Retrieved(f"{anchor}-{n}", n + 1, text) for n, text in enumerate(passages))
        with store.transaction():
            add_interactions(store, [Interaction(f"q{anchor}", retrieved, (), anchor + 1)], import_id="t")
        ids = {row["text"]: str(row["chunk_id"]) for row in store.rows("SELECT text, chunk_id FROM chunks")}
        for text in dict.fromkeys(passages):
            texts[ids[text]] = text
            rows.append((f"a{anchor:02}", ids[text], rng.random() < 0.3 and anchor != 5))
    expected = []
    for anchor in sorted({row[0] for row in rows}):
        own = [row for row in rows if row[0] == anchor]
        positives, others = (
            {chunk: texts[chunk] for _, chunk, carries in own if carries == side} for side in (True, False)
        )
        expected += [(anchor, *repeat) for repeat in repeats(positives, others)]
    columns = zip(("anchor_id", "chunk_id", "carries"), zip(*rows, strict=True), strict=True)
    found = repeated_positives(store, pa.table({name: list(column) for name, column in columns}))
    assert sorted(tuple(row.values()) for row in found.to_pylist()) == sorted(expected)
    assert len(expected) > 5


def test_where_nothing_was_retrieved_nothing_is_compared(store: Store) -> None:
    none = pa.table(
        {
            "anchor_id": pa.array([], pa.string()),
            "chunk_id": pa.array([], pa.string()),
            "carries": pa.array([], pa.bool_()),
        }
    )
    assert repeated_positives(store, none).num_rows == 0
