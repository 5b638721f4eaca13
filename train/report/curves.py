"""Figures of how a metric depends on something: length of the embeddings, labels, the choice of negatives, steps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from train.ablation import Ablation
from train.evaluation import Evaluation
from train.learning_curve import LearningCurve
from train.report.axes import categories, log_axis
from train.report.drawing import BAD, BASE, GOOD, INK, MUTED, PAPER, Figure, Width, word
from train.report.wording import interval, number, signed

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def matryoshka(evaluation: Evaluation, base: str) -> Figure | None:
    """Draw nDCG@10 against the length of the embeddings."""
    if not evaluation.sizes:
        return None
    sizes = sorted(evaluation.sizes, key=lambda size: size.dimensions)
    metric = "nDCG@10"
    values = [(size.dimensions, size.labelled.metric(metric).values, size.index_bytes) for size in sizes]

    def draw(canvas: "Canvas", width: Width) -> None:
        axes = canvas.subplots()
        for name, colour in ((base, BASE), (evaluation.subject, GOOD)):
            known = {n: value for n, of, _ in values if (value := of.get(name)) is not None}
            axes.plot(list(known), list(known.values()), "o-", color=colour, label=word(name), markersize=7)
        log_axis(axes, [n for n, _, _ in values])
        axes.set(xlabel="values an embedding", ylabel=metric)
        axes.legend()

    rows = [(n, of.get(base), of.get(evaluation.subject), kept) for n, of, kept in values]
    cut_to = ", ".join(str(n) for n, *_ in rows)
    says = f"{metric} of {base} and {evaluation.subject} with embeddings cut to {cut_to} values."
    columns = ("values", base, evaluation.subject, "bytes of the index")
    return Figure("matryoshka", "Shorter embeddings", says, draw, {"wide": 320, "narrow": 300}, columns, rows)


def learning_curve(curve: LearningCurve) -> Figure:
    """Draw the metric against the number of training examples, with the law as far as it was asked."""

    def draw(canvas: "Canvas", width: Width) -> None:
        import numpy as np

        axes = canvas.subplots()
        at = [point.examples for point in curve.points]
        low = [point.value.value if point.value.low is None else point.value.low for point in curve.points]
        high = [point.value.value if point.value.high is None else point.value.high for point in curve.points]
        axes.fill_between(at, low, high, color=GOOD, alpha=0.15, linewidth=0)
        axes.plot(
            at, [p.value.value for p in curve.points], "o-", color=GOOD, label="mean and 95 % interval", markersize=7
        )
        for i in range(len(curve.seeds)):
            axes.plot(
                at, [p.by_seed[i] for p in curve.points], ".", color=INK, markersize=5, label=None if i else "each seed"
            )
        axes.axhline(curve.base.value, color=BASE, linestyle=":", label="before training")
        if curve.law and curve.forecasts:
            ahead = np.geomspace(at[0], curve.forecasts[-1].examples, 60)
            axes.plot(
                ahead, [curve.law.metric(n) for n in ahead], color=MUTED, linestyle="--", linewidth=1.5, label="fit"
            )
        log_axis(axes, [*at, *(f.examples for f in curve.forecasts)])
        axes.set(xlabel="triplets trained on", ylabel=curve.metric)
        canvas.legend(loc="outside lower center", ncols=2 if width == "narrow" else 4)

    rows: list[tuple[object, ...]] = [
        (p.examples, p.value.value, interval(p.value.low, p.value.high), "measured") for p in curve.points
    ]
    rows += [(f.examples, f.value.value, interval(f.value.low, f.value.high), "fit") for f in curve.forecasts]
    first, last = curve.points[0], curve.points[-1]
    says = (
        f"{curve.metric} from {number(first.value.value)} with {first.examples:,} triplets to"
        f" {number(last.value.value)} with {last.examples:,}; {number(curve.base.value)} before training."
    )
    columns = ("triplets", curve.metric, "95 % interval", "how")
    return Figure("learning-curve", "Learning curve", says, draw, {"wide": 360, "narrow": 360}, columns, rows)


def ablation(found: Ablation) -> Figure:
    """Draw what each choice of negatives is worth, with its interval."""
    arms = [(arm, arm.value) for arm in found.arms if arm.value is not None]

    def draw(canvas: "Canvas", width: Width) -> None:
        axes = canvas.subplots()
        for y, (arm, value) in enumerate(arms):
            verdict = arm.against_naive.verdict if arm.against_naive else ""
            colour = {"gain": GOOD, "loss": BAD}.get(verdict, BASE)
            if value.low is not None and value.high is not None:
                axes.plot([value.low, value.high], [y, y], color=colour, linewidth=3, solid_capstyle="round")
            axes.plot(value.value, y, "o", color=colour, markersize=9, markeredgecolor=PAPER, markeredgewidth=1.5)
            axes.plot(arm.by_seed, [y] * len(arm.by_seed), ".", color=INK, markersize=4)
        axes.axvline(found.base.value, color=MUTED, linestyle=":", linewidth=1.5, label="before training")
        categories(axes, [word(arm.name) for arm, _ in arms])
        axes.set_xlabel(found.metric)
        canvas.legend(loc="outside lower center")

    rows: list[tuple[object, ...]] = []
    for arm in found.arms:
        against = arm.against_naive
        value = (arm.value.value, interval(arm.value.low, arm.value.high)) if arm.value else (None, arm.unavailable)
        difference = (
            (signed(against.value), interval(against.low, against.high), against.verdict) if against else ("", "", "")
        )
        rows.append((arm.name, arm.what, arm.relevant, arm.known, *value, *difference))
    clear = [arm.name for arm in found.arms if arm.against_naive and arm.against_naive.verdict in ("gain", "loss")]
    says = f"{found.metric} after training on {found.triplets:,} triplets chosen in each way. " + (
        f"Certainly different from naive: {', '.join(clear)}." if clear else "None is certainly different from naive."
    )
    columns = (
        *("negatives", "what they are", "relevant all the same", "of so many known", found.metric),
        *("95 % interval", "against naive", "interval", "verdict"),
    )
    height = 80 + 38 * len(arms)
    return Figure(
        "ablation",
        "The same number of triplets, chosen differently",
        says,
        draw,
        {"wide": height, "narrow": height},
        columns,
        rows,
    )


def training(
    losses: Sequence[tuple[float, float]], validation: Sequence[tuple[float, float]] = (), metric: str = ""
) -> Figure:
    """Draw the loss over the steps, and the validation metric where there is one."""

    def draw(canvas: "Canvas", width: Width) -> None:
        panels = canvas.subplots(2 if validation else 1, 1, sharex=True, squeeze=False)[:, 0]
        for axes, points, name, colour in zip(
            panels, (losses, validation), ("training loss", metric), (MUTED, GOOD), strict=False
        ):
            axes.plot(
                [x for x, _ in points],
                [y for _, y in points],
                "o-" if len(points) < 40 else "-",
                color=colour,
                markersize=5,
            )
            axes.set_ylabel(name)
        panels[-1].set_xlabel("step")

    says = f"Training loss from {number(losses[0][1])} to {number(losses[-1][1])} in {losses[-1][0]:,.0f} steps." + (
        f" {metric} on the validation queries from {number(validation[0][1])} to {number(validation[-1][1])}."
        if validation
        else ""
    )
    by_step: dict[float, tuple[float | None, float | None]] = {step: (loss, None) for step, loss in losses}
    by_step |= {step: (by_step.get(step, (None, None))[0], value) for step, value in validation}
    rows = [(f"{step:g}", *by_step[step]) for step in sorted(by_step)]
    heights: dict[Width, int] = {"wide": 420, "narrow": 400} if validation else {"wide": 280, "narrow": 260}
    return Figure(
        "training",
        "Training",
        says,
        draw,
        heights,
        ("step", "training loss", metric),
        rows,
    )
