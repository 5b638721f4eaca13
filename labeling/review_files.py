"""Labels that were made elsewhere: a CSV file with a header, or JSON Lines, with one label a row."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from store.candidates import Candidate, put_candidates
from store.database import Store
from store.errors import InvalidDataError, MissingError
from store.ids import pair_id
from store.policies import Policy
from store.reviews import Review, add_reviews, current_reviews, find_pairs
from store.text import storable

_COMPLAINTS_SHOWN = 20
_UNNAMED = "nobody is named as the reviewer (a column `reviewer`, or --reviewer NAME)"
_LONGEST_CELL = 2**24  # characters; Python's csv stops at 2**17 by itself, and chunks may be longer
_SHOWN = 60  # characters of a value in a complaint
_FIRST_YEAR, _LAST_YEAR = 1970, 2100


def _moment(value: object) -> datetime:
    """Read a time; only ISO 8601, since a bare number could be a year as well as seconds."""
    try:
        moment = datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        raise ValueError("is no ISO 8601 time, such as 2026-03-01T10:00:00Z") from error
    if not _FIRST_YEAR <= moment.year < _LAST_YEAR:
        raise ValueError(f"is not between {_FIRST_YEAR} and {_LAST_YEAR}")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_Text = Annotated[str, StringConstraints(min_length=1)]  # with any constraint, pydantic refuses half characters
_Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Row(BaseModel):
    """One row, by the names of its columns; other columns are left alone."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    query: _Text = Field(validation_alias=AliasChoices("query", "query_id"))
    chunk: _Text = Field(validation_alias=AliasChoices("chunk", "chunk_id"))
    label: _Name
    reviewer: _Name | None = None
    time: Annotated[datetime, BeforeValidator(_moment)] | None = None
    note: _Text | None = None


@dataclass(frozen=True, slots=True)
class ImportedReviews:
    """What an import brought. `candidates` counts the pairs that were none under this policy before."""

    rows: int
    new: int
    known: int
    candidates: int


@dataclass(frozen=True, slots=True)
class _Answer:
    """A row that has been checked, with what it is about."""

    line: int
    anchor_id: str
    chunk_id: str
    reviewer: str
    row: _Row
    is_candidate: bool

    @property
    def pair_id(self) -> str:
        return pair_id(self.anchor_id, self.chunk_id)


def import_reviews(store: Store, policy: Policy, file: Path, *, reviewer: str | None = None) -> ImportedReviews:
    """Store the labels of a file as reviews under `policy`, all or none of them.

    Columns: `query` (text, or the log's query id), `chunk` (text, or the log's chunk id), `label`, and optionally
    `reviewer`, `time` (ISO 8601; without a zone it is UTC) and `note`. A label for a query and a chunk that were never
    put forward together makes them a candidate. Importing twice changes nothing: a row without a time counts as given
    now, unless that is what the reviewer last said about the pair anyway.

    Args:
        store: where to.
        policy: whose labels these are.
        file: UTF-8; JSON Lines if its first character is `{`, else CSV.
        reviewer: who labelled, where a row does not say.

    Raises:
        MissingError: there is no such file.
        InvalidDataError: rows are wrong; each is named by file and line, and nothing was imported.
    """
    rows, complaints = _read(file)
    answers = _check(store, policy, rows, reviewer, complaints)
    if complaints:
        raise _invalid(file, complaints)
    reviews = _reviews(store, policy, file, answers)
    newcomers = {a.pair_id: a for a in answers if not a.is_candidate}
    with store.transaction():
        put_candidates(store, policy.name, [_candidate(policy, a) for a in newcomers.values()])
        new = add_reviews(store, reviews)
    return ImportedReviews(rows=len(answers), new=new, known=len(answers) - new, candidates=len(newcomers))


