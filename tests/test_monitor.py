"""Precision over time of real traffic in a real store, judged by a real HTTP endpoint."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commands.monitoring import _print_agenda
from labeling.monitor import check_segments, draw_and_judge, estimate_monitoring, period_of, report
from labeling.monitor_plot import draw
from mining.candidates import mine
from printing import Output
from store.database import Store
from store.errors import MissingError, UsageError
from store.ids import anchor_id, chunk_id, pair_id
from store.interactions import Interaction, Retrieved, Signal, add_interactions
from store.policies import Policy, add_policy
from store.review_streams import draw_streams
from store.reviews import Review, add_reviews
from store.workspace import JudgeSettings, Price
from tests.judge_stub import Call, Response, Stub, completion, failing, labelled, serving
from tests.judging import POLICY

MONDAY = datetime(2026, 11, 2, 9, tzinfo=UTC)
DEPTH = 4


def asked(
    query: str,
    relevant: Sequence[bool],
    *,
    day: int = 0,
    source: str | None = None,
    extra: str = "{}",
    score: float = 0.5,
    documents: Sequence[str] = (),
) -> Interaction:
    """An interaction whose chunks say which of them help."""
    chunks = tuple(
        Retrieved(
            f"{query}-{rank}",
            rank,
            f"{'good' if good else 'bad'} answer {rank} to {query}",
            score=score / rank,
            document=documents[rank - 1] if documents else None,
        )
        for rank, good in enumerate(relevant, 1)
    )
    signals = (Signal("cited", chunks[0].external_id),) if chunks else ()
    moment = MONDAY + timedelta(days=day)
    return Interaction(query, chunks, signals, 1, source=source, happened_at=moment, extra=extra)


def judge_by_word(call: Call) -> Response:
    return labelled("helps" if call.texts["candidate"].startswith("good") else "does-not-help")


def log(store: Store, *interactions: Interaction) -> Policy:
    with store.transaction():
        add_interactions(store, interactions, import_id="test")
    policy, _ = add_policy(store, POLICY)
    mine(store, policy)
    return policy


def weeks(per_week: int = 6) -> list[Interaction]:
    """Two weeks: in the first three of four chunks help, in the second one."""
    first = [asked(f"first question {n}", (True, True, True, False), day=n % 7) for n in range(per_week)]
    second = [asked(f"second question {n}", (True, False, False, False), day=7 + n % 7) for n in range(per_week)]
    return first + second


def monitor(store: Store, policy: Policy, stub: Stub, *, share: float = 1.0, budget: float | None = None):  # noqa: ANN201
    settings = JudgeSettings(model="m", base_url=stub.url)
    prices = {"m": Price(input=100.0, output=100.0)}
    return draw_and_judge(store, policy, settings, prices, share=share, depth=DEPTH, budget_usd=budget)


def test_precision_is_told_by_week_with_an_interval(store: Store) -> None:
    policy = log(store, *weeks())
    with serving(judge_by_word) as stub:
        run = monitor(store, policy, stub)
    assert (run.new_traffic, run.drawn, run.not_mined) == (12, 12, 0)
    found = report(store, policy, depth=DEPTH)
    assert [(p.name, p.interactions, p.measured) for p in found.periods] == [("2026-11-02", 6, 6), ("2026-11-09", 6, 6)]
    assert [p.precision.value for p in found.periods] == [0.75, 0.25]
    assert found.overall.precision.value == 0.5
    assert found.overall.precision.low is not None
    assert found.overall.precision.high is not None
    assert found.overall.precision.low < 0.5 < found.overall.precision.high
    assert found.overall.none_relevant == 0.0
    assert len(found.judges) == 1


def test_a_second_run_draws_and_judges_nothing_twice_and_takes_what_is_new(store: Store) -> None:
    policy = log(store, *weeks())
    with serving(judge_by_word) as stub:
        monitor(store, policy, stub)
        calls = len(stub.calls)
        before = report(store, policy, depth=DEPTH)
        again = monitor(store, policy, stub)
        assert (again.new_traffic, again.drawn, again.judged) == (0, 0, None)
        assert report(store, policy, depth=DEPTH) == before
        log(store, asked("a third week", (False, False), day=14))
        more = monitor(store, policy, stub)
        assert (more.new_traffic, more.drawn) == (1, 1)
        assert len(stub.calls) == calls + 2
    assert len(report(store, policy, depth=DEPTH).periods) == 3


def test_the_draw_is_random_is_kept_and_can_be_repeated(store: Store) -> None:
    policy = log(store, *weeks(100))
    with serving(judge_by_word) as stub:
        run = monitor(store, policy, stub, share=0.1)
    assert 5 <= run.drawn <= 40
    rows = store.rows("FROM monitored")
    assert len(rows) == 200
    (seed,) = {str(row["seed"]) for row in rows}
    import hashlib

    for row in rows:
        digits = hashlib.md5(f"{seed}{row['interaction_id']}".encode()).hexdigest()[:8]
        assert row["drawn"] == (int(digits, 16) / 2**32 < 0.1)


def test_a_larger_share_draws_from_older_traffic_too_and_a_smaller_one_takes_nothing_back(store: Store) -> None:
    policy = log(store, *weeks())
    with serving(judge_by_word) as stub:
        none = monitor(store, policy, stub, share=0.0)
        assert (none.new_traffic, none.drawn) == (12, 0)
        some = monitor(store, policy, stub, share=0.5).drawn
        assert monitor(store, policy, stub, share=0.5).drawn == 0
        assert some + monitor(store, policy, stub, share=1.0).drawn == 12
        assert monitor(store, policy, stub, share=0.1).drawn == 0
    assert report(store, policy, depth=DEPTH).overall.measured == 12


def test_a_dry_run_keeps_nothing_and_tells_the_very_draw_from_the_second_run_on(store: Store) -> None:
    policy = log(store, *weeks(20))
    settings = JudgeSettings(model="m", base_url="http://127.0.0.1:9/v1")
    first = estimate_monitoring(store, policy, settings, {}, share=1.0, depth=DEPTH)
    assert (first.new_traffic, first.drawn, first.stages[0].pairs) == (40, 40, 160)
    assert store.count("SELECT count(*) FROM monitored") == 0
    with serving(judge_by_word) as stub:
        monitor(store, policy, stub)
        log(store, *(asked(f"later question {n}", (True, False), day=14) for n in range(40)))
        told = estimate_monitoring(store, policy, settings, {}, share=0.3, depth=DEPTH)
        run = monitor(store, policy, stub, share=0.3)
    assert run.drawn == told.drawn
    assert run.judged is not None
    assert run.judged.judged == told.stages[0].pairs


def test_a_budget_stops_it_and_the_rest_waits_unmeasured(store: Store) -> None:
    policy = log(store, *weeks())
    with serving(judge_by_word) as stub:
        run = monitor(store, policy, stub, budget=1.5)
        assert run.judged is not None
        assert run.judged.budget_spent
        partly = report(store, policy, depth=DEPTH)
        assert 0 < partly.overall.measured < partly.overall.interactions == 12
        monitor(store, policy, stub)
        assert len(stub.calls) == 48
    assert report(store, policy, depth=DEPTH).overall.measured == 12


def test_an_answer_that_cannot_be_used_leaves_its_chunk_out_and_one_that_never_came_is_asked_again(
    store: Store,
) -> None:
    policy = log(store, asked("how to", (True, True, False)))

    def faulty(call: Call) -> Response:
        if "answer 1" in call.texts["candidate"]:
            return completion("no JSON here")
        if "answer 2" in call.texts["candidate"] and len(stub.calls) < 6:
            return failing(500)
        return judge_by_word(call)

    with serving(faulty) as stub:
        monitor(store, policy, stub)
        assert report(store, policy, depth=DEPTH).overall.measured == 0
        monitor(store, policy, stub)
    found = report(store, policy, depth=DEPTH)
    assert found.overall.precision.value == 0.5, "of two labelled chunks one helps; the malformed answer is no label"


def test_a_chunk_that_repeats_a_cited_one_has_its_label_and_is_not_asked_about(store: Store) -> None:
    first = asked("how to", (True, False))
    text = first.retrieved[0].text
    twin = Retrieved("twin", 3, text.upper())
    policy = log(store, replace(first, retrieved=(*first.retrieved, twin)))
    with serving(judge_by_word) as stub:
        monitor(store, policy, stub)
        assert len(stub.calls) == 2
    assert report(store, policy, depth=DEPTH).overall.precision.value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("length", ["1 to 3 words", "4 to 8 words", "9 words or more"]),
        ("source", ["shop", "wiki", "not given"]),
        ("language", ["de", "en", "not given"]),
    ],
)
def test_kinds_of_query_are_told_apart(store: Store, by: str, names: list[str]) -> None:
    policy = log(
        store,
        asked("two words", (True,), source="shop", extra=json.dumps({"language": "de"})),
        asked("just a few words more", (False,), source="wiki", extra=json.dumps({"language": "en"})),
        asked("and this one is so long that nobody would type it at all", (True,)),
    )
    with serving(judge_by_word) as stub:
        monitor(store, policy, stub)
    found = report(store, policy, depth=DEPTH, by=by)
    assert [segment.name for segment in found.segments] == names
    assert sum(segment.interactions for segment in found.segments) == 3
    assert set(found.by_segment) == set(names)


def test_a_kind_that_no_log_tells_is_refused_with_those_that_it_tells(store: Store) -> None:
    log(store, asked("two words", (True,), extra=json.dumps({"language": "de", "retrieved": {"1": {"lang": "x"}}})))
    for by in ("length", "source", "language"):
        check_segments(store, by)
    with pytest.raises(UsageError, match=r"did you mean language\? \(there are length, source, language\)") as refused:
        check_segments(store, "langauge")
    assert refused.value.hint


def test_many_kinds_are_cut_to_the_largest(store: Store) -> None:
    log_lines = [asked(f"question {n}", (True,), source=f"s{n % 12}") for n in range(30)]
    policy = log(store, *log_lines)
    with serving(judge_by_word) as stub:
        monitor(store, policy, stub)
    segments = report(store, policy, depth=DEPTH, by="source").segments
    assert len(segments) == 9
    assert segments[-1].name == "others"
    assert sum(segment.interactions for segment in segments) == 30


def test_the_agenda_names_queries_and_documents_that_are_poor(store: Store) -> None:
    good = [asked(f"fine query {n}", (True, True), score=0.9 + n / 1000) for n in range(20)]
    poor = [
        asked("finds nothing that helps", (False, False), score=0.8),
        asked("finds little", (True, False, False, False), score=0.9),
        asked("finds no chunk at all", ()),
        asked("badly matched", (True, True), score=0.1),
    ]
    useless = [
        asked(f"query of a document {n}", (True, False), documents=(f"own {n}", "terms of use"), score=1.0)
        for n in range(4)
    ]
    policy = log(store, *good, *poor, *useless)
    with serving(judge_by_word) as stub:
        monitor(store, policy, stub)
    found = report(store, policy, depth=DEPTH)
    why = {query.query: query.why for query in found.agenda.queries}
    assert why == {
        "finds nothing that helps": "no relevant chunk, low scores",
        "finds no chunk at all": "nothing retrieved",
        "finds little": "poor precision",
        "badly matched": "low scores",
    }
    assert [query.relevant for query in found.agenda.queries[:2]] == [0, 0], "the worst first"
    (document,) = found.agenda.documents
    assert (document.document, document.why, document.queries, document.relevant, document.score) == (
        "terms of use",
        "never relevant",
        4,
        0,
        0.5,
    )
    assert found.overall.none_relevant == pytest.approx(2 / 28)


@pytest.mark.parametrize(("documents", "named"), [(20, ["document 7"]), (19, [])])
def test_the_agenda_names_documents_that_score_low_in_their_source(
    store: Store, capsys: pytest.CaptureFixture[str], documents: int, named: list[str]
) -> None:
    """All scores of `bm25` are lower than any of `dense`, in which one document lies below the others."""
    words = ("first", "second", "third")
    dense = [
        asked(
            f"{word} query {n}",
            (True,),
            documents=(f"document {n}",),
            source="dense",
            score=(0.3 if n == 7 else 0.8) - times / 100,
        )
        for n in range(documents)
        for times, word in enumerate(words)
    ]
    bm25 = [
        asked(f"{word} word {n}", (True,), documents=(f"page {n}",), source="bm25", score=0.01)
        for n in range(20)
        for word in words
    ]
    once = asked("asked of it once", (True,), documents=("rare",), source="dense", score=0.02)
    policy = log(store, *dense, *bm25, once)
    with serving(judge_by_word) as stub:
        monitor(store, policy, stub)
    found = report(store, policy, depth=DEPTH)
    assert [document.document for document in found.agenda.documents] == named
    for document in found.agenda.documents:
        assert (document.why, document.queries, document.relevant) == ("low scores", 3, 3)
        assert (document.score, document.example) == (pytest.approx(0.29), "third query 7")
        _print_agenda(Output(as_json=False, quiet=False), found)
        assert "0.290" in capsys.readouterr().out


def test_beside_it_stands_how_often_the_judge_is_wrong_where_an_audit_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # DuckDB names its queries by the random numbers that conftest repeats, so their count decides the draw otherwise.
    monkeypatch.setattr("store.review_streams.audit_seed", lambda store, policy: "a seed")
    policy = log(store, *weeks(20))

    def lenient(call: Call) -> Response:
        """Takes every bad answer of rank 2 for a good one."""
        says = call.texts["candidate"]
        return labelled("helps" if says.startswith("good") or "answer 2" in says else "does-not-help")

    with serving(lenient) as stub:
        monitor(store, policy, stub)
    unknown = report(store, policy, depth=DEPTH)
    assert (unknown.judge, unknown.assisted) == (None, None)
    rows = store.rows(
        """
        SELECT pair_id, chunks.text AS chunk FROM candidate_pairs JOIN chunks USING (chunk_id)
        WHERE duplicate_of IS NULL ORDER BY pair_id
        """
    )
    drawn = [str(row["pair_id"]) for row in rows]
    draw_streams(store, policy, drawn, audit_share=0.5)
    audit = {str(row["pair_id"]) for row in store.rows("FROM review_streams WHERE stream = 'audit'")}
    now = datetime.now(UTC)
    add_reviews(
        store,
        [
            Review(
                pair_id=str(row["pair_id"]),
                labelling_fingerprint=policy.labelling_fingerprint,
                reviewer="ann",
                status="submitted",
                label="helps" if str(row["chunk"]).startswith("good") else "does-not-help",
                stream="audit",
                reviewed_at=now,
                origin="test",
            )
            for row in rows
            if str(row["pair_id"]) in audit
        ],
    )
    found = report(store, policy, depth=DEPTH)
    assert found.judge is not None
    assert found.assisted is not None
    truth = sum(str(row["chunk"]).startswith("good") for row in rows) / len(rows)
    best = found.assisted.relevant.assisted or found.assisted.relevant.plain
    assert best.low <= truth <= best.high
    assert found.judge.wrong.plain.value > 0.05
    assert found.overall.precision.value is not None
    assert found.overall.precision.value > truth, "the judge is lenient"


def test_only_mined_traffic_is_looked_at_and_the_rest_is_told_of(store: Store) -> None:
    policy = log(store, *weeks())
    with store.transaction():
        add_interactions(store, [asked("not mined yet", (True,))], import_id="later")
    with serving(judge_by_word) as stub:
        run = monitor(store, policy, stub)
        assert (run.new_traffic, run.not_mined) == (12, 1)
        mine(store, policy)
        assert monitor(store, policy, stub).new_traffic == 1


def test_questions_that_a_model_wrote_are_no_traffic(store: Store) -> None:
    from tests.test_synthetic_marks import write

    policy = log(store, *weeks())
    first = weeks()[0]
    write(store, policy, "written by a model?", first.retrieved[0].text, "evaluation")
    with serving(judge_by_word) as stub:
        monitor(store, policy, stub)
    assert report(store, policy, depth=DEPTH).overall.interactions == 12
    written = pair_id(anchor_id("written by a model?"), chunk_id(first.retrieved[0].text))
    assert store.count("SELECT count(*) FROM judgments WHERE pair_id = ?", [written]) == 0


def test_without_traffic_the_next_command_is_named(store: Store) -> None:
    policy, _ = add_policy(store, POLICY)
    with pytest.raises(MissingError) as raised:
        monitor(store, policy, Stub("http://127.0.0.1:9/v1"))
    assert raised.value.hint == "uncited import FILE"
    with pytest.raises(MissingError) as raised:
        report(store, policy, depth=DEPTH)
    assert "--share 1" in str(raised.value.hint)


@pytest.mark.parametrize(("per", "name"), [("day", "2026-11-04"), ("week", "2026-11-02"), ("month", "2026-11-01")])
def test_a_period_is_named_by_its_first_day(per: str, name: str) -> None:
    assert period_of(datetime(2026, 11, 4, 23, 59, tzinfo=UTC), per) == name


@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_it_is_drawn(store: Store, tmp_path: Path, ending: str) -> None:
    policy = log(store, *weeks(), asked("quite a few words about $x$ and more", (True, False)))
    with serving(judge_by_word) as stub:
        monitor(store, policy, stub)
    file = tmp_path / f"precision{ending}"
    found = report(store, policy, depth=DEPTH)
    assert len(found.segments) == 2
    draw(found, file)
    first = file.read_bytes()
    assert first.startswith(b"\x89PNG" if ending == ".png" else b"<?xml")
    with pytest.raises(UsageError, match="cannot draw"):
        draw(found, tmp_path / "precision.nonsense")
