"""The judge as a cascade: who is asked about what, and whose label counts."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from labeling.cross_encoder import label_at
from labeling.judge import JudgeResult, judge_candidates
from store.calibrations import judges_that_labelled, put_calibration
from store.database import Store
from store.errors import InvalidDataError, MissingError, UsageError
from store.labels import labelled_candidates
from store.policies import Policy
from store.workspace import JudgeSettings, create_workspace, open_workspace
from tests.judge_stub import Answer, Call, Response, chosen, completion, decision, labelled, serving
from tests.judging import POLICY, put_pairs

CHUNKS = [f"chunk {n}: turn the knob" for n in range(8)]


def cascade(store: Store, policy: Policy, *stages: dict[str, object], **options: object) -> JudgeResult:
    return judge_candidates(store, policy, JudgeSettings(stages=stages), {}, **options)


def by_number(labels: dict[int, Response]) -> Answer:
    """Answer by the number in the candidate; by default that it helps."""
    return lambda call: labels.get(int(call.texts["candidate"].split()[1].rstrip(":")), labelled("helps"))


def current(store: Store) -> dict[str, object]:
    rows = store.rows("FROM current_judgments JOIN pairs USING (pair_id) JOIN chunks USING (chunk_id)")
    return {str(row["text"]).split(":")[0]: row["label"] for row in rows}


def numbers(calls: list[Call]) -> list[int]:
    return sorted(int(call.texts["candidate"].split()[1].rstrip(":")) for call in calls)


CHEAP = by_number(
    {
        0: labelled("unsure"),
        1: labelled("does-not-help"),
        2: completion("no JSON"),
        3: labelled("does-not-help"),
    }
)


@pytest.mark.parametrize(
    ("pass_on", "passed"),
    [
        ({"labels": ["unsure"]}, [0]),
        ({"labels": ["negative"]}, [1, 3]),
        ({"labels": ["excluded", "does-not-help"]}, [0, 1, 3]),
        ({"errors": True}, [2]),
        ({"labels": ["unsure"], "errors": True}, [0, 2]),
        ("all", [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_a_stage_is_asked_about_what_the_one_before_passes_on(store: Store, pass_on: object, passed: list[int]) -> None:
    policy = put_pairs(store, anchors=1, chunks=CHUNKS)
    with serving(CHEAP) as cheap, serving(lambda call: labelled("helps")) as strong:
        first = {"model": "cheap", "base_url": cheap.url, "pass_on": pass_on}
        second = {"model": "strong", "base_url": strong.url}
        result = cascade(store, policy, first, second)
        assert numbers(cheap.calls) == list(range(8))
        assert numbers(strong.calls) == passed
        assert [stage.passed_on for stage in result.stages] == [len(passed), None]
        assert cascade(store, policy, first, second).judged == 0  # nothing is asked twice
    # Both keep their judgments; the last that answered counts.
    assert store.count("SELECT count(*) FROM judgments") == 8 + len(passed)
    assert current(store)["chunk 1"] == ("helps" if 1 in passed else "does-not-help")


def test_a_later_stage_that_cannot_answer_leaves_the_label_of_the_earlier_one(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=CHUNKS)
    with serving(CHEAP) as cheap, serving(lambda call: completion("no JSON")) as strong:
        first = {"model": "cheap", "base_url": cheap.url, "pass_on": {"labels": ["negative"]}}
        result = cascade(store, policy, first, {"model": "strong", "base_url": strong.url})
    assert result.errors == {"malformed": 3}
    assert current(store)["chunk 1"] == "does-not-help"


def test_labels_come_from_the_judge_of_the_last_run_even_if_an_earlier_one_answered_later(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=CHUNKS)
    with serving(lambda call: labelled("helps")) as one, serving(lambda call: labelled("does-not-help")) as other:
        first = {"model": "one", "base_url": one.url, "pass_on": "all"}
        second = {"model": "other", "base_url": other.url}
        cascade(store, policy, first, second, limit=4)
        # The next pairs reach the first stage only now, after the second one has answered about others.
        cascade(store, policy, first, second)
        assert set(current(store).values()) == {"does-not-help"}
        judge_candidates(store, policy, JudgeSettings(model="one", base_url=one.url), {})
        assert set(current(store).values()) == {"helps"}
        assert len(one.calls) == len(CHUNKS)
    found = labelled_candidates(store, policy)
    assert set(found["label"].to_pylist()) == {"helps"}


def test_low_confidence_is_passed_on(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=CHUNKS)
    sure = {"1": 0.6, "2": 0.79}

    def answer(call: Call) -> Response:
        said = []
        for question in call.questions:
            p = sure.get(question["candidate"].split()[1].rstrip(":"), 0.95)
            said.append(chosen("helps", helps=p, unsure=1 - p))
        return decision(*said)

    with serving(answer) as cheap, serving(lambda call: labelled("does-not-help")) as strong:
        cascade(
            store,
            policy,
            {"kind": "decisions", "model": "luna", "base_url": cheap.url, "pass_on": {"confidence_below": 0.8}},
            {"model": "strong", "base_url": strong.url},
        )
    assert numbers(strong.calls) == [1, 2]


def _fit(store: Store, policy: Policy, confidence: str, worth: dict[float, float]) -> None:
    """Store a map that makes of a chance of relevance what `worth` says."""
    (judge_id,) = judges_that_labelled(store, policy)
    said, made = list(worth), list(worth.values())
    put_calibration(
        store,
        policy,
        judge_id,
        fitted_to=[worth.items()],
        method="isotonic",
        parameters={"said": said, "worth": made},
        report={"confidence": confidence},
    )


def test_a_map_fitted_to_people_decides_what_low_confidence_is(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=CHUNKS)
    sure = {"1": 0.6, "2": 0.79}

    def answer(call: Call) -> Response:
        found = [sure.get(question["candidate"].split()[1].rstrip(":"), 0.95) for question in call.questions]
        return decision(*(chosen("helps", helps=p, unsure=1 - p) for p in found))

    with serving(answer) as cheap, serving(lambda call: labelled("does-not-help")) as strong:
        first = {"kind": "decisions", "model": "luna", "base_url": cheap.url}
        judge_candidates(store, policy, JudgeSettings(**first), {})
        _fit(store, policy, "the endpoint's probabilities", {0.6: 0.9, 0.79: 0.95, 0.95: 0.7})
        passing = {**first, "pass_on": {"confidence_below": 0.8}}
        cascade(store, policy, passing, {"model": "strong", "base_url": strong.url})
    assert numbers(strong.calls) == [0, 3, 4, 5, 6, 7]


def test_a_map_gives_confidence_to_a_judge_that_has_no_probabilities(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=CHUNKS)
    with serving(CHEAP) as cheap, serving(lambda call: labelled("helps")) as strong:
        first = {"model": "cheap", "base_url": cheap.url}
        judge_candidates(store, policy, JudgeSettings(**first), {})
        # Of what it calls negative 4 in 10 are relevant; what it calls positive is nearly always so.
        _fit(store, policy, "the label alone", {0.0: 0.4, 1.0: 0.97})
        passing = {**first, "pass_on": {"confidence_below": 0.8}}
        cascade(store, policy, passing, {"model": "strong", "base_url": strong.url})
    assert numbers(strong.calls) == [1, 3]


def test_without_probabilities_a_limit_on_confidence_is_refused_before_the_next_stage_costs_anything(
    store: Store,
) -> None:
    policy = put_pairs(store, anchors=1, chunks=2)
    with serving(lambda call: labelled("helps")) as cheap, serving([]) as strong:
        first = {"model": "cheap", "base_url": cheap.url, "pass_on": {"confidence_below": 0.8}}
        with pytest.raises(UsageError, match=r"cheap gives no probabilities.*confidence_below = 0.8"):
            cascade(store, policy, first, {"model": "strong", "base_url": strong.url})
    assert store.count("SELECT count(*) FROM judgments") == 2


def test_a_limit_on_confidence_leaves_labels_alone_to_which_no_map_applies(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=2)
    with serving(lambda call: labelled("unsure")) as cheap, serving([]) as strong:
        first = {"model": "cheap", "base_url": cheap.url, "pass_on": {"confidence_below": 0.8}}
        assert cascade(store, policy, first, {"model": "strong", "base_url": strong.url}).stages[0].passed_on == 0


def test_a_random_share_is_passed_on_the_same_pairs_every_time(store: Store) -> None:
    policy = put_pairs(store, anchors=10, chunks=[f"chunk {n}: x" for n in range(30)])
    with serving(lambda call: labelled("helps")) as stub:
        first = {"model": "cheap", "base_url": stub.url, "concurrency": 32, "pass_on": {"random": 0.2}}
        one = cascade(store, policy, first, {"model": "a", "base_url": stub.url, "concurrency": 32})
        other = cascade(store, policy, first, {"model": "b", "base_url": stub.url, "concurrency": 32})
        asked = {model: [c.texts for c in stub.calls if c.body["model"] == model] for model in ("a", "b")}
    assert one.stages[0].passed_on == other.stages[0].passed_on == len(asked["a"])
    assert 30 <= len(asked["a"]) <= 90  # 60 expected of 300, sigma 7
    assert sorted(map(json.dumps, asked["a"])) == sorted(map(json.dumps, asked["b"]))


def test_stages_on_one_endpoint_share_its_pace(store: Store) -> None:
    policy = put_pairs(store, anchors=2, chunks=[f"chunk {n}: x" for n in range(12)])
    refused = []

    def answer(call: Call) -> Response:
        if call.body["model"] == "a" and len(stub.calls) == 20:
            refused.append(call)
            return Response(429, "{}", {"retry-after": "0.01"})
        return labelled("helps", delay_s=0.03)

    with serving(answer) as stub:
        first = {"model": "a", "base_url": stub.url, "concurrency": 8, "pass_on": "all"}
        result = cascade(store, policy, first, {"model": "b", "base_url": stub.url, "concurrency": 8})
        second = [call.arrived_at for call in stub.calls if call.body["model"] == "b"]
    assert refused
    assert result.judged == 48
    # Four at a time, or five: never eight within one answer's time.
    assert all(later - earlier > 0.025 for earlier, later in zip(second[1:9], second[7:15], strict=True))


def test_triage_as_a_stage_scores_and_passes_on_by_quantile(store: Store, minilm: str) -> None:
    chunks = ["Query number 0 asks this.", "Bread is baked.", "The query 0 again.", "Butter is churned from cream."]
    policy = put_pairs(store, anchors=1, chunks=chunks)
    with serving(lambda call: labelled("helps")) as stub:
        first = {"kind": "triage", "model": minilm, "pass_on": {"scores": [0.5, 1.0]}}
        result = cascade(store, policy, first, {"model": "m", "base_url": stub.url})
    assert sorted(stub.candidates) == ["Query number 0 asks this.", "The query 0 again."]
    scored, judged = result.stages
    assert (scored.judge_id, scored.scored, scored.judged, scored.passed_on) == (None, 4, 0, 2)
    assert judged.judged == 2
    assert store.count("SELECT count(*) FROM judgments") == 2
    assert store.count("SELECT count(*) FROM triage_scores") == 4


@pytest.fixture(scope="session")
def tiny_cross_encoder(minilm: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Real weights with an untrained head: its numbers mean nothing, but they are numbers."""
    from sentence_transformers import CrossEncoder

    folder = tmp_path_factory.mktemp("cross-encoder")
    CrossEncoder(minilm, num_labels=1).save_pretrained(str(folder))
    return str(folder)


