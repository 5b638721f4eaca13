"""The workspace itself: make one, look at it, try the product on a small real log."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from commands.builds import ID_SHOWN
from commands.session import HERE, JsonOption, QuietOption, WorkspaceOption, opened

if TYPE_CHECKING:
    from store.workspace import Workspace
    from train.newest_builds import NewestBuild


def init(
    directory: Annotated[Path, typer.Argument(help="Where to.")] = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a workspace: settings, an example policy and an empty database."""
    from printing import Output, relative
    from store.workspace import create_workspace

    workspace = create_workspace(directory)
    out = Output(as_json=json, quiet=quiet)
    if out.json({"workspace": workspace.root.resolve()}):
        return
    out.line(f"Workspace in {relative(workspace.root)}: uncited.toml, policies/example.yaml, uncited.duckdb")
    out.next("uncited import FILE", "uncited policy add policies/example.yaml")


def schema(what: Annotated[Literal["interactions"], typer.Argument(help="Which format.")]) -> None:
    """Print the JSON Schema of an input format."""
    from mining.log_format import json_schema
    from printing import Output

    Output(as_json=True, quiet=True).json(json_schema())


def status(workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Say how far the workspace is, and what usually comes next."""
    from store.status import PolicyStatus, workspace_status
    from train.newest_builds import newest_builds

    with opened(workspace, as_json=json, quiet=quiet) as session:
        review = session.workspace.settings.review
        result = workspace_status(session.store, resolution=review.resolution, propagate=review.propagate)
        newest = list(newest_builds(session.store, session.workspace.models))
        next_command = result.next_command or _next_of_builds(session.workspace, newest)
        if session.out.json({**asdict(result), "newest_builds": newest, "next_command": next_command}):
            return
        session.out.table("Logs", result.log._fields, [result.log])
        rows = [row._asdict() for row in result.policies]
        rare = {name for name in ("synthetic", "propagated") if not any(row[name] for row in rows)}
        columns = [name for name in PolicyStatus._fields if name not in rare]
        session.out.table("Policies", columns, [[row[name] for name in columns] for row in rows])
        if result.synthetic:
            session.out.table("Questions that a model wrote", result.synthetic[0]._fields, result.synthetic)
        builds = [
            (one.policy, one.build_id[:ID_SHOWN], f"{one.built_at:%Y-%m-%d}", len(one.runs), len(one.evaluated))
            for one in newest
        ]
        session.out.table("Newest builds", ("policy", "build", "date", "runs", "evaluated"), builds)
        session.out.next(next_command)


def _next_of_builds(workspace: "Workspace", newest: "Sequence[NewestBuild]") -> str:
    """Return the command that comes next where every policy has a build; what was begun is finished first."""
    from printing import relative

    for build in sorted(newest, key=lambda one: not one.runs):
        policy = shlex.quote(build.policy)
        if not build.runs:
            return f"uncited train --policy {policy}"
        if not build.evaluated:
            run = build.runs[0]
            usual = run.resolve() == workspace.model_folder(build.policy, build.build_id).resolve()
            return f"uncited evaluate --policy {policy}" + ("" if usual else f" --model {shlex.quote(relative(run))}")
        if not build.reported:
            return f"uncited report {shlex.quote(relative(build.evaluated[0]))}"
    return f"uncited review next --policy {shlex.quote(newest[0].policy)}"


def demo(
    directory: Annotated[Path, typer.Argument(help="The workspace to make.")] = Path("demo"),
    model: Annotated[str | None, typer.Option(help="Judge live with this model, given a key or --base-url.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Judge live at this OpenAI-compatible endpoint.")] = None,
    stop_argilla: Annotated[bool, typer.Option("--stop-argilla", help="Leave no Argilla running for you.")] = False,
) -> None:
    """Go the whole way on a small real log: import, judge, review, build, export, train, evaluate."""
    from cli import app
    from examples.pandas_docs.demo import Judge
    from examples.pandas_docs.demo import demo as run_demo

    def run(words: Sequence[str]) -> None:
        app(words, standalone_mode=False)

    judge_given = Judge(model, base_url)
    run_demo(directory, judge=judge_given, keep_argilla=not stop_argilla, run=run, say=typer.echo)
