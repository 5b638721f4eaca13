"""`uncited review`: have people check candidates."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import HERE, JsonOption, PolicyOption, QuietOption, WorkspaceOption, opened
from store.errors import UserError

if TYPE_CHECKING:
    from labeling.review_push import PushResult
    from printing import Output

app = typer.Typer(help="Have people check candidates.", no_args_is_help=True)


@app.command("push")
def push(
    policy: PolicyOption, workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Put all candidates before reviewers in Argilla, in order of what an answer is worth."""
    from labeling.review_push import push_reviews

    with opened(workspace, as_json=json, quiet=quiet) as session, session.out.progress() as bar:
        chosen = session.policy(policy)  # before Argilla is asked for: a name that is wrong needs none
        client = session.argilla()
        settings = session.workspace.settings.review
        result = push_reviews(session.store, chosen, client, settings, progress=bar)
        if not session.out.json(result):
            print_push(session.out, result)
            session.out.next(f"uncited review pull --policy {policy}")
    if result.refused:
        raise typer.Exit(6)


def print_push(out: "Output", result: "PushResult") -> None:
    """Say what a push did."""
    out.line(
        f"{result.dataset}: {result.new} records new, {result.updated} updated, {result.unchanged} unchanged,"
        f" {result.kept} answered and left as they are, {result.closed} taken out of the queue"
    )
    if result.later:
        out.line(f"{result.later} more are left for later")
    if result.moved:
        out.line(f"{result.moved} of them were given another place in the queue")
    if result.retired:
        out.line(f"{result.retired} records of earlier wordings of the policy are asked no more")
    for stream in result.streams:
        out.line(f"{stream.stream}: {stream.pairs} pairs, {stream.answered} of them answered")
    for problem in result.problems:
        out.line(f"Note: {problem}")
    for pair, reason in result.refused:
        out.line(f"refused: {pair}: {reason}")
    out.line(f"Review them at {result.url}")


@app.command("pull")
def pull(
    policy: PolicyOption, workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Bring the reviews home from Argilla."""
    from labeling.review_pull import pull_reviews

    with opened(workspace, as_json=json, quiet=quiet) as session, session.out.progress() as bar:
        chosen = session.policy(policy)  # before Argilla is asked for: a name that is wrong needs none
        client = session.argilla()
        settings = session.workspace.settings.review
        result = pull_reviews(session.store, chosen, client, settings, progress=bar)
        if not session.out.json(result):
            session.out.line(
                f"{result.dataset}: {result.submitted} submitted, {result.discarded} discarded, {result.drafts} drafts"
                f" among {result.records} records; {result.new} reviews are new here,"
                f" {result.closed} records leave the queue"
            )
            if result.adjudicated:
                session.out.line(f"{result.adjudicated} adjudications are new here")
            if result.earlier:
                session.out.line(
                    f"{result.earlier} answers to an earlier wording of the policy are new here;"
                    f" {result.carried} now hold under the present one too"
                )
            if result.earlier > result.carried:
                session.out.note("To declare that the others hold: uncited policy apply FILE --keep-reviews")
            for problem in result.problems:
                session.out.line(f"Note: {problem}")
            session.out.next(f"uncited {'build' if result.submitted else 'review status'} --policy {policy}")


@app.command("status")
def status(
    policy: PolicyOption, workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Say how far the reviews are, in Argilla and here."""
    from labeling.review import review_status as status_of_reviews

    with opened(workspace, as_json=json, quiet=quiet) as session:
        client = None
        try:
            client = session.argilla()
        except UserError as error:
            session.out.note(f"Not asked: {error.message}")
        result = status_of_reviews(session.store, session.policy(policy), client)
        if session.out.json(result):
            return
        if result.on_server:
            server = result.on_server
            columns = ("reviewer", "submitted", "discarded", "draft", "not answered")
            rows = [(r.reviewer, r.submitted, r.discarded, r.draft, r.unanswered) for r in server.reviewers]
            still_open = server.records - server.completed - server.closed
            session.out.line(
                f"{result.dataset}: {server.completed} of {server.records} records completed, {server.closed} more out"
                f" of the queue, {still_open} open"
            )
            session.out.table("Answers there", columns, rows)
        if result.streams:
            overlap = session.workspace.settings.review.overlap.model_dump()
            counts = [(s.stream, s.pairs, s.answered, overlap[s.stream]) for s in result.streams]
            session.out.table("Streams", ("stream", "pairs", "answered", "people a pair"), counts)
        names = ("reviewer", "stream", "status", "label", "reviews", "carried")
        session.out.table("Reviews here", names, [tuple(row[name] for name in names) for row in result.at_home])
        if not result.at_home:
            running = "" if client else "uncited argilla up && "
            session.out.next(f"{running}uncited review {'pull' if result.on_server else 'push'} --policy {policy}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV or JSON Lines: query, chunk, label, reviewer, time, note.")],
    policy: PolicyOption,
    reviewer: Annotated[str | None, typer.Option(help="Who labelled, where a row does not say.")] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take labels that people gave elsewhere."""
    from labeling.review_files import import_reviews

    with opened(workspace, as_json=json, quiet=quiet) as session:
        result = import_reviews(session.store, session.policy(policy), file, reviewer=reviewer)
        if not session.out.json(result):
            session.out.line(
                f"{result.rows} labels read: {result.new} new, {result.known} known;"
                f" {result.candidates} pairs were no candidates before"
            )
            session.out.next(f"uncited build --policy {policy}")