def test_a_cross_encoder_labels_by_thresholds_and_scores_without(store: Store, tiny_cross_encoder: str) -> None:
    policy = put_pairs(store, anchors=2, chunks=3)
    scored = cascade(store, policy, {"kind": "cross-encoder", "model": tiny_cross_encoder})
    assert (scored.judged, scored.stages[0].scored) == (0, 6)
    thresholds = {"helps": 1.0, "unsure": 0.0001, "does-not-help": 0.0}
    stage = {"kind": "cross-encoder", "model": tiny_cross_encoder, "thresholds": thresholds}
    judged = cascade(store, policy, stage)
    assert judged.labels == {"unsure": 6}
    assert judged.cost_usd == 0
    (config,) = store.rows("SELECT config FROM judges")
    assert json.loads(str(config["config"]))["thresholds"] == thresholds
    assert Path(tiny_cross_encoder).parent.name not in str(config["config"])
    rows = store.rows("FROM judgments JOIN triage_scores USING (pair_id)")
    assert [json.loads(str(row["raw_answer"]))["probability"] for row in rows] == [row["score"] for row in rows]
    assert cascade(store, policy, stage).judged == 0


def test_a_probability_gets_the_label_with_the_highest_threshold_that_it_reaches() -> None:
    thresholds = {"off": 0.0, "helps": 0.8, "unsure": 0.2}
    assert [label_at(p, thresholds) for p in (0.0, 0.19, 0.2, 0.8, 1.0)] == ["off", "off", "unsure", "helps", "helps"]


