"""The library: log interactions from an application, open a workspace, load a build.

import uncited  # a few hundredths of a second; what is heavy is imported when a workspace is opened

uncited.log("interactions.jsonl", query, retrieved=[{"chunk_id": "a", "text": "..."}], cited=["a"])
tracer_provider.add_span_processor(uncited.span_processor("spans.jsonl"))  # or by OpenTelemetry

uncited.import_frame("my-workspace", frame, mapping={"query": "question", "text": "passages"})  # of pandas

with uncited.open("my-workspace") as store: ...
dataset = uncited.load_build("my-workspace", policy="answers-the-question")
dataset["train"]  # anchor, positive, negative: what SentenceTransformerTrainer takes
"""

import contextlib
import errno
import logging
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json  # quicker than `json`: an application waits for it

if TYPE_CHECKING:
    import pandas as pd
    from datasets import DatasetDict
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

    from mining.import_result import ImportResult
    from store.database import Store

__all__ = ["import_frame", "load_build", "log", "open", "span_processor"]


def log(
    file: str | Path,
    query: str,
    *,
    retrieved: Sequence[Mapping[str, Any]],
    cited: Sequence[str] | None = None,
    sample_rate: float = 1.0,
    redact: Callable[[dict[str, Any]], Mapping[str, Any] | None] | None = None,
    rotate_bytes: int | None = None,
    **fields: object,
) -> bool:
    """Append one interaction to a JSON Lines file that `uncited import` reads.

    The line goes out in one write to a file opened for appending, so that several threads and processes may log to one
    file. What a full disk or a power failure tore off is closed by the next call: it costs that line and no other.

    `functools.partial(uncited.log, "interactions.jsonl", redact=scrub)` spares repeating what never changes.

    Args:
        file: where to; made if it is missing.
        query: what was asked.
        retrieved: the ranked chunks, best first: `chunk_id`, `text`, and optionally `score`, `kind`, `document`,
            `title`. A missing `rank` is the position. A score that is not finite is none: JSON has no such numbers.
        cited: the ids of the chunks that the answer cited; may be empty. None: import reads them from the answer
            (`uncited import --citations`).
        sample_rate: the share of the queries to log. The hash of a query decides, so that all answers to one are
            logged or none, in every process.
        redact: gets the line as it would be written and returns what to write, or None for nothing: the place to
            take out personal data. If it raises, nothing is written.
        rotate_bytes: once the file holds so many bytes it is renamed to `NAME-TIME-NUMBER.jsonl`, beside it.
        fields: any other field of the format: `interaction_id`, `query_id`, `answer`, `source`, `signals`, `time`
            (a `datetime`, or ISO 8601; default: now).

    Returns:
        Whether the line was written.

    Raises:
        OSError: it could not be written.
        ValueError: `sample_rate` is no share, or JSON cannot hold a value: an object of no type that it knows, a text
            that is no Unicode (it holds half a surrogate pair).
    """
    if not _sampled(query, sample_rate):
        return False
    line: dict[str, Any] = {
        "query": query,
        "time": datetime.now(UTC).isoformat(),
        **fields,
        "retrieved": [{"rank": rank, **chunk} for rank, chunk in enumerate(retrieved, start=1)],
    }
    if cited is not None:
        line["cited"] = list(cited)
    if sample_rate < 1:
        line["sample_rate"] = sample_rate
    kept = line if redact is None else redact(line)
    if kept is not None:
        _append(file, kept, rotate_bytes)
    return kept is not None


def span_processor(
    file: str | Path,
    *,
    sample_rate: float = 1.0,
    redact: Callable[[dict[str, Any]], Mapping[str, Any] | None] | None = None,
    rotate_bytes: int | None = None,
) -> "SpanProcessor":
    """Make an OpenTelemetry span processor that appends the spans of retrieval to a file that `uncited import` reads.

    `TracerProvider().add_span_processor(uncited.span_processor("spans.jsonl"))`. It keeps the spans that follow the
    OpenInference conventions (https://arize-ai.github.io/openinference/spec/semantic_conventions.html) and of them
    what import reads: what was asked, retrieved, reranked and answered, what evaluators said, and the name of the
    service. Of other spans (tools, requests, ...) around those it keeps name, ids and times, so that import finds the
    way out to the answer. A span is written when it ends, and import puts those of a trace together; in memory stand
    only the ids of the spans that have not ended. What goes wrong is logged under the name `uncited` and never raised,
    since the application has other things to do.

    Args:
        file: where to.
        sample_rate: the share of the traces to log; the trace's id decides.
        redact: as for `log`; gets a span.
        rotate_bytes: as for `log`. A trace that runs while the file is put aside stands in two files then: give import
            both as one.

    Raises:
        ImportError: the package `opentelemetry-sdk` is not installed.
    """
    from opentelemetry.sdk.trace import SpanProcessor

    class Processor(SpanProcessor):  # type: ignore[misc]
        """Writes spans as they end."""

        def __init__(self) -> None:
            self._is_around: dict[str, bool] = {}  # span that has not ended -> one within it was written

        def on_start(self, span: "Span", parent_context: "Context | None" = None) -> None:
            with _logging_what_goes_wrong(file):
                self._is_around[_ids(span)["span_id"]] = False

        def on_end(self, span: "ReadableSpan") -> None:
            with _logging_what_goes_wrong(file):
                self._write(span)

        def _write(self, span: "ReadableSpan") -> None:
            is_around = self._is_around.pop(_ids(span)["span_id"], False)
            line = _span_line(span)
            tells = is_around or line["attributes"] or line["events"]
            if not tells or not _sampled(line["context"]["trace_id"], sample_rate):
                return
            if line["parent_id"] in self._is_around:
                self._is_around[line["parent_id"]] = True
            kept = line if redact is None else redact(line)
            if kept is not None:
                _append(file, kept, rotate_bytes)

    return Processor()


