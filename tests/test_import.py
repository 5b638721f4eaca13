import gzip
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mining import log_lines
from mining.import_log import import_files
from mining.log_format import LoggedInteraction, json_schema
from store.database import Store
from store.errors import InvalidDataError, MissingError, UsageError
from store.ids import canonical_json
from store.interactions import log_counts
from store.progress import silent

ROOT = Path(__file__).resolve().parents[1]


def _line(query: str = "how long does a flea live?", **changes: object) -> dict[str, object]:
    """A line with two chunks, the first of them cited; `changes` take the place of keys, None removes one."""
    line: dict[str, object] = {
        "query": query,
        "retrieved": [
            {"chunk_id": "c1", "rank": 1, "text": "A flea lives 100 days.", "score": 12.5},
            {"chunk_id": "c2", "rank": 2, "text": "Fleas jump."},
        ],
        "cited": ["c1"],
        **changes,
    }
    return {key: value for key, value in line.items() if value is not None}


def _write(file: Path, *lines: Mapping[str, object] | bytes) -> Path:
    file.write_bytes(b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines))
    return file


def _content(store: Store) -> dict[str, list[str]]:
    """Every row of the log tables but the times at which they were written."""
    tables = ("anchors", "chunks", "chunk_names", "interactions", "retrievals", "signals")
    found = {table: sorted(map(repr, store.rows(f"FROM {table}"))) for table in tables}
    found["imports"] = sorted(map(repr, store.rows("SELECT import_id, interactions, rejected FROM imports")))
    return found


# ----------------------------------------------------------------------------------------------- what is read, and how


def test_a_line_becomes_an_interaction_with_its_chunks_and_signals(store: Store, tmp_path: Path) -> None:
    line = _line(
        interaction_id="i1",
        query_id="q1",
        answer="100 days [1].",
        source="help desk",
        time="2026-03-31T12:00:00+02:00",
        signals=[
            {"signal": "clicked", "chunk_id": "c2", "time": "2026-03-31T10:00:05Z"},
            {"signal": "thumbs_up"},
            {"signal": "dwell", "chunk_id": "c2", "value": 0.25},
        ],
    )
    result = import_files(store, [_write(tmp_path / "log.jsonl", line)])
    assert (result.interactions, result.known, result.chunks, result.retrievals, result.rejected) == (1, 0, 2, 2, 0)
    (row,) = store.rows("SELECT * EXCLUDE (import_id) FROM interactions JOIN anchors USING (anchor_id)")
    assert row["text"] == "how long does a flea live?"
    assert (row["external_id"], row["query_id"], row["source"], row["line"]) == ("i1", "q1", "help desk", 1)
    assert row["happened_at"] == datetime(2026, 3, 31, 10, tzinfo=UTC)
    names = store.rows(
        "SELECT rank, external_id, score, text, kind FROM retrievals JOIN chunks USING (chunk_id) ORDER BY rank"
    )
    assert [tuple(name.values()) for name in names] == [
        (1, "c1", 12.5, "A flea lives 100 days.", "text"),
        (2, "c2", None, "Fleas jump.", "text"),
    ]
    signals = store.rows(
        "SELECT signal, external_id, value, happened_at FROM signals"
        " LEFT JOIN chunk_names USING (chunk_id) ORDER BY signal"
    )
    assert [tuple(row.values()) for row in signals] == [
        ("cited", "c1", 1.0, None),
        ("clicked", "c2", 1.0, datetime(2026, 3, 31, 10, 0, 5, tzinfo=UTC)),
        ("dwell", "c2", 0.25, None),
        ("thumbs_up", None, 1.0, None),
    ]


def test_keys_beyond_the_format_are_kept(store: Store, tmp_path: Path) -> None:
    line = _line(
        retriever="BM25",
        feedback={"stars": 4},
        retrieved=[{"chunk_id": "c1", "rank": 3, "text": "t", "bm25": 7}],
        signals=[{"signal": "clicked", "chunk_id": "c1", "device": "phone"}],
    )
    import_files(store, [_write(tmp_path / "log.jsonl", line)])
    assert json.loads(str(store.scalar("SELECT extra FROM interactions"))) == {
        "retriever": "BM25",
        "feedback": {"stars": 4},
        "retrieved": {"3": {"bm25": 7}},
        "signals": {"0": {"device": "phone"}},
    }


def test_a_chunk_cited_twice_carries_the_signal_once_and_keeps_its_time(store: Store, tmp_path: Path) -> None:
    told = [{"signal": "cited", "chunk_id": "c2", "time": "2026-01-01T00:00:00Z"}]
    import_files(store, [_write(tmp_path / "log.jsonl", _line(cited=["c1", "c1", "c2"], signals=told))])
    rows = store.rows(
        "SELECT external_id, happened_at IS NULL AS unknown FROM signals JOIN chunk_names USING (chunk_id)"
    )
    assert sorted((row["external_id"], row["unknown"]) for row in rows) == [("c1", True), ("c2", False)]


