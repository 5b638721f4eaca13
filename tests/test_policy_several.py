"""Several policies over the same pairs: what differs in roles only shares every answer, of judges and of people."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from labeling.judge import judge_candidates
from labeling.policy_changes import apply_policy
from labeling.policy_compare import compare_policies
from labeling.policy_library import library
from labeling.policy_plan import plan_change
from mining.candidates import mine
from store.builds import build_triplets
from store.database import Store
from store.ids import anchor_id, chunk_id, pair_id
from store.interactions import Interaction, Retrieved, Signal, add_interactions
from store.labels import labelled_candidates
from store.policies import Policy, Role
from store.workspace import JudgeSettings
from tests.judge_stub import Answer, Call, Response, labelled, serving
from tests.labelled_store import review_pairs
from train.triplets import build

LIBRARY = {policy.name: policy for policy in library()}
SUBSTITUTES, COMPLEMENTS = LIBRARY["substitutes"], LIBRARY["complements"]

# Search -> product -> label, as an author of a shop's search would have it.
SHOP: Mapping[str, Mapping[str, str]] = {
    "green tea, loose, 100 g": {
        "Sencha green tea leaves, 100 g bag": "exact",
        "Green tea in 25 tea bags": "substitute",
        "Tea strainer made of steel": "complement",
        "Garden hose, 20 metres": "irrelevant",
    },
    "acoustic guitar for beginners": {
        "Concert guitar in three quarter size for learners": "exact",
        "Ukulele with course book": "substitute",
        "Clip-on tuner for string instruments": "complement",
        "Poster of a rock band": "irrelevant",
    },
    "two person tent, waterproof": {
        "Dome tent for 2, water column 3000 mm": "exact",
        "Tarp 3 by 3 metres with ropes": "substitute",
        "Set of ten steel pegs": "complement",
        "Office chair with arm rests": "irrelevant",
    },
}


def log(store: Store, shop: Mapping[str, Mapping[str, str]]) -> None:
    """Every product was shown; what matches was bought, what complements it came along."""
    bought = {"exact": "purchased", "complement": "bought_together"}
    interactions = []
    for line, (search, products) in enumerate(shop.items()):
        retrieved = tuple(Retrieved(f"{line}-{rank}", rank, text) for rank, text in enumerate(products, 1))
        signals = tuple(
            Signal(bought[label], f"{line}-{rank}")
            for rank, label in enumerate(products.values(), 1)
            if label in bought
        )
        interactions.append(Interaction(search, retrieved, signals, line))
    with store.transaction():
        add_interactions(store, interactions, import_id="shop")


def knowing(shop: Mapping[str, Mapping[str, str]]) -> Answer:
    """A judge that has the author's labels."""

    def answer(call: Call) -> Response:
        return labelled(shop[call.texts["anchor"]][call.texts["candidate"]])

    return answer


def review_all(store: Store, policy: Policy, shop: Mapping[str, Mapping[str, str]]) -> None:
    said = {
        pair_id(anchor_id(search), chunk_id(product)): label
        for search, products in shop.items()
        for product, label in products.items()
    }
    review_pairs(store, policy, said)


def positives(store: Store, policy: Policy) -> set[tuple[str, str]]:
    """(search, product) of all positives of a build."""
    built = build(store, policy, test_share=0)
    rows = build_triplets(store, built.build.build_id).to_pylist()
    return {(row["anchor"], row["positive"]) for row in rows}


def with_labels(shop: Mapping[str, Mapping[str, str]], *labels: str) -> set[tuple[str, str]]:
    return {(search, product) for search, found in shop.items() for product, label in found.items() if label in labels}


def test_one_set_of_answers_serves_two_policies_that_differ_in_roles(store: Store) -> None:
    log(store, SHOP)
    substitutes = apply_policy(store, SUBSTITUTES).policy
    mine(store, substitutes)
    with serving(knowing(SHOP)) as stub:
        judge = JudgeSettings(model="stub", base_url=stub.url)
        judge_candidates(store, substitutes, judge, {})
        review_all(store, substitutes, SHOP)
        assert len(stub.calls) == 12

        plan = plan_change(store, COMPLEMENTS, {})
        assert plan.shares_with == ("substitutes",)
        complements = apply_policy(store, COMPLEMENTS).policy
        mine(store, complements)
        result = judge_candidates(store, complements, judge, {})
        assert len(stub.calls) == 12, "no new judgment"
        assert (result.judged, result.remaining) == (0, 0)
    answered = labelled_candidates(store, complements).to_pylist()
    assert [row["source"] for row in answered if row["label"]] == ["human"] * 12, "no new review"
    assert positives(store, substitutes) == with_labels(SHOP, "exact", "substitute")
    assert positives(store, complements) == with_labels(SHOP, "complement")


