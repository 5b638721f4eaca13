"""`uncited forget`: a person's or a document's text is taken out of everything."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import HERE, JsonOption, QuietOption, Session, WorkspaceOption, opened
from store.errors import MissingError, UsageError, UserError

if TYPE_CHECKING:
    from argilla import Argilla

    from labeling.forgotten_records import Record
    from store.forgetting_plan import Plan, Request


def forget(
    query_id: Annotated[str | None, typer.Option("--query-id", help="The log's id of a query.")] = None,
    chunk_id: Annotated[str | None, typer.Option("--chunk-id", help="The log's id of a chunk, or our own.")] = None,
    reviewer: Annotated[str | None, typer.Option("--reviewer", help="A reviewer's name.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    allow_again: Annotated[
        bool, typer.Option("--allow-again", help="Forget nothing; let what was forgotten be imported again.")
    ] = False,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take a query, a chunk or a reviewer's name out of every table, and write the database anew without it."""
    from store.erasure import erase
    from store.workspace import DATABASE_FILE

    request = _request(query_id, chunk_id, reviewer)
    with opened(workspace, as_json=json, quiet=quiet) as session:
        out = session.out
        if request is None:
            erasing = _pending(session)
        elif allow_again:
            erasing = _allow(session, request)
        else:
            erasing = _forget(session, request, dry_run=dry_run, yes=yes)
    if not erasing:
        return
    with out.progress() as bar:
        erase(workspace / DATABASE_FILE, bar)
    if not json:
        out.line("Forgotten: the database has been written anew, and holds it no more.")
        out.next("uncited verify")


def _pending(session: Session) -> bool:
    """Tell whether an earlier run was stopped before the file was written anew.

    Raises:
        UsageError: none was, so that nothing is left to be done.
    """
    from store.erasure import erasure_pending

    if not erasure_pending(session.store):
        raise UsageError("what is to be forgotten?", hint="uncited forget --query-id ID --dry-run")
    session.out.json({"finished": True})
    return True


def _allow(session: Session, request: "Request") -> bool:
    from store.forgetting import allow_again

    concerned = allow_again(session.store, request)
    if not session.out.json({"allowed": concerned}):
        session.out.line(f"{request.kind} {request.name!r} may be imported again")
    return False


def _forget(session: Session, request: "Request", *, dry_run: bool, yes: bool) -> bool:
    """Show what would go, ask, and take it out of the tables; return whether that was done."""
    from store.forgetting import forget as forget_planned
    from store.forgetting_plan import plan

    planned = plan(session.store, request)
    client, records = _on_argilla(session, planned)
    if session.out.as_json and not (yes or dry_run):
        raise UsageError("nobody can be asked under --json", hint="add --yes, or --dry-run to look only")
    if not session.out.json({"plan": planned, "argilla_records": len(records), "dry_run": dry_run}):
        _show(session, planned, len(records), reachable=client is not None)
    if dry_run:
        return False
    if not yes:
        typer.confirm("Forget this? It cannot be undone.", abort=True, err=True)
    if client is not None and records:
        _remove_from_argilla(session, client, records)
        planned = plan(session.store, request)  # answers that were pulled just now are among it
    forget_planned(session.store, planned)
    return True


def _request(query_id: str | None, chunk_id: str | None, reviewer: str | None) -> "Request | None":
    from store.forgetting_plan import Kind, Request

    named: list[tuple[Kind, str | None]] = [("query-id", query_id), ("chunk-id", chunk_id), ("reviewer", reviewer)]
    given = [Request(kind, name) for kind, name in named if name is not None]
    if len(given) > 1:
        raise UsageError("one thing is forgotten at a time", hint="uncited forget --query-id ID")
    return given[0] if given else None


def _on_argilla(session: Session, planned: "Plan") -> "tuple[Argilla | None, list[Record]]":
    """Return the Argilla in use, if one can be reached, and its records that hold what is to go."""
    from labeling.forgotten_records import records_of_pairs
    from store.policies import list_policies, policy_versions

    if planned.request.kind == "reviewer":  # their account and answers there are Argilla's to delete
        return None, []
    try:
        client = session.argilla()
        names = [policy.name for policy in list_policies(session.store)]
        wordings = {v.labelling_fingerprint: v for name in names for v in policy_versions(session.store, name)}
        return client, records_of_pairs(client, wordings.values(), planned.pair_ids)
    except UserError as error:
        if not isinstance(error, MissingError):
            session.out.note(f"Argilla was not asked: {error.message}")
        return None, []


def _remove_from_argilla(session: Session, client: "Argilla", records: "list[Record]") -> None:
    """Delete the records; answers that are there and not here yet are brought home first."""
    from labeling.forgotten_records import remove_records
    from labeling.review_pull import pull_reviews
    from store.policies import list_policies

    for policy in list_policies(session.store):
        try:
            pull_reviews(session.store, policy, client, session.workspace.settings.review)
        except MissingError:
            continue  # nothing was pushed under it
    remove_records(client, records)
    session.out.note(f"{len(records)} records were deleted from Argilla")


def _show(session: Session, planned: "Plan", records: int, *, reachable: bool) -> None:
    out, request = session.out, planned.request
    if planned.done_before:
        out.line(f"{request.kind} {request.name!r} was forgotten before; what has come since would go as well")
    for text in planned.texts:
        shown = " ".join(text.split())
        out.line(f"  {shown[:150]}{'…' if len(shown) > 150 else ''}")
    others = [name for name in planned.names if name != request.name]
    if others:
        out.line(f"The same text goes wherever it stands, also under: {', '.join(others)}")
    out.table("What goes, in rows", ("table", "rows"), sorted(planned.rows.items()))
    if planned.builds:
        out.line(f"These builds are altered, and marked so: {', '.join(planned.builds)}")
    for place in planned.left:
        out.line(f"It stays within a longer text: {place}")
    outside = [*planned.lines, *planned.outputs, *_files_of_policies(session, planned)]
    if outside:
        out.line("Outside of the database, and not touched:")
        for place in outside:
            out.line(f"  {place}")
    out.line("Recordings (--record), rejected lines (*.rejected.jsonl) and copies of these files may hold it too.")
    if request.kind == "reviewer":
        out.line("In Argilla, delete the user by hand; a pull would bring their answers under the new name.")
    elif reachable:
        out.line(f"{records} records in Argilla show it; they are deleted, after their answers have been pulled")
    else:
        out.line("No Argilla was reached. If one holds records of this, start it and run the same command again.")


def _files_of_policies(session: Session, planned: "Plan") -> list[str]:
    """Name the policy files that hold a text, as an example for instance."""
    found = []
    for file in sorted(session.workspace.policies.glob("*.y*ml")):
        content = " ".join(Path(file).read_text(encoding="utf-8", errors="replace").split())
        if any(" ".join(text.split()) in content for text in planned.texts):
            found.append(str(file))
    return found