def test_a_list_may_be_empty_have_gaps_and_hold_a_chunk_twice(store: Store, tmp_path: Path) -> None:
    gaps = [{"chunk_id": "c1", "rank": rank, "text": "t"} for rank in (7, 2)]
    lines = [_line("nothing found", retrieved=[], cited=[]), _line("gaps", retrieved=gaps)]
    result = import_files(store, [_write(tmp_path / "log.jsonl", *lines)])
    assert (result.interactions, result.retrievals, result.chunks) == (2, 2, 1)


def test_the_same_text_is_one_chunk_under_all_its_names(store: Store, tmp_path: Path) -> None:
    retrieved = [{"chunk_id": name, "rank": rank, "text": "same"} for rank, name in enumerate(("a", "b"), 1)]
    import_files(store, [_write(tmp_path / "log.jsonl", _line(retrieved=retrieved, cited=["a"]))])
    assert store.count("SELECT count(*) FROM chunks") == 1
    assert store.count("SELECT count(*) FROM chunk_names") == 2


def test_a_byte_order_mark_blank_lines_and_windows_line_ends_are_no_trouble(store: Store, tmp_path: Path) -> None:
    last = json.dumps(_line("second")).encode()  # without a line end
    file = _write(
        tmp_path / "log.jsonl", b"\xef\xbb\xbf\n\r\n", json.dumps(_line()).encode() + b"\r\n", b"  \t\n", last
    )
    assert import_files(store, [file]).interactions == 2
    assert [row["line"] for row in store.rows("SELECT line FROM interactions ORDER BY line")] == [3, 5]


def test_a_mark_before_the_first_line_is_no_part_of_it(store: Store, tmp_path: Path) -> None:
    file = _write(tmp_path / "log.jsonl", b"\xef\xbb\xbf" + json.dumps(_line()).encode())
    assert import_files(store, [file]).interactions == 1


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:])])
def test_gzip_is_known_by_its_bytes_not_its_name(store: Store, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    plain = _write(tmp_path / "plain", _line(), _line("another"))
    packed = tmp_path / "log.jsonl"
    packed.write_bytes(pack(plain.read_bytes()))
    assert import_files(store, [packed]).interactions == 2


def test_standard_input_is_read_like_a_file(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _write(tmp_path / "log.jsonl", _line())
    with subprocess.Popen(["cat", str(file)], stdout=subprocess.PIPE, text=True) as cat:
        monkeypatch.setattr(sys, "stdin", cat.stdout)
        (imported,) = import_files(store, ["-"]).files
    assert (imported.file, imported.interactions) == ("standard input", 1)
    (again,) = import_files(store, [file]).files  # the same bytes, whichever way they come
    assert again.imported_before


def test_a_named_pipe_is_read_once_and_wholly(store: Store, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = gzip.compress(_write(tmp_path / "log.jsonl", *(_line(f"query {n}") for n in range(50))).read_bytes())
    writer = threading.Thread(target=lambda: pipe.write_bytes(content))
    writer.start()
    assert import_files(store, [pipe]).interactions == 50
    writer.join()


@pytest.mark.parametrize("citations", [None, "markers"])  # for markers a file is read twice: what do they count from?
def test_progress_adds_up_to_the_bytes_of_the_file(store: Store, tmp_path: Path, citations: str | None) -> None:
    cited = {"cited": None} if citations else {}
    file = _write(tmp_path / "log.jsonl", *(_line(f"query {n}", answer="x" * 100_000, **cited) for n in range(40)))
    told: list[list[int]] = []

    class Watching:
        def start(self, description: str, total: int | None) -> None:
            assert str(file) in description
            assert total == file.stat().st_size
            told.append([])

        def advance(self, steps: int = 1, note: str = "") -> None:
            told[-1].append(steps)

    assert import_files(store, [file], citations=citations, progress=Watching()).interactions == 40
    assert [sum(stretch) for stretch in told] == [file.stat().st_size] * (2 if citations else 1)
    assert all(len(stretch) > 2 for stretch in told)


# ----------------------------------------------------------------------------------------------------- importing twice


def test_importing_twice_changes_nothing(store: Store, tmp_path: Path) -> None:
    file = _write(tmp_path / "log.jsonl", _line(), _line("another", interaction_id="x"), _line())
    first = import_files(store, [file])
    assert (first.interactions, first.known) == (2, 1)  # the first line stands there twice
    before = _content(store)
    copy = tmp_path / "renamed.jsonl"
    copy.write_bytes(file.read_bytes())
    for again in (file, copy):
        (result,) = import_files(store, [again]).files
        assert result.imported_before
        assert (result.interactions, result.known, result.chunks, result.retrievals) == (0, 3, 0, 0)
    assert _content(store) == before


def test_the_same_interactions_in_other_bytes_are_known(store: Store, tmp_path: Path) -> None:
    line = _line(time="2026-03-31T12:00:00Z")
    import_files(store, [_write(tmp_path / "one.jsonl", line)])
    reordered = dict(reversed(line.items())) | {"time": "2026-03-31T14:00:00+02:00"}
    (result,) = import_files(store, [_write(tmp_path / "other.jsonl", reordered)]).files
    assert (result.interactions, result.known, result.imported_before) == (0, 1, False)


def test_an_interaction_told_again_with_more_signals_is_another(store: Store, tmp_path: Path) -> None:
    import_files(store, [_write(tmp_path / "one.jsonl", _line())])
    more = _line(signals=[{"signal": "clicked", "chunk_id": "c2"}])
    assert import_files(store, [_write(tmp_path / "two.jsonl", more)]).interactions == 1


_words = st.text(min_size=1, max_size=12).filter(lambda text: text.strip() and "\x00" not in text)
_moments = st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 30)).map(lambda m: m.replace(tzinfo=UTC).isoformat())
_numbers = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)
_extras = st.dictionaries(
    st.text(min_size=1).map(lambda key: f"x_{key}"),
    st.none() | st.integers(-9, 9) | st.text() | st.lists(_words),
    max_size=2,
)


