"""The same shopping pairs under two policies: what is similar is what the policy says."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from labeling.judge import judge_candidates
from labeling.policies import load_policy
from store.candidates import Candidate, put_candidates
from store.database import Store
from store.ids import anchor_id, chunk_id, pair_id
from store.interactions import Interaction, Retrieved, add_interactions
from store.labels import labelled_candidates
from store.policies import Label, Policy, add_policy
from store.workspace import JudgeSettings
from tests.judge_stub import Call, Response, labelled, serving

LIBRARY = Path(__file__).resolve().parents[1] / "labeling" / "policy_library"
EXACT_MATCH = Policy(
    name="exact-match",
    question="Is the offered product exactly what was looked for?",
    anchor="what a shopper looks for",
    candidate="a product that the shop offers",
    labels=(
        Label("exact", "it has every property that was named", "positive"),
        Label("other", "it is something else, or a property is missing", "negative"),
    ),
    signals={},
)
WANTED = {"E": 14, "S": 14, "I": 10, "C": 2}  # all the complements that there are
NAMES = {"E": "exact", "S": "substitute", "I": "irrelevant", "C": "complement"}


@pytest.fixture
def grades(real_logs: Path, store: Store) -> Mapping[str, str]:
    """Forty pairs, stored; their E, S, C or I by pair id."""
    left, rows = Counter(WANTED), []
    for line in (real_logs / "esci_small" / "pairs.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        if left[row["label"]] > 0:
            left[row["label"]] -= 1
            rows.append(row)
    assert len(rows) == 40
    shown = [Interaction(r["query"], (Retrieved(r["product_id"], 1, r["text"]),), (), n) for n, r in enumerate(rows)]
    add_interactions(store, shown, import_id="esci")
    return {pair_id(anchor_id(row["query"]), chunk_id(row["text"])): row["label"] for row in rows}


def put(store: Store, policy: Policy, grades: Mapping[str, str]) -> Policy:
    stored, _ = add_policy(store, policy)
    shown = store.rows("SELECT anchor_id, chunk_id FROM interactions JOIN retrievals USING (interaction_id)")
    put_candidates(
        store, stored.name, [Candidate(str(r["anchor_id"]), str(r["chunk_id"]), "shown", "negative") for r in shown]
    )
    return stored


def labels(store: Store, policy: Policy) -> dict[str, str]:
    return {row["pair_id"]: row["label"] for row in labelled_candidates(store, policy).to_pylist()}


def test_labels_differ_as_the_policies_say_and_a_change_of_roles_asks_nobody(
    store: Store, grades: Mapping[str, str]
) -> None:
    def judge(call: Call) -> Response:
        """Answers by the data, in the words of the policy that it is asked under."""
        texts = call.texts
        grade = grades[pair_id(anchor_id(texts["anchor"]), chunk_id(texts["candidate"]))]
        if EXACT_MATCH.question in call.body["messages"][0]["content"]:
            return labelled("exact" if grade == "E" else "other")
        return labelled(NAMES[grade])

    substitutes = put(store, load_policy(LIBRARY / "substitutes.yaml"), grades)
    exact_match = put(store, EXACT_MATCH, grades)
    with serving(judge) as stub:
        settings = JudgeSettings(model="m", base_url=stub.url)
        assert judge_candidates(store, substitutes, settings, {}).judged == len(stub.calls) == 40
        assert judge_candidates(store, exact_match, settings, {}).judged == 40
        assert len(stub.calls) == 80
        liked, exact = labels(store, substitutes), labels(store, exact_match)
        differ = {p for p in grades if substitutes.role(liked[p]) != exact_match.role(exact[p])}
        assert differ == {p for p, grade in grades.items() if grade == "S"}, "a substitute is similar, and no match"

        stricter = tuple(replace(x, role="negative") if x.name == "substitute" else x for x in substitutes.labels)
        only_exact = put(store, replace(substitutes, name="only-exact", labels=stricter), grades)
        later = put(store, replace(substitutes, labels=stricter), grades)
        for policy in (only_exact, later):
            assert policy.labelling_fingerprint == substitutes.labelling_fingerprint
            assert judge_candidates(store, policy, settings, {}).judged == 0
            assert labels(store, policy) == liked
            roles = {p: policy.role(label) for p, label in liked.items()}
            assert roles == {p: exact_match.role(label) for p, label in exact.items()}
        assert later.version == 2
        assert len(stub.calls) == 80, "roles ask nobody"
