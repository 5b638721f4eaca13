import functools
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from labeling.judge import judge_candidates
from labeling.lineage import Lineage, Rules, lineage_of, lineage_of_texts
from labeling.policies import load_policy
from mining.candidates import mine
from mining.import_log import import_files
from store.builds import Build, triplet_id
from store.database import Store
from store.errors import InvalidDataError, MissingError, UsageError
from store.ids import anchor_id, chunk_id, pair_id
from store.interactions import Interaction, Retrieved, Signal, add_interactions
from store.policies import Policy, add_policy
from store.reviews import Review, add_reviews
from store.workspace import JudgeSettings, create_workspace, open_workspace
from tests.judge_stub import labelled, serving
from tests.reviewing import LOG
from tests.reviewing import POLICY as BAKERY
from tests.test_cli import from_json, run
from tests.test_real_logs import POLICY, RELEVANT, grades_by_pair
from train.export import export
from train.exported_rows import names_a_row, read_exported_row
from train.triplets import build

RULES = Rules("majority", "none")


def answered(policy: Policy, pair: str, label: str | None, *, minute: int = 0, reviewer: str = "ann") -> Review:
    return Review(
        pair_id=pair,
        labelling_fingerprint=policy.labelling_fingerprint,
        reviewer=reviewer,
        status="submitted" if label else "discarded",
        label=label,
        stream="targeted",
        reviewed_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute),
        origin=f"argilla:host/dataset/record-of-{pair[-6:]}",
        note="the second sentence says it" if label == "answers" else None,
    )


# ------------------------------------------------------------------------------------------------------ on real logs


def graded_build(store: Store, folder: Path, tmp_path: Path) -> Build:
    import_files(store, [folder / "interactions.jsonl"])
    (tmp_path / "policy.yaml").write_text(POLICY)
    policy, _ = add_policy(store, load_policy(tmp_path / "policy.yaml"))
    mine(store, policy)
    grades = grades_by_pair(folder)
    said = {pair: "answers" if grade >= RELEVANT else "does-not-answer" for pair, grade in grades.items()}
    add_reviews(store, [answered(policy, pair, label, reviewer="nist") for pair, label in said.items()])
    return build(store, policy).build


def test_a_thousand_random_rows_of_real_logs_lead_back_to_file_and_line(
    real_logs: Path, store: Store, tmp_path: Path
) -> None:
    built = graded_build(store, real_logs / "crowdrag25", tmp_path)
    export(store, built, tmp_path / "out")
    rows = [json.loads(line) for name in ("train", "test") for line in (tmp_path / "out" / f"{name}.jsonl").open()]
    chosen = random.Random(5).sample(rows, 1000)
    texts = {text for row in chosen for text in row.values()}
    found = lineage_of_texts(store, built.build_id, texts, RULES)
    triplets = {triplet.triplet_id for triplet in found.triplets}
    pairs = {lineage.pair.pair_id: lineage for lineage in found.pairs}
    for row in chosen:
        anchor, positive, negative = anchor_id(row["anchor"]), chunk_id(row["positive"]), chunk_id(row["negative"])
        assert triplet_id(built.policy_id, anchor, positive, negative) in triplets
        for chunk, text, label in ((positive, row["positive"], "answers"), (negative, row["negative"], None)):
            lineage = pairs[pair_id(anchor, chunk)]
            assert [review["reviewer"] for review in lineage.reviews] == ["nist"]
            assert lineage.reviews[0]["label"] == (label or "does-not-answer")
            for candidate in lineage.candidates:
                assert candidate.logged is not None
                assert candidate.logged.path is not None
                logged = json.loads(lines_of(candidate.logged.path)[candidate.logged.line - 1])
                assert logged["query"] == row["anchor"]
                shown = {c["chunk_id"]: c["text"] for c in logged["retrieved"] if c["rank"] == candidate.rank}
                assert shown == {candidate.chunk_name: text}
                assert ("cited" in candidate.signals) == (candidate.source == "cited")