@st.composite
def _interactions(draw: st.DrawFn) -> dict[str, object]:
    # One text under one name, so that reading back can tell which name a signal was given to.
    texts = dict(draw(st.lists(st.tuples(_words, _words), max_size=5, unique_by=(lambda p: p[0], lambda p: p[1]))))
    ranks = draw(st.lists(st.integers(1, 1_000_000), min_size=len(texts), max_size=len(texts), unique=True))
    retrieved = []
    for (name, text), rank in zip(texts.items(), ranks, strict=True):
        chunk = {"chunk_id": name, "rank": rank, "text": text, "score": draw(st.none() | _numbers)}
        retrieved.append(chunk | {"document": draw(st.none() | _words), "title": draw(st.none() | _words)})
    names = st.sampled_from(sorted(texts)) if texts else st.nothing()
    signals = st.fixed_dictionaries(
        {"signal": _words.filter(lambda name: name != "cited"), "value": _numbers},
        optional={"chunk_id": names, "time": _moments} if texts else {"time": _moments},
    )
    line: dict[str, object] = {
        "query": draw(_words),
        "retrieved": retrieved,
        "cited": draw(st.lists(names, max_size=3, unique=True)) if texts else [],
        "signals": draw(st.lists(signals, max_size=3)),
        **draw(_extras),
    }
    for key, value in (("interaction_id", _words), ("query_id", _words), ("answer", _words), ("source", _words)):
        line[key] = draw(st.none() | value)
    return line | {"time": draw(st.none() | _moments)}


def _told(line: Mapping[str, Any]) -> str:
    """What a line says, in one canonical form."""
    known = set(LoggedInteraction.model_fields)
    signals = [*line["signals"], *({"signal": "cited", "chunk_id": name} for name in line["cited"])]
    return canonical_json(
        [
            [line[key] for key in ("interaction_id", "query_id", "query", "answer", "source")],
            _moment(line["time"]),
            sorted([c["rank"], c["chunk_id"], c["text"], c["score"]] for c in line["retrieved"]),
            sorted(
                canonical_json([s["signal"], s.get("chunk_id"), s.get("value", 1.0), _moment(s.get("time"))])
                for s in signals
            ),
            {key: value for key, value in line.items() if key not in known},
        ]
    )


def _moment(value: object) -> str | None:
    return datetime.fromisoformat(str(value)).astimezone(UTC).isoformat() if value else None


def _read_back(store: Store) -> list[str]:
    found = []
    for row in store.rows(
        "SELECT * EXCLUDE (source, text), source, text AS query FROM interactions JOIN anchors USING (anchor_id)"
    ):
        key = [row["interaction_id"]]
        retrieved = store.rows(
            "SELECT external_id AS chunk_id, rank, text, score FROM retrievals JOIN chunks USING (chunk_id)"
            " WHERE interaction_id = ?",
            key,
        )
        signals = store.rows(
            "SELECT signal, value, signals.happened_at::VARCHAR AS time, external_id AS chunk_id"
            " FROM signals LEFT JOIN retrievals USING (interaction_id, chunk_id)"
            " WHERE interaction_id = ?",
            key,
        )
        line = {
            **json.loads(str(row["extra"])),
            **{"query": row["query"], "retrieved": retrieved, "signals": signals, "cited": []},
            **{name: row[name] for name in ("query_id", "answer", "source")},
            **{"interaction_id": row["external_id"], "time": row["happened_at"]},
        }
        found.append(_told(line))
    return sorted(found)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_interactions(), max_size=4))
def test_what_is_imported_is_what_was_logged(tmp_path: Path, lines: list[dict[str, object]]) -> None:
    file = _write(tmp_path / "log.jsonl", *lines)
    with Store(Path(":memory:")) as store:
        import_files(store, [file])
        assert _read_back(store) == sorted(set(map(_told, lines)))
        before = _content(store)
        other = _write(tmp_path / "again.jsonl", b"\n", *lines)  # other bytes, so that it is read again
        assert import_files(store, [other]).interactions == 0
        after = _content(store)
        assert {**after, "imports": None} == {**before, "imports": None}


# ----------------------------------------------------------------------------------------------------------- bad lines

_CHUNK = {"chunk_id": "c1", "rank": 1, "text": "text"}

