"""What reviewers disagree about, when that is settled, and what the report on agreement says of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from labeling.agreement_report import DISCARDED, agreement_report
from labeling.conflicts import open_conflicts
from labeling.review_queue import review_queue
from labeling.untrusted_text import one_line, visible
from store.database import Store
from store.disputes import disputes
from store.policies import Policy, add_policy
from store.reviews import Review, add_reviews, carry_reviews
from store.workspace import ReviewSettings
from tests.labelled_store import review_pairs
from tests.reviewing import fill, judge, large_log, pair

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def _say(
    store: Store,
    policy: Policy,
    who: str,
    label: str | None,
    *,
    about: str,
    minute: int = 0,
    stream: str = "targeted",
    note: str | None = None,
) -> None:
    told = {"reviewed_at": NOON + timedelta(minutes=minute), "stream": stream, "note": note}
    review_pairs(store, policy, {about: label}, reviewer=who, **told)


def _open(store: Store, policy: Policy) -> list[str]:
    assert [c.dispute for c in open_conflicts(store, policy)] == [d for d in disputes(store, policy) if d.open]
    return [dispute.pair_id for dispute in disputes(store, policy) if dispute.open]


def test_different_answers_are_a_conflict_until_somebody_adjudicates(store: Store) -> None:
    policy, disputed, agreed = fill(store), pair(1, 2), pair(1, 3)
    for who, label in (("ann", "answers"), ("bob", "related")):
        _say(store, policy, who, label, about=disputed, note=f"{who}'s note")
        _say(store, policy, who, "related", about=agreed)
    assert _open(store, policy) == [disputed]
    (found,) = disputes(store, policy)
    assert [(a.reviewer, a.label, a.note) for a in found.answers] == [
        ("ann", "answers", "ann's note"),
        ("bob", "related", "bob's note"),
    ]
    assert found.anchor.startswith("How do I keep")
    assert found.chunk.startswith("Drying a starter")
    _say(store, policy, "eve", "answers", about=disputed, minute=5, stream="adjudication")
    assert _open(store, policy) == []
    (found,) = disputes(store, policy)
    assert found.adjudication is not None
    assert (found.adjudication.reviewer, found.adjudication.label, found.adjudications) == ("eve", "answers", 1)


def test_a_discard_against_a_label_is_a_conflict_and_two_discards_are_none(store: Store) -> None:
    policy = fill(store)
    _say(store, policy, "ann", None, about=pair(1, 2))
    _say(store, policy, "bob", None, about=pair(1, 2))
    _say(store, policy, "ann", None, about=pair(1, 3))
    _say(store, policy, "bob", "related", about=pair(1, 3))
    assert _open(store, policy) == [pair(1, 3)]


def test_reviewers_who_come_to_agree_end_the_conflict(store: Store) -> None:
    policy = fill(store)
    _say(store, policy, "ann", "answers", about=pair(1, 2))
    _say(store, policy, "bob", "related", about=pair(1, 2))
    _say(store, policy, "bob", "answers", about=pair(1, 2), minute=1)
    assert _open(store, policy) == []


@pytest.mark.parametrize(
    ("who", "label", "minute", "reopens"),
    [
        ("cyd", "unrelated", 10, True),  # a new voice against the adjudicator
        ("ann", "unrelated", 10, True),  # an old one that says something new
        ("cyd", "answers", 10, False),  # agrees with the adjudicator
        ("bob", "related", 10, False),  # says again what the adjudicator has read
        ("cyd", "unrelated", 3, False),  # was said before the adjudication, and came home later
    ],
)
def test_only_a_new_answer_against_the_adjudicator_reopens(
    store: Store, who: str, label: str, minute: int, reopens: bool
) -> None:
    policy, about = fill(store), pair(1, 2)
    _say(store, policy, "ann", "answers", about=about)
    _say(store, policy, "bob", "related", about=about)
    _say(store, policy, "eve", "answers", about=about, minute=5, stream="adjudication")
    first = disputes(store, policy)[0]
    _say(store, policy, who, label, about=about, minute=minute)
    assert _open(store, policy) == ([about] if reopens else [])
    if not reopens:
        return
    (conflict,) = open_conflicts(store, policy)
    assert conflict.record_id != about, "its first record in Argilla is answered, so it needs another"
    assert conflict.earlier[-1].reviewer == "eve (adjudicated)"
    _say(store, policy, "eve", "answers", about=about, minute=20, stream="adjudication")
    assert _open(store, policy) == []
    assert disputes(store, policy)[0].adjudications == first.adjudications + 1


def test_an_adjudication_under_another_question_settles_nothing_here(store: Store) -> None:
    policy, about = fill(store), pair(1, 2)
    _say(store, policy, "ann", "answers", about=about)
    _say(store, policy, "bob", "related", about=about)
    elsewhere = Review(
        pair_id=about,
        labelling_fingerprint="labelling_other",
        reviewer="eve",
        status="submitted",
        label="answers",
        stream="adjudication",
        reviewed_at=NOON + timedelta(minutes=9),
        origin="test",
    )
    add_reviews(store, [elsewhere])
    assert _open(store, policy) == [about]


def test_a_settled_conflict_that_is_carried_to_a_new_question_stays_settled(store: Store) -> None:
    policy, about = fill(store), pair(1, 2)
    _say(store, policy, "ann", "answers", about=about)
    _say(store, policy, "bob", "related", about=about, minute=1)
    _say(store, policy, "bob", "related", about=about, minute=5, stream="adjudication")
    edited, _ = add_policy(store, replace(policy, question="Does it tell how to do it?"))
    labels = {label.name: label.name for label in policy.labels}
    for _ in range(2):
        carry_reviews(
            store,
            old_fingerprint=policy.labelling_fingerprint,
            new_fingerprint=edited.labelling_fingerprint,
            labels=labels,
        )
    (found,) = disputes(store, edited)
    assert [(a.reviewer, a.label) for a in found.answers] == [("ann", "answers"), ("bob", "related")]
    assert (found.open, found.adjudications) == (False, 1)


def test_the_report_keeps_streams_apart_and_adjudications_out(store: Store) -> None:
    policy = fill(store, large_log(8, 3))
    pairs = [row["pair_id"] for row in store.rows("SELECT pair_id FROM candidate_pairs ORDER BY pair_id")]
    for place, about in enumerate(pairs):
        stream = "audit" if place % 2 else "targeted"
        _say(store, policy, "ann", "answers", about=str(about), stream=stream)
        _say(store, policy, "bob", "answers" if place % 4 else "related", about=str(about), stream=stream)
        _say(store, policy, "eve", "unrelated", about=str(about), stream="adjudication", minute=9)
    report = agreement_report(store, policy, resolution="majority")
    assert list(report.streams) == ["all", "audit", "targeted"]
    assert [report.streams[s].pairs for s in report.streams] == [24, 12, 12]
    assert [report.streams[s].coefficients["raw agreement"].value for s in report.streams] == [0.75, 1.0, 0.5]
    assert set(report.streams["all"].reviewers) == {"ann", "bob"}
    assert report.together[0][:4] == ("ann", "bob", 24, 6)
    assert (report.disputes, report.open_disputes) == (6, 0)
    (confusion,) = report.confusions
    assert confusion[:4] == ("answers", "related", 6, 6)
    assert len(confusion.examples) == 3


def test_what_is_confused_most_comes_first_and_a_discard_counts(store: Store) -> None:
    policy = fill(store)
    answers = {
        (1, 2): ("answers", "related", "related"),
        (1, 3): ("answers", "related", None),
        (2, 2): ("answers", "unrelated", "answers"),
    }
    for (query, rank), labels in answers.items():
        for who, label in zip(("ann", "bob", "cyd"), labels, strict=True):
            _say(store, policy, who, label, about=pair(query, rank))
    found = agreement_report(store, policy, resolution="majority").confusions
    assert [(c.one, c.other, c.times, c.pairs) for c in found] == [
        ("answers", "related", 3, 2),
        ("answers", "unrelated", 2, 1),
        (DISCARDED, "answers", 1, 1),
        (DISCARDED, "related", 1, 1),
    ]


def test_the_judge_is_compared_on_the_blind_random_sample_only(store: Store) -> None:
    policy = fill(store, large_log(6, 4))
    queue = review_queue(store, policy, ReviewSettings(audit_share=0.5))
    audit = [q.pair.pair_id for q in queue if q.stream == "audit"]
    targeted = [q.pair.pair_id for q in queue if q.stream == "targeted"]
    assert len(audit) > 4
    assert len(targeted) > 4
    judge(store, policy, dict.fromkeys(targeted + audit[:-1], "answers"))
    for about in targeted:
        _say(store, policy, "ann", "answers", about=about)  # saw the suggestion
    _say(store, policy, "ann", "related", about=audit[0], stream="audit")
    for about in audit[1:]:
        _say(store, policy, "ann", "answers", about=about, stream="audit")
    _say(store, policy, "bob", "related", about=audit[1], stream="audit")  # a tie: people have no label
    _say(store, policy, "cyd", "related", about=audit[2], stream="imported")  # nobody knows what cyd saw
    report = agreement_report(store, policy, resolution="majority").judge
    assert (report.audited, report.unsettled, report.unjudged) == (len(audit) - 1, 1, 1)
    assert report.agreement.pairs == len(audit) - 3
    assert report.agreement.coefficients["raw agreement"].value == pytest.approx(1 - 1 / (len(audit) - 3))
    assert set(report.agreement.reviewers) == {"people", "judge"}


def test_without_reviews_the_report_says_what_is_missing(store: Store) -> None:
    report = agreement_report(store, fill(store), resolution="strict")
    assert {e.reason for e in report.streams["all"].coefficients.values()} == {"no answers"}
    assert {e.reason for e in report.judge.agreement.coefficients.values()} == {"no answers"}
    assert not report.confusions


# --------------------------------------------------------------------------------------------------- untrusted texts


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x202E, 0x2066, 0xFEFF, 0xE0041])
def test_no_control_or_direction_mark_reaches_the_terminal(code: int) -> None:
    shown = visible(f"a{chr(code)}[31mb")
    assert chr(code) == "\n" or chr(code) not in shown
    assert shown.endswith("[31mb")


def test_ordinary_text_of_any_script_stays_as_it_is() -> None:
    for text in ("naïve – “quoted”", "中文。", "हिन्दी क्‍ष", "عربي", "emoji 👩‍👩‍👧", "x\ny", "  indented"):
        assert visible(text) == text
    assert visible("a\tb\r\nc") == "a   b\nc"
    assert visible("\ud800") == "\ufffd"
    assert one_line("a\n\x1b[2J  b", 40) == "a ␛[2J b"
    assert one_line("abcdef", 4) == "abc…"
