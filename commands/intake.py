"""From logs to candidates: import and mine."""

from pathlib import Path
from typing import Annotated

import typer

from commands.session import HERE, JsonOption, PolicyOption, QuietOption, WorkspaceOption, opened


def import_(
    files: Annotated[list[str], typer.Argument(help="JSON Lines, plain or gzip; - is standard input.")],
    corpus: Annotated[Path | None, typer.Option(help="Chunk texts, where the logs name chunks by id only.")] = None,
    skip_invalid: Annotated[bool, typer.Option(help="Import the good lines, write the bad ones to a file.")] = False,
    rejects: Annotated[Path | None, typer.Option(help="Which file; default: FILE.rejected.jsonl.")] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Import interaction logs: each file wholly or not at all, and twice is as good as once."""
    from mining.import_log import import_files
    from printing import relative

    with opened(workspace, as_json=json, quiet=quiet) as session, session.out.progress() as bar:
        result = import_files(
            session.store, files, corpus=corpus, skip_invalid=skip_invalid, rejects=rejects, progress=bar
        )
        if session.out.json(result):
            return
        columns = ("file", "interactions", "known", "chunks", "retrievals", "rejected")
        rows = [(f.file, f.interactions, f.known, f.chunks, f.retrievals, f.rejected) for f in result.files]
        session.out.table("New in this import", columns, rows)
        for file in result.files:
            if file.rejects:
                session.out.line(f"{file.rejected} rejected lines, with reasons, in {relative(file.rejects)}")
        session.out.next("uncited policy add policies/example.yaml", "uncited mine --policy NAME")


def mine(
    policy: PolicyOption,
    random: Annotated[int, typer.Option(min=0, help="Random negatives for each query.")] = 0,
    seed: Annotated[int, typer.Option(help="Draws other random negatives.")] = 0,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Put candidate positives and negatives forward from the logs."""
    from mining.candidates import mine as mine_candidates

    with opened(workspace, as_json=json, quiet=quiet) as session, session.out.progress() as bar:
        chosen = session.policy(policy)
        result = mine_candidates(session.store, chosen, random_per_anchor=random, seed=seed, progress=bar)
        if session.out.json(result):
            return
        columns = ("source", "candidate", "pairs", "queries", "repeat a positive")
        session.out.table(f"Candidates under {chosen.name}", columns, result.sources)
        session.out.line(
            f"{result.interactions} interactions, {result.without_positive} without a positive signal;"
            f" {result.new} candidates new, {result.removed} withdrawn"
        )
        session.out.note("Chunks that repeat a positive never become negatives; nobody needs to look at them.")
        session.out.next(f"uncited judge --policy {policy}", f"uncited review push --policy {policy}")
