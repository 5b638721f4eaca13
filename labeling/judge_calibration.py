"""The calibration of a policy's judges against people, and its picture."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from labeling.calibration import Calibration, Method, Recalibration, calibrate
from labeling.judge_quality import relevance
from labeling.judges import Judge
from store.calibrations import JudgedAndReviewed, judged_and_reviewed, judges_that_labelled, newest_map, put_calibration
from store.database import Store
from store.errors import MissingError, UsageError
from store.judge_queue import Said, what_was_said
from store.labels import Resolution
from store.policies import Policy

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

_ENOUGH_BLIND = 100  # pairs, from which the others are left out

Origin = Literal["the endpoint's probabilities", "repeated asks", "the label alone"]


@dataclass(frozen=True, slots=True)
class JudgeCalibration:
    """One judge's calibration, and what it rests on.

    `reviews` says which reviews were used, `confidence` where the judge's came from; `unsure` counts the pairs left
    out because the judge gave an excluded label.
    """

    judge_id: str
    model: str
    reviews: str
    confidence: Origin
    unsure: int
    calibration_id: str
    calibration: Calibration


def calibrate_judges(
    store: Store, policy: Policy, *, rng: "np.random.Generator", resolution: Resolution = "majority"
) -> list[JudgeCalibration]:
    """Calibrate every judge of a policy against people's labels, and store the maps.

    A judge that was asked again is calibrated twice: what its repeated asks are worth, and what its label alone is.

    Reviews from the audit and imported ones that were given without a suggestion are used alone where there are
    enough: people lean towards what they are shown, and targeted reviews are no sample of anything.

    Args:
        store: where the judgments and reviews are, and where the maps go.
        policy: whose judges.
        rng: source of randomness.
        resolution: what makes one label of several people's answers (see `store.labels.labelled_candidates`).

    Raises:
        MissingError: no pair has both a judgment and a review.
    """
    done = []
    for judge_id, config in judges_that_labelled(store, policy).items():
        rows = judged_and_reviewed(store, policy, judge_id, resolution=resolution)
        blind = [row for row in rows if row.blind]
        used = blind if len(blind) >= _ENOUGH_BLIND else rows
        kept = [row for row in used if "excluded" not in (policy.role(row.label), policy.role(row.human))]
        if kept:
            model = str(config.get("model"))
            done += [_calibrated(store, policy, judge_id, model, used, kept, origin, rng) for origin in _origins(kept)]
    if not done:
        raise MissingError(
            f"no pair of {policy.name} has both a judge's and people's label",
            hint=f"uncited review push --policy {policy.name}",
        )
    return done


def _calibrated(
    store: Store,
    policy: Policy,
    judge_id: str,
    model: str,
    used: Sequence[JudgedAndReviewed],
    kept: Sequence[JudgedAndReviewed],
    origin: Origin,
    rng: "np.random.Generator",
) -> JudgeCalibration:
    said = [relevance(policy, row.label, _confidence(row, origin)) for row in kept]
    relevant = [policy.role(row.human) == "positive" for row in kept]
    found = calibrate(said, relevant, [row.anchor_id for row in kept], rng=rng)
    key = put_calibration(
        store,
        policy,
        judge_id,
        fitted_to=[(row.pair_id, p, row.human) for row, p in zip(kept, said, strict=True)],
        method=found.recalibration.method,
        parameters=found.recalibration.parameters,
        report={**asdict(found), "confidence": origin},
    )
    blind = sum(row.blind for row in kept)
    reviews = (
        f"{blind} blind reviews (audit, or imported without a suggestion)"
        if blind == len(kept)
        else f"{len(kept)} reviews, {blind} of them blind: people saw the others with a suggestion, or they were chosen"
    )
    return JudgeCalibration(judge_id, model, reviews, origin, len(used) - len(kept), key, found)


def _origins(rows: Sequence[JudgedAndReviewed]) -> tuple[Origin, ...]:
    """Choose one source for all pairs, since numbers of two kinds do not compare.

    The label alone comes after repeated asks: a pair that nobody has reviewed is asked about once, and only that map
    applies to it.
    """
    if all(row.confidence is not None for row in rows):
        return ("the endpoint's probabilities",)
    return ("repeated asks", "the label alone") if all(row.asks for row in rows) else ("the label alone",)


def _confidence(row: JudgedAndReviewed, origin: Origin) -> float | None:
    """Return P(label): the endpoint's, or the share of all asks, the first one included, that gave the label."""
    if origin == "the endpoint's probabilities":
        return row.confidence
    return (1 + row.agreeing) / (1 + row.asks) if origin == "repeated asks" else None


