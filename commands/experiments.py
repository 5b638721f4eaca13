"""Experiments over a build: many models, trained to be measured."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import (
    HERE,
    BuildOption,
    JsonOption,
    PolicyOption,
    QuietOption,
    Session,
    WorkspaceOption,
    opened,
)
from commands.training import BatchOption, EpochsOption, KindOption, NegativesOption, RateOption
from store.errors import UsageError

if TYPE_CHECKING:
    from printing import Output
    from store.builds import Build
    from train.ablation import Ablation
    from train.experiments import Estimate, Gain, MeasuredOn
    from train.held_out import HeldOut
    from train.learning_curve import LearningCurve
    from train.rows import TrainingSplit
    from train.sweep import Sweep, Tried
    from train.sweep_file import Plan

BaseModelOption = Annotated[str, typer.Option(help="Folder, or name on the hub; default: a small one of the kind.")]
LossOption = Annotated[str, typer.Option(help="Another than the default of the kind.")]
SeedsOption = Annotated[int, typer.Option(help="So many models of each, which differ in chance only.")]
SeedOption = Annotated[int, typer.Option(help="The first of the seeds.")]
MetricOption = Annotated[str, typer.Option(help="Of the labelled chunks' order; see docs/evaluation.md.")]
PlotOption = Annotated[Path | None, typer.Option(help="Draw it to this .png or .svg file.")]


def learning_curve(
    policy: PolicyOption,
    sizes: Annotated[str, typer.Option(help="Numbers of triplets, such as 100,500,1000; all is always there.")] = "",
    kind: KindOption = "bi-encoder",
    base_model: BaseModelOption = "",
    loss: LossOption = "",
    epochs: EpochsOption = 1.0,
    batch_size: BatchOption = 32,
    learning_rate: RateOption = 2e-5,
    negatives: NegativesOption = 1,
    seeds: SeedsOption = 3,
    seed: SeedOption = 0,
    metric: MetricOption = "nDCG@10",
    plot: PlotOption = None,
    build_id: BuildOption = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train on more and more of a build's triplets, and tell what further labels would buy."""
    from printing import Output
    from train.experiment_plots import check_picture, draw_learning_curve
    from train.experiments import result_file, write_result
    from train.learning_curve import learning_curve as trace
    from train.recipe import Recipe

    recipe = Recipe(
        kind=kind,
        base_model=base_model,
        loss=loss,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        negatives=negatives,
        seed=seed,
    )
    wanted = _numbers(sizes)
    check_picture(plot)
    with opened(workspace, as_json=json, quiet=quiet) as session:
        chosen, split, test = _read(session, policy, build_id)
        folder = session.workspace.experiments
    out = Output(as_json=json, quiet=quiet)  # the database is closed: training takes long, and others may want it
    with out.progress() as bar:
        found = trace(split, test, recipe, folder=folder, sizes=wanted, seeds=seeds, metric=metric, progress=bar)
    write_result(result_file(folder, "learning-curve", chosen.build_id), found)
    if not out.json(found):
        _print_curve(out, found)
        build = _same_build(build_id)
        out.next(f"uncited ablation --policy {policy}{build}", f"uncited train --policy {policy}{build}")
    if plot:
        draw_learning_curve(found, plot)


