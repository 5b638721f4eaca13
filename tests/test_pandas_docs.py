import json
from pathlib import Path

import pandas as pd
import pytest

from examples.pandas_docs.chunks import MAX_CHARACTERS, chunks
from examples.pandas_docs.log import missing_entries, questions, retrieved, write_log
from examples.pandas_docs.retrieve import DEPTH, retrieve

recorded_with_this_pandas = pytest.mark.skipif(
    not pd.__version__.startswith("3.1."), reason=f"the log was recorded with pandas 3.1, this is {pd.__version__}"
)


def test_the_corpus_is_the_same_each_time_and_sorted_by_id() -> None:
    first = chunks()
    assert first == chunks()
    assert list(first) == sorted(first)
    assert len(first) > 1_000


def test_every_chunk_opens_with_its_id_describes_it_and_stays_short() -> None:
    for name, text in chunks().items():
        title, description = text.split("\n", 1)
        assert title == name
        assert description.strip()
        assert len(text) <= MAX_CHARACTERS


def test_no_chunk_shows_markup_examples_or_addresses_in_memory() -> None:
    for text in chunks().values():
        for leftover in (">>>", "``", ":ref:", ":class:", ".. note", "versionadded", "----", " object at 0x"):
            assert leftover not in text


def test_a_chunk_holds_description_and_parameters_of_its_docstring() -> None:
    assert chunks()["pandas.DataFrame.dropna"].splitlines()[1].startswith("Remove missing values.")
    assert "Parameters: axis, how, thresh, subset" in chunks()["pandas.DataFrame.dropna"]


def test_there_are_at_least_60_questions_with_distinct_ids_wording_and_an_answer() -> None:
    asked = questions()
    assert len(asked) >= 60
    assert len({question.question_id for question in asked}) == len(asked)
    assert len({question.query for question in asked}) == len(asked)
    assert all(question.answer.strip() and question.cited for question in asked)


def test_every_answer_cites_only_what_was_retrieved_for_its_question() -> None:
    rankings = retrieved()
    assert list(rankings) == [question.question_id for question in questions()]
    for question in questions():
        names = [name for name, _ in rankings[question.question_id]]
        assert set(question.cited) <= set(names), question.question_id
        assert len(set(question.cited)) == len(question.cited)


def test_every_ranking_holds_distinct_entries_from_the_most_to_the_least_similar() -> None:
    for question_id, ranking in retrieved().items():
        scores = [score for _, score in ranking]
        assert len({name for name, _ in ranking}) == DEPTH, question_id
        assert scores == sorted(scores, reverse=True), question_id


@recorded_with_this_pandas
def test_the_recorded_log_refers_only_to_entries_of_the_installed_pandas() -> None:
    assert missing_entries() == 0


def test_the_log_joins_questions_rankings_and_texts_the_same_way_each_time(tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    assert write_log(first) == write_log(second) == len(questions())
    assert first.read_bytes() == second.read_bytes()
    texts = chunks()
    for line in first.read_text(encoding="utf-8").splitlines():
        interaction = json.loads(line)
        entries = interaction["retrieved"]
        assert [entry["rank"] for entry in entries] == list(range(1, len(entries) + 1))
        assert all(entry["text"] == texts[entry["chunk_id"]] for entry in entries)
        assert set(interaction["cited"]) <= {entry["chunk_id"] for entry in entries}


def test_an_entry_that_the_installed_pandas_lacks_is_left_out_and_the_rest_move_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = retrieved()["pd-001"][0][0]
    texts = {name: text for name, text in chunks().items() if name != gone}
    monkeypatch.setattr("examples.pandas_docs.log.chunks", lambda: texts)
    assert missing_entries() >= 1
    write_log(tmp_path / "log.jsonl")
    interaction = json.loads((tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert gone not in interaction["cited"]
    assert [entry["chunk_id"] for entry in interaction["retrieved"]] == [n for n, _ in retrieved()["pd-001"][1:]]
    assert interaction["retrieved"][0]["rank"] == 1


@recorded_with_this_pandas
@pytest.mark.slow
def test_the_recorded_rankings_are_what_the_model_retrieves() -> None:
    rankings = retrieve([question.query for question in questions()], chunks())
    for recorded, ranking in zip(retrieved().values(), rankings, strict=True):
        # Another processor may round otherwise, and swap entries whose scores are almost equal.
        assert [score for _, score in recorded] == pytest.approx([score for _, score in ranking], abs=2e-3)
        assert len({name for name, _ in recorded} & {name for name, _ in ranking}) >= DEPTH - 1