def calibrated_relevance(
    store: Store, policy: Policy, judge_id: str
) -> Callable[[str, float | None], float | None] | None:
    """Return what makes a calibrated chance of relevance of a judge's label and confidence; None: it was never fitted.

    The function gives None for excluded labels, and where the map was fitted to another kind of confidence than the
    judgment has.
    """
    import numpy as np

    stored = newest_map(store, policy, judge_id)
    if stored is None:
        return None
    method: Method = stored.method  # type: ignore[assignment]
    recalibration = Recalibration(method, stored.parameters)
    by_label = stored.confidence == "the label alone"

    def calibrated(label: str, confidence: float | None) -> float | None:
        usable = by_label or (confidence is not None and stored.confidence == "the endpoint's probabilities")
        if not usable or policy.role(label) == "excluded":
            return None
        said = relevance(policy, label, None if by_label else confidence)
        return float(recalibration(np.array([said]))[0])

    return calibrated


def said_unsurely(store: Store, policy: Policy, judge: Judge, judge_id: str) -> list[Said]:
    """Return what a judge said of pairs of the scope with less confidence than its stage's `confidence_below`.

    A confidence is the calibrated one where a map was fitted to the judge.

    Excluded labels, to which no map applies, and labels of a judge without one keep the confidence they came with.

    Raises:
        UsageError: the judge gives no probabilities, and no map was fitted to its labels.
    """
    below = judge.stage.pass_on.confidence_below if judge.stage.pass_on else None
    if below is None:
        return []
    calibrated = calibrated_relevance(store, policy, judge_id)
    known: dict[Said, float] = {}
    said = what_was_said(store, policy, judge_id)
    for one in said:
        relevant = calibrated(one.label, one.confidence) if calibrated else None
        if relevant is not None:
            known[one] = relevant if policy.role(one.label) == "positive" else 1 - relevant
        elif one.confidence is not None:
            known[one] = one.confidence
    if not known and any(policy.role(one.label) != "excluded" for one in said):
        raise UsageError(
            f"{judge.model} gives no probabilities, so confidence_below = {below} in its pass_on cannot be applied:"
            " take it out of uncited.toml, choose an endpoint that gives logprobs, or fit a map to people's reviews",
            hint=f"uncited judge calibrate --policy {policy.name}",
        )
    return [one for one, confidence in known.items() if confidence < below]


def draw(calibrations: Sequence[JudgeCalibration], file: Path) -> None:
    """Draw reliability diagrams, one a judge; the ending of the file's name chooses the format.

    Raises:
        UsageError: the file cannot be written, or its ending names no picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(calibrations), 4.6), layout="constrained")
    for axes, done in zip(figure.subplots(1, len(calibrations), squeeze=False)[0], calibrations, strict=True):
        _draw_one(axes, done)
    try:
        figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot draw {file}: {error}", hint="give a name that ends in .png or .svg") from error


def _draw_one(axes: "Axes", done: JudgeCalibration) -> None:
    found = done.calibration
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="calibrated")
    shown = [("as it is", found.curve, "#1f77b4"), (f"{found.recalibration.method} map", found.curve_after, "#d62728")]
    for name, bins, colour in shown:
        if bins:
            axes.errorbar(
                [b.predicted for b in bins],
                [b.relevant for b in bins],
                yerr=[[b.relevant - b.low for b in bins], [b.high - b.relevant for b in bins]],
                marker="o",
                markersize=4,
                linewidth=1,
                capsize=2,
                color=colour,
                label=name,
            )
    axes.set(
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        xlabel="judge's chance of relevance, mean of bin",
        ylabel="share that people call relevant",
        title=f"{done.model}, {found.pairs} pairs",
    )
    axes.legend(loc="upper left", frameon=False)
