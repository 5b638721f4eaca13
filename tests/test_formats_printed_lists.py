"""Lists in the cells of CSV files as Python prints them: of pandas, of Ragas, and what only looks like one."""

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mining.formats.printed_lists import LONGEST, printed_list
from mining.import_log import import_files
from store.database import Store
from store.errors import InvalidDataError
from store.ids import chunk_id
from tests.imported import stored, write_text

FLEAS, JUMPS = "A flea lives 100 days.", "Fleas' \"jumps\"\nare 'far', [they say]."

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50)
@given(st.lists(_VALUES))
def test_what_python_prints_is_read_back(values: list[Any]) -> None:
    assert printed_list(str(values)) == values


@pytest.mark.parametrize(
    "text",
    [
        "['a' 'b']",  # as numpy prints it; Python reads the one text ab
        "['a'\n 'b']",
        "[0.5 0.25]",
        "['a', ...]",
        "[...]",
        "[1], [2]",
        "[1][0]",
        "[x]",
        "[b'a']",
        "[{'a'}]",
        "[{1: 2}]",
        "[1 + 2]",
        "[f'a']",
        "['''a''']",
        r"['\d']",
        "['a",
        "[" * 5_000 + "]" * 5_000,
        "[" + "-" * 50_000 + "1]",
        "[1" + "+1" * 50_000 + "]",
        "[" + "9" * 5_000 + "]",
        "['" + "a" * LONGEST + "']",
    ],
)
def test_what_python_does_not_print_is_no_list(text: str) -> None:
    assert printed_list(text) is None


def test_a_missing_number_is_none_and_a_tuple_a_list() -> None:
    assert printed_list("[nan, (1, -2.5), u'a']") == [None, [1, -2.5], "a"]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_lists_that_pandas_wrote_into_csv_are_the_chunks(store: Store, tmp_path: Path, delimiter: str) -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {
            "question": ["how long?", "where?"],
            "passages": [[FLEAS, JUMPS], [JUMPS]],
            "ids": [["c1", "c2"], ["c2"]],
            "score": [[0.5, float("nan")], [1.0]],
            "cited": [[True, False], [False]],
            "clicks": [[3, 0], [None]],
            "tags": [["a"], []],
        }
    )
    file = tmp_path / "log.csv"
    frame.to_csv(file, index=False, sep=delimiter)
    mapping = {"query": "question", "text": "passages", "chunk_id": "ids", "signal.clicked": "clicks"}
    assert import_files(store, [file], mapping=mapping).interactions == 2
    first, second = stored(store)
    assert [(c["chunk_id"], c["text"], c.get("score")) for c in first["retrieved"]] == [
        ("c1", FLEAS, 0.5),
        ("c2", JUMPS, None),
    ]
    assert (first["cited"], second["cited"]) == (["c1"], [])
    assert [(s["chunk_id"], s["value"]) for s in first["signals"]] == [("c1", 3.0), ("c2", 0.0)]
    assert (first["extra"], second["extra"]) == ({"tags": ["a"]}, {"tags": []})


@pytest.mark.parametrize("column", ["text", "score", "cited", "signal.clicked"])
def test_a_row_whose_list_cannot_be_read_is_bad_and_no_single_chunk(store: Store, tmp_path: Path, column: str) -> None:
    import numpy as np
    import pandas as pd

    values = {
        "query": ["ok?", "how long?"],
        "text": [[FLEAS, JUMPS]] * 2,
        "score": [[0.5, 0.25]] * 2,
        "cited": [[True, False]] * 2,
        "signal.clicked": [[1, 0]] * 2,
    }
    whole = pd.DataFrame(values)
    whole[column] = pd.Series([values[column][0], np.array(values[column][1])], dtype=object)
    file = tmp_path / "log.csv"
    whole.to_csv(file, index=False)
    with pytest.raises(InvalidDataError, match=f"column {column} looks like a list") as refused:
        import_files(store, [file])
    assert f"{file}:3: " in refused.value.message
    assert not stored(store)
    assert import_files(store, [file], skip_invalid=True).interactions == 1


def test_a_text_in_brackets_is_a_text(store: Store, tmp_path: Path) -> None:
    texts = ["[...]", "[sic] and [so on]", "[1], [2]", "[see 'fleas']"]
    file = tmp_path / "log.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([["query", "text"], *(["how long?", text] for text in texts)])
    import_files(store, [file])
    assert [chunk["text"] for chunk in stored(store)[0]["retrieved"]] == texts


