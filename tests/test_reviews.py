"""Reviews as stored: which of them hold under another question."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.database import Store
from store.reviews import Review, add_reviews, carry_reviews

START = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = ["yes", "no", "other"]


def review(pair: str, label: str | None, *, minute: int = 0, question: str = "old", **given: Any) -> Review:  # noqa: ANN401
    return Review(
        **{
            "pair_id": pair,
            "labelling_fingerprint": question,
            "reviewer": "ann",
            "status": "submitted" if label else "discarded",
            "label": label,
            "stream": "audit",
            "reviewed_at": START + timedelta(minutes=minute),
            "origin": "argilla:host/data/1",
            "note": "hm",
        }
        | given
    )


def current(store: Store, question: str) -> dict[tuple[str, str], str | None]:
    rows = store.rows(
        "SELECT pair_id, reviewer, label FROM current_reviews WHERE labelling_fingerprint = ?", [question]
    )
    return {(str(r["pair_id"]), str(r["reviewer"])): r["label"] for r in rows}


def carry(store: Store, labels: dict[str, str], old: str = "old", new: str = "new") -> int:
    return carry_reviews(store, old_fingerprint=old, new_fingerprint=new, labels=labels)


class TestCarry:
    def test_a_carried_review_is_the_same_but_for_its_question_and_names_the_original(self, store: Store) -> None:
        original = review("p", "yes", suggested="no")
        add_reviews(store, [original])
        assert carry(store, {"yes": "relevant", "no": "irrelevant"}) == 1
        (row,) = store.rows(
            "SELECT * EXCLUDE (review_id, recorded_at) FROM reviews WHERE labelling_fingerprint = 'new'"
        )
        assert row == {
            "pair_id": "p",
            "labelling_fingerprint": "new",
            "reviewer": "ann",
            "status": "submitted",
            "label": "relevant",
            "stream": "audit",
            "note": "hm",
            "reviewed_at": START,
            "origin": "argilla:host/data/1",
            "suggested": "irrelevant",
            "carried_from": original.review_id,
        }

    def test_only_current_answers_whose_label_still_holds_are_carried(self, store: Store) -> None:
        add_reviews(store, [review("p", "yes"), review("p", "no", minute=1), review("q", "yes"), review("r", None)])
        assert carry(store, {"yes": "yes"}) == 2
        assert current(store, "new") == {("q", "ann"): "yes", ("r", "ann"): None}

    def test_where_no_label_holds_nothing_is_carried_not_even_what_was_discarded(self, store: Store) -> None:
        add_reviews(store, [review("p", "yes"), review("r", None)])
        assert carry(store, {}) == 0

    def test_an_answer_to_the_new_question_is_not_overruled_by_an_older_one(self, store: Store) -> None:
        add_reviews(store, [review("p", "yes", minute=5), review("p", "no", minute=9, question="new")])
        assert carry(store, {"yes": "yes"}) == 0
        add_reviews(store, [review("p", "yes", minute=20)])
        assert carry(store, {"yes": "yes"}) == 1
        assert current(store, "new") == {("p", "ann"): "yes"}

    def test_who_has_adjudicated_under_the_new_question_still_has_the_answer_given_as_a_reviewer(
        self, store: Store
    ) -> None:
        decided = review("p", "no", minute=9, question="new", stream="adjudication")
        add_reviews(store, [review("p", "yes", minute=5), decided])
        assert carry(store, {"yes": "yes"}) == 1
        votes = store.rows("SELECT reviewer, label FROM votes WHERE labelling_fingerprint = 'new'")
        assert votes == [{"reviewer": "ann", "label": "yes"}]

    def test_a_review_that_is_carried_on_names_the_one_that_was_given(self, store: Store) -> None:
        original = review("p", "yes")
        add_reviews(store, [original])
        carry(store, {"yes": "yes"})
        carry(store, {"yes": "yes"}, "new", "newest")
        rows = store.rows("SELECT carried_from FROM reviews WHERE labelling_fingerprint = 'newest'")
        assert rows == [{"carried_from": original.review_id}]

    @settings(deadline=None, max_examples=25)
    @given(
        st.lists(st.tuples(st.sampled_from("pq"), st.sampled_from([*LABELS, None]), st.integers(0, 3)), max_size=6),
        st.dictionaries(st.sampled_from(LABELS), st.sampled_from(LABELS)),
    )
    def test_doing_it_again_or_there_and_back_adds_nothing(
        self, tmp_path_factory: pytest.TempPathFactory, given: list[tuple[str, str | None, int]], labels: dict[str, str]
    ) -> None:
        with Store(tmp_path_factory.mktemp("carry") / "uncited.duckdb") as store:
            add_reviews(store, [review(pair, label, minute=minute) for pair, label, minute in given])
            before = current(store, "old")
            carry(store, labels)
            expected = {
                key: labels.get(label or "")
                for key, label in before.items()
                if labels and (label is None or label in labels)
            }
            assert current(store, "new") == expected
            assert carry(store, labels) == 0
            assert carry(store, {new: old for old, new in labels.items()}, "new", "old") == 0
            assert current(store, "old") == before