def ablation(
    policy: PolicyOption,
    triplets: Annotated[int | None, typer.Option(help="In each arm; default: as many as the smallest has.")] = None,
    kind: KindOption = "bi-encoder",
    base_model: BaseModelOption = "",
    loss: LossOption = "",
    epochs: EpochsOption = 1.0,
    batch_size: BatchOption = 32,
    learning_rate: RateOption = 2e-5,
    negatives: NegativesOption = 1,
    seeds: SeedsOption = 3,
    seed: SeedOption = 0,
    metric: MetricOption = "nDCG@10",
    plot: PlotOption = None,
    build_id: BuildOption = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train on negatives chosen in five ways, from naive to certified, and tell what checking them was worth."""
    from printing import Output
    from train.ablation import ablation as compare_arms
    from train.arms import read_material
    from train.experiment_plots import check_picture, draw_ablation
    from train.experiments import result_file, write_result
    from train.recipe import Recipe

    recipe = Recipe(
        kind=kind,
        base_model=base_model,
        loss=loss,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        negatives=negatives,
        seed=seed,
    )
    check_picture(plot)
    with opened(workspace, as_json=json, quiet=quiet) as session:
        chosen, split, test = _read(session, policy, build_id)
        material = read_material(session.store, chosen)
        folder = session.workspace.experiments
    out = Output(as_json=json, quiet=quiet)
    with out.progress() as bar:
        found = compare_arms(
            material,
            split,
            test,
            recipe,
            folder=folder,
            triplets=triplets,
            seeds=seeds,
            metric=metric,
            progress=bar,
        )
    write_result(result_file(folder, "ablation", chosen.build_id), found)
    if not out.json(found):
        _print_ablation(out, found)
        out.next(f"uncited train --policy {policy}{_same_build(build_id)}")
    if plot:
        draw_ablation(found, plot)


def sweep(
    plan: Annotated[Path, typer.Argument(help="A .yaml file that says what to try; see docs/experiments.md.")],
    policy: PolicyOption,
    ray: Annotated[
        str | None,
        typer.Option(help="Train side by side on a Ray cluster: auto, HOST:PORT, or local to start one here."),
    ] = None,
    plot: PlotOption = None,
    build_id: BuildOption = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Try models, losses, learning rates and numbers of negatives; choose on validation, tell on test once."""
    from printing import Output
    from train.experiment_plots import check_picture, draw_sweep
    from train.experiments import result_file, write_result
    from train.sweep import sweep as try_all
    from train.sweep_file import read_plan

    wanted = read_plan(plan)
    check_picture(plot)
    with opened(workspace, as_json=json, quiet=quiet) as session:
        chosen, split, test = _read(session, policy, build_id)
        folder = session.workspace.experiments
    out = Output(as_json=json, quiet=quiet)
    with out.progress() as bar:
        found = try_all(split, test, wanted, folder=folder, ray=ray, progress=bar)
    write_result(result_file(folder, "sweep", chosen.build_id), found)
    if not out.json(found):
        _print_sweep(out, found)
        out.next(f"uncited train --policy {policy}{_same_build(build_id)} {_options_of_winner(wanted, found.tried[0])}")
    if plot:
        draw_sweep(found, plot)


def _read(session: Session, policy: str, build_id: str | None) -> "tuple[Build, TrainingSplit, HeldOut]":
    """Return a build with what is trained on and what is tested on."""
    from train.held_out import read_held_out
    from train.rows import read_training_split

    chosen = session.build(policy, build_id)
    return chosen, read_training_split(session.store, chosen), read_held_out(session.store, chosen)


def _same_build(build_id: str | None) -> str:
    """Write the option that keeps the next command to a build that was named."""
    return f" --build {build_id}" if build_id else ""


def _options_of_winner(plan: "Plan", best: "Tried") -> str:
    """Write what makes `uncited train` train the very model that was measured on the test queries."""
    given: dict[str, object] = {"kind": plan.kind} if plan.kind != "bi-encoder" else {}
    given |= {"base-model": shlex.quote(best.model), "loss": best.loss, "learning-rate": best.learning_rate}
    given |= {"negatives": best.negatives} if best.negatives > 1 else {}
    given |= {"epochs": plan.epochs, "batch-size": plan.batch_size, "validation-share": 0}
    given |= {"seed": plan.seed} if plan.seed else {}
    return " ".join(f"--{name} {value}" for name, value in given.items())


def _numbers(given: str) -> tuple[int, ...]:
    """Read `100,500,1000`."""
    try:
        return tuple(int(size) for size in given.split(",")) if given else ()
    except ValueError as error:
        raise UsageError(f"--sizes {given}: sizes are whole numbers, such as 100,500,1000") from error


def _print_curve(out: "Output", curve: "LearningCurve") -> None:
    rows: list[tuple[object, ...]] = [(0, 0, curve.base.value, _interval(curve.base), "")]
    for point in curve.points:
        spread = f"{min(point.by_seed):.3f} to {max(point.by_seed):.3f}"
        rows.append((point.examples, round(point.queries), point.value.value, _interval(point.value), spread))
    columns = ("triplets", "queries", curve.metric, "95 % interval", "seeds")
    out.table(f"Learning curve of {curve.build_id}", columns, rows)
    out.line(f"From {curve.points[0].examples:,} triplets to {curve.points[-1].examples:,}: {_said(curve.learnt)}")
    if curve.law:
        law = curve.law
        out.line(f"1 - {curve.metric} = {law.floor:.3f} + {law.scale:.3f} x triplets ^ -{law.exponent:.2f}")
    else:
        out.line(f"No power law is fitted, so nothing is said of more labels: {curve.no_law}")
    for ahead in curve.forecasts:
        out.line(f"{ahead.examples:,} triplets would give {_with_interval(ahead.value)}: {_said(ahead.gain)}")
    _print_measured_on(out, curve.test, len(curve.seeds))


def _print_ablation(out: "Output", ablation: "Ablation") -> None:
    rows = []
    for arm in ablation.arms:
        false = f"{arm.relevant} of {arm.known}" if arm.known else ""
        value = arm.value.value if arm.value else None
        gain = arm.against_naive
        interval = "" if gain is None or gain.low is None else f"{gain.low:+.3f} to {gain.high:+.3f}"
        rows.append((arm.name, arm.queries, false, value, f"{gain.value:+.3f}" if gain else "", interval))
    columns = ("negatives", "queries", "relevant", ablation.metric, "over naive", "interval")
    out.table(f"{ablation.triplets:,} triplets in each arm", columns, rows)
    for arm in ablation.arms:
        said = f"not trained: {arm.unavailable}" if arm.unavailable else ""
        verdict = said or (arm.against_naive.verdict if arm.against_naive else "what the others are compared with")
        out.line(f"{arm.name}: {arm.what} ({arm.available:,} triplets): {verdict}")
    out.line(f"Before training: {_with_interval(ablation.base)}. The intervals over naive hold all together.")
    _print_measured_on(out, ablation.test, len(ablation.seeds))


def _print_sweep(out: "Output", sweep: "Sweep") -> None:
    models = list(dict.fromkeys(tried.model for tried in sweep.tried))
    rows = []
    for tried in sweep.tried:
        reached = (tried.value.value, _interval(tried.value), tried.base, round(tried.seconds))
        named = (models.index(tried.model) + 1, tried.loss, f"{tried.learning_rate:g}", tried.negatives)
        rows.append((*named, *reached))
    columns = ("model", "loss", "rate", "neg.", sweep.metric, "95 % interval", "before", "s")
    held = sweep.validation
    out.table(f"On {held.queries} validation queries in {held.groups} groups, best first", columns, rows)
    for number, model in enumerate(models, start=1):
        out.line(f"Model {number}: {model}")
    out.line(f"Winner: {sweep.tried[0].name}. On the test queries: {_with_interval(sweep.on_test)}")
    out.line(f"Against its base model there: {_said(sweep.gain)}")
    _print_measured_on(out, sweep.test, len(sweep.seeds))


def _print_measured_on(out: "Output", test: "MeasuredOn", seeds: int) -> None:
    from printing import percent

    out.line(
        f"{test.queries} test queries in {test.groups} groups; {percent(test.human_share)} of the {test.labels} labels"
        " are people's"
    )
    if seeds == 1:
        out.note("One seed only: the intervals leave out what chance does in training (--seeds 3).")


def _said(gain: "Gain") -> str:
    interval = "" if gain.low is None else f" ({gain.low:+.3f} to {gain.high:+.3f})"
    return f"{gain.value:+.3f}{interval}, {gain.verdict}"


def _interval(estimate: "Estimate") -> str:
    return "" if estimate.low is None else f"{estimate.low:.3f} to {estimate.high:.3f}"


def _with_interval(estimate: "Estimate") -> str:
    return f"{estimate.value:.3f}" + (f" ({_interval(estimate)})" if estimate.low is not None else "")