@contextlib.contextmanager
def _logging_what_goes_wrong(file: str | Path) -> Iterator[None]:
    try:
        yield
    except Exception:
        logging.getLogger("uncited").exception("a span was not logged to %s", file)


_KIND = "openinference.span.kind"
_SAID = ("annotations.", "evaluations.")
_RETRIEVING = (_KIND, "input.", "output.", "retrieval.", "reranker.", *_SAID)
_ANSWERING = (_KIND, "output.", "llm.output_messages.", *_SAID)  # prompts stay where they are
_SPAN_KEYS = {
    **dict.fromkeys(("RETRIEVER", "RERANKER"), _RETRIEVING),
    **dict.fromkeys(("CHAIN", "AGENT", "LLM"), _ANSWERING),
}
_EVALUATION = "gen_ai.evaluation.result"
_EVALUATION_KEYS = ("gen_ai.evaluation.name", "gen_ai.evaluation.score.")
_SERVICE_KEYS = ("openinference.project.name", "service.name")
_NO_SERVICE = "unknown_service"  # what the SDK calls a service that nobody named


def _span_line(span: "ReadableSpan") -> dict[str, Any]:
    """Return of a span what import reads; one that tells nothing has neither attributes nor events."""
    attributes = span.attributes or {}
    service = {
        key: value
        for key, value in span.resource.attributes.items()
        if key in _SERVICE_KEYS and not str(value).startswith(_NO_SERVICE)
    }
    return {
        "name": span.name,
        "context": _ids(span),
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "start_time": _iso(span.start_time),
        "end_time": _iso(span.end_time),
        "attributes": _with_keys(attributes, _SPAN_KEYS.get(str(attributes.get(_KIND)).upper(), _SAID)),
        "events": [
            {
                "name": event.name,
                "timestamp": _iso(event.timestamp),
                "attributes": _with_keys(event.attributes or {}, _EVALUATION_KEYS),
            }
            for event in span.events
            if event.name == _EVALUATION
        ],
        "resource": {"attributes": service},
    }


def _ids(span: "ReadableSpan") -> dict[str, str]:
    context = span.get_span_context()
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _with_keys(attributes: Mapping[str, Any], beginnings: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if key.startswith(beginnings)}


def _iso(nanoseconds: int | None) -> str | None:
    return None if nanoseconds is None else datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat()


def _sampled(key: str, rate: float) -> bool:
    if not 0 <= rate <= 1:
        raise ValueError(f"sample_rate = {rate} is no share between 0 and 1")
    return rate == 1 or zlib.crc32(key.encode(errors="surrogatepass")) < rate * 2**32


def _append(file: str | Path, line: Mapping[str, Any], rotate_bytes: int | None) -> None:
    written = to_json(line, inf_nan_mode="null") + b"\n"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        _lock(descriptor)  # released when the file is closed, or the process ends
        before = os.fstat(descriptor)
        is_torn = before.st_size > 0 and os.pread(descriptor, 1, before.st_size - 1) != b"\n"
        if is_torn:
            written = b"\n" + written
        if os.write(descriptor, written) < len(written):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        if rotate_bytes is not None and before.st_size + len(written) >= rotate_bytes:
            _rotate(Path(file), before)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Wait for other writers, where the system and the file system can: half a line of theirs is no torn one."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _rotate(file: Path, written_to: os.stat_result) -> None:
    """Give the file another name, unless another process did so already."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(file.stat(), written_to):
            file.rename(file.with_name(f"{file.stem}-{stamp}-{os.getpid()}{file.suffix}"))


def open(workspace: str | Path) -> "Store":
    """Open a workspace's database; use it as a context manager. See `store` for what can be read from it.

    Raises:
        store.errors.UserError: there is no workspace, or another process holds its database.
    """
    from store.workspace import open_workspace

    return open_workspace(Path(workspace)).open()


def import_frame(
    workspace: str | Path, frame: "pd.DataFrame", *, mapping: Mapping[str, str] | None = None
) -> "ImportResult":
    """Import a pandas DataFrame whose rows are interactions or retrieved chunks; see docs/formats.md, tables.

    Args:
        workspace: its folder.
        frame: its index is not read.
        mapping: field of uncited -> column, for the columns that are not called as uncited does.

    Raises:
        store.errors.UserError: there is no workspace, or rows are bad, each named by its number; nothing came in then.
    """
    from mining.import_log import import_frame as import_into

    with open(workspace) as store:
        return import_into(store, frame, mapping=mapping)


def load_build(workspace: str | Path, *, policy: str, build_id: str | None = None) -> "DatasetDict":
    """Load the newest build of a policy, or the one named, as a dataset with splits `train` and `test`.

    Returns:
        Columns anchor, positive, negative (strings), in the order that SentenceTransformerTrainer expects.

    Raises:
        store.errors.UserError: there is no such workspace, policy or build.
    """
    from datasets import Dataset, DatasetDict

    from store.builds import build_triplets, get_build, latest_build
    from store.policies import get_policy

    with open(workspace) as store:
        build = get_build(store, build_id) if build_id else latest_build(store, get_policy(store, policy).name)
        triplets = build_triplets(store, build.build_id)
    rows = triplets.to_pandas()
    return DatasetDict(
        {
            split: Dataset.from_pandas(
                rows.loc[rows["split"] == split, ["anchor", "positive", "negative"]], preserve_index=False
            )
            for split in ("train", "test")
        }
    )