def _read(file: Path) -> tuple[dict[int, _Row], list[tuple[int, str]]]:
    """Return the rows by line, and what is wrong with those that are none."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:  # a chunk may hold "\r\n"
            text = stream.read()
    except FileNotFoundError as error:
        raise MissingError(f"no file {file}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDataError(f"{file} cannot be read as UTF-8 text: {error}") from error
    is_json = text.lstrip().startswith("{")
    rows: dict[int, _Row] = {}
    complaints: list[tuple[int, str]] = []
    for line, content in _json_lines(text) if is_json else _csv_rows(file, text):
        if isinstance(content, str):
            complaints.append((line, content))
            continue
        try:
            rows[line] = _Row.model_validate({k: v for k, v in content.items() if v not in (None, "")})
        except ValidationError as error:
            complaints += [(line, _wording(e)) for e in error.errors()]
    if not rows and not complaints:
        raise InvalidDataError(f"{file} holds no labels")
    return rows, complaints


def _json_lines(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            try:
                value = json.loads(content)
            except RecursionError:
                yield line, "not JSON that can be read: nested too deeply"
            except ValueError as error:
                yield line, f"not JSON: {error}"
            else:
                yield line, value if isinstance(value, dict) else "not a JSON object"


def _csv_rows(file: Path, text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        lacking = [
            " or ".join(names)
            for names in (("query", "query_id"), ("chunk", "chunk_id"), ("label",))
            if not set(names) & set(header)
        ]
        if lacking:
            columns = f"it has {', '.join(header)}" if any(header) else "it is empty"
            raise InvalidDataError(f"{file}:1: the header lacks {' and '.join(lacking)}; {columns}")
        line = reader.line_num + 1
        for values in reader:
            if len(values) > len(header):
                yield line, f"{len(values)} values for {len(header)} columns; is a comma not quoted?"
            elif any(values):
                yield line, dict(zip(header, values, strict=False))
            line = reader.line_num + 1
    except csv.Error as error:
        yield reader.line_num, f"not CSV: {error}"


def _check(
    store: Store, policy: Policy, rows: Mapping[int, _Row], reviewer: str | None, complaints: list[tuple[int, str]]
) -> list[_Answer]:
    """Find what each row is about; add to `complaints` what cannot be taken."""
    keys = {
        "row": pa.array(rows, pa.int64()),
        "query": pa.array([row.query for row in rows.values()], pa.string()),
        "chunk": pa.array([row.chunk for row in rows.values()], pa.string()),
    }
    found: dict[int, list[dict[str, Any]]] = {}
    for match in find_pairs(store, policy, pa.table(keys)).to_pylist():
        found.setdefault(match["row"], []).append(match)
    labels = [answer.name for answer in policy.answers]
    answers = []
    said: dict[tuple[str, str], _Answer] = {}
    for line, row in rows.items():
        # A log id may have stood for several texts; the one that was put forward for this query is meant.
        matches = [m for m in found[line] if m["is_candidate"]] or found[line]
        who = row.reviewer or reviewer
        wrong = _complaints(row, matches, labels, who)
        if wrong or who is None:
            complaints += [(line, message) for message in wrong]
            continue
        answer = _Answer(line, matches[0]["anchor_id"], matches[0]["chunk_id"], who, row, matches[0]["is_candidate"])
        earlier = said.setdefault((answer.pair_id, who), answer)
        if earlier.row.label != row.label and (row.time is None or earlier.row.time is None):
            complaints.append((line, f"{who} says {row.label!r} here and {earlier.row.label!r} in line {earlier.line}"))
        answers.append(answer)
    return answers


def _complaints(row: _Row, matches: list[dict[str, Any]], labels: list[str], reviewer: str | None) -> list[str]:
    wrong = []
    if row.label not in labels:
        wrong.append(f"label {_short(row.label)} is not one of {', '.join(labels)}")
    if reviewer is None:
        wrong.append(_UNNAMED)
    for what, key, value in (("query", "anchor_id", row.query), ("chunk", "chunk_id", row.chunk)):
        ids = {m[key] for m in matches}
        if ids == {None}:
            wrong.append(f"{what} {_short(value)} is neither a text nor an id in the logs")
        elif len(ids) > 1:
            wrong.append(f"{what} id {_short(value)} stands for {len(ids)} texts in the logs; give the text itself")
    return wrong


def _reviews(store: Store, policy: Policy, file: Path, answers: list[_Answer]) -> list[Review]:
    current = current_reviews(store, policy).select(["pair_id", "reviewer", "label"]).to_pydict()
    says = {(pair, who): label for pair, who, label in zip(*current.values(), strict=True)}
    now = datetime.now(UTC)
    reviews = []
    for answer in answers:
        row = answer.row
        if row.time is None and says.get((answer.pair_id, answer.reviewer)) == row.label:
            continue
        reviews.append(
            Review(
                pair_id=answer.pair_id,
                labelling_fingerprint=policy.labelling_fingerprint,
                reviewer=answer.reviewer,
                status="submitted",
                label=row.label,
                stream="imported",
                reviewed_at=row.time or now,
                origin=f"{storable(file.name)}:{answer.line}",
                note=row.note or None,
            )
        )
    return reviews


def _candidate(policy: Policy, answer: _Answer) -> Candidate:
    positive = policy.role(answer.row.label) == "positive"
    return Candidate(answer.anchor_id, answer.chunk_id, "imported", "positive" if positive else "negative")


def _wording(error: Any) -> str:  # noqa: ANN401 (pydantic's ErrorDetails)
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{name} is empty or not there"
    return f"{name} {_short(error['input'])}: {error['msg'].removeprefix('Value error, ')}"


def _short(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


def _invalid(file: Path, complaints: list[tuple[int, str]]) -> InvalidDataError:
    ordered = [f"{file}:{line}: {message}" for line, message in sorted(complaints)]
    more = len(ordered) - _COMPLAINTS_SHOWN
    if more > 0:
        ordered = [*ordered[:_COMPLAINTS_SHOWN], f"... and {more} more"]
    unnamed = all(message == _UNNAMED for _, message in complaints)
    hint = "the same command with --reviewer NAME" if unnamed else "correct the file and run it again"
    return InvalidDataError("\n".join([*ordered, "Nothing was imported."]), hint=hint)
