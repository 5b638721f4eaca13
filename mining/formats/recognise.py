"""Which format each file of a command has, and which files say more about others."""

import contextlib
import itertools
import os
import shlex
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mining.formats import hf_dataset, langfuse, langsmith, llamaindex, openinference, ragas, table, trec, trec_rag
from mining.formats.json_entries import entries
from mining.formats.parquet import is_parquet, parquet_columns
from mining.formats.source import Format, Given, Sample, Side
from mining.import_result import FileBeside
from mining.log_lines import STDIN, LogFile, check_readable, opened, refuse_foreign
from store.errors import InvalidDataError, UsageError

AUTO = "auto"
_SAMPLED = 20  # objects or lines
_NATIVE_KEYS = ("query", "retrieved", "cited")


def _is_native(sample: Sample) -> str | None:
    if sample.objects and {"query", "retrieved"} <= sample.objects[0].keys():
        return "its objects hold query and retrieved"
    return None


NATIVE = Format(
    "uncited",
    "uncited's own format",
    _is_native,
    lambda log, given, progress: log.lines(progress.advance),
    _NATIVE_KEYS,
    cites=True,
)
HF = Format("hf-dataset", "Hugging Face data set on disk", lambda sample: None, table.FORMAT.read)
TABLE = table.FORMAT
_NO_FORMAT = Format("", "nothing that can be read", lambda sample: None, NATIVE.read)

# The first that recognises a file reads it.
FORMATS = (
    NATIVE,
    trec_rag.ANSWERS,
    trec_rag.RESULTS,
    openinference.FORMAT,
    langfuse.FORMAT,
    langsmith.FORMAT,
    ragas.FORMAT,
    llamaindex.FORMAT,
    trec.RUN,
    trec.BEIR,
    HF,
    TABLE,
)
NAMES = (AUTO, *(format.name for format in FORMATS))
_RUN_BESIDE = Side("TREC run", trec.RUN.recognises, trec.load_run)
_SIDES = (openinference.ANNOTATIONS, langfuse.SCORES, langsmith.FEEDBACK, trec.QRELS, trec.QUERIES)
_BESIDE_ANSWERS = {trec.RUN.name: _RUN_BESIDE, trec_rag.RESULTS.name: trec_rag.RESULTS_BESIDE}
_TOPICS = (trec.QRELS, trec.QUERIES, _RUN_BESIDE, trec_rag.RESULTS_BESIDE)
# What each kind of file says more about.
_ABOUT = {
    trec.RUN.name: _TOPICS,
    trec.BEIR.name: _TOPICS,
    trec_rag.ANSWERS.name: _TOPICS,
    trec_rag.RESULTS.name: _TOPICS,
    openinference.FORMAT.name: (openinference.ANNOTATIONS,),
    langfuse.FORMAT.name: (langfuse.SCORES,),
    langsmith.FORMAT.name: (langsmith.FEEDBACK,),
}


@dataclass(frozen=True, slots=True)
class Found:
    """One file or folder of a command: its format, and why; or the error that says why there is none."""

    file: str | Path
    format: Format
    why: str
    refusal: InvalidDataError | None = None
    held: LogFile | None = None  # of a pipe, which can be read once only


