"""Examples from people: reviews of other queries, shown to the judge with every pair.

Half of the queries, chosen by a hash of their text, give examples; the reviews of the other half are held out, so that
a judge with examples and one without can be compared on reviews that neither has seen. A set is frozen when it is
first used and is part of the judge's configuration: reviews that come later change no answer and cost nothing.
"""

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from store.builds import list_builds
from store.database import Store
from store.embeddings import embedded
from store.encoders import load_model, model_name
from store.errors import MissingError
from store.example_sets import (
    LabelledPair,
    anchors_of_tests,
    build_groups,
    candidate_anchors,
    example_sets,
    get_example_set,
    people_labelled,
    put_example_set,
)
from store.ids import anchor_id
from store.labels import Resolution
from store.policies import Example, Policy
from store.text import NEAR_QUERY, Shingles, normalised, overlap, query_trigrams

if TYPE_CHECKING:
    import numpy as np
    from sentence_transformers import SentenceTransformer

_LONGEST = 1500  # characters of a chunk that is shown; cut short, it might lose what its label rests on


class FrozenExamples:
    """A frozen set and the rule that picks from it: a `labeling.prompts.ExamplePool`."""

    def __init__(
        self, store: Store, example_set_id: str, anchors: Sequence[str] = (), *, model: str | None = None
    ) -> None:
        """Load a set, and embed the texts of `anchors` beforehand, all at once.

        `model` says where the model that the set names is found, if not by that name.

        Raises:
            MissingError: this workspace has no such set, or the model that compares queries cannot be loaded.
        """
        found = get_example_set(store, example_set_id)
        rule = found.rule
        self.example_set_id = example_set_id
        self._store = store
        self._shown = int(str(rule["shown"]))
        self._named = str(rule["model"])
        self._model = model or self._named
        self._labels = [str(label) for label in _listed(rule["labels"])]
        self._pairs = found.pairs
        self._groups = build_groups(store, [str(build) for build in _listed(rule["builds"])])
        self._trigrams = _trigrams(pair.anchor for pair in found.pairs)
        self._chosen: dict[str, tuple[Example, ...]] = {}
        self._vectors = _embedded(store, self._named, self._model, [*self._trigrams, *anchors])

    def nearest(self, anchor: str) -> tuple[Example, ...]:
        """Return the examples nearest to an anchor by query, each label in turn; none of them from its query group."""
        if anchor not in self._chosen:
            self._chosen[anchor] = self._choose(anchor)
        return self._chosen[anchor]

    def _choose(self, anchor: str) -> tuple[Example, ...]:
        import numpy as np

        if anchor not in self._vectors:
            self._vectors |= _embedded(self._store, self._named, self._model, [anchor])
        own = self._vectors[anchor]
        # Rounded, so that what no reader would notice does not decide.
        cosines = {text: round(float(np.dot(own, self._vectors[text])), 4) for text in self._trigrams}
        alike = _near([normalised(anchor)], self._trigrams)
        groups = self._groups.get(anchor_id(anchor), set())
        near = [
            pair
            for pair in self._pairs
            if pair.anchor not in alike and not groups & self._groups.get(pair.anchor_id, set())
        ]
        near.sort(key=lambda pair: (-cosines[pair.anchor], pair.pair_id))
        chosen = _in_turn(near, self._labels, self._shown)
        return tuple(Example(pair.anchor, pair.chunk, pair.label) for pair in chosen)


def _in_turn(near: Sequence[LabelledPair], labels: Sequence[str], count: int) -> Iterator[LabelledPair]:
    """Yield the nearest pair of each label in turn, of a query not shown yet while there is one."""
    left = {label: [pair for pair in near if pair.label == label] for label in labels}
    queries: set[str] = set()
    while count and any(left.values()):
        for label in labels:
            if count and left[label]:
                fresh = next((pair for pair in left[label] if pair.anchor_id not in queries), left[label][0])
                left[label].remove(fresh)
                queries.add(fresh.anchor_id)
                count -= 1
                yield fresh


