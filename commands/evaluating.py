"""What models are worth: evaluate, and the gate before one is put to use."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import HERE, BuildOption, JsonOption, PolicyOption, QuietOption, Session, WorkspaceOption, opened
from commands.training import KindOption
from store.errors import MissingError, UsageError

if TYPE_CHECKING:
    from printing import Output
    from train.gate import GateResult

GATE_CLOSED = 3  # exit status

ModelOption = Annotated[Path | None, typer.Option("--model", help="The tuned model; default: the one `train` made.")]
RunsOption = Annotated[
    list[Path] | None,
    typer.Option("--runs", help="A run of the same recipe with another seed; may be given several times."),
]
ByOption = Annotated[str, typer.Option(help="Kinds of query: length, source, or a field of the log's own.")]
SeedOption = Annotated[int, typer.Option(help="Of the intervals.")]


def evaluate(
    policy: PolicyOption,
    base_model: Annotated[str, typer.Option(help="Compare with this first; default: what it was trained from.")] = "",
    kind: KindOption = "bi-encoder",
    model: ModelOption = None,
    others: Annotated[
        list[str] | None, typer.Option("--with", help="A further model, folder or name; may be given several times.")
    ] = None,
    reranker: Annotated[str, typer.Option(help="A reranker for the first 40 of the base model.")] = "",
    runs: RunsOption = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Claim gains of these metrics only; may be given several times.")
    ] = None,
    by: ByOption = "length",
    seed: SeedOption = 0,
    build_id: BuildOption = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare a tuned model with its base, BM25 and others on a build's test split; a gain is named only if certain."""
    from commands.evaluation_tables import show
    from printing import Output, relative
    from store.builds import note_output
    from train.evaluate import compare
    from train.evaluation_file import evaluation_file, write_evaluation
    from train.held_out import read_held_out
    from train.line_up import line_up, trained_sizes
    from train.metrics import NAMED_BEFOREHAND
    from train.model_card import write_model_card
    from train.runs import read_run

    with opened(workspace, as_json=json, quiet=quiet) as session:
        chosen = session.build(policy, build_id)
        tuned = _tuned(session, policy, chosen.build_id, kind, model)
        held_out = read_held_out(session.store, chosen, by=by)
        is_run = read_run(tuned) is not None
        if is_run:  # the file will hold texts of this build, which `forget` must know
            note_output(session.store, chosen.build_id, "model", tuned)
        deployed = session.workspace.deployed_model(policy)
    systems = line_up(tuned, base_model=base_model, deployed=deployed, others=others or (), reranker=reranker)
    out = Output(as_json=json, quiet=quiet)  # the database is closed: encoding takes long, and others may want it
    with out.progress() as bar:
        result = compare(
            held_out,
            systems,
            named_beforehand=metric or NAMED_BEFOREHAND,
            sizes=trained_sizes(tuned),
            runs=_checked(tuned, runs),
            seed=seed,
            progress=bar,
        )
    if not out.json(result):
        show(out, result)
    if is_run:  # shown first: what took long is not lost where the folder cannot be written to
        file = evaluation_file(tuned, chosen.build_id)
        write_evaluation(file, result)
        write_model_card(tuned)
        out.note(f"Kept in {relative(file)}")
        out.next(f"uncited report {relative(tuned)}")


def gate(
    policy: PolicyOption,
    against: Annotated[str, typer.Option(help="The model to beat, folder or name; default: the one in use.")] = "",
    min_gain: Annotated[float, typer.Option(help="At least so much, in units of the metric.")] = 0.01,
    metric: Annotated[str, typer.Option(help="What is compared.")] = "nDCG@10",
    kind: KindOption = "bi-encoder",
    model: ModelOption = None,
    runs: RunsOption = None,
    by: ByOption = "length",
    seed: SeedOption = 0,
    build_id: BuildOption = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tell a pipeline whether a tuned model may replace another: exit status 0 if it may, 3 if it may not."""
    from printing import Output, relative
    from train.evaluate import compare
    from train.evaluation_file import evaluation_file, readable_evaluation
    from train.gate import gate as check
    from train.gate import measured_before, system_of
    from train.held_out import read_held_out
    from train.line_up import TUNED
    from train.metrics import checked_metrics

    checked_metrics([metric])
    with opened(workspace, as_json=json, quiet=quiet) as session:
        chosen = session.build(policy, build_id)
        tuned = _tuned(session, policy, chosen.build_id, kind, model)
        other = against or session.workspace.deployed_model(policy)
        held_out = read_held_out(session.store, chosen, by=by)
    if not other:
        raise UsageError(
            f"no model to beat: deployed in [evaluate] of uncited.toml names none for {policy}",
            hint=f"uncited gate --policy {policy} --against FOLDER_OR_NAME",
        )
    name = other if other != TUNED else f"./{other}"  # a folder may have that name
    seeds = _checked(tuned, runs)
    out = Output(as_json=json, quiet=quiet)
    file = evaluation_file(tuned, chosen.build_id)
    result = measured_before(readable_evaluation(file), held_out, other, str(tuned), runs=seeds, seed=seed)
    if result:
        out.note(f"Measured before: {relative(file)}")
    else:
        models = {name: other, TUNED: str(tuned)}
        with out.progress() as bar:
            result = compare(held_out, models, named_beforehand=[metric], runs=seeds, seed=seed, progress=bar)
    found = check(result, str(system_of(result, other)), min_gain=min_gain, metric=metric)
    found = replace(found, against=other)
    if not out.json(found):
        _print_gate(out, found)
    if not found.passed:
        raise typer.Exit(GATE_CLOSED)


def _tuned(session: Session, policy: str, build_id: str, kind: str, model: Path | None) -> Path:
    """Return the folder of the model that is evaluated.

    Raises:
        MissingError: there is none.
    """
    tuned = model or session.workspace.model_folder(policy, build_id, kind)
    if not tuned.is_dir():
        raise MissingError(f"no model at {tuned}", hint=f"uncited train --policy {policy} --kind {kind}")
    return tuned


def _checked(tuned: Path, runs: list[Path] | None) -> list[str]:
    """Return the runs with other seeds, after a look at whether they are that."""
    from train.seeds import check_runs

    if runs:
        check_runs([tuned, *runs])
    return [str(folder) for folder in runs or ()]


def _print_gate(out: "Output", found: "GateResult") -> None:
    from commands.evaluation_tables import show_fallen

    out.line(f"{found.metric} against {found.against}, ranking the labelled chunks of each test query:")
    for check in found.checks:
        mark = {True: "holds", False: "FAILS", None: "-"}[check.passed]
        out.line(f"  {mark:6} {check.name}: {check.why}")
    show_fallen(out, found.fell)
    for warning in found.warnings:
        out.line(f"Warning: {warning}")
    out.line("The gate is open." if found.passed else "The gate is closed.")
