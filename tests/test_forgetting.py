import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pytest

from labeling.judge import judge_candidates
from labeling.judgment_history import pair_history
from labeling.review import submit_reviews
from labeling.review_push import push_reviews
from mining.candidates import mine
from mining.import_log import import_files
from store.builds import build_triplets, list_builds, note_output
from store.database import Store
from store.embeddings import embedded
from store.erasure import erase, erasure_pending
from store.errors import MissingError, UsageError
from store.forgetting import allow_again, forget
from store.forgetting_plan import Request, plan
from store.forgetting_rules import RULES
from store.ids import anchor_id, chunk_id, pair_id
from store.judgment_history import find_pair
from store.policies import add_policy
from store.reviews import add_reviews
from store.triage import add_triage_scores
from store.verification import verify
from store.workspace import JudgeSettings, create_workspace
from tests.judge_stub import Call, Response, labelled, serving
from tests.reviewing import LOG, TARGETED_ONLY, on_server
from tests.reviewing import POLICY as BAKERY
from tests.test_cli import from_json, run
from tests.test_lineage import answered, bakery_answers, write_log
from train.triplets import build

if TYPE_CHECKING:
    from argilla import Argilla

QUERY = "How much salt does a kilogram of flour need?"
CHUNK = LOG[QUERY][1][1]
ANN = "Ann Perkins-Oberholtzer"
LONG = " ".join(f"Step {n}: knead the brioche {n * 7919 % 1000} times, then rest it." for n in range(300))


