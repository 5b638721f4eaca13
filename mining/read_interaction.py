"""From one line of a log to an interaction, or to what is wrong with it."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from mining.corpus import Corpus
from mining.log_errors import at_most, explain
from mining.log_format import LoggedChunk, LoggedInteraction, LoggedSignal
from store.ids import canonical_json
from store.interactions import Interaction, Retrieved, Signal

CITED = "cited"


def read_interaction(content: bytes, line: int, corpus: Corpus | None) -> Interaction | list[str]:
    """Read one line (UTF-8 JSON); return the interaction, or all that is wrong with the line."""
    try:
        logged = LoggedInteraction.model_validate_json(content)
    except ValidationError as error:
        return explain(error)
    found = [_with_text(chunk, corpus) for chunk in logged.retrieved]
    problems = list(_contradictions(logged, found))
    extra = _extra(logged)
    try:
        extra_json = canonical_json(extra)
    except ValueError:
        problems.append("a key beyond the format holds NaN or an infinity, which JSON has not")
    if problems:
        return at_most(problems)
    return Interaction(
        query=logged.query,
        retrieved=tuple(chunk for chunk in found if chunk),
        signals=tuple(_signals(logged)),
        line=line,
        external_id=logged.interaction_id,
        query_id=logged.query_id,
        answer=logged.answer,
        source=logged.source or None,
        happened_at=logged.time,
        extra=extra_json,
    )


def _with_text(chunk: LoggedChunk, corpus: Corpus | None) -> Retrieved | None:
    text, kind, document, title = chunk.text, chunk.kind, chunk.document, chunk.title
    if text is None:
        entry = corpus.find(chunk.chunk_id) if corpus else None
        if not entry:
            return None
        text, kind = entry.text, kind or entry.kind
        document, title = document or entry.document, title or entry.title
    return Retrieved(chunk.chunk_id, chunk.rank, text, chunk.score, kind or "text", document or None, title or None)


def _contradictions(logged: LoggedInteraction, found: list[Retrieved | None]) -> Iterator[str]:
    """Say what no schema can: ranks and texts that contradict each other, ids that were not retrieved."""
    ranks: dict[int, int] = {}
    texts: dict[str, str] = {}
    for place, (chunk, retrieved) in enumerate(zip(logged.retrieved, found, strict=True)):
        if (earlier := ranks.setdefault(chunk.rank, place)) != place:
            yield f"retrieved[{place}].rank: {chunk.rank} is the rank of retrieved[{earlier}] too"
        if not retrieved:
            yield f'retrieved[{place}]: chunk "{chunk.chunk_id}" has no text, here or in a corpus file'
        elif texts.setdefault(chunk.chunk_id, retrieved.text) != retrieved.text:
            yield f'retrieved[{place}]: chunk "{chunk.chunk_id}" stands in this list with another text already'
    listed = {chunk.chunk_id for chunk in logged.retrieved}
    for place, name in enumerate(logged.cited):
        if name not in listed:
            yield f'cited[{place}]: "{name}" was not retrieved'
    for place, signal in enumerate(logged.signals or ()):
        if signal.chunk_id is not None and signal.chunk_id not in listed:
            yield f'signals[{place}].chunk_id: "{signal.chunk_id}" was not retrieved'


def _signals(logged: LoggedInteraction) -> Iterator[Signal]:
    """Each cited chunk carries the signal `cited` once; where `signals` tells of it too, that one stands."""
    others: list[LoggedSignal] = logged.signals or []
    told = {other.chunk_id for other in others if other.signal == CITED}
    yield from (Signal(CITED, name) for name in dict.fromkeys(logged.cited) if name not in told)
    yield from (Signal(o.signal, o.chunk_id, o.value, o.time, o.source or None) for o in others)


def _extra(logged: LoggedInteraction) -> dict[str, Any]:
    """Collect what the line holds beyond the format; of chunks by rank, of signals by their place (from 0)."""
    extra = dict(logged.model_extra or {})
    if chunks := {str(chunk.rank): chunk.model_extra for chunk in logged.retrieved if chunk.model_extra}:
        extra["retrieved"] = chunks
    if signals := {str(n): s.model_extra for n, s in enumerate(logged.signals or ()) if s.model_extra}:
        extra["signals"] = signals
    return extra