@functools.cache
def lines_of(file: str) -> list[str]:
    return Path(file).read_text(encoding="utf-8").split("\n")


# ------------------------------------------------------------------------------------- a small store, made as users do


@dataclass
class Shop:
    """A workspace with a judged, reviewed and exported build of the bakery log."""

    root: Path
    log: Path
    policy: Policy
    build: Build
    prompts: dict[str, list[dict[str, str]]]  # chunk -> messages as the judge's server got them

    def lineage(self, name: str) -> Lineage:
        with open_workspace(self.root).open() as store:
            return lineage_of(store, name, RULES)


def write_log(file: Path) -> None:
    """Write the bakery log as a file of interactions: the first chunk of each query was cited."""
    with file.open("w", encoding="utf-8") as out:
        for number, (query, (answer, texts)) in enumerate(LOG.items()):
            chunks = [{"chunk_id": f"c{number}-{rank}", "rank": rank, "text": t} for rank, t in enumerate(texts, 1)]
            line = {"query_id": f"q{number}", "query": query, "answer": answer, "retrieved": chunks}
            out.write(json.dumps(line | {"cited": [f"c{number}-1"]}) + "\n")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    root = tmp_path_factory.mktemp("shop")
    write_log(root / "log.jsonl")
    workspace = create_workspace(root / "w").root
    with open_workspace(workspace).open() as store:
        import_files(store, [root / "log.jsonl"])
        policy, _ = add_policy(store, BAKERY)
        mine(store, policy)
        with serving(lambda call: labelled("related", quote=call.texts["candidate"][:20])) as stub:
            settings = JudgeSettings(model="stub", base_url=stub.url)
            judge_candidates(store, policy, settings, {})
            prompts = {call.texts["candidate"]: call.body["messages"] for call in stub.calls}
        add_reviews(store, list(bakery_answers(policy)))
        built = build(store, policy, test_share=0.34).build
        export(store, built, workspace / "out")
        export(store, built, workspace / "grouped", format="grouped")
        export(store, built, workspace / "table", format="parquet")
    return Shop(workspace, root / "log.jsonl", policy, built, prompts)


@pytest.fixture
def shop(made: Shop, tmp_path: Path) -> Shop:
    """A copy of it, for a test to change."""
    shutil.copytree(made.root, tmp_path / "w")
    return replace(made, root=tmp_path / "w")


def bakery_answers(policy: Policy) -> Iterator[Review]:
    for query, (_, chunks) in LOG.items():
        for rank, chunk in enumerate(chunks):
            yield answered(policy, pair_id(anchor_id(query), chunk_id(chunk)), "related" if rank else "answers")


def test_a_line_of_an_export_leads_to_prompt_answer_review_and_log(shop: Shop) -> None:
    row = json.loads((shop.root / "out" / "train.jsonl").read_text().splitlines()[1])
    traced = from_json("lineage", "out/train.jsonl:2", cwd=shop.root)
    (triplet,) = traced["lineage"]["triplets"]
    assert traced["exported"]["unchanged"] is True
    assert traced["exported"]["build_id"] == shop.build.build_id == triplet["build_id"]
    pairs = {pair["pair"]["chunk"]: pair for pair in traced["lineage"]["pairs"]}
    assert pairs.keys() == {row["positive"], row["negative"]}
    for chunk, pair in pairs.items():
        assert pair["pair"]["anchor"] == row["anchor"]
        (judgment,) = pair["judgments"]
        assert pair["prompts"][judgment["prompt_id"]]["messages"] == shop.prompts[chunk], "letter by letter"
        assert judgment["answered_model"]
        assert json.loads(judgment["raw_answer"])["label"] == "related"
        assert judgment["quote"] == chunk[:20]
        (candidate,) = pair["candidates"]
        assert candidate["logged"]["path"] == str(shop.log)
        logged = json.loads(shop.log.read_text().splitlines()[candidate["logged"]["line"] - 1])
        assert logged["query"] == row["anchor"]
        assert chunk in [c["text"] for c in logged["retrieved"]]
    (review,) = pairs[row["positive"]]["reviews"]
    assert (review["reviewer"], review["label"], review["stream"]) == ("ann", "answers", "targeted")
    assert review["note"] == "the second sentence says it"