BAD_LINES: list[tuple[object, str]] = [
    (b'{"query": "cut off', "not JSON: EOF while parsing a string"),
    (b"[1, 2]", "a list is not a JSON object"),
    (b'"just a string"', "is not a JSON object"),
    (b'{"query": "caf\xe9", "retrieved": [], "cited": []}', "not UTF-8: byte 0xe9 at offset 14 of the line"),
    (b'{"query": "a\x00b", "retrieved": [], "cited": []}', "holds a NUL byte at offset 12 of the line"),
    (b'{"query": "\\ud800", "retrieved": [], "cited": []}', "not JSON"),
    (b'{"query": "deep", "x": ' + b"[" * 500 + b"]" * 500 + b"}", "recursion limit"),
    (_line(query=None), "query: missing"),
    (_line(""), "query: is blank"),
    (_line(" \n\t "), "query: is blank"),
    (_line("a\x00b"), "query: holds a NUL character"),
    (_line("x" * 32_769), "query: has 32,769 characters; at most 32,768 are taken"),
    (_line(cited=None), "cited: missing (write [] where nothing was cited)"),
    (_line(retrieved=None), "retrieved: missing"),
    (_line(retrieved={}), "retrieved: an object is not a list"),
    (_line(cited=["c3"]), 'cited[0]: "c3" was not retrieved'),
    (_line(cited=[1]), "cited[0]: 1 is not a string"),
    (_line(interaction_id=12), "interaction_id: 12 is not a string"),
    (_line(signals=[{"signal": "clicked", "chunk_id": "c9"}]), 'signals[0].chunk_id: "c9" was not retrieved'),
    (_line(signals=[{"chunk_id": "c1"}]), "signals[0].signal: missing"),
    (_line(signals=[{"signal": "clicked", "value": True}]), "signals[0].value: true is not a number"),
    (_line(retrieved=[_CHUNK, {**_CHUNK, "chunk_id": "c2"}]), "retrieved[1].rank: 1 is the rank of retrieved[0] too"),
    (_line(retrieved=[_CHUNK, {**_CHUNK, "rank": 2, "text": "other"}]), "stands in this list with another text"),
    (_line(retrieved=[{**_CHUNK, "rank": "1"}]), 'retrieved[0].rank: "1" is not a whole number'),
    (_line(retrieved=[{**_CHUNK, "rank": 1.5}]), "retrieved[0].rank: 1.5 is not a whole number"),
    (_line(retrieved=[{**_CHUNK, "rank": 0}]), "retrieved[0].rank: 0 is not between 1 and 1,000,000"),
    (_line(retrieved=[{**_CHUNK, "score": "0.5"}]), 'retrieved[0].score: "0.5" is not a number'),
    (_line(retrieved=[{**_CHUNK, "score": float("nan")}]), "retrieved[0].score: nan is not a finite number"),
    (_line(retrieved=[{**_CHUNK, "text": " "}]), "retrieved[0].text: is blank"),
    (_line(retrieved=[{**_CHUNK, "text": "x" * 1_048_577}]), "retrieved[0].text: has 1,048,577 characters"),
    (_line(retrieved=[{"chunk_id": "c1", "rank": 1}]), 'chunk "c1" has no text, here or in a corpus file'),
    (
        _line(retrieved=[{"chunk_id": f"c{rank}", "rank": rank} for rank in (1, 2, 3)]),
        'retrieved[0]: chunk "c1" has no text, here or in a corpus file (--corpus FILE); nor have 2 others',
    ),
    (_line(retrieved=[{"rank": 1, "text": "t"}]), "retrieved[0].chunk_id: missing"),
    (_line(retrieved=[{**_CHUNK, "rank": n} for n in range(1, 10_002)]), "has 10,001 entries; at most 10,000"),
    (_line(time="yesterday"), 'time: "yesterday" is no time; write ISO 8601'),
    (_line(time="2026-02-30T00:00:00Z"), "is no time: day is out of range"),
    (_line(time=1774958400), "time: 1774958400 is no time; write ISO 8601"),
    (_line(time="0001-01-01T00:00:00+12:00"), "is no time"),
    (_line(time="2206-01-01T00:00:00Z"), "is not between 1970 and 2100"),
    (_line(feedback=float("inf")), "NaN or an infinity"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=[message[:40] for _, message in BAD_LINES])
def test_a_bad_line_is_named_and_nothing_of_its_file_imported(
    store: Store, tmp_path: Path, line: Mapping[str, object] | bytes, message: str
) -> None:
    bad = line + b"\n" if isinstance(line, bytes) else line
    file = _write(tmp_path / "log.jsonl", _line("a good one"), bad, _line("another good one"))
    with pytest.raises(InvalidDataError) as refused:
        import_files(store, [file])
    assert f"{file}:2: " in refused.value.message
    assert message in refused.value.message
    assert "1 of its lines cannot be imported, so nothing of it was" in refused.value.message
    assert refused.value.hint == f"uncited import {file} --skip-invalid"
    assert not any(_content(store).values())
    (result,) = import_files(store, [file], skip_invalid=True).files
    assert (result.interactions, result.rejected) == (2, 1)


def test_all_that_is_wrong_with_a_line_is_said_at_once(store: Store, tmp_path: Path) -> None:
    line = {"query": "", "retrieved": [{"chunk_id": 1, "rank": "1"}], "cited": "c1"}
    with pytest.raises(InvalidDataError) as refused:
        import_files(store, [_write(tmp_path / "log.jsonl", line)])
    for place in ("query: ", "retrieved[0].chunk_id: ", "retrieved[0].rank: ", "cited: "):
        assert place in refused.value.message


def test_twenty_bad_lines_are_shown_and_all_are_counted(store: Store, tmp_path: Path) -> None:
    file = _write(tmp_path / "log.jsonl", *(b"{}\n" for _ in range(57)))
    with pytest.raises(InvalidDataError) as refused:
        import_files(store, [file])
    assert refused.value.message.count(f"{file}:") == 1 + 20
    assert "57 of its lines" in refused.value.message
    assert "and 37 more bad lines" in refused.value.message


def test_a_line_with_thousands_of_problems_names_the_first(store: Store, tmp_path: Path) -> None:
    line = _line(retrieved=[{"chunk_id": f"c{n}", "rank": 1, "text": "a"} for n in range(5_000)])
    with pytest.raises(InvalidDataError, match="and 4,979 more problems") as refused:
        import_files(store, [_write(tmp_path / "log.jsonl", line)])
    assert len(refused.value.message) < 5_000


def test_good_files_are_imported_beside_bad_ones_and_the_error_says_which(store: Store, tmp_path: Path) -> None:
    good = _write(tmp_path / "good.jsonl", _line())
    bad, worse = (_write(tmp_path / f"{name}.jsonl", _line(name), b"{\n") for name in ("bad", "worse"))
    with pytest.raises(InvalidDataError) as refused:
        import_files(store, [bad, good, worse])
    assert f"{bad}:2: " in refused.value.message
    assert f"{worse}:2: " in refused.value.message
    assert f"imported: {good}" in refused.value.message
    assert refused.value.hint == f"uncited import {bad} {good} {worse} --skip-invalid"
    assert log_counts(store).interactions == 1


def test_a_line_beyond_64_mib_is_passed_over_without_being_held(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "MAX_LINE_BYTES", 1 << 20)
    long = json.dumps(_line(answer="x" * (3 << 20))).encode() + b"\n"
    file = _write(tmp_path / "log.jsonl", long, _line("after it"))
    (result,) = import_files(store, [file], skip_invalid=True).files
    assert (result.interactions, result.rejected) == (1, 1)
    assert result.rejects
    (rejected,) = map(json.loads, result.rejects.read_text().splitlines())
    assert rejected["errors"] == ["longer than 1 MiB"]
    assert len(rejected["raw"]) == 1000
    assert store.scalar("SELECT line FROM interactions") == 2


# ------------------------------------------------------------------------------------------------------ --skip-invalid


def test_rejected_lines_are_written_with_reasons_and_can_be_mended(store: Store, tmp_path: Path) -> None:
    file = _write(tmp_path / "log.jsonl", _line("good"), _line("mend me", cited=["c9"]), b'{"query": "caf\xe9"}\n')
    (result,) = import_files(store, [file], skip_invalid=True).files
    assert result.rejects == tmp_path / "log.jsonl.rejected.jsonl"
    first, second = map(json.loads, result.rejects.read_text(encoding="utf-8").splitlines())
    assert (first["file"], first["line"], first["errors"]) == (str(file), 2, ['cited[0]: "c9" was not retrieved'])
    assert (second["line"], "raw" in second, "raw_base64" in second) == (3, False, True)
    mended = json.loads(first["raw"]) | {"cited": ["c1"]}
    assert import_files(store, [_write(tmp_path / "mended.jsonl", mended)]).interactions == 1
    assert log_counts(store).interactions == 2


def test_skipping_again_changes_nothing_and_rejects_the_same(store: Store, tmp_path: Path) -> None:
    file = _write(tmp_path / "log.jsonl", _line(), b"{\n")
    (first,) = import_files(store, [file], skip_invalid=True).files
    assert first.rejects
    before, rejected = _content(store), first.rejects.read_bytes()
    first.rejects.unlink()
    (again,) = import_files(store, [file], skip_invalid=True).files
    assert (again.interactions, again.known, again.rejected, again.imported_before) == (0, 1, 1, True)
    assert first.rejects.read_bytes() == rejected
    assert _content(store) == before
    with pytest.raises(InvalidDataError):  # that it was taken with a loss does not make the file good
        import_files(store, [file])


def test_nothing_is_written_beside_a_file_without_bad_lines(store: Store, tmp_path: Path) -> None:
    file = _write(tmp_path / "log.jsonl", _line())
    import_files(store, [file], skip_invalid=True)
    assert {path.name for path in tmp_path.iterdir()} <= {"log.jsonl", "uncited.duckdb", "uncited.duckdb.wal"}


def test_the_name_of_a_file_need_not_be_text(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "donn\udce9es.jsonl"  # é in Latin-1
    lines = [{"query": "q", "retrieved": [{"chunk_id": "c", "rank": 1, "text": "t"}], "cited": []}, {"query": 5}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (imported,) = import_files(store, [file], skip_invalid=True).files
    assert (imported.interactions, imported.rejected) == (1, 1)
    assert imported.rejects is not None
    assert '"line": 2' in imported.rejects.read_text("utf-8")
    assert store.rows("SELECT file FROM imports") == [{"file": f"{tmp_path}/donn?es.jsonl"}]
    assert import_files(store, [file], skip_invalid=True).files[0].known == 1


def test_rejected_lines_go_where_they_are_told(store: Store, tmp_path: Path) -> None:
    file = _write(tmp_path / "log.jsonl", b"{\n")
    (result,) = import_files(store, [file], skip_invalid=True, rejects=tmp_path / "bad.jsonl").files
    assert result.rejects == tmp_path / "bad.jsonl"
    assert json.loads(result.rejects.read_text())["raw"] == "{"


def test_where_rejected_lines_cannot_be_written_nothing_is_imported(store: Store, tmp_path: Path) -> None:
    file = _write(tmp_path / "log.jsonl", _line(), b"{\n")
    with pytest.raises(UsageError, match="cannot write"):
        import_files(store, [file], skip_invalid=True, rejects=tmp_path / "no_such_folder" / "bad.jsonl")
    assert not any(_content(store).values())


def test_arguments_that_contradict_each_other_are_refused_before_anything_is_read(store: Store, tmp_path: Path) -> None:
    file = _write(tmp_path / "log.jsonl", _line())
    bad = tmp_path / "bad.jsonl"
    for files, options in (
        ([], {}),
        ([file], {"rejects": bad}),
        ([file, file], {"rejects": bad, "skip_invalid": True}),
        ([file], {"rejects": file, "skip_invalid": True}),
        (["-", "-"], {}),
        (["-"], {"corpus": Path("-")}),
    ):
        with pytest.raises(UsageError):
            import_files(store, files, **options)
    assert not any(_content(store).values())


# ---------------------------------------------------------------------------------------------- files that are no logs


def _damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF, content[middle + 1] ^ 0xFF]) + content[middle + 2 :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: gzip.compress(content)[:-20], "the gzip data ends early, after line"),
        (lambda content: _damaged(gzip.compress(content)), "the gzip data is damaged"),
        (lambda content: gzip.compress(content) + b"trailing", "the gzip data is damaged"),
        (lambda content: content.decode().encode("utf-16"), "is UTF-16 text"),
        (lambda content: b"\x28\xb5\x2f\xfd" + content, "is zstd-compressed"),
        (lambda content: b"PK\x03\x04" + content, "is a zip archive"),
    ],
)
@pytest.mark.parametrize("skip_invalid", [False, True])
def test_a_damaged_or_foreign_file_is_refused_wholly(
    store: Store, tmp_path: Path, change: Callable[[bytes], bytes], message: str, skip_invalid: bool
) -> None:
    file = _write(tmp_path / "log.jsonl", *(_line(f"{random.random()} {n}") for n in range(300)))
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(InvalidDataError, match=re.escape(message)) as refused:
        import_files(store, [file], skip_invalid=skip_invalid)
    assert str(file) in refused.value.message
    assert refused.value.hint
    assert not any(_content(store).values())
    assert not list(tmp_path.glob("*rejected*"))


