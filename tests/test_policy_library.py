"""The starting policies, and pairs of texts that are similar under the one and not under another.

The labels of `PAIRS` are the authors': they show that each policy has the words to say what its author means, and that
the same pair then plays opposite roles under two policies, all the way from answers to `policy compare`. Whether a
model or a person would give these labels is another question, which no test without either can settle.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from labeling.policies import load_policy, warnings
from labeling.policy_compare import compare_policies
from labeling.policy_library import copy_policy, library
from labeling.prompts import PROMPT, system_text
from store.candidates import Candidate, put_candidates
from store.database import Store
from store.errors import MissingError, UsageError
from store.ids import anchor_id, chunk_id, pair_id
from store.interactions import Interaction, Retrieved, add_interactions
from store.policies import Policy, add_policy
from store.reviews import Review, add_reviews

LIBRARY = {policy.name: policy for policy in library()}


class Flip(NamedTuple):
    """Two texts, their label under a policy, and their label under another, where they play the opposite role."""

    anchor: str
    candidate: str
    policy: str
    label: str
    other_policy: str
    other_label: str


PAIRS = [
    Flip(
        "when was the suspension bridge over the gorge opened?",
        "The suspension bridge over the gorge is 210 metres long and painted green every seven years.",
        *("answers-the-question", "on-topic", "same-topic", "same-topic"),
    ),
    Flip(
        "My best ideas come at two in the morning.",
        "In bed by nine, up at five: the morning is mine.",
        *("profile-match", "opposed", "same-topic", "same-topic"),
    ),
    Flip(
        "Nothing calms me like a day of fishing.",
        "Give me a bench in the park, a bag of crumbs and no phone.",
        *("profile-match", "alike", "same-topic", "other-topic"),
    ),
    Flip(
        "fountain pen, fine nib",
        "Bottle of blue-black ink, 50 ml",
        *("complements", "complement", "substitutes", "complement"),
    ),
    Flip(
        "fountain pen, fine nib",
        "Rollerball pen, 0.5 mm, refillable",
        *("substitutes", "substitute", "complements", "substitute"),
    ),
    Flip(
        "Lullaby about the moon, a mother hums over a music box.",
        "Brass band march about the moon, played at the carnival. Loud.",
        *("same-playlist", "clashes", "same-topic", "same-topic"),
    ),
    Flip(
        "Lullaby about the moon, a mother hums over a music box.",
        "A harp, a slow tune about the sea. For falling asleep.",
        *("same-playlist", "fits", "same-topic", "other-topic"),
    ),
    Flip(
        "compute the median of a list of numbers",
        "def middle(numbers):\n    return sum(numbers) / len(numbers)  # the mean, not the median",
        *("code-solves-it", "does-not-solve", "same-topic", "same-topic"),
    ),
    Flip(
        "how do I undo the last commit but keep my changes?",
        "The last commit can be taken back without losing the edits: a soft reset moves the branch only.",
        *("answers-the-question", "answers", "code-solves-it", "does-not-solve"),
    ),
    Flip(
        "How many guests stayed in hotels in Graz in March?",
        "Graz, hotel guests by year\nYear | Guests\n2022 | 610,000\n2023 | 702,000",
        *("table-answers-it", "lacks-it", "same-topic", "same-topic"),
    ),
    Flip(
        "Book a table for two at the trattoria tonight.",
        "cancel_reservation(reservation_id): give up a table that was booked at a restaurant.",
        *("right-tool-for-the-task", "wrong", "same-topic", "same-topic"),
    ),
    Flip(
        "Book a table for two at the trattoria tonight.",
        "current_user(): name, phone number and preferred language of the person who is speaking.",
        *("right-tool-for-the-task", "step", "same-topic", "other-topic"),
    ),
]


@pytest.mark.parametrize("policy", LIBRARY.values(), ids=LIBRARY)
def test_a_starting_policy_is_valid_without_warnings_and_shows_every_label(policy: Policy) -> None:
    assert warnings(policy) == []
    assert 4 <= len(policy.examples) <= 8
    assert {example.label for example in policy.examples} == {label.name for label in policy.labels}
    assert all(example.reason for example in policy.examples), "people and judges are told why"
    assert len(system_text(PROMPT, policy)) < 6_000, "about 1,500 tokens: a small judge has room for the pair"


def test_the_library_is_what_the_docs_say() -> None:
    described = Path("docs/policies.md").read_text(encoding="utf-8")
    assert len(LIBRARY) == 9
    for name in LIBRARY:
        assert f"| `{name}` |" in described


def test_the_policy_of_a_new_workspace_is_the_one_of_the_library() -> None:
    example = load_policy(Path("store/new_workspace/policies/example.yaml"))
    assert example.policy_id == LIBRARY["answers-the-question"].policy_id


def test_substitutes_and_complements_ask_the_same_and_differ_in_training_only() -> None:
    one, other = LIBRARY["substitutes"], LIBRARY["complements"]
    assert one.labelling_fingerprint == other.labelling_fingerprint
    assert one.training_fingerprint != other.training_fingerprint


def test_the_coffee_example_is_similar_by_topic_and_dissimilar_by_taste() -> None:
    coffee = ("I love coffee.", "I hate coffee.")
    roles = {
        name: policy.role(example.label)
        for name, policy in LIBRARY.items()
        for example in policy.examples
        if (example.anchor, example.candidate) == coffee
    }
    assert roles == {"same-topic": "positive", "profile-match": "negative"}


def test_every_starting_policy_has_a_pair_that_flips_and_is_none_of_its_examples() -> None:
    assert {flip.policy for flip in PAIRS} | {flip.other_policy for flip in PAIRS} == set(LIBRARY)
    for flip in PAIRS:
        for name in (flip.policy, flip.other_policy):
            assert (flip.anchor, flip.candidate) not in {(e.anchor, e.candidate) for e in LIBRARY[name].examples}


@pytest.mark.parametrize("flip", PAIRS, ids=lambda flip: f"{flip.policy}, {flip.other_policy}: {flip.label}")
def test_a_pair_flips_between_two_policies_as_its_author_means_it(store: Store, flip: Flip) -> None:
    labels = {flip.policy: flip.label, flip.other_policy: flip.other_label}
    with store.transaction():
        add_interactions(store, [Interaction(flip.anchor, (Retrieved("c", 1, flip.candidate),), (), 1)], import_id="t")
    for name in labels:
        add_policy(store, LIBRARY[name])
        pair = Candidate(anchor_id(flip.anchor), chunk_id(flip.candidate), "uncited", "negative")
        put_candidates(store, name, [pair])
        answer(store, LIBRARY[name], flip, labels[name])
    found = compare_policies(store, LIBRARY[flip.policy], LIBRARY[flip.other_policy])
    (pair,) = found.disagreements
    assert (pair.anchor, pair.chunk) == (flip.anchor, flip.candidate)
    assert (pair.one, pair.other) == (flip.label, flip.other_label)
    assert {pair.one_role, pair.other_role} == {"positive", "negative"}


def answer(store: Store, policy: Policy, flip: Flip, label: str) -> None:
    assert label in {answer.name for answer in policy.labels}
    review = Review(
        pair_id=pair_id(anchor_id(flip.anchor), chunk_id(flip.candidate)),
        labelling_fingerprint=policy.labelling_fingerprint,
        reviewer="author",
        status="submitted",
        label=label,
        stream="imported",
        reviewed_at=datetime(2026, 1, 1, tzinfo=UTC),
        origin=policy.name,
    )
    add_reviews(store, [review])


def test_a_copy_has_its_own_name_and_keeps_the_comments(tmp_path: Path) -> None:
    file = copy_policy("same-topic", tmp_path / "policies", "our-topics")
    assert load_policy(file).name == "our-topics"
    assert load_policy(file).labelling_fingerprint == LIBRARY["same-topic"].labelling_fingerprint
    assert file.read_text(encoding="utf-8").startswith("# For browsing")


def test_a_copy_overwrites_nothing_and_wrong_names_are_told(tmp_path: Path) -> None:
    copy_policy("same-topic", tmp_path, "mine")
    with pytest.raises(UsageError, match="is there already"):
        copy_policy("substitutes", tmp_path, "mine")
    assert load_policy(tmp_path / "mine.yaml").question == LIBRARY["same-topic"].question
    with pytest.raises(MissingError, match="there are: answers-the-question, code-solves-it"):
        copy_policy("similar", tmp_path, "other")
    with pytest.raises(UsageError, match="lower-case"):
        copy_policy("same-topic", tmp_path, "../Mine")