@dataclass(frozen=True, slots=True)
class Beside:
    """A file that says more about the interactions of others."""

    file: str | Path
    side: Side
    why: str  # what gave it away
    held: LogFile | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a command is to import, in the order of its files, with what else it reads for that."""

    mains: tuple[Found, ...]
    beside: tuple[Beside, ...]
    corpus: Path | None
    whole: Path | None = None  # a corpus that is a part of the data, all of which comes in


@contextlib.contextmanager
def planned(files: Sequence[str | Path], name: str, mapping: Mapping[str, str], corpus: Path | None) -> Iterator[Plan]:
    """Find out what each file is. Pipes are held open, on disk, for the length of the block.

    Args:
        files: as the user gave them.
        name: of a format that all main files have, or `auto`.
        mapping: of columns; without a named format, it makes every file a table.
        corpus: the file of texts that was named, if any; else the one of a BEIR folder counts.

    Raises:
        MissingError: a file is not there.
        UsageError: a file cannot be read, is a folder of no known form, or says more about files that are not given.
    """
    wanted = _named(name, mapping)
    mains: list[Found] = []
    beside: list[Beside] = []
    whole: Path | None = None
    with contextlib.ExitStack() as stack:
        for file in files:
            if str(file) != STDIN and os.path.isdir(file):
                more, texts = _folder(Path(file), mains)
                beside += more
                whole = whole or texts
                continue
            held = stack.enter_context(opened(file)) if _is_pipe(file) else None
            if not held:
                check_readable(file)
            found = _found(file, held, wanted)
            if isinstance(found, Beside):
                beside.append(found)
            else:
                mains.append(found)
        plan = _arranged(mains, beside, corpus, whole)
        _check_folders(plan.mains, wanted)
        yield plan


def _named(name: str, mapping: Mapping[str, str]) -> Format | None:
    if name == AUTO:
        return TABLE if mapping else None
    for format in FORMATS:
        if format.name == name:
            if mapping and format not in (TABLE, HF):
                raise UsageError(f"--map is for tables; {name} has no columns to name", hint="uncited import --help")
            return format
    raise UsageError(f"--format {name}: not one of {', '.join(NAMES)}", hint="uncited import --help")


def _is_pipe(file: str | Path) -> bool:
    return str(file) == STDIN or (os.path.exists(file) and not stat.S_ISREG(os.stat(file).st_mode))


def _folder(folder: Path, mains: list[Found]) -> tuple[list[Beside], Path | None]:
    """Add a folder's main files to `mains`; return what stands beside them, and its corpus."""
    if split_folders := hf_dataset.splits(folder):
        mains += [Found(split, HF, "a folder that save_to_disk wrote") for split in split_folders]
        return [], None
    queries, corpus = (_either(folder / name) for name in ("queries.jsonl", "corpus.jsonl"))
    if queries and corpus:
        qrels = sorted([*folder.glob("qrels/*.tsv"), *folder.glob("qrels/*.tsv.gz")])
        why = "a folder with corpus.jsonl and queries.jsonl"
        mains.append(Found(queries, trec.BEIR, why))
        part = f"a part of {why}"
        return [Beside(queries, trec.QUERIES, part), *(Beside(file, trec.QRELS, part) for file in qrels)], corpus
    lacking = [file for file, there in (("queries.jsonl", queries), ("corpus.jsonl", corpus)) if not there]
    raise UsageError(
        f"{folder} is a directory, and neither a BEIR data set (it lacks {' and '.join(lacking)}) nor one of Hugging"
        " Face (it lacks state.json)",
        hint=f"uncited import {folder}/*",
    )


def _either(file: Path) -> Path | None:
    return next((path for path in (file, file.with_name(f"{file.name}.gz")) if path.exists()), None)


def _found(file: str | Path, held: LogFile | None, wanted: Format | None) -> Found | Beside:
    try:
        sample = sample_of(file, held)
    except InvalidDataError as error:
        return Found(file, wanted or _NO_FORMAT, "", error, held)
    if wanted is None or not wanted.recognises(sample):
        for side in _SIDES if wanted is None else _ABOUT.get(wanted.name, ()):
            if (why := side.recognises(sample)) and not _is_native(sample):
                return Beside(file, side, why, held)
    if wanted:
        return Found(file, wanted, wanted.recognises(sample) or "as it was said to be", None, held)
    for format in FORMATS:
        if why := format.recognises(sample):
            return Found(file, format, why, None, held)
    if refusal := _unknown(sample):
        return Found(file, _NO_FORMAT, "", refusal, held)
    return Found(file, NATIVE, "nothing in it speaks for another format" if sample.lines else "it is empty", None, held)


def sample_of(file: str | Path, held: LogFile | None) -> Sample:
    """Read the beginning of a file."""
    if held:
        return _sample(held)
    with open(file, "rb") as raw:
        refuse_foreign(raw, str(file))
        status = os.fstat(raw.fileno())
        return _sample(LogFile(str(file), "", status.st_size, raw, status.st_mtime_ns))


def _sample(log: LogFile) -> Sample:
    if is_parquet(log):
        columns = parquet_columns(log)
        first = {name: None for name in columns}
        return Sample(log.name, objects=(first,), columns=columns)
    lines = [line.content.decode() for line in itertools.islice(log.lines(), _SAMPLED) if not line.problem]
    objects: list[dict[str, object]] = []
    if any(line.lstrip()[:1] in ("{", "[") for line in lines[:1]):
        with contextlib.suppress(InvalidDataError):  # it is said when the file is read
            objects = [entry.value for entry in itertools.islice(entries(log), _SAMPLED) if not entry.problem]
    return Sample(log.name, tuple(objects), tuple(lines))


