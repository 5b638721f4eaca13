"""What models are worth: evaluate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import (
    DEFAULT_MODEL,
    HERE,
    BuildOption,
    JsonOption,
    PolicyOption,
    QuietOption,
    WorkspaceOption,
    opened,
)
from commands.training import KindOption
from store.errors import MissingError

if TYPE_CHECKING:
    from printing import Output
    from train.evaluation import Ranking


def evaluate(
    policy: PolicyOption,
    base_model: Annotated[str, typer.Option(help="The model to compare with.")] = DEFAULT_MODEL,
    kind: KindOption = "bi-encoder",
    model: Annotated[Path | None, typer.Option(help="The tuned model; default: the one `train` made.")] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    build_id: BuildOption = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare a tuned model with its base on a build's test split; a gain is named only where it is certain."""
    from printing import Output, percent
    from train.evaluate import compare
    from train.held_out import read_held_out

    with opened(workspace, as_json=json, quiet=quiet) as session:
        chosen = session.build(policy, build_id)
        held_out = read_held_out(session.store, chosen)
        tuned = model or session.workspace.model_folder(policy, chosen.build_id, kind)
    if not tuned.exists():
        raise MissingError(f"no model at {tuned}", hint=f"uncited train --policy {policy} --kind {kind}")
    out = Output(as_json=json, quiet=quiet)
    with out.progress() as bar:
        result = compare(held_out, {"base": base_model, "tuned": str(tuned)}, seed=seed, progress=bar)
    if out.json(result):
        return
    _print_ranking(out, "Ranking the labelled chunks of each query", result.labelled)
    _print_ranking(out, f"Searching {result.pool:,} chunks; those without a label count as wrong", result.collection)
    if result.synthetic:
        _print_ranking(out, "The same for questions that a model wrote, which flatter retrieval", result.synthetic)
    share = percent(result.human_share)
    out.line(f"{share} of the {result.labels} test labels are people's, the rest a judge's or propagated")
    if result.left_out:
        out.line(f"{result.left_out} test queries without a positive are left out")


def _print_ranking(out: "Output", title: str, ranking: "Ranking") -> None:
    from printing import percent

    rows = []
    for metric in ranking.metrics:
        difference = metric.differences["base"]
        interval = "" if difference.low is None else f"{difference.low:+.3f} to {difference.high:+.3f}"
        gain = "" if difference.value is None else f"{difference.value:+.3f}"
        row = (metric.name, metric.values["base"], metric.values["tuned"], gain, interval)
        rows.append((*row, difference.verdict))
    out.table(title, ("metric", "base", "tuned", "difference", "95 % interval", "verdict"), rows)
    shares = ", ".join(f"{name} {percent(share or 0)}" for name, share in ranking.judged.items())
    out.line(f"{ranking.queries} queries in {ranking.groups} groups; share of the first ten with a label: {shares}")
