"""What an import left in the store, told as the lines of uncited's own format."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from store.database import Store


def write_lines(file: Path, objects: Iterable[Mapping[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(one) + "\n" for one in objects), encoding="utf-8")
    return file


def write_text(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def stored(store: Store) -> list[dict[str, Any]]:
    """Every interaction, ordered by line, with its chunks by rank; what has no value is left out."""
    found = []
    for row in store.rows(
        "SELECT i.*, text AS query FROM interactions AS i JOIN anchors USING (anchor_id) ORDER BY line, interaction_id"
    ):
        key = [row["interaction_id"]]
        retrieved = store.rows(
            "SELECT r.external_id AS chunk_id, rank, text, score, document, title FROM retrievals AS r"
            " JOIN chunks USING (chunk_id) JOIN chunk_names AS n"
            " ON n.chunk_id = r.chunk_id AND n.external_id = r.external_id WHERE interaction_id = ? ORDER BY rank",
            key,
        )
        signals = store.rows(
            "SELECT s.signal, r.external_id AS chunk_id, s.value, s.happened_at AS time, s.source FROM signals AS s"
            " LEFT JOIN retrievals AS r USING (interaction_id, chunk_id) WHERE interaction_id = ?"
            " ORDER BY s.signal, r.rank, s.source, s.happened_at",
            key,
        )
        line = {
            "interaction_id": row["external_id"],
            **{name: row[name] for name in ("query_id", "query", "answer", "source", "line")},
            "time": row["happened_at"],
            "retrieved": [_without_nulls(chunk) for chunk in retrieved],
            "cited": [signal["chunk_id"] for signal in signals if signal["signal"] == "cited"],
            "signals": [_without_nulls(signal) for signal in signals if signal["signal"] != "cited"],
            "extra": json.loads(str(row["extra"])) or None,
        }
        found.append(_without_nulls(line))
    return found


def _without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
