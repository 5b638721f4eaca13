"""Bring interaction logs into the store: whole files or nothing of them."""

import contextlib
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mining.citations import Citations, parse_citations
from mining.cited_lines import CitedLines, how_to_cite, with_citations
from mining.corpus import Corpus, opened_corpus
from mining.formats.reading import Reading, opened_reading
from mining.formats.recognise import AUTO, NATIVE, TABLE, Found, Plan, files_beside, given_of, planned
from mining.formats.unmatched import unmatched
from mining.import_result import CorpusCount, ImportedFile, ImportResult, SignalCount
from mining.log_errors import BadLines
from mining.log_lines import STDIN, STDIN_NAME, Line, opened
from mining.read_batches import Seen, read_batches
from mining.rejected_lines import rejected_lines
from mining.whole_corpus import add_corpus, store_corpus
from store.database import Store
from store.errors import InvalidDataError, UsageError
from store.import_files import FileRead, note_files
from store.interactions import Added, adding, find_import, record_import
from store.progress import Progress, silent

if TYPE_CHECKING:
    import pandas as pd

_FRAME = "DataFrame"
_KEPT_MIB = 256  # by the database between batches; more does not make an import faster


def import_files(
    store: Store,
    files: Sequence[str | Path],
    *,
    corpus: Path | None = None,
    format: str = AUTO,
    mapping: Mapping[str, str] | None = None,
    citations: str | None = None,
    skip_invalid: bool = False,
    rejects: Path | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
) -> ImportResult:
    """Import logs (docs/interactions.md, docs/formats.md), each file in one transaction.

    A file that holds a bad line is not imported; the others are, and then one error names every bad line. Importing a
    file again changes nothing.

    Args:
        store: where to.
        files: paths, plain or gzip; `-` is standard input. Some formats are folders, or files that belong together.
        corpus: a file with the texts of chunks that the logs name by id only.
        format: of the logs: one of `mining.formats.recognise.NAMES`; `auto` finds out file by file.
        mapping: for tables: field of uncited -> column.
        citations: where the citations of a line without `cited` stand (`mining.citations.SYNTAX`); a line's own
            `cited` holds. Without it, lines of other formats are searched for markers, and a line of uncited's own
            format is bad.
        skip_invalid: import the good lines and write the bad ones, with reasons, to `FILE.rejected.jsonl`.
        rejects: write them there instead; for one file only.
        dry_run: store and write nothing, but say what would come in; bad lines are no error then.
        progress: told of bytes read, then of records where those that belong together are brought together.

    Raises:
        MissingError: a file is not there. Nothing has been imported then.
        UsageError: a file cannot be read, or the arguments contradict each other. Nothing has been imported then.
        InvalidDataError: lines are bad, or a file is damaged.
    """
    _check_arguments(files, corpus, rejects, skip_invalid)
    columns = mapping or {}
    again = _command(files, corpus, format, columns, citations)
    job = _Job(store, citations, parse_citations(citations) if citations else None, again, dry_run, progress)
    with planned(files, format, columns, corpus) as plan:
        if rejects and len(plan.mains) > 1:
            raise UsageError(f"{rejects} can take the rejected lines of one file, not of {len(plan.mains)}")
        return _import_all(job, plan, columns, lambda file: (rejects or _beside(file)) if skip_invalid else None)


