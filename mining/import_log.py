"""Bring interaction logs into the store: whole files or nothing of them."""

import base64
import contextlib
import json
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mining.corpus import Corpus, opened_corpus
from mining.log_errors import BadLines
from mining.log_lines import STDIN, STDIN_NAME, Line, LogFile, check_readable, opened
from mining.read_interaction import read_interaction
from store.database import Store
from store.errors import InvalidDataError, UsageError
from store.ids import content_id
from store.import_files import FileRead, note_files
from store.interactions import Added, Interaction, add_interactions, find_import, record_import
from store.progress import Progress, silent

_BATCH_CHARACTERS = 16 << 20  # of text held in memory at a time
_BATCH_INTERACTIONS = 5_000

_Reject = Callable[[Line, Sequence[str]], None]


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """What one file brought. `known` counts its interactions that the store had already."""

    file: str
    interactions: int = 0  # new ones, like chunks and retrievals
    known: int = 0
    chunks: int = 0
    retrievals: int = 0
    rejected: int = 0
    rejects: Path | None = None  # where the rejected lines were written
    imported_before: bool = False


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import brought, file by file."""

    files: tuple[ImportedFile, ...]

    @property
    def interactions(self) -> int:
        """New interactions in all files."""
        return sum(file.interactions for file in self.files)

    @property
    def known(self) -> int:
        """Interactions that the store had already."""
        return sum(file.known for file in self.files)

    @property
    def chunks(self) -> int:
        """New chunks (different texts)."""
        return sum(file.chunks for file in self.files)

    @property
    def retrievals(self) -> int:
        """New retrievals."""
        return sum(file.retrievals for file in self.files)

    @property
    def rejected(self) -> int:
        """Lines that were left out and written beside their file."""
        return sum(file.rejected for file in self.files)


def import_files(
    store: Store,
    files: Sequence[str | Path],
    *,
    corpus: Path | None = None,
    skip_invalid: bool = False,
    rejects: Path | None = None,
    progress: Progress = silent,
) -> ImportResult:
    """Import files of interactions (docs/interactions.md), each in one transaction.

    A file that holds a bad line is not imported; the others are, and then one error names every bad line. Importing a
    file again changes nothing.

    Args:
        store: where to.
        files: paths, plain or gzip; `-` is standard input.
        corpus: a file with the texts of chunks that the logs name by id only.
        skip_invalid: import the good lines and write the bad ones, with reasons, to `FILE.rejected.jsonl`.
        rejects: write them there instead; for one file only.
        progress: told of bytes read.

    Raises:
        MissingError: a file is not there. Nothing has been imported then.
        UsageError: a file cannot be read, or the arguments contradict each other. Nothing has been imported then.
        InvalidDataError: lines are bad, or a file is damaged.
    """
    _check_arguments(files, corpus, rejects, skip_invalid)
    imported: list[ImportedFile] = []
    refused: list[InvalidDataError] = []
    again = _command(files, corpus)
    with contextlib.ExitStack() as stack:
        texts = stack.enter_context(opened_corpus(corpus)) if corpus else None
        for file in files:
            target = (rejects or _beside(file)) if skip_invalid else None
            try:
                with opened(file) as log:
                    imported.append(_import_file(store, log, texts, target, again, progress))
            except InvalidDataError as error:
                refused.append(error)
    if refused:
        raise _together(refused, imported)
    return ImportResult(tuple(imported))


def _import_file(
    store: Store, log: LogFile, corpus: Corpus | None, rejects: Path | None, again: str, progress: Progress
) -> ImportedFile:
    import_id = content_id("import", log.fingerprint, corpus.fingerprint if corpus else None)
    earlier = find_import(store, import_id)
    if earlier and not earlier.rejected:
        return ImportedFile(log.name, known=earlier.interactions, imported_before=True)
    bad = BadLines(log.name)
    total = Added(0, 0, 0, 0)
    with store.transaction(), _rejected_lines(rejects, log.name) as reject:
        for batch in _batches(log, corpus, bad, reject, progress):
            added = add_interactions(store, batch, import_id=import_id)
            total = Added(*map(sum, zip(total, added, strict=True)))
        if bad.count and not rejects:
            raise InvalidDataError(
                f"{log.name}: {bad.count:,} of its lines cannot be imported, so nothing of it was\n{bad}", hint=again
            )
        record_import(store, import_id, log.name, interactions=total.interactions + total.known, rejected=bad.count)
        note_files(store, import_id, _as_read(log), _as_read(corpus) if corpus else None)
    return ImportedFile(
        log.name, *total, bad.count, rejects if bad.count else None, imported_before=earlier is not None
    )


def _as_read(source: LogFile | Corpus) -> FileRead:
    return FileRead(None if source.name == STDIN_NAME else os.path.abspath(source.name), source.fingerprint)


def _batches(
    log: LogFile, corpus: Corpus | None, bad: BadLines, reject: _Reject | None, progress: Progress
) -> Iterator[list[Interaction]]:
    """Read the good lines in batches that bound the memory held; note the others in `bad` and give them to `reject`.

    With nowhere to put bad lines the file is lost at the first one: the rest is only checked.
    """
    progress.start(f"import {log.name}", log.size)
    batch: list[Interaction] = []
    held = 0
    for line in log.lines(progress.advance):
        read = [line.problem] if line.problem else read_interaction(line.content, line.number, corpus)
        if isinstance(read, list):
            bad.add(line.number, read)
            if reject:
                reject(line, read)
        elif reject or not bad.count:
            batch.append(read)
            held += sum(len(chunk.text) for chunk in read.retrieved)
            if held >= _BATCH_CHARACTERS or len(batch) >= _BATCH_INTERACTIONS:
                yield batch
                batch, held = [], 0
    if batch and (reject or not bad.count):
        yield batch


@contextlib.contextmanager
def _rejected_lines(target: Path | None, name: str) -> Iterator[_Reject | None]:
    """Offer a function that keeps rejected lines; they appear at `target` together, when the block ends well."""
    if not target:
        yield None
        return
    partial = target.with_name(f".{target.name}.partial")
    with contextlib.ExitStack() as stack:
        stack.callback(partial.unlink, missing_ok=True)
        try:
            out = stack.enter_context(partial.open("w", encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"cannot write {target}: {error.strerror}", hint="uncited import --help") from error

        def reject(line: Line, problems: Sequence[str]) -> None:
            content: dict[str, object] = {"file": name, "line": line.number, "errors": list(problems)}
            try:
                content["raw"] = line.content.decode()
            except UnicodeDecodeError:
                content["raw_base64"] = base64.b64encode(line.content).decode()
            out.write(json.dumps(content, ensure_ascii=False) + "\n")

        yield reject
        out.flush()
        if out.tell():
            os.fsync(out.fileno())
            partial.replace(target)


def _check_arguments(files: Sequence[str | Path], corpus: Path | None, rejects: Path | None, skip: bool) -> None:
    if not files:
        raise UsageError("no file to import", hint="uncited import FILE...")
    if rejects and not skip:
        raise UsageError("a place for rejected lines is of use with --skip-invalid only", hint=_command(files, corpus))
    if rejects and len(files) > 1:
        raise UsageError(f"{rejects} can take the rejected lines of one file, not of {len(files)}")
    every = [*map(str, files), *([str(corpus)] if corpus else [])]
    if every.count(STDIN) > 1:
        raise UsageError("standard input can be read once only")
    if rejects and rejects.resolve() in {Path(file).resolve() for file in every}:
        raise UsageError(f"rejected lines would overwrite {rejects}, which is to be read")
    for file in every:
        check_readable(file)


def _beside(file: str | Path) -> Path:
    return Path("stdin.rejected.jsonl" if str(file) == STDIN else f"{file}.rejected.jsonl")


def _command(files: Sequence[str | Path], corpus: Path | None) -> str:
    options = ["--corpus", str(corpus)] if corpus else []
    return shlex.join(["uncited", "import", *map(str, files), *options, "--skip-invalid"])


def _together(refused: Sequence[InvalidDataError], imported: Sequence[ImportedFile]) -> InvalidDataError:
    done = [f"imported: {', '.join(file.file for file in imported)}"] if imported else []
    return InvalidDataError("\n".join([*(error.message for error in refused), *done]), hint=refused[0].hint)
