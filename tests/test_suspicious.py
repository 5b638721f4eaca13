"""Suspicious reviews: planted ones are found, and honest reviewers are named no more often than stated."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from commands.spending import _print_reviewers
from labeling.reading_time import WORDS_A_MINUTE, WORDS_READ, pace
from labeling.reviewer_tests import EVERYBODY, Suggested, Vote, far_from_others, swayed
from labeling.suspicious import ALPHA, suspicious_reviews
from printing import Output
from store.database import Store
from store.given_answers import GivenAnswer
from store.policies import Policy, add_policy
from store.reviews import Review, add_reviews
from tests.labelled_store import POLICY, START, distinct, judge, log, pair, question, review
from tests.test_cli import from_json, run

LONG = " ".join(f"word{n}" for n in range(200))
READING_S = WORDS_READ * 60 / WORDS_A_MINUTE


def votes_of(
    rng: np.random.Generator, *, people: int, queries: int, overlap: int, noise: float, careless: int | None = None
) -> list[Vote]:
    """Answers of people who err more in some queries than in others; a careless one hardly reads."""
    votes = []
    for query in range(queries):
        hard = rng.beta(1, 1 / noise - 1)
        for number in range(6):
            relevant = rng.random() < 0.3
            for person in rng.choice(people, overlap, replace=False):
                errs = rng.random() < (0.45 if person == careless else hard)
                label = "yes" if relevant ^ errs else "no"
                stream = "audit" if number == 0 else "targeted"
                votes.append(Vote(f"q{query}", f"p{query}-{number}", f"r{person}", label, stream))
    return votes


def answers_about_suggestions(
    rng: np.random.Generator, *, queries: int, accuracy: float, people: int = 1, swayed_to: float = 0.0
) -> list[Suggested]:
    """Answers beside suggestions and blind ones; the first person takes a suggestion over with this probability."""
    found = []
    for query in range(queries):
        right = rng.beta(accuracy * 4, (1 - accuracy) * 4)
        for number in range(8):
            person, shown = rng.integers(people), bool(rng.random() < 0.7)
            agrees = bool(rng.random() < right) or bool(shown and person == 0 and rng.random() < swayed_to)
            judged = "yes" if rng.random() < 0.4 else "no"
            found.append(Suggested(f"q{query}", f"p{query}-{number}", f"r{person}", judged, agrees, shown))
    return found


WORLDS: Sequence[dict[str, float]] = (
    {"people": 4, "queries": 30, "overlap": 2, "noise": 0.1},
    {"people": 3, "queries": 12, "overlap": 3, "noise": 0.03},
    {"people": 3, "queries": 15, "overlap": 2, "noise": 0.25},
    {"people": 6, "queries": 20, "overlap": 3, "noise": 0.1},
)
SUGGESTIONS: Sequence[dict[str, float]] = (
    {"queries": 40, "accuracy": 0.75},
    {"queries": 12, "accuracy": 0.9},
    {"queries": 40, "accuracy": 0.6, "people": 3},
)


def share_named(worlds: int, kind: dict[str, float], *, sway: bool) -> float:
    """Share of honest worlds in which anybody is named."""
    named = 0
    for seed in range(worlds):
        rng = np.random.default_rng(seed)
        if sway:
            found = swayed(answers_about_suggestions(rng, **kind), rng=rng, alpha=ALPHA)
        else:
            found = far_from_others(votes_of(rng, **kind), rng=rng, alpha=ALPHA)
        named += any(compared.claimed for compared in found)
    return named / worlds


class TestNaming:
    @pytest.mark.parametrize("kind", [*WORLDS, *SUGGESTIONS], ids=str)
    def test_honest_reviewers_are_hardly_ever_named(self, kind: dict[str, float]) -> None:
        # at 0.05 exactly, more than 3 of 12 have a probability of 0.2 %
        assert share_named(12, kind, sway="accuracy" in kind) <= 3 / 12

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", [*WORLDS, *SUGGESTIONS], ids=str)
    def test_honest_reviewers_are_named_at_most_as_often_as_stated(self, kind: dict[str, float]) -> None:
        # at 0.05 exactly, more than 0.09 of 200 have a probability of 1 %
        assert share_named(200, kind, sway="accuracy" in kind) <= 0.09

    def test_a_careless_reviewer_is_named_and_nobody_else(self) -> None:
        found = 0
        for seed in range(8):
            rng = np.random.default_rng(seed)
            votes = votes_of(rng, people=6, queries=30, overlap=3, noise=0.1, careless=2)
            named = {compared.reviewer for compared in far_from_others(votes, rng=rng, alpha=ALPHA) if compared.claimed}
            assert named <= {"r2"}
            found += named == {"r2"}
        assert found >= 7

    def test_one_who_says_the_opposite_of_all_others_is_named_though_there_is_no_spread(self) -> None:
        votes = [
            Vote(f"q{n}", f"p{n}", name, "no" if name == "eve" else "yes", "targeted")
            for n in range(20)
            for name in ("ann", "bob", "eve")
        ]
        found = far_from_others(votes, rng=np.random.default_rng(0), alpha=ALPHA)
        assert [compared.reviewer for compared in found if compared.claimed] == ["eve"]
        (eve,) = [compared for compared in found if compared.reviewer == "eve"]
        assert (eve.first, eve.first_of, eve.second, eve.second_of) == (1.0, 20, 0.0, 20)

    def test_of_two_reviewers_nobody_can_tell_which_is_off(self) -> None:
        votes = [Vote(f"q{n}", f"p{n}", name, name, "audit") for n in range(30) for name in ("ann", "bob")]
        assert far_from_others(votes, rng=np.random.default_rng(0), alpha=ALPHA) == []

    def test_harder_pairs_alone_do_not_make_a_reviewer_differ(self) -> None:
        rng = np.random.default_rng(3)
        votes = []
        for n in range(120):  # eve answers mostly targeted pairs, on which everybody errs often
            stream = "targeted" if n % 2 else "audit"
            who = ("eve", "ann", "bob") if stream == "targeted" or n % 10 == 0 else ("ann", "bob", "cleo")
            for name in who:
                errs = rng.random() < (0.35 if stream == "targeted" else 0.02)
                votes.append(Vote(f"q{n // 4}", f"p{n}", name, "no" if errs else "yes", stream))
        found = far_from_others(votes, rng=rng, alpha=ALPHA)
        assert not any(compared.claimed for compared in found)

    def test_who_takes_suggestions_over_is_named(self) -> None:
        found = 0
        for seed in range(8):
            rng = np.random.default_rng(seed)
            answers = answers_about_suggestions(rng, queries=40, accuracy=0.6, swayed_to=0.9)
            found += any(compared.claimed for compared in swayed(answers, rng=rng, alpha=ALPHA))
        assert found == 8

    def test_all_are_compared_as_one_where_there_are_several(self) -> None:
        rng = np.random.default_rng(0)
        answers = answers_about_suggestions(rng, queries=40, accuracy=0.6, people=3)
        assert [c.reviewer for c in swayed(answers, rng=rng, alpha=ALPHA)] == [EVERYBODY, "r0", "r1", "r2"]


def given(
    number: int, seconds: float, *, chunk: str = LONG, label: str = "no", origin: str = "terminal"
) -> GivenAnswer:
    return GivenAnswer(
        pair_id=f"pair_{number}",
        anchor_id="anchor",
        chunk=chunk,
        reviewer="ann",
        label=label,
        stream="targeted",
        suggested=None,
        judged=None,
        reviewed_at=START + timedelta(seconds=seconds),
        origin=origin,
        current=True,
    )


class TestReadingTime:
    def test_who_answers_every_second_is_too_quick_and_who_reads_is_not(self) -> None:
        hasty = pace([given(n, n) for n in range(40)], {}, alpha=ALPHA)
        assert (hasty.timed, hasty.quick, hasty.too_quick) == (39, 39, True)
        assert hasty.pairs == tuple(f"pair_{n}" for n in range(1, 40))
        steady = pace([given(n, n * (READING_S + 1)) for n in range(40)], {}, alpha=ALPHA)
        assert (steady.timed, steady.quick, steady.too_quick) == (39, 0, False)

    def test_some_quick_answers_are_let_pass(self) -> None:
        seconds = np.cumsum([1.0 if n % 6 == 0 else 20.0 for n in range(60)])
        found = pace([given(n, s) for n, s in enumerate(seconds)], {}, alpha=ALPHA)
        assert (found.quick, found.too_quick) == (9, False)

    def test_short_texts_take_less(self) -> None:
        answers = [
            given(n, 2.0 * n, chunk="Twelve words are read in little more than one second by anyone.")
            for n in range(40)
        ]
        assert pace(answers, {}, alpha=ALPHA).quick == 0

    def test_a_bulk_answer_is_one(self) -> None:
        bulk = [given(n, 60 + 0.01 * n, origin="argilla:server/data/1") for n in range(1, 101)]
        found = pace([given(0, 0, origin="argilla:server/data/1"), *bulk], {}, alpha=ALPHA)
        assert (found.timed, found.quick, found.batches, found.in_batches) == (1, 0, 1, 100)

    def test_answers_that_differ_are_no_bulk_answer_and_a_terminal_has_none(self) -> None:
        mixed = [given(n, 0.01 * n, label="yes" if n % 2 else "no", origin="argilla:s/d/1") for n in range(40)]
        typed = [given(n, 0.3 * n) for n in range(40)]
        for answers in (mixed, typed):
            found = pace(answers, {}, alpha=ALPHA)
            assert (found.batches, found.quick, found.too_quick) == (0, 39, True)

    def test_bulk_answers_one_after_another_are_too_quick(self) -> None:
        answers = [
            given(n, n // 10 * 1.0 + 0.001 * n, origin="argilla:s/d/1", label=f"l{n // 10 % 2}") for n in range(400)
        ]
        found = pace(answers, {}, alpha=ALPHA)
        assert (found.batches, found.timed, found.quick, found.too_quick) == (40, 39, 39, True)

    def test_what_repeats_a_text_that_was_read_needs_no_time(self) -> None:
        alike = {f"pair_{n}": {f"pair_{m}" for m in range(40) if m != n} for n in range(40)}
        assert pace([given(n, n) for n in range(40)], alike, alpha=ALPHA).timed == 0

    def test_files_of_labels_tell_no_time(self) -> None:
        found = pace([given(n, 0, origin="labels.csv:3") for n in range(40)], {}, alpha=ALPHA)
        assert (found.timed, found.low, found.too_quick) == (0, 0.0, False)


QUERY = question(0)
TEXT = distinct("text")
NEAR = f"{TEXT} more"


@pytest.fixture
def policy(store: Store) -> Policy:
    policy, _ = add_policy(store, POLICY)
    log(store, QUERY, [distinct("cited"), TEXT, TEXT.upper(), NEAR, distinct("other")], cited=[distinct("cited")])
    log(store, question(1), [TEXT])
    return policy


def test_without_reviews_there_is_nothing(store: Store, policy: Policy) -> None:
    found = suspicious_reviews(store, policy)
    assert (found.answers, found.reviewers, found.contradictions, found.far, found.quick, found.swayed) == (
        *(0, 0),
        *((),) * 4,
    )


def test_contradicting_duplicates_are_shown_once_the_own_ones_first(store: Store, policy: Policy) -> None:
    review(store, QUERY, {TEXT: "yes", TEXT.upper(): "yes"})
    review(store, QUERY, {NEAR: "no"}, reviewer="bob")
    review(store, question(1), {TEXT: "no"}, reviewer="bob")  # of another query: no duplicate
    first = suspicious_reviews(store, policy)
    assert [(two.alone, two.exact) for two in first.contradictions] == [(False, False)] * 2
    review(store, QUERY, {TEXT.upper(): "no"}, minute=1)
    found = suspicious_reviews(store, policy).contradictions
    assert [(two.alone, two.exact, two.similarity) for two in found] == [(True, True, 1.0), (False, False, 8 / 9)]
    assert {found[0].pair_id, found[0].alike_id} == {pair(QUERY, TEXT), pair(QUERY, TEXT.upper())}
    assert sorted((*found[0].answers, *found[0].alike_answers)) == [("ann", "no"), ("ann", "yes")]


def test_discards_and_unsure_contradict_nothing(store: Store, policy: Policy) -> None:
    review(store, QUERY, {TEXT: "yes", TEXT.upper(): None, NEAR: "unsure"})
    assert suspicious_reviews(store, policy).contradictions == ()


def test_planted_reviewers_are_found_in_a_store_and_two_looks_see_the_same(store: Store) -> None:
    policy, _ = add_policy(store, POLICY)
    rng = np.random.default_rng(0)
    reviews = []
    clock = dict.fromkeys(("ann", "bob", "cleo", "hasty", "swayed"), START)
    for n in range(16):
        query, chunks = question(n), [f"{distinct(f'c{k}of', n)} {LONG}" for k in range(20)]
        log(store, query, chunks)
        said = {chunk: "yes" if rng.random() < 0.5 else "no" for chunk in chunks}
        judge(store, query, said)
        for k, chunk in enumerate(chunks):
            truth = said[chunk] if rng.random() < 0.65 else {"yes": "no", "no": "yes"}[said[chunk]]
            shown = said[chunk] if k < 14 else None
            for name in ("hasty", "swayed", ("ann", "bob", "cleo")[k % 3]):
                clock[name] += timedelta(seconds=1 if name == "hasty" else 15)
                label = shown if shown and name == "swayed" else truth
                made = Review(
                    pair_id=pair(query, chunk),
                    labelling_fingerprint=policy.labelling_fingerprint,
                    reviewer=name,
                    status="submitted",
                    label=label,
                    stream="targeted" if shown else "audit",
                    reviewed_at=clock[name],
                    origin="terminal",
                    suggested=shown,
                )
                reviews.append(made)
    add_reviews(store, reviews)
    found = suspicious_reviews(store, policy)
    assert [p.reviewer for p in found.quick] == ["hasty"]
    assert "swayed" in {named.compared.reviewer for named in found.swayed} <= {"swayed", EVERYBODY}
    assert {named.compared.reviewer for named in found.far} == {"swayed"}
    own = next(named for named in found.swayed if named.compared.reviewer == "swayed")
    assert len(own.pairs) == 16 * 14, "all pairs that showed a suggestion"
    assert suspicious_reviews(store, policy) == found


def test_the_command_says_what_was_measured_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("init", "w", cwd=tmp_path)
    with Store(tmp_path / "w" / "uncited.duckdb") as store:
        policy, _ = add_policy(store, POLICY)
        for n in range(3):
            chunks = [f"{distinct(f'c{k}of', n)} {distinct('more')}" for k in range(15)]
            log(store, question(n), [*chunks, chunks[0].upper()])
            typed = [
                Review(
                    pair_id=pair(question(n), chunk),
                    labelling_fingerprint=policy.labelling_fingerprint,
                    reviewer="[red]ann",
                    status="submitted",
                    label="no" if chunk.islower() else "yes",
                    stream="targeted",
                    reviewed_at=START + timedelta(seconds=20 * n + k),
                    origin="terminal",
                )
                for k, chunk in enumerate([*chunks, chunks[0].upper()])
            ]
            add_reviews(store, typed)
    found = run("review", "suspicious", "--policy", "answers", cwd=tmp_path / "w")
    assert "[red]ann answers quicker than reading allows: 42 of 44 answers" in found.stdout
    assert "3 duplicates were answered differently, 3 of them by one and the same reviewer" in found.stdout
    assert "the same text" in found.stdout
    assert "Next: uncited lineage pair_" in found.stderr
    assert "answers of 1 reviewer;" in found.stderr
    assert "0 reviewers compared with the others (it takes three" in found.stderr
    with Store(tmp_path / "w" / "uncited.duckdb") as store:
        result = suspicious_reviews(store, policy)
    _print_reviewers(Output(as_json=False, quiet=False), replace(result, quick=(*result.quick, *result.quick)))
    assert capsys.readouterr().err.count("Next: uncited review push") == 1, "what comes next is the same for both"
    document = from_json("review", "suspicious", "--policy", "answers", cwd=tmp_path / "w")
    assert [len(document[kind]) for kind in ("contradictions", "quick", "far", "swayed")] == [3, 1, 0, 0]