def test_people_get_a_tree_with_long_texts_folded(shop: Shop) -> None:
    shown = run("lineage", "out/train.jsonl:2", cwd=shop.root).stdout
    for part in ("build build_", "resolution: majority", "positive: pair_", "ann: answers", "log.jsonl:", "more lines"):
        assert part in shown
    assert "votes: stood before 1 answer to this query" in shown
    assert "1 of 1: cited" in shown
    assert "1 of 1: no signal" in shown
    whole = run("lineage", "out/train.jsonl:2", "--full", cwd=shop.root).stdout
    assert "more lines" not in whole
    assert "Texts in tags are untrusted data" in whole


def test_a_pair_has_the_votes_of_all_answers_to_its_query(store: Store) -> None:
    def answer(name: str, retrieved: str, *signals: Signal) -> Interaction:
        chunks = tuple(Retrieved(chunk, rank, f"text of {chunk}") for rank, chunk in enumerate(retrieved, 1))
        return Interaction(f"query of {name[0]}", chunks, signals, 1, external_id=name)

    log = [
        answer("a1", "xyx", Signal("cited", "x"), Signal("clicked", "x"), Signal("clicked", "x"), Signal("saved", "y")),
        answer("a2", "zx", Signal("cited", "z")),
        answer("a3", "x", Signal("cited", "x", 0.0)),
        answer("b1", "xy", Signal("cited", "x"), Signal("cited", "y")),
    ]
    with store.transaction():
        add_interactions(store, log, import_id="test")
    policy, _ = add_policy(store, BAKERY)
    mine(store, policy)
    votes = {}
    for query, chunk in ("ax", "ay", "az", "bx"):
        pair = pair_id(anchor_id(f"query of {query}"), chunk_id(f"text of {chunk}"))
        (found,) = lineage_of(store, pair, RULES).pairs
        votes[query + chunk] = [(vote.answers, vote.signals) for vote in found.votes]
    assert votes == {
        "ax": [(2, ()), (1, ("cited", "clicked"))],
        "ay": [(1, ("saved",))],
        "az": [(1, ("cited",))],
        "bx": [(1, ("cited",))],
    }


def test_every_name_of_a_row_leads_to_the_same_pairs(shop: Shop) -> None:
    texts = read_exported_row(f"{shop.root}/out/train.jsonl:1").texts
    (triplet,) = (found := trace(shop, "out/train.jsonl:1")).triplets
    own = {pair.pair.pair_id for pair in found.pairs}
    assert read_exported_row(f"{shop.root}/table/train.parquet:1").texts == texts
    assert {pair.pair.pair_id for pair in shop.lineage(triplet.triplet_id).pairs} == own
    assert {pair.pair.pair_id for pair in shop.lineage(triplet.triplet_id[:20]).pairs} == own
    for pair in own:
        for name in (pair, pair[:15], f"{pair}-1", f"record-of-{pair[-6:]}"):
            assert [p.pair.pair_id for p in shop.lineage(name).pairs] == [pair]


def trace(shop: Shop, row: str) -> Lineage:
    exported = read_exported_row(f"{shop.root}/{row}")
    with open_workspace(shop.root).open() as store:
        return lineage_of_texts(store, exported.build_id, exported.texts, RULES)


def test_a_grouped_row_leads_to_all_of_its_triplets(shop: Shop) -> None:
    texts = json.loads((shop.root / "grouped" / "train.jsonl").read_text("utf-8").splitlines()[0])
    found = trace(shop, "grouped/train.jsonl:1")
    assert len(found.triplets) == len(texts["pos"]) * len(texts["neg"])
    assert {pair.pair.chunk for pair in found.pairs} == {*texts["pos"], *texts["neg"]}


