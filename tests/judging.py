"""A small policy and its candidates, for tests of the judge."""

from collections.abc import Sequence

from store.candidates import Candidate, put_candidates
from store.database import Store
from store.ids import anchor_id, chunk_id
from store.interactions import Interaction, Retrieved, Signal, add_interactions
from store.policies import Example, Label, Policy, add_policy

POLICY = Policy(
    name="helps",
    question="Does the chunk help to do what the query asks?",
    anchor="a query",
    candidate="a chunk of a manual",
    labels=(Label("helps", "it says how", "positive"), Label("does-not-help", "it does not say how", "negative")),
    signals={"cited": "helps"},
    examples=(Example("how to open a tin", "Use a tin opener.", "helps", "names the tool"),),
)


def put_pairs(store: Store, *, anchors: int = 2, chunks: Sequence[str] | int = 3, policy: Policy = POLICY) -> Policy:
    """Store a policy and so many queries, each with these chunks retrieved and the first of them cited."""
    texts = [f"chunk {n}: turn the knob {n} times" for n in range(chunks)] if isinstance(chunks, int) else chunks
    queries = [f"query {n}" for n in range(anchors)]
    retrieved = tuple(Retrieved(f"c{n}", n + 1, text) for n, text in enumerate(texts))
    log = [Interaction(query, retrieved, (Signal("cited", "c0"),), n) for n, query in enumerate(queries)]
    with store.transaction():
        add_interactions(store, log, import_id="test")
    stored, _ = add_policy(store, policy)
    put_candidates(
        store,
        stored.name,
        [
            Candidate(
                anchor_id(query),
                chunk_id(text),
                "uncited" if rank else "cited",
                "negative" if rank else "positive",
                rank=rank + 1,
            )
            for query in queries
            for rank, text in enumerate(texts)
        ],
    )
    return stored
