"""From one line of a log to an interaction, or to what is wrong with it."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from mining.corpus import Corpus
from mining.log_errors import at_most, explain
from mining.log_format import LoggedChunk, LoggedInteraction, LoggedSignal
from mining.plain_lines import read_plain
from store.ids import canonical_json
from store.interactions import Interaction, Retrieved, Signal

CITED = "cited"
_LINE_KEYS, _CHUNK_KEYS, _SIGNAL_KEYS = (
    frozenset(model.model_fields) for model in (LoggedInteraction, LoggedChunk, LoggedSignal)
)


def read_interaction(content: bytes, line: int, corpus: Corpus | None) -> Interaction | list[str]:
    """Read one line (UTF-8 JSON); return the interaction, or all that is wrong with the line."""
    logged = read_plain(content)
    if logged is None:
        try:
            logged = LoggedInteraction.model_validate_json(content).model_dump()
        except ValidationError as error:
            return explain(error)
    found = [_with_text(chunk, corpus) for chunk in logged["retrieved"]]
    retrieved = [chunk for chunk in found if chunk]
    problems = [] if _agree(logged, retrieved) else list(_contradictions(logged, found))
    try:
        extra = canonical_json(_extra(logged))
    except ValueError:
        problems.append("a key beyond the format holds NaN or an infinity, which JSON has not")
    if problems:
        return at_most(problems)
    return Interaction(
        query=logged["query"],
        retrieved=tuple(retrieved),
        signals=tuple(_signals(logged)),
        line=line,
        external_id=logged["interaction_id"],
        query_id=logged["query_id"],
        answer=logged["answer"],
        source=logged["source"] or None,
        happened_at=logged["time"],
        extra=extra,
    )


def _with_text(chunk: dict[str, Any], corpus: Corpus | None) -> Retrieved | None:
    name, text, kind, document, title = (chunk[key] for key in ("chunk_id", "text", "kind", "document", "title"))
    if text is None:
        entry = corpus.find(name) if corpus else None
        if not entry:
            return None
        text, kind = entry.text, kind or entry.kind
        document, title = document or entry.document, title or entry.title
    return Retrieved(name, chunk["rank"], text, chunk["score"], kind or "text", document or None, title or None)


def _agree(logged: dict[str, Any], retrieved: list[Retrieved]) -> bool:
    """Tell quickly, for nearly all lines, that `_contradictions` would find none."""
    listed = {chunk.external_id for chunk in retrieved}
    return (
        len({chunk.rank for chunk in retrieved}) == len(listed) == len(logged["retrieved"])
        and listed.issuperset(logged["cited"])
        and not logged["signals"]
    )


def _contradictions(logged: dict[str, Any], found: list[Retrieved | None]) -> Iterator[str]:
    """Say what no schema can: ranks and texts that contradict each other, ids that were not retrieved."""
    ranks: dict[int, int] = {}
    texts: dict[str, str] = {}
    without_text: list[tuple[int, str]] = []
    for place, (chunk, retrieved) in enumerate(zip(logged["retrieved"], found, strict=True)):
        name, rank = chunk["chunk_id"], chunk["rank"]
        if (earlier := ranks.setdefault(rank, place)) != place:
            yield f"retrieved[{place}].rank: {rank} is the rank of retrieved[{earlier}] too"
        if not retrieved:
            without_text.append((place, name))
        elif texts.setdefault(name, retrieved.text) != retrieved.text:
            yield f'retrieved[{place}]: chunk "{name}" stands in this list with another text already'
    if without_text:  # all together: where the corpus is missing, all of them lack theirs
        place, name = without_text[0]
        others = f"; nor have {len(without_text) - 1:,} others" if len(without_text) > 1 else ""
        yield f'retrieved[{place}]: chunk "{name}" has no text, here or in a corpus file (--corpus FILE){others}'
    listed = {chunk["chunk_id"] for chunk in logged["retrieved"]}
    for place, name in enumerate(logged["cited"]):
        if name not in listed:
            yield f'cited[{place}]: "{name}" was not retrieved'
    for place, signal in enumerate(logged["signals"] or ()):
        if signal["chunk_id"] is not None and signal["chunk_id"] not in listed:
            yield f'signals[{place}].chunk_id: "{signal["chunk_id"]}" was not retrieved'


def _signals(logged: dict[str, Any]) -> Iterator[Signal]:
    """Each cited chunk carries the signal `cited` once; where `signals` tells of it too, that one stands."""
    others: list[dict[str, Any]] = logged["signals"] or []
    told = {other["chunk_id"] for other in others if other["signal"] == CITED}
    yield from (Signal(CITED, name) for name in dict.fromkeys(logged["cited"]) if name not in told)
    for other in others:
        yield Signal(other["signal"], other["chunk_id"], other["value"], other["time"], other["source"] or None)


def _extra(logged: dict[str, Any]) -> dict[str, Any]:
    """Collect what the line holds beyond the format; of chunks by rank, of signals by their place (from 0)."""
    extra = _beyond(logged, _LINE_KEYS)
    if chunks := {str(c["rank"]): _beyond(c, _CHUNK_KEYS) for c in logged["retrieved"] if len(c) > len(_CHUNK_KEYS)}:
        extra["retrieved"] = chunks
    signals = enumerate(logged["signals"] or ())
    if told := {str(place): _beyond(s, _SIGNAL_KEYS) for place, s in signals if len(s) > len(_SIGNAL_KEYS)}:
        extra["signals"] = told
    return extra


def _beyond(told: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key not in known} if len(told) > len(known) else {}
