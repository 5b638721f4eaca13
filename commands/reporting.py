"""What a run is worth, told to people: report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import HERE, JsonOption, QuietOption, WorkspaceOption, opened
from store.errors import InvalidDataError, MissingError

if TYPE_CHECKING:
    from commands.session import Session
    from store.policies import Policy
    from train.report.contents import Agreed
    from train.report.look import Look


def report(
    run: Annotated[Path | None, typer.Argument(help="Folder of a trained model; default: the newest.")] = None,
    policy: Annotated[str | None, typer.Option("--policy", "-p", help="The newest model of this policy.")] = None,
    out_file: Annotated[Path | None, typer.Option("--out", help="The page; default: report.html in the run.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Also save the figures to this folder, as SVG and PNG.")] = None,
    data: Annotated[Path | None, typer.Option(help="Also save all numbers to this folder, as JSON and CSV.")] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write one page that tells what was trained, on which labels, and whether it helped."""
    from datetime import UTC, datetime

    from printing import Output, plain, relative
    from store.builds import note_output
    from train.report.contents import gather, newest_run
    from train.report.look import LOOK_FILE, look
    from train.report.page import render
    from train.report.sections import to_run
    from train.report.write import REPORT_FILE, numbers_of, write

    with opened(workspace, as_json=json, quiet=quiet) as session:
        home, store = session.workspace, session.store
        if policy is not None:
            session.policy(policy)  # which says so where there is none
        folder = run or newest_run(store, home.models, policy)
        found = gather(store, folder, home.experiments, resolution=home.settings.review.resolution)
        agreement = _agreement(session, found.policy)
        page_file = out_file or folder / REPORT_FILE
        for texts in filter(None, (page_file, data)):  # what is to be forgotten has to be found there
            note_output(store, found.build.build_id, "report", texts)
    out = Output(as_json=json, quiet=quiet)  # the database is closed: encoding takes a while, and others may want it
    seen: Look | str = "No query of the test split has both a relevant chunk and another to compare it with."
    if found.pairs:
        try:
            with out.progress() as bar:
                seen = look(found.pairs, found.base_model, str(folder), kept=folder / LOOK_FILE, progress=bar)
        except (MissingError, InvalidDataError) as error:  # all the rest can be told without the models
            seen = f"The models could not be asked: {error.message}."
            out.note(seen)
    now = datetime.now(UTC)
    page, drawn, tables = render(found, seen, agreement, written=f"{now.day} {now:%B %Y}")
    numbers = plain(numbers_of(found, seen, agreement))
    done = write(found, page, drawn, tables, numbers, out=page_file, figures_folder=figures, data_folder=data)
    if out.json(done):
        return
    out.line(done.headline)
    out.line(f"{relative(done.page)}: written, with {len(done.figures)} figures")
    for what, where in (("the figures as SVG and PNG", figures), ("all numbers as JSON and CSV", data)):
        if where:
            out.line(f"{relative(where)}: {what}")
    if found.evaluation is None:
        out.next(to_run(found, "evaluate"))


def _agreement(session: "Session", policy: "Policy") -> "list[Agreed]":
    """Measure the agreement of reviewers; the report has no part in how that is done."""
    from labeling.agreement_report import agreement_report
    from train.report.contents import Agreed

    resolution = session.workspace.settings.review.resolution
    measured = agreement_report(session.store, policy, resolution=resolution).streams["all"]
    return [Agreed(name, *estimate) for name, estimate in measured.coefficients.items()]