def import_frame(
    store: Store,
    frame: "pd.DataFrame",
    *,
    mapping: Mapping[str, str] | None = None,
    corpus: Path | None = None,
    citations: str | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
) -> ImportResult:
    """Import a pandas DataFrame whose rows are interactions or retrieved chunks (docs/formats.md, tables).

    Args:
        store: where to.
        frame: its index is not read.
        mapping: field of uncited -> column, for the columns that are not called as uncited does.
        corpus: a file with the texts of chunks that the frame names by id only.
        citations: where the citations of a row without `cited` stand.
        dry_run: store nothing, but say what would come in.
        progress: told of bytes read, then of records where those that belong together are brought together.

    Raises:
        InvalidDataError: rows are bad, each named by its number from 1, or a column holds values of several types.
    """
    import pyarrow as pa

    job = _Job(store, citations, parse_citations(citations) if citations else None, "", dry_run, progress)
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        try:
            frame.to_parquet(file.name, index=False)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise InvalidDataError(f"the DataFrame cannot be read: {str(error).splitlines()[0]}") from error
        with opened(file.name) as log:
            found = Found(_FRAME, TABLE, "a pandas DataFrame", held=replace(log, name=_FRAME))
            return _import_all(job, Plan((found,), (), corpus), mapping or {}, lambda file: None)


def _import_all(
    job: "_Job", plan: Plan, mapping: Mapping[str, str], rejects: Callable[[str | Path], Path | None]
) -> ImportResult:
    imported: list[ImportedFile] = []
    refused: list[InvalidDataError] = []
    corpora: list[CorpusCount] = []
    with contextlib.ExitStack() as stack:
        texts = stack.enter_context(opened_corpus(plan.corpus)) if plan.corpus else None
        given, beside = given_of(plan, mapping)
        for found in plan.mains:
            try:
                if found.refusal:
                    raise found.refusal
                with opened_reading(found, given, beside, texts, job.citations) as reading:
                    imported.append(_import_one(job, reading, texts, None if job.dry_run else rejects(found.file)))
                    if reading.corpus:
                        new = store_corpus(job.store, reading.corpus(), dry_run=job.dry_run, progress=job.progress)
                        corpora.append(CorpusCount(reading.name, new))
            except InvalidDataError as error:
                refused.append(error)
            except RecursionError:
                refused.append(InvalidDataError(f"{found.file}: a value in it is nested too deeply to be read"))
    if refused:
        raise _together(refused, [] if job.dry_run else imported)
    if plan.whole:
        new = add_corpus(job.store, plan.whole, dry_run=job.dry_run, progress=job.progress)
        corpora.append(CorpusCount(str(plan.whole), new))
    unread = any(file.imported_before and not file.rejected for file in imported)
    lost = () if unread else unmatched(given)
    return ImportResult(tuple(imported), job.dry_run, tuple(corpora), lost, files_beside(plan))


@dataclass(frozen=True, slots=True)
class _Job:
    """What holds for all files of one command."""

    store: Store
    citations: str | None  # where they stand, as the user wrote it
    how: Citations | None
    again: str  # the command that takes the good lines
    dry_run: bool
    progress: Progress


class _DryRunEnds(Exception):
    """Takes a transaction back."""