def test_a_file_that_is_missing_stops_the_import_before_it_begins(store: Store, tmp_path: Path) -> None:
    good = _write(tmp_path / "good.jsonl", _line())
    with pytest.raises(MissingError, match=r"no file .*absent\.jsonl"):
        import_files(store, [good, tmp_path / "absent.jsonl"])
    with pytest.raises(MissingError, match=r"no file .*corpus\.jsonl"):
        import_files(store, [good], corpus=tmp_path / "corpus.jsonl")
    assert not any(_content(store).values())


def test_what_is_no_file_is_refused_in_words(store: Store, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path, message in ((tmp_path, "is a directory"), (loop, "symbolic links"), ("nul\x00name", "cannot be read")):
        with pytest.raises(UsageError, match=message):
            import_files(store, [path])


def test_a_file_that_grows_while_it_is_read_is_refused(store: Store, tmp_path: Path) -> None:
    file = _write(tmp_path / "log.jsonl", _line())

    class Growing:
        def start(self, description: str, total: int | None) -> None:
            with file.open("ab") as out:
                out.write(json.dumps(_line("later")).encode() + b"\n")

        def advance(self, steps: int = 1, note: str = "") -> None:
            pass

    with pytest.raises(InvalidDataError, match="was written to while it was read"):
        import_files(store, [file], progress=Growing())
    assert not any(_content(store).values())
    assert import_files(store, [file]).interactions == 2


def test_an_empty_file_brings_nothing(store: Store, tmp_path: Path) -> None:
    (result,) = import_files(store, [_write(tmp_path / "empty.jsonl")]).files
    assert (result.interactions, result.known, result.imported_before) == (0, 0, False)


# -------------------------------------------------------------------------------------------------------------- corpus


def _by_id(query: str = "q", *names: str) -> dict[str, object]:
    retrieved = [{"chunk_id": name, "rank": rank} for rank, name in enumerate(names or ("a", "b"), 1)]
    return {"query": query, "retrieved": retrieved, "cited": []}


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_texts_come_from_the_corpus_where_the_log_has_none(
    store: Store, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    corpus = _write(
        tmp_path / "corpus.jsonl",
        b'\xef\xbb\xbf{"chunk_id": "a", "text": "text of a", "title": "T", "kind": "code", "document": "d"}\n\n',
        {"chunk_id": "b", "text": "text of b — é"},
        {"chunk_id": "a", "text": "text of a"},  # once more, and the same
    )
    corpus.write_bytes(pack(corpus.read_bytes()))
    line = _by_id("q", "a", "b")
    line["retrieved"][1]["text"] = "its own text"
    result = import_files(store, [_write(tmp_path / "log.jsonl", line, _by_id("r", "b"))], corpus=corpus)
    assert (result.interactions, result.chunks) == (2, 3)
    rows = store.rows("SELECT external_id, text, kind, title, document FROM chunk_names JOIN chunks USING (chunk_id)")
    assert sorted(tuple(map(str, row.values())) for row in rows) == [
        ("a", "text of a", "code", "T", "d"),
        ("b", "its own text", "text", "None", "None"),
        ("b", "text of b — é", "text", "None", "None"),
    ]


def test_a_chunk_that_the_corpus_lacks_makes_the_line_bad(store: Store, tmp_path: Path) -> None:
    corpus = _write(tmp_path / "corpus.jsonl", {"chunk_id": "a", "text": "t"})
    log = _write(tmp_path / "log.jsonl", _by_id())
    with pytest.raises(InvalidDataError, match=r'retrieved\[1\]: chunk "b" has no text') as refused:
        import_files(store, [log], corpus=corpus)
    assert refused.value.hint == f"uncited import {log} --corpus {corpus} --skip-invalid"


def test_a_log_taken_with_a_loss_is_read_again_with_a_better_corpus(store: Store, tmp_path: Path) -> None:
    log = _write(tmp_path / "log.jsonl", _by_id())
    assert import_files(store, [log], skip_invalid=True).rejected == 1
    corpus = _write(tmp_path / "corpus.jsonl", {"chunk_id": "a", "text": "t"}, {"chunk_id": "b", "text": "u"})
    assert import_files(store, [log], corpus=corpus).interactions == 1


def test_every_wrong_line_of_a_corpus_is_named(store: Store, tmp_path: Path) -> None:
    corpus = _write(
        tmp_path / "corpus.jsonl",
        {"chunk_id": "a", "text": "one"},
        b"{\n",
        {"chunk_id": "b", "text": ""},
        {"chunk_id": "a", "text": "two"},
        b"\xff\n",
    )
    with pytest.raises(InvalidDataError) as refused:
        import_files(store, [_write(tmp_path / "log.jsonl", _by_id())], corpus=corpus, skip_invalid=True)
    assert f'{corpus}:4: chunk_id "a" had another text before' in refused.value.message
    for place in (":2: not JSON", ":3: text: is blank", ":5: not UTF-8", "4 lines of the corpus"):
        assert place in refused.value.message
    assert not any(_content(store).values())


# -------------------------------------------------------------------------------------------------------------- schema


def _valid(line: object) -> bool:
    return Draft202012Validator(json_schema()).is_valid(line)


def _explained(schema: Mapping[str, object]) -> bool:
    properties: Mapping[str, Mapping[str, object]] = schema["properties"]
    return all("description" in field for field in properties.values())


def test_the_schema_describes_every_field_and_is_json() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["required"]) == {"query", "retrieved", "cited"}
    assert _explained(schema)
    assert all(_explained(part) for part in schema["$defs"].values())


_NOT_IN_A_SCHEMA = (
    "was not retrieved",
    "is the rank of",
    "another text",
    "no text",
    "no time",
    "1970",
    "NaN",
    "finite",
)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(line, id=message[:40])
        for line, message in BAD_LINES
        if not isinstance(line, bytes) and not any(words in message for words in _NOT_IN_A_SCHEMA)
    ],
)
def test_the_schema_refuses_what_import_refuses(line: object) -> None:
    assert not _valid(line)