def freeze_examples(
    store: Store,
    policy: Policy,
    count: int,
    *,
    model: str,
    resolution: Resolution = "majority",
    renew: bool = False,
) -> FrozenExamples:
    """Return examples of a policy's question, of which `count` are shown with a pair.

    A set that was frozen with the same rule is used again, as long as no build has put a query of it, or one near it,
    into its test split.

    Args:
        store: holds the reviews.
        policy: whose question.
        count: how many examples are shown.
        model: embeds the queries: folder or name of a SentenceTransformer.
        resolution: what makes one label of several people's answers (see `store.labels.labelled_candidates`); it
            concerns sets that are yet to be frozen.
        renew: freeze the reviews as they are now, which makes it another judge.

    Raises:
        MissingError: too few reviews, or no such model.
    """
    anchors = sorted(candidate_anchors(store, policy).values())
    tests = [normalised(text) for text in anchors_of_tests(store).values()]
    if not renew:
        for known in example_sets(store, policy):
            found = get_example_set(store, known)
            same = (found.rule["shown"], found.rule["model"]) == (count, model_name(model))
            if same and not _near(tests, _trigrams(pair.anchor for pair in found.pairs)):
                return FrozenExamples(store, known, anchors, model=model)
    reviewed = [pair for pair in people_labelled(store, policy, resolution=resolution) if not held_out(pair.anchor)]
    leaking = _near(tests, _trigrams(pair.anchor for pair in reviewed))
    usable = [pair for pair in reviewed if pair.anchor not in leaking and len(pair.chunk) <= _LONGEST]
    labels = [label.name for label in policy.labels if any(pair.label == label.name for pair in usable)]
    if len(labels) < 2 or len(usable) < count:
        raise MissingError(
            f"people's reviews give {len(usable)} examples of {len(labels)} labels for {policy.name}; {count} of at"
            " least two labels are needed (half of the queries are held out, and those of test splits are not shown)",
            hint=f"uncited review push --policy {policy.name}",
        )
    rule = {
        "version": 1,
        "shown": count,
        "model": model_name(model),
        "labels": labels,
        "resolution": resolution,
        "from": "the queries that are not held out",
        "longest": _LONGEST,
        "near_query": NEAR_QUERY,
        "builds": sorted(build.build_id for build in list_builds(store)),
    }
    return FrozenExamples(store, put_example_set(store, policy, rule, usable), anchors, model=model)


def held_out(anchor: str) -> bool:
    """Tell whether the reviews of a query are kept from all examples: half of the queries, always the same ones."""
    return hashlib.sha256(normalised(anchor).encode("utf-8", "surrogatepass")).digest()[0] % 2 == 1


def _near(queries: Sequence[str], anchors: Mapping[str, Shingles]) -> set[str]:
    """Return those of `anchors` (with their trigrams) that equal or nearly repeat one of the normalised `queries`."""
    trigrams = [query_trigrams(query) for query in queries]
    return {anchor for anchor, own in anchors.items() if any(overlap(own, other) >= NEAR_QUERY for other in trigrams)}


def _trigrams(anchors: Iterable[str]) -> dict[str, Shingles]:
    return {anchor: query_trigrams(normalised(anchor)) for anchor in anchors}


def _embedded(store: Store, rule_model: str, model: str, texts: Sequence[str]) -> "dict[str, np.ndarray]":
    """Map queries to vectors of unit length; the model is loaded only for those that were never embedded."""

    @functools.cache
    def loaded() -> "SentenceTransformer":
        try:
            return load_model(model)
        except MissingError as error:
            raise MissingError(
                f"{error.message}; it finds the examples, and similarity_model in the [review] table of uncited.toml"
                " may name another",
                hint=error.hint,
            ) from error

    def encode(batch: list[str]) -> "np.ndarray":
        vectors: np.ndarray = loaded().encode_query(batch, normalize_embeddings=True, show_progress_bar=False)
        return vectors

    vectors = embedded(store, texts, model=f"{rule_model}, query", encode=encode)
    return dict(zip(texts, vectors, strict=True))


def _listed(value: object) -> list[object]:
    assert isinstance(value, list)
    return value
