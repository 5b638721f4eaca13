from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mining.candidates import mine
from mining.hard_negatives import mine_negatives
from store.database import Store
from store.interactions import Interaction, Retrieved, Signal, add_interactions
from store.policies import Label, Policy
from store.workspace import MineSettings

LABELS = (Label("fits", "it fits", "positive"), Label("off", "it does not", "negative"))
SIGNALS = {"cited": "fits", "clicked": "fits", "thumbs_down": "off"}


def policy(weights: Mapping[str, float] | None = None, kinds: Sequence[str] = ()) -> Policy:
    return Policy("p", "Do the two fit?", "a", "b", LABELS, SIGNALS, weights=weights or {}, kinds=tuple(kinds))


def log(store: Store, *interactions: Sequence[str], kinds: Mapping[str, str] | None = None) -> None:
    """Log interactions of one query over the chunks a, b, c; each is given as signals like "cited a"."""
    retrieved = tuple(
        Retrieved(f"c-{text}", rank, text, kind=(kinds or {}).get(text, "text")) for rank, text in enumerate("abc", 1)
    )
    found = []
    for number, signals in enumerate(interactions):
        told = tuple(Signal(s.split()[0], f"c-{s.split()[1]}") for s in signals)
        found.append(Interaction("q", retrieved, told, number, f"i{number}"))
    with store.transaction():
        add_interactions(store, found, import_id="test")


def proposed(store: Store) -> dict[object, object]:
    """Chunk text -> what the pair is put forward as."""
    rows = store.rows("SELECT text, proposed FROM candidate_pairs JOIN chunks USING (chunk_id)")
    return {row["text"]: row["proposed"] for row in rows}


def test_the_heavier_of_two_contradicting_signals_decides_what_is_proposed(store: Store) -> None:
    log(store, ["clicked a", "thumbs_down a", "cited b"])
    mine(store, policy({"clicked": 0.3}))
    assert proposed(store) == {"a": "negative", "b": "positive", "c": "negative"}
    mine(store, policy({"thumbs_down": 0.3}))
    assert proposed(store)["a"] == "positive"


def test_without_weights_a_tie_is_a_candidate_positive(store: Store) -> None:
    log(store, ["cited a", "thumbs_down a"])
    mine(store, policy())
    assert proposed(store)["a"] == "positive"


def test_weak_signals_add_up_over_interactions_of_the_same_query(store: Store) -> None:
    log(store, ["clicked a", "thumbs_down a"], ["clicked a"], ["clicked a"], ["clicked a"])
    mine(store, policy({"clicked": 0.3}))  # 4 x 0.3 against 1
    assert proposed(store)["a"] == "positive"


def test_tenths_that_add_up_to_the_other_side_are_a_tie(store: Store) -> None:
    """0.7 + 0.2 + 0.1 is less than 1.0 in floating point."""
    log(store, ["cited a", "thumbs_down a"], ["clicked a"], ["saved a"])
    weights = {"cited": 0.7, "clicked": 0.2, "saved": 0.1}
    mine(store, Policy("p", "?", "a", "b", LABELS, SIGNALS | {"saved": "fits"}, weights=weights))
    assert proposed(store)["a"] == "positive"


def test_a_chunk_that_was_voted_down_is_no_positive_that_others_could_repeat(store: Store) -> None:
    log(store, ["clicked a", "thumbs_down a"])
    assert mine(store, policy({"clicked": 0.5})).sources[0].source == "clicked"
    assert store.count("SELECT count(*) FROM candidates WHERE proposed = 'positive'") == 0


@given(
    st.lists(st.lists(st.sampled_from(["cited a", "clicked a", "thumbs_down a", "cited b"]), max_size=4), min_size=1),
    st.floats(0.01, 1.0),
)
@settings(max_examples=15, deadline=None)
def test_mining_twice_changes_nothing_whatever_the_weights(
    tmp_path_factory: pytest.TempPathFactory, interactions: list[list[str]], weight: float
) -> None:
    with Store(tmp_path_factory.mktemp("mine") / "uncited.duckdb") as store:
        log(store, *interactions)
        chosen = policy({"clicked": weight})
        mine(store, chosen)
        before = store.rows("FROM candidates ORDER BY ALL")
        again = mine(store, chosen)
        assert (again.new, again.removed) == (0, 0)
        assert store.rows("FROM candidates ORDER BY ALL") == before


def test_mining_proposes_only_chunks_of_the_kinds_that_the_policy_covers(store: Store) -> None:
    log(store, ["cited a", "cited b"], kinds={"b": "code", "c": "table"})
    result = mine(store, policy(kinds=["code", "table"]))
    assert proposed(store) == {"b": "positive", "c": "negative"}
    assert result.without_positive == 0


def test_an_interaction_whose_positives_are_all_of_another_kind_has_none(store: Store) -> None:
    log(store, ["cited a"], kinds={"b": "code"})
    assert mine(store, policy(kinds=["code"])).without_positive == 1


def test_narrowing_the_kinds_withdraws_candidates_and_random_ones_with_them(store: Store) -> None:
    log(store, ["cited a"], kinds={"b": "code"})
    with store.transaction():
        other = (Retrieved("x1", 1, "x", kind="code"), Retrieved("y1", 2, "y"))
        add_interactions(store, [Interaction("r", other, (Signal("cited", "x1"),), 9, "other")], import_id="test")
    chance = MineSettings(per_query={"random": 9})
    mine(store, policy())
    mine_negatives(store, policy(), chance)
    assert "y" in proposed(store)
    narrowed = policy(kinds=["code"])
    mine(store, narrowed)
    mine_negatives(store, narrowed, chance)
    assert set(proposed(store)) == {"b", "x"}
    again = mine(store, narrowed)
    assert (again.new, again.removed) == (0, 0)