@settings(deadline=None)
@given(_interactions())
def test_the_schema_takes_what_import_takes(line: dict[str, object]) -> None:
    LoggedInteraction.model_validate_json(json.dumps(line))
    assert _valid(line)


def test_the_example_in_the_documentation_is_a_good_line(store: Store, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "interactions.md").read_text(encoding="utf-8")
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.S)]
    lines = [block for block in blocks if "query" in block]
    corpus = [block for block in blocks if "query" not in block]
    assert lines
    assert corpus
    assert all(map(_valid, lines))
    result = import_files(
        store, [_write(tmp_path / "log.jsonl", *lines)], corpus=_write(tmp_path / "corpus.jsonl", *corpus)
    )
    assert result.interactions == len(lines)


def test_the_documentation_names_every_field_and_limit() -> None:
    text = (ROOT / "docs" / "interactions.md").read_text(encoding="utf-8")
    schema = json_schema()
    for part in (schema, *schema["$defs"].values()):
        for name in part["properties"]:
            assert f"`{name}`" in text
    for limit in ("64 MiB", "32,768", "1,048,576", "10,000", "100,000", "1,024", "1,000,000"):
        assert limit in text


# ----------------------------------------------------------------------------------------------------------- real logs


@pytest.mark.parametrize(
    ("name", "interactions"), [("crowdrag25", 258), ("trec_dl19", 43), ("trec_dl21", 53), ("cranfield", 225)]
)
def test_real_logs_import_as_they_are(store: Store, real_logs: Path, name: str, interactions: int) -> None:
    file = real_logs / name / "interactions.jsonl"
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    assert all(map(_valid, lines))
    (result,) = import_files(store, [file]).files
    assert (result.interactions, result.known, result.rejected) == (interactions, 0, 0)
    names = {chunk["chunk_id"] for line in lines for chunk in line["retrieved"]}
    assert store.count("SELECT count(DISTINCT external_id) FROM chunk_names") == len(names)
    assert result.chunks == len({chunk["text"] for line in lines for chunk in line["retrieved"]})
    counts = log_counts(store)
    cited = 0
    for line in lines:  # what is cited is a text; another name of it in the same list is cited too
        texts = {chunk["text"] for chunk in line["retrieved"] if chunk["chunk_id"] in line["cited"]}
        cited += sum(chunk["text"] in texts for chunk in line["retrieved"])
    assert counts.cited == cited
    assert counts.cited + counts.uncited == result.retrievals == sum(len(line["retrieved"]) for line in lines)