def test_a_role_changed_later_makes_another_build_and_asks_nobody(store: Store) -> None:
    log(store, SHOP)
    mine(store, apply_policy(store, SUBSTITUTES).policy)
    review_all(store, SUBSTITUTES, SHOP)
    exact_only = with_roles(SUBSTITUTES, "substitutes", exact="positive", substitute="excluded")
    assert plan_change(store, exact_only, {}).is_free
    stored = apply_policy(store, exact_only).policy
    assert (stored.version, stored.labelling_fingerprint) == (2, SUBSTITUTES.labelling_fingerprint)
    assert positives(store, stored) == with_labels(SHOP, "exact")


def with_roles(policy: Policy, name: str, **roles: Role) -> Policy:
    """Return a policy of another name in which these labels have these roles, and all others are negative."""
    labels = tuple(replace(label, role=roles.get(label.name, "negative")) for label in policy.labels)
    return replace(policy, name=name, labels=labels)


def test_forty_real_pairs_under_substitutes_and_under_exact_match(store: Store, real_logs: Path) -> None:
    """The judge answers as Amazon's annotators did, so this shows what follows from labels and not who gives them."""
    letters = {"E": "exact", "S": "substitute", "C": "complement", "I": "irrelevant"}
    wanted = {"E": 14, "S": 14, "C": 2, "I": 10}
    shop: dict[str, dict[str, str]] = {}
    for line in (real_logs / "esci_small" / "pairs.jsonl").read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        if wanted[found["label"]]:
            wanted[found["label"]] -= 1
            shop.setdefault(found["query"], {})[found["text"]] = letters[found["label"]]
    assert sum(map(len, shop.values())) == 40
    log(store, shop)
    substitutes = apply_policy(store, SUBSTITUTES).policy
    exact_match = apply_policy(
        store, with_roles(SUBSTITUTES, "exact-match", exact="positive", complement="excluded")
    ).policy
    with serving(knowing(shop)) as stub:
        for policy in (substitutes, exact_match):
            mine(store, policy)
            judge_candidates(store, policy, JudgeSettings(model="stub", base_url=stub.url), {})
        assert len(stub.calls) == 40
    found = compare_policies(store, substitutes, exact_match)
    assert found.pairs == 40
    assert {(cell.one, cell.one_role, cell.other_role, cell.pairs) for cell in found.cells} == {
        ("exact", "positive", "positive", 14),
        ("substitute", "positive", "negative", 14),
        ("complement", "negative", "excluded", 2),
        ("irrelevant", "negative", "negative", 10),
    }
    differing = {(pair.anchor, pair.chunk) for pair in found.disagreements}
    assert differing == with_labels(shop, "substitute", "complement")


def test_policies_that_ask_different_things_are_compared_by_role(store: Store) -> None:
    log(store, SHOP)
    review_all(store, SUBSTITUTES, SHOP)
    topics = {
        "exact": "same-topic",
        "substitute": "same-topic",
        "complement": "same-topic",
        "irrelevant": "other-topic",
    }
    by_topic = {search: {text: topics[label] for text, label in found.items()} for search, found in SHOP.items()}
    review_all(store, LIBRARY["same-topic"], by_topic)
    mine(store, apply_policy(store, SUBSTITUTES).policy)
    found = compare_policies(store, SUBSTITUTES, LIBRARY["same-topic"])
    assert {(pair.anchor, pair.chunk) for pair in found.disagreements} == with_labels(SHOP, "complement")
    assert {(pair.one, pair.other) for pair in found.disagreements} == {("complement", "same-topic")}


def test_policies_with_no_pair_in_common_have_nothing_to_compare(store: Store) -> None:
    found = compare_policies(store, SUBSTITUTES, LIBRARY["same-topic"])
    assert (found.pairs, found.cells, found.disagreements) == (0, (), ())
