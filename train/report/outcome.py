"""What came out, in one sentence with its certainty."""

from typing import Literal, NamedTuple

from train.report.contents import Report
from train.report.wording import number, signed

HEADLINE = "nDCG@10"


class Outcome(NamedTuple):
    """`clear` is what may be said, `rest` what goes on from there; together they are a sentence."""

    verdict: Literal["gain", "loss", "none"]
    clear: str
    rest: str


def outcome(report: Report) -> Outcome:
    """Say whether training helped, by the headline metric over labelled chunks."""
    evaluation, base = report.evaluation, report.base
    if evaluation is None:
        return Outcome("none", "Trained, not evaluated", ": nobody knows yet whether it helped.")
    if base is None:
        return Outcome("none", "No claim", ": the model was compared with no other.")
    found = evaluation.labelled.metric(HEADLINE).differences[base]
    if found.value is None or found.low is None or found.high is None:
        return Outcome(
            "none", "No claim", f": {evaluation.labelled.queries} test queries are too few to tell anything."
        )
    interval = f"{number(found.low)} to {number(found.high)}"
    if found.verdict == "gain":
        return Outcome("gain", f"{HEADLINE} rose by {number(found.value)}", f" ({interval}).")
    if found.verdict == "loss":
        return Outcome(
            "loss", f"{HEADLINE} fell by {number(-found.value)}", f" ({number(-found.high)} to {number(-found.low)})."
        )
    why = found.verdict.removeprefix("no claim").strip(" ()")
    return Outcome(
        "none", "No claim", f": {HEADLINE} changed by {signed(found.value)} ({interval}), and {_reason(why)}."
    )


def _reason(why: str) -> str:
    return "the interval spans zero" if why == "interval spans zero" else why
