"""A push or pull that is killed, at any moment, and then run again."""

import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from labeling.argilla_client import call
from labeling.local_argilla import Server
from labeling.review import submit_reviews
from labeling.review_dataset import ensure_dataset, find_dataset, read_records, write_records
from labeling.review_layout import record
from labeling.review_pull import pull_reviews
from labeling.review_push import push_reviews
from labeling.review_queue import review_queue
from store.database import Store
from store.policies import Policy
from store.progress import silent
from store.reviews import pairs_to_review
from store.workspace import ReviewSettings
from tests.reviewing import POLICY, connected, fill, judge, large_log

if TYPE_CHECKING:
    from argilla import Argilla

SETTINGS = ReviewSettings(audit_share=0.2, similarity_model="")
QUERIES, CHUNKS = 60, 15
PAIRS = QUERIES * CHUNKS

# What `uncited review push` and `pull` do, telling of every step so that the test can choose when to kill it.
WORK = """
import os, sys
from pathlib import Path
from labeling.argilla_client import connect
from labeling.review_pull import pull_reviews
from labeling.review_push import push_reviews
from store.database import Store
from store.policies import get_policy
from store.workspace import ReviewSettings

class Telling:
    def start(self, description, total): print("start", flush=True)
    def advance(self, steps=1, note=""): print("advance", flush=True)

verb, database, name = sys.argv[1:]
with Store(Path(database)) as store:
    policy, client = get_policy(store, name), connect(Path("nowhere"))
    settings = ReviewSettings(audit_share=0.2, similarity_model="")
    print("connected", flush=True)
    {"push": push_reviews, "pull": pull_reviews}[verb](store, policy, client, settings, progress=Telling())
print("done", flush=True)
"""


def prepared(path: Path) -> Policy:
    with Store(path) as store:
        policy = fill(store, large_log(QUERIES, CHUNKS), replace(POLICY, name=f"large-{uuid4().hex[:8]}"))
        ordered = pairs_to_review(store, policy)
        judge(store, policy, {p.pair_id: ("answers", "related", "unsure")[n % 3] for n, p in enumerate(ordered[::2])})
    return policy


def run(server: Server, verb: str, path: Path, policy: Policy, *, lines: int | None, delay_s: float = 0) -> list[str]:
    """Run push or pull in a process of its own; kill it `delay_s` after it has said that many lines."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, verb, str(path), policy.name],
        env=os.environ | {"ARGILLA_API_URL": server.url, "ARGILLA_API_KEY": server.api_key},
        cwd=Path(__file__).resolve().parents[1],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = []
    with process:
        for line in process.stdout:
            said.append(line.strip())
            if len(said) == lines:
                time.sleep(delay_s)
                process.kill()
    return said


def content(client: "Argilla", policy: Policy) -> dict[str, Any]:
    """All that a push puts on the server, by external id; fails if an external id is there twice."""
    dataset = find_dataset(client, policy)
    if dataset is None:
        return {}
    path = f"/api/v1/datasets/{dataset.dataset_id}/records"
    found = call(client, "GET", path, params={"include": "suggestions", "limit": 1000})["items"]
    shown = {
        r["external_id"]: (r["fields"], r["metadata"], [(s["value"], s["agent"]) for s in r["suggestions"]])
        for r in found
    }
    assert len(shown) == len(found)
    return shown


def expected(store: Store, policy: Policy) -> dict[str, Any]:
    made = [
        record(queued.pair, order=queued.order, stream=queued.stream, label_question_id="q")
        for queued in review_queue(store, policy, SETTINGS)
    ]
    return {
        r["external_id"]: (r["fields"], r["metadata"], [(s["value"], s["agent"]) for s in r["suggestions"]])
        for r in made
    }


@pytest.mark.slow
def test_a_push_killed_at_random_moments_ends_as_an_undisturbed_one(
    argilla_server: Server, client: "Argilla", tmp_path: Path
) -> None:
    path = tmp_path / "uncited.duckdb"
    policy = prepared(path)
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    counts = []
    # connected (then the dataset is made), start, and one line for each of the four batches
    for lines in (1, 1, 2, 3, 3):
        delay_s = chance.uniform(0, 0.25)
        said = run(argilla_server, "push", path, policy, lines=lines, delay_s=delay_s)
        counts.append(len(content(client, policy)))
        assert counts == sorted(counts), f"records were lost (seed {seed})"
        assert said[0] == "connected"
    assert counts[-1] > 0, f"no kill came after a batch (seed {seed})"
    assert run(argilla_server, "push", path, policy, lines=None)[-1] == "done"
    with Store(path) as store:
        assert content(client, policy) == expected(store, policy), f"seed {seed}"
        again = push_reviews(store, policy, client, SETTINGS)
        assert (again.new, again.updated, again.unchanged) == (0, 0, PAIRS)


@pytest.mark.slow
def test_a_pull_killed_at_random_moments_loses_and_doubles_nothing(
    argilla_server: Server, client: "Argilla", ana: "Argilla", tmp_path: Path
) -> None:
    path = tmp_path / "uncited.duckdb"
    policy = prepared(path)
    with Store(path) as store:
        push_reviews(store, policy, client, SETTINGS)
        answers = {p.pair_id: "related" for p in pairs_to_review(store, policy)[:300]}
        submit_reviews(ana, policy, answers)
    chance = random.Random()
    for lines in (1, 2, 3, 3):
        run(argilla_server, "pull", path, policy, lines=lines, delay_s=chance.uniform(0, 0.1))
        with Store(path) as store:
            assert store.count("SELECT count(*) FROM reviews") in (0, 300), "a pull is stored whole or not at all"
    with Store(path) as store:
        pull_reviews(store, policy, client, SETTINGS)
        found = store.rows("SELECT pair_id, label FROM reviews")
    assert len(found) == 300
    assert {row["pair_id"]: row["label"] for row in found} == answers


def test_a_request_that_is_still_under_way_makes_no_duplicates(
    argilla_server: Server, client: "Argilla", tmp_path: Path
) -> None:
    with Store(tmp_path / "uncited.duckdb") as store:
        policy = fill(store, large_log(30, 10), replace(POLICY, name=f"twice-{uuid4().hex[:8]}"))
        dataset = ensure_dataset(client, policy)
        made = [
            record(pair, order=order, stream="targeted", label_question_id=dataset.label_question_id)
            for order, pair in enumerate(pairs_to_review(store, policy))
        ]
    with ExitStack() as connections, ThreadPoolExecutor() as pool:
        clients = [connections.enter_context(connected(argilla_server)) for _ in range(3)]
        refused = list(pool.map(lambda c: write_records(c, dataset, made, silent), clients))
    assert refused == [[], [], []]
    found = [r["external_id"] for r in read_records(client, dataset, silent)]
    assert sorted(found) == sorted(m["external_id"] for m in made)
