"""Evaluations that were never run, for tests of what is made of them."""

from collections.abc import Mapping, Sequence

from train.answers.chain import BASE, TUNED
from train.answers.comparison import AnswerComparison, Bill, Measured, compare_measured
from train.answers.ragas_metrics import METRICS as ANSWER_METRICS
from train.evaluation import (
    AtSize,
    Compared,
    Cost,
    Evaluation,
    Metric,
    Move,
    QueryResult,
    Ranking,
    RankShift,
    SeedSpread,
    ShownMove,
    Slice,
    Spread,
    System,
    Within,
)

METRICS = ("Accuracy@1", "MRR@10", "nDCG@10", "Recall@10")


def compared(value: float, low: float | None, high: float | None, verdict: str) -> Compared:
    return Compared(value, low, high, 0.01, 0.04, 20, 15, verdict)


def ranking(found: Compared, *, before: float = 0.61, highest: float | None = None) -> Ranking:
    values = {"base": before, "tuned": before + (found.value or 0)}
    at_most = {"base": highest, "tuned": highest} if highest else {}
    metrics = tuple(Metric(name, name == "nDCG@10", values, at_most, {"base": found}) for name in METRICS)
    return Ranking(24, 20, metrics, {"base": 0.9, "tuned": 0.85})


def evaluation(
    build_id: str,
    base_model: str,
    *,
    found: Compared = compared(0.031, 0.012, 0.050, "gain"),  # noqa: B008
    queries: Mapping[str, str] | None = None,
    moves: Sequence[tuple[str, str, int | None, int | None]] = (),
    shown: Sequence[ShownMove] = (),
    dimensions: Sequence[int] = (),
) -> Evaluation:
    """Make an evaluation of a tuned model against its base; `queries` are ids with texts."""
    measured = ranking(found)
    per_query = tuple(
        QueryResult(
            anchor_id,
            text,
            anchor_id,
            False,
            {name: {"nDCG@10": 0.2 + 0.1 * i + step} for name, step in (("base", 0.0), ("tuned", 0.05))},
            {},
        )
        for i, (anchor_id, text) in enumerate((queries or {}).items())
    )
    cost = Cost("cpu", 24, 12.5, 20.1, 1_536_000, 0.384)
    system = {"model_id": "x@1", "kind": "bi-encoder", "reorders": None, "dimensions": 384, "cost": cost}
    return Evaluation(
        build_id=build_id,
        policy="answers",
        subject="tuned",
        systems=(System("base", base_model, **system), System("tuned", "run", **system)),
        labelled=measured,
        collection=ranking(found, before=0.4, highest=0.9),
        synthetic=None,
        sizes=tuple(AtSize(n, n * 4000, measured, measured, n / 1000) for n in dimensions),
        slices=(Slice("query length", "short", measured),),
        per_query=per_query,
        rank_shift=RankShift(
            "base",
            "tuned",
            tuple(Move(*move) for move in moves),
            5.0,
            2.0,
            (Within(10, 12, 15, 4, 1),),
            tuple(shown),
            tuple(shown[:1]),
        )
        if moves
        else None,
        seeds=SeedSpread(("x@1", "y@1"), "base", {"nDCG@10": Spread((0.02, 0.04), 0.03, 0.014, 0.02, 0.04)}),
        labels=352,
        human_share=1.0,
        left_out=2,
        pool=1178,
        warnings=("The judge that labelled the training set also labelled the test set.",),
        settings={},
    )


def answer_comparison(build_id: str, base_model: str) -> AnswerComparison:
    """Make a comparison of answers to twelve queries: a gain, a loss, a gain by less noise, and no claims."""
    wanted = [metric for metric in ANSWER_METRICS.values() if metric.name != "context_precision"]
    values: dict[str, list[tuple[float | None, float | None]]] = {
        "context_recall": [(0.3, 0.6 + i / 50) for i in range(12)],
        "context_entity_recall": [(0.6 + i / 50, 0.3) for i in range(12)],
        "faithfulness": [(0.9, 0.9 + (i % 3 - 1) / 20) for i in range(12)],
        "factual_correctness": [(None, 0.5)] * 12,
        "answer_relevancy": [(0.7, 0.7)] * 12,
        "noise_sensitivity": [(0.5 + i / 50, 0.2) for i in range(12)],
    }
    measured = tuple(
        Measured(
            f"anchor_{i}",
            f"group_{i}",
            {
                BASE: {name: of[i][0] for name, of in values.items()},
                TUNED: {name: of[i][1] for name, of in values.items()},
            },
            {"length": 1} if i == 0 else {},
        )
        for i in range(12)
    )
    return AnswerComparison(
        build_id=build_id,
        models={BASE: base_model, TUNED: "run"},
        llm="gpt-5-mini",
        base_url="https://api.openai.com/v1",
        ragas_version="0.3.1",
        k=5,
        queries=12,
        with_reference=11,
        same_chunks=2,
        metrics=compare_measured(measured, wanted),
        failures={"length": 1},
        bill=Bill(300, 24, 150_000, 9_000, 0.05, 0.0625),
        measured=measured,
    )