def test_a_cell_of_more_than_a_million_characters_says_what_is_read(store: Store, tmp_path: Path) -> None:
    long = [f"{n} " + "x" * 100_000 for n in range(11)]
    rows = [["query", "text"], ["how long?", str(long)]]
    file = tmp_path / "log.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows(rows)
    with pytest.raises(InvalidDataError, match=r"that Python prints in up to 1,048,576 characters .* write it as JSON"):
        import_files(store, [file])


# --------------------------------------------------------------------------------------------------------------- Ragas

SAMPLES: list[dict[str, Any]] = [
    {
        "user_input": "how long does a flea live?",
        "retrieved_contexts": [FLEAS, JUMPS],
        "reference_contexts": [FLEAS],
        "response": "100 days [1].",
        "reference": "[About 100 days]",
        "rubrics": {"score1": "wrong"},
    },
    {
        "user_input": "how far does it jump?",
        "retrieved_contexts": [JUMPS],
        "reference_contexts": [JUMPS],
        "response": "Far [1].",
        "reference": "Far.",
        "rubrics": {"score1": "wrong"},
    },
]


def _check_samples(store: Store, file: Path) -> None:
    (imported,) = import_files(store, [file]).files
    assert (imported.format, imported.interactions) == ("ragas", 2)
    assert imported.why == "its columns are those of Ragas samples: user_input, retrieved_contexts"
    first, second = stored(store)
    assert (first["query"], first["answer"]) == (SAMPLES[0]["user_input"], "100 days [1].")
    assert [c["text"] for c in first["retrieved"]] == [FLEAS, JUMPS]
    assert [c["text"] for c in second["retrieved"]] == [JUMPS]
    assert first["cited"] == [chunk_id(FLEAS)]
    assert [s["chunk_id"] for s in first["signals"]] == [chunk_id(FLEAS)]
    assert first["extra"]["reference"] == "[About 100 days]"


def test_csv_that_ragas_wrote_is_known_and_read(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGAS_DO_NOT_TRACK", "true")
    from ragas.dataset_schema import EvaluationDataset

    file = tmp_path / "samples.csv"
    EvaluationDataset.from_list(SAMPLES).to_csv(file)
    _check_samples(store, file)
    turns = [{"content": "hello", "type": "human"}, {"content": "hi", "type": "ai"}]
    several = EvaluationDataset.from_list([{"user_input": [*turns, {"content": "how long?", "type": "human"}]}])
    several.to_csv(tmp_path / "turns.csv")
    with pytest.raises(InvalidDataError, match="has no column for query and text"):  # several turns have no contexts
        import_files(store, [tmp_path / "turns.csv"])
    assert import_files(store, [tmp_path / "turns.csv"], format="ragas").interactions == 1


def test_csv_that_pandas_wrote_of_ragas_samples_is_read(store: Store, tmp_path: Path) -> None:
    import pandas as pd

    file = tmp_path / "samples.csv"
    pd.DataFrame(SAMPLES).assign(faithfulness=[1.0, 0.5]).to_csv(file)  # with its index, as `to_pandas().to_csv()` has
    _check_samples(store, file)


def test_ragas_csv_names_what_is_wrong_with_it(store: Store, tmp_path: Path) -> None:
    header = "user_input,retrieved_contexts,response\n"
    file = write_text(tmp_path / "a.csv", header + "how long?,\"['a' 'b']\",\nwhere?,\"['a']\",\n")
    with pytest.raises(InvalidDataError, match="column retrieved_contexts looks like a list") as refused:
        import_files(store, [file])
    assert f"{file}:2: " in refused.value.message
    text = write_text(tmp_path / "b.csv", header + "how long?,one text,\n")
    with pytest.raises(InvalidDataError, match="retrieved_contexts is not a list"):
        import_files(store, [text])
    other = write_text(tmp_path / "c.csv", "question,contexts\nhow long?,a\n")
    with pytest.raises(InvalidDataError, match=r"has no column user_input \(its columns: question, contexts\)") as told:
        import_files(store, [other], format="ragas")
    assert told.value.hint == f"uncited import {other} --map query=COLUMN --map text=COLUMN"
    assert import_files(store, [other], mapping={"query": "question", "text": "contexts"}).interactions == 1
