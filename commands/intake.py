"""From files to the store: import."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import HERE, JsonOption, QuietOption, WorkspaceOption, opened
from store.errors import UsageError

if TYPE_CHECKING:
    from mining.import_result import ImportedFile, ImportResult
    from printing import Output


def import_(
    files: Annotated[list[str], typer.Argument(help="Logs, and files that belong to them; - is standard input.")],
    format: Annotated[str, typer.Option(help="Of the logs; default: found out. docs/formats.md lists them.")] = "auto",
    corpus: Annotated[Path | None, typer.Option(help="Chunk texts, where the logs name chunks by id only.")] = None,
    map: Annotated[list[str] | None, typer.Option(help="For tables: FIELD=COLUMN, e.g. query=question.")] = None,
    citations: Annotated[
        str | None, typer.Option(help="Where citations stand: markers, markers:0, markers:1, quotes, $.json.path.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come in; store nothing.")] = False,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Import the good lines, write the bad ones to a file.")
    ] = False,
    rejects: Annotated[Path | None, typer.Option(help="Which file; default: FILE.rejected.jsonl.")] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Import interaction logs: each file wholly or not at all, and twice is as good as once."""
    from mining.import_log import import_files
    from store.policies import list_policies

    with opened(workspace, as_json=json, quiet=quiet) as session, session.out.progress() as bar:
        result = import_files(
            session.store,
            files,
            corpus=corpus,
            format=format,
            mapping=_mapping(map or []),
            citations=citations,
            skip_invalid=skip_invalid,
            rejects=rejects,
            dry_run=dry_run,
            progress=bar,
        )
        policies = [policy.name for policy in list_policies(session.store)]
    if not session.out.json(result):
        _show(session.out, result, policies)


def _mapping(options: list[str]) -> dict[str, str]:
    mapping = {}
    for option in options:
        field, equals, column = option.partition("=")
        if not equals or not field or not column:
            raise UsageError(f"--map {option}: write FIELD=COLUMN, e.g. --map query=question")
        mapping[field] = column
    return mapping


def _show(out: "Output", result: "ImportResult", policies: list[str]) -> None:
    title = "What would come in (nothing is stored)" if result.dry_run else "New in this import"
    columns = ("file", "format", "interactions", "known", "chunks", "retrievals", "rejected")
    rows = [(f.file, f.format, f.interactions, f.known, f.chunks, f.retrievals, f.rejected) for f in result.files]
    out.table(title, columns, rows)
    for file in result.files:
        _show_file(out, file, dry_run=result.dry_run)
    for more in result.beside:
        out.line(f"{more.file} is read as {more.what} beside {', '.join(more.of)}: {more.why}")
    for corpus in result.corpora:
        out.line(
            f"{corpus.file}: {corpus.chunks:,} chunks of its corpus would come in"
            if result.dry_run
            else f"{corpus.file}: {corpus.chunks:,} chunks of its corpus are new besides those in the lists"
        )
    for lost in result.unmatched:
        out.line(f"{lost.file}: {lost.entries:,} of {lost.of:,} entries were left out, {lost.what}")
    signals = [signal for file in result.files for signal in file.signals]
    if signals:
        out.table("Signals", ("signal", "from", "about", "times"), signals)
    _hint(out, result, {signal.signal for signal in signals}, policies)


def _show_file(out: "Output", file: "ImportedFile", *, dry_run: bool) -> None:
    from labeling.untrusted_text import one_line
    from printing import relative

    if file.format != "uncited" or dry_run:
        out.line(f"{file.file} is read as {file.format}: {file.why}")
    if file.citations:
        out.line(f"{file.file}: citations were {file.citations}")
    if file.cited_already:
        said = "say themselves what is cited, or have no answer; that holds, and --citations is not applied to them"
        out.line(f"{file.file}: {file.cited_already:,} lines {said}")
    if not (file.interactions or file.known or file.rejected):
        out.line(f"{file.file} holds no interaction")
    if file.imported_before:
        out.line(f"{file.file} was imported before")
    if file.rejects:
        out.line(f"{file.rejected} rejected lines, with reasons, in {relative(file.rejects)}")
    if file.examples:
        out.table(
            f"The first of {file.file}",
            ("line", "query", "retrieved", "cited", "other signals"),
            [(e.line, one_line(e.query, 70), e.retrieved, e.cited, ", ".join(e.signals)) for e in file.examples],
        )
    if file.problems:
        out.line(f"Of {file.file}, {file.rejected} lines cannot come in:\n{file.problems}")


def _hint(out: "Output", result: "ImportResult", signals: set[str], policies: list[str]) -> None:
    if result.dry_run:
        out.note("To import: the same command without --dry-run" + (" and with --skip-invalid" * bool(result.rejected)))
        return
    if graded := sorted(name for name in signals if name.startswith("grade:") or name == "relevant"):
        out.note(
            f"{', '.join(graded)}: say in a policy, under signals, which label each suggests. Where people gave them,"
            " they can be reviews too: a file with the columns query, chunk, label, reviewer"
        )
        out.next("uncited review import GRADES.csv --policy NAME")
    if result.corpora:
        mine = f"uncited mine --policy {policies[0] if policies else 'NAME'} --from bm25=4 --from random=1"
        out.note(f"Negatives can be looked for in the whole corpus: {mine}")
    if policies:
        out.next(*(f"uncited mine --policy {name}" for name in policies))
    else:
        out.next("uncited policy add policies/example.yaml", "uncited mine --policy NAME")