def write_private_log(file: Path) -> None:
    """The bakery log; the query about salt has extra fields, a long chunk and names that tell more than they should."""
    write_log(file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    salt = lines[2]
    salt["query_id"] = "zoe-quimby-17"
    salt["user"] = {"name": "Zoe Quimby", "phone": "0176-5550199"}
    manual = {"chunk_id": "brioche-manual-p9", "rank": 9, "text": LONG, "title": "Brioche by Marguerite"}
    salt["retrieved"].append(manual)
    lines[0]["retrieved"].append(manual)
    lines[0]["answer"] += " Brioche dough is kneaded longer."
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def repeating(call: Call) -> Response:
    return labelled("related", quote=call.texts["candidate"][:25], reason=f"you ask {call.texts['anchor']}")


def fill(store: Store, log: Path) -> None:
    import_files(store, [log])
    policy, _ = add_policy(store, BAKERY)
    mine(store, policy)

    with serving(repeating) as s:
        judge_candidates(store, policy, JudgeSettings(model="stub", base_url=s.url), {})
    add_reviews(store, [replace(review, reviewer=ANN, note="as ever") for review in bakery_answers(policy)])
    build(store, policy, test_share=0.34)
    texts = [QUERY, CHUNK, LONG]
    embedded(store, texts, model="m", encode=lambda batch: np.ones((len(batch), 4), np.float32))
    add_triage_scores(store, "s", {pair_id(anchor_id(QUERY), chunk_id(CHUNK)): 0.5})


SLOWER = (pytest.param(name, marks=pytest.mark.slow) for name in ("uncompressed", "dictionary", "fsst", "zstd"))


@pytest.fixture(scope="module", params=["auto", *SLOWER])
def template(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("private") / "w"
    write_private_log(root.parent / "log.jsonl")
    with create_workspace(root).open() as store:
        store.execute(f"PRAGMA force_compression = '{request.param}'")
        fill(store, root.parent / "log.jsonl")
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "w")
    return tmp_path / "w"


@pytest.fixture
def private(root: Path) -> Iterator[Store]:
    with Store(root / "uncited.duckdb") as store:
        yield store


def forgotten(root: Path, request: Request) -> None:
    path = root / "uncited.duckdb"
    with Store(path) as store:
        forget(store, plan(store, request))
    erase(path)


def traces(root: Path, *texts: str) -> set[str]:
    """Return those texts of which any run of 24 bytes stands in any file of the workspace, or in any cell."""
    files = [file for file in root.rglob("*") if file.is_file() and "policies" not in file.parts]
    content = b"\0".join(file.read_bytes() for file in files)
    found = {t for t in texts if any(t.encode()[i : i + 24] in content for i in range(0, max(1, len(t) - 23)))}
    with duckdb.connect(str(root / "uncited.duckdb"), read_only=True) as connection:
        for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            cells = json.dumps(connection.execute(f"FROM {table}").fetchall(), default=str, ensure_ascii=False)
            found |= {text for text in texts if json.dumps(text, ensure_ascii=False)[1:-1] in cells}
    return found


PRIVATE = ("zoe-quimby-17", "Zoe Quimby", "0176-5550199", QUERY, "About 20 grams, two per cent")


def test_nothing_of_a_forgotten_query_is_left_in_the_bytes_of_the_file(root: Path) -> None:
    assert traces(root, *PRIVATE) == set(PRIVATE), "the search finds what is there"
    forgotten(root, Request("query-id", "zoe-quimby-17"))
    assert traces(root, *PRIVATE) == set()
    with Store(root / "uncited.duckdb") as store:
        assert verify(store).problems == ()
        assert not erasure_pending(store)


def test_nothing_of_a_forgotten_chunk_is_left_in_the_bytes_of_the_file(root: Path) -> None:
    texts = (
        "brioche-manual-p9",
        "Brioche by Marguerite",
        "Brioche dough is kneaded longer",
        LONG[-200:],
        LONG[3000:3200],
    )
    assert traces(root, *texts) == set(texts)
    forgotten(root, Request("chunk-id", "brioche-manual-p9"))
    assert traces(root, *texts) == set()
    with Store(root / "uncited.duckdb") as store:
        assert verify(store).problems == ()


def test_the_places_of_a_reviewers_answers_are_summed_up(store: Store) -> None:
    review = answered(BAKERY, "pair_file", "answers", reviewer="carl")
    records = [replace(review, pair_id=f"pair_{n}", origin=f"argilla:localhost/answers/{n}") for n in range(30)]
    add_reviews(store, [*records, replace(review, origin="grades.csv:7")])
    lines = plan(store, Request("reviewer", "carl")).lines
    assert lines == ("argilla:localhost/answers: 30 answers", "grades.csv: 1 answer")


def test_a_forgotten_reviewer_goes_on_to_count_under_another_name(root: Path) -> None:
    assert traces(root, ANN) == {ANN}
    with Store(root / "uncited.duckdb") as store:
        before = store.rows("SELECT pair_id, majority FROM human_labels ORDER BY 1")
    forgotten(root, Request("reviewer", ANN))
    assert traces(root, ANN) == set()
    with Store(root / "uncited.duckdb") as store:
        (name,) = {str(row["reviewer"]) for row in store.rows("SELECT reviewer FROM reviews")}
        assert name.startswith("forgotten-")
        assert store.rows("SELECT pair_id, majority FROM human_labels ORDER BY 1") == before
        found = verify(store)
        assert found.problems == ()
        assert [check.unknown for check in found.checks if check.name == "builds"] == [1]
        again = [replace(review, reviewer=ANN, note="as ever") for review in bakery_answers(BAKERY)]
        assert add_reviews(store, again) == 0, "the same answers from a file are the same answers"
        assert add_reviews(store, [replace(again[0], reviewed_at=datetime.now(UTC))]) == 1
        assert {str(row["reviewer"]) for row in store.rows("SELECT reviewer FROM reviews")} == {name}


@pytest.mark.parametrize("template", ["auto"], indirect=True)
class TestOnce:
    """What does not hang on how texts are compressed."""

    def test_deleting_rows_alone_would_leave_the_text_in_the_file(self, root: Path) -> None:
        with Store(root / "uncited.duckdb") as store:
            forget(store, plan(store, Request("query-id", "zoe-quimby-17")))
            assert erasure_pending(store)
        assert b"Zoe Quimby" in (root / "uncited.duckdb").read_bytes()
        run("forget", cwd=root)
        assert b"Zoe Quimby" not in (root / "uncited.duckdb").read_bytes()
        run("forget", cwd=root, status=2)

    def test_builds_are_marked_and_lose_what_has_no_text(self, private: Store) -> None:
        (built,) = list_builds(private)
        before = build_triplets(private, built.build_id).to_pylist()
        forget(private, plan(private, Request("query-id", "zoe-quimby-17")))
        left = build_triplets(private, built.build_id).to_pylist()
        assert left == [row for row in before if row["anchor"] != QUERY]
        assert len(left) < len(before)
        assert private.count("SELECT count(*) FROM build_alterations") == 1
        assert private.count("SELECT count(*) FROM removed_triplets") == len(before) - len(left)

    def test_mining_again_does_not_put_a_forgotten_query_or_chunk_forward(self, private: Store) -> None:
        policy, _ = add_policy(private, BAKERY)
        forget(private, plan(private, Request("query-id", "zoe-quimby-17")))
        forget(private, plan(private, Request("chunk-id", "brioche-manual-p9")))
        before = private.count("SELECT count(*) FROM candidates")
        mine(private, policy)
        assert private.count("SELECT count(*) FROM candidates") == before
        assert private.count("SELECT count(*) FROM candidate_pairs ANTI JOIN anchors USING (anchor_id)") == 0
        assert private.count("SELECT count(*) FROM candidate_pairs ANTI JOIN chunks USING (chunk_id)") == 0

    def test_a_prompt_that_showed_a_forgotten_text_cannot_be_shown_and_says_so(self, private: Store) -> None:
        cited = LOG[QUERY][1][0]
        shown_beside = find_pair(private, pair_id(anchor_id(QUERY), chunk_id(CHUNK)))
        assert all(p.messages for p in pair_history(private, shown_beside).prompts.values())
        forget(private, plan(private, Request("chunk-id", chunk_id(cited))))
        history = pair_history(private, shown_beside)
        assert [p.messages for p in history.prompts.values()] == [None]
        assert [j["raw_answer"] for j in history.judgments] == [None]
        assert [j["label"] for j in history.judgments] == ["related"]

    def test_what_was_forgotten_is_not_imported_again_unless_told(self, root: Path, template: Path) -> None:
        log = template.parent / "log.jsonl"
        for request in (Request("query-id", "zoe-quimby-17"), Request("chunk-id", "brioche-manual-p9")):
            forgotten(root, request)
        with Store(root / "uncited.duckdb") as store:
            changed = root.parent / "again.jsonl"
            changed.write_text(log.read_text().replace('"retrieved"', '"session": "s2", "retrieved"'))
            import_files(store, [changed])
            assert store.count("SELECT count(*) FROM interactions") == len(LOG) + 2, "the other two are new"
            assert verify(store).problems == ()
        assert traces(root, *PRIVATE, "brioche-manual-p9", LONG[-200:]) == set()
        with Store(root / "uncited.duckdb") as store:
            assert allow_again(store, Request("query-id", "zoe-quimby-17")) == 2
            changed.write_text(log.read_text().replace('"retrieved"', '"session": "s3", "retrieved"'))
            import_files(store, [changed])
            assert store.count("SELECT count(*) FROM anchors WHERE text = ?", [QUERY]) == 1
            assert store.count("SELECT count(*) FROM chunks WHERE text = ?", [LONG]) == 0
            with pytest.raises(MissingError, match="was forgotten here"):
                allow_again(store, Request("query-id", "unheard-of"))

    def test_what_would_go_is_shown_first_and_asked_for(self, root: Path, template: Path) -> None:
        before = (root / "uncited.duckdb").read_bytes()
        shown = run("forget", "--query-id", "zoe-quimby-17", "--dry-run", cwd=root).stdout
        for part in (QUERY, "interactions", "judgments", "candidates", "build_", f"{template.parent}/log.jsonl:3"):
            assert part in shown
        planned = from_json("forget", "--query-id", "zoe-quimby-17", "--dry-run", cwd=root)["plan"]
        assert planned["rows"]["anchors"] == 1
        assert "Aborted" in run("forget", "--query-id", "zoe-quimby-17", cwd=root, status=1).stderr
        run("forget", "--query-id", "zoe-quimby-17", "--json", cwd=root, status=2)
        assert (root / "uncited.duckdb").read_bytes() == before
        run("forget", "--query-id", "zoe-quimby-17", "--yes", cwd=root)
        assert traces(root, *PRIVATE) == set()
        again = run("forget", "--query-id", "zoe-quimby-17", "--dry-run", cwd=root).stdout
        assert "was forgotten before" in again

    def test_a_model_that_is_not_where_it_was_to_be_is_marked(self, root: Path) -> None:
        with Store(root / "uncited.duckdb") as store:
            built = list_builds(store)[0].build_id
            for folder in (root, root / "models" / "failed"):
                note_output(store, built, "model", folder)
            outputs = plan(store, Request("query-id", "zoe-quimby-17")).outputs
        assert f"model {root}" in outputs
        assert f"model {root}/models/failed (not there now)" in outputs

    def test_what_has_no_such_name_is_said(self, root: Path) -> None:
        for option in ("--query-id", "--chunk-id", "--reviewer"):
            message = run("forget", option, "nobody", "--yes", cwd=root, status=4).stderr
            assert "'nobody'" in message
        run("forget", "--query-id", "a", "--chunk-id", "b", cwd=root, status=2)

    def test_a_plan_that_is_out_of_date_is_not_carried_out(self, private: Store) -> None:
        planned = plan(private, Request("query-id", "zoe-quimby-17"))
        add_reviews(private, [answered(BAKERY, pair_id(anchor_id(QUERY), chunk_id(CHUNK)), "answers", reviewer="bob")])
        with pytest.raises(UsageError, match="changed in the meantime"):
            forget(private, planned)

    def test_a_text_within_another_text_is_told(self, private: Store) -> None:
        private.execute("UPDATE interactions SET answer = answer || $q WHERE line = 1", {"q": f" As asked: {QUERY}"})
        assert plan(private, Request("query-id", "zoe-quimby-17")).left == ("interactions.answer: 1 rows",)


def test_every_column_with_text_is_emptied_or_known_to_hold_none(store: Store) -> None:
    columns = store.rows(
        """
        SELECT table_name, column_name FROM duckdb_columns()
        WHERE NOT internal AND table_name IN (SELECT table_name FROM duckdb_tables())
            AND (data_type LIKE 'VARCHAR%' OR data_type IN ('JSON', 'BLOB'))
            AND NOT ends_with(column_name, '_id') AND NOT ends_with(column_name, '_from')
            AND NOT ends_with(column_name, 'fingerprint') AND NOT ends_with(column_name, '_hash')
        """
    )
    handled = {rule.table for rule in RULES} | {"reviews"}
    left = {f"{row['table_name']}.{row['column_name']}" for row in columns if row["table_name"] not in handled}
    assert left <= WITHOUT_TEXT, "does a new column hold a text of a log? then add a rule to store.forgetting_rules"


# Settings, names of models, labels and kinds, hashes, and where files lie.
WITHOUT_TEXT = {
    *("audit_questions.pair_group", "audits.pair_group", "audits.policy_name", "audits.seed"),
    *("batches.base_url", "batches.status", "build_labels.label", "build_labels.role", "build_labels.source"),
    *("build_labels.split", "build_labels.split_group", "build_outputs.kind", "build_outputs.path"),
    *("builds.settings", "calibrations.method", "calibrations.parameters", "calibrations.positive_labels"),
    *("calibrations.report", "certificates.body", "certificates.pair_group", "certificates.policy_name"),
    *("compared_pairs.policy_name", "endpoint_forms.answer_form", "endpoint_forms.base_url", "endpoint_forms.dropped"),
    *("endpoint_forms.model", "example_set_pairs.label", "example_sets.rule", "forgotten.kind", "forgotten.named_by"),
    *("forgotten.pseudonym", "imports.corpus_path", "imports.file", "imports.format", "imports.path", "judges.config"),
    *("migrations.name", "monitored.policy_name", "monitored.seed", "policies.body", "policies.name"),
    *("removed_build_labels.label", "removed_build_labels.role", "removed_build_labels.source"),
    *("removed_build_labels.split", "removed_build_labels.split_group", "removed_triplets.split"),
    *(
        "round_trips.dense_model",
        "round_trips.label",
        "round_trips.rejected",
        "review_streams.seed",
        "review_streams.stream",
        "searches.settings",
        "searches.source",
        "triplets.split",
    ),
}


def test_records_in_argilla_go_and_answers_come_home_before(tmp_path: Path, client: "Argilla", ana: "Argilla") -> None:
    write_private_log(tmp_path / "log.jsonl")
    policy = replace(BAKERY, name="forgetting")
    with create_workspace(tmp_path / "w").open() as store:
        import_files(store, [tmp_path / "log.jsonl"])
        policy, _ = add_policy(store, policy)
        mine(store, policy)
        push_reviews(store, policy, client, TARGETED_ONLY)
    beside = pair_id(anchor_id(QUERY), chunk_id(CHUNK))
    other = pair_id(anchor_id(next(iter(LOG))), chunk_id(next(iter(LOG.values()))[1][1]))
    submit_reviews(ana, policy, {beside: "related", other: "related"})
    assert beside in on_server(client, policy)
    environment = {"ARGILLA_API_URL": client.api_url, "ARGILLA_API_KEY": client.api_key}
    run("forget", "--query-id", "zoe-quimby-17", "--yes", cwd=tmp_path / "w", **environment)
    left = on_server(client, policy)
    assert other in left
    assert all(QUERY not in json.dumps(record["fields"]) for record in left.values())
    with Store(tmp_path / "w" / "uncited.duckdb") as store:
        assert store.count("SELECT count(*) FROM reviews") == 2