def test_a_cross_encoder_that_is_not_there_is_named(store: Store, tmp_path: Path) -> None:
    put_pairs(store, anchors=1, chunks=1)
    with pytest.raises(MissingError, match="cannot load the cross-encoder"):
        cascade(store, POLICY, {"kind": "cross-encoder", "model": str(tmp_path / "none")})


@pytest.mark.parametrize(
    ("stages", "complaint"),
    [
        ([{"pass_on": "all"}], "is the last"),
        ([{}, {}], "needs pass_on"),
        ([{"pass_on": {}}, {}], "passes nothing on"),
        ([{"kind": "triage", "pass_on": {"labels": ["helps"]}}, {}], "gives scores, no labels"),
        ([{"pass_on": {"scores": [0, 1]}}, {}], "scores belong to"),
        ([{"kind": "triage", "pass_on": {"scores": [0.9, 0.1]}}, {}], "the lower one first"),
        ([{"kind": "cross-encoder", "thresholds": {"helps": 0.5}}], "one of them from 0 on"),
        ([{"thresholds": {"helps": 0.5, "off": 0}}], "belong to a cross-encoder"),
        ([{"kind": "oracle"}], "Input should be"),
    ],
)
def test_stages_that_do_not_fit_together_are_refused(stages: list[dict[str, object]], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        JudgeSettings.model_validate({"stages": stages})


@pytest.mark.parametrize("wrong", [{"pass_on": {"labels": ["answers"]}}, {"thresholds": {"answers": 0.5, "helps": 0}}])
def test_a_label_that_the_policy_does_not_have_is_named_with_those_it_has(
    store: Store, wrong: dict[str, object]
) -> None:
    policy = put_pairs(store, anchors=1, chunks=1)
    first = {"kind": "cross-encoder" if "thresholds" in wrong else "chat", "model": "m", "base_url": "http://a/v1"}
    stages = [first | wrong, {"model": "m", "base_url": "http://a/v1"}] if "pass_on" in wrong else [first | wrong]
    with pytest.raises(UsageError, match=r"stage 1 .*'answers'.*does-not-help, helps, unsure"):
        cascade(store, policy, *stages)


def test_stages_are_read_from_the_settings_file(tmp_path: Path) -> None:
    create_workspace(tmp_path)
    file = tmp_path / "uncited.toml"
    file.write_text(
        """
        [[judge.stages]]
        kind = "decisions"
        model = "gpt-6-luna"
        pass_on = { labels = ["positive", "unsure"], confidence_below = 0.8, errors = true, random = 0.05 }

        [[judge.stages]]
        model = "gpt-5"
        """
    )
    first, second = open_workspace(tmp_path).settings.judge.cascade
    assert (first.kind, second.kind, second.model) == ("decisions", "chat", "gpt-5")
    assert first.pass_on is not None
    assert first.pass_on.labels == ("positive", "unsure")
    file.write_text('[judge]\nmodel = "a"\n[[judge.stages]]\nmodel = "b"\n')
    with pytest.raises(InvalidDataError, match="nothing but"):
        open_workspace(tmp_path)
