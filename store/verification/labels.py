"""Whether the views say what the evidence says: labels worked out again, in plain Python, from reviews and judgments.

It reads row by row what the schema says in SQL, and shares nothing with it, so that a mistake in one is seen by the
other.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from store.database import Store
from store.labels import Resolution
from store.verification.problems import Checked, Problem

_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)
_RULES: tuple[Resolution, ...] = ("majority", "strict", "adjudicated")


class Answer(NamedTuple):
    """What of a review decides a label."""

    review_id: str
    reviewer: str
    label: str | None
    stream: str
    reviewed_at: datetime
    recorded_at: datetime


class Settled(NamedTuple):
    """What people settled about a pair, by each rule; None: nothing."""

    majority: str | None
    strict: str | None
    adjudicated: str | None


def settle(answers: Sequence[Answer]) -> Settled:
    """Work out what people settled about one pair under one question."""
    newest: dict[tuple[str, bool], Answer] = {}
    for answer in sorted(answers, key=lambda a: a.review_id, reverse=True):  # of equals the smallest id stands
        key = (answer.reviewer, answer.stream == "adjudication")
        if key not in newest or _later(answer, newest[key]):
            newest[key] = answer
    votes = [answer.label for (_, adjudicates), answer in newest.items() if not adjudicates]
    decided = sorted((a for (_, adjudicates), a in newest.items() if adjudicates), key=lambda a: a.review_id)
    decision = max(decided, key=lambda a: (a.reviewed_at, a.recorded_at), default=None)
    counted = Counter(label for label in votes if label is not None).most_common(2)
    most = counted[0][0] if counted and (len(counted) == 1 or counted[0][1] > counted[1][1]) else None
    agreed = votes[0] if votes and len(set(votes)) == 1 else None
    disagree = len(set(votes)) != 1
    return Settled(
        decision.label if decision else most,
        agreed,
        (decision.label if decision else None) if disagree else agreed,
    )


def _later(one: Answer, other: Answer) -> bool:
    return (one.reviewed_at, one.recorded_at) >= (other.reviewed_at, other.recorded_at)


def check_human_labels(store: Store) -> Checked:
    """Compare what people settled, worked out here, with the view."""
    problems: list[Problem] = []
    seen = 0
    for pair, fingerprint, answers, view in _reviewed_pairs(store):
        seen += 1
        settled = settle(answers)
        problems += [
            Problem("human_labels", f"{pair} under {fingerprint}", f"by {rule}", str(mine), str(theirs))
            for rule, mine, theirs in zip(_RULES, settled, view, strict=True)
            if mine != theirs
        ]
    return Checked("people's labels", seen, tuple(problems))


def _reviewed_pairs(store: Store) -> Iterator[tuple[str, str, list[Answer], Settled]]:
    rows = _rows(
        store,
        """
        SELECT pair_id, labelling_fingerprint, majority, strict, adjudicated,
               review_id, reviewer, reviews.label, stream, reviewed_at, recorded_at
        FROM reviews LEFT JOIN human_labels USING (pair_id, labelling_fingerprint)
        ORDER BY pair_id, labelling_fingerprint
        """,
    )
    for (pair, fingerprint), group in groupby(rows, key=itemgetter(0, 1)):
        found = list(group)
        yield pair, fingerprint, [Answer(*row[5:]) for row in found], Settled(*found[0][2:5])


def check_judges_labels(store: Store) -> Checked:
    """Compare the judgment that counts for each pair, worked out here, with the view."""
    problems: list[Problem] = []
    seen = 0
    rows = _rows(
        store,
        """
        SELECT pair_id, labelling_fingerprint, current_judgments.judgment_id AS counts,
               judgments.judgment_id, judgments.judged_at, started_at, stage
        FROM judgments LEFT JOIN judge_stages USING (labelling_fingerprint, judge_id)
        LEFT JOIN current_judgments USING (pair_id, labelling_fingerprint)
        WHERE judgments.label IS NOT NULL ORDER BY pair_id, labelling_fingerprint
        """,
    )
    for (pair, fingerprint), group in groupby(rows, key=itemgetter(0, 1)):
        found = sorted(group, key=itemgetter(3))
        seen += 1
        counts = max(found, key=lambda row: (row[5] or _LONG_AGO, row[6] or 0, row[4]))
        if counts[3] != counts[2]:
            row_of = f"{pair} under {fingerprint}"
            problems.append(Problem("current_judgments", row_of, "which counts", counts[3], str(counts[2])))
    return Checked("judges' labels", seen, tuple(problems))


def check_builds(store: Store) -> Iterator[Checked]:
    """Check that each build holds the labels that the evidence gave when it was made, and count those given anew since.

    A label that people gave is worked out from the reviews that were there then. For one of a judge some judgment must
    stand, since the order in which judges count is not kept for the past.
    """
    builds = store.rows(
        """
        SELECT build_id, built_at, settings ->> '$.resolution' AS resolution, any_value(labelling_fingerprint) AS asked
        FROM builds LEFT JOIN policies USING (policy_id) GROUP BY ALL ORDER BY built_at
        """
    )
    for build in builds:
        problems: list[Problem] = []
        labels = changed = 0
        for pair, frozen, source, answers, judged in _built(store, str(build["build_id"]), str(build["asked"])):
            labels += 1
            then = [answer for answer in answers if answer.recorded_at <= build["built_at"]]  # type: ignore[operator]
            place = f"{pair} of {build['build_id']}"
            rule = _RULES.index(str(build["resolution"]))
            if source in ("human", "propagated"):
                settled = settle(then)[rule] if then else None
                changed += settled != settle(answers)[rule] if answers else settled is not None
                if settled != frozen:
                    what = "not what people had said by then"
                    problems.append(Problem("build_labels", place, what, str(settled), frozen))
            elif frozen not in judged:
                what = "no judge ever said so"
                problems.append(Problem("build_labels", place, what, ", ".join(sorted(judged)) or "None", frozen))
        why = f"{changed} labels are others by now; a new build would use those" if changed else None
        yield Checked(f"labels of {build['build_id']}", labels, tuple(problems), why=why)


def _built(
    store: Store, build_id: str, fingerprint: str
) -> Iterator[tuple[str, str, str, list[Answer], frozenset[str]]]:
    """Yield pair, label, source, the reviews behind it, and the labels that judges gave the pair."""
    rows = _rows(
        store,
        """
        WITH frozen AS (
            SELECT pair_id, label AS frozen, source, coalesce(propagated_from, pair_id) AS asked
            FROM build_labels WHERE build_id = $build
        ), judged AS (
            SELECT pair_id, list(DISTINCT label) AS judged FROM judgments SEMI JOIN frozen USING (pair_id)
            WHERE labelling_fingerprint = $fingerprint AND label IS NOT NULL GROUP BY pair_id
        )
        SELECT frozen.pair_id, frozen, source, judged,
               review_id, reviewer, label, stream, reviewed_at, recorded_at
        FROM frozen LEFT JOIN judged USING (pair_id) LEFT JOIN (
            FROM reviews WHERE labelling_fingerprint = $fingerprint
        ) AS reviews ON reviews.pair_id = asked
        ORDER BY frozen.pair_id
        """,
        {"build": build_id, "fingerprint": fingerprint},
    )
    for pair, group in groupby(rows, key=itemgetter(0)):
        found = list(group)
        answers = [Answer(*row[4:]) for row in found if row[4] is not None]
        yield pair, found[0][1], found[0][2], answers, frozenset(found[0][3] or ())


def _rows(store: Store, sql: str, parameters: dict[str, object] | None = None) -> Iterable[tuple]:  # type: ignore[type-arg]
    for batch in store.batches(sql, parameters or {}):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
