"""A small log with candidates and judgments, for the tests of reviewing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from labeling import local_argilla
from labeling.argilla_client import connect_as
from labeling.local_argilla import Server
from labeling.review_dataset import Dataset, find_dataset, read_records
from store.candidates import Candidate, put_candidates
from store.database import Store
from store.ids import anchor_id, chunk_id, pair_id
from store.interactions import Interaction, Retrieved, Signal, add_interactions
from store.judgments import Judgment, add_judge, add_judgments
from store.policies import Example, Label, Policy, add_policy
from store.progress import silent
from store.workspace import ReviewSettings

if TYPE_CHECKING:
    from argilla import Argilla

# No audit, and no vectors: what is shown hangs on nothing but the pair.
TARGETED_ONLY = ReviewSettings(audit_share=0, similarity_model="")

POLICY = Policy(
    name="answers",
    title="Answers the question",
    question="Does the section, read on its own, tell how to do what the question asks?",
    anchor="a question that a home baker asks",
    candidate="a section of a cookbook",
    labels=(
        Label("answers", "the section says how to do it", "positive"),
        Label("related", "it is about the same thing and does not say how", "negative"),
        Label("unrelated", "it is about something else", "negative"),
    ),
    signals={"cited": "answers"},
    examples=(
        Example("How do I store eggs?", "Eggs keep three weeks in the fridge.", "answers", "says where and how long"),
        Example("How do I store eggs?", "# Eggs <b>are</b> *good*\n\nMost [people](x) like them.", "related"),
    ),
)

# Query -> answer, and the retrieved chunks by rank; the first is the one that was cited.
LOG: Mapping[str, tuple[str, Sequence[str]]] = {
    "How do I keep a sourdough starter alive while I am away?": (
        "Feed it, let it rise for an hour, and put it into the fridge: it keeps two weeks there [1].",
        (
            "Going away. Feed the starter with equal weights of flour and water, leave it for one hour at room "
            "temperature, then close the jar and put it into the fridge. It keeps for two weeks.",
            "Drying a starter. Spread a thin layer on baking paper, let it dry for two days and break it into "
            "flakes. Dry flakes keep for months; stir them into warm water to wake the starter up again.",
            "What a starter is. A starter is flour and water in which wild yeasts and lactic acid bacteria live. "
            "It makes bread rise without bought yeast and gives sourdough its taste.",
            "Choosing a jar. A straight glass jar with a loose lid lets you see how far the dough has risen.",
        ),
    ),
    "Why does my bread crack on the side?": (
        "The crust set before the loaf had finished rising; score it deeper and add steam [1].",
        (
            "Cracks on the side come from a crust that sets too early. Score the loaf deeper and bake the first "
            "ten minutes with steam.",
            "Scoring. Hold the blade at a low angle and cut once, without hesitation, about one centimetre deep.",
            "Slicing bread. Let the loaf cool for an hour before you cut it.",
        ),
    ),
    "How much salt does a kilogram of flour need?": (
        "About 20 grams, two per cent of the flour [1].",
        (
            "Salt. Twenty grams a kilogram of flour is usual; below fifteen the bread tastes flat.",
            "Salt slows yeast down, so a salty dough needs more time.",
            "Flour types. The number tells how much ash is left when the flour is burnt.",
        ),
    ),
}


def fill(store: Store, log: Mapping[str, tuple[str, Sequence[str]]] = LOG, policy: Policy = POLICY) -> Policy:
    """Put the log, the policy and its candidates (the first chunk of each query was cited) into the store."""
    interactions = [
        Interaction(
            query=query,
            query_id=f"q{number}",
            answer=answer,
            source="cookbook",
            line=number,
            retrieved=tuple(
                Retrieved(f"q{number}-c{rank}", rank, text, score=10.0 - rank) for rank, text in enumerate(chunks, 1)
            ),
            signals=(Signal("cited", f"q{number}-c1"), Signal("grade", f"q{number}-c1", 3.0)),
        )
        for number, (query, (answer, chunks)) in enumerate(log.items(), start=1)
    ]
    with store.transaction():
        add_interactions(store, interactions, import_id="import_1")
    stored, _ = add_policy(store, policy)
    put_candidates(
        store,
        policy.name,
        [
            Candidate(
                anchor_id(query),
                chunk_id(text),
                "cited" if rank == 1 else "uncited",
                "positive" if rank == 1 else "negative",
                rank=rank,
                score=10.0 - rank,
            )
            for query, (_, chunks) in log.items()
            for rank, text in enumerate(chunks, start=1)
        ],
    )
    return stored


def pair(query: int, rank: int) -> str:
    """Id of the pair of the `query`-th query (from 1) of the log and its chunk at `rank`."""
    question, (_, chunks) = list(LOG.items())[query - 1]
    return pair_id(anchor_id(question), chunk_id(chunks[rank - 1]))


def judge(
    store: Store,
    policy: Policy,
    labels: Mapping[str, str],
    *,
    model: str = "judge-1",
    reason: str | None = None,
    quote: str = "the fridge",
) -> None:
    """Record judgments: pair id -> label."""
    key = add_judge(store, {"model": model})
    add_judgments(
        store,
        [
            Judgment(
                pair_id=pair_id_,
                labelling_fingerprint=policy.labelling_fingerprint,
                judge_id=key,
                prompt_id="prompt_1",
                judged_at=datetime.now(UTC),
                label=label,
                quote=quote,
                quote_found=True,
                reason=reason or f"It looks like {label}.",
            )
            for pair_id_, label in labels.items()
        ],
    )


def large_log(queries: int, chunks: int) -> dict[str, tuple[str, list[str]]]:
    """Make a log of that many queries with that many chunks each, all different, a few hundred characters long."""
    return {
        f"What is item {q}?": (
            f"Item {q} is described [1].",
            [f"Item {q}, view {c}. " + "Words. " * 60 for c in range(chunks)],
        )
        for q in range(queries)
    }


@contextmanager
def connected(server: Server, reviewer: str | None = None) -> Iterator["Argilla"]:
    """Connect as the owner, or as the reviewer of that name, for the length of the block."""
    key = local_argilla.add_user(server.home, reviewer).api_key if reviewer else server.api_key
    client = connect_as(server.url, key)
    with closing(client.http_client):
        yield client


@pytest.fixture
def client(argilla_server: Server) -> Iterator["Argilla"]:
    """The owner's connection."""
    with connected(argilla_server) as owner:
        yield owner


@pytest.fixture
def ana(argilla_server: Server) -> Iterator["Argilla"]:
    """A reviewer, signed in as herself."""
    with connected(argilla_server, "ana") as reviewer:
        yield reviewer


@pytest.fixture
def bob(argilla_server: Server) -> Iterator["Argilla"]:
    with connected(argilla_server, "bob") as reviewer:
        yield reviewer


def on_server(client: "Argilla", policy: Policy) -> dict[str, dict[str, Any]]:
    return {r["external_id"]: r for r in read_records(client, dataset_of(client, policy), silent)}


def dataset_of(client: "Argilla", policy: Policy) -> Dataset:
    dataset = find_dataset(client, policy)
    assert dataset is not None
    return dataset