@pytest.mark.parametrize(
    ("format", "file", "triplets"),
    [
        ("labeled-pair", "train.jsonl", 0),
        ("labeled-list", "train.jsonl", 2),
        ("flagembedding", "train.jsonl", 2),
        ("tevatron", "train.jsonl", 2),
        ("tevatron", "corpus.jsonl", 0),
        ("msmarco", "triples.train.tsv", 1),
        ("beir", "qrels/train.tsv", 0),
        ("beir", "qrels/train.trec", 0),
        ("beir", "queries.jsonl", 0),
        ("csv", "train.csv", 1),
        ("llamaindex", "train.json", 0),
        ("datasets", "train/data-00000-of-00001.arrow", 1),
    ],
)
def test_rows_of_other_formats_lead_to_what_they_hold(shop: Shop, format: str, file: str, triplets: int) -> None:
    with open_workspace(shop.root).open() as store:
        export(store, shop.build, shop.root / format, format=format)
    found = trace(shop, f"{format}/{file}:2")
    assert bool(found.triplets) == bool(triplets)
    assert found.pairs
    assert all(pair.asked_in for pair in found.pairs)


def test_the_numbers_in_a_triple_of_colbert_are_looked_up(shop: Shop) -> None:
    with open_workspace(shop.root).open() as store:
        export(store, shop.build, shop.root / "colbert", format="colbert")
    file = shop.root / "colbert" / "triples.test.jsonl"
    _, _, *negatives = json.loads(file.read_text("utf-8").splitlines()[0])
    found = trace(shop, "colbert/triples.test.jsonl:1")
    assert len(found.triplets) == len(negatives)
    assert len(found.pairs) == len(negatives) + 1
    file.with_name("collection.tsv").unlink()
    with pytest.raises(MissingError, match=r"collection\.tsv, which is not there"):
        trace(shop, "colbert/triples.test.jsonl:1")


def test_a_label_that_changed_since_the_build_is_shown_as_it_was_and_as_it_is(shop: Shop) -> None:
    query, (_, chunks) = next(iter(LOG.items()))
    pair = pair_id(anchor_id(query), chunk_id(chunks[1]))
    with open_workspace(shop.root).open() as store:
        add_reviews(store, [answered(shop.policy, pair, "answers", minute=5)])
    (found,) = shop.lineage(pair).pairs
    assert [(label.label, label.role) for label in found.in_builds] == [("related", "negative")]
    assert [(now.label, now.role) for now in found.now] == [("answers", "positive")]
    shown = run("lineage", pair, cwd=shop.root).stdout
    assert "CHANGED SINCE: now answers (positive)" in shown
    assert "came after the build" in shown


def test_what_leads_nowhere_is_said_with_the_next_command(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no build holds a triplet"):
        shop.lineage("triplet_0")
    with pytest.raises(MissingError, match="no triplet, pair, line of an export"):
        shop.lineage("nonsense")
    with pytest.raises(UsageError, match="several triplets"):
        shop.lineage("triplet_")
    out = shop.root / "out" / "train.jsonl"
    with pytest.raises(MissingError, match="fewer than 9999 lines"):
        read_exported_row(f"{out}:9999")
    out.write_text(out.read_text().replace("Salt", "Sugar").replace("bread", "cake").replace("starter", "batter"))
    assert read_exported_row(f"{out}:1").unchanged is False
    message = run("lineage", "out/train.jsonl:1", cwd=shop.root, status=4).stderr
    assert "edited, or forgotten" in message
    (tmp_path / "alone.jsonl").write_text("{}\n")
    assert "lies in no export" in run("lineage", f"{tmp_path}/alone.jsonl:1", cwd=shop.root, status=4).stderr
    (shop.root / "out" / "manifest.json").write_text("{}")
    with pytest.raises(InvalidDataError, match="names no build"):
        read_exported_row(f"{out}:1")
    assert not names_a_row("out/train.jsonl")
