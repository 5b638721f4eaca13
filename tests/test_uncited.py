import json
import multiprocessing
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import uncited
from mining.import_log import import_files
from store.errors import MissingError
from store.interactions import log_counts
from store.labels import labelled_candidates
from store.reviews import Review, add_reviews
from store.workspace import create_workspace
from tests.imported import stored
from tests.reviewing import fill
from train.triplets import build

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

CHUNKS: list[dict[str, Any]] = [{"chunk_id": "a", "text": "first"}, {"chunk_id": "b", "text": "second", "score": 0.5}]


def test_what_an_application_logs_can_be_imported(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    for query in ("one?", "zwei? ü\u2028"):
        uncited.log(file, query, retrieved=CHUNKS, cited=["a"], answer="because", query_id=query)
    with uncited.open(create_workspace(tmp_path / "w").root) as store:
        assert import_files(store, [file]).interactions == 2
        counts = log_counts(store)
    assert (counts.chunks, counts.retrievals, counts.cited) == (2, 4, 2)


def log_many(file: Path, process: int) -> None:
    for number in range(50):
        uncited.log(file, f"{process}-{number}?", retrieved=[{"chunk_id": "a", "text": "x" * 20_000}], cited=[])


def test_processes_that_log_to_one_file_tear_no_line(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    workers = [multiprocessing.get_context("spawn").Process(target=log_many, args=(file, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    queries = {json.loads(line)["query"] for line in file.read_text(encoding="utf-8").splitlines()}
    assert len(queries) == 150


def test_a_build_loads_as_a_dataset_of_anchor_positive_negative(tmp_path: Path) -> None:
    root = create_workspace(tmp_path / "w").root
    with uncited.open(root) as store:
        policy = fill(store)
        reviews = [
            Review(
                pair_id=row["pair_id"],
                labelling_fingerprint=policy.labelling_fingerprint,
                reviewer="ann",
                status="submitted",
                label="answers" if row["proposed"] == "positive" else "related",
                stream="targeted",
                reviewed_at=datetime(2026, 1, 1, tzinfo=UTC),
                origin="test",
            )
            for row in labelled_candidates(store, policy).to_pylist()
        ]
        add_reviews(store, reviews)
        triplets = build(store, policy, test_share=0.4).counts
    dataset = uncited.load_build(root, policy=policy.name)
    assert dataset["train"].column_names == ["anchor", "positive", "negative"]
    assert dataset["train"].num_rows == triplets["triplets_train"] > 0
    assert dataset["test"].num_rows == triplets["triplets_test"] > 0


def test_a_build_that_is_not_there_is_missing(tmp_path: Path) -> None:
    root = create_workspace(tmp_path / "w").root
    with pytest.raises(MissingError, match="no policy named 'answer'"):
        uncited.load_build(root, policy="answer")
    with uncited.open(root) as store:
        policy = fill(store)
    with pytest.raises(MissingError, match="no build of policy 'answers' yet"):
        uncited.load_build(root, policy=policy.name)
    with pytest.raises(MissingError, match="not an uncited workspace"):
        uncited.open(tmp_path / "nowhere")


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_query_is_sampled_with_all_its_answers(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    queries = [f"query {n}?" for n in range(2000)]
    for query in queries * 2:
        uncited.log(file, query, retrieved=CHUNKS, cited=[], sample_rate=0.25)
    logged = Counter(line["query"] for line in lines(file))
    assert 400 < len(logged) < 600  # 500 is expected; the bounds are five standard deviations away
    assert set(logged.values()) == {2}
    assert {line["sample_rate"] for line in lines(file)} == {0.25}
    assert not uncited.log(tmp_path / "none.jsonl", "q", retrieved=[], sample_rate=0)
    with pytest.raises(ValueError, match="no share"):
        uncited.log(file, "q", retrieved=[], sample_rate=10)


def test_what_redaction_takes_out_never_reaches_the_file(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"

    def scrub(line: dict[str, Any]) -> dict[str, Any] | None:
        if "delete me" in line["query"]:
            return None
        return line | {"query": line["query"].replace("ann@example.org", "[mail]"), "user": None}

    assert uncited.log(file, "who is ann@example.org?", retrieved=CHUNKS, cited=[], redact=scrub, user="ann")
    assert not uncited.log(file, "delete me", retrieved=CHUNKS, cited=[], redact=scrub)
    with pytest.raises(KeyError):
        uncited.log(file, "a secret", retrieved=CHUNKS, cited=[], redact=lambda line: {"query": line["nothing"]})
    (line,) = lines(file)
    assert (line["query"], line["user"]) == ("who is [mail]?", None)


def test_a_full_file_is_put_aside_and_nothing_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    for number in range(40):
        uncited.log(file, f"{number}?", retrieved=CHUNKS, cited=["a"], rotate_bytes=1000)
    files = sorted(tmp_path.glob("log*.jsonl"))
    assert len(files) > 5
    assert all(1000 <= other.stat().st_size < 1500 for other in files if other != file)
    assert sorted(int(line["query"][:-1]) for other in files for line in lines(other)) == list(range(40))
    with uncited.open(create_workspace(tmp_path / "w").root) as store:
        assert import_files(store, files).interactions == 40


def log_and_rotate(file: Path, process: int) -> None:
    for number in range(200):
        uncited.log(file, f"{process}-{number}?", retrieved=CHUNKS, cited=[], rotate_bytes=2000)


def test_processes_that_rotate_one_file_lose_nothing(tmp_path: Path) -> None:
    workers = [
        multiprocessing.get_context("spawn").Process(target=log_and_rotate, args=(tmp_path / "log.jsonl", n))
        for n in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({line["query"] for file in tmp_path.glob("*.jsonl") for line in lines(file)}) == 600


FULL_DISK = """
import resource, sys, uncited
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for number in range(9):
    uncited.log(sys.argv[1], f"{number}?", retrieved=[{"chunk_id": "a", "text": "x" * 200}], cited=[])
"""


def test_a_line_that_a_full_disk_tore_costs_no_other(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    ended = subprocess.run([sys.executable, "-c", FULL_DISK, file], capture_output=True, text=True, check=False)
    assert "OSError" in ended.stderr
    assert not file.read_bytes().endswith(b"\n")
    whole = file.read_bytes().count(b"\n")
    assert uncited.log(file, "after?", retrieved=CHUNKS, cited=[])
    with uncited.open(create_workspace(tmp_path / "w").root) as store:
        done = import_files(store, [file], skip_invalid=True)
    assert (done.interactions, done.rejected) == (whole + 1, 1)


def test_logging_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, uncited; uncited.log(sys.argv[1], 'q', retrieved=[], cited=[]);"
        "print([name for name in sys.modules if name in sys.argv[2:]])"
    )
    heavy = ["duckdb", "pandas", "torch", "pydantic", "numpy", "typer", "opentelemetry", "store", "mining"]
    command = [sys.executable, "-c", code, str(tmp_path / "log.jsonl"), *heavy]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_spans_of_a_traced_application_can_be_imported(tmp_path: Path) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    file = tmp_path / "spans.jsonl"
    provider = TracerProvider()
    provider.add_span_processor(uncited.span_processor(file))
    tracer = provider.get_tracer("application")
    with tracer.start_as_current_span("chain", attributes={"openinference.span.kind": "CHAIN"}) as chain:
        with tracer.start_as_current_span("search", attributes={"openinference.span.kind": "RETRIEVER"}) as search:
            search.set_attribute("input.value", "how long does a flea live?")
            for place, (name, text) in enumerate([("a", "A flea lives 100 days."), ("b", "Fleas jump far.")]):
                search.set_attribute(f"retrieval.documents.{place}.document.id", name)
                search.set_attribute(f"retrieval.documents.{place}.document.content", text)
                search.set_attribute(f"retrieval.documents.{place}.document.score", 1 - place / 10)
        with tracer.start_as_current_span("call", attributes={"openinference.span.kind": "LLM"}) as call:
            call.set_attribute("input.value", "You are ... the whole prompt")
        with tracer.start_as_current_span("embed", attributes={"openinference.span.kind": "EMBEDDING"}):
            pass
        chain.set_attribute("output.value", "Up to 100 days [1].")
    assert [line["name"] for line in lines(file)] == ["search", "call", "chain"]
    assert "whole prompt" not in file.read_text(encoding="utf-8")
    with uncited.open(create_workspace(tmp_path / "w").root) as store:
        assert import_files(store, [file], citations="markers:1").interactions == 1
        (row,) = store.rows(
            "SELECT anchors.text AS query, answer, chunk_names.external_id AS cited FROM interactions"
            " JOIN anchors USING (anchor_id) JOIN signals USING (interaction_id) JOIN chunk_names USING (chunk_id)"
            " WHERE signal = 'cited'"
        )
    assert row == {"query": "how long does a flea live?", "answer": "Up to 100 days [1].", "cited": "a"}


FLEAS, JUMPS, TICKS = ("a", "A flea lives 100 days."), ("b", "Fleas jump far."), ("c", "Ticks wait on grass.")


def tracer_to(file: Path, **options: Any) -> "Tracer":  # noqa: ANN401
    """A tracer whose spans go to a file, with ids that chance draws alike each time."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    class Drawn(IdGenerator):
        chance = random.Random(0)

        def generate_span_id(self) -> int:
            return self.chance.getrandbits(64) or 1

        def generate_trace_id(self) -> int:
            return self.chance.getrandbits(128) or 1

    provider = TracerProvider(id_generator=Drawn(), resource=Resource.create({"service.name": "help desk"}))
    provider.add_span_processor(uncited.span_processor(file, **options))
    return provider.get_tracer("application")


def of_kind(kind: str, prefix: str = "", documents: Sequence[tuple[str, str]] = (), **more: str) -> dict[str, str]:
    """The attributes of a span of OpenInference, with documents under a prefix."""
    found = {"openinference.span.kind": kind, **{key.replace("__", "."): value for key, value in more.items()}}
    for place, (name, text) in enumerate(documents):
        found[f"{prefix}.{place}.document.id"] = name
        found[f"{prefix}.{place}.document.content"] = text
    return found


def ask(tracer: "Tracer", query: str = "how long does a flea live?", answer: str = "Up to 100 days [1].") -> None:
    """Let an agent call a tool that searches and reranks, and then an LLM."""
    found = of_kind("RETRIEVER", "retrieval.documents", [JUMPS, TICKS, FLEAS], input__value=query)
    ranked = of_kind("RERANKER", "reranker.output_documents", [FLEAS, JUMPS], reranker__query=query)
    start = tracer.start_as_current_span
    with start("agent", attributes=of_kind("AGENT")) as agent:
        with (
            start("tool", attributes=of_kind("TOOL", output__value="what the tool put out", input__value="a secret")),
            start("GET /search", attributes={"http.url": "http://search/?q=secret"}),
        ):
            with start("search", attributes=found):
                with start("SELECT", attributes={"db.statement": "SELECT secret"}):
                    pass
            with start("rerank", attributes=ranked):
                pass
        with start("call", attributes=of_kind("LLM", output__value="a draft")):
            pass
        agent.set_attribute("output.value", answer)
        agent.set_attribute("annotations.0.annotation.name", "helpful")
        agent.set_attribute("annotations.0.annotation.label", "yes")
        agent.add_event("exception", {"exception.message": "a secret"})
        said = {"name": "faithfulness", "score.value": 0.75, "explanation": "a secret"}
        result = {f"gen_ai.evaluation.{key}": value for key, value in said.items()}
        agent.add_event("gen_ai.evaluation.result", result, timestamp=1_767_225_600_000_000_000)


def test_what_an_agent_found_by_a_tool_is_imported_with_its_answer_and_what_was_said_of_it(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    ask(tracer_to(file))
    assert [line["name"] for line in lines(file)] == ["search", "rerank", "GET /search", "tool", "call", "agent"]
    assert "secret" not in file.read_text(encoding="utf-8")
    with uncited.open(create_workspace(tmp_path / "w").root) as store:
        assert import_files(store, [file], citations="markers:1").interactions == 1
        (found,) = stored(store)
    assert found["query"] == "how long does a flea live?"
    assert [(chunk["chunk_id"], chunk["text"]) for chunk in found["retrieved"]] == [FLEAS, JUMPS, TICKS]
    assert (found["answer"], found["cited"], found["source"]) == ("Up to 100 days [1].", ["a"], "help desk")
    assert found["signals"] == [
        {"signal": "faithfulness", "value": 0.75, "time": datetime(2026, 1, 1, tzinfo=UTC)},
        {"signal": "helpful:yes", "value": 1.0},
    ]


def test_a_trace_without_retrieval_and_a_service_without_a_name_leave_nothing(tmp_path: Path) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider()
    provider.add_span_processor(uncited.span_processor(tmp_path / "spans.jsonl"))
    tracer = provider.get_tracer("application")
    with tracer.start_as_current_span("GET /health"), tracer.start_as_current_span("SELECT 1"):
        pass
    assert not list(tmp_path.iterdir())
    with tracer.start_as_current_span("search", attributes=of_kind("RETRIEVER")):
        pass
    assert [line["resource"] for line in lines(tmp_path / "spans.jsonl")] == [{"attributes": {}}]


def test_a_trace_is_sampled_with_all_its_spans(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    tracer = tracer_to(file, sample_rate=0.25)
    for _ in range(400):
        ask(tracer)
    logged = Counter(line["context"]["trace_id"] for line in lines(file))
    assert 60 < len(logged) < 140  # 100 is expected; the bounds are more than four standard deviations away
    assert set(logged.values()) == {6}
    ask(tracer_to(tmp_path / "none.jsonl", sample_rate=0))
    assert not (tmp_path / "none.jsonl").exists()


def test_what_redaction_takes_out_of_spans_never_reaches_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def scrub(span: dict[str, Any]) -> dict[str, Any] | None:
        if span["name"] == "call":
            return None
        attributes = {key: str(value).replace("ann@example.org", "[mail]") for key, value in span["attributes"].items()}
        return span | {"attributes": attributes}

    file = tmp_path / "spans.jsonl"
    ask(tracer_to(file, redact=scrub), query="who is ann@example.org?", answer="ann@example.org is Ann")
    assert [line["name"] for line in lines(file)] == ["search", "rerank", "GET /search", "tool", "agent"]
    text = file.read_text(encoding="utf-8")
    assert "ann@example.org" not in text
    assert text.count("[mail]") == 3  # what was asked of the search and of the reranker, and the answer
    ask(tracer_to(tmp_path / "broken.jsonl", redact=lambda span: {"name": span["nothing"]}))
    assert not (tmp_path / "broken.jsonl").exists()
    assert "KeyError: 'nothing'" in caplog.text


def test_a_full_file_of_spans_is_put_aside_and_all_of_them_together_are_whole(tmp_path: Path) -> None:
    tracer = tracer_to(tmp_path / "spans.jsonl", rotate_bytes=5000)
    for number in range(20):
        ask(tracer, query=f"{number}?", answer=f"{number}!")
    files = sorted(tmp_path.glob("spans*.jsonl"))
    assert len(files) > 5
    assert all(5000 <= other.stat().st_size < 7000 for other in files if other.name != "spans.jsonl")
    together = tmp_path / "all.jsonl"
    together.write_bytes(b"".join(other.read_bytes() for other in files))
    with uncited.open(create_workspace(tmp_path / "w").root) as store:
        assert import_files(store, [together]).interactions == 20
        assert {found["query"][:-1] == found["answer"][:-1] for found in stored(store)} == {True}


def test_a_span_that_cannot_be_logged_disturbs_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider()
    provider.add_span_processor(uncited.span_processor(tmp_path))  # a folder
    kind = {"openinference.span.kind": "RETRIEVER"}
    with provider.get_tracer("application").start_as_current_span("search", attributes=kind):
        pass
    assert "a span was not logged" in caplog.text


def test_a_span_whose_id_cannot_be_read_disturbs_nobody_when_it_begins_and_when_it_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Odd(RandomIdGenerator):
        def generate_span_id(self) -> float:
            return 1.5

    provider = TracerProvider(id_generator=Odd())
    provider.add_span_processor(uncited.span_processor(tmp_path / "spans.jsonl"))
    with provider.get_tracer("application").start_as_current_span("search"):
        assert caplog.text.count("a span was not logged") == 1
        done = True
    assert done
    assert caplog.text.count("a span was not logged") == 2


@pytest.mark.parametrize("value", [object(), "\ud800"])
def test_what_json_cannot_hold_is_not_written(tmp_path: Path, value: object) -> None:
    file = tmp_path / "log.jsonl"
    with pytest.raises(ValueError, match=r"unknown type|surrogates"):
        uncited.log(file, "one?", retrieved=CHUNKS, cited=[], value=value)
    assert not file.exists()


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_is_none(tmp_path: Path, score: float) -> None:
    file = tmp_path / "log.jsonl"
    uncited.log(file, "one?", retrieved=[{**CHUNKS[0], "score": score}], cited=[])
    with uncited.open(create_workspace(tmp_path / "w").root) as store:
        assert import_files(store, [file]).interactions == 1
        assert store.rows("SELECT score FROM retrievals") == [{"score": None}]


FIELDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(value=FIELDS, query=st.text())
def test_a_line_says_what_was_logged(value: object, query: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "log.jsonl"
        uncited.log(file, query, retrieved=CHUNKS, cited=[], value=value)
        (content,) = file.read_bytes().splitlines()
        line = json.loads(content)
    assert (line["query"], line["value"]) == (query, value)
    assert line["retrieved"] == [{"rank": 1, **CHUNKS[0]}, {"rank": 2, **CHUNKS[1]}]


def test_the_time_may_be_a_datetime(tmp_path: Path) -> None:
    when = datetime(2026, 3, 31, 14, tzinfo=timezone(timedelta(hours=2)))
    uncited.log(tmp_path / "log.jsonl", "one?", retrieved=CHUNKS, cited=[], time=when)
    with uncited.open(create_workspace(tmp_path / "w").root) as store:
        import_files(store, [tmp_path / "log.jsonl"])
        assert store.rows("SELECT happened_at FROM interactions")[0]["happened_at"] == when
