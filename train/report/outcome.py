"""What came out, in one sentence with its certainty."""

from typing import Literal, NamedTuple

from train.evaluation import Evaluation, Metric
from train.report.contents import Report
from train.report.wording import number, signed

_HEADLINE = "nDCG@10"


class Outcome(NamedTuple):
    """`clear` is what may be said, `rest` what goes on from there; together they are a sentence."""

    verdict: Literal["gain", "loss", "none"]
    clear: str
    rest: str


def headline_metric(evaluation: Evaluation) -> Metric:
    """Return the metric over labelled chunks that the outcome is told by: nDCG@10, unless others alone were named."""
    named = [metric for metric in evaluation.labelled.metrics if metric.named_beforehand]
    of_choice = [metric for metric in named if metric.name == _HEADLINE]
    return next(iter([*of_choice, *named]), evaluation.labelled.metric(_HEADLINE))


def outcome(report: Report) -> Outcome:
    """Say whether training helped, by the headline metric over labelled chunks."""
    evaluation, base = report.evaluation, report.base
    if evaluation is None:
        return Outcome("none", "Trained, not evaluated", ": nobody knows yet whether it helped.")
    if base is None:
        return Outcome("none", "No claim", ": the model was compared with no other.")
    metric = headline_metric(evaluation)
    name, found = metric.name, metric.differences[base]
    if found.value is None or found.low is None or found.high is None:
        return Outcome(
            "none", "No claim", f": {evaluation.labelled.queries} test queries are too few to tell anything."
        )
    interval = f"{number(found.low)} to {number(found.high)}"
    if found.verdict == "gain":
        return Outcome("gain", f"{name} rose by {number(found.value)}", f" ({interval}).")
    if found.verdict == "loss":
        return Outcome(
            "loss", f"{name} fell by {number(-found.value)}", f" ({number(-found.high)} to {number(-found.low)})."
        )
    why = found.verdict.removeprefix("no claim").strip(" ()")
    return Outcome("none", "No claim", f": {name} changed by {signed(found.value)} ({interval}); {why}.")