def test_crowdrag25_has_the_size_that_its_makers_say(store: Store, real_logs: Path) -> None:
    folder = real_logs / "crowdrag25"
    import_files(store, [folder / "interactions.jsonl"])
    assert log_counts(store).interactions == 258
    assert store.count("SELECT count(DISTINCT external_id) FROM chunk_names") == 5_153
    # The other answers to the same queries name the same chunks by id only; one answer of six is known already.
    everything = import_files(store, [folder / "interactions_all_answers.jsonl"], corpus=folder / "corpus.jsonl")
    assert (everything.interactions, everything.known, everything.chunks) == (1_290, 258, 0)


# ----------------------------------------------------------------------------------------------------- kill -9, Ctrl-C

_IMPORT = """
import sys
from pathlib import Path
from mining.import_log import import_files
from store.database import Store
with Store(Path(sys.argv[1])) as store:
    print("begin", flush=True)
    import_files(store, sys.argv[2:], skip_invalid=True)
"""


def _start_import(database: Path, files: Sequence[Path]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _IMPORT, str(database), *map(str, files)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "begin\n"
    return process


@pytest.mark.slow
def test_an_import_killed_at_any_moment_leaves_whole_files_and_can_be_repeated(tmp_path: Path) -> None:
    per_file = 300
    files = []
    for part in range(3):
        lines: list[Mapping[str, object] | bytes] = []
        for n in range(per_file):
            texts = [f"chunk {n * 7 % 900 + k} of part {part} " + "words " * 80 for k in range(10)]
            retrieved = [{"chunk_id": text[:24], "rank": k, "text": text} for k, text in enumerate(texts, 1)]
            lines.append({"query": f"query {part} {n}", "retrieved": retrieved, "cited": [texts[0][:24]]})
        files.append(_write(tmp_path / f"part{part}.jsonl", *lines, b"{\n"))
    with Store(tmp_path / "undisturbed.duckdb") as store:
        import_files(store, files, skip_invalid=True)
        expected = _content(store)
    rejected = [file.with_name(f"{file.name}.rejected.jsonl") for file in files]
    expected_rejects = [file.read_bytes() for file in rejected]
    started = time.monotonic()
    assert _start_import(tmp_path / "timed.duckdb", files).wait() == 0
    longest = time.monotonic() - started
    rng = random.Random(20260331)
    interrupted = 0
    for attempt in range(12):
        if attempt >= 3 and interrupted:
            break
        for file in rejected:
            file.unlink(missing_ok=True)
        database = tmp_path / f"killed{attempt}.duckdb"
        process = _start_import(database, files)
        time.sleep(rng.uniform(0, longest * 0.6))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with Store(database) as store:
            rows = store.rows("SELECT count(*) AS lines FROM interactions GROUP BY import_id")
            assert [row["lines"] for row in rows] == [per_file] * len(rows)
            assert store.count("SELECT count(*) FROM imports") == len(rows)
            interrupted += len(rows) < len(files)
            longest *= 1 if len(rows) < len(files) else 0.6  # it was timed on a busier machine
        for file, content in zip(rejected, expected_rejects, strict=True):
            assert not file.exists() or file.read_bytes() == content  # never half of it
        assert _start_import(database, files).wait() == 0
        with Store(database) as store:
            assert _content(store) == expected
        assert [file.read_bytes() for file in rejected] == expected_rejects
        assert not list(tmp_path.glob(".*.partial"))
    assert interrupted  # otherwise this tested nothing


def test_an_import_that_is_interrupted_takes_back_what_it_began(store: Store, tmp_path: Path) -> None:
    file = _write(tmp_path / "log.jsonl", *(_line(f"query {n}", answer="x" * 50_000) for n in range(60)), b"{\n")

    class Impatient:
        def start(self, description: str, total: int | None) -> None:
            pass

        def advance(self, steps: int = 1, note: str = "") -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_files(store, [file], skip_invalid=True, progress=Impatient())
    assert not any(_content(store).values())
    assert not [path for path in tmp_path.iterdir() if "rejected" in path.name]
    assert import_files(store, [file], skip_invalid=True, progress=silent).interactions == 60