def _import_one(job: _Job, reading: Reading, corpus: Corpus | None, rejects: Path | None) -> ImportedFile:
    store, kind = job.store, reading.format_name
    earlier = find_import(store, reading.import_id)
    if earlier and not earlier.rejected:
        return ImportedFile(
            reading.name, known=earlier.interactions, imported_before=True, format=kind, why=reading.why
        )
    bad = BadLines(reading.name)
    seen = Seen()
    look = job.dry_run or kind != NATIVE.name
    cited = _how(job, reading)
    total = Added(0, 0, 0, 0)
    with contextlib.suppress(_DryRunEnds), store.transaction(), rejected_lines(rejects, reading.name) as reject:
        lines = _lines(job, reading, corpus, cited)
        with (
            read_batches(lines, reading.size, corpus, look=look) as batches,
            adding(store, reading.import_id) as add,
        ):
            for batch in batches:
                seen.add(batch.seen)
                for line, problems in batch.bad:
                    bad.add(line.number, problems)
                    if reject:
                        reject(line, problems)
                # With nowhere to put bad lines the file is lost at the first one: the rest is only checked.
                if reject or job.dry_run or not bad.count:
                    total = Added(*map(sum, zip(total, add(batch.rows), strict=True)))
                    store.let_go_of_memory(_KEPT_MIB)
        if corpus:
            corpus.check_unchanged()
        if job.dry_run:
            raise _DryRunEnds
        if bad.count and not rejects:
            raise InvalidDataError(
                f"{reading.name}: {bad.count:,} of its lines cannot be imported, so nothing of it was\n{bad}",
                hint=job.again or None,
            )
        read = total.interactions + total.known
        how = f"{kind} --citations {job.citations}" if job.citations else kind
        record_import(store, reading.import_id, reading.name, interactions=read, rejected=bad.count, format_name=how)
        texts = _file_read(corpus.name, corpus.fingerprint) if corpus else None
        note_files(store, reading.import_id, FileRead(reading.path, reading.fingerprint), texts)
    return ImportedFile(
        reading.name,
        *total,
        bad.count,
        rejects if bad.count else None,
        imported_before=earlier is not None,
        format=kind,
        why=reading.why,
        citations=str(cited) or None if cited else None,
        cited_already=cited.told if cited and job.how else 0,
        signals=tuple(SignalCount(*key, times) for key, times in sorted(seen.signals.items(), key=str)),
        examples=tuple(seen.examples) if job.dry_run else (),
        problems=str(bad) if job.dry_run else "",
    )


def _how(job: _Job, reading: Reading) -> CitedLines | None:
    """Return how citations are read from answers; None where the lines are to say themselves what is cited."""
    if reading.cites and not job.how:
        return None

    def lines() -> Iterator[Line]:
        job.progress.start(f"look for citations in {reading.name}", reading.size)
        return reading.lines(job.progress)

    return how_to_cite(job.how or Citations("markers"), lines)


def _lines(job: _Job, reading: Reading, corpus: Corpus | None, cited: CitedLines | None) -> Iterator[Line]:
    job.progress.start(f"import {reading.name}", reading.size)
    lines: Iterator[Line] = reading.lines(job.progress)
    return with_citations(lines, cited, corpus) if cited else lines


def _file_read(name: str, fingerprint: str) -> FileRead:
    return FileRead(None if name == STDIN_NAME else str(Path(name).absolute()), fingerprint)


def _check_arguments(files: Sequence[str | Path], corpus: Path | None, rejects: Path | None, skip: bool) -> None:
    if not files:
        raise UsageError("no file to import", hint="uncited import FILE...")
    if rejects and not skip:
        again = shlex.join(["uncited", "import", *map(str, files), "--skip-invalid"])
        raise UsageError("a place for rejected lines is of use with --skip-invalid only", hint=again)
    every = [*map(str, files), *([str(corpus)] if corpus else [])]
    if every.count(STDIN) > 1:
        raise UsageError("standard input can be read once only")
    if rejects and rejects.resolve() in {Path(file).resolve() for file in every}:
        raise UsageError(f"rejected lines would overwrite {rejects}, which is to be read")


def _beside(file: str | Path) -> Path:
    return Path("stdin.rejected.jsonl" if str(file) == STDIN else f"{file}.rejected.jsonl")


def _command(
    files: Sequence[str | Path],
    corpus: Path | None,
    format: str,
    mapping: Mapping[str, str],
    citations: str | None,
) -> str:
    options = ["--corpus", str(corpus)] if corpus else []
    options += ["--format", format] if format != AUTO else []
    options += [word for name, column in mapping.items() for word in ("--map", f"{name}={column}")]
    options += ["--citations", citations] if citations else []
    return shlex.join(["uncited", "import", *map(str, files), *options, "--skip-invalid"])


def _together(refused: Sequence[InvalidDataError], imported: Sequence[ImportedFile]) -> InvalidDataError:
    done = [f"imported: {', '.join(file.file for file in imported)}"] if imported else []
    return InvalidDataError("\n".join([*(error.message for error in refused), *done]), hint=refused[0].hint)
