"""What of the labels has no part in an export, and why."""

from collections.abc import Mapping

from store.build_evidence import texts_of_pairs
from store.builds import Build
from store.database import Store

_WHY = {
    "duplicates": "candidates that (nearly) repeat a cited chunk, and that nobody labelled positive",
    "excluded": "pairs with a label that has no part in training",
    "undecided": "pairs about which people disagreed, or which they discarded",
    "unreviewed": "candidates without a label that may be used",
    "guarded": "pairs labelled negative whose chunk (nearly) repeats a positive of the same query",
    "kept_from_training": "pairs of train queries with a text that (nearly) repeats one of the test split",
    "synthetic_left_out": "questions written for evaluation that hang together with ones written for training",
}
_SHOWN = 160  # characters of a text in an example


def left_out_of_build(store: Store, build: Build) -> list[dict[str, object]]:
    """Return what a build left out, by reason: what, the number of pairs, and some examples where it noted any."""
    counts, noted = build.counts, build.settings.get("examples_left_out", {})
    assert isinstance(noted, Mapping)
    found = []
    for name, what in _WHY.items():
        if counts.get(name):
            entry: dict[str, object] = {"what": what, "count": counts[name]}
            examples = texts_of_pairs(store, [tuple(ids) for ids in noted.get(name, ())])
            if examples:
                entry["examples"] = [
                    {"anchor": _cut(anchor), "chunk": _cut(chunk), "repeats": _cut(repeated)}
                    for anchor, chunk, repeated in examples
                ]
            found.append(entry)
    return found


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
