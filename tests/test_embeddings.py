"""Embeddings kept by content, and the vectors of pairs that are made of them."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.embeddings import pair_vectors
from store.database import Store
from store.embeddings import embedded
from store.errors import MissingError
from store.reviews import pairs_to_review
from tests.reviewing import fill


class Encoder:
    """Encodes a text as its length and its first letters, and remembers what it was asked."""

    def __init__(self, fails_after: int = 10**6) -> None:
        self.asked: list[str] = []
        self.fails_after = fails_after

    def __call__(self, texts: list[str]) -> np.ndarray:
        if len(self.asked) >= self.fails_after:
            raise KeyboardInterrupt
        self.asked += texts
        return np.array([vector_of(text) for text in texts])


def vector_of(text: str) -> list[float]:
    return [len(text), *(ord(letter) / 7 for letter in text[:3].ljust(3))]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("embeddings") / "uncited.duckdb") as opened:
        yield opened


class TestEmbedded:
    @settings(deadline=None)
    @given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=1, max_size=300))
    def test_every_text_gets_its_own_in_the_order_asked_and_none_is_encoded_twice(
        self, shared: Store, texts: list[str]
    ) -> None:
        encoder = Encoder()
        found = embedded(shared, texts, model="m", encode=encoder)
        assert found.dtype == np.float32
        assert found.shape == (len(texts), 4)
        assert np.array_equal(found, np.array([vector_of(text) for text in texts], np.float32))
        assert len(set(encoder.asked)) == len(encoder.asked)
        again = Encoder()
        assert np.array_equal(embedded(shared, texts[::-1], model="m", encode=again), found[::-1])
        assert again.asked == []

    def test_another_model_has_embeddings_of_its_own(self, store: Store) -> None:
        embedded(store, ["a"], model="one", encode=Encoder())
        other = Encoder()
        embedded(store, ["a"], model="two", encode=other)
        assert other.asked == ["a"]

    def test_no_texts_need_no_model(self, store: Store) -> None:
        encoder = Encoder(fails_after=0)
        assert embedded(store, [], model="m", encode=encoder).shape == (0, 0)

    def test_what_was_encoded_before_a_run_was_stopped_is_kept(self, store: Store) -> None:
        texts = [f"text {n}" for n in range(1000)]
        with pytest.raises(KeyboardInterrupt):
            embedded(store, texts, model="m", encode=Encoder(fails_after=500))
        rest = Encoder()
        embedded(store, texts, model="m", encode=rest)
        assert len(rest.asked) < 1000 - 300


class TestPairVectors:
    def test_near_duplicates_of_a_query_are_the_closest(self, store: Store, minilm: str) -> None:
        policy = fill(store)
        pairs = pairs_to_review(store, policy)
        first = pairs[0]
        twin = replace(first, pair_id="twin", chunk=first.chunk + " Enjoy it.")
        elsewhere = replace(pairs[-1], pair_id="elsewhere", chunk=first.chunk)
        assert elsewhere.anchor != first.anchor
        vectors = pair_vectors(store, [*pairs, twin, elsewhere], model=minilm)
        assert vectors.shape == (len(pairs) + 2, 768)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
        closest = np.argsort(-(vectors @ vectors[0]))
        assert list(closest[:2]) == [0, len(pairs)], "itself, then its twin"

    def test_the_model_is_not_needed_where_all_is_embedded(self, store: Store, minilm: str) -> None:
        policy = fill(store)
        pairs = pairs_to_review(store, policy)
        first = pair_vectors(store, pairs, model=minilm)
        store.execute("UPDATE embeddings SET model = replace(model, split_part(model, ',', 1), 'no/such-model')")
        assert np.array_equal(pair_vectors(store, pairs, model="no/such-model"), first)

    def test_a_model_that_is_not_there_is_named(self, store: Store) -> None:
        policy = fill(store)
        with pytest.raises(MissingError, match="no/such-model"):
            pair_vectors(store, pairs_to_review(store, policy), model="no/such-model")
