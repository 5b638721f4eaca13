"""The canonical form: what may be written differently without changing a policy, and what may not."""

import json
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labeling.policies import load_policy
from store.policies import Policy

Content = dict[str, Any]

_CHARACTERS = st.characters(exclude_categories=["Cs", "Cc", "Cn", "Zl", "Zp"]) | st.sampled_from(
    "éÅ\u0301가 äß:#'\"-{}[]|>&*!%@`~?,=+"
)
SENTENCES = st.text(_CHARACTERS, min_size=1, max_size=30).filter(str.strip)
PASSAGES = st.lists(SENTENCES, min_size=1, max_size=3).map("\n    ".join)
NAMES = st.sampled_from(["0", "1", "no", "on", "yes", "010", "1e3", "null", "2024-01-01", "exact", "x-y"])


@st.composite
def contents(draw: st.DrawFn) -> Content:
    """What a valid policy file holds, every entry given."""
    names = draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    roles = ["positive", "negative", *draw(st.lists(st.sampled_from(["negative", "excluded"]), min_size=2, max_size=2))]
    return {
        "name": "p",
        "title": draw(SENTENCES),
        "anchor": draw(SENTENCES),
        "candidate": draw(SENTENCES),
        "kinds": draw(st.lists(st.sampled_from(["text", "code", "table"]), min_size=1, max_size=3, unique=True)),
        "question": draw(SENTENCES),
        "labels": [
            {"name": name, "meaning": f"{draw(SENTENCES)} meaning{n}", "role": role}
            for n, (name, role) in enumerate(zip(names, roles, strict=False))
        ],
        "signals": {
            signal: {"label": draw(st.sampled_from(names)), "weight": draw(st.sampled_from([0.25, 0.3, 1.0]))}
            for signal in draw(st.lists(st.sampled_from(["cited", "clicked", "off"]), min_size=1, unique=True))
        },
        "examples": [
            {
                "anchor": draw(PASSAGES),
                "candidate": draw(PASSAGES),
                "label": draw(st.sampled_from(names)),
                "reason": draw(SENTENCES),
            }
            for _ in range(draw(st.integers(1, 3)))
        ],
    }


def rendered(content: Content, rng: random.Random) -> str:
    """Write a policy as YAML: any order of keys, any quoting, any wrapping, comments, either Unicode form."""
    parts = []
    for key in rng.sample(list(content), len(content)):
        parts += rng.choice([[], ["# a comment: with 'quotes'\n", "\n"]])
        value = _restyled(content[key], rng)
        style, width = rng.choice([None, "'", '"', "|", ">"]), rng.choice([20, 80, 1000])
        block = yaml.safe_dump(
            {key: value},
            default_style=style,
            default_flow_style=False,
            allow_unicode=rng.random() < 0.5,
            width=width,
            indent=rng.choice([2, 4]),
            sort_keys=False,
        )
        flow = f"{key}: {json.dumps(value, ensure_ascii=False)}\n"
        parts.append(rng.choice([block, flow]))
    return "".join(parts)


def _restyled(value: Any, rng: random.Random) -> Any:  # noqa: ANN401 - any YAML
    if isinstance(value, dict):
        return {key: _restyled(value[key], rng) for key in rng.sample(list(value), len(value))}
    if isinstance(value, list):
        return [_restyled(item, rng) for item in value]
    if isinstance(value, str):
        return unicodedata.normalize(rng.choice(["NFC", "NFD"]), value) + rng.choice(["", " ", "\n"])
    return value


def loaded(tmp_path_factory: pytest.TempPathFactory, text: str) -> Policy:
    file: Path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    file.write_text(text, encoding="utf-8")
    return load_policy(file)


slow = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(contents(), st.randoms(use_true_random=False))
@slow
def test_the_same_policy_written_in_any_way_has_the_same_fingerprints(
    tmp_path_factory: pytest.TempPathFactory, content: Content, rng: random.Random
) -> None:
    one = loaded(tmp_path_factory, rendered(content, rng))
    other = loaded(tmp_path_factory, rendered({**content, "title": "another"}, rng))
    assert one.labelling_fingerprint == other.labelling_fingerprint
    assert one.training_fingerprint == other.training_fingerprint
    assert one.policy_id == other.policy_id


def _set(*path: str | int, to: Callable[[Any], Any]) -> Callable[[Content], None]:
    def edit(content: Content) -> None:
        node: Any = content
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = to(node[path[-1]])

    return edit


def _longer(text: str) -> str:
    return f"{text} indeed"


def _swap(items: list[Any]) -> list[Any]:
    return [items[1], items[0], *items[2:]]


