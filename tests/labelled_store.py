"""Small stores with labels in them, written the way the pipeline writes them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from store.candidates import Candidate, put_candidates
from store.database import Store
from store.ids import anchor_id, chunk_id, pair_id
from store.interactions import Interaction, Retrieved, Signal, add_interactions
from store.judgments import Judgment, add_judge, add_judgments
from store.policies import Label, Policy, add_policy
from store.reviews import Review, add_reviews

POLICY = Policy(
    name="answers",
    question="Does the passage answer the question?",
    anchor="a question",
    candidate="a passage",
    labels=(
        Label("yes", "it answers", "positive"),
        Label("no", "it does not", "negative"),
        Label("spam", "it is advertising", "excluded"),
    ),
    signals={"cited": "yes"},
)
START = datetime(2026, 1, 1, tzinfo=UTC)


def log(
    store: Store,
    query: str,
    chunks: Sequence[str],
    *,
    cited: Sequence[str] = (),
    documents: Mapping[str, str] | None = None,
    duplicates: Mapping[str, str] | None = None,
) -> None:
    """Add an interaction with its candidates; texts stand for chunks."""
    retrieved = tuple(
        Retrieved(chunk_id(text)[:12], rank, text, document=(documents or {}).get(text))
        for rank, text in enumerate(chunks, 1)
    )
    names = {chunk.text: chunk.external_id for chunk in retrieved}
    signals = tuple(Signal("cited", names[text]) for text in cited)
    add_interactions(store, [Interaction(query, retrieved, signals, 1)], import_id="import_1")
    candidates = [
        Candidate(
            anchor_id(query),
            chunk_id(chunk.text),
            "cited" if chunk.text in cited else "uncited",
            "positive" if chunk.text in cited else "negative",
            "interaction_1",
            chunk.rank,
            duplicate_of=chunk_id(duplicates[chunk.text]) if duplicates and chunk.text in duplicates else None,
        )
        for chunk in retrieved
    ]
    put_candidates(store, POLICY.name, candidates)


def pair(query: str, chunk: str) -> str:
    return pair_id(anchor_id(query), chunk_id(chunk))


def review_pairs(
    store: Store, policy: Policy, labels: Mapping[str, str | None], *, reviewer: str = "ann", **told: object
) -> None:
    """Let `reviewer` label pairs, by their ids; None discards. `told` is what else the reviews say."""
    fields = {"stream": "targeted", "reviewed_at": datetime.now(UTC), "origin": "test"} | told
    reviews = [
        Review(
            pair_id=pair_id,
            labelling_fingerprint=policy.labelling_fingerprint,
            reviewer=reviewer,
            status="submitted" if label else "discarded",
            label=label,
            **fields,
        )
        for pair_id, label in labels.items()
    ]
    add_reviews(store, reviews)


def judge_pairs(
    store: Store, policy: Policy, labels: Mapping[str, str], judge: Mapping[str, object], **told: object
) -> str:
    """Let `judge` label pairs, by their ids; return the judge's id. `told` is what else the judgments say."""
    judge_id = add_judge(store, judge)
    fields = {"prompt_id": "prompt_1", "judged_at": datetime.now(UTC)} | told
    judgments = [
        Judgment(
            pair_id=pair_id,
            labelling_fingerprint=policy.labelling_fingerprint,
            judge_id=judge_id,
            label=label,
            **fields,
        )
        for pair_id, label in labels.items()
    ]
    add_judgments(store, judgments)
    return judge_id


def review(
    store: Store, query: str, labels: Mapping[str, str | None], *, reviewer: str = "ann", minute: int = 0
) -> None:
    """Let `reviewer` label chunks of a query; None discards."""
    said = {pair(query, chunk): label for chunk, label in labels.items()}
    review_pairs(store, POLICY, said, reviewer=reviewer, reviewed_at=START + timedelta(minutes=minute))


def judge(store: Store, query: str, labels: Mapping[str, str], *, model: str = "m") -> str:
    """Let a judge label chunks of a query; return the judge's id."""
    said = {pair(query, chunk): label for chunk, label in labels.items()}
    return judge_pairs(store, POLICY, said, {"model": model, "prompt": "P"}, judged_at=START)


def distinct(topic: str, number: int = 0) -> str:
    """Return a passage of its own, long enough to be compared by runs of words."""
    return " ".join(f"{topic}{number}word{i}" for i in range(12))


def question(number: int) -> str:
    """Return a question that is not like any other."""
    digits = chunk_id(str(number)).removeprefix("chunk_")
    return f"{digits[:8]} {digits[8:16]}?"


def fill(store: Store, queries: int, *, positives: int = 1, negatives: int = 3) -> Policy:
    """Log and review `queries` unrelated queries; the first positive is cited, the others are not."""
    policy, _ = add_policy(store, POLICY)
    for i in range(queries):
        query = question(i)
        good = [distinct(f"good{k}of", i) for k in range(positives)]
        bad = [distinct(f"bad{k}of", i) for k in range(negatives)]
        log(store, query, good + bad, cited=good[:1])
        review(store, query, dict.fromkeys(good, "yes") | dict.fromkeys(bad, "no"))
    return policy