def _unknown(sample: Sample) -> InvalidDataError | None:
    """Say what an unknown file comes nearest to; None where reading it as uncited's own names what is wrong."""
    keys = list(sample.objects[0]) if sample.objects else []
    if not keys:
        if not sample.lines or sample.lines[0].lstrip()[:1] in ("{", "["):
            return None
        shown = sample.lines[0][:60]
        return InvalidDataError(
            f'{sample.name}: its first line, "{shown}", is neither JSON nor that of a TREC run, qrels, or a table whose'
            " columns are known",
            hint=f"uncited import {shlex.quote(sample.name)} --format table --map query=COLUMN --map text=COLUMN",
        )
    if {"retrieved", "cited"} & set(keys):
        return None
    if {"file", "line", "errors"} <= set(keys):
        return InvalidDataError(
            f"{sample.name} holds lines that an import left out, each as a text beside what is wrong with it",
            hint=f"jq -r '.raw // empty' {shlex.quote(sample.name)} > mended.jsonl   # to be mended and imported",
        )
    matches = [(len(set(format.keys) & set(keys)), format) for format in FORMATS if format.keys]
    most, nearest = max(matches, key=lambda match: match[0])
    shown = ", ".join(keys[:12])
    if not most:
        said = f"{sample.name} is in no format that is known: its objects hold {shown}"
    else:
        lacking = [key for key in nearest.keys if key not in keys]
        said = (
            f"{sample.name} is in no format that is known; the nearest is {nearest.name} ({nearest.title}), which also"
            f" needs {', '.join(lacking)}; its objects hold {shown}"
        )
    return InvalidDataError(
        said, hint=f"uncited import {shlex.quote(sample.name)} --map query=COLUMN --map text=COLUMN"
    )


def _arranged(mains: list[Found], beside: list[Beside], corpus: Path | None, whole: Path | None) -> Plan:
    """Put runs and retrieval results beside answers, queries beside a run; refuse what is beside nothing."""
    names = {found.format.name for found in mains}
    if trec_rag.ANSWERS.name in names:
        beside = [
            *beside,
            *(
                Beside(f.file, _BESIDE_ANSWERS[f.format.name], f.why, f.held)
                for f in mains
                if f.format.name in _BESIDE_ANSWERS
            ),
        ]
        mains = [found for found in mains if found.format.name not in _BESIDE_ANSWERS]
    if names & {trec.RUN.name, trec_rag.ANSWERS.name, trec_rag.RESULTS.name}:
        mains = [found for found in mains if found.format.name != trec.BEIR.name]
    told = {side.name for found in mains for side in _ABOUT.get(found.format.name, ())}
    for more in beside:
        if more.side.name not in told:
            about = " or ".join(name for name, sides in _ABOUT.items() if more.side in sides)
            raise UsageError(
                f"{more.file} holds {more.side.name}, which say more about another file ({about}); give both",
                hint=f"uncited import FILE {shlex.quote(str(more.file))}",
            )
    return Plan(tuple(mains), tuple(beside), corpus or whole, None if corpus else whole)


def _check_folders(mains: Sequence[Found], wanted: Format | None) -> None:
    """Refuse a folder of another format than the one that was named; data sets of Hugging Face are tables."""
    for found in mains:
        if wanted and found.format is not wanted and (found.format, wanted) != (HF, TABLE):
            folder = found.file if found.format is HF else os.path.dirname(found.file)
            raise UsageError(
                f"{folder} is {found.why}, which is the format {found.format.name} and not {wanted.name}",
                hint=f"uncited import {shlex.quote(str(folder))}",
            )


def files_beside(plan: Plan) -> tuple[FileBeside, ...]:
    """Say of each file beside the main ones what it is, and beside which; queries that are a main file are left out."""
    told = []
    for more in plan.beside:
        about = [f for f in plan.mains if more.side in _ABOUT.get(f.format.name, ()) and f.file != more.file]
        if about:
            names = tuple(_name(found) for found in about)
            told.append(FileBeside(_name(more), more.side.name, names, more.why))
    return tuple(told)


def _name(file: Found | Beside) -> str:
    return file.held.name if file.held else str(file.file)


def given_of(plan: Plan, mapping: Mapping[str, str]) -> tuple[Given, tuple[str, ...]]:
    """Load what stands beside the main files; return it, and the fingerprints of the files."""
    given = Given(mapping=mapping)
    fingerprints = []
    # Grades and queries come before what refers to them; within a kind, the order of the command.
    for more in sorted(plan.beside, key=lambda more: more.side.name):
        with contextlib.ExitStack() as stack:
            log = more.held or stack.enter_context(opened(more.file))
            more.side.load(log, given)
            fingerprints.append(log.fingerprint)
    return given, tuple(sorted(fingerprints))