def _other_role(content: Content) -> None:
    content["labels"].append({"name": "another", "meaning": "another", "role": "excluded"})


LABELLING_EDITS = {
    "question": _set("question", to=_longer),
    "anchor": _set("anchor", to=_longer),
    "candidate": _set("candidate", to=_longer),
    "meaning": _set("labels", 0, "meaning", to=_longer),
    "example anchor": _set("examples", 0, "anchor", to=_longer),
    "example candidate": _set("examples", 0, "candidate", to=_longer),
    "example indentation": _set("examples", 0, "candidate", to=lambda text: f"x\n  y\n{text}"),
    "example reason": _set("examples", 0, "reason", to=_longer),
    "example added": _set("examples", to=lambda found: [*found, {**found[0], "anchor": "another"}]),
    "example removed": _set("examples", to=lambda found: found[1:]),
}
TRAINING_EDITS = {
    "weight": _set("signals", to=lambda old: {k: {**v, "weight": v["weight"] / 2} for k, v in old.items()}),
    "signal added": _set("signals", to=lambda old: {**old, "saved": next(iter(old.values()))}),
    "signal removed": _set("signals", to=lambda old: dict(list(old.items())[1:])),
    "kinds": _set("kinds", to=lambda kinds: [*kinds, "image"]),
    "roles": lambda content: content.update(
        labels=[
            {**label, "role": role}
            for label, role in zip(
                content["labels"], [label["role"] for label in _swap(content["labels"])], strict=True
            )
        ]
    ),
}


@pytest.mark.parametrize("edit", LABELLING_EDITS.values(), ids=LABELLING_EDITS)
@given(contents(), st.randoms(use_true_random=False))
@settings(slow, max_examples=15)
def test_what_a_judge_or_reviewer_reads_changes_the_labelling_fingerprint_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, edit: Callable[[Content], None], content: Content, rng: random.Random
) -> None:
    before = loaded(tmp_path_factory, rendered(content, rng))
    edit(content)
    after = loaded(tmp_path_factory, rendered(content, rng))
    assert before.labelling_fingerprint != after.labelling_fingerprint
    assert before.training_fingerprint == after.training_fingerprint


@pytest.mark.parametrize("edit", TRAINING_EDITS.values(), ids=TRAINING_EDITS)
@given(contents(), st.randoms(use_true_random=False))
@settings(slow, max_examples=15)
def test_what_only_mining_and_training_read_changes_the_training_fingerprint_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, edit: Callable[[Content], None], content: Content, rng: random.Random
) -> None:
    before = loaded(tmp_path_factory, rendered(content, rng))
    edit(content)
    after = loaded(tmp_path_factory, rendered(content, rng))
    assert before.labelling_fingerprint == after.labelling_fingerprint
    assert before.training_fingerprint != after.training_fingerprint


@given(contents(), st.randoms(use_true_random=False))
@settings(slow, max_examples=15)
def test_a_label_added_or_moved_changes_what_judges_read(
    tmp_path_factory: pytest.TempPathFactory, content: Content, rng: random.Random
) -> None:
    before = loaded(tmp_path_factory, rendered(content, rng))
    moved = loaded(tmp_path_factory, rendered({**content, "labels": _swap(content["labels"])}, rng))
    assert moved.labelling_fingerprint != before.labelling_fingerprint
    assert moved.training_fingerprint == before.training_fingerprint
    _other_role(content)
    assert loaded(tmp_path_factory, rendered(content, rng)).labelling_fingerprint != before.labelling_fingerprint


def test_what_is_given_at_its_default_is_as_if_it_were_left_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    text = """\
name: p
anchor: a
candidate: b
question: Do the two fit?
labels: [{name: fits, meaning: m, role: positive}, {name: "off", meaning: n, role: negative}]
signals: {cited: fits}
"""
    spelled_out = text.replace("cited: fits", "cited: {label: fits, weight: 1}") + "scale: set\ntitle: T\n"
    one, other = loaded(tmp_path_factory, text), loaded(tmp_path_factory, spelled_out)
    assert one.policy_id == other.policy_id


def test_fingerprints_stay_what_they_were_when_policies_learn_new_entries() -> None:
    """Judgments, reviews and recordings out there hang on these."""
    policies = Path("examples/pandas_docs/policies")
    policy = load_policy(policies / "same-operation.yaml")
    assert policy.labelling_fingerprint == "labelling_d9d5c7fdcd4db7fb2f0fad69f5189751"
    assert policy.training_fingerprint == "training_79fdb99d179c1285714a7b0be0e9a361"
