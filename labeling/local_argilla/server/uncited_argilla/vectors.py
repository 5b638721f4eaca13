"""Similarity search: one matrix of unit vectors a vector setting, kept in memory and brought up to date by version."""

import json
import sqlite3
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import text_index

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


@dataclass(slots=True)
class _Matrix:
    rows: "Floats"  # (capacity, dimensions), unit length; only the first `len(record_ids)` are in use
    version: tuple[int, int]
    record_ids: list[str] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)


_BATCH = 1000
_matrices: dict[tuple[str, str], _Matrix] = {}  # by dataset and vector setting
_lock = threading.Lock()


def nearest(
    connection: sqlite3.Connection,
    dataset_id: str,
    vector_settings_id: str,
    value: list[float],
    candidates: set[str] | None,
    excluded: str | None,
    count: int,
) -> list[tuple[str, float]]:
    """Return up to `count` (record id, score), best first; score = (1 + cosine) / 2, as Elasticsearch has it.

    `candidates` limits the records (None: all that have a vector); `excluded` is the record that was asked about.
    """
    import numpy as np

    with _lock:
        matrix = _current(connection, dataset_id, vector_settings_id, len(value))
        used = len(matrix.record_ids)
        if candidates is None:
            chosen = np.arange(used)
        else:
            positions = [matrix.positions[record_id] for record_id in candidates if record_id in matrix.positions]
            chosen = np.array(sorted(positions), dtype=np.int64)
        if excluded in matrix.positions:
            chosen = chosen[chosen != matrix.positions[excluded]]
        rows = matrix.rows[:used] if candidates is None and excluded is None else matrix.rows[chosen]
        scores = (1 + rows @ _unit(np.array([value], dtype=np.float32))[0]) / 2
        record_ids = matrix.record_ids
        best = np.argsort(-scores, kind="stable")[:count]
        return [(record_ids[chosen[i]], float(scores[i])) for i in best]


def forget(dataset_id: str) -> None:
    """Give back the memory of a dataset that is gone."""
    with _lock:
        for key in [key for key in _matrices if key[0] == dataset_id]:
            del _matrices[key]


def _current(connection: sqlite3.Connection, dataset_id: str, vector_settings_id: str, dimensions: int) -> _Matrix:
    import numpy as np

    version = text_index.version(connection, dataset_id)
    matrix = _matrices.get((dataset_id, vector_settings_id))
    if matrix is None or matrix.version[1] != version[1]:
        matrix = _Matrix(np.empty((0, dimensions), dtype=np.float32), (0, version[1]))
    if matrix.version != version:
        rows = connection.execute(
            "SELECT v.record_id, v.value FROM search.docs d JOIN main.vectors v ON v.record_id = d.record_id "
            "WHERE d.dataset_id = ? AND d.doc > ? AND d.doc <= ? AND v.vector_settings_id = ?",
            (dataset_id, matrix.version[0], version[0], vector_settings_id),
        )
        while batch := rows.fetchmany(_BATCH):  # as lists of floats, all vectors would take ten times the memory
            _put(matrix, [(record_id, json.loads(value)) for record_id, value in batch])
        matrix.version = version
        _matrices[dataset_id, vector_settings_id] = matrix
    return matrix


def _put(matrix: _Matrix, vectors: list[tuple[str, list[float]]]) -> None:
    import numpy as np

    if not vectors:
        return
    for record_id, _ in vectors:
        if record_id not in matrix.positions:
            matrix.positions[record_id] = len(matrix.record_ids)
            matrix.record_ids.append(record_id)
    needed = len(matrix.record_ids)
    if needed > len(matrix.rows):
        grown = np.empty((max(needed, len(matrix.rows) * 3 // 2), matrix.rows.shape[1]), dtype=np.float32)
        grown[: len(matrix.rows)] = matrix.rows
        matrix.rows = grown
    positions = [matrix.positions[record_id] for record_id, _ in vectors]
    matrix.rows[positions] = _unit(np.array([value for _, value in vectors], dtype=np.float32))


def _unit(rows: "Floats") -> "Floats":
    import numpy as np

    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    unit: Floats = rows / lengths
    return unit
